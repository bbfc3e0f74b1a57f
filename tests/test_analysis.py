"""Statistics of cubes: complete, certain, and the same however the cube is kept."""

import json
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from pipeline import InputError
from pipeline.analysis import (
    best_solver,
    changed_rankings,
    compare,
    gaps,
    has_gaps,
    latencies,
    measures_of,
    records,
    summarize,
    to_db,
)
from pipeline.analysis.comparison import holm
from pipeline.analysis.distributions import empirical_cdf
from pipeline.analysis.summaries import means_of
from solvers import Status
from tests import two_measures
from tests.cubes import cube


def flatten(dataset):
    return {name: variable.values for name, variable in dataset.data_vars.items()}


def assert_same(one, other):
    assert set(one.data_vars) == set(other.data_vars)
    for name, values in flatten(one).items():
        np.testing.assert_allclose(values, other[name].values, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("chunks", [{}, {"realization": 7}, {"solver": 1, "snr_db": 1}])
def test_lazy_cubes_give_the_same(chunks):
    eager = cube()
    eager["status"][0, 1, 3:9] = Status.RAISED
    lazy = eager.chunk(chunks)
    assert_same(summarize(eager), summarize(lazy))
    assert_same(summarize(eager, cells="common"), summarize(lazy, cells="common"))
    assert_same(compare(eager, "s1"), compare(lazy, "s1"))


def test_statistics_are_those_of_the_cells():
    ds = cube(realizations=40)
    one = summarize(ds).sel(solver="s1", snr_db=10)
    values = ds.nmse.sel(solver="s1", snr_db=10).values
    assert float(one["mean"]) == pytest.approx(values.mean())
    assert float(one.mean_se) == pytest.approx(scipy.stats.sem(values))
    assert float(one["median"]) == pytest.approx(np.median(values))
    assert float(one.db_mean) == pytest.approx(to_db(values).mean())
    low, high = scipy.stats.t.interval(0.95, 39, one.db_mean, scipy.stats.sem(to_db(values)))
    assert one.db_mean_low <= low + 1e-9  # the hull with Hall's
    assert one.db_mean_high >= high - 1e-9
    np.testing.assert_allclose(one.quantiles, np.quantile(values, one["quantile"]))
    assert one.mean_low < one["mean"] < one.mean_high
    assert float(one.iterations) == pytest.approx(
        ds.iterations.sel(solver="s1", snr_db=10).values.mean()
    )


def test_analysis_stands_on_a_dataset_alone():
    script = (
        "import sys, xarray; before = set(sys.modules); import pipeline.analysis.describing;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "solvers" in loaded
    assert not loaded & {"zarr", "pydantic", "dask", "distributed", "matplotlib", "bokeh"}


statuses = st.sampled_from([int(s) for s in Status])


@settings(max_examples=25)
@given(st.lists(statuses, min_size=12, max_size=12), st.lists(st.booleans(), min_size=12))
def test_every_cell_is_counted_once(statuses, undefined):
    ds = cube(2, 2, 3)
    ds["status"][:] = np.array(statuses, "u1").reshape(2, 2, 3)
    ds["nmse"] = ds.nmse.where(~np.array(undefined[:12]).reshape(2, 2, 3))
    statistics = summarize(ds)
    declined = (ds.status == Status.NOT_APPLICABLE).sum("realization")
    assert (statistics.cells + statistics.missing + declined == 3).all()
    assert (statistics.used + statistics.failed + statistics.undefined == statistics.cells).all()
    assert (np.isnan(statistics["mean"]) == (statistics.used == 0)).all()
    common = summarize(ds, cells="common")
    assert (common.used <= statistics.used).all()
    assert (common.used + common.failed + common.undefined == common.cells).all()
    counts = common.used.where(statistics.used > 0)
    assert (counts.max("solver").fillna(0) == counts.min("solver").fillna(0)).all()
    assert has_gaps(ds, "nmse") == bool((common.used < statistics.used).any())
    compared = compare(ds, "s0").sel(solver="s1")
    failed = ds.status.isin(Status.values("failed"))
    known = failed | (ds.status.isin(Status.values("finished")) & ds.nmse.notnull())
    both = known.all("solver")
    assert (compared.pairs == both.sum("realization")).all()
    assert (compared.failed == (both & failed.sel(solver="s1")).sum("realization")).all()
    assert (compared.reference_failed == (both & failed.sel(solver="s0")).sum("realization")).all()


def test_common_cells_are_those_that_all_have_finished():
    ds = cube()
    ds["status"][0, 0, :10] = Status.DIVERGED
    ds["status"][1, 0, 5:20] = Status.NOT_RUN
    ds["status"][2, 1] = Status.TIME_LIMIT
    common = summarize(ds, cells="common")
    np.testing.assert_array_equal(common.used, [[10, 30], [10, 30], [10, 0]])
    left = ds.nmse.sel(solver="s2", snr_db=0)[20:]
    assert float(common["mean"].sel(solver="s2", snr_db=0)) == pytest.approx(float(left.mean()))


def test_cells_that_are_still_to_run_may_change_the_ranking():
    ds = cube(2, 1, 20)
    ds["nmse"][:] = np.where(np.arange(20) < 12, 1.0, 0.01) * np.array([1.0, 2.0])[:, None, None]
    ds["status"][1, 0, :12] = Status.NOT_RUN
    everything, common = summarize(ds), summarize(ds, cells="common")
    found = changed_rankings(everything, common)
    assert [(r.statistic, r.all, r.common) for r in found] == [
        ("median", [["s1"], ["s0"]], [["s0"], ["s1"]]),
        ("mean", [["s1"], ["s0"]], [["s0"], ["s1"]]),
    ]
    assert found[0].point == {"snr_db": 0}
    assert changed_rankings(everything, everything) == []


def picky(better="lower"):
    """A cube in which "picky" is "am" that gives up on its worst 40 %; "svd" is a bit worse."""
    ds = cube(3, 2, 200).assign_coords(solver=["am", "picky", "svd"])
    ds["nmse"].attrs["better"] = better
    ds["nmse"][1] = ds.nmse[0].values
    ds["nmse"][2] = ds.nmse[0].values * (1.1 if better == "lower" else 0.9)
    levels = {"lower": 0.6, "higher": 0.4}
    limit = ds.nmse[1].quantile(levels[better], "realization")
    worst = (ds.nmse[1] > limit) if better == "lower" else (ds.nmse[1] < limit)
    ds["status"][1] = xr.where(worst, Status.DIVERGED, ds.status[1]).values
    return ds


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_solver_gains_nowhere_by_failing_where_it_is_bad(better):
    ds = picky(better)
    sign = 1 if better == "lower" else -1
    found, common = summarize(ds), summarize(ds, cells="common")
    am, other = (found.sel(solver=s) for s in ("am", "picky"))
    for name in ("median", "median_low", "median_high", "quantiles"):
        assert (sign * other[name] >= sign * am[name]).all(), name
    assert other.mean_marked.all()
    assert (other.failed == 80).all()
    assert all(
        r.common[0] == ["am", "picky"] and r.all.index(["am"]) < r.all.index(["picky"])
        for r in changed_rankings(found, common)
    )
    assert best_solver(ds, "nmse") == "am"
    marked = means_of(ds, ["ser"]).ser_marked
    assert marked.sel(solver="picky").all()
    compared = compare(ds, "am").sel(solver="picky")
    assert (compared.failed == 80).all()
    assert (compared.won == 0).all()
    assert compared.lost.values == pytest.approx([0.4, 0.4])
    assert (sign * compared.median_difference >= 0).all()
    svd = compare(ds, "picky").sel(solver="svd")
    assert svd.won.values == pytest.approx([0.4, 0.4])
    cdf = {s: empirical_cdf(ds.sel(solver=s, snr_db=0), "nmse") for s in ("am", "picky")}
    at = cdf["picky"].value.values[1:]
    shares = {s: _share_at(one, at) for s, one in cdf.items()}
    assert (sign * (shares["am"] - shares["picky"]) >= -0.006).all()  # a step of 400


def _share_at(cdf, values):
    return cdf.share.values[np.searchsorted(cdf["value"].values, values, side="right") - 1]


def test_solvers_that_are_equal_rank_alike():
    ds = picky()
    ds["status"][0, 1, 0] = Status.NOT_RUN
    changes = changed_rankings(summarize(ds), summarize(ds, cells="common"))
    assert changes
    assert all(change.common == [["am", "picky"], ["svd"]] for change in changes)


def test_points_may_be_words():
    ds = cube(2, 2, 20).rename(snr_db="patterns")
    ds = ds.assign_coords(patterns=np.array(["fixed", "random"], np.dtypes.StringDType()))
    ds["status"][1, 0, :19] = Status.RAISED
    ds["nmse"][:, 0] = np.arange(40.0).reshape(2, 20) * np.array([[1.0], [-1.0]]) + 21
    found = changed_rankings(summarize(ds), summarize(ds, cells="common"))
    json.dumps([r._asdict() for r in found], allow_nan=False)
    assert records(compare(ds, "s0"))[1]["patterns"] == "random"


def test_odd_numbers_are_quiet_and_say_so():
    ds = cube(3, 2)
    ds["nmse"][0] = 0.0
    ds["nmse"][1, 0] = 1e-31
    ds["nmse"][1, 1, 4] = np.inf
    ds["nmse"][2, 1, :2] = np.nan
    statistics = summarize(ds)
    zero, exact = statistics.isel(solver=0, snr_db=0), statistics.isel(solver=1, snr_db=0)
    assert (zero["mean"], zero.mean_low, zero.mean_high) == (0, 0, 0)
    assert np.isnan(zero.db_mean)
    assert float(exact.db_mean) == pytest.approx(-310)
    infinite = statistics.isel(solver=1, snr_db=1)
    assert np.isinf(infinite["mean"])
    assert np.isnan([infinite.mean_low, infinite.mean_se, infinite.db_mean]).all()
    assert np.isfinite([infinite["median"], infinite.median_low, infinite.median_high]).all()
    assert bool(infinite.mean_marked)
    assert int(statistics.undefined.sum()) == 2
    assert np.isnan(summarize(ds, "ser").db_mean).all()
    json.dumps(records(statistics), allow_nan=False)


def test_one_realization_has_no_interval():
    statistics = summarize(cube(realizations=1))
    for name in ("mean_se", "mean_low", "mean_high", "median_low", "db_mean_low"):
        assert np.isnan(statistics[name]).all()
    assert np.isfinite(statistics["mean"]).all()
    compared = compare(cube(realizations=1), "s0")
    assert np.isnan(compared.difference_low).all()
    assert (compared.pairs == 1).all()


def test_measures_with_a_dimension_of_their_own():
    ds = cube()
    values = np.random.default_rng(1).random((3, 2, 30, 4))
    ds["rate"] = (*[(*ds.status.dims, "user")], values, {"better": "higher", "units": "1"})
    statistics = summarize(ds.chunk(), "rate")
    assert statistics["mean"].dims == ("solver", "snr_db", "user")
    assert statistics.failed.dims == ("solver", "snr_db")
    np.testing.assert_allclose(statistics["median"], np.median(values, axis=2))
    assert len(records(statistics)) == 24
    assert compare(ds, "s0", "rate").sizes == {"solver": 2, "snr_db": 2, "user": 4}


def test_units_and_names_for_plots():
    statistics = summarize(cube())
    assert statistics.db_mean.attrs["units"] == "dB"
    assert statistics.runtime_quantile.attrs["units"] == "s"
    assert all(v.attrs["long_name"] for v in statistics.data_vars.values())


def test_bad_input_names_what_there_is():
    ds = cube()
    with pytest.raises(InputError, match="no measure 'nmsee' in this cube; it has nmse, ser"):
        summarize(ds, "nmsee")
    with pytest.raises(InputError, match="cells is one of all, common, not 'some'"):
        summarize(ds, cells="some")
    with pytest.raises(InputError, match="not a result cube"):
        summarize(xr.Dataset({"nmse": ("x", [1.0])}))
    with pytest.raises(InputError, match="its dimensions are snr_db, realization; one value stays"):
        summarize(ds.sel(solver="s0"))
    with pytest.raises(InputError, match="holds no cells"):
        summarize(ds.isel(realization=slice(0)))
    with pytest.raises(InputError, match="no solver 's9' in this cube; it has s0, s1, s2"):
        compare(ds, "s9")
    with pytest.raises(InputError, match="nothing to compare s0 with"):
        compare(ds.isel(solver=[0]), "s0")


# -- comparison ---------------------------------------------------------------------------------


def test_a_constant_factor_is_found_exactly():
    ds = cube(2)
    ds["nmse"][1] = ds.nmse[0].values / 10
    ds["runtime"][1] = ds.runtime[0].values / 4
    ds["nmse"][1, 0, :3] = ds.nmse[0, 0, :3].values
    found = compare(ds, "s0").isel(solver=0)
    assert found.difference.values == pytest.approx([-9, -10])
    assert found.median_difference.values == pytest.approx([-10, -10])
    assert found.median_difference_low.values == pytest.approx([-10, -10])
    assert found.won.values == pytest.approx([0.9, 1])
    assert found.tied.values == pytest.approx([0.1, 0])
    np.testing.assert_allclose(
        [found.speed, found.speed_low, found.speed_high], 4 * np.ones((3, 2))
    )
    assert (found.p_holm < 1e-4).all()


def test_swapping_the_reference_mirrors_everything():
    ds = cube(2, 1)
    one, other = compare(ds, "s0").isel(solver=0), compare(ds, "s1").isel(solver=0)
    np.testing.assert_allclose(one.difference, -other.difference)
    np.testing.assert_allclose(one.difference_low, -other.difference_high)
    np.testing.assert_allclose(one.won, 1 - other.won - other.tied)
    np.testing.assert_allclose(one.won_low, 1 - other.won_high)
    np.testing.assert_allclose(one.p_value, other.p_value)
    np.testing.assert_allclose(one.speed_low, 1 / other.speed_high)


def test_higher_is_better_where_the_measure_says_so():
    ds = cube(2, 1)
    ds["ser"].attrs["better"] = "higher"
    ds["ser"][1] = ds.ser[0].values + 0.125
    found = compare(ds, "s0", "ser").squeeze()
    assert float(found.won) == 1
    assert float(found.difference) == pytest.approx(0.125)


def test_ties_and_infinities_in_a_comparison():
    ds = cube(3, 1)
    ds["nmse"][1] = ds.nmse[0].values
    ds["nmse"][2] = 0.0
    found = compare(ds, "s0").squeeze()
    assert found.tied.values.tolist() == [1, 0]
    assert found.p_value.values[0] == 1
    assert found.p_value.values[1] < 1e-6
    assert found.difference.values.tolist() == [0, -np.inf]


def test_speed_needs_two_batches():
    ds = cube(2, 1, batch=json.dumps({"s0": 5, "s1": 30}))
    assert np.isnan(compare(ds, "s0").speed_low).all()
    assert np.isfinite(compare(ds, "s0").speed).all()
    ds.attrs["batch"] = json.dumps({"s0": 3, "s1": 5})  # two batches of both
    assert np.isnan(compare(ds, "s0").speed_low).all()


def test_the_test_is_scipys():
    ds = cube(2, 1)
    difference = to_db(ds.nmse[1, 0].values) - to_db(ds.nmse[0, 0].values)
    expected = scipy.stats.binomtest(int((difference < 0).sum()), len(difference)).pvalue
    assert float(compare(ds, "s0").p_value.squeeze()) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_definition(values):
    p = np.array(values)
    found = holm(p)
    for level in (0.01, 0.05, 0.3):
        rejected, order = np.zeros(len(p), bool), np.argsort(p)
        for step, at in enumerate(order):
            if p[at] * (len(p) - step) > level:
                break
            rejected[at] = True
        np.testing.assert_array_equal(found <= level, rejected)
    assert (found >= p).all()


def test_holm_leaves_out_what_is_not_there():
    np.testing.assert_allclose(holm(np.array([[0.01, np.nan], [0.04, 0.03]])),
                               [[0.03, np.nan], [0.06, 0.06]])  # fmt: skip


# -- what is not seen, and bounds ---------------------------------------------------------------


def with_kinds(ds, **kinds):
    return ds.assign_attrs(solvers=json.dumps({label: {"kind": k} for label, k in kinds.items()}))


def test_a_mean_allows_for_failures_that_are_not_seen_yet():
    ds = with_kinds(cube(2, 1, 200), s1="oracle")
    ds["nmse"][:] = np.random.default_rng(1).gamma(9, 1e-2 / 9, ds.nmse.shape)
    ds["nmse"].attrs["zero_estimate"] = 1.0
    found = summarize(ds).squeeze()
    rate = 1 - 0.025 ** (1 / 200)
    expected = (1 - rate) * found["mean"] + rate
    assert float(found.mean_high[0]) == pytest.approx(float(expected[0]))
    assert float(found.mean_high[1]) < 0.0107
    assert found.mean_marked.values.tolist() == [True, False]  # 3 dB and more
    assert found.db_mean_high[0] > found.db_mean_high[1] + 0.1
    ds["nmse"] *= 40  # unseen failures would matter less than 3 dB
    assert not summarize(ds).mean_marked.any()
    ds["nmse"][0, 0, 0] = 1.001  # worse than the zero estimate: there is no telling how much
    assert summarize(ds).mean_marked.squeeze().values.tolist() == [True, False]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_rate_is_never_certain(value):
    ds = with_kinds(cube(1, 1, 50), s0="oracle")
    ds["ser"][:] = value
    ds["ser"].attrs |= {"better": "higher", "valid_min": 0.0, "valid_max": 1.0}
    found = summarize(ds, "ser").squeeze()
    reach = 1 - 0.025 ** (1 / 50)
    ends = (1 - reach, 1) if value else (0, reach)
    assert (float(found.mean_low), float(found.mean_high)) == pytest.approx(ends)
    means = means_of(ds, ["ser"]).squeeze()
    assert (float(means.ser_low), float(means.ser_high)) == pytest.approx(ends)


def test_pooled_is_the_ratio_of_sums():
    ds = cube(2, 1, 40)
    energy = np.random.default_rng(2).lognormal(size=40)
    ds["signal_energy"] = (ds.nmse.dims, np.broadcast_to(energy, ds.nmse.shape))
    ds["status"][1, 0, :4] = Status.DIVERGED
    found = summarize(ds).squeeze()
    expected = [
        (v[k:] * energy[k:]).sum() / energy[k:].sum()
        for v, k in zip(ds.nmse[:, 0].values, (0, 4), strict=True)
    ]
    assert found.pooled.values == pytest.approx(expected)
    assert (found.pooled_low < found.pooled).all()
    assert np.isnan(summarize(ds, "ser").pooled).all()


def bounded():
    """A cube with a bound a few dB below two solvers; no draw of it lacks an estimate."""
    ds = cube(3, 2, 150).assign_coords(solver=["svd", "oracle", "crb"])
    ds["nmse"][2] = np.random.default_rng(3).gamma(9, 1e-2 / 9, ds.nmse.shape[1:])
    ds["nmse"][:2] = ds.nmse[2].values * np.array([4.0, 2.0])[:, None, None]
    return with_kinds(ds, svd="estimator", oracle="oracle", crb="bound")


def test_bounds_have_means_only_and_no_rank():
    ds = bounded()
    found = summarize(ds)
    assert np.isnan(found.sel(solver="crb")[["median", "median_low"]].to_array()).all()
    assert np.isnan(found.sel(solver="crb").quantiles).all()
    assert found["mean"].sel(solver="crb").values == pytest.approx(ds.nmse[2].mean("realization"))
    ds["ser"][2] = np.nan
    assert "crb" not in summarize(ds, "ser").solver  # a bound on something else
    ds["status"][2, :, :50] = Status.NOT_RUN  # it has no say in what is common
    assert not has_gaps(ds, "nmse")
    ds["status"][0, :, 100:] = Status.NOT_RUN
    shared = summarize(ds, cells="common")
    assert (shared.used.sel(solver="oracle") == 100).all()
    assert all(["crb"] not in r.all for r in changed_rankings(found, shared))
    assert set(compare(ds, "svd").solver.values) == {"oracle"}
    with pytest.raises(InputError, match="crb is a bound"):
        compare(ds, "crb")


def test_the_gap_to_a_bound_is_a_ratio_of_means():
    ds = bounded()
    found = gaps(ds)
    assert found.gap.dims == ("solver", "snr_db", "bound")
    exact = 10 * np.log10([4, 2])
    for end in ("gap", "gap_low", "gap_high"):  # realizations are drawn in pairs
        np.testing.assert_allclose(found[end].isel(bound=0, snr_db=0), exact)
    noise = np.random.default_rng(4).gamma(20, 1 / 20, ds.nmse.shape)
    ds["nmse"] = ds.nmse * noise
    found = gaps(ds)
    assert (found.gap_low < found.gap).all()
    assert (found.gap_high < found.gap + 1).all()
    mean = ds.nmse.mean("realization")
    ratio = (mean / mean.sel(solver="crb", drop=True)).sel(solver=["svd", "oracle"])
    np.testing.assert_allclose(found.gap.squeeze("bound"), 10 * np.log10(ratio))
    assert gaps(ds.sel(solver=["svd", "oracle"])) is None
    json.dumps(records(found), allow_nan=False)


# -- latencies ----------------------------------------------------------------------------------


def timed(ds):
    """With latencies of two hosts, the first of which timed eight realizations."""
    latency = np.random.default_rng(1).gamma(3, 1e-3, (2, *ds.status.shape))
    latency[0, ..., 8:] = np.nan
    dims = ("timing_host", *ds.status.dims)
    return ds.assign(
        latency=(dims, latency, {"units": "s"}),
        peak_memory=(dims[:-1], np.full(latency.shape[:-1], 3e6), {"units": "B"}),
    ).assign_coords(timing_host=["old", "new"])


def test_latencies_are_kept_by_host():
    ds = timed(cube())
    found = latencies(ds.chunk())
    assert found.latency.dims == ("timing_host", "solver", "snr_db")
    expected = np.nanmedian(ds.latency, axis=-1)
    np.testing.assert_allclose(found.latency, expected)
    assert found.timed.sel(timing_host="old").values.ravel().tolist() == [8] * 6
    assert (found.latency_low <= found.latency).all()
    assert latencies(cube()) is None
    assert "peak_memory" not in latencies(ds.drop_vars("peak_memory"))


# -- real cubes ---------------------------------------------------------------------------------


@pytest.fixture
def store(tiny, tmp_path, client):
    tiny["scenario"]["use"] = two_measures.USE
    pipeline.run(pipeline.Campaign.from_tables(tiny), tmp_path / "store", client)
    return tmp_path / "store"


def test_a_real_cube_plots_as_users_expect(store):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ds = pipeline.open_results(store)
    assert measures_of(ds) == ["nmse", "srr"]
    lines = ds.nmse.mean("realization").plot.line(x="snr_db", hue="solver")
    axes = lines[0].axes
    assert axes.get_xlabel() == "SNR [dB]"
    assert "mean squared error" in axes.get_ylabel()
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["svd", "oracle"]
    pyplot.close("all")


def test_studies_open_as_a_tree(store):
    tree = pipeline.open_studies({"snr": store, "again": pipeline.Store.open(store)})
    assert set(tree.children) == {"snr", "again"}
    assert tree["snr"].nmse.chunks is not None
    means = tree.mean("realization")
    assert means["again"].nmse.dims == ("solver", "snr_db")
    assert set(pipeline.open_studies([store]).children) == {"store"}
    for bad, message in (
        ([store, str(store)], "two studies are called store"),
        ([], "at least one"),
        (store, "takes several stores"),
        ({"a/b": store}, "cannot name a study"),
    ):
        with pytest.raises(InputError, match=message):
            pipeline.open_studies(bad)
