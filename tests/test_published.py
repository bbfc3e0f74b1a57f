"""Published numbers beside one's own."""

import json

import numpy as np
import pytest
import scipy.stats
import tomli_w
import xarray as xr
from click.testing import CliRunner

import pipeline
from pipeline import Campaign, InputError
from pipeline.analysis import describing
from pipeline.analysis.published import compare_published, read_published
from pipeline.cli import main
from pipeline.plots import looks
from pipeline.report.page import swatch
from pipeline.report.paper import Study, paper_page, verdict_table, write_figures


@pytest.fixture(scope="module")
def cube(client, tmp_path_factory):
    """A small study with trials enough to compare."""
    tables = {
        "campaign": {"name": "small", "seed": 5, "realizations": 40, "batch": 20},
        "scenario": {"use": "synthetic", "dims": [5, 5], "measurements": [4, 4], "sparsity": 2},
        "sweep": {"snr_db": [10, 20]},
        "solvers": {"svd": {"use": "svd_krosbl"}, "oracle": {"use": "oracle_ls"}},
    }
    store = tmp_path_factory.mktemp("published") / "store"
    pipeline.run(Campaign.from_tables(tables), store, client)
    return pipeline.open_results(store)


def write(path, cube, change, digits=6):
    """Results of a cube as published ones, changed."""
    lines = ["# Somebody's results.", "solver,snr_db,trial,nmse"]
    for solver in ("svd", "oracle"):
        for snr in (10, 20):
            values = change(cube.nmse.sel(solver=solver, snr_db=snr).values, solver)
            lines += [f"{solver},{snr},{i},{v:.{digits - 1}e}" for i, v in enumerate(values)]
    path.write_text("\n".join(lines))
    return read_published(path, cube)


def test_the_same_numbers_are_consistent(cube, tmp_path):
    published = write(tmp_path / "p.csv", cube, lambda v, _: v, digits=3)
    assert "Somebody" in published.attrs["source"]
    verdicts = compare_published(cube, published)
    assert len(verdicts) == 6  # two points of two solvers, and both points together
    assert all(v.consistent and abs(v.shift) < 0.01 for v in verdicts)
    assert all(v.shift_low < 0 < v.shift_high and v.detectable > 0 for v in verdicts)
    assert all(v.text.startswith("agrees: ") and "dB [" in v.text for v in verdicts)
    assert all(v.p_value == pytest.approx(1.0) for v in verdicts)
    assert [v.point for v in verdicts[2::3]] == [{"snr_db": "all"}] * 2


def test_other_numbers_are_off(cube, tmp_path):
    published = write(tmp_path / "p.csv", cube, lambda v, s: v * 4 if s == "svd" else v)
    verdicts = compare_published(cube, published)
    assert {v.solver for v in verdicts if not v.consistent} == {"svd"}
    off = [v for v in verdicts if v.solver == "svd"]
    for v in off:
        assert v.shift == pytest.approx(-10 * np.log10(4), abs=1.5)
        assert v.shift_high < 0
        assert v.text.startswith("off by −")


def test_printed_zeros_are_ties(cube, tmp_path):
    published = write(tmp_path / "p.csv", cube, lambda v, _: np.where(v > np.median(v), v, 0.0))
    changed = cube.load().copy(deep=True)
    changed["nmse"] = cube.nmse.where(cube.nmse > cube.nmse.median("realization"), 1e-30)
    assert all(v.consistent for v in compare_published(changed, published))


def test_a_single_trial_tells_little(cube, tmp_path):
    published = write(tmp_path / "p.csv", cube, lambda v, _: v[:1])
    verdicts = compare_published(cube, published)
    assert not any(v.telling or v.consistent for v in verdicts)
    assert all(np.isfinite(v.shift) for v in verdicts)
    published = write(tmp_path / "p.csv", cube, lambda v, _: v[:3])  # 6 · 2 / 12341 < 0.01
    assert all(v.telling for v in compare_published(cube, published))
    few = cube.isel(realization=slice(16))  # 6 · 2 / 969 > 0.01, though 2 / 969 is not
    assert not any(v.telling for v in compare_published(few, published))


def test_equal_trials_are_not_apart(cube, tmp_path):
    published = write(tmp_path / "p.csv", cube, lambda v, _: np.ones_like(v))
    same = cube.load().copy(deep=True)
    same["nmse"] = xr.ones_like(cube.nmse)
    study = Study("same", "", same, published, compare_published(same, published))
    table = verdict_table(study)
    verdict = table.columns.index("verdict")
    assert {row[verdict] for row in table.rows} == {"agrees: +0.00 dB [+0.00, +0.00]"}


def test_points_that_are_not_in_the_cube_are_left_out(cube, tmp_path):
    published = write(tmp_path / "p.csv", cube, lambda v, _: v)
    assert len(compare_published(cube.sel(snr_db=[20]), published)) == 2


