"""The sections of a report about one cube."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis import (
    axes_of,
    check,
    default_measure,
    is_power,
    latencies,
    measures_of,
    summarize,
    to_db,
)
from pipeline.analysis.distributions import empirical_cdf, trace_quantiles
from pipeline.errors import InputError
from pipeline.plots import describing, style
from pipeline.plots.panels import points_of
from pipeline.report import interactive
from pipeline.report.page import Cell, Chart, Facts, Part, Section, Source, Table, Text

PANELS = 6
"""Of a figure with a panel per point, so many are shown, evenly spread."""
ROWS = 2000
"""A longer table is cut."""


def sections_of(results: xr.Dataset, *, looks: style.Looks | None = None) -> list[Section]:
    """All there is to say of a cube, finished or not.

    Parameters
    ----------
    results
        As `pipeline.open_results` gives it.
    looks
        Look of each solver; by default by place on the solver axis.

    Raises
    ------
    InputError
        No cube, or no cell of it has been run.
    """
    check(results)
    if not bool((results.status > 0).any()):
        raise InputError("nothing to report: no cell of this cube has been run")
    looks = looks or style.looks_of(results.solver.values)
    measures = [m for m in measures_of(results) if results[m].ndim == results.status.ndim]
    measures.sort(key=lambda m: m != default_measure(results))
    summaries = {m: summarize(results, m) for m in measures}
    first = next(iter(summaries.values()))
    return [
        Section("What was run", about(results)),
        Section("Summary", [*_notes(results), *summary_tables(results, summaries)]),
        Section("Figures", figures(results, summaries, looks)),
        Section("Runtime", runtime(results, first, measures[0], looks)),
        Section("Latency", latency(results, looks)),
        Section("Distributions", distributions(results, measures[0], looks)),
        Section("Convergence", convergence(results, looks)),
        Section("How realizations ended", endings(results)),
        Section("Campaign", settings(results)),
    ]


def about(results: xr.Dataset) -> list[Part]:
    """Facts: what, from which seed, where, with what; progress if unfinished."""
    attributes = results.attrs
    cells = int(results.status.size)
    missing = int(attributes.get("missing", int((results.status == 0).sum())))
    computed = {
        name.removeprefix("computed_with_").replace("_", " "): str(value)
        for name, value in attributes.items()
        if str(name).startswith("computed_with_")
    }
    machine = {name: computed.pop(name, "") for name in ("cpu", "blas", "blas threads")}
    facts = {
        "scenario": describing.setting(results),
        "swept": "; ".join(
            f"{describing.label_of(results[a])}: {', '.join(map(_plain, results[a].values))}"
            for a in axes_of(results)
        ),
        "realizations": str(results.sizes["realization"]),
        "cells": f"{cells - missing} of {cells}",
        "seed": str(attributes.get("seed", "")),
        "batch": ", ".join(
            f"{label} {size}" for label, size in json.loads(attributes.get("batch", "{}")).items()
        ),
        "hosts": attributes.get("hosts", ""),
        "CPU": machine["cpu"],
        "BLAS": f"{machine['blas']}, threads: {machine['blas threads']}",
        "versions": ", ".join(f"{name} {value}" for name, value in computed.items()),
        "git": attributes.get("git", ""),
        "requested": attributes.get("requested", ""),
    }
    shown = {name: text for name, text in facts.items() if text}
    return [Facts(shown, done=(cells - missing) / cells if missing else None)]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)


def _notes(results: xr.Dataset) -> list[Part]:
    return [
        Text(f"{note[0].upper()}{note[1:]}.", warning=True) for note in describing.notes(results)
    ]


def _points(summary: xr.Dataset, axes: list[str]) -> Iterator[tuple[list[Cell | str], xr.Dataset]]:
    """Leading columns and figures of each row."""
    names = ("solver", *axes)
    for point in itertools.product(*(summary[name].values for name in names)):
        leading: list[Cell | str] = [
            Cell(_plain(v), float(v)) if isinstance(v, int | float | np.number) else str(v)
            for v in point
        ]
        yield leading, summary.sel(dict(zip(names, point, strict=True)))


def _cut(rows: list[list[Cell | str]]) -> tuple[list[list[Cell | str]], str]:
    if len(rows) <= ROWS:
        return rows, ""
    return rows[:ROWS], f" The first {ROWS} of {len(rows)} rows."


def summary_tables(results: xr.Dataset, summaries: Mapping[str, xr.Dataset]) -> list[Part]:
    """A table per measure, and one of costs and cells."""
    axes = axes_of(results)
    heads = ["solver", *(describing.label_of(results[a]) for a in axes)]
    parts: list[Part] = []
    for measure, summary in summaries.items():
        in_db = is_power(measure)
        name = describing.label_of(results[measure])
        rows = [
            [*leading, *(_figure(one, s, in_db) for s in ("mean", "median")), _count(one.used)]
            for leading, one in _points(summary, axes)
        ]
        rows, cut = _cut(rows)
        unit = " in dB (10 log₁₀ of mean and median)" if in_db else ""
        marked = bool(summary.dominated.any())
        caption = (
            f"{name[0].upper()}{name[1:]}{unit}, each with its 95 % interval: bootstrap for the "
            "mean, distribution-free for the median."
            + (" *: the mean rests on a few realizations." if marked else "")
        )
        heading = f"{measure}{' (dB)' if in_db else ''}"
        columns = [*heads, f"mean {heading}", f"median {heading}", "realizations"]
        parts.append(Table(caption + cut, columns, rows))
    parts.append(_costs(next(iter(summaries.values())), heads, axes))
    return parts


def _figure(one: xr.Dataset, statistic: str, in_db: bool) -> Cell:
    """A figure with its interval."""
    value, low, high = (float(one[statistic + end]) for end in ("", "_low", "_high"))
    if np.isnan(value):
        return Cell("–", float("inf"))
    shown = [_number(to_db(v) if in_db else v, in_db) for v in (value, low, high)]
    star = "*" if statistic == "mean" and bool(one.dominated) else ""
    interval = "" if np.isnan(low) else f" [{shown[1]}, {shown[2]}]"
    return Cell(f"{shown[0]}{star}{interval}", value)


def _number(value: float, in_db: bool) -> str:
    return (f"{value:.2f}" if in_db else f"{value:.3g}").replace("-", "−")


def _count(value: Any) -> Cell:
    return Cell(str(int(value)), int(value))


def _costs(summary: xr.Dataset, heads: list[str], axes: list[str]) -> Table:
    rows = []
    for leading, one in _points(summary, axes):
        time, count = float(one.runtime), float(one.iterations)
        low, high = (float(one.runtime_quantile.sel(quantile=q)) for q in (0.25, 0.75))
        none = Cell("–", float("inf"))
        rows.append(
            [
                *leading,
                none if np.isnan(time) else Cell(f"{time * 1e3:.3g}", time),
                none if np.isnan(low) else Cell(f"{low * 1e3:.3g} – {high * 1e3:.3g}", low),
                none if np.isnan(count) else Cell(f"{count:.1f}", count),
                *(_count(one[n]) for n in ("cells", "missing", "failed", "unconverged")),
            ]
        )
    rows, cut = _cut(rows)
    caption = (
        "Cost and cells. Runtime: a realization's share of the time of its batch, mean and "
        "quartiles; iterations: mean; then the numbers of realizations that were run, that are "
        "missing, that failed (left out everywhere else), and that ended at the maximum of "
        "iterations."
    )
    columns = ["runtime (ms)", "quartiles (ms)", "iterations"]
    return Table(
        caption + cut,
        [*heads, *columns, "run", "missing", "failed", "not converged"],
        rows,
    )


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


def figures(
    results: xr.Dataset, summaries: Mapping[str, xr.Dataset], looks: style.Looks
) -> list[Part]:
    """Measures over the swept parameter, means and medians; heat maps over two."""
    along = _longest(results)
    parts: list[Part] = []
    for measure, summary in summaries.items():
        for point in _panels(results, along):
            for statistic in ("mean", "median"):
                here = summary.sel(point)
                bounds = _bounds(here, statistic)
                told = f"{_capital(describing.STATISTICS[statistic])}."
                parts.append(
                    _curves(results, along, bounds, measure, point, statistic, told, looks)
                )
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
    results: xr.Dataset,
    along: str | None,
    bounds: Bounds,
    measure: str,
    point: Mapping[str, Any],
    statistic: str,
    told: str,
    looks: style.Looks,
) -> Chart:
    axis = results["solver" if along is None else along]
    variable = results[measure]
    log = style.wants_log(bounds[0], variable.attrs.get("better", "lower"))
    label = describing.label_of(variable)
    model = interactive.over_axis(axis, bounds, label, looks, log=log)
    at = describing.point_text(results, point)
    title = f"{measure.upper()}, {statistic}{f', {at}' if at else ''}"
    return Chart(title, model, looks, told, _alt(title, axis, bounds[0]))


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
    values = _narrow(summary["median"])
    finite = values.values[np.isfinite(values.values)]
    log = style.wants_log(values, results[measure].attrs.get("better", "lower"))
    limits = (style.log_limits(values) if log else None) or (finite.min(), finite.max())
    parts: list[Part] = []
    for solver in values.solver.values:
        model = interactive.heat_map(values.sel(solver=solver), x, y, limits, log=log)
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
    axis = results["solver" if along is None else along]
    parts: list[Part] = [
        Text(f"{_capital(n)}.", warning=True) for n in describing.runtime_notes(results)
    ]
    told = "Mean, and quartiles of the realizations."
    variable = results[measure]
    log = style.wants_log(summary["mean"], variable.attrs.get("better", "lower"))
    for point in _panels(results, along):
        here = summary.sel(point)
        at = describing.point_text(results, point)
        ending = f", {at}" if at else ""
        for name, label in (("runtime", "runtime per realization"), ("iterations", "iterations")):
            spread = here[f"{name}_quantile"]
            low, high = (_narrow(spread.sel(quantile=q)) for q in (0.25, 0.75))
            bounds = (_narrow(here[name]), low, high)
            model = interactive.over_axis(
                axis, bounds, label, looks, log=name == "runtime", time=name == "runtime"
            )
            title = _capital(name) + ending
            parts.append(Chart(title, model, looks, told, _alt(title, axis, bounds[0])))
        model = interactive.against_runtime(
            results, here, "median", along, describing.label_of(variable), looks, log=log
        )
        title = f"Median {measure.upper()} against runtime{ending}"
        caption = "A line per solver along the swept parameter; nearer to the corner is better."
        parts.append(Chart(title, model, looks, caption, f"{title}: values in the table."))
    return parts


def latency(results: xr.Dataset, looks: style.Looks) -> list[Part]:
    """Latency of realizations that were timed alone, and memory, for each host."""
    found = latencies(results)
    if found is None:
        return []
    along = _longest(results)
    axis = results["solver" if along is None else along]
    parts: list[Part] = [
        Text(
            "Realizations solved one at a time on a quiet machine, each host for itself; the "
            "runtimes above are shares of batches."
        )
    ]
    told = "Median, with its 95 % distribution-free interval."
    for host, point in itertools.product(found.timing_host.values, _panels(results, along)):
        here = found.sel({"timing_host": host, **point})
        bounds = _bounds(here, "latency")
        label = "latency of one realization"
        model = interactive.over_axis(axis, bounds, label, looks, log=True, time=True)
        at = describing.point_text(results, point)
        title = f"Latency on {host}{f', {at}' if at else ''}"
        parts.append(Chart(title, model, looks, told, _alt(title, axis, bounds[0])))
    return [*parts, _latency_table(results, found)]


def _latency_table(results: xr.Dataset, found: xr.Dataset) -> Table:
    axes = axes_of(results)
    rows = []
    for host in found.timing_host.values:
        for leading, one in _points(found.sel(timing_host=host), axes):
            low, value, high = (float(one[f"latency{end}"]) * 1e3 for end in ("_low", "", "_high"))
            row = [str(host), *leading, Cell(f"{value:.3g} [{low:.3g}, {high:.3g}]", value)]
            if "peak_memory" in one:
                row.append(Cell(f"{float(one.peak_memory) / 1e6:.3g}", float(one.peak_memory)))
            rows.append([*row, _count(one.timed)])
    memory = ["peak memory (MB)"] if "peak_memory" in found else []
    heads = ["host", "solver", *(describing.label_of(results[a]) for a in axes)]
    caption = "Latency of one realization, median with its 95 % distribution-free interval."
    rows, cut = _cut(rows)
    return Table(caption + cut, [*heads, "latency (ms)", *memory, "timed"], rows)


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
            at = describing.point_text(results, point)
            title = f"{_capital(label)}{f', {at}' if at else ''}"
            caption = "Median, and quartiles; a realization that has stopped keeps its last value."
            parts.append(Chart(title, model, looks, caption, f"{title}."))
    return parts


def endings(results: xr.Dataset) -> list[Part]:
    """How many realizations ended how, and the messages of those that failed."""
    flags = results.status.attrs
    meanings = flags.get("flag_meanings", "").split()
    over = [d for d in results.status.dims if d != "solver"]
    columns, numbers = [], []
    for value, meaning in zip(flags.get("flag_values", []), meanings, strict=True):
        number = (results.status == value).sum(over).values
        if number.any():
            columns.append(meaning.replace("_", " "))
            numbers.append(number)
    rows: list[list[Cell | str]] = [
        [str(solver), *(_count(n[i]) for n in numbers)]
        for i, solver in enumerate(results.solver.values)
    ]
    caption = "Realizations by how they ended, over all points."
    parts: list[Part] = [Table(caption, ["solver", *columns], rows)]
    messages = describing.failures_of(results)
    if messages:
        rows = [
            [solver, message, _count(count)]
            for solver, found in messages.items()
            for message, count in sorted(found.items(), key=lambda pair: -pair[1])
        ]
        parts.append(Table("What went wrong.", ["solver", "message", "cells"], rows))
    return parts


def settings(results: xr.Dataset) -> list[Part]:
    """Options of every solver, and the campaign's text."""
    rows: list[list[Cell | str]] = []
    for label, spec in json.loads(results.attrs.get("solvers", "{}")).items():
        options = {k: v for k, v in spec.items() if not isinstance(v, dict)}
        for nested in (v for v in spec.values() if isinstance(v, dict)):
            options |= nested
        text = ", ".join(f"{name} = {value}" for name, value in options.items())
        rows.append([label, text])
    parts: list[Part] = [Table("Options of the solvers.", ["solver", "options"], rows)]
    return [*parts, Source("Campaign file", results.attrs.get("campaign", ""))]
