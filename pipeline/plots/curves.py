"""Figures over one swept parameter: measures, runtime and iterations, and one against the other."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pipeline.analysis import default_measure, describing, summarize
from pipeline.errors import InputError
from pipeline.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def one_axis(results: xr.Dataset, kind: str) -> str | None:
    """The swept parameter to draw over; None where nothing varies.

    Raises
    ------
    InputError
        Several parameters vary.
    """
    axes = describing.free_axes(results)
    if len(axes) > 1:
        example = f"--{axes[-1]} {results[axes[-1]].values[0]}"
        raise InputError(
            f"{kind}: needs one swept parameter, this cube has {', '.join(axes)}; "
            f"give the others a value, as in {example}"
        )
    return axes[0] if axes else None


def measure_curves(
    results: xr.Dataset,
    measure: str = "nmse",
    *,
    statistic: str = "mean",
    cells: str = "all",
    looks: style.Looks | None = None,
) -> Figure:
    """A measure against the swept parameter, with its 95 % confidence band.

    Parameters
    ----------
    results
        A cube with at most one swept dimension of more than one value.
    measure
        Name of one of its measures.
    statistic
        "mean" with its bootstrap interval, or "median" with its distribution-free one.
    cells
        "all", or "common" for realizations that all solvers have finished only.
    looks
        Look of each solver; by default by place on the solver axis.

    Returns
    -------
    matplotlib.figure.Figure
    """
    axis = one_axis(results, "curves")
    summary = summarize(results, measure, cells=cells)
    better = results[measure].attrs.get("better", "lower")
    with style.rc():
        figure, axes = style.canvas()
        ax = axes[0, 0]
        value, low, high = (summary[statistic + end] for end in ("", "_low", "_high"))
        handles = over_axis(ax, results, axis, (value, low, high), looks)
        label_axis = ax.xaxis if axis is None else ax.yaxis
        (ax.set_xlabel if axis is None else ax.set_ylabel)(style.axis_label(results[measure]))
        hidden: list[str] = []
        if style.wants_log(value, better):
            limits = style.log_limits(np.stack([value, low, high]))
            style.log_axis(label_axis, limits)
            hidden = style.off_axis(value, limits)
        told = describing.statistic_text(statistic, cells)
        if not handles:
            ax.set_title(told)
        notes = describing.dominated(summary) if statistic == "mean" else []
        notes += describing.without_interval(value, low)
        style.finish(figure, results, handles, told, [*notes, *hidden])
    return figure


def over_axis(
    ax: Axes,
    results: xr.Dataset,
    axis: str | None,
    bounds: tuple[xr.DataArray, ...],
    looks: style.Looks | None,
) -> dict[str, Any]:
    """Draw value, low and high of every solver over a swept parameter, or, for none, as dots.

    Returns
    -------
    dict
        Lines by the text of their legend entries; empty where the solvers are on an axis.
    """
    looks = looks or style.looks_of(results.solver.values)
    if axis is None:
        return _dots(ax, results, bounds, looks)
    return _lines(ax, results[axis], bounds, looks)


def _lines(
    ax: Axes, axis: xr.DataArray, bounds: tuple[xr.DataArray, ...], looks: style.Looks
) -> dict[str, Any]:
    """A line with a band per solver; returns the lines by the text of their legend entries."""
    at = style.swept_axis(ax, axis)
    order = np.argsort(at)
    handles = {}
    solvers = [str(s) for s in bounds[0].solver.values]
    for label in solvers:
        look = looks[label]
        value, low, high = (b.sel(solver=label).values.reshape(-1)[order] for b in bounds)
        empty = not np.isfinite(value).any()
        (line,) = ax.plot(at[order], value, **look.line, zorder=3)
        ax.fill_between(at[order], low, high, **style.band(look, len(solvers)), zorder=1.5)
        handles[f"{label} (no data)" if empty else label] = line
    return handles


def _dots(
    ax: Axes, results: xr.Dataset, bounds: tuple[xr.DataArray, ...], looks: style.Looks
) -> dict[str, Any]:
    """One row per solver, for studies that sweep nothing."""
    labels = [str(s) for s in results.solver.values]
    for row, label in enumerate(labels):
        value, low, high = (float(b.sel(solver=label).squeeze()) for b in bounds)
        look = looks[label]
        ax.plot([low, high], [row, row], color=look.colour, linewidth=4, alpha=0.35)
        ax.plot([value], [row], **{**look.line, "markersize": 8})
    ax.set_yticks(range(len(labels)), [textwrap.fill(label, 26) for label in labels])
    ax.set_ylim(len(labels) - 0.5, -0.5)
    return {}


def costs(
    results: xr.Dataset,
    *,
    cells: str = "all",
    looks: style.Looks | None = None,
) -> Figure:
    """Runtime and iterations against the swept parameter, means with quartiles."""
    axis = one_axis(results, "runtime")
    summary = summarize(results, default_measure(results), cells=cells)
    names = ("runtime", "iterations")
    with style.rc():
        figure, axes = style.canvas(1, 2, (8.4, 4.0))
        for ax, name in zip(axes[0], names, strict=True):
            quantiles = summary[f"{name}_quantile"]
            bounds = (summary[name], quantiles.sel(quantile=0.25), quantiles.sel(quantile=0.75))
            handles = over_axis(ax, results, axis, bounds, looks)
            is_runtime = name == "runtime"
            label = "runtime per realization" if is_runtime else "iterations per realization"
            (ax.set_xlabel if axis is None else ax.set_ylabel)(label)
            values = np.stack(bounds)
            if is_runtime or _spans_much(values):
                target = ax.xaxis if axis is None else ax.yaxis
                style.log_axis(target, style.log_limits(values), "s" if is_runtime else "")
            elif axis is not None:
                ax.set_ylim(bottom=0)
        told = describing.statistic_text("quartiles", cells)
        style.finish(figure, results, handles, told, describing.runtime_notes(results))
    return figure


def _spans_much(values: Any) -> bool:
    values = values[np.isfinite(values) & (values > 0)]
    return bool(values.size) and values.max() > 20 * values.min()


def tradeoff(
    results: xr.Dataset,
    measure: str = "nmse",
    *,
    statistic: str = "mean",
    cells: str = "all",
    looks: style.Looks | None = None,
) -> Figure:
    """A measure against the runtime: one point per solver and value of the swept parameter."""
    axis = one_axis(results, "tradeoff")
    summary = summarize(results, measure, cells=cells)
    looks = looks or style.looks_of(results.solver.values)
    better = results[measure].attrs.get("better", "lower")
    with style.rc():
        figure, axes = style.canvas()
        ax = axes[0, 0]
        handles = {
            label: _path(ax, summary.sel(solver=label), axis, looks[label], statistic)
            for label in map(str, summary.solver.values)
        }
        ax.set_xlabel("mean runtime per realization")
        ax.set_ylabel(style.axis_label(results[measure]))
        style.log_axis(ax.xaxis, style.log_limits(summary.runtime), "s", ticks=5)
        if style.wants_log(summary[statistic], better):
            bounds = np.stack([summary[statistic + end] for end in ("", "_low", "_high")])
            style.log_axis(ax.yaxis, style.log_limits(bounds))
        over = []
        if axis is not None:
            ends = results[axis].values[[0, -1]]
            label = describing.label_of(results[axis])
            over = [f"a line per solver: {label} from {ends[0]} (open) to {ends[1]}"]
        title = "\n".join([describing.statistic_text(statistic, cells), *over])
        style.finish(figure, results, handles, title, describing.runtime_notes(results))
    return figure


def _path(ax: Axes, summary: xr.Dataset, axis: str | None, look: style.Look, statistic: str) -> Any:
    """The points of one solver, joined along the swept parameter; the first one open."""
    x = summary.runtime.values.reshape(-1)
    y, low, high = (summary[statistic + end].values.reshape(-1) for end in ("", "_low", "_high"))
    (line,) = ax.plot(x, y, **look.line, zorder=3)
    ax.vlines(x, low, high, color=look.colour, alpha=0.45, linewidth=2.2)
    if axis is not None:
        ax.plot(
            x[:1], y[:1], **{**look.line, "markeredgecolor": look.colour, "mfc": "white"}, zorder=4
        )
    return line
