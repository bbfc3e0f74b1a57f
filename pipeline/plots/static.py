"""The renderer with matplotlib: it draws whatever a kind of figure describes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from matplotlib import rcParams

from pipeline.analysis import describing, remarks
from pipeline.plots import style
from pipeline.plots.appearance import OUTSIDE, Appearance
from pipeline.plots.base import Axis, Curve, FigureData, Map, Panel
from pipeline.plots.looks import Look, Looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis as DrawnAxis
    from matplotlib.figure import Figure

SIZES = {1: (5.6, 4.3), 2: (4.2, 4.0)}
"""Width and height of a panel in inches, by the number of panels; `SMALL` for more."""
SMALL = (3.1, 2.75)
NARROWEST = 1.7
"""Inches that a panel needs; a narrower figure has fewer columns of them."""
FEW_MARKS = 5
"""So many markers tell a line of many points from the others."""


def render(data: FigureData, results: xr.Dataset, looks: Looks, appearance: Appearance) -> Figure:
    """Draw what a kind of figure describes, with the settings in force.

    Parameters
    ----------
    data
        The description, as `pipeline.plots.kinds.describe` gives it.
    results
        The cube that is shown, for the title, and for notes on cells that are missing or failed.
    looks
        The look of each solver.
    appearance
        Sizes, names and words that were asked for.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = {s: describing.solver_text(results, s) for s in map(str, results.solver.values)}
    names |= {label: style.Markup(name) for label, name in appearance.labels.items()}
    figure, handles, bar = panels(data, looks, names, appearance)
    words = "" if appearance.alone else data.legend
    notes = [*remarks.notes(results, data.failed or remarks.FAILED_LEFT_OUT), *data.notes]
    if bar is not None:
        shown = [bar.ax.get_ylabel(), _along(figure, words)]
        bar.set_label("\n".join(filter(None, shown)))
    elif handles:
        _legend(figure, {names[s]: handles[s] for s in names if s in handles}, words, appearance)
    elif words:
        notes = [*_in_place_of_legend(figure.axes[0], words), *notes]
    study = [f"{describing.name_of(results)} – {remarks.realizations(results)}"]
    study += [describing.setting(results)]
    figure.set_label(". ".join(filter(None, [*study, *data.legend.splitlines(), *notes])) + ".")
    if appearance.alone:
        figure.suptitle(style.Markup(appearance.title or ""))
    else:
        _frame(figure, study, notes)
    return figure


def panels(
    data: FigureData, looks: Looks, names: Mapping[str, str], appearance: Appearance
) -> tuple[Figure, dict[str, Any], Any]:
    """Draw the panels of a figure, with the names of the solvers in it, but no words around them.

    Returns
    -------
    figure : matplotlib.figure.Figure
    handles : dict
        A line of each solver, for the legend; none where the solvers are on an axis.
    bar : matplotlib.colorbar.Colorbar or None
        The scale of the colours of maps.
    """
    count = len(data.panels)
    columns = count if count <= 3 else 2 if count == 4 else 3
    size = _size(appearance, count, columns)
    columns = min(columns, max(int(size[0] / NARROWEST), 1))
    figure, axes = style.canvas(math.ceil(count / columns), columns, size)
    handles: dict[str, Any] = {}
    norm: Any = None  # of all maps: a scale of colours that is theirs together
    bar = None
    for number, ax in enumerate(axes.flat):
        if number >= count:
            ax.set_visible(False)
            continue
        panel = data.panels[number]
        ax.set_title(_title(panel, names, 0.8 * size[0] / columns))
        if isinstance(panel, Map):
            norm = norm or _norm(panel.colour)
            image = _map(ax, panel, norm)
        else:
            handles |= _curves(ax, panel, looks, names, crowded=columns > 1 or size[0] < 4)
    # The panel may be lower than it is wide: titles and notes take from its height.
    _label(axes, data.panels, 40 if count <= 2 else 28, 0.7 if appearance.alone else 0.5)
    first = data.panels[0]
    if isinstance(first, Map):
        bar = _colour_bar(figure, axes[axes != None], image, first.colour)  # noqa: E711
    return figure, handles, bar


