"""The renderer with bokeh: it draws any panel of a figure.

The page's script shows the values under the pointer, those of all solvers at once, and rescales
when solvers are hidden; a plot's tag tells it how the curves are drawn.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.plots.base import Axis, Curve, Map, Panel
from pipeline.plots.looks import Look, Looks

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


def render(panel: Panel | Map, looks: Looks) -> figure:
    """Draw a panel, as wide as there is room.

    Parameters
    ----------
    panel
    looks
        The look of each solver.

    Returns
    -------
    bokeh.plotting.figure
        What belongs to a solver has its label as its name, so that the page can hide it.
    """
    if isinstance(panel, Map):
        return _map(panel)
    sideways = panel.marks == "dots"
    across, upwards = (panel.y, panel.x) if sideways else (panel.x, panel.y)
    plot = _blank(across, upwards)
    if sideways:
        plot.y_range.start, plot.y_range.end = len(panel.curves) - 0.5, -0.5
    plot.tags = [panel.marks]
    for curve in panel.curves:
        _curve(plot, panel, curve, looks[curve.solver])
    return plot


def _blank(x: Axis, y: Axis) -> figure:
    """An empty plot with its axes."""
    from bokeh.models import CustomJSTickFormatter, DataRange1d, FixedTicker, PlainText, Range1d
    from bokeh.plotting import figure

    plot = figure(
        x_axis_type="log" if x.scale == "log" else "linear",
        y_axis_type="log" if y.scale == "log" else "linear",
        x_axis_label=PlainText(text=x.label),
        y_axis_label=PlainText(text=textwrap.fill(y.label, 40)),
        height=320,
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
    plot.grid.grid_line_color = "#e2e2e2"
    for side, axis in (("x", x), ("y", y)):
        drawn = getattr(plot, f"{side}axis")
        drawn.axis_line_color = drawn.major_tick_line_color = "#555555"
        drawn.minor_tick_line_color = None
        drawn.axis_label_text_font_style = "normal"
        drawn.axis_label_text_font_size = drawn.major_label_text_font_size = "12px"
        low, high = axis.limits
        if low is not None and high is not None:
            setattr(plot, f"{side}_range", Range1d(low, high))
        elif low is not None:
            setattr(plot, f"{side}_range", DataRange1d(start=low, only_visible=True))
        else:
            getattr(plot, f"{side}_range").only_visible = True
        if axis.ticks:
            every = -(-len(axis.ticks) // 12)
            drawn.ticker = FixedTicker(ticks=[place for place, _ in axis.ticks[::every]])
            # Plain, since bokeh takes what is between double dollars for a formula.
            drawn.major_label_overrides = {at: PlainText(text=text) for at, text in axis.ticks}
        if axis.unit == "s":
            drawn.formatter = CustomJSTickFormatter(code=SECONDS)
    return plot


def _curve(plot: figure, panel: Panel, curve: Curve, look: Look) -> None:
    """Draw a solver's curve."""
    from bokeh.models import ColumnDataSource

    columns: dict[str, Any] = {
        "x": curve.x,
        "value": curve.value,
        "low": curve.low,
        "high": curve.high,
    }
    if panel.y.scale == "log":  # a band that goes below the axis is drawn down to it, not to 0
        floor = panel.y.limits[0] or 0.0
        columns["low"] = np.maximum(curve.low, floor / 10)
    if curve.at:
        columns |= {"at": curve.at, "said": _intervals(curve)}
    common: dict[str, Any] = {"source": ColumnDataSource(columns), "name": curve.solver}
    shade = {"color": look.colour, "alpha": 0.15 if len(panel.curves) <= 4 else 0.1}
    drawn = {"color": look.colour, "line_dash": DASHES[look.dashes], "line_width": 2.0}
    thick = {"color": look.colour, "alpha": 0.4, "line_width": 3.0}
    mark: dict[str, Any] = {
        "marker": MARKERS.get(look.marker, "dash"),  # a bound has none
        "size": {"*": 13, "P": 11}.get(look.marker, 8),
        "fill_color": look.colour,
        "line_color": "white",
    }
    if (hollow := _open(panel, curve)).any():
        common["source"].data["fill"] = np.where(hollow, "white", look.colour)
        mark |= {"fill_color": "fill", "line_color": look.colour}
    if panel.marks == "step":
        plot.varea_step("x", "low", "high", step_mode="after", **shade, **common)
        plot.step("x", "value", mode="after", **drawn, **common)
        return
    if panel.marks == "dots":
        plot.segment("low", "x", "high", "x", **thick, **common)
        plot.scatter("value", "x", **mark, **common)
        return
    if panel.marks == "path":
        plot.segment("x", "low", "x", "high", **thick, **common)
    else:
        plot.varea("x", "low", "high", **shade, **common)
    plot.line("x", "value", **drawn, **common)
    if panel.marks != "line" and look.marker:
        plot.scatter("x", "value", **mark, **common)


def _open(panel: Panel, curve: Curve) -> Any:
    """True for the points with an open marker: doubtful ones, and the first of a path."""
    if panel.marks == "path":
        return (np.arange(len(curve.x)) == 0) & (len(curve.x) > 1)
    return np.zeros(len(curve.x), bool) if curve.doubtful is None else curve.doubtful


def _intervals(curve: Curve) -> list[str]:
    """Each value with its interval, as far as there is one."""
    rows = zip(curve.value, curve.low, curve.high, strict=True)
    texts = (f"{v:.4g} [{a:.4g}, {b:.4g}]" if a == a else f"{v:.4g}" for v, a, b in rows)
    return [text.replace("-", "−") for text in texts]


def _map(panel: Map) -> figure:
    """Fields of colour, with numbers in them where there are some."""
    from bokeh.models import ColumnDataSource, LinearColorMapper, LogColorMapper
    from bokeh.palettes import Cividis256

    plot = _blank(panel.x, panel.y)
    plot.tags = ["map"]
    plot.grid.grid_line_color = None
    for drawn, axis in ((plot.x_range, panel.x), (plot.y_range, panel.y)):
        drawn.start, drawn.end = -0.5, len(axis.ticks) - 0.5
    low, high = panel.colour.limits
    mapper = (LogColorMapper if panel.colour.scale == "log" else LinearColorMapper)(
        palette=Cividis256, low=low, high=high, nan_color="#eeeeee"
    )
    rows, columns = (places.reshape(-1) for places in np.indices(panel.value.shape))
    dark = np.zeros(panel.value.shape, bool)
    if low is not None and high is not None:
        scale = np.log if panel.colour.scale == "log" else np.asarray
        with np.errstate(divide="ignore", invalid="ignore"):
            dark = scale(panel.value) < scale(low) + 0.55 * (scale(high) - scale(low))
    data = ColumnDataSource(
        {
            "x": columns,
            "y": rows,
            "value": panel.value.reshape(-1),
            "text": panel.texts.reshape(-1),
            "ink": np.where(dark.reshape(-1), "white", "black"),
            "at": panel.at.reshape(-1),
        }
    )
    colour = {"field": "value", "transform": mapper}
    field = plot.rect("x", "y", 1, 1, source=data, fill_color=colour, line_color=None)
    centred = {"text_align": "center", "text_baseline": "middle", "text_font_size": "10px"}
    plot.text("x", "y", "text", text_color="ink", source=data, **centred)
    plot.add_layout(field.construct_color_bar(width=10), "right")
    return plot
