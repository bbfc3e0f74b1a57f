"""The report: one page that says what was run and what came out, of cubes in any state."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import pipeline
from pipeline import report
from pipeline.analysis import summarize, to_db, worst
from pipeline.cli import main
from pipeline.errors import InputError
from pipeline.plots.looks import looks_of
from pipeline.report.page import swatch
from pipeline.results.layout import STATUS_FLAGS
from solvers import Status
from tests import two_measures
from tests.cubes import cube as made
from tests.small_studies import campaign_with, with_latency
from tests.test_analysis import bounded, picky


@pytest.fixture(scope="module")
def store(tmp_path_factory, client):
    """A finished store with traces and failures."""
    folder = tmp_path_factory.mktemp("report") / "store"
    campaign = campaign_with(
        campaign={"batch": 1},
        output={"trace": True},
        scenario={"use": two_measures.USE},
        solvers={
            "trouble": {"use": "tests.troublemakers:Trouble", "how": "raise_error", "above": 2.0}
        },
    )
    pipeline.run(campaign, folder, client)
    return folder


@pytest.fixture(scope="module")
def cube(store):
    return pipeline.open_results(store).load()


@pytest.fixture(scope="module")
def text(cube):
    return report.page("Tiny", report.sections_of(cube))


class Page(HTMLParser):
    """Headings, tables and figures of a page; says whether anything is loaded from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.words, self.loaded, self.open, self.figures, self.stills = [], [], [], 0, 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.open.append(tag)
        self.figures += given.get("class") == "plot"
        if tag in ("script", "img", "iframe") and "src" in given:
            assert tag != "img" or given["alt"]
            self.stills += given["src"].startswith("data:image/svg+xml;base64,")
            self.loaded += [] if given["src"].startswith("data:") else [given["src"]]
        if tag == "link" and not given["href"].startswith("data:"):
            self.loaded.append(given["href"])
        if given.get("role") == "img":
            assert given["aria-label"]

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page_of(cube):
    return Page(report.page("Tiny", report.sections_of(cube)))


def test_the_page_says_what_was_run_and_what_came_out(text):
    page = Page(text)
    for word in (
        *("TwoMeasures: dims 5×5×5", "SNR (dB): 10, 20", "5", "BLAS", "numpy", "36 of 36"),
        *("dB of the mean nmse", "mean SRR", "Means of the other measures", "runtime (ms)"),
        *("a bad day", "raised", "svd_krosbl", "[campaign]", "NMSE after each iteration"),
    ):
        assert word in page.text, word
    assert "unfinished" not in page.text
    # Median and mean, mean of the other measure, 3 of runtime, 2 distributions, 2 × 2 traces
    assert page.figures == page.stills == 2 + 1 + 3 + 2 + 4


def test_figures_come_first_and_the_machine_last(cube):
    titles = [section.title for section in report.sections_of(cube)]
    assert titles[:2] == ["In short", "Figures"]
    assert titles[-6:] == [
        *("Comparison", "Worst realizations", "Summary", "How realizations ended"),
        *("What was run", "Campaign"),
    ]


def test_details_are_folded_and_what_is_alike_everywhere_is_no_column():
    ds = made(solvers=2)
    ds["coverage"] = ds.ser.assign_attrs(detail=1, long_name="coverage of intervals")
    page = report.page("Details", report.sections_of(ds))
    fold = page.partition("<details><summary>Means of what tells of calibration")[2]
    assert "coverage" in fold.partition("</details>")[0]
    assert "mean COVERAGE" not in page
    tables = {
        part.caption: part.columns
        for section in report.sections_of(ds)
        for part in section.parts
        if isinstance(part, report.SortableTable)
    }
    (costs,) = [caption for caption in tables if caption.startswith("Cost")]
    assert "Everywhere: run 30, missing 0, failed 0" in costs
    assert "missing" not in tables[costs]


def test_the_page_is_self_contained_and_small(text):
    assert Page(text).loaded == []
    assert not re.search(r"@import|url\(\s*['\"]?https?:", text)
    assert len(text.encode()) < 3_000_000


def test_labels_are_words_and_not_markup(cube):
    labels = ["<svd>", "</script><script>alert(1)</script>", "trouble"]
    text = report.page("<b>", report.sections_of(cube.assign_coords(solver=labels)))
    assert "<h1>&lt;b&gt;</h1>" in text
    assert "&lt;svd&gt;" in text
    assert "<script>alert" not in text


def test_tables_hold_the_statistics_of_the_summary(cube):
    section = next(s for s in report.sections_of(cube) if s.title == "Summary")
    table = next(part for part in section.parts if isinstance(part, report.SortableTable))
    assert table.columns[:2] == ["solver", "SNR (dB)"]
    assert "95 %" in table.caption
    one = summarize(cube, "nmse").sel(solver="svd", snr_db=10)
    row = next(r for r in table.rows if r[0] == "svd" and r[1].key == 10)
    shown = dict(zip(table.columns, row, strict=True))
    assert shown["cells"].text == "6"
    assert shown["median nmse, dB"].key == pytest.approx(float(one["median"]))
    for column, value in (
        ("median nmse, dB", to_db(float(one["median"]))),
        ("dB of the mean nmse", to_db(float(one["mean"]))),
        ("mean of nmse in dB", float(one["db_mean"])),
        ("pooled nmse, dB", to_db(float(one["pooled"]))),
    ):
        assert shown[column].text.startswith(f"{value:.2f}".replace("-", "−"))


