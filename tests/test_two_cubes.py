"""Two cubes compared: in pairs where they hold the same problems, apart where they do not."""

import json

import numpy as np
import pytest
import scipy.stats
import tomli_w
import xarray as xr

import pipeline
from pipeline import Campaign, InputError
from pipeline.analysis import compare, to_db
from pipeline.cli import tables
from pipeline.report.differences import sections_of_two
from solvers import Status
from tests.cubes import cube
from tests.test_cli import invoke


def described(results, *, seed=1, scenario=None, sweep=None):
    """A cube of the tests that says where it comes from, as published ones do."""
    sweep = {"snr_db": results.snr_db.values.tolist()} if sweep is None else sweep
    text = tomli_w.dumps({"scenario": {"use": "synthetic", **(scenario or {})}, "sweep": sweep})
    return results.assign_attrs(campaign=text, seed=seed, scenario="synthetic")


def test_pairs_are_those_of_a_cube_that_holds_both():
    results = described(cube(realizations=40))
    results["status"][1, 0, 3:9] = Status.RAISED
    before = results.sel(solver=["s0"]).assign_coords(solver=["s"])
    now = results.sel(solver=["s1"]).isel(realization=slice(30)).assign_coords(solver=["s"])
    batch = {"batch": json.dumps({"s": 5})}
    found = compare(now.assign_attrs(batch), before.assign_attrs(batch))
    expected = compare(results.isel(realization=slice(30)).sel(solver=["s0", "s1"]), "s0")
    assert found.unpaired == ""
    assert found.missing == 0
    assert found.reference == "the first"
    for name, values in expected.data_vars.items():
        np.testing.assert_allclose(found[name].sel(solver="s"), values.sel(solver="s1"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seed": 2}, "their seeds are 1 and 2"),
        ({"scenario": {"sparsity": 2}}, "sparsity is not set and 2"),
        ({"sweep": {"snr_db": [0, 10], "sparsity": [2]}}, ""),
    ],
)
def test_why_nothing_is_paired(change, reason):
    found = compare(described(cube(), **change), described(cube()))
    assert found.unpaired == reason
    lines = "\n".join(map(str, tables.comparison(cube(), found)[1:]))
    assert ("on others, since" in lines) == ("Mann and Whitney" in lines) == bool(reason)


@pytest.mark.parametrize("attrs", [{}, {"seed": 1, "scenario": "irs_mimo"}])
def test_what_does_not_say_where_it_comes_from_is_not_paired(attrs):
    assert compare(cube(**attrs), described(cube())).unpaired


def test_numbers_alone_do_not_make_pairs():
    one, other = (described(cube()) for _ in range(2))
    for results, energy in ((one, 1.0), (other, 2.0)):
        results["signal_energy"] = xr.full_like(results.nmse, energy)
    assert compare(one, one).unpaired == ""
    assert "versions differ" in compare(one, other).unpaired


def test_apart_statistics_are_those_of_their_definitions():
    before, now = described(cube(realizations=50)), described(cube(seed=3), seed=2)
    now["status"][0, 0, :4] = Status.RAISED
    found = compare(now, before).sel(solver="s0", snr_db=0)
    a, b = (to_db(one.nmse.sel(solver="s0", snr_db=0).values) for one in (now, before))
    ranked = np.where(np.arange(30) < 4, np.inf, a)
    assert int(found.pairs) == 30
    assert int(found.failed) == 4
    assert float(found.difference) == pytest.approx(a[4:].mean() - b.mean())
    assert float(found.median_difference) == pytest.approx(np.median(ranked) - np.median(b))
    assert found.median_difference_low < found.median_difference < found.median_difference_high
    won = (ranked[:, None] < b).mean()
    assert float(found.won) == pytest.approx(won)
    assert float(found.lost) == pytest.approx(1 - won)
    assert float(found.p_value) == pytest.approx(scipy.stats.mannwhitneyu(ranked, b).pvalue)


def test_intervals_of_differences_cover():
    """Of samples of the same distribution, at about the rate that they promise."""
    before, now = (described(cube(seed=s, points=300), seed=s) for s in (1, 2))
    found = compare(now, before)
    for name in ("difference", "median_difference"):
        covered = ((found[f"{name}_low"] <= 0) & (found[f"{name}_high"] >= 0)).mean()
        assert 0.93 < float(covered) < 0.99, name


def test_an_axis_may_be_a_constant_of_the_other():
    before = described(cube())
    now = cube(points=1).isel(snr_db=0, drop=True)
    now = described(now.assign_coords(snr_db=10), scenario={"snr_db": 10}, sweep={}).drop_vars(
        "snr_db"
    )
    found = compare(now, before)
    assert found.unpaired == ""
    assert found.snr_db.values.tolist() == [10]
    with pytest.raises(InputError, match="snr_db is swept in one of the cubes only"):
        compare(described(now, sweep={}), before)


