"""Figures with a panel per point or per solver: distributions, convergence, heat maps, latency."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pipeline.analysis import check, describing, is_power, latencies, summarize, to_db
from pipeline.analysis.distributions import empirical_cdf, trace_quantiles
from pipeline.errors import InputError
from pipeline.plots import style
from pipeline.plots.curves import one_axis, over_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 12
"""More panels are no figure any more."""
MOST_NUMBERS = 42
"""In a heat map of more fields no numbers are written."""


def points_of(results: xr.Dataset) -> list[dict[str, Any]]:
    """All points of a cube: values of the parameters that vary."""
    axes = describing.free_axes(results)
    values = itertools.product(*(results[axis].values.tolist() for axis in axes))
    return [dict(zip(axes, point, strict=True)) for point in values]


def _grid(count: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    columns = count if count <= 3 else 2 if count == 4 else 3
    rows = math.ceil(count / columns)
    wide = 5.6 if columns == 1 else size[0] * columns
    figure, axes = style.canvas(rows, columns, (wide, max(4.0, size[1] * rows)))
    flat = list(axes.flat)
    for ax in flat[count:]:
        ax.set_visible(False)
    return figure, flat[:count]


def _per_point(
    results: xr.Dataset,
    kind: str,
    draw: Callable[[Axes, xr.Dataset, str, style.Look], Any],
    looks: style.Looks | None,
) -> tuple[Figure, list[Axes], dict[str, Any]]:
    """A panel per point, in each what `draw` makes of every solver's realizations there."""
    points = points_of(results)
    if len(points) > PANELS:
        name = describing.free_axes(results)[0]
        raise InputError(
            f"{kind}: draws a panel per point, and {len(points)} are too many (at most {PANELS}); "
            f"give parameters a value, as in --{name} {results[name].values[0]}"
        )
    figure, axes = _grid(len(points), (3.0, 2.7))
    handles: dict[str, Any] = {}
    looks = looks or style.looks_of(results.solver.values)
    wide = 30 if len(points) > 1 else 60  # characters that a panel has room for
    for ax, point in zip(axes, points, strict=True):
        ax.set_title(textwrap.fill(describing.point_text(results, point), wide))
        for label in map(str, results.solver.values):
            line = draw(ax, describing.sample(results, label, point), label, looks[label])
            if line is not None:
                handles[label] = line
    ordered = {s: handles[s] for s in map(str, results.solver.values) if s in handles}
    return figure, axes, ordered


def _outer_labels(axes: list[Axes], x: str, y: str) -> None:
    """Axis labels at the left and below only."""
    for ax in axes:
        place = ax.get_subplotspec()
        assert place is not None
        columns = place.get_gridspec().ncols
        ax.set_ylabel(y if place.is_first_col() else "")
        number = axes.index(ax)
        ax.set_xlabel(x if number + columns >= len(axes) else "")