def test_gaps_give_the_common_statistics_and_what_they_change(cube):
    cube = cube.copy(deep=True)
    oracle = list(cube.solver.values).index("oracle")
    cube.nmse.values[:] = np.where(np.arange(6) < 3, 1.0, 0.01)
    cube.nmse.values[oracle] *= 2
    cube.status.values[:] = 1
    cube.status.values[oracle, :, :3] = 0
    cube.srr.values[:] = 0.5
    cube.srr.values[0, 0, 5] = np.nan
    text = page_of(cube).text
    assert "over the realizations that all solvers have finished" in text
    assert "Ranking by the median differs at snr_db = 10: oracle, svd" in text
    assert "srr is NaN in 1 cells that ended well" in text
    cube["status"][:] = 1
    assert "that all solvers have finished" not in page_of(cube.drop_vars("srr")).text


def test_solvers_are_held_against_the_best_one_and_against_bounds(cube):
    page = page_of(cube)
    assert "Comparison" in page.text
    assert "Against svd, the best by its medians" in page.text
    assert "better in" in page.text
    assert "Gap" not in page.text
    bounded_page = page_of(bounded())
    assert "Against svd, the best by its medians" in bounded_page.text
    assert "SBL is biased and may lie below" in bounded_page.text
    assert "6.02 [6.02, 6.02]" in bounded_page.text
    alone = cube.sel(solver=["svd"])
    assert "Against" not in page_of(alone).text


def test_the_worst_realizations_can_be_seen_again(cube):
    (section,) = [s for s in report.sections_of(cube) if s.title == "Worst realizations"]
    (table,) = section.parts
    one = worst(cube, "svd", "oracle")[0]
    assert "svd is furthest behind oracle" in table.caption
    assert table.rows[0][1].key == one.value
    assert table.rows[0][-1] == f"kronsbl replay STORE {one.options}"


def test_a_page_profits_nowhere_from_failures():
    text = page_of(picky()).text
    assert "Against am, the best by its medians" in text
    assert "count as the worst outcome" in text
    assert "80 / 0" in text


def test_unfinished_cubes_say_how_far_they_are(cube):
    cube = cube.copy()
    cube["status"] = cube.status.where(cube.realization < 4, 0)
    cube.attrs["missing"] = int((cube.status == 0).sum())
    page = page_of(cube)
    assert "24 of 36" in page.text
    assert "66.7 % done, unfinished" in page.text
    assert "4 of 6 realizations" in page.text


def test_panels_without_a_value_are_left_out(cube):
    first = cube.copy()
    first["status"] = cube.status.where(cube.snr_db == 20, Status.NOT_FINITE)
    words = page_of(first).text
    assert "Distribution of NMSE, SNR = 20 dB" in words
    assert "Distribution of NMSE, SNR = 10 dB" not in words
    nothing = first.sel(snr_db=[10])
    assert page_of(nothing).figures == 1  # the runtime, which failed realizations have as well


def test_a_solver_that_has_nothing_is_still_listed(cube):
    cube = cube.copy()
    cube["status"] = xr.where((cube.solver == "svd") & (cube.status < 4), 17, cube.status)
    cube["status"].attrs = cube.status.attrs or STATUS_FLAGS
    assert "svd" in page_of(cube).text


@pytest.mark.slow
def test_other_shapes_of_studies(client, tmp_path):
    shapes = {
        "grid": {"sweep": {"snr_db": [10, 20], "measurements.0": [3, 4, 5]}},
        "single": {"sweep": {}, "campaign": {"realizations": 1}},
    }
    for name, change in shapes.items():
        pipeline.run(campaign_with(**change), tmp_path / name, client)
        page = page_of(pipeline.open_results(tmp_path / name))
        assert page.figures >= 6
        assert ("heat map" in page.text or "median NMSE, SNR = 10 dB" in page.text) == (
            name == "grid"
        )


def test_latency_has_a_section_for_its_hosts(cube, text):
    assert "Latency" not in Page(text).text
    page = page_of(with_latency(cube))
    for word in ("on blade", "on pi", "peak memory, MB", "median latency, ms"):
        assert word in page.text
    assert "2000 [2000, 2000]" in page.text


def test_pages_of_several_studies_share_looks(cube):
    looks = looks_of(["another", *map(str, cube.solver.values)])
    sections = report.sections_of(cube, looks=looks)
    extra = report.Section("Distances", [report.SortableTable("In dB.", ["a"], [["b"]])])
    text = report.page("Both", [*sections, extra])
    assert 'id="distances"' in text
    assert swatch(looks["svd"]) in text
    assert swatch(looks_of(["svd"])["svd"]) not in text


def test_the_command_writes_the_page(store, tmp_path):
    target = tmp_path / "report.html"
    done = CliRunner().invoke(main, ["report", str(store), "-o", str(target)])
    assert done.exit_code == 0, done.output
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("name", ["report.pdf", "nowhere/report.html"])
def test_unwritable_reports_are_one_clear_line(store, tmp_path, name):
    done = CliRunner().invoke(main, ["report", str(store), "-o", str(tmp_path / name)])
    assert done.exit_code == 2
    assert len(done.output.splitlines()) == 1


def test_no_report_of_nothing(cube, tmp_path):
    done = CliRunner().invoke(main, ["report", str(tmp_path), "-o", str(tmp_path / "x.html")])
    assert done.exit_code == 2
    with pytest.raises(InputError, match="nothing to report"):
        report.sections_of(cube.assign(status=xr.zeros_like(cube.status)))
