"""Figures over two swept parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis import axes_of, describing, is_power, remarks, to_db
from pipeline.plots.base import Axis, FigureData, Map
from pipeline.plots.measures import MeasureKind, drawable_measures, measure_axis

MOST_NUMBERS = 42
"""In a map of more fields no numbers are written."""


@dataclass(frozen=True)
class Heatmap(MeasureKind):
    """A measure over two swept parameters, a panel per solver."""

    name: ClassVar[str] = "heatmap"
    shows: ClassVar[str] = "a measure over two swept parameters, a panel per solver"
    axes: ClassVar[int] = 2

    def applies(self, results: xr.Dataset) -> str | None:
        """Whether two parameters vary, and the cube has the measure."""
        axes = describing.free_axes(results)
        if len(axes) < 2:
            have = ", ".join(axes) or "none"
            return f"needs two swept parameters that vary, this cube has: {have}"
        return super().applies(results)

    def describe(self, results: xr.Dataset) -> FigureData:
        """A map per solver, all on one scale of colours."""
        x, y = (results[axis] for axis in describing.free_axes(results))
        summary = self.summary(results)
        measure = summary.attrs["measure"]
        narrow = [axis for axis in axes_of(results) if axis not in (x.name, y.name)]
        value, low, high = (
            summary[self.statistic + end].squeeze(narrow) for end in ("", "_low", "_high")
        )
        bounds = (value, low, high)
        colour = measure_axis(results[measure], value)
        if colour.scale == "linear" and bool(value.notnull().any()):
            limits = (float(value.min()), float(value.max()))
            colour = replace(colour, limits=limits)
        decibels, written = is_power(measure), x.size * y.size <= MOST_NUMBERS
        unit = " dB" if decibels else ""
        points = [
            f"{describing.value_text(x, a)}, {describing.value_text(y, b)}"
            for b in y.values
            for a in x.values
        ]
        maps = []
        for label in map(str, summary.solver.values):  # without bounds, where these have none
            rows = [b.sel(solver=label).transpose(y.name, x.name).values for b in bounds]
            texts = _texts(*rows, decibels=decibels)
            said = [
                f"{point}: {' '.join(str(text).split())}{unit}"
                for point, text in zip(points, texts.flat, strict=True)
            ]
            shown = texts if written else np.full_like(texts, "")
            at = np.array(said, object).reshape(texts.shape)
            maps.append(Map(_named(x), _named(y), colour, rows[0], shown, at, label, label))
        legend = self.worded(measure) + describing.cells_text(self.cells)
        if written:
            legend += f"\nnumbers{' in dB' if decibels else ''}, ± half of the 95 % interval"
        notes = self.told(summary)
        notes += ["hatched: no value there"] if bool((~np.isfinite(value)).any()) else []
        failed = remarks.failed_text(self.statistic)
        return FigureData(maps, legend, self.worded(measure), notes, failed)

    @classmethod
    def in_report(cls, results: xr.Dataset) -> Sequence[Self]:
        """The median of the first measure."""
        return [cls(name) for name in drawable_measures(results)[:1]]


def _named(variable: xr.DataArray) -> Axis:
    ticks = [(i, describing.short_text(value)) for i, value in enumerate(variable.values)]
    return Axis(describing.label_of(variable), "categorical", ticks=ticks)


def _texts(
    value: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    *,
    decibels: bool,
) -> NDArray[np.object_]:
    """Each value with half the width of its interval, in two lines; empty where there is none."""
    with np.errstate(invalid="ignore"):  # zeros have no level
        if decibels:
            shown, half = to_db(value), (to_db(high) - to_db(low)) / 2
        else:
            shown, half = value, (high - low) / 2
    texts = np.full(value.shape, "", object)
    for at in zip(*np.nonzero(np.isfinite(value)), strict=True):
        text = f"{shown[at]:.1f}" if decibels else f"{shown[at]:.2g}"
        if np.isfinite(half[at]):
            text += f"\n±{half[at]:.1f}" if decibels else f"\n±{half[at]:.1g}"
        texts[at] = text.replace("-", "−")
    return texts
