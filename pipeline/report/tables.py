"""Tables of a report: figures of every solver and point, each with its uncertainty."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis import axes_of, is_power, to_db
from pipeline.plots import describing
from pipeline.report.page import Cell, Part, Table

ROWS = 2000
"""A longer table is cut."""


def plain(value: Any) -> str:
    """A value of a swept parameter."""
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)


def _points(summary: xr.Dataset, axes: list[str]) -> Iterator[tuple[list[Cell | str], xr.Dataset]]:
    """Leading columns and figures of each row."""
    names = ("solver", *axes)
    for point in itertools.product(*(summary[name].values for name in names)):
        leading: list[Cell | str] = [
            Cell(plain(v), float(v)) if isinstance(v, int | float | np.number) else str(v)
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
            [*leading, *(_figure(one, s, in_db) for s in ("mean", "median")), count(one.used)]
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


def count(value: Any) -> Cell:
    """A number of cells."""
    return Cell(str(int(value)), int(value))


def _costs(summary: xr.Dataset, heads: list[str], axes: list[str]) -> Table:
    rows = []
    for leading, one in _points(summary, axes):
        time, steps = float(one.runtime), float(one.iterations)
        low, high = (float(one.runtime_quantile.sel(quantile=q)) for q in (0.25, 0.75))
        none = Cell("–", float("inf"))
        rows.append(
            [
                *leading,
                none if np.isnan(time) else Cell(f"{time * 1e3:.3g}", time),
                none if np.isnan(low) else Cell(f"{low * 1e3:.3g} – {high * 1e3:.3g}", low),
                none if np.isnan(steps) else Cell(f"{steps:.1f}", steps),
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
    return Table(
        caption + cut,
        [*heads, *columns, "run", "missing", "failed", "not converged"],
        rows,
    )


def latency_table(results: xr.Dataset, found: xr.Dataset) -> Table:
    """Latency, and memory where the cube has it, of each host."""
    axes = axes_of(results)
    rows = []
    for host in found.timing_host.values:
        for leading, one in _points(found.sel(timing_host=host), axes):
            low, value, high = (float(one[f"latency{end}"]) * 1e3 for end in ("_low", "", "_high"))
            interval = "" if np.isnan(low) else f" [{low:.3g}, {high:.3g}]"
            row = [str(host), *leading, Cell(f"{value:.3g}{interval}", value)]
            if "peak_memory" in one:
                row.append(Cell(f"{float(one.peak_memory) / 1e6:.3g}", float(one.peak_memory)))
            rows.append([*row, count(one.timed)])
    memory = ["peak memory (MB)"] if "peak_memory" in found else []
    heads = ["host", "solver", *(describing.label_of(results[a]) for a in axes)]
    caption = "Latency of one realization, median with its 95 % distribution-free interval."
    rows, cut = _cut(rows)
    return Table(caption + cut, [*heads, "latency (ms)", *memory, "timed"], rows)
