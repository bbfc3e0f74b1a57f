"""Figures: that they hold what they should, of cubes in any state."""

import html
import json
import re
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from matplotlib import colors
from matplotlib.text import Text

import pipeline
from pipeline import Campaign, plots
from pipeline.analysis import describing, summarize
from pipeline.analysis.distributions import empirical_cdf, trace_quantiles
from pipeline.cli import main
from pipeline.errors import InputError
from pipeline.plots import kinds, scales, static, style, sweeps
from pipeline.plots.looks import COLOURS, MARKERS, looks_across, looks_of
from solvers import option
from tests import two_measures
from tests.cubes import cube
from tests.small_studies import campaign_with, cube_of, with_latency
from tests.test_analysis import bounded, picky


@pytest.fixture(scope="module")
def cubes(tmp_path_factory, client):
    """Cubes by name, in memory; what the command line draws stays lazy."""
    folder = tmp_path_factory.mktemp("cubes")
    changes = {
        "plain": {"output": {"trace": True}},
        "grid": {"sweep": {"snr_db": [10, 20], "measurements.0": [3, 4, 5]}},
        "failing": {
            "campaign": {"batch": 1},
            "solvers": {
                "trouble": {
                    "use": "tests.troublemakers:Trouble",
                    "how": "raise_error",
                    "above": 2.0,
                }
            },
        },
        "single": {"campaign": {"realizations": 1}, "sweep": {}, "output": {"trace": True}},
    }
    return {
        name: cube_of(campaign_with(**change), folder / name, client).load()
        for name, change in changes.items()
    }


def texts(figure):
    """All words of a figure."""
    from matplotlib.text import Text

    return " ".join(" ".join(t.get_text() for t in figure.findobj(Text)).split())


def curves_of(figure, panel=0):
    """Lines with a marker, by their colour."""
    lines = [line for line in figure.axes[panel].lines if line.get_marker() not in ("", "None")]
    return {colors.to_hex(line.get_color()).upper(): line for line in lines}


def test_curves_show_mean_and_interval_of_every_solver(cubes):
    cube = cubes["plain"]
    figure = plots.draw(cube, statistic="mean")
    ax = figure.axes[0]
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "SNR (dB)"
    assert "normalised mean squared" in ax.get_ylabel()
    drawn = curves_of(figure)
    assert list(drawn) == [COLOURS[0], COLOURS[1]]
    assert len(ax.collections) == 2
    for number, line in enumerate(drawn.values()):
        mean = cube.nmse.isel(solver=number).mean("realization").values
        np.testing.assert_allclose(line.get_ydata(), mean)
    said = texts(figure)
    for word in ("tiny", "6 realizations", "sparsity 2", "5×5×5", "svd", "oracle", "bootstrap"):
        assert word in said
    assert "means not to be trusted (see the median): svd; oracle" in said
    assert "unfinished" not in said


def test_the_median_is_the_default_and_says_so(cubes):
    figure = plots.draw(cubes["plain"])
    medians = cubes["plain"].nmse.median("realization").values
    for line, median in zip(curves_of(figure).values(), medians, strict=True):
        np.testing.assert_allclose(line.get_ydata(), median)
    assert "median, 95 % distribution-free" in texts(figure)


def test_rates_have_a_linear_axis(cubes):
    ax = plots.draw(cubes["plain"], measure="srr").axes[0]
    assert ax.get_yscale() == "linear"
    assert ax.get_ylabel() == "support recovery rate"


def test_every_kind_draws_with_the_same_looks(cubes, tmp_path):
    cube = cubes["plain"]
    kinds = plots.kinds_of(cube)
    assert kinds == ["curves", "cdf", "runtime", "tradeoff", "convergence"]
    for kind in kinds:
        figure = plots.draw(cube, kind)
        found = {c: line.get_marker() for c, line in curves_of(figure).items()}
        expected = dict(zip(COLOURS, MARKERS, strict=False))
        assert found, kind
        assert found.items() <= expected.items(), kind
        plots.save(figure, tmp_path / f"{kind}.png")
        assert (tmp_path / f"{kind}.png").stat().st_size > 10_000