def _size(appearance: Appearance, count: int, columns: int) -> tuple[float, float]:
    """Width and height in inches: as asked for, as the style has it, or as the panels need."""
    rows = math.ceil(count / columns)
    chosen = style.chosen_size()
    if appearance.size is not None:
        return appearance.size
    if chosen is not None:  # of one panel; two columns of a page for several
        return chosen if count == 1 else (2 * chosen[0], chosen[1] * rows)
    wide, high = SIZES.get(count, SMALL)
    return wide * columns, max(4.0, high * rows)


def _title(panel: Panel | Map, names: Mapping[str, str], inches: float) -> str:
    """The title of a panel, with the name that a solver has in the figure."""
    if isinstance(panel, Map) and isinstance(names[panel.solver], style.Markup):
        at = style.literal(panel.title.removesuffix(panel.solver))
        return style.Markup(at + names[panel.solver])
    return style.worded(panel.title, inches, rcParams["axes.titlesize"])


# -- curves ---------------------------------------------------------------------------------------


def _curves(
    ax: Axes, panel: Panel, looks: Looks, names: Mapping[str, str], *, crowded: bool
) -> dict[str, Any]:
    """Draw the curves of a panel.

    Returns
    -------
    dict
        A line of each solver, for the legend; none where the solvers are on an axis.
    """
    sideways = panel.marks == "dots"
    along, across = (ax.yaxis, ax.xaxis) if sideways else (ax.xaxis, ax.yaxis)
    handles = {}
    for curve in panel.curves:
        look = looks[curve.solver]
        if sideways:
            _dot(ax, curve, look)
        elif panel.marks == "path":
            handles[curve.solver] = _path(ax, curve, look)
        else:
            handles[curve.solver] = _line(ax, panel, curve, look)
    for drawn, axis in ((along, panel.x), (across, panel.y)):
        few = drawn is ax.xaxis and (crowded or bool(axis.unit))
        set_axis(drawn, axis, ticks=5 if few else 9)
    if sideways:
        shown = [style.worded(names[curve.solver], most=26) for curve in panel.curves]
        ax.set_yticks([curve.x[0] for curve in panel.curves], shown)
        ax.set_ylim(len(panel.curves) - 0.5, -0.5)
    return handles


def _line(ax: Axes, panel: Panel, curve: Curve, look: Look) -> Any:
    """A line or steps with a band; paler where many bands overlap."""
    alpha = 0.2 if len(panel.curves) <= 4 else 0.12
    band: dict[str, Any] = {"color": look.colour, "alpha": alpha, "linewidth": 0, "zorder": 1.5}
    steps = panel.marks == "step"
    drawn = {**look.line, "drawstyle": "steps-post" if steps else "default", "zorder": 3}
    if panel.marks != "points":
        drawn["markevery"] = _few_marks(panel, curve.x)
    (line,) = ax.plot(curve.x, curve.value, **drawn)
    ax.fill_between(curve.x, curve.low, curve.high, step="post" if steps else None, **band)
    if curve.doubtful is not None and curve.doubtful.any():
        _open(ax, curve.x[curve.doubtful], curve.value[curve.doubtful], look)
    return line


def _open(ax: Axes, x: Any, y: Any, look: Look) -> None:
    """Open markers over some of the points of a line."""
    marks = {"linestyle": "none", "markeredgecolor": look.colour, "mfc": "white", "mew": 1.2}
    ax.plot(x, y, **{**look.line, **marks}, zorder=4)


