"""What a reader chooses of a figure's looks: it is drawn so, and says nothing else than before."""

import shlex

import matplotlib
import numpy as np
import pytest
from click.testing import CliRunner
from cycler import cycler
from matplotlib.colors import to_hex

from pipeline import plots
from pipeline.cli import main
from pipeline.errors import InputError
from pipeline.plots import style
from pipeline.plots.looks import COLOURS
from pipeline.report import sections_of
from tests.cubes import cube
from tests.test_plots import texts


@pytest.fixture
def results():
    """Three solvers at four values of the SNR."""
    made = cube(solvers=3, points=4)
    made.snr_db.attrs = {"units": "dB", "long_name": "SNR"}
    return made.assign_attrs(solvers='{"s0": {}, "s1": {}, "s2": {}}')


def lines(figure):
    """Colours of the solvers in the legend, in its order."""
    (legend,) = [*figure.legends, *filter(None, (ax.get_legend() for ax in figure.axes))]
    names = [text.get_text() for text in legend.get_texts()]
    handles = [line.get_color() for line in legend.get_lines()]
    return dict(zip(names, (to_hex(colour).upper() for colour in handles), strict=True))


@pytest.mark.parametrize("kind", ["curves", "cdf", "runtime", "tradeoff"])
def test_a_solver_keeps_its_look_in_every_part_of_a_cube(results, kind):
    own = {"s0": COLOURS[0], "s1": COLOURS[1], "s2": COLOURS[2]}
    assert lines(plots.draw(results, kind)) == own
    for chosen in (["s2"], ["s2", "s0"]):
        expected = [(label, own[label]) for label in chosen]
        assert list(lines(plots.draw(results, kind, solvers=chosen)).items()) == expected
        assert list(lines(plots.draw(results.sel(solver=chosen), kind)).items()) == expected


def test_and_in_reports(results):
    parts = [part for one in sections_of(results.sel(solver=["s2"])) for part in one.parts]
    looks = [part.looks["s2"].colour for part in parts if part.kind == "chart"]
    assert set(looks) == {COLOURS[2]}


def test_names_are_the_readers_and_may_hold_formulas(results):
    figure = plots.draw(results, labels={"s1": r"SVD $\gamma$"})
    assert list(lines(figure)) == ["s0", r"SVD $\gamma$", "s2"]
    lone = plots.draw(results.isel(snr_db=[0]), labels={"s1": "SVD"})
    assert [t.get_text() for t in lone.axes[0].get_yticklabels()] == ["s0", "SVD", "s2"]
    maps = plots.draw(
        results.expand_dims(k=[1, 2]).transpose("solver", "k", ...), labels={"s1": "$x$"}
    )
    assert [ax.get_title(loc="left") for ax in maps.axes[:3]] == ["s0", "$x$", "s2"]


@pytest.mark.parametrize("kind", ["curves", "cdf", "runtime"])
@pytest.mark.parametrize("size", [(3.5, 2.6), (7.0, 4.0)])
def test_a_figure_has_the_size_that_was_asked_for_and_nothing_sticks_out(results, kind, size):
    figure = plots.draw(results, kind, size=size, style="paper")
    figure.draw_without_rendering()
    assert tuple(figure.get_size_inches()) == size
    inside = figure.get_tightbbox()
    assert -0.02 < inside.x0 < inside.x1 < size[0] + 0.02
    assert -0.02 < inside.y0 < inside.y1 < size[1] + 0.02


def test_errors_in_decibels(results):
    medians = results.nmse.median("realization")
    ax = plots.draw(results, decibels=True).axes[0]
    assert ax.get_yscale() == "linear"
    assert ax.get_ylabel().endswith("(dB)")
    for line, values in zip(ax.lines, medians.values, strict=False):
        np.testing.assert_allclose(line.get_ydata(), 10 * np.log10(values))
    across = plots.draw(results, "cdf", decibels=True, point={"snr_db": 10}).axes[0]
    assert across.get_xscale() == "linear"
    np.testing.assert_allclose(
        np.sort(across.lines[0].get_xdata())[-30:],
        np.sort(10 * np.log10(results.nmse.sel(solver="s0", snr_db=10))),
    )
    unlike = plots.draw(results, measure="ser", decibels=True).axes[0]  # a rate has no level
    assert "dB" not in unlike.get_ylabel()


