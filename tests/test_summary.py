"""What `summary`, `compare` and `export` print, and how they end."""

import csv
import io
import json
import re

import numpy as np
import pandas
import pytest
import tomli_w
from click.testing import CliRunner
from markdown_it import MarkdownIt
from rich.console import Console

import pipeline
from pipeline.analysis import compare, describing, summarize
from pipeline.campaign.request import Request
from pipeline.cli import main, tables
from solvers import Status
from tests import two_measures
from tests.cubes import cube
from tests.test_analysis import bounded, picky, timed


def shown(parts, width=165):
    """Text that a terminal of that width shows."""
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for part in parts:
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    console.file.close()
    return console.export_text()


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def store(tiny, tmp_path, client):
    tiny["scenario"]["use"] = two_measures.USE
    pipeline.run(pipeline.Campaign.from_tables(tiny), tmp_path / "store", client)
    return tmp_path / "store"


def test_a_finished_cube_needs_a_table_of_its_measure_and_one_of_the_others():
    text = shown(tables.summary(cube(), "nmse"))
    assert "…" not in text
    text, others = text.split("Means of the other measures")
    assert others.splitlines()[2].split() == ["solver", "snr_db", "cells", "ser"]
    rows = [line.split() for line in text.splitlines() if line.startswith("s")]
    assert [row[:3] for row in rows[1:]] == [
        [f"s{i}", snr, "30"] for i in range(3) for snr in ("0", "10")
    ]
    assert "unfinished" not in text
    assert "failed" not in text
    for column in ("median nmse, dB", "dB of the mean nmse", "mean of nmse in dB", "ms, batched"):
        assert column in text


def test_a_narrow_terminal_gets_medians_with_a_row_per_point():
    wide = shown(tables.summary(cube(), "nmse", width=200))
    assert wide == shown(tables.summary(cube(), "nmse"))
    text = shown(tables.summary(cube(), "nmse", width=90), 90)
    title, *rows = [line.split() for line in text.splitlines() if line.strip(" ─")]
    assert title == ["median", "nmse,", "dB", "[95", "%]:"]
    assert [row[0] for row in rows[:3]] == ["snr_db", "0", "10"]
    medians = summarize(cube())["median"]
    shown_medians = [[float(word) for word in row[1::3]] for row in rows[1:3]]
    np.testing.assert_allclose(shown_medians, 10 * np.log10(medians.T), atol=0.006)


@pytest.mark.parametrize("statistic", ["median", "mean", "db_mean"])
def test_one_statistic_side_by_side_is_the_same_as_in_the_long_table(statistic):
    found = summarize(cube())
    long = tables.listed(found)
    name = describing.statistic_names("nmse")[statistic]
    column = len(long.places) + [head.startswith(name) for head in long.columns].index(True)
    texts = {(row[0].text, row[1].text): row[column] for row in long.rows}
    pivot = tables.listed(found, statistic)
    for point, *fields in pivot.rows:
        for solver, field in zip(pivot.columns, fields, strict=True):
            assert texts[solver, point.text] == field


def test_tables_for_other_programs(monkeypatch):
    ds = cube().assign_coords(solver=["a_b", "c|d", "50%"])
    monkeypatch.setattr("pipeline.results.publishing.open_results", lambda _: ds)
    found = summarize(ds)
    csv_text = invoke("summary", "s", "--format", "csv").output
    read = pandas.read_csv(io.StringIO(csv_text)).set_index(["solver", "snr_db"])
    medians = read["median"].to_xarray().sel(solver=found.solver)
    np.testing.assert_allclose(medians, found["median"])
    np.testing.assert_allclose(
        read["quantiles.0.95"].to_xarray().sel(solver=found.solver), found.quantiles[..., -1]
    )
    tokens = (
        MarkdownIt()
        .enable("table")
        .parse(invoke("summary", "s", "--statistic", "median", "--format", "markdown").output)
    )
    cells = [token.content for token in tokens if token.type == "inline"]
    assert cells[:4] == ["snr_db", "a_b", "c|d", "50%"]
    listed = tables.listed(found, "median").rows
    assert cells[4:] == [field.text.strip() for row in listed for field in row]
    latex = invoke("compare", "s", "--reference", "a_b", "--format", "latex").output
    assert latex.startswith("\\begin{tabular}{llrrrrrrr}\n\\toprule")
    assert not re.search(r"(?<!\\)[%_&](?=\w)|(?<![$\w.])-\d", latex)
    assert latex.count("\\\\\n") == 1 + 2 * 2