def _few_marks(panel: Panel, x: Any) -> Any:
    """The points of a long line that get a marker, evenly spread along it, for ``markevery``."""
    if panel.marks == "step" or panel.x.scale != "log":
        return max(len(x) // (FEW_MARKS - 1), 1)
    marks = np.searchsorted(x, np.geomspace(x[0], x[-1], FEW_MARKS))
    return np.unique(marks.clip(0, len(x) - 1)).tolist()


def _path(ax: Axes, curve: Curve, look: Look) -> Any:
    """Points with their intervals, joined in their order; the first one is open."""
    (line,) = ax.plot(curve.x, curve.value, **look.line, zorder=3)
    ax.vlines(curve.x, curve.low, curve.high, color=look.colour, alpha=0.45, linewidth=2.2)
    if len(curve.x) > 1:
        _open(ax, curve.x[:1], curve.value[:1], look)
    return line


def _dot(ax: Axes, curve: Curve, look: Look) -> None:
    """One value in the solver's row, with its interval."""
    bounds = np.concatenate([curve.low, curve.high])
    ax.plot(bounds, np.repeat(curve.x, 2), color=look.colour, linewidth=4, alpha=0.35)
    ax.plot(curve.value, curve.x, **{**look.line, "markersize": 8})
    if curve.doubtful is not None and curve.doubtful.any():
        _open(ax, curve.value[curve.doubtful], curve.x[curve.doubtful], look)


# -- maps -----------------------------------------------------------------------------------------


def _norm(colour: Axis) -> Any:
    """Matplotlib's scale of colours."""
    from matplotlib.colors import LogNorm, Normalize

    low, high = colour.limits
    return (LogNorm if colour.scale == "log" else Normalize)(vmin=low, vmax=high, clip=True)


def _map(ax: Axes, panel: Map, norm: Any) -> Any:
    """Fields of colour, with numbers in them where there are some; hatched without a value."""
    ax.grid(False)
    ax.set_facecolor("#eeeeee")
    ax.patch.set_hatch("///")
    ax.patch.set_edgecolor("#bbbbbb")
    image = ax.imshow(panel.value, origin="lower", aspect="auto", cmap="cividis", norm=norm)
    for drawn, axis in ((ax.xaxis, panel.x), (ax.yaxis, panel.y)):
        every = max(1, math.ceil(len(axis.ticks) / 10))
        places, texts = zip(*axis.ticks[::every], strict=True)
        drawn.set_ticks(places, list(map(style.literal, texts)))
    centred: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6.5}
    for (row, column), text in np.ndenumerate(panel.texts):
        if text:
            ink = "white" if norm(panel.value[row, column]) < 0.55 else "black"
            ax.text(column, row, style.literal(text), color=ink, **centred)
    return image


def _colour_bar(figure: Figure, axes: Any, image: Any, colour: Axis) -> Any:
    """The scale of colours, beside all maps."""
    bar = figure.colorbar(image, ax=axes, shrink=0.9, aspect=30)
    if colour.scale == "log":
        set_axis(bar.ax.yaxis, colour)
    bar.set_label(_along(figure, colour.label))
    return bar


def _along(figure: Figure, text: str) -> str:
    """Text in lines that are no longer than the scale of colours is high."""
    return style.worded(text, 0.8 * figure.get_figheight(), rcParams["axes.labelsize"])


# -- axes -----------------------------------------------------------------------------------------


def set_axis(drawn: DrawnAxis, axis: Axis, *, ticks: int = 9) -> None:
    """Give an axis of matplotlib its scale, limits and ticks, about `ticks` of them at most."""
    from matplotlib import ticker

    is_x = drawn is drawn.axes.xaxis
    if axis.scale == "log":
        (drawn.axes.set_xscale if is_x else drawn.axes.set_yscale)("log")
    if axis.ticks:
        places, texts = zip(*axis.ticks, strict=True)
        drawn.set_ticks(places, [style.literal(textwrap.fill(text, 26)) for text in texts])
        drawn.set_minor_locator(ticker.NullLocator())
    low, high = axis.limits
    if low is not None and high is not None and axis.scale == "log":
        drawn.set_view_interval(low, high, ignore=True)
        _log_ticks(drawn, low, high, axis.unit, ticks)
    elif (low, high) != (None, None):
        (drawn.axes.set_xlim if is_x else drawn.axes.set_ylim)(low, high)


