"""Tables of statistics that people read, and lines that say how to read them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import xarray as xr
from rich.table import Table

from pipeline.analysis import describing
from pipeline.analysis.bounds import gaps
from pipeline.analysis.caveats import LEGEND, caveats
from pipeline.analysis.cells import is_power, measures_of
from pipeline.analysis.intervals import to_db
from pipeline.analysis.rankings import ranking_lines
from pipeline.analysis.rows import row_dimensions, rows_of
from pipeline.analysis.summaries import MEANS, has_gaps, latencies, means_of, summarize
from pipeline.cli.terminal import add_row, new_table, size

Row = dict[str, Any]
MOST_ROWS = 500
ENDS = ("", "_low", "_high")
DOUBTFUL = "†"


def summary(results: xr.Dataset, measure: str, *, wide: bool = False) -> list[Table | str]:
    """Statistics of one measure per solver and point: tables, and lines on how to read them.

    If the solvers have not all finished the same cells, a second table covers the common ones.
    A table of gaps is added if the cube has bounds, one of latencies if it has them, linear
    statistics and quantiles if `wide`.
    """
    statistics = summarize(results, measure)
    parts: list[Table | str] = [_main_table(statistics)]
    shown = [statistics]
    others = [  # of mean squared errors, a mean would say little
        m
        for m in measures_of(results)
        if m != measure and results[m].dims == results.status.dims and not is_power(m)
    ]
    if others:
        means = statistics[["used", "cells", "missing", "failed"]].merge(means_of(results, others))
        parts += ["Means of the other measures [95 %]:", _means_table(means, others)]
    if wide:
        parts += [_linear_table(statistics), _spread_table(statistics)]
    if has_gaps(results, measure):
        shared = summarize(results, measure, cells="common")
        shown.append(shared)
        parts += [
            "Over the realizations that all solvers have finished at a point (but those that have "
            "finished none there):",
            _common_table(shared),
            *ranking_lines(statistics, shared),
        ]
    parts += _reading_lines(results, shown)
    to_bounds = gaps(results, measure)
    if to_bounds is not None:
        parts += gap_parts(to_bounds)
    timed = latencies(results)
    if timed is not None:
        parts += ["Latency of one realization alone on the machine, by host:", latency_table(timed)]
    return parts


def _main_table(statistics: xr.Dataset) -> Table:
    columns = [*_counted(statistics), *_headings(statistics)]
    columns += ["ms, batched\n(5–95 %)", "iterations\n(5–95 %)", "at\nmax."]
    table = new_table(row_dimensions(statistics), columns, tight=True)
    for words, one in _rows(statistics):
        add_row(
            table,
            *words,
            *_counts(one, statistics),
            *_measured(one, statistics),
            _ranged(one["runtime"] * 1e3, one["runtime_quantile"] * 1e3),
            _ranged(one["iterations"], one["iterations_quantile"]),
            str(int(one["unconverged"])),
        )
    return table


def _counted(statistics: xr.Dataset) -> list[str]:
    """Headings of the numbers of cells; failed ones have a column where there are some."""
    return ["cells", *(["failed"] if bool(statistics.failed.any()) else [])]


def _counts(one: Row, statistics: xr.Dataset) -> list[str]:
    """Cells with a value, of those that were asked for, and how many failed."""
    asked = int(one["cells"] + one["missing"])
    used = f"{int(one['used'])}/{asked}" if one["used"] < asked else str(asked)
    return [used, str(int(one["failed"]))][: len(_counted(statistics))]


def _means_table(means: xr.Dataset, measures: list[str]) -> Table:
    table = new_table(row_dimensions(means), [*_counted(means), *measures])
    for words, one in _rows(means):
        texts = (_interval(one, name, "") for name in measures)
        add_row(table, *words, *_counts(one, means), *texts)
    return table


def _linear_table(statistics: xr.Dataset) -> Table:
    measure = statistics.attrs["measure"]
    names = ["median", "mean", *(["pooled"] if bool(statistics.pooled.notnull().any()) else [])]
    columns = [*_counted(statistics), *(f"{name} {measure}\n[95 %]" for name in names)]
    table = new_table(row_dimensions(statistics), [*columns, "± error\nof the mean"])
    for words, one in _rows(statistics):
        texts = [_interval(one, name, "") + _mark(one, name) for name in names]
        # A rate of 1 in all realizations is not certain: its interval says so, ±0 would not.
        error = _g(one["mean_se"]) if one["mean_se"] > 0 else "–"
        add_row(table, *words, *_counts(one, statistics), *texts, error)
    return table


def _spread_table(statistics: xr.Dataset) -> Table:
    measure = statistics.attrs["measure"]
    levels = [f"{100 * level:g} %" for level in statistics["quantile"].values]
    unit = ", dB" if is_power(measure) else ""
    columns = [*_counted(statistics), *(f"{measure}{unit}\n{level}" for level in levels)]
    table = new_table(row_dimensions(statistics), columns)
    for words, one in _rows(statistics):
        texts = (_number(value, measure) for value in one["quantiles"])
        add_row(table, *words, *_counts(one, statistics), *texts)
    return table


def _common_table(statistics: xr.Dataset) -> Table:
    table = new_table(row_dimensions(statistics), ["cells", *_headings(statistics)])
    for words, one in _rows(statistics):
        add_row(table, *words, str(int(one["used"])), *_measured(one, statistics))
    return table


def latency_table(statistics: xr.Dataset) -> Table:
    """Median latencies and memory by host; see `pipeline.analysis.latencies`."""
    memory = "peak_memory" in statistics
    table = new_table(
        row_dimensions(statistics),
        ["timed", "median latency, ms\n[95 %]", *(["peak memory"] if memory else [])],
    )
    for words, one in _rows(statistics):
        bounds = (_g(one[f"latency{end}"] * 1e3) for end in ENDS)
        peak = (
            [size(float(one["peak_memory"])) if one["peak_memory"] > 0 else "–"] if memory else []
        )
        add_row(table, *words, str(int(one["timed"])), _bracketed(*bounds), *peak)
    return table


def _reading_lines(results: xr.Dataset, shown: list[xr.Dataset]) -> list[str]:
    """Lines that explain the marks, and say what is missing."""
    statistics, lines = shown[0], _cut(shown[0])
    if any(bool(one[f"{name}_marked"].any()) for one in shown for name in MEANS):
        lines.append(f"* {describing.MARKED}. Read the median.")
    if bool(statistics.failed.any()):
        lines.append(f"Failed realizations {describing.FAILED_RANKED} in medians and quantiles.")
    if any(bool(one.doubtful.any()) for one in shown):
        lines += caveat_lines(results)
    undefined, missing = int(statistics.undefined.sum()), int(statistics.missing.sum())
    if undefined:
        lines.append(
            f"{undefined} cells ended well, but their {statistics.attrs['measure']} is NaN; "
            "the statistics leave them out."
        )
    if missing:
        lines.append(
            f"The cube is unfinished: {missing} of {results.status.size} cells that were asked "
            "for are not there yet."
        )
    return lines


def caveat_lines(results: xr.Dataset) -> list[str]:
    """Say which solvers' statistics are marked, and why."""
    return [f"{DOUBTFUL} {LEGEND}:", *(f"  {caveat.sentence}" for caveat in caveats(results))]