def test_a_solver_keeps_its_look_where_others_are_left_out(cubes):
    looks = looks_of(["somebody", *cubes["plain"].solver.values])
    drawn = curves_of(plots.draw(cubes["plain"], looks=looks))
    assert list(drawn) == [COLOURS[1], COLOURS[2]]


def test_many_solvers_all_look_different():
    looks = looks_of(f"solver-{n}" for n in range(20))
    assert len({(look.colour, look.marker) for look in looks.values()}) == 20


def test_a_solver_of_several_studies_has_one_look_and_none_have_the_same_in_a_study():
    studies = [["am", "svd", "alone"], ["own", "svd", "other"], ["komp", "am"]]
    looks = looks_across(studies)
    assert [looks["am"], looks["svd"]] == list(looks_of("ab").values())
    for labels in studies:
        assert len({looks[label] for label in labels}) == len(labels)
    assert looks["komp"].colour == COLOURS[1]  # free there: svd is in other studies


def test_convergence_has_a_panel_per_point(cubes):
    figure = plots.draw(cubes["plain"], "convergence", "cost")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["SNR = 10 dB", "SNR = 20 dB"]
    assert figure.axes[0].get_xscale() == "log"
    assert figure.axes[0].get_yscale() == "linear"
    assert "no trace: oracle" in texts(figure)


