"""Figures that can be hovered over, in the style of `pipeline.plots`."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pipeline.analysis import describing
from pipeline.plots import style

if TYPE_CHECKING:
    from bokeh.plotting import figure

MARKERS = {
    "o": "circle",
    "s": "square",
    "^": "triangle",
    "D": "diamond",
    "v": "inverted_triangle",
    "*": "star",
    "h": "hex",
    "P": "plus",
}
DASHES = {"-": "solid", "--": "dashed", ":": "dotted"}
SECONDS = """
const unit = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]].find(u => tick >= 0.999 * u[0])
return unit ? +(tick / unit[0]).toPrecision(3) + " " + unit[1] : String(tick)
"""


def blank(
    x_label: str, y_label: str, *, x_log: bool = False, y_log: bool = False, height: int = 340
) -> figure:
    """An empty figure, as wide as there is room."""
    from bokeh.plotting import figure

    plot = figure(
        x_axis_type="log" if x_log else "linear",
        y_axis_type="log" if y_log else "linear",
        x_axis_label=x_label,
        y_axis_label=textwrap.fill(y_label, 40),
        height=height,
        min_width=260,
        sizing_mode="stretch_width",
        tools="pan,box_zoom,reset,save",
        toolbar_location="above",
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.toolbar.active_drag = None  # a finger scrolls the page
    for axis in (*plot.xaxis, *plot.yaxis):
        axis.axis_line_color = axis.major_tick_line_color = "#555555"
        axis.minor_tick_line_color = None
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "12px"
    plot.grid.grid_line_color = "#e2e2e2"
    return plot


def seconds(axis: Any) -> None:
    """Label an axis in s, ms, µs."""
    from bokeh.models import CustomJSTickFormatter

    axis[0].formatter = CustomJSTickFormatter(code=SECONDS)


def over_axis(
    axis: xr.DataArray,
    bounds: tuple[xr.DataArray, xr.DataArray, xr.DataArray],
    label: str,
    looks: style.Looks,
    *,
    log: bool,
    time: bool = False,
) -> figure:
    """Value, low and high of every solver over a swept parameter.

    Parameters
    ----------
    axis
        The swept parameter, or the solvers themselves where nothing is swept.
    bounds
        Over ``solver`` and the axis.
    label
        Of the y axis.
    looks
    log, time
        Whether the y axis is logarithmic, and in seconds.
    """
    from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, Range1d

    values = axis.values
    named = style.is_text(values)
    at = np.arange(len(values)) if named else values
    plot = blank(
        describing.label_of(axis),
        label,
        x_log=style.evenly_spaced_in_log(values),
        y_log=log,
    )
    if named or len(values) <= 12:
        plot.xaxis.ticker = FixedTicker(ticks=at.tolist())
        shown = {a: str(v) if named else f"{v:g}" for a, v in zip(at.tolist(), values, strict=True)}
        plot.xaxis.major_label_overrides = shown
    everything = np.stack([b.values for b in bounds])
    floor = -np.inf
    if log and (limits := style.log_limits(everything)):
        plot.y_range, floor = Range1d(*limits), limits[0] / 10
    if time:
        seconds(plot.yaxis)
    marks = []
    for solver, look in looks.items():
        if solver not in bounds[0].solver.values:
            continue
        data = ColumnDataSource({"x": at} | _columns(axis, bounds, solver, floor))
        plot.varea("x", "low", "high", source=data, color=look.colour, alpha=0.15, name=solver)
        plot.line("x", "value", source=data, name=solver, **line(look))
        marks.append(plot.scatter("x", "value", source=data, name=solver, **mark(look)))
    tips = [("solver", "@solver"), ("at", "@at"), ("value", "@said")]
    plot.add_tools(HoverTool(renderers=marks, tooltips=tips))
    return plot


def _columns(
    axis: xr.DataArray, bounds: Sequence[xr.DataArray], solver: str, floor: float
) -> dict[str, Any]:
    """What is drawn and said of a solver; no band goes below `floor`."""
    value, low, high = (_along(b, solver, axis) for b in bounds)
    return {
        "value": value,
        "low": np.maximum(low, floor),
        "high": high,
        "at": [describing.value_text(axis, v) for v in axis.values],
        "said": [_interval(v, a, b) for v, a, b in zip(value, low, high, strict=True)],
        "solver": [solver] * len(value),
    }


def _along(bound: xr.DataArray, solver: str, axis: xr.DataArray) -> Any:
    """Values of a solver along an axis; of the axis of solvers, only its own."""
    if axis.name == "solver":
        return bound.where(bound.solver == solver).values.reshape(-1)
    return bound.sel(solver=solver).values.reshape(-1)


def _interval(value: Any, low: Any, high: Any) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.4g} [{low:.4g}, {high:.4g}]" if np.isfinite(low) else f"{value:.4g}"


def line(look: style.Look, width: float = 2.0) -> dict[str, Any]:
    """Arguments of a bokeh line."""
    return {"color": look.colour, "line_dash": DASHES[look.dashes], "line_width": width}


def mark(look: style.Look) -> dict[str, Any]:
    """Arguments of bokeh's markers."""
    size = {"*": 13, "P": 11}.get(look.marker, 8)
    marker = MARKERS[look.marker]
    return {"marker": marker, "size": size, "fill_color": look.colour, "line_color": "white"}