def comparison(results: xr.Dataset, statistics: xr.Dataset) -> list[Table | str]:
    """Paired comparison of solvers with one of them."""
    measure, reference = statistics.attrs["measure"], statistics.attrs["reference"]
    unit = ", dB" if is_power(measure) else ""
    failures = bool((statistics.failed + statistics.reference_failed).any())
    columns = ["pairs", *([f"failed, it /\n{reference}"] if failures else [])]
    columns += [f"median difference{unit}\n[95 %]", f"mean difference{unit}\n[95 %]"]
    columns += ["won, %\n[95 %]", "tied", "sign test", "times as fast\n[95 %]"]
    table = new_table(row_dimensions(statistics), columns)
    form = "{:+.2f}".format if is_power(measure) else "{:+.3g}".format
    for words, one in _rows(statistics):
        bounds = {
            name: _bracketed(*(_or_dash(one[f"{name}{end}"], form) for end in ENDS))
            for name in ("median_difference", "difference")
        }
        add_row(
            table,
            *words,
            str(int(one["pairs"])),
            *([f"{int(one['failed'])} / {int(one['reference_failed'])}"] if failures else []),
            bounds["median_difference"] + _doubt(one, statistics),
            bounds["difference"] + _mark(one, "difference") + _doubt(one, statistics),
            _bracketed(*(_or_dash(100 * one[f"won{e}"], "{:.0f}".format) for e in ENDS)),
            _or_dash(one["tied"], "{:.0%}".format),
            describing.sign_text(one, reference),
            _bracketed(*(_g(one[f"speed{end}"]) for end in ENDS)),
        )
    tests = int(statistics.p_value.notnull().sum())
    sign = "negative" if statistics.attrs["better"] == "lower" else "positive"
    lines = [
        f"{measure} minus that of {reference} on the same realizations; {sign} is better than "
        f"{reference}.",
        f"p: exact sign test, corrected for the {tests} comparisons (Holm). Speed: ratio of the "
        "sums of batched runtimes; its interval is from batches.",
    ]
    if failures:
        lines.append(f"Failed realizations {describing.FAILED_RANKED}; mean differences lack them.")
    if bool(statistics.difference_marked.any()):
        lines.append(
            "* a mean difference not to be trusted: it lacks failed realizations, or failures not "
            "seen yet could change it by 3 dB."
        )
    if bool(statistics.doubtful.any()):
        lines += caveat_lines(results)
    if statistics.attrs["missing"]:
        lines.append(
            f"The cube is unfinished: {statistics.attrs['missing']} cells have not been run."
        )
    return [table, *_cut(statistics), *lines]


