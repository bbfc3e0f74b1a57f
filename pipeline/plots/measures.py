"""Options, axis and base class of the kinds of figures that show a measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import xarray as xr

from pipeline.analysis import default_measure, describing, is_power, measures_of, remarks, summarize
from pipeline.analysis.cells import lacking
from pipeline.analysis.summaries import WHICH_CELLS
from pipeline.plots import scales
from pipeline.plots.base import Axis, FigureKind
from solvers import option


def measure_option() -> Any:
    """The option of a kind that draws any measure."""
    return option(None, "measure; nmse, or the first of the cube", type=str, optional=True)


def cells_option() -> Any:
    """The option of a kind that draws statistics."""
    doc = "all realizations, or the common ones, which all solvers have finished"
    return option("all", doc, choices=WHICH_CELLS)


def undrawable(results: xr.Dataset, measure: str | None) -> str | None:
    """Why no kind can draw a measure of a cube, or None."""
    measure = measure or default_measure(results)
    reason = lacking(results, measure)
    if reason is None and results[measure].ndim > results.status.ndim:
        own = ", ".join(str(d) for d in results[measure].dims if d not in results.status.dims)
        reason = f"{measure} has a dimension of its own, {own}; only scalar measures are drawn"
    return reason


def drawable_measures(results: xr.Dataset, *, details: bool = False) -> list[str]:
    """Measures that a report draws, the default one first; or those that are details."""
    names = [name for name in measures_of(results) if undrawable(results, name) is None]
    names = [name for name in names if ("detail" in results[name].attrs) == details]
    return sorted(names, key=lambda name: name != default_measure(results))


def measure_axis(variable: xr.DataArray, values: Any, **more: Any) -> Axis:
    """The axis of a measure: logarithmic for errors, linear for rates of success."""
    label = describing.label_of(variable)
    more["power"] = is_power(str(variable.name))
    if scales.wants_log(values, variable.attrs.get("better", "lower")):
        return Axis.log(label, values, **more)
    return Axis(label, **more)


@dataclass(frozen=True)
class MeasureKind(FigureKind):
    """Base class of the kinds that show a statistic of a measure."""

    measure: str | None = measure_option()
    statistic: str = option(
        "median", "statistic over the realizations", choices=("median", "mean", "pooled")
    )
    cells: str = cells_option()

    def applies(self, results: xr.Dataset) -> str | None:
        """Whether the cube has the measure, and one value of it per cell."""
        measure = self.measure or default_measure(results)
        if self.statistic == "pooled" and (measure != "nmse" or "signal_energy" not in results):
            return "only nmse is pooled, in a cube that has signal_energy"
        return undrawable(results, measure)

    def summary(self, results: xr.Dataset) -> xr.Dataset:
        """Statistics of the measure, its name among their attributes; bounds have means only."""
        summary = summarize(results, self.measure or default_measure(results), cells=self.cells)
        hidden = summary.attrs["bounds"] if self.statistic == "median" else []
        return summary.drop_sel(solver=hidden)

    def told(self, summary: xr.Dataset) -> list[str]:
        """Notes on means that are not to be trusted, and on bounds."""
        bounds = ", ".join(summary.attrs["bounds"])
        of_means = "bounds, on means of unbiased estimators (SBL may lie below; not on medians)"
        return [
            *remarks.marked(summary, self.statistic),
            *([f"{of_means}: {bounds}"] if bounds else []),
        ]

    def worded(self, measure: str) -> str:
        """The statistic in a title: every mean says which it is."""
        names = describing.statistic_names(measure)
        return names[self.statistic].removesuffix(", dB").replace(measure, measure.upper())
