"""Tables of a report: statistics of every solver and point, each with its uncertainty."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis import (
    axes_of,
    describing,
    has_gaps,
    is_power,
    latencies,
    ranking_lines,
    summarize,
    to_db,
)
from pipeline.plots.measures import drawable_measures
from pipeline.report.page import Paragraph, Part, SortableTable, TableCell

Row = list[TableCell | str]

ROWS = 2000
"""A longer table is cut."""


def place(value: Any) -> TableCell | str:
    """The field of a value of a swept parameter, or of a solver's label."""
    if isinstance(value, int | float | np.number):
        return TableCell(describing.short_text(value), float(value))
    return str(value)


def _points(summary: xr.Dataset, axes: list[str]) -> Iterator[tuple[Row, xr.Dataset]]:
    """Leading columns and statistics of each row."""
    names = ("solver", *axes)
    for point in itertools.product(*(summary[name].values for name in names)):
        yield [place(value) for value in point], summary.sel(dict(zip(names, point, strict=True)))


def _cut(rows: list[Row]) -> tuple[list[Row], str]:
    if len(rows) <= ROWS:
        return rows, ""
    return rows[:ROWS], f" The first {ROWS} of {len(rows)} rows."


def tables_of(results: xr.Dataset) -> list[Part]:
    """A table per measure, one of costs and cells, and one of latencies where there are some."""
    parts: list[Part] = []
    summaries = {measure: summarize(results, measure) for measure in drawable_measures(results)}
    for measure, summary in summaries.items():
        parts.append(_statistics(results, summary))
        if bool(summary.undefined.any()):
            number = int(summary.undefined.sum())
            parts.append(
                Paragraph(f"{measure} is NaN in {number} cells that ended well; they are left out.")
            )
        if has_gaps(results, measure):
            shared = summarize(results, measure, cells="common")
            parts.append(_statistics(results, shared))
            parts += [Paragraph(line) for line in ranking_lines(summary, shared)]
    parts.append(_costs(results, next(iter(summaries.values()))))
    timed = latencies(results)
    return parts if timed is None else [*parts, _latency_table(results, timed)]


def _heads(results: xr.Dataset) -> list[str]:
    return ["solver", *(describing.label_of(results[axis]) for axis in axes_of(results))]


def _statistics(results: xr.Dataset, summary: xr.Dataset) -> SortableTable:
    """Mean and median of a measure, and the mean of its decibels."""
    measure = summary.attrs["measure"]
    in_db = is_power(measure)
    rows: list[Row] = [
        [
            *leading,
            *(_statistic(one, name, in_db) for name in ("mean", "median")),
            *([_interval(one.db_mean, one.db_low, one.db_high, in_db=True)] if in_db else []),
            count(one.used),
        ]
        for leading, one in _points(summary, axes_of(results))
    ]
    rows, cut = _cut(rows)
    heading = f"{measure}{' (dB)' if in_db else ''}"
    columns = [f"mean {heading}", f"median {heading}"]
    columns += [f"mean of {measure} in dB"] if in_db else []
    caption = _caption(describing.label_of(results[measure]), summary, in_db)
    return SortableTable(caption + cut, [*_heads(results), *columns, "realizations"], rows)


def _caption(name: str, summary: xr.Dataset, in_db: bool) -> str:
    over = " over the realizations that all solvers have finished"
    return "".join(
        [
            f"{name[0].upper()}{name[1:]}",
            over if summary.attrs["cells"] == "common" else "",
            ": mean and median, 10 log₁₀ of each, and the mean of the decibels" if in_db else "",
            ", each with its 95 % interval: bootstrap for the mean, "
            "distribution-free for the median",
            ", Student's for the mean of the decibels." if in_db else ".",
            " *: the mean rests on a few realizations." if summary.dominated.any() else "",
        ]
    )


def _statistic(one: xr.Dataset, statistic: str, in_db: bool) -> TableCell:
    """The mean, marked where few trials make it, or the median."""
    bounds = [one[statistic + end] for end in ("", "_low", "_high")]
    mark = "*" if statistic == "mean" and bool(one.dominated) else ""
    return _interval(*(map(to_db, bounds) if in_db else bounds), in_db=in_db, mark=mark)


def _interval(value: Any, low: Any, high: Any, *, in_db: bool, mark: str = "") -> TableCell:
    """A statistic with its interval, as far as there is one."""
    if np.isnan(value):
        return TableCell("–", float("inf"))
    shown = [_number(float(v), in_db) for v in (value, low, high)]
    interval = "" if np.isnan(low) else f" [{shown[1]}, {shown[2]}]"
    return TableCell(f"{shown[0]}{mark}{interval}", float(value))


def _number(value: float, in_db: bool) -> str:
    return (f"{value:.2f}" if in_db else f"{value:.3g}").replace("-", "−")


def count(value: Any) -> TableCell:
    """A number of cells."""
    return TableCell(str(int(value)), int(value))


def _costs(results: xr.Dataset, summary: xr.Dataset) -> SortableTable:
    rows = []
    for leading, one in _points(summary, axes_of(results)):
        time, steps = float(one.runtime), float(one.iterations)
        low, high = (float(one.runtime_quantile.sel(quantile=q)) for q in (0.25, 0.75))
        none = TableCell("–", float("inf"))
        rows.append(
            [
                *leading,
                none if np.isnan(time) else TableCell(_milliseconds(time), time),
                none
                if np.isnan(low)
                else TableCell(f"{_milliseconds(low)} – {_milliseconds(high)}", low),
                none if np.isnan(steps) else TableCell(f"{steps:.1f}", steps),
                *(count(one[n]) for n in ("cells", "missing", "failed", "unconverged")),
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
    return SortableTable(
        caption + cut,
        [*_heads(results), *columns, "run", "missing", "failed", "not converged"],
        rows,
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"


def _latency_table(results: xr.Dataset, found: xr.Dataset) -> SortableTable:
    """Latency, and memory where the cube has it, of each host."""
    axes = axes_of(results)
    rows = []
    for host in found.timing_host.values:
        for leading, one in _points(found.sel(timing_host=host), axes):
            low, value, high = (float(one[f"latency{end}"]) for end in ("_low", "", "_high"))
            interval = "" if np.isnan(low) else f" [{_milliseconds(low)}, {_milliseconds(high)}]"
            row = [str(host), *leading, TableCell(f"{_milliseconds(value)}{interval}", value)]
            if "peak_memory" in one:
                row.append(TableCell(f"{float(one.peak_memory) / 1e6:.3g}", float(one.peak_memory)))
            rows.append([*row, count(one.timed)])
    memory = ["peak memory (MB)"] if "peak_memory" in found else []
    heads = ["host", *_heads(results)]
    caption = (
        "Latency of realizations solved one at a time, each host for itself: median with its 95 % "
        "distribution-free interval. The runtimes above are shares of batches."
    )
    rows, cut = _cut(rows)
    return SortableTable(caption + cut, [*heads, "latency (ms)", *memory, "timed"], rows)