def test_points_that_were_selected_are_still_points():
    before, now = described(cube()), described(cube(seed=3))
    found = compare(now.sel(snr_db=10), before)
    assert found.snr_db.values.tolist() == [10]
    for name, values in compare(now, before).sel(snr_db=[10]).data_vars.items():
        if name != "p_holm":
            np.testing.assert_allclose(found[name], values)
    with pytest.raises(InputError, match="have no point of the grid in common"):
        compare(now.sel(snr_db=10), before.sel(snr_db=0))


@pytest.mark.parametrize("seed", [1, 2])
def test_where_one_has_nothing_there_is_no_difference(seed):
    now = described(cube(), seed=seed)
    now["status"][0, 0] = Status.NOT_RUN
    now["nmse"][0, 0] = np.nan
    found = compare(now, described(cube()))
    at = found.sel(solver="s0", snr_db=0)
    assert int(at.pairs) == 0
    for name in ("difference", "median_difference", "won", "p_value"):
        assert np.isnan(at[name]), name
        assert found[name].notnull().sum() == 5, name
    assert found.missing == 30


def test_nothing_in_common():
    results = described(cube())
    with pytest.raises(InputError, match="have no solver in common"):
        compare(results, results.assign_coords(solver=["a", "b", "c"]))
    with pytest.raises(InputError, match="have no point of the grid in common"):
        compare(results, results.assign_coords(snr_db=[1, 2]))


def test_a_page_shows_what_has_changed():
    before, now = (described(cube(seed=s)) for s in (1, 3))
    now["status"][0, 0, :7] = Status.NOT_RUN
    now = now.sel(solver=["s0", "s2"])
    sections = {part.title: part.parts for part in sections_of_two(before, now, ("a", "b"))}
    assert [part.text for part in sections["In short"]] == [
        "the first: a, commit unknown",
        "the second: b, commit unknown, unfinished: 7 cells have not been run",
        "in one of the two only: s1",
        "nmse minus that of the first on the same realizations; negative is better than the first.",
    ]
    found = compare(now, before)
    [chart] = sections["Differences"]
    drawn = {one.name: one.data_source.data for one in chart.model.renderers}
    assert list(drawn) == ["s0", "s2"]
    for label, data in drawn.items():
        for name, end in (("value", ""), ("low", "_low"), ("high", "_high")):
            values = found[f"median_difference{end}"].sel(solver=label)
            np.testing.assert_allclose(data[name], values)
    titles = [chart.title.partition(":")[0] for chart in sections["Figures"]]
    assert titles[:2] == ["the first", "the second"]
    ranges = [chart.model.y_range for chart in sections["Figures"][:2]]
    assert ranges[0].start == ranges[1].start, "on one scale"
    assert [len(table.rows) for table in sections["Comparison"][:1]] == [4]


def test_a_page_of_two_where_one_has_an_axis_more():
    before = described(cube())
    now = cube(points=1).isel(snr_db=0, drop=True)
    now = described(now, scenario={"snr_db": 10}, sweep={})
    for pair in ((before, now), (now, before)):
        sections = sections_of_two(*pair, ("a", "b"))
        [chart] = next(part.parts for part in sections if part.title == "Differences")
        assert {one.name for one in chart.model.renderers} == {"s0", "s1", "s2"}


def test_two_stores_on_the_command_line(tiny, tmp_path, client):
    for name, prune in (("before", 1e-3), ("after", 1e-1)):
        tiny["solvers"]["svd"]["prune"] = prune
        pipeline.run(Campaign.from_tables(tiny), tmp_path / name, client)
    stores = tmp_path / "before", tmp_path / "after"
    done = invoke("compare", *stores, "--snr_db", 20)
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"the first: {stores[0]}, commit ")
    assert "on the same realizations" in done.output
    points = json.loads(invoke("compare", *stores, "--solvers", "oracle", "--json").output)[
        "points"
    ]
    assert [(one["solver"], one["tied"]) for one in points] == [("oracle", 1.0)] * 2
    assert "in one of the two only" not in done.output
    del tiny["solvers"]["svd"]
    pipeline.run(Campaign.from_tables(tiny), tmp_path / "fewer", client)
    assert invoke("compare", stores[0], tmp_path / "fewer").output.splitlines()[2] == (
        "in one of the two only: svd"
    )
    page = tmp_path / "page.html"
    assert invoke("report", *stores, "-o", page).exit_code == 0
    assert f"the second: {stores[1]}, commit" in page.read_text()
    for words in ((stores[0],), (*stores, "--reference", "svd"), (*stores, stores[0])):
        done = invoke("compare", *words)
        assert done.exit_code == 2
        assert "give either a second store, or as --reference one of svd, oracle" in done.output
