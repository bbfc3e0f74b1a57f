"""The one style of all figures: colours, markers, axes, and the canvas they are drawn on."""

from __future__ import annotations

import itertools
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis import describing
from pipeline.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's palette (told apart with every kind of colour blindness), without its yellow,
# which is hard to see on white. Markers are those that both matplotlib and bokeh have.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "*", "h", "P")
DASHES = ("-", "--", ":")

SUFFIXES = (".png", ".pdf", ".svg")
"""Formats of figures; some of matplotlib's others need programs that may not be there."""

DECADES = 8
"""A logarithmic axis shows at most so many below, and above, the median of its values."""

STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.09,
    "figure.constrained_layout.h_pad": 0.07,
    "font.size": 10,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "grid.color": "#e2e2e2",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.title_fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "lines.markeredgewidth": 0.6,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


class Look(NamedTuple):
    """How a solver is drawn, in matplotlib's words."""

    colour: str
    marker: str
    dashes: str

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of `Axes.plot`."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.dashes,
            "markeredgecolor": "white",
            "markersize": {"*": 9.0, "P": 7.0}.get(self.marker, 5.5),
        }


Looks = Mapping[str, Look]
"""Look of each solver, by its label."""


def looks_of(labels: Iterable[Any]) -> dict[str, Look]:
    """A look for each label, by its place; dashed once the colours are used up."""
    return {str(label): _look(number) for number, label in enumerate(labels)}


def looks_across(studies: Iterable[Iterable[Any]]) -> dict[str, Look]:
    """A look for each label of several cubes, the same in all of them.

    Labels that several cubes have come first; one that a single cube has takes the first look that
    is free there.
    """
    cubes = [list(map(str, labels)) for labels in studies]
    counts = Counter(itertools.chain(*cubes))
    shared = [label for label, count in counts.items() if count > 1]
    numbers = {label: number for number, label in enumerate(shared)}
    for labels in cubes:
        taken = {numbers[label] for label in labels if label in numbers}
        free = (number for number in itertools.count() if number not in taken)
        numbers |= {label: next(free) for label in labels if label not in numbers}
    return {label: _look(number) for label, number in numbers.items()}