def against_runtime(
    results: xr.Dataset,
    summary: xr.Dataset,
    statistic: str,
    axis: str | None,
    label: str,
    looks: style.Looks,
    *,
    log: bool,
) -> figure:
    """A measure against the runtime, a point per solver and value of the swept parameter."""
    from bokeh.models import ColumnDataSource, HoverTool, Range1d

    plot = blank("mean runtime per realization", label, x_log=True, y_log=log)
    if limits := style.log_limits(summary.runtime):
        plot.x_range = Range1d(*limits)
    seconds(plot.xaxis)
    if log and (limits := style.log_limits(summary[statistic])):
        plot.y_range = Range1d(*limits)
    marks = []
    for solver, look in looks.items():
        if solver not in summary.solver.values:
            continue
        one = summary.sel(solver=solver)
        time, value, low, high = (
            one[name].values.reshape(-1)
            for name in ("runtime", statistic, f"{statistic}_low", f"{statistic}_high")
        )
        at = (
            [""]
            if axis is None
            else [describing.value_text(results[axis], v) for v in results[axis].values]
        )
        said = [_interval(*row) for row in zip(value, low, high, strict=True)]
        data = ColumnDataSource(
            {
                "x": time,
                "value": value,
                "at": at,
                "said": said,
                "time": [f"{t * 1e3:.3g} ms" for t in time],
                "solver": [solver] * len(time),
            }
        )
        plot.line("x", "value", source=data, name=solver, **line(look, 1.4))
        marks.append(plot.scatter("x", "value", source=data, name=solver, **mark(look)))
    tips = [("solver", "@solver"), ("at", "@at"), ("value", "@said"), ("runtime", "@time")]
    plot.add_tools(HoverTool(renderers=marks, tooltips=tips))
    return plot


def distributions(
    found: dict[str, xr.Dataset], label: str, looks: style.Looks, *, log: bool
) -> figure:
    """Empirical distributions, by solver."""
    from bokeh.models import ColumnDataSource, HoverTool, Range1d

    plot = blank(label, "share of realizations", x_log=log, height=300)
    values = [f.value.values for f in found.values()]
    if log and values and (limits := style.log_limits(np.concatenate(values))):
        plot.x_range = Range1d(*limits)
    plot.y_range = Range1d(0, 1.03)
    steps = []
    for solver, look in looks.items():
        if solver not in found or not found[solver].sizes["value"]:
            continue
        one = found[solver]
        data = ColumnDataSource(
            {"x": one.value.values, "share": one.share.values}
            | {"low": one.low.values, "high": one.high.values}
            | {"solver": [solver] * one.sizes["value"]}
        )
        plot.varea_step(
            *("x", "low", "high"),
            source=data,
            step_mode="after",
            color=look.colour,
            alpha=0.1,
            name=solver,
        )
        steps.append(plot.step("x", "share", source=data, mode="after", name=solver, **line(look)))
    tips = [("solver", "@solver"), ("value", "@x{0.000e+0}"), ("share", "@share{0.00}")]
    plot.add_tools(HoverTool(renderers=steps, tooltips=tips))
    return plot