def gap_parts(statistics: xr.Dataset) -> list[Table | str]:
    """How far the means of solvers lie above bounds; see `pipeline.analysis.bounds.gaps`."""
    unit = ", dB" if is_power(statistics.attrs["measure"]) else ""
    columns = ["pairs", *(["failed"] if bool(statistics.failed.any()) else [])]
    table = new_table(row_dimensions(statistics), [*columns, f"gap{unit}\n[95 %]"])
    for words, one in _rows(statistics):
        gap = _bracketed(*(_or_dash(one[f"gap{end}"], "{:.2f}".format) for end in ENDS))
        counts = [str(int(one[name])) for name in columns]
        add_row(table, *words, *counts, gap + _mark(one, "gap"))
    return [f"{describing.GAP}:", table, *_cut(statistics)]


def _cut(statistics: xr.Dataset) -> list[str]:
    """A line where a table would be too long to read."""
    number = math.prod(statistics.sizes[name] for name in row_dimensions(statistics))
    return (
        [f"The first {MOST_ROWS} of {number} rows; --json has all."] if number > MOST_ROWS else []
    )


def _rows(statistics: xr.Dataset) -> Iterator[tuple[list[str], Row]]:
    """Words that say which row it is, and its statistics."""
    places = row_dimensions(statistics)
    for row in itertools.islice(rows_of(statistics), MOST_ROWS):
        yield [str(row[name]) for name in places], row


def _shown(statistics: xr.Dataset) -> list[str]:
    """The median and the means that all tables show."""
    in_db = is_power(statistics.attrs["measure"])
    return ["median", "mean", *(["db_mean"] if in_db else [])]


def _headings(statistics: xr.Dataset) -> list[str]:
    """Headings of the columns that `_measured` fills."""
    measure = statistics.attrs["measure"]
    names = describing.statistic_names(measure)
    return [f"{names[name]}\n[95 %]" for name in _shown(statistics)]


def _measured(one: Row, statistics: xr.Dataset) -> list[str]:
    """A measure by its median and its means, with marks."""
    measure = statistics.attrs["measure"]
    texts = []
    for name in _shown(statistics):
        if name == "db_mean":
            text = _bracketed(*(_decibels(one[name + end]) for end in ENDS))
        else:
            text = _interval(one, name, measure)
        texts.append(text + _mark(one, name) + _doubt(one, statistics))
    return texts


def _mark(one: Row, name: str) -> str:
    """The mark of a mean that is not to be trusted, a space in its place; medians have none."""
    return "" if name == "median" else "*" if one[f"{name}_marked"] else " "


def _doubt(one: Row, statistics: xr.Dataset) -> str:
    """The mark of a doubtful row; a space where others have it, so that digits stay in line."""
    if one["doubtful"]:
        return DOUBTFUL
    return " " if bool(statistics.doubtful.any()) else ""


def _or_dash(value: Any, form: Callable[[float], str]) -> str:
    value = float(value)
    return "–" if value != value else form(value)


def _decibels(value: Any) -> str:
    return _or_dash(value, "{:.2f}".format)


def _g(value: Any, digits: int = 3) -> str:
    return _or_dash(value, f"{{:.{digits}g}}".format)


def _number(value: Any, measure: str) -> str:
    return _decibels(to_db(float(value))) if is_power(measure) else _g(value)


def _interval(one: Row, name: str, measure: str) -> str:
    return _bracketed(*(_number(one[f"{name}{end}"], measure) for end in ENDS))


def _bracketed(value: str, low: str, high: str) -> str:
    return value if value == "–" else f"{value} [{low}, {high}]"


def _ranged(mean: Any, levels: Any) -> str:
    """Mean and outer quantiles, of counts up to thousands or of times."""

    def form(value: float) -> str:
        return f"{value:.0f}" if value >= 100 else f"{value:.2g}"

    middle, low, high = (_or_dash(v, form) for v in (mean, levels[0], levels[-1]))
    return middle if middle == "–" else f"{middle} ({low}–{high})"

