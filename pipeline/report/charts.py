"""Charts of a report: which figures a cube gives, and what they say."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis import describing, latencies
from pipeline.analysis.distributions import empirical_cdf, trace_quantiles
from pipeline.plots import style
from pipeline.plots.panels import points_of
from pipeline.report import interactive
from pipeline.report.page import Chart, Part, Text
from pipeline.report.tables import latency_table

PANELS = 6
"""Of a figure with a panel per point, so many are shown, evenly spread."""


def _panels(results: xr.Dataset, along: str | None) -> list[dict[str, Any]]:
    """Points of all swept parameters but one, at most `PANELS` of them."""
    rest = results if along is None else results.isel({along: 0})
    points = points_of(rest)
    if len(points) <= PANELS:
        return points
    return [points[i] for i in np.linspace(0, len(points) - 1, PANELS).round().astype(int)]


def _longest(results: xr.Dataset) -> str | None:
    """The swept parameter to draw over."""
    axes = describing.free_axes(results)
    return max(axes, key=lambda axis: results.sizes[axis]) if axes else None


def measures(
    results: xr.Dataset, summaries: Mapping[str, xr.Dataset], looks: style.Looks
) -> list[Part]:
    """Measures over the swept parameter, means and medians; heat maps over two."""
    along = _longest(results)
    parts: list[Part] = []
    for measure, summary in summaries.items():
        for point in _panels(results, along):
            for statistic in ("mean", "median"):
                here = summary.sel(point)
                title = f"{measure.upper()}, {statistic}{_at(results, point)}"
                axis = results["solver" if along is None else along]
                parts.append(_curves(axis, results[measure], here, statistic, title, looks))
        if len(describing.free_axes(results)) == 2:
            parts += _heat_maps(results, measure, summary)
    return parts


Bounds = tuple[xr.DataArray, xr.DataArray, xr.DataArray]


def _bounds(summary: xr.Dataset, name: str) -> Bounds:
    """A figure with its interval, over ``solver`` and at most one axis."""
    value, low, high = (summary[name + end] for end in ("", "_low", "_high"))
    return _narrow(value), _narrow(low), _narrow(high)


def _narrow(values: xr.DataArray) -> xr.DataArray:
    """Without dimensions of one value; but solvers stay."""
    return values.squeeze([d for d in values.dims if d != "solver" and values.sizes[d] == 1])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _curves(
    axis: xr.DataArray,
    variable: xr.DataArray,
    summary: xr.Dataset,
    statistic: str,
    title: str,
    looks: style.Looks,
) -> Chart:
    bounds = _bounds(summary, statistic)
    value, low, _ = bounds
    log = style.wants_log(value, variable.attrs.get("better", "lower"))
    model = interactive.over_axis(axis, bounds, describing.label_of(variable), looks, log=log)
    told = [
        describing.STATISTICS[statistic],
        *(describing.dominated(summary) if statistic == "mean" else []),
        *describing.without_interval(value, low),
        *(style.off_axis(value, style.log_limits(np.stack(bounds))) if log else []),
    ]
    caption = " ".join(f"{_capital(text)}." for text in told)
    return Chart(title, model, looks, caption, _alt(title, axis, value))


def _alt(title: str, axis: xr.DataArray, value: xr.DataArray) -> str:
    """The ends of every curve, in words."""
    if axis.name == "solver":
        return f"{title}: values in the table."
    parts = [
        f"{solver} from {float(row[0]):.3g} to {float(row[-1]):.3g}"
        for solver in value.solver.values
        for row in [value.sel(solver=solver).values.reshape(-1)]
    ]
    return f"{title}, over {describing.label_of(axis)}: {'; '.join(parts)}."


def _heat_maps(results: xr.Dataset, measure: str, summary: xr.Dataset) -> list[Part]:
    x, y = (results[axis] for axis in describing.free_axes(results))
    bounds = _bounds(summary, "median")
    values = bounds[0]
    finite = values.values[np.isfinite(values.values)]
    log = style.wants_log(values, results[measure].attrs.get("better", "lower"))
    limits = (style.log_limits(values) if log else None) or (finite.min(), finite.max())
    parts: list[Part] = []
    for solver in values.solver.values:
        of_solver = [b.sel(solver=solver) for b in bounds]
        model = interactive.heat_map(of_solver, x, y, limits, log=log)
        title = f"{measure.upper()}, median, {solver}"
        caption = (
            f"Colour: {describing.label_of(results[measure])}, the same scale for all solvers."
        )
        parts.append(Chart(title, model, {}, caption, f"{title}: heat map; values in the table."))
    return parts


def runtime(
    results: xr.Dataset, summary: xr.Dataset, measure: str, looks: style.Looks
) -> list[Part]:
    """Runtime and iterations over the swept parameter, and a measure against runtime."""
    along = _longest(results)
    notes = describing.runtime_notes(results)
    parts: list[Part] = [Text(f"{_capital(note)}.", warning=True) for note in notes]
    points = _panels(results, along)
    for name, label in (("runtime", "runtime per realization"), ("iterations", "iterations")):
        parts += [_costs(results, summary, along, point, (name, label), looks) for point in points]
    variable = results[measure]
    log = style.wants_log(summary["median"], variable.attrs.get("better", "lower"))
    label = describing.label_of(variable)
    for point in points:
        model = interactive.against_runtime(
            results, summary.sel(point), "median", along, label, looks, log=log
        )
        title = f"Median {measure.upper()} against runtime{_at(results, point)}"
        caption = "A line per solver along the swept parameter."
        parts.append(Chart(title, model, looks, caption, f"{title}: values in the table."))
    return parts


def _at(results: xr.Dataset, point: Mapping[str, Any]) -> str:
    """A point as the end of a title."""
    text = describing.point_text(results, point)
    return f", {text}" if text else ""


def _costs(
    results: xr.Dataset,
    summary: xr.Dataset,
    along: str | None,
    point: Mapping[str, Any],
    what: tuple[str, str],
    looks: style.Looks,
) -> Chart:
    name, label = what
    here = summary.sel(point)
    spread = here[f"{name}_quantile"]
    low, high = (_narrow(spread.sel(quantile=q)) for q in (0.25, 0.75))
    bounds = (_narrow(here[name]), low, high)
    axis = results["solver" if along is None else along]
    time = name == "runtime"
    model = interactive.over_axis(axis, bounds, label, looks, log=time, time=time)
    title = f"{_capital(name)}{_at(results, point)}"
    told = "Mean, and quartiles of the realizations."
    return Chart(title, model, looks, told, _alt(title, axis, bounds[0]))


def latency(results: xr.Dataset, looks: style.Looks) -> list[Part]:
    """Latency of realizations that were timed alone, and memory, for each host."""
    found = latencies(results)
    if found is None:
        return []
    along = _longest(results)
    axis = results["solver" if along is None else along]
    parts: list[Part] = [
        Text(
            "Realizations solved one at a time, each host for itself; the "
            "runtimes above are shares of batches."
        )
    ]
    told = "Median, with its 95 % distribution-free interval."
    for host, point in itertools.product(found.timing_host.values, _panels(results, along)):
        here = found.sel({"timing_host": host, **point})
        bounds = _bounds(here, "latency")
        label = "latency of one realization"
        model = interactive.over_axis(axis, bounds, label, looks, log=True, time=True)
        title = f"Latency on {host}{_at(results, point)}"
        parts.append(Chart(title, model, looks, told, _alt(title, axis, bounds[0])))
    return [*parts, latency_table(results, found)]


def distributions(results: xr.Dataset, measure: str, looks: style.Looks) -> list[Part]:
    """Empirical distributions of a measure, at some of the points."""
    label = describing.label_of(results[measure])
    log = results[measure].attrs.get("better", "lower") == "lower"
    parts: list[Part] = []
    for point in _panels(results, None):
        found = {
            solver: empirical_cdf(describing.sample(results, solver, point), measure)
            for solver in map(str, results.solver.values)
        }
        model = interactive.distributions(found, label, looks, log=log)
        title = describing.point_text(results, point) or "All realizations"
        caption = (
            f"Empirical distribution of {measure.upper()}, with the 95 % band of the whole curve "
            "(DKW). Failed realizations count as never reached."
        )
        alt = f"Distribution of {measure}, {title}: quantiles in the cube."
        parts.append(Chart(title, model, looks, caption, alt))
    return parts


def convergence(results: xr.Dataset, looks: style.Looks) -> list[Part]:
    """Traces per EM iteration, at some of the points; nothing where none were kept."""
    parts: list[Part] = []
    for trace, log in (("trace_nmse", True), ("trace_cost", False)):
        if trace not in results:
            continue
        for point in _panels(results, None):
            found = {
                solver: trace_quantiles(describing.sample(results, solver, point), trace)
                for solver in map(str, results.solver.values)
            }
            label = describing.label_of(results[trace])
            model = interactive.traces(found, label, looks, log=log)
            title = f"{_capital(label)}{_at(results, point)}"
            caption = "Median, and quartiles; a realization that has stopped keeps its last value."
            parts.append(Chart(title, model, looks, caption, f"{title}."))
    return parts