def test_draws_of_what_trials_share_widen_intervals(cube, tmp_path):
    rng, same = np.random.default_rng(1), cube.load().copy(deep=True)
    draw = np.repeat(np.arange(8), 5)
    factor = 10 ** (0.5 * rng.normal(size=8))[draw]
    noise = factor * rng.lognormal(0, 0.3, same.nmse.shape)
    means = same.nmse.mean("realization").expand_dims(realization=40, axis=2)
    same["nmse"] = (same.nmse.dims, means.values * noise, same.nmse.attrs)
    published = write(tmp_path / "p.csv", cube, lambda v, _: v)
    plain = compare_published(same, published)
    told = compare_published(same.assign_coords(draw=("realization", draw)), published)
    for one, other in zip(plain, told, strict=True):
        assert one.shift == other.shift
        assert other.shift_high - other.shift_low > 1.3 * (one.shift_high - one.shift_low)
        assert other.p_value >= one.p_value


def test_the_shift_is_that_of_the_rank_test(cube, tmp_path):
    published = write(tmp_path / "p.csv", cube, lambda v, _: 1.7 * v[::-1])
    for v in compare_published(cube, published)[:2]:
        ours = cube.nmse.sel(solver=v.solver, **v.point).values
        theirs = published.nmse.sel(solver=v.solver, **v.point).values
        for end, low in ((v.shift_low, True), (v.shift_high, False)):  # the edge of rejection
            steps = [end - 0.02, end + 0.02] if low else [end + 0.02, end - 0.02]
            p = [
                scipy.stats.mannwhitneyu(
                    ours, theirs * 10 ** (step / 10), method="asymptotic"
                ).pvalue
                for step in steps
            ]
            assert p[0] < 0.056
            assert p[1] > 0.044


@pytest.mark.parametrize("text", ["", "solver,trial,nmse\nsvd,1,0.5\n", "solver,snr_db,trial\n"])
def test_bad_files(cube, tmp_path, text):
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"p\.csv"):
        read_published(path, cube)


def test_paper_command(tiny, tmp_path):
    folder = tmp_path / "studies"
    (folder / "published").mkdir(parents=True)
    text = "# Figure 1: NMSE of everything.\n\n" + tomli_w.dumps(tiny)
    (folder / "first.toml").write_text(text)
    rows = [
        "solver,snr_db,trial,nmse",
        *(f"svd,{snr},{i},0.{i + 1}" for i in range(9) for snr in (10, 20)),
    ]
    (folder / "published" / "first.csv").write_text("\n".join(rows))
    at = {name: str(tmp_path / name) for name in ("stores", "page.html")}
    words = ["paper", str(folder), "--store", at["stores"], "-o", at["page.html"], "-q"]
    words += ["--workers", "1", "--figures", str(tmp_path)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "published numbers are consistent with ours" in done.output
    page = (tmp_path / "page.html").read_text()
    for said in ("Figure 1: NMSE of everything.", "Published: median NMSE", "verdict"):
        assert said in page
    assert (tmp_path / "paper-first.png").stat().st_size > 5000
    assert (tmp_path / "paper-first-published.png").stat().st_size > 5000
    store = tmp_path / "stores" / "first"
    assert json.loads(pipeline.open_results(store).attrs["solvers"]).keys() == {"svd", "oracle"}
    done = CliRunner().invoke(main, ["paper", str(tmp_path / "nowhere")])
    assert done.exit_code == 2
    (folder / "published" / "first.csv").write_text("solver,nmse\n")
    words[3] = str(tmp_path / "others")
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "first.csv: expected columns solver, trial, snr_db" in done.output
    assert not (tmp_path / "others").exists()
    page = tmp_path / "nowhere" / "page.html"
    words = ["paper", str(folder), "--store", str(tmp_path / "new"), "-o", str(page)]
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert not (tmp_path / "new").exists()


def test_page_without_published_numbers(cube, tmp_path):
    file = tmp_path / "alone.toml"
    file.write_text("# A study of our own.\n")
    page = paper_page("Paper", [Study.of(file, cube)])
    assert "A study of our own." in page
    assert "Published:" not in page


def test_studies_of_a_paper_share_looks_and_settings(cube, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("# A study.\n")
    (tmp_path / "published").mkdir()
    write(tmp_path / "published" / "own.csv", cube, lambda v, _: v)
    study = Study.of(own, cube)
    assert describing.name_of(study.published) == "published: small"
    assert describing.setting(study.published) == describing.setting(cube)
    other = Study("other", "", cube.isel(solver=[1]))
    first, second = looks.looks_of(["oracle", "svd"]).values()  # oracle is in both
    page = paper_page("Paper", [study, other])
    in_first, in_other = page.split("Study: other")[-2:]
    assert swatch(first) in in_first
    assert swatch(first) in in_other
    assert swatch(second) not in in_other
    folder = tmp_path / "figures"
    folder.mkdir()
    assert len(write_figures([other, study], folder)) == 3