def test_a_statistic_that_a_measure_lacks_is_one_line(monkeypatch):
    monkeypatch.setattr("pipeline.results.publishing.open_results", lambda _: cube())
    found = invoke("summary", "s", "--measure", "ser", "--statistic", "db_mean")
    assert (found.exit_code, len(found.output.splitlines())) == (2, 1)
    assert "it has median, mean" in found.output


def test_nothing_missing_is_passed_over():
    ds = cube()
    ds["status"][0, 0, :5] = Status.RAISED
    ds["status"][1, 0] = Status.DIVERGED
    ds["status"][2, 1, 20:] = Status.NOT_RUN
    ds["nmse"][0, 1, 3] = float("nan")
    text = shown(tables.summary(ds, "nmse"))
    for words in ("25/30", "0/30", "29/30", "20/30", "failed", "all solvers have finished"):
        assert words in text
    assert "The cube is unfinished: 10 of 180 cells" in text
    assert "1 cells ended well, but their nmse is NaN" in text
    ds["nmse"][:] = [[[1.0]], [[2.0]], [[4.0]]]
    text = shown(tables.summary(ds, "nmse"))
    assert "Ranking by the mean differs at snr_db = 0: s2, s0 over all cells; s0, s2" in text
    ds["status"][0, 0, :5] = Status.NOT_RUN
    assert "rank the solvers alike" in shown(tables.summary(ds, "nmse"))


def test_a_dominated_mean_is_marked():
    ds = cube(1, 1, 100)
    ds["nmse"][0, 0, 0] = 50.0
    text = shown(tables.summary(ds, "nmse"))
    assert "]*" in text
    assert "* a mean not to be trusted" in text
    ds["nmse"][:] = 1.0
    assert "*" not in shown(tables.summary(ds, "nmse"))


def test_brackets_are_no_markup():
    ds = cube(2, 1).assign_coords(solver=["[red]am[/red]", "b"])
    ds["nmse"][0] = np.inf
    text = shown(tables.summary(ds, "nmse")) + shown(tables.comparison(ds, compare(ds, "b")))
    assert text.count("[red]am[/red]") == 3  # a row of each table
    assert "inf [inf, inf]" in text


def test_all_statistics():
    text = shown(tables.summary(cube(), "nmse", wide=True))
    for words in ("mean of nmse in dB", "± error", "95 %", "median nmse"):
        assert words in text
    assert "mean of ser in dB" not in shown(tables.summary(cube(), "ser", wide=True))


def test_latencies_are_a_table_by_host():
    text = shown(tables.summary(timed(cube()), "nmse"))
    rows = [line.split() for line in text.splitlines()]
    assert [row[:4] for row in rows if row[:1] == ["old"]] == [
        ["old", f"s{i}", snr, "8"] for i in range(3) for snr in ("0", "10")
    ]
    assert "peak memory, MB" in text
    assert "Latency" not in shown(tables.summary(cube(), "nmse"))


def test_a_long_table_is_cut_with_a_word():
    text = shown(tables.summary(cube(2, 400, 6), "nmse"))
    assert f"The first {tables.MOST_ROWS} of 800 rows" in text


def test_failures_stand_beside_every_statistic_and_speak_in_words():
    ds = picky()
    parts = tables.summary(ds, "nmse", wide=True)
    for part in parts:
        if not isinstance(part, str) and "cells" in (words := shown([part])):
            assert "failed" in words or "120" in words  # or the table of the common cells
    text = shown(parts)
    assert "Failed realizations count as the worst outcome" in text
    text = shown(tables.comparison(ds, compare(ds, "am")))
    assert "80 / 0" in text
    assert "am better in 40 %, p = 1" in text
    assert "am better in 100 %, p = 5e-60" in text


def test_a_p_value_is_never_zero():
    ds = cube(2, 1, 1200)
    ds["nmse"][1] = ds.nmse[0].values * 2
    text = shown(tables.comparison(ds, compare(ds, "s0")))
    assert "s0 better in 100 %, p <1e-300" in text


