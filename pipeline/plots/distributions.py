"""Figures of one point of the grid: distributions over realizations, and traces per iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr

from pipeline.analysis import default_measure, describing, is_power, remarks
from pipeline.analysis.cells import labels_of
from pipeline.analysis.distributions import empirical_cdf, trace_quantiles
from pipeline.errors import InputError
from pipeline.plots.base import Axis, Curve, FigureData, FigureKind, Panel
from pipeline.plots.measures import measure_axis, measure_option, undrawable
from solvers import option


@dataclass(frozen=True)
class Cdf(FigureKind):
    """Empirical distribution of a measure over the realizations."""

    name: ClassVar[str] = "cdf"
    shows: ClassVar[str] = "empirical distribution of a measure over the realizations"
    section: ClassVar[str] = "Distributions"
    axes: ClassVar[int] = 0

    measure: str | None = measure_option()

    def applies(self, results: xr.Dataset) -> str | None:
        """Whether the cube has the measure."""
        return undrawable(results, self.measure)

    def describe(self, results: xr.Dataset) -> FigureData:
        """Steps up to the share of realizations that have an estimate, or from those without."""
        measure = self.measure or default_measure(results)
        curves = []
        bounds = labels_of(results, "bound")
        for label in (s for s in map(str, results.solver.values) if s not in bounds):
            found = empirical_cdf(describing.sample(results, label, {}), measure)
            if found.sizes["value"]:
                rows: Any = (found[name].values for name in ("value", "share", "low", "high"))
                curves.append(Curve(label, *rows))
        values = np.concatenate([curve.x for curve in curves] or [np.empty(0)])
        rates = values.size and 0 <= values.min() <= values.max() <= 1
        limits = (-0.03, 1.03) if rates else (None, None)
        x = measure_axis(results[measure], values)
        if x.scale == "linear":
            x = replace(x, limits=limits)
        return FigureData(
            [Panel(x, Axis("share of realizations", limits=(0, 1.02)), curves, "step")],
            "empirical distribution, 95 % band of the whole curve (DKW)",
            f"Distribution of {measure.upper()}",
            failed=f"{remarks.FAILED_RANKED}: a curve of errors ends below 1",
        )


@dataclass(frozen=True)
class Convergence(FigureKind):
    """Median and quartiles of a trace per iteration."""

    name: ClassVar[str] = "convergence"
    shows: ClassVar[str] = "a trace (nmse, cost or change) per EM iteration"
    section: ClassVar[str] = "Convergence"
    axes: ClassVar[int] = 0

    measure: str = option("nmse", "nmse, cost or change")

    def applies(self, results: xr.Dataset) -> str | None:
        """Whether the cube has the trace."""
        try:
            describing.trace_of(results, self.measure)
        except InputError as error:
            return str(error)
        return None

    def describe(self, results: xr.Dataset) -> FigureData:
        """A line per solver that leaves traces."""
        trace = describing.trace_of(results, self.measure)
        found: dict[str, xr.Dataset] = {
            label: trace_quantiles(describing.sample(results, label, {}), trace)
            for label in map(str, results.solver.values)
        }
        curves = []
        for label, one in found.items():
            if one.sizes["iteration"]:
                rows: Any = (one[name].values for name in ("iteration", "median", "low", "high"))
                curves.append(Curve(label, *rows))
        last = max((curve.x[-1] for curve in curves), default=1)
        label = describing.label_of(results[trace])
        y = Axis(label, shared=False)
        if self.measure.removeprefix("trace_") != "cost":
            medians = np.concatenate([np.empty(0), *(curve.value for curve in curves)])
            power = is_power(self.measure.removeprefix("trace_"))
            y = Axis.log(label, medians, shared=False, power=power)
        silent = ", ".join(name for name, one in found.items() if not one.sizes["iteration"])
        return FigureData(
            [Panel(Axis("EM iteration", "log", limits=(0.9, 1.2 * last)), y, curves, "line")],
            "median, and quartiles; a realization that has stopped keeps its last value",
            label[:1].upper() + label[1:],
            [f"no trace: {silent}"] if silent else [],
        )

    @classmethod
    def in_report(cls, results: xr.Dataset) -> Sequence[Self]:
        """The NMSE and the cost."""
        return [cls(name) for name in ("nmse", "cost") if f"trace_{name}" in results]