def _log_ticks(drawn: DrawnAxis, low: float, high: float, unit: str, ticks: int) -> None:
    """Ticks with labels on enough of them."""
    from matplotlib import ticker

    decades = np.log10(high / low)
    sparse = decades > (3 if unit else 2) * ticks / 9
    subs = (1.0,) if sparse else (1.0, 2.0, 5.0) if decades > 0.6 else tuple(range(1, 10))
    drawn.set_major_locator(ticker.LogLocator(subs=subs, numticks=ticks))
    if unit:
        drawn.set_major_formatter(ticker.EngFormatter(unit))
    elif low >= 1e-3 and high < 2e4:
        drawn.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    drawn.set_minor_formatter(ticker.NullFormatter())


def _label(axes: Any, panels: Sequence[Panel | Map], most: int, part: float) -> None:
    """Label the axes, but not again where the panel to the left, or the one below, has it."""
    figure = axes[0, 0].figure
    size = rcParams["axes.labelsize"]
    wide = 0.85 * figure.get_figwidth() / axes.shape[1]
    high = part * figure.get_figheight() / axes.shape[0]
    labels = {}
    columns = axes.shape[1]
    for number, panel in enumerate(panels):
        sideways = isinstance(panel, Panel) and panel.marks == "dots"
        x, y = panel.x.label, panel.y.label
        labels[divmod(number, columns)] = (y, x) if sideways else (x, y)
    for (row, column), (x, y) in labels.items():
        below, left = labels.get((row + 1, column)), labels.get((row, column - 1))
        ax = axes[row, column]
        if below is None or below[0] != x:
            ax.set_xlabel(style.worded(x, wide, size, most))
        if left is None or left[1] != y:
            ax.set_ylabel(style.worded(y, high, size, most * 3 // 4))


# -- words ----------------------------------------------------------------------------------------


def _in_place_of_legend(ax: Axes, text: str) -> list[str]:
    """Say what is drawn over the panel, or, where it has a title, in a note."""
    if ax.get_title(loc="left"):
        return [text]
    ax.set_title(style.literal(text))
    return []


def _frame(figure: Figure, study: Sequence[str], notes: Sequence[str]) -> None:
    """The title with the setting, and notes at the foot."""
    width = figure.get_figwidth()
    said = "\n".join(filter(None, study))
    figure.suptitle(style.worded(said, width), x=0.012, ha="left", linespacing=1.35)
    if notes:
        below: dict[str, Any] = {"color": "#8a3b00", "linespacing": 1.3}
        text = style.worded("\n".join(notes), width, rcParams["figure.labelsize"])
        figure.supxlabel(text, x=0.012, ha="left", **below)


def _legend(figure: Figure, handles: Mapping[str, Any], title: str, look: Appearance) -> None:
    """A legend in its place; beside the axes, where a figure of no given size grows to hold it."""
    free = look.size is None and style.chosen_size() is None
    lone = sum(ax.get_visible() for ax in figure.axes) == 1
    place = look.legend or ("right" if free else "best" if lone else "bottom")
    if place == "none":
        return
    named = [
        style.worded(name if np.isfinite(line.get_ydata()).any() else f"{name} (no data)", most=26)
        for name, line in handles.items()
    ]
    title = style.worded(title, most=30)
    longest = max(len(line) for text in (*named, title) for line in text.splitlines())
    options: dict[str, Any] = {"title": title or None, "alignment": "left"}
    if place in ("top", "bottom"):
        letters = figure.get_figwidth() * style.per_inch(rcParams["legend.fontsize"])
        options["ncols"] = min(max(int(letters / (longest + 6)), 1), len(named))
    elif place == "right" and free:
        figure.set_figwidth(figure.get_figwidth() + 0.5 + 0.068 * longest)
    owner: Any = figure if place in OUTSIDE else figure.axes[0]
    owner.legend([*handles.values()], named, loc=OUTSIDE.get(place, place), **options)