def test_two_parameters_give_heat_maps_and_curves_once_one_is_fixed(cubes):
    cube = cubes["grid"]
    figure = plots.draw(cube)
    assert [ax.get_title(loc="left") for ax in figure.axes[:2]] == ["svd", "oracle"]
    image = figure.axes[0].images[0].get_array()
    expected = cube.nmse.sel(solver="svd").median("realization")
    expected = expected.transpose("measurements_0", "snr_db")
    np.testing.assert_allclose(image, 10 * np.log10(expected))
    linear = plots.draw(cube, decibels=False).axes[0].images[0].get_array()
    np.testing.assert_allclose(linear, expected)
    summary = summarize(cube).sel(solver="svd", snr_db=10, measurements_0=3)
    level, low, high = (
        10 * np.log10(float(summary[f"median{end}"])) for end in ("", "_low", "_high")
    )
    assert f"{level:.1f} ±{(high - low) / 2:.1f}".replace("-", "−") in texts(figure)
    assert "numbers in dB, ± half of the 95 % interval" in texts(figure)
    figure = plots.draw(cube, "curves")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["SNR = 10 dB", "SNR = 20 dB"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    figure = plots.draw(cube, point={"measurements_0": 4})
    assert figure.axes[0].get_xlabel() == "SNR (dB)"
    assert "measurements of the first factor = 4" in texts(figure)


def test_missing_and_failed_cells_are_told(cubes):
    cube = cubes["plain"].copy()
    cube["status"] = cube.status.where(cube.realization < 4, 0)
    assert "unfinished: 4 of 6 realizations" in texts(plots.draw(cube))
    cube["status"] = cube.status.where(cube.solver != "svd", 0)
    figure = plots.draw(cube)
    assert "svd 0; oracle 4" in texts(figure)
    assert "svd (no data)" in texts(figure)
    failing = cubes["failing"]
    failed = int((failing.status.sel(solver="trouble") >= 4).sum())
    assert 0 < failed < 12
    for statistic, words in (("median", "count as the worst outcome"), ("mean", "are left out")):
        said = texts(plots.draw(failing, statistic=statistic))
        assert f"failed: trouble {failed} of 12 realizations; they {words}" in said
    assert "count as the worst outcome" in texts(plots.draw(failing, "cdf"))


def test_bounds_are_dashed_and_drawn_with_means_only():
    cube = bounded()
    energy = np.ones(cube.nmse.shape)
    cube["signal_energy"] = (cube.nmse.dims, energy)
    for statistic in ("mean", "pooled"):
        figure = plots.draw(cube, statistic=statistic)
        (bound,) = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
        assert bound.get_marker() in ("", "None")
        np.testing.assert_allclose(bound.get_ydata(), cube.nmse[2].mean("realization"))
        assert "(SBL may lie below; not on medians): crb" in texts(figure)
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["svd", "oracle", "crb"]
    for kind in ("curves", "cdf", "tradeoff"):
        figure = plots.draw(cube, kind)
        assert len(curves_of(figure)) == 2
        assert not [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert "not on medians): crb" in texts(plots.draw(cube))


@pytest.mark.parametrize(("statistic", "shown"), [("median", 2), ("mean", 3)])
def test_a_heat_map_of_a_cube_with_bounds(statistic, shown):
    cube = xr.concat([bounded(), bounded()], xr.Variable("sparsity", [1, 2]), data_vars="all")
    maps = kinds.create("heatmap", statistic=statistic).describe(cube).panels
    assert [panel.title for panel in maps] == ["svd", "oracle", "crb"][:shown]


def test_no_figure_profits_from_failures():
    cube = picky()
    for statistic in ("median", "mean"):
        figure = plots.draw(cube, statistic=statistic)
        am, other, _ = (line.get_ydata() for line in curves_of(figure).values())
        said = texts(figure)
        assert "failed: picky 160 of 400 realizations" in said
        assert (other >= am).all() or "means not to be trusted (see the median): am; picky" in said


def test_half_of_the_realizations_failed_leaves_a_figure(cubes):
    cube = cubes["plain"].copy()
    worst = (cube.solver == "svd") & (cube.realization > 0)
    cube["status"] = xr.where(worst, 17, cube.status).transpose(*cube.status.dims)
    cube["srr"].attrs |= {"valid_min": 0.0, "valid_max": 1.0}
    for measure in ("nmse", "srr"):
        plots.draw(cube, measure=measure).draw_without_rendering()


def test_failed_cells_hold_the_distribution_below_one(cubes):
    sample = cubes["failing"].sel(solver="trouble", snr_db=10)
    found = empirical_cdf(sample, "nmse")
    good = int((sample.status < 4).sum())
    assert float(found.share[-1]) == pytest.approx(good / 6)
    assert float(found.share[0]) == 0.0
    assert bool((found.low <= found.share).all() & (found.share <= found.high).all())


def test_stopped_realizations_keep_their_last_value():
    trace = np.array(
        [[4.0, 2.0, np.nan, np.nan], [8.0, 6.0, 4.0, 2.0], [1.0, np.nan, np.nan, np.nan]]
    )
    sample = xr.Dataset(
        {
            "status": ("realization", np.array([1, 1, 17], "u1")),
            "trace_nmse": (("realization", "iteration"), trace),
        },
        coords={"iteration": np.arange(1, 5)},
    )
    found = trace_quantiles(sample, "trace_nmse")
    np.testing.assert_allclose(found["median"], [6.0, 4.0, 3.0, 2.0])
    lazily = trace_quantiles(sample.chunk(realization=1), "trace_nmse")
    xr.testing.assert_identical(found, lazily)


def test_one_realization_has_no_bands_and_nothing_swept_no_axis(cubes):
    cube = cubes["single"]
    for kind in plots.kinds_of(cube):
        plots.draw(cube, kind).draw_without_rendering()
    figure = plots.draw(cube)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["svd", "oracle"]
    assert "1 realization" in texts(figure)
    assert "too few realizations for an interval: 2 points" in texts(figure)


def test_one_solver_is_enough(cubes):
    cube = cubes["plain"].isel(solver=[1])
    for kind in ("curves", "cdf", "runtime", "tradeoff"):
        assert len(curves_of(plots.draw(cube, kind))) == 1


def test_latency_is_shown_for_each_host(cubes):
    cube = with_latency(cubes["plain"])
    assert "latency" in plots.kinds_of(cube)
    figure = plots.draw(cube, "latency")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["on blade", "on pi"]
    np.testing.assert_allclose(curves_of(figure, 1)[COLOURS[0]].get_ydata(), 2.0)
    with pytest.raises(InputError, match="not measured"):
        plots.draw(cubes["plain"], "latency")


def test_text_axes_and_logarithmic_axes():
    words = xr.DataArray(["fixed", "random"], dims="patterns", name="patterns")
    axis, at = sweeps.swept_axis(words)
    assert at.tolist() == [0, 1]
    _, axes = style.canvas()
    static.set_axis(axes[0, 0].xaxis, axis)
    assert [t.get_text() for t in axes[0, 0].get_xticklabels()] == ["fixed", "random"]
    assert scales.evenly_spaced_in_log([1e-4, 1e-3, 1e-2])
    assert scales.evenly_spaced_in_log([8, 16, 32, 64])
    assert not scales.evenly_spaced_in_log([5, 10, 15, 20, 25, 30, 40])
    assert not scales.evenly_spaced_in_log([0, 10, 100])


@pytest.mark.parametrize("values", [[0.0, 0.0], [np.nan], [np.inf, 1.0], [1e-300, 1.0], [3.0, 3.0]])
def test_odd_values_give_sensible_limits(values):
    limits = scales.log_limits(values)
    if limits is not None:
        assert 0 < limits[0] < limits[1] < np.inf
        assert limits[1] / limits[0] < 10 ** (2 * scales.DECADES + 2)


def test_a_solver_gone_astray_leaves_the_others_on_the_axis():
    values = np.array([1e-6, 2e-6, 1e-3, 1e-3, 2e-2, 1e4])
    limits = scales.log_limits(values)
    assert limits[0] < values.min()
    assert limits[1] > values.max()
    assert scales.off_axis(values, limits) == []
    far = np.array([0.0, 1e-30, 1e-3, 1e-3, 1e-2, np.inf])
    [note] = scales.off_axis(far, scales.log_limits(far))
    assert note.startswith("points off the axis: 2 below 4e-12, 1 above ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--measure", "nmsee"], "nmse, srr"),
        (["--kind", "convergence"], "[output] trace = true"),
        (["--kind", "heatmap"], "two swept parameters"),
        (["--kind", "latency"], "not measured"),
        (["--kind", "pie"], "curves"),
        (["--snr_db", "11"], "[10, 20]"),
        (["--snr", "10"], "snr_db"),
        (["--snr_db"], "--PARAMETER VALUE"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line(store, tmp_path, arguments, says):
    done = CliRunner().invoke(main, ["plot", str(store), "-o", str(tmp_path / "x.png"), *arguments])
    assert done.exit_code == 2
    assert says in done.output
    assert not (tmp_path / "x.png").exists()


@pytest.fixture(scope="module")
def store(tmp_path_factory, client):
    folder = tmp_path_factory.mktemp("store") / "tiny"
    pipeline.run(campaign_with(scenario={"use": two_measures.USE}), folder, client)
    return folder


@pytest.mark.parametrize("name", ["x.xyz", "nowhere/x.png", "x"])
def test_unwritable_figures_are_one_clear_line(store, tmp_path, name):
    done = CliRunner().invoke(main, ["plot", str(store), "-o", str(tmp_path / name)])
    assert done.exit_code == 2
    assert len(done.output.splitlines()) == 1


def test_parameters_that_move_together_are_all_named(tiny, client, tmp_path):
    sizes = {"dims": [[5, 5, 5], [6, 6, 6]], "measurements": [[4, 4, 5], [5, 5, 6]]}
    tiny["sweep"] = {"snr_db": [10, 15, 20], "size": sizes}
    del tiny["scenario"]["dims"], tiny["scenario"]["measurements"]
    cube = cube_of(Campaign.from_tables(tiny), tmp_path / "store", client)
    figure = plots.draw(cube, "curves")
    assert "dims = 6x6x6, measurements = 5x5x6" in texts(figure)
    path = tmp_path / "x.svg"
    words = ["plot", str(tmp_path / "store"), "-o", str(path), "--at.size", "6x6x6"]
    done = CliRunner().invoke(main, [*words, "--size", "3.5", "2.6"])
    assert done.exit_code == 0, done.output
    assert re.search(r'width="252pt" height="187', path.read_text())
    assert "6x6x6" in path.read_text()
    assert "5x5x5" not in path.read_text()


def test_the_command_draws_at_a_point(store, tmp_path):
    target = tmp_path / "cdf.svg"
    command = ["plot", str(store), "-o", str(target), "--kind", "cdf", "--snr_db", "20"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "SNR = 20 dB" in target.read_text()


@pytest.mark.parametrize("value", [0.0, np.inf, 0.5])
def test_odd_measures_are_drawn_without_complaint(cubes, value):
    cube = cubes["plain"].copy()
    cube["nmse"] = xr.full_like(cube.nmse, value)
    for kind in ("curves", "cdf", "tradeoff"):
        plots.draw(cube, kind).draw_without_rendering()


def test_a_cube_of_failures_has_axes_and_a_note(cubes):
    cube = cubes["plain"].copy()
    cube["status"] = xr.full_like(cube.status, 17)
    for kind in plots.kinds_of(cube):
        figure = plots.draw(cube, kind)
        figure.draw_without_rendering()
        assert "failed: svd 12 of 12; oracle 12 of 12" in texts(figure), kind


def test_a_point_without_values_leaves_the_others_on_their_scale(cubes):
    cube = cubes["plain"].copy()
    cube["status"] = xr.where(cube.snr_db == 10, 17, cube.status)
    empty, full = plots.draw(cube, "cdf").axes
    assert empty.get_xscale() == full.get_xscale() == "log"
    assert empty.get_xlim() == full.get_xlim()
    assert not empty.lines


def test_an_empty_cube_gives_no_figure(cubes):
    cube = cubes["plain"].copy()
    cube["status"] = xr.zeros_like(cube.status)
    with pytest.raises(InputError, match="nothing to draw"):
        plots.draw(cube)
    with pytest.raises(InputError, match="not a result cube"):
        plots.draw(xr.Dataset({"x": 1}))


def test_the_list_of_kinds_loads_no_renderer():
    script = (
        "import sys; from pipeline.plots import kinds; print([k.shows for k in kinds.BUILT_IN]);"
        "print({'matplotlib', 'bokeh'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"


@dataclass(frozen=True)
class Share(plots.FigureKind):
    """A kind of somebody else's, in one of several states."""

    name = "share"
    shows = "nothing in particular"
    how: str = option("well", "what it does", choices=("well", "raises", "declines", "strange"))

    def applies(self, results):
        return "has no reason" if self.how == "declines" else None

    def describe(self, results):
        if self.how == "raises":
            raise KeyError("nmse")
        if self.how == "strange":
            return [1, 2]
        half = 0.5 + 0 * results.nmse.mean("realization")
        panel = plots.over_sweep(results, (half, half, half), plots.Axis("share"))
        return plots.FigureData([panel], "nothing", notes=["made up"])


def test_kinds_of_ones_own_are_drawn_per_panel(cubes):
    figure = plots.draw(cubes["grid"], Share())
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["SNR = 10 dB", "SNR = 20 dB"]
    assert figure.axes[0].get_xlabel() == "measurements of the first factor"
    assert texts(figure).count("made up") == 1
    plots.draw(cubes["single"], Share()).draw_without_rendering()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("raises", "kind of figure 'share' broke: KeyError: 'nmse'"),
        ("declines", "share: has no reason"),
        ("strange", "kind of figure 'share' gives list, not FigureData"),
    ],
)
def test_kinds_that_break_are_one_clear_line(cubes, how, says):
    with pytest.raises(InputError, match=re.escape(says)):
        plots.draw(cubes["plain"], Share(how))


def test_options_belong_to_kinds(cubes):
    for kind, option_, says in (
        ("cdf", {"statistic": "mean"}, "cdf has no option 'statistic'; known: measure"),
        (
            "curves",
            {"statistic": "mode"},
            "curves: statistic must be one of 'median', 'mean', 'pooled'",
        ),
        ("curves", {"measure": 3}, "curves: measure must be of type str"),
    ):
        with pytest.raises(InputError, match=says):
            plots.draw(cubes["plain"], kind, **option_)


def test_measures_of_several_values_are_declined(cubes):
    cube = cubes["plain"]
    cube = cube.assign(rate=cube.srr.expand_dims(user=2, axis=-1).assign_attrs(cube.srr.attrs))
    with pytest.raises(InputError, match="rate has a dimension of its own, user"):
        plots.draw(cube, "curves", "rate")


def test_the_command_offers_every_kind():
    text = CliRunner().invoke(main, ["plot", "--help"]).output
    for name in plots.names():
        assert f"  {name} " in text


def test_settings_name_what_is_fixed(cubes):
    cube = describing.fix(cubes["grid"], {"measurements_0": 5})
    assert describing.setting(cube) == (
        "synthetic: measurements of the first factor = 5, dims 5×5×5, measurements ·×4×5, "
        "sparsity 2"
    )
    plain = cubes["single"]
    assert describing.setting(plain).endswith("sparsity 2, SNR = 10 dB")


def test_a_statistic_that_means_little_has_an_open_marker_and_a_note(cubes):
    cube = cubes["plain"].copy()
    capped = (cube.solver == "svd") & (cube.snr_db == 10) & (cube.realization < 3)
    cube["status"] = xr.where(capped, 2, cube.status).astype("u1").assign_attrs(cube.status.attrs)
    cube["status"] = cube.status.transpose(*cubes["plain"].status.dims)
    cube["iterations"] = cube.iterations.where(~capped, 150)
    (panel,) = kinds.describe(kinds.create("curves"), cube).panels
    open_points = {curve.solver: curve.doubtful.tolist() for curve in panel.curves}
    assert open_points == {"svd": [True, False], "oracle": [False, False]}
    figure = plots.draw(cube)
    (marks,) = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert len(marks.get_xdata()) == 1
    words = " ".join(text.get_text() for text in figure.findobj(Text)).replace("\n", " ")
    assert "svd: 3 of 12 ended at 150 iterations" in words
    assert "open markers: more than 5 % of these realizations" in words


ODD = ["$\\foo$", "plain", "$$x$$", "{$", "<b>&amp;", "a\\$b$", "_x", "%s", "50 % of 3 $"]


@pytest.mark.parametrize("kind", ["curves", "cdf", "runtime", "tradeoff", "heatmap"])
def test_text_is_no_formula(kind, tmp_path):
    results = cube(solvers=len(ODD), points=3)
    odd = np.array(ODD, np.dtypes.StringDType())
    results = results.assign_coords(solver=odd, snr_db=odd[[0, 1, 5]])
    results.snr_db.attrs = {"units": "$\\foo$", "long_name": "$x$ and $y"}
    results.nmse.attrs["long_name"] = "$\\bar$"
    results.attrs |= {"name": "$\\foo$", "campaign": 'scenario.channel = "$\\\\foo$"'}
    if kind == "heatmap":
        results = results.expand_dims(k=[1, 2]).transpose("solver", "k", ...)
    point = {"snr_db": "a\\$b$"} if kind == "cdf" else {}
    figure = plots.draw(results, kind, point=point)
    plots.save(figure, tmp_path / "figure.svg")
    drawn = html.unescape((tmp_path / "figure.svg").read_text())
    shown = ODD[:1] if kind == "heatmap" else ODD
    assert [text for text in shown if text not in drawn] == []


def test_an_snr_of_infinity_has_a_place_beyond_the_others():
    from pipeline.plots import scales

    assert scales.places(np.array([5.0, np.inf, 25.0, 15.0])).tolist() == [5, 35, 25, 15]
    assert scales.places(np.array([5.0, np.inf])).tolist() == [5, 6]
    assert scales.places(np.array([-np.inf, 0.0, 10.0])).tolist() == [-10, 0, 10]
    assert scales.places(np.array([5, 15])).tolist() == [5, 15]


def test_legends_tell_a_preset(cubes):
    cube = cubes["plain"].assign_attrs(
        solvers=json.dumps({"svd": {"options": {"preset": "published"}}, "oracle": {"options": {}}})
    )
    (legend,) = plots.draw(cube).legends
    assert [text.get_text() for text in legend.get_texts()] == ["svd (published)", "oracle"]
