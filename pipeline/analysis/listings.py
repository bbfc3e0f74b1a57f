"""Statistics as the rows of a table, for a terminal and for a page alike: texts with sort keys."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from pipeline.analysis import describing, remarks
from pipeline.analysis.cells import is_power
from pipeline.analysis.intervals import to_db
from pipeline.analysis.rows import row_dimensions, rows_of
from pipeline.analysis.summaries import MEANS, means_of

Row = Mapping[str, Any]
ENDS = ("", "_low", "_high")
DOUBTFUL = "†"
INTERVAL = "\n[95 %]"


class Field(NamedTuple):
    """A field of a table: its text, and the key by which its column is sorted."""

    text: str
    key: float | str


Column = Callable[[Row], Field]


class Listing(NamedTuple):
    """A table as data.

    Attributes
    ----------
    places, columns : list of str
        Names of the dimensions that say which row it is, and headings of the others.
    rows : list of list of Field
    total : int
        How many rows there are; `rows` may be the first of them.
    """

    places: list[str]
    columns: list[str]
    rows: list[list[Field]]
    total: int


def listing(statistics: xr.Dataset, columns: Mapping[str, Column], most: int) -> Listing:
    """A table of at most so many rows, one per solver and point, by its columns."""
    places = row_dimensions(statistics)
    rows = [
        [*(place(one[name]) for name in places), *(column(one) for column in columns.values())]
        for one in itertools.islice(rows_of(statistics), most)
    ]
    total = math.prod(statistics.sizes[name] for name in places)
    return Listing(places, list(columns), rows, total)


def pivot(statistics: xr.Dataset, column: Column, most: int) -> Listing:
    """A table of one statistic: at most so many rows, one per point, and a column per solver."""
    axes = [name for name in row_dimensions(statistics) if name != "solver"]
    fields: dict[tuple[Any, ...], list[Field]] = {}
    for one in rows_of(statistics):
        fields.setdefault(tuple(one[name] for name in axes), []).append(column(one))
    rows = [[*map(place, point), *found] for point, found in fields.items()]
    return Listing(axes, [str(s) for s in statistics.solver.values], rows[:most], len(rows))


def place(value: Any) -> Field:
    """The field of a solver's label or of a value of a swept parameter."""
    is_number = isinstance(value, int | float | np.number)
    return Field(describing.short_text(value), float(value) if is_number else str(value))


def texted(value: Any, form: Callable[[float], str]) -> str:
    """A number as text; a dash for none."""
    return "–" if value != value else form(float(value))


def number(name: str, form: Callable[[float], str] = "{:.0f}".format, scale: float = 1.0) -> Column:
    """A column of numbers."""
    return lambda one: Field(texted(one[name] * scale, form), _key(one[name]))


def interval(name: str, form: Callable[[float], str], *, doubts: bool = False) -> Column:
    """A column of statistics with their intervals and marks.

    Parameters
    ----------
    name
        Of a variable that has a ``NAME_low`` and a ``NAME_high``, and perhaps a ``NAME_marked``.
    form
        Makes a text of a number.
    doubts
        Whether some rows are doubtful, so that all leave room for the mark.
    """

    def field(one: Row) -> Field:
        value, *bounds = (texted(one[name + end], form) for end in ENDS)
        if value == "–":
            return Field(value, math.inf)
        text = f"{value} [{', '.join(bounds)}]" if bounds[0] != "–" else value
        if f"{name}_marked" in one:
            text += "*" if one[f"{name}_marked"] else " "
        if doubts:
            text += DOUBTFUL if one["doubtful"] else " "
        return Field(text, _key(one[name]))

    return field


def _key(value: Any) -> float:
    return math.inf if value != value else float(value)


def milliseconds(seconds: float) -> str:
    """Seconds in ms, with three digits or all that are before the point."""
    return f"{1e3 * seconds:.3g}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def form_of(measure: str) -> Callable[[float], str]:
    """How values of a measure are written: mean squared errors in dB."""
    return (lambda v: f"{to_db(v):.2f}") if is_power(measure) else "{:.3g}".format


def counted(statistics: xr.Dataset) -> dict[str, Column]:
    """Cells with a value of those asked for; failed ones have a column where there are some."""

    def cells(one: Row) -> Field:
        asked, used = int(one["cells"] + one["missing"]), int(one["used"])
        return Field(f"{used}/{asked}" if used < asked else str(asked), used)

    return {"cells": cells, **({"failed": number("failed")} if statistics.failed.any() else {})}