def _look(number: int) -> Look:
    return Look(
        COLOURS[number % len(COLOURS)],
        MARKERS[number % len(MARKERS)],
        DASHES[number // len(COLOURS) % len(DASHES)],
    )


def axis_label(variable: xr.DataArray, width: int = 40) -> str:
    """Long name and unit, in lines of at most `width` characters."""
    return textwrap.fill(describing.label_of(variable), width)


def is_text(values: NDArray[Any]) -> bool:
    """Whether values are names (or truths), that have no places on an axis of their own."""
    return values.dtype.kind not in "iuf"


def evenly_spaced_in_log(values: Sequence[Any] | NDArray[Any]) -> bool:
    """Whether the values of a swept parameter lie on a logarithmic scale, 1, 10, 100 say."""
    values = np.asarray(values)
    if is_text(values) or len(values) < 3 or values.min() <= 0 or values.max() < 8 * values.min():
        return False
    steps, ratios = np.diff(np.sort(values)), np.diff(np.log(np.sort(values)))
    return bool(np.ptp(ratios) / ratios.mean() < np.ptp(steps) / steps.mean())


def off_axis(values: Any, limits: tuple[float, float] | None) -> list[str]:
    """A note on values outside the limits of an axis."""
    if limits is None:
        return []
    values = np.asarray(values, float)
    low, high = limits
    outside = (("below", low, values < low), ("above", high, values > high))
    said = [f"{at.sum()} {where} {end:.0e}" for where, end, at in outside if at.any()]
    return [f"points off the axis: {', '.join(said)}"] if said else []


def wants_log(values: Any, better: str = "lower") -> bool:
    """Whether the field draws such values on a logarithmic axis: errors, not rates of success."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    return better == "lower" and bool((values > 0).any())


def log_limits(values: Any) -> tuple[float, float] | None:
    """Limits for a logarithmic axis that shows these values, but for those far from most."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        return None
    # From the median: a solver that goes astray must not push the others off the axis.
    middle, reach = np.median(values), 10.0**DECADES
    low, high = max(values.min(), middle / reach), min(values.max(), middle * reach)
    margin = max((high / low) ** 0.04, 1.05)
    return low / margin, high * margin


def log_axis(
    axis: Axis, limits: tuple[float, float] | None, unit: str = "", *, ticks: int = 9
) -> None:
    """Make an axis logarithmic, with labels on enough of its ticks, but about `ticks` at most."""
    from matplotlib import ticker

    if limits is None:
        return  # nothing that has a logarithm
    (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)("log")
    axis.set_view_interval(*limits, ignore=True)
    decades = np.log10(limits[1] / limits[0])
    sparse = decades > (3 if unit else 2) * ticks / 9
    subs = (1.0,) if sparse else (1.0, 2.0, 5.0) if decades > 0.6 else tuple(range(1, 10))
    axis.set_major_locator(ticker.LogLocator(subs=subs, numticks=ticks))
    if unit:
        axis.set_major_formatter(ticker.EngFormatter(unit))
    elif limits[0] >= 1e-3 and limits[1] < 2e4:
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def band(look: Look, solvers: int) -> dict[str, Any]:
    """Arguments of `Axes.fill_between`; paler where many bands overlap."""
    return {"color": look.colour, "alpha": 0.2 if solvers <= 4 else 0.12, "linewidth": 0}


def swept_axis(ax: Axes, variable: xr.DataArray) -> NDArray[Any]:
    """Label the x axis for a swept parameter; return where its values lie on it."""
    from matplotlib import ticker

    values = variable.values
    ax.set_xlabel(axis_label(variable))
    if is_text(values):
        ax.set_xticks(np.arange(len(values)), [str(v) for v in values])
        return np.arange(len(values))
    if evenly_spaced_in_log(values):
        ax.set_xscale("log")
    if len(values) <= 12:
        ax.set_xticks(values, [f"{v:g}" for v in values])
        ax.xaxis.set_minor_locator(ticker.NullLocator())
    return values


def rc() -> Any:
    """Matplotlib's settings for the time of drawing."""
    import matplotlib

    return matplotlib.rc_context(STYLE)


def canvas(rows: int = 1, columns: int = 1, size: tuple[float, float] = (5.6, 4.3)) -> Any:
    """An empty figure and its axes (an array), without a window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)  # not pyplot's, which would keep it and look for a screen
    return figure, figure.subplots(rows, columns, squeeze=False)


def finish(
    figure: Figure,
    results: xr.Dataset,
    handles: Mapping[str, Any],
    legend_title: str,
    notes: Iterable[str] = (),
    *,
    failed_cells: str = "are left out",
) -> None:
    """Add the legend, the title with the setting, and notes at the foot.

    Parameters
    ----------
    figure
    results
        The cube that is shown.
    handles
        What is drawn, by its label; none for no legend.
    legend_title
    notes
        Besides those on missing and failed cells.
    failed_cells
        What became of those that failed.
    """
    if handles:
        _legend(figure, handles, legend_title)
    title = f"{describing.name_of(results)} – {describing.realizations(results)}"
    notes = [*describing.notes(results, failed_cells), *notes]
    _frame(figure, title, describing.setting(results), notes)


def _frame(figure: Figure, title: str, setting: str, notes: Sequence[str]) -> None:
    per_line = int(figure.get_figwidth() * 13.5)
    lines = [*textwrap.wrap(title, per_line), *textwrap.wrap(setting, per_line)]
    figure.suptitle("\n".join(lines), x=0.012, ha="left", fontsize=9.5, linespacing=1.35)
    text = "\n".join(line for note in notes for line in textwrap.wrap(note, int(per_line * 1.15)))
    if text:
        figure.supxlabel(text, x=0.012, ha="left", fontsize=8, color="#8a3b00", linespacing=1.3)


def _legend(figure: Figure, handles: Mapping[str, Any], title: str) -> None:
    """A legend beside the axes, long labels in several lines; the figure grows to hold it."""
    labels = [textwrap.fill(label, 26) for label in handles]
    title = "\n".join(textwrap.fill(line, 30) for line in title.splitlines())
    longest = max(len(line) for text in (*labels, title) for line in text.splitlines())
    figure.set_figwidth(figure.get_figwidth() + 0.5 + 0.068 * longest)
    figure.legend(
        list(handles.values()), labels, title=title, loc="outside right center", alignment="left"
    )


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the file's suffix.

    Raises
    ------
    InputError
        Another suffix, or the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: expected a file ending in {', '.join(SUFFIXES)}")
    try:
        with rc():
            figure.savefig(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