def cdf(results: xr.Dataset, measure: str = "nmse", *, looks: style.Looks | None = None) -> Figure:
    """Empirical distribution of a measure over the realizations, a panel per point.

    Raises
    ------
    InputError
        More points than panels.
    """
    check(results, measure)
    everything: list[Any] = []

    def draw(ax: Axes, sample: xr.Dataset, _: str, look: style.Look) -> Any:
        found = empirical_cdf(sample, measure)
        if not found.sizes["value"]:
            return None
        everything.append(found.value.values)
        places = {"markevery": max(found.sizes["value"] // 4, 1)}
        (line,) = ax.step(found.value, found.share, where="post", **look.line | places)
        shade = style.band(look, results.sizes["solver"])
        ax.fill_between(found.value, found.low, found.high, step="post", **shade)
        return line

    with style.rc():
        figure, axes, handles = _per_point(results, "cdf", draw, looks)
        values = np.concatenate(everything) if everything else np.empty(0)
        log = style.wants_log(values, results[measure].attrs.get("better", "lower"))
        limits = style.log_limits(values) if log else None
        for ax in axes:
            ax.set_ylim(0, 1.02)
            if log:
                style.log_axis(ax.xaxis, limits, ticks=5)
            elif values.size and 0 <= values.min() <= values.max() <= 1:
                ax.set_xlim(-0.03, 1.03)
        _outer_labels(axes, style.axis_label(results[measure], 28), "share of realizations")
        told = "empirical distribution, 95 % band of the whole curve (DKW)"
        failed = "count as never reached, so that a curve ends below 1"
        hidden = style.off_axis(values, limits)
        style.finish(figure, results, handles, told, hidden, failed_cells=failed)
    return figure


def convergence(
    results: xr.Dataset, measure: str = "nmse", *, looks: style.Looks | None = None
) -> Figure:
    """Median and quartiles of a trace per EM iteration, a panel per point.

    Parameters
    ----------
    results
    measure
        "nmse", "cost" or "change".

    Raises
    ------
    InputError
        The cube has no such trace, or more points than panels.
    """
    trace = describing.trace_of(results, measure)
    silent = {str(s) for s in results.solver.values}

    def draw(ax: Axes, sample: xr.Dataset, label: str, look: style.Look) -> Any:
        found = trace_quantiles(sample, trace)
        if not found.sizes["iteration"]:
            return None
        silent.discard(label)
        marks = np.unique(np.searchsorted(found.iteration, np.geomspace(1, found.iteration[-1], 5)))
        (line,) = ax.plot(found.iteration, found["median"], **look.line, markevery=marks.tolist())
        shade = style.band(look, results.sizes["solver"])
        ax.fill_between(found.iteration, found.low, found.high, **shade)
        return line

    with style.rc():
        figure, axes, handles = _per_point(results, "convergence", draw, looks)
        for ax in axes:
            ends = [np.asarray(line.get_xdata())[-1] for line in ax.lines]
            last = float(max(ends, default=1))
            style.log_axis(ax.xaxis, (0.9, 1.2 * last), ticks=5)
            if measure != "cost":
                drawn = [line.get_ydata() for line in ax.lines]
                style.log_axis(ax.yaxis, style.log_limits(np.concatenate([*drawn, [np.nan]])))
        _outer_labels(axes, "EM iteration", style.axis_label(results[trace], 28))
        told = "median, and quartiles; a realization that has stopped keeps its last value"
        note = [f"no trace: {', '.join(s for s in results.solver.values if s in silent)}"]
        style.finish(figure, results, handles, told, note if silent else [])
    return figure


def heat_maps(
    results: xr.Dataset,
    measure: str = "nmse",
    *,
    statistic: str = "mean",
    cells: str = "all",
) -> Figure:
    """A measure over two swept parameters, a panel per solver.

    Raises
    ------
    InputError
        Not two swept parameters vary.
    """
    from matplotlib.colors import LogNorm, Normalize

    axes_names = describing.free_axes(results)
    if len(axes_names) != 2:
        have = ", ".join(axes_names) or "none"
        raise InputError(f"heatmap: needs two swept parameters that vary, this cube has: {have}")
    x, y = axes_names
    summary = summarize(results, measure, cells=cells).squeeze()
    values = summary[statistic]
    finite = values.values[np.isfinite(values.values)]
    log = style.wants_log(values, results[measure].attrs.get("better", "lower"))
    labels = [str(s) for s in results.solver.values]
    with style.rc():
        figure, axes = _grid(len(labels), (3.3, 3.0))
        limits = style.log_limits(values) if log else None
        low, high = limits or (finite.min(initial=np.inf), finite.max(initial=-np.inf))
        norm = (LogNorm if log else Normalize)(vmin=low, vmax=high, clip=True)
        for ax, label in zip(axes, labels, strict=True):
            one = summary.sel(solver=label) if "solver" in values.dims else summary
            one = one.transpose(y, x, ...)
            image = _map(ax, one[statistic], norm)
            if one[statistic].size <= MOST_NUMBERS:
                _write_values(ax, one, statistic, norm)
            ax.set_title(textwrap.fill(label, 30))
        _outer_labels(axes, style.axis_label(results[x], 28), style.axis_label(results[y], 28))
        bar = figure.colorbar(image, ax=axes, shrink=0.9, aspect=30)
        if log:
            style.log_axis(bar.ax.yaxis, limits)
        told = describing.statistic_text(statistic, cells).split(", 95")[0]
        label = f"{describing.label_of(results[measure])}, {told}"
        if one[statistic].size <= MOST_NUMBERS:
            unit = " in dB" if is_power(measure) else ""
            label += f"\nnumbers{unit}, ± half of the 95 % interval"
        bar.set_label(label)
        notes = describing.dominated(summary) if statistic == "mean" else []
        notes += ["hatched: no value there"] if len(finite) < values.size else []
        style.finish(figure, results, {}, "", notes)
    return figure


def _map(ax: Axes, values: xr.DataArray, norm: Any) -> Any:
    """One heat map."""
    ax.grid(False)
    ax.set_facecolor("#eeeeee")
    ax.patch.set_hatch("///")
    ax.patch.set_edgecolor("#bbbbbb")
    image = ax.imshow(values.values, origin="lower", aspect="auto", cmap="cividis", norm=norm)
    for axis, dim in ((ax.xaxis, values.dims[1]), (ax.yaxis, values.dims[0])):
        every = max(1, math.ceil(values.sizes[dim] / 10))
        at = np.arange(0, values.sizes[dim], every)
        shown = values[dim].values[::every]
        axis.set_ticks(at, [f"{v:g}" if not style.is_text(shown) else str(v) for v in shown])
    return image


def _write_values(ax: Axes, summary: xr.Dataset, statistic: str, norm: Any) -> None:
    """The value into each field of a heat map, with half the width of its interval."""
    in_db = is_power(summary.attrs["measure"])
    values, low, high = (summary[statistic + end].values for end in ("", "_low", "_high"))
    with np.errstate(invalid="ignore"):  # of zeros in dB
        shown, half = (
            (to_db(values), (to_db(high) - to_db(low)) / 2) if in_db else (values, (high - low) / 2)
        )
    for (row, column), value in np.ndenumerate(values):
        if not np.isfinite(value):
            continue
        text = f"{shown[row, column]:.1f}" if in_db else f"{value:.2g}"
        if np.isfinite(half[row, column]):
            text += f"\n±{half[row, column]:.1f}" if in_db else f"\n±{half[row, column]:.1g}"
        ink = "white" if norm(value) < 0.55 else "black"
        centred: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6.5}
        ax.text(column, row, text.replace("-", "−"), color=ink, **centred)


def latency(results: xr.Dataset, *, looks: style.Looks | None = None) -> Figure:
    """Latency of realizations that were timed alone, a panel per host; never averaged over hosts.

    Raises
    ------
    InputError
        Latency was not measured, or several parameters vary.
    """
    found = latencies(results)
    if found is None:
        raise InputError("latency: was not measured in this cube")
    axis = one_axis(results, "latency")
    bounds = [found[f"latency{end}"] for end in ("", "_low", "_high")]
    with style.rc():
        figure, axes = _grid(found.sizes["timing_host"], (3.4, 3.4))
        handles: dict[str, Any] = {}
        for ax, host in zip(axes, found.timing_host.values, strict=True):
            here = tuple(b.sel(timing_host=host) for b in bounds)
            handles = over_axis(ax, results, axis, here, looks)
            label_axis = ax.xaxis if axis is None else ax.yaxis
            style.log_axis(label_axis, style.log_limits(np.stack(bounds)), "s")
            ax.set_title(f"on {host}")
            (ax.set_xlabel if axis is None else ax.set_ylabel)("latency of one realization")
        told = "median, 95 % distribution-free interval; solved one at a time"
        style.finish(figure, results, handles, told)
    return figure