def of_statistics(
    statistics: xr.Dataset, names: tuple[str, ...] = ("median", *MEANS)
) -> dict[str, Column]:
    """Columns of the median and of the means that a measure has; every mean says which it is."""
    measure, doubts = statistics.attrs["measure"], bool(statistics.doubtful.any())
    titles = describing.statistic_names(measure)
    there = [
        n
        for n in names
        if n in titles and (n in ("median", "mean") or statistics[n].notnull().any())
    ]
    forms = {"db_mean": "{:.2f}".format}
    return counted(statistics) | {
        titles[name] + INTERVAL: interval(name, forms.get(name, form_of(measure)), doubts=doubts)
        for name in there
    }


def of_means(results: xr.Dataset, statistics: xr.Dataset, measures: list[str]) -> Any:
    """Means of measures of a cube, joined to a summary's numbers of cells, and their columns."""
    counts = statistics[["used", "cells", "missing", "failed"]]
    found = counts.merge(means_of(results, measures), join="left")  # silent bounds have no counts
    return found, counted(found) | {m: interval(m, "{:.3g}".format) for m in measures}


def of_comparison(found: xr.Dataset) -> dict[str, Column]:
    """Columns of `compare`, the sign test in words."""
    in_db, reference = is_power(found.attrs["measure"]), found.attrs["reference"]
    unit, signed = (", dB", "{:+.2f}".format) if in_db else ("", "{:+.3g}".format)
    doubts = bool(found.doubtful.any())
    test = "rank test" if found.attrs.get("unpaired") else "sign test"

    def failures(one: Row) -> Field:
        own, others = int(one["failed"]), int(one["reference_failed"])
        return Field(f"{own} / {others}", own)

    lost = {f"failed, it /\n{reference}": failures} if _any_failed(found) else {}
    return {
        "pairs": number("pairs"),
        **lost,
        f"median difference{unit}{INTERVAL}": interval("median_difference", signed, doubts=doubts),
        f"mean of {'dB ' if in_db else ''}differences{INTERVAL}": interval(
            "difference", signed, doubts=doubts
        ),
        f"won, %{INTERVAL}": interval("won", lambda share: f"{100 * share:.0f}"),
        "tied": number("tied", "{:.0%}".format),
        test: lambda one: Field(describing.sign_text(one, reference), _key(one["p_holm"])),
        f"times as fast{INTERVAL}": interval("speed", "{:.3g}".format),
    }


def _any_failed(found: xr.Dataset) -> bool:
    return bool((found.failed + found.reference_failed).any())


def reading_comparison(found: xr.Dataset) -> list[str]:
    """Lines that say how to read a comparison."""
    measure, reference = found.attrs["measure"], found.attrs["reference"]
    tests = int(found.p_value.notnull().sum())
    sign = "negative" if found.attrs.get("better", "lower") == "lower" else "positive"
    unpaired = found.attrs.get("unpaired", "")
    how, test = "on the same realizations", "exact sign test"
    if unpaired:
        how, test = (
            f"on others, since {unpaired}: differences of medians and means",
            ("Mann and Whitney's test"),
        )
    lines = [
        f"{measure} minus that of {reference} {how}; {sign} is better than {reference}.",
        f"p: {test}, corrected for the {tests} comparisons (Holm). Speed: ratio of the "
        "sums of batched runtimes; its interval is from batches.",
    ]
    if _any_failed(found):
        lines.append(f"Failed realizations {remarks.FAILED_RANKED}; mean differences lack them.")
    if bool(found.difference_marked.any()):
        lines.append(f"* {describing.DIFFERENCE_MARKED}.")
    return lines


def of_gaps(found: xr.Dataset) -> dict[str, Column]:
    """Columns of `gaps`."""
    unit = ", dB" if is_power(found.attrs["measure"]) else ""
    failures = {"failed": number("failed")} if bool(found.failed.any()) else {}
    gap = interval("gap", "{:.2f}".format)
    return {"pairs": number("pairs"), **failures, f"gap{unit}{INTERVAL}": gap}


def of_stopped(found: xr.Dataset) -> dict[str, Column]:
    """Columns of `stopped`."""

    def words(one: Row) -> Field:
        return Field(one["words"], one["words"])

    title = f"value\n[{100 * found.attrs['confidence']:g} %, all looks]"
    return {title: interval("value", "{:.3g}".format), "": words}


def of_latencies(found: xr.Dataset) -> dict[str, Column]:
    """Columns of `latencies`."""
    in_ms = interval("latency", milliseconds)
    memory = {"peak memory, MB": number("peak_memory", "{:.3g}".format, 1e-6)}
    known = memory if "peak_memory" in found else {}
    return {"timed": number("timed"), f"median latency, ms{INTERVAL}": in_ms, **known}