def traces(found: dict[str, xr.Dataset], label: str, looks: style.Looks, *, log: bool) -> figure:
    """Median and quartiles per EM iteration, by solver."""
    from bokeh.models import ColumnDataSource, HoverTool, Range1d

    plot = blank("EM iteration", label, x_log=True, y_log=log, height=300)
    floor = -np.inf
    bounds = np.concatenate([f[n].values for f in found.values() for n in f.data_vars])
    if log and (limits := style.log_limits(bounds)):
        plot.y_range, floor = Range1d(*limits), limits[0] / 10
    lines = []
    for solver, look in looks.items():
        if solver not in found or not found[solver].sizes["iteration"]:
            continue
        one = found[solver]
        data = ColumnDataSource(
            {"x": one.iteration.values, "median": one["median"].values}
            | {"low": np.maximum(one.low.values, floor), "high": one.high.values}
            | {"solver": [solver] * one.sizes["iteration"]}
        )
        plot.varea("x", "low", "high", source=data, color=look.colour, alpha=0.15, name=solver)
        lines.append(plot.line("x", "median", source=data, name=solver, **line(look)))
    tips = [("solver", "@solver"), ("iteration", "@x"), ("median", "@median{0.000e+0}")]
    plot.add_tools(HoverTool(renderers=lines, tooltips=tips))
    return plot


def heat_map(
    bounds: Sequence[xr.DataArray],
    x: xr.DataArray,
    y: xr.DataArray,
    limits: Any,
    *,
    log: bool,
) -> figure:
    """A measure of one solver, with low and high, over two swept parameters."""
    from bokeh.models import ColumnDataSource, HoverTool, LinearColorMapper, LogColorMapper
    from bokeh.palettes import Cividis256
    from bokeh.plotting import figure

    columns = {"x": [], "y": [], "value": [], "said": [], "at": []}  # type: dict[str, list[Any]]
    values, low, high = (b.transpose(y.name, x.name).values for b in bounds)
    for (i, j), value in np.ndenumerate(values):
        columns["x"].append(_name(x.values[j]))
        columns["y"].append(_name(y.values[i]))
        columns["value"].append(value)
        columns["said"].append(_interval(value, low[i, j], high[i, j]))
        point = (describing.value_text(x, x.values[j]), describing.value_text(y, y.values[i]))
        columns["at"].append(", ".join(point))
    mapper = (LogColorMapper if log else LinearColorMapper)(
        palette=Cividis256, low=limits[0], high=limits[1], nan_color="#eeeeee"
    )
    plot = figure(
        x_range=[_name(v) for v in x.values],
        y_range=[_name(v) for v in y.values],
        x_axis_label=describing.label_of(x),
        y_axis_label=describing.label_of(y),
        height=300,
        min_width=260,
        sizing_mode="stretch_width",
        tools="save",
        toolbar_location="above",
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.grid.grid_line_color = None
    data = ColumnDataSource(columns)
    colour = {"field": "value", "transform": mapper}
    field = plot.rect("x", "y", 1, 1, source=data, fill_color=colour, line_color=None)
    bar = field.construct_color_bar(width=10)
    plot.add_layout(bar, "right")
    plot.add_tools(HoverTool(renderers=[field], tooltips=[("at", "@at"), ("value", "@said")]))
    return plot


def _name(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)
