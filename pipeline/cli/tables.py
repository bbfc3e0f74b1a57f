"""Tables of statistics that people read, and lines that say how to read them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import xarray as xr
from rich.table import Table

from pipeline.analysis.caveats import LEGEND, caveats
from pipeline.analysis.cells import is_power, measures_of
from pipeline.analysis.intervals import to_db
from pipeline.analysis.rows import row_dimensions, rows_of
from pipeline.analysis.summaries import (
    has_gaps,
    latencies,
    means_of,
    ranking_lines,
    summarize,
)
from pipeline.cli.terminal import add_row, new_table, size

Row = dict[str, Any]
MOST_ROWS = 500
ENDS = ("", "_low", "_high")
DOUBTFUL = "†"


def summary(results: xr.Dataset, measure: str, *, wide: bool = False) -> list[Table | str]:
    """Statistics of one measure per solver and point: tables, and lines on how to read them.

    If the solvers have not all finished the same cells, a second table covers the common ones.
    A table of latencies is added if the cube has them, linear statistics and quantiles if `wide`.
    """
    statistics = summarize(results, measure)
    parts: list[Table | str] = [_main_table(results, statistics)]
    shown = [statistics]
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
    timed = latencies(results)
    if timed is not None:
        parts += ["Latency of one realization alone on the machine, by host:", latency_table(timed)]
    return parts


def _main_table(results: xr.Dataset, statistics: xr.Dataset) -> Table:
    measure = statistics.attrs["measure"]
    others = [  # a mean ± error would say little about a mean squared error
        m
        for m in measures_of(results)
        if m != measure and results[m].dims == results.status.dims and not is_power(m)
        if "detail" not in results[m].attrs
    ]
    statistics = statistics.merge(means_of(results, others), combine_attrs="override")
    failures = bool(statistics.failed.any())
    columns = ["cells", *_headings(measure), *(f"{m}\n± error" for m in others)]
    columns += ["ms, batched\n(5–95 %)", "iterations\n(5–95 %)", "at\nmax."]
    columns += ["failed"] if failures else []
    table = new_table(row_dimensions(statistics), columns, tight=True)
    for words, one in _rows(statistics):
        asked = int(one["cells"] + one["missing"])
        add_row(
            table,
            *words,
            f"{int(one['used'])}/{asked}" if one["used"] < asked else str(asked),
            *_measured(one, measure, statistics),
            *(_with_error(float(one[m]), float(one[f"{m}_se"])) for m in others),
            _ranged(one["runtime"] * 1e3, one["runtime_quantile"] * 1e3),
            _ranged(one["iterations"], one["iterations_quantile"]),
            str(int(one["unconverged"])),
            *([str(int(one["failed"]))] if failures else []),
        )
    return table


def _linear_table(statistics: xr.Dataset) -> Table:
    measure = statistics.attrs["measure"]
    table = new_table(
        row_dimensions(statistics),
        [f"median {measure}\n[95 %]", f"mean {measure}\n[95 %]", "± error"],
    )
    for words, one in _rows(statistics):
        mark = "*" if one["dominated"] else " "
        texts = [_interval(one, name, "") for name in ("median", "mean")]
        add_row(table, *words, texts[0], texts[1] + mark, _g(one["mean_se"]))
    return table


def _spread_table(statistics: xr.Dataset) -> Table:
    measure = statistics.attrs["measure"]
    levels = [f"{100 * level:g} %" for level in statistics["quantile"].values]
    unit = ", dB" if is_power(measure) else ""
    table = new_table(row_dimensions(statistics), [f"{measure}{unit}\n{level}" for level in levels])
    for words, one in _rows(statistics):
        add_row(table, *words, *(_number(value, measure) for value in one["quantiles"]))
    return table


def _common_table(statistics: xr.Dataset) -> Table:
    measure = statistics.attrs["measure"]
    table = new_table(row_dimensions(statistics), ["cells", *_headings(measure)])
    for words, one in _rows(statistics):
        add_row(table, *words, str(int(one["used"])), *_measured(one, measure, statistics))
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
    if any(bool(one.dominated.any()) for one in shown):
        lines.append(
            "* a few trials make this mean: the largest 5 % hold more than half of the sum. "
            "Its interval may be too narrow; read the median."
        )
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
    columns = ["pairs", f"mean difference{unit}\n[95 %]", f"median difference{unit}\n[95 %]"]
    columns += ["won, %\n[95 %]", "tied", "p\n(Holm)", "times as fast\n[95 %]"]
    table = new_table(row_dimensions(statistics), columns)
    form = "{:+.2f}".format if is_power(measure) else "{:+.3g}".format
    for words, one in _rows(statistics):
        add_row(
            table,
            *words,
            str(int(one["pairs"])),
            *(
                _bracketed(*(_or_dash(one[f"{name}{end}"], form) for end in ENDS))
                + _doubt(one, statistics)
                for name in ("difference", "median_difference")
            ),
            _bracketed(*(_or_dash(100 * one[f"won{e}"], "{:.0f}".format) for e in ENDS)),
            _or_dash(one["tied"], "{:.0%}".format),
            _or_dash(one["p_holm"], "{:.2g}".format),
            _bracketed(*(_g(one[f"speed{end}"]) for end in ENDS)),
        )
    tests = int(statistics.p_value.notnull().sum())
    sign = "negative" if statistics.attrs["better"] == "lower" else "positive"
    lines = [
        f"{measure} minus that of {reference} on the same realizations; {sign} is better than "
        f"{reference}.",
        f"p: Wilcoxon's signed-rank test, corrected for the {tests} comparisons shown. "
        "Speed: batched runtimes; its interval is from the means of batches.",
    ]
    if bool(statistics.doubtful.any()):
        lines += caveat_lines(results)
    if statistics.attrs["missing"]:
        lines.append(
            f"The cube is unfinished: {statistics.attrs['missing']} cells have not been run."
        )
    return [table, *_cut(statistics), *lines]


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


def _headings(measure: str) -> list[str]:
    """Headings of the columns that `_measured` fills."""
    unit = ", dB" if is_power(measure) else ""
    titles = [f"{name} {measure}{unit}\n[95 %]" for name in ("median", "mean")]
    return [*titles, f"mean of {measure} in dB\n[95 %]"] if is_power(measure) else titles


def _measured(one: Row, measure: str, statistics: xr.Dataset) -> list[str]:
    """A measure by its median, its mean, and the mean of its decibels, with marks."""
    texts = [_interval(one, name, measure) for name in ("median", "mean")]
    texts[1] += "*" if one["dominated"] else " "
    if is_power(measure):
        bounds = (one["db_mean"], one["db_low"], one["db_high"])
        texts.append(_bracketed(*map(_decibels, bounds)))
    return [text + _doubt(one, statistics) for text in texts]


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


def _with_error(mean: float, error: float) -> str:
    """A mean with as many digits as its standard error allows."""
    if error == 0 or not math.isfinite(error):
        known = "" if math.isnan(mean) else "±0" if error == 0 else "±–"
        return _or_dash(mean, "{:.4g}".format) + known
    digits = max(0, -math.floor(math.log10(error)))
    return f"{mean:.{digits}f}±{error:.{digits}f}" if digits < 5 else f"{mean:.2g}±{error:.1g}"