def test_bounds_have_a_table_of_gaps():
    text = shown(tables.summary(bounded(), "nmse"))
    assert "SBL is biased and may lie below" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["crb", "svd", "0", "150", "6.02", "[6.02,", "6.02]"] in [row[:7] for row in rows]


def test_a_bound_that_has_not_begun_is_missing_and_no_row():
    ds = bounded()
    ds["status"][2] = Status.NOT_RUN
    ds["status"][0, 1] = Status.NOT_RUN
    ds["nmse"] = ds.nmse.where(ds.status != Status.NOT_RUN)
    text = shown(tables.summary(ds, "nmse"))
    assert "The cube is unfinished: 450 of 900 cells" in text
    assert text.count("0/150") == 2  # of nmse, and of the other measures
    assert "crb" not in text


def test_summary_for_programs(store):
    found = json.loads(invoke("summary", store, "--json").output)
    assert found["complete"]
    assert found["measure"] == "nmse"
    assert [(p["solver"], p["snr_db"], p["used"]) for p in found["points"]][:2] == [
        ("svd", 10, 6),
        ("svd", 20, 6),
    ]
    assert set(found["points"][0]["quantiles"]) == {"0.05", "0.25", "0.75", "0.95"}
    assert "common" not in found


def test_summary_of_an_unfinished_store(store):
    next((store / "blocks").rglob("*.npz")).unlink()
    pipeline.publish(pipeline.Store.open(store))
    done = invoke("summary", store)
    assert done.exit_code == 0, done.output
    assert "3/6" in done.output
    assert "The cube is unfinished: 3 of 24 cells" in done.output
    done = invoke("summary", store, "--statistic", "median")
    assert "The cube is unfinished: 3 of 24 cells" in done.output
    assert "*" not in done.output  # no mean is shown
    found = json.loads(invoke("summary", store, "--json").output)
    assert not found["complete"]
    assert sorted(p["used"] for p in found["common"]) == [3, 3, 6, 6]
    done = invoke("compare", store, "--reference", "svd")
    assert done.exit_code == 0, done.output


def test_compare(store):
    done = invoke("compare", store, "--reference", "svd")
    assert done.exit_code == 0, done.output
    assert "negative is better than svd" in done.output
    found = json.loads(invoke("compare", store, "--reference", "oracle", "--json").output)
    assert [p["solver"] for p in found["points"]] == ["svd", "svd"]
    assert all(p["pairs"] == 6 for p in found["points"])


def test_export(store, tmp_path):
    target = tmp_path / "cube.csv"
    done = invoke("export", store, "-o", target)
    assert done.exit_code == 0, done.output
    with target.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 24


def test_bad_input_is_one_line_and_exit_2(store, tiny, tmp_path, client):
    tiny["solvers"] = {"svd": tiny["solvers"]["svd"]}
    tiny["campaign"] |= {"name": "alone"}
    alone = tmp_path / "alone"
    pipeline.run(pipeline.Campaign.from_tables(tiny), alone, client)
    empty = tmp_path / "empty"
    campaign = pipeline.Campaign.from_tables(tiny)
    new = pipeline.Store.create(empty, campaign)
    new.add_request(Request.of(campaign, {}))
    pipeline.publish(new)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "bad.toml").write_text(tomli_w.dumps(tiny))
    cases = [
        (("compare", store), "as --reference one of svd, oracle"),
        (("compare", store, "--reference", "am"), "it has svd, oracle"),
        (("compare", alone, "--reference", "svd"), "nothing to compare svd with"),
        (("compare", store, "--reference", "svd", "--solvers", "svd"), "name, or compute, another"),
        (("compare", store, "--reference", "svd", "--measure", "x"), "it has nmse, srr"),
        (("summary", empty), "nothing to show"),
        (("summary", tmp_path / "thesis"), "not a kronsbl store"),
        (("summary", tmp_path / "bad.toml"), "a file, and a store is a folder"),
        (("export", store, "-o", tmp_path / "cube.xls"), "expected a file ending in"),
        (("export", store, "-o", tmp_path / "no" / "cube.nc"), "there is no folder"),
        (("export", tmp_path / "thesis", "-o", tmp_path / "cube.nc"), "not a kronsbl store"),
    ]
    for arguments, words in cases:
        done = invoke(*arguments)
        assert done.exit_code == 2, (arguments, done.output)
        assert len(done.output.splitlines()) == 1, done.output
        assert words in done.output
