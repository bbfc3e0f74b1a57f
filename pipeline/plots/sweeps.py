"""Figures over one swept parameter: measures, runtime, latency, and measures against runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis import default_measure, describing, is_power, latencies, remarks, summarize
from pipeline.analysis.caveats import LEGEND
from pipeline.analysis.cells import labels_of
from pipeline.plots import scales
from pipeline.plots.base import Axis, Curve, FigureData, FigureKind, Panel
from pipeline.plots.measures import MeasureKind, cells_option, drawable_measures, measure_axis

Bounds = tuple[xr.DataArray, xr.DataArray, xr.DataArray]

TICKS = 12
"""A swept parameter of at most so many values has a tick at each."""


def swept_axis(variable: xr.DataArray) -> tuple[Axis, NDArray[Any]]:
    """The axis of a swept parameter, and where its values lie on it."""
    values, label = variable.values, describing.label_of(variable)
    texts = [describing.short_text(value) for value in values]
    if scales.is_text(values):
        return Axis(label, "categorical", ticks=list(enumerate(texts))), np.arange(len(values))
    places = scales.places(values)
    told = len(values) <= TICKS or (places != values).any()
    at = list(zip(places.tolist(), texts, strict=True)) if told else []
    scale = "log" if scales.evenly_spaced_in_log(places) else "linear"
    return Axis(label, scale, ticks=at), places  # type: ignore[arg-type]


def swept_points(results: xr.Dataset) -> list[str]:
    """The values of the one swept parameter that varies, in words; one empty for none."""
    axes = describing.free_axes(results)
    if not axes:
        return [""]
    return [describing.value_text(results[axes[0]], value) for value in results[axes[0]].values]


def over_sweep(
    results: xr.Dataset,
    bounds: Bounds,
    y: Axis,
    title: str = "",
    doubtful: xr.DataArray | None = None,
) -> Panel:
    """A panel of one statistic over the swept parameter, or of a dot per solver if none varies.

    Parameters
    ----------
    results
        A cube in which at most one swept parameter varies.
    bounds
        Value, low and high of each solver, over ``solver`` and the swept parameters.
    y
        Axis of the values.
    title
        Words that tell the panel from the others of the figure.
    doubtful
        True where a value means little, like the bounds; see `Curve`.
    """
    axes, labels = describing.free_axes(results), [str(label) for label in bounds[0].solver.values]
    bounds = _within(bounds)
    x, at = Axis("", "categorical", ticks=list(enumerate(labels))), np.arange(len(labels))
    if axes:
        x, at = swept_axis(results[axes[0]])
    points, order = swept_points(results), np.argsort(at) if axes else np.array([0])
    curves = []
    for row, label in enumerate(labels):
        value, low, high = (bound.sel(solver=label).values.reshape(-1)[order] for bound in bounds)
        places = at[order] if axes else at[row : row + 1]
        little = None if doubtful is None else doubtful.sel(solver=label).values.reshape(-1)[order]
        texts = [points[i] for i in order]
        curves.append(Curve(label, places, value, low, high, texts, little))
    return Panel(x, y, curves, "points" if axes else "dots", title)


def _within(bounds: Bounds) -> Bounds:
    """Bounds whose intervals can be drawn: what reaches to infinity ends with the others."""
    value, low, high = bounds
    ends = (low.where(low != -np.inf), high.where(high != np.inf))
    return (
        value,
        low.where(low != -np.inf, ends[0].min()),
        high.where(high != np.inf, ends[1].max()),
    )


def _bounds(summary: xr.Dataset, name: str) -> Bounds:
    return summary[name], summary[f"{name}_low"], summary[f"{name}_high"]


@dataclass(frozen=True)
class Curves(MeasureKind):
    """A measure against a swept parameter, with its 95 % interval."""

    name: ClassVar[str] = "curves"
    shows: ClassVar[str] = "a measure against a swept parameter, with 95 % intervals"

    def describe(self, results: xr.Dataset) -> FigureData:
        """Curves, or dots where nothing varies."""
        summary = self.summary(results)
        measure = summary.attrs["measure"]
        bounds = _bounds(summary, self.statistic)
        axis = measure_axis(results[measure], np.stack(bounds))
        panel = over_sweep(results, bounds, axis, doubtful=summary.doubtful)
        return FigureData(
            [panel],
            describing.statistic_text(self.statistic, self.cells),
            self.worded(measure),
            [
                *self.told(summary),
                *([f"open markers: {LEGEND}"] if bool(summary.doubtful.any()) else []),
            ],
            remarks.failed_text(self.statistic),
        )

    @classmethod
    def in_report(cls, results: xr.Dataset) -> Sequence[Self]:
        """Median and mean of the first measure, pooled where there are bounds; one of each other.

        Over two swept parameters, of the first measure only: the others are in the tables.
        """
        names = drawable_measures(results)
        found = [cls(name, statistic) for name in names[:1] for statistic in ("median", "mean")]
        found += [cls("nmse", "pooled")] if labels_of(results, "bound") else []
        if len(describing.free_axes(results)) < 2:
            found += [cls(name, "median" if is_power(name) else "mean") for name in names[1:]]
        return found


@dataclass(frozen=True)
class Runtime(FigureKind):
    """Runtime and iterations against a swept parameter."""

    name: ClassVar[str] = "runtime"
    shows: ClassVar[str] = "runtime and iterations against a swept parameter"
    section: ClassVar[str] = "Runtime"

    cells: str = cells_option()

    def describe(self, results: xr.Dataset) -> FigureData:
        """A panel of each, means with quartiles."""
        summary = summarize(results, default_measure(results), cells=self.cells)
        panels = []
        for name in ("runtime", "iterations"):
            spread = summary[f"{name}_quantile"]
            low, high = (spread.sel(quantile=level, drop=True) for level in (0.25, 0.75))
            values = np.stack([summary[name], low, high])
            y = Axis(f"{name} per realization", limits=(0, None))
            if name == "runtime" or scales.spans_much(values):
                y = Axis.log(y.label, values, unit="s" if name == "runtime" else "")
            panels.append(over_sweep(results, (summary[name], low, high), y))
        legend = describing.statistic_text("quartiles", self.cells)
        return FigureData(panels, legend, notes=remarks.runtime_notes(results))


@dataclass(frozen=True)
class Tradeoff(MeasureKind):
    """A measure against the runtime: a point per solver and value of the swept parameter."""

    name: ClassVar[str] = "tradeoff"
    shows: ClassVar[str] = "a measure against the runtime"
    section: ClassVar[str] = "Runtime"

    def describe(self, results: xr.Dataset) -> FigureData:
        """A path per solver, from the first value of the swept parameter to the last."""
        summary = self.summary(results)
        measure = summary.attrs["measure"]
        bounds = _bounds(summary, self.statistic)
        points, curves = swept_points(results), []
        summary = summary.drop_sel(
            solver=[s for s in summary.attrs["bounds"] if s in summary.solver]
        )
        for label in map(str, summary.solver.values):
            time = summary.runtime.sel(solver=label).values.reshape(-1)
            value, low, high = (bound.sel(solver=label).values.reshape(-1) for bound in bounds)
            at = [
                ", ".join(filter(None, [point, f"{1e3 * t:.3g} ms"]))
                for point, t in zip(points, time, strict=True)
            ]
            curves.append(Curve(label, time, value, low, high, at))
        x = Axis.log("mean runtime per realization", summary.runtime, unit="s")
        y = measure_axis(results[measure], np.stack(bounds))
        legend = [describing.statistic_text(self.statistic, self.cells)]
        axes = describing.free_axes(results)
        if axes:
            label = describing.label_of(results[axes[0]])
            first, last = map(describing.short_text, results[axes[0]].values[[0, -1]])
            legend.append(f"a line per solver: {label} from {first} (open) to {last}")
        return FigureData(
            [Panel(x, y, curves, "path")],
            "\n".join(legend),
            f"{self.worded(measure)} against runtime",
            [*remarks.marked(summary, self.statistic), *remarks.runtime_notes(results)],
            remarks.failed_text(self.statistic),
        )

    @classmethod
    def in_report(cls, results: xr.Dataset) -> Sequence[Self]:
        """The median, which no single slow realization moves."""
        return [cls()]


@dataclass(frozen=True)
class Latency(FigureKind):
    """Latency of realizations that were timed alone, never averaged over hosts."""

    name: ClassVar[str] = "latency"
    shows: ClassVar[str] = "latency of single realizations, a panel per host"
    section: ClassVar[str] = "Latency"

    def applies(self, results: xr.Dataset) -> str | None:
        """Whether realizations have been timed."""
        return None if "latency" in results else "was not measured in this cube"

    def describe(self, results: xr.Dataset) -> FigureData:
        """A panel per host."""
        found = latencies(results)
        assert found is not None  # as `applies` has seen
        y = Axis.log("latency of one realization", np.stack(_bounds(found, "latency")), unit="s")
        panels = [
            over_sweep(results, _bounds(found.sel(timing_host=host), "latency"), y, f"on {host}")
            for host in found.timing_host.values
        ]
        return FigureData(panels, "median, 95 % distribution-free interval; solved one at a time")
