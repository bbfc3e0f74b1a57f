"""Charts of a report: the figures that a cube gives, drawn so that they answer the pointer."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from pipeline.plots import kinds
from pipeline.plots.appearance import Appearance
from pipeline.plots.base import FigureData, FigureKind, Map, Panel
from pipeline.plots.looks import Looks
from pipeline.report import interactive
from pipeline.report.page import Chart

PANELS = 6
"""Most panels shown of a figure that has one per point; they are evenly spread."""


def described(kind: FigureKind, results: xr.Dataset) -> list[FigureData]:
    """Compute what a figure shows, in parts: one for each point that has panels of its own."""
    points = kinds.panel_points(kind, results)
    if len(points) > PANELS:
        points = [points[i] for i in np.linspace(0, len(points) - 1, PANELS).round().astype(int)]
    parts = [kinds.describe_at(kind, results, point) for point in points]
    return kinds.with_common_limits(parts)


def charts_of(parts: Iterable[FigureData], looks: Looks) -> list[Chart]:
    """A chart per panel that has something to show."""
    return [chart for data in parts for chart in _charts(data, looks)]


def _charts(data: FigureData, looks: Looks) -> list[Chart]:
    words = [*data.legend.split("\n"), *data.notes, *kinds.notes_on(data.panels)]
    data = Appearance(decibels=True).applied(data)  # as the tables have it
    words += [f"failed realizations {data.failed}"] if data.failed else []
    charts = []
    for panel in data.panels:
        parts = [panel] if isinstance(panel, Map) else panel.curves
        if not any(np.isfinite(part.value).any() for part in parts):
            continue
        title = ", ".join(filter(None, [data.title or capital(panel.y.label), panel.title]))
        told, alt, shown = words, f"{title}: heat map.", looks
        if isinstance(panel, Map):
            told, shown = [f"colour: {panel.colour.label}, the same scale in all", *words], {}
        else:
            alt = f"{title}: {_in_words(panel)}."
        caption = " ".join(f"{capital(text)}." for text in told)
        model = interactive.render(panel, looks)
        still = _still(data, panel, looks)
        charts.append(Chart(title, model, shown, caption, alt, still, data.at))
    return charts


def _still(data: FigureData, panel: Panel | Map, looks: Looks) -> bytes:
    """The panel as a picture that needs no JavaScript."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    from pipeline.plots import static, style

    with style.rc():
        alone = dataclasses.replace(data, panels=[dataclasses.replace(panel, title="")])
        names = {label: label for label in looks}
        figure, *_ = static.panels(alone, looks, names, Appearance(size=(5.4, 3.4), title=""))
        file = io.BytesIO()
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(file, metadata={"Date": None})
    return re.sub(rb"(\d\.\d\d)\d+", rb"\1", file.getvalue())  # half of the bytes were decimals


def capital(text: str) -> str:
    """The text, its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _in_words(panel: Panel) -> str:
    """The value, or the ends of the curve, of every solver, for those who do not see them."""
    ends = [
        f"{curve.solver} {' to '.join(f'{v:.3g}' for v in dict.fromkeys(curve.value[[0, -1]]))}"
        for curve in panel.curves
    ]
    return f"{panel.y.label} over {panel.x.label or 'the solvers'}: {'; '.join(ends)}"