def test_a_part_of_the_points(results):
    figure = plots.draw(results, point={"snr_db": [0, 20]})
    assert figure.axes[0].lines[0].get_xdata().tolist() == [0, 20]


def test_limits_and_labels(results):
    figure = plots.draw(results, decibels=True, ylim=(-40, None), xlim=(0, 20), ylabel="$E$ (dB)")
    ax = figure.axes[0]
    assert ax.get_ylim()[0] == -40
    assert ax.get_xlim() == (0, 20)
    assert ax.get_ylabel() == "$E$ (dB)"


@pytest.mark.parametrize("options", [{"title": ""}, {"title": "Mine"}, {"style": "talk"}])
def test_with_a_title_or_style_of_ones_own_words_become_the_caption(results, options):
    plain = plots.draw(results)
    figure = plots.draw(results, **options)
    for words in ("95 % distribution-free", "30 realizations"):
        assert words in texts(plain)
        assert words not in texts(figure)
        assert words in figure.get_label()
    assert options.get("title", "") in texts(figure)


@pytest.mark.parametrize("place", ["right", "top", "bottom", "upper left", "none"])
def test_a_legend_has_its_place(results, place):
    figure = plots.draw(results, size=(5, 4), legend=place)
    assert bool(figure.legends) == (place in ("right", "top", "bottom"))
    assert (figure.axes[0].get_legend() is not None) == (place == "upper left")


def test_settings_of_the_caller_hold(results, tmp_path):
    sheet = tmp_path / "mine.mplstyle"
    sheet.write_text("lines.linewidth: 3.5\nfigure.figsize: 4, 3\n")
    chosen = {"font.size": 7, "axes.prop_cycle": cycler(color=["red", "lime"]), "axes.grid": True}
    with matplotlib.rc_context(chosen):
        before = dict(matplotlib.rcParams)
        figure = plots.draw(results, style=sheet)
        assert dict(matplotlib.rcParams) == before
    ax = figure.axes[0]
    assert ax.xaxis.label.get_size() == 7
    assert ax.lines[0].get_linewidth() == 3.5
    assert list(lines(figure).values())[:2] == ["#FF0000", "#00FF00"]
    assert tuple(figure.get_size_inches()) == (4, 3)
    assert plots.draw(results).axes[0].xaxis.label.get_size() == 10


def test_notebooks_show_a_figure_by_itself(results):
    assert plots.draw(results)._repr_png_().startswith(b"\x89PNG")


def test_words_for_latex(monkeypatch):
    with matplotlib.rc_context({"text.usetex": True}):
        assert style.literal("a_b 50 % {≤}") == r"a\_b 50 \% \{$\leq$\}"
        assert style.literal("\\x^2~") == r"\textbackslash{}x\textasciicircum{}2\textasciitilde{}"
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(InputError, match="no program latex"):
        plots.draw(cube(), latex=True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--size", "0.1", "3"], "1 to 100 inches"),
        (["--ylim", "3", "1"], "below the second"),
        (["--ylim", "-3", "1"], "a logarithmic axis has positive limits"),
        (["--style", "nowhere"], "no style; expected the path"),
        (["--solvers", "s0,s9"], "no solver 's9'"),
        (["--label", "s9", "x"], "no solver 's9'"),
        (["--legend", "there"], "expected one of none, right"),
    ],
)
def test_what_cannot_be_drawn_so_is_one_clear_line(results, monkeypatch, tmp_path, arguments, says):
    monkeypatch.setattr("pipeline.results.publishing.open_results", lambda _: results)
    found = CliRunner().invoke(main, ["plot", "s", "-o", str(tmp_path / "x.png"), *arguments])
    assert found.exit_code == 2
    assert says in found.output
    assert len(found.output.splitlines()) == 1


def test_the_command_draws_for_a_paper(results, monkeypatch, tmp_path):
    monkeypatch.setattr("pipeline.results.publishing.open_results", lambda _: results)
    words = shlex.split(
        "--style paper --db --solvers s2,s0 --label s2 SVD --ylim -60 0 --snr_db 0 --snr_db 10"
    )
    found = CliRunner().invoke(main, ["plot", "s", "-o", str(tmp_path / "x.svg"), *words])
    assert found.exit_code == 0
    assert "30 realizations" in found.output
    drawn = (tmp_path / "x.svg").read_text()
    assert "SVD" in drawn
    assert ">s1<" not in drawn
