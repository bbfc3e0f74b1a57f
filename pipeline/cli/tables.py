"""Tables of statistics that people read, and lines that say how to read them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr
from rich.table import Table

from pipeline.analysis import describing, listings, remarks
from pipeline.analysis.bounds import gaps
from pipeline.analysis.caveats import LEGEND, caveats
from pipeline.analysis.cells import asked_for, is_power, measures_of, not_run
from pipeline.analysis.listings import DOUBTFUL, INTERVAL, Column, Field, Row, number, texted
from pipeline.analysis.outliers import Worst
from pipeline.analysis.rankings import ranking_lines
from pipeline.analysis.stopped import stop_lines, stopped
from pipeline.analysis.summaries import MEANS, has_gaps, latencies, summarize
from pipeline.cli.terminal import add_row, new_table, width_of
from pipeline.errors import InputError

MOST_ROWS = 500
ALL_ROWS = 10**9


def summary(
    results: xr.Dataset, measure: str, *, wide: bool = False, width: int | None = None
) -> list[Table | str]:
    """Statistics of one measure per solver and point: tables, and lines on how to read them.

    If the solvers have not all finished the same cells, a second table covers the common ones.
    A table of gaps is added if the cube has bounds, one of latencies if it has them, linear
    statistics and quantiles if `wide`. Where the first table does not fit into `width` letters,
    there is a table of medians instead of all.
    """
    if not wide:  # what is pooled is shown below only, and takes half of the time
        results = results.drop_vars("signal_energy", errors="ignore")
    statistics = summarize(results, measure)
    main = listings.of_statistics(statistics, ("median", "mean", "db_mean"))
    costs = {
        "ms, batched\n(5–95 %)": _ranged("runtime", 1e3),
        "iterations\n(5–95 %)": _ranged("iterations", 1.0),
        "at\nmax.": number("unconverged"),
    }
    parts: list[Table | str] = [*_table(statistics, main | costs, tight=True)]
    if not wide and width is not None and width_of(parts[0]) > width:
        return [
            *pivot(statistics, "median"),
            f"--all has more; it takes a terminal of {width_of(parts[0])} columns.",
            *reading_lines(results, [statistics], []),
            *stop_parts(results),
        ]
    shown = [statistics]
    others = [  # of mean squared errors, a mean would say little
        m
        for m in measures_of(results)
        if m != measure and results[m].dims == results.status.dims and not is_power(m)
        if "detail" not in results[m].attrs
    ]
    if others:
        parts.append("Means of the other measures [95 %]:")
        parts += _table(*listings.of_means(results, statistics, others))
    if wide:
        parts += _table(statistics, listings.counted(statistics) | _linear(statistics))
        parts += _table(statistics, listings.counted(statistics) | _quantiles(statistics))
    if has_gaps(results, measure):
        shared = summarize(results, measure, cells="common")
        shown.append(shared)
        parts += [
            "Over the realizations that all solvers have finished at a point (but those that have "
            "finished none there):",
            *_table(shared, listings.of_statistics(shared, ("median", "mean", "db_mean"))),
            *ranking_lines(statistics, shared),
        ]
    parts += reading_lines(results, shown)
    parts += stop_parts(results)
    to_bounds = gaps(results, measure)
    if to_bounds is not None:
        parts += gap_parts(to_bounds)
    timed = latencies(results)
    if timed is not None:
        parts += ["Latency of one realization alone on the machine, by host:", latency_table(timed)]
    return parts


def _table(
    statistics: xr.Dataset, columns: Mapping[str, Column], *, tight: bool = False
) -> list[Table | str]:
    """A table, and a line where it would be too long to read."""
    found = listings.listing(statistics, columns, MOST_ROWS)
    table = new_table(found.places, found.columns, tight=tight)
    for row in found.rows:
        add_row(table, *(field.text for field in row))
    if found.total <= MOST_ROWS:
        return [table]
    return [table, f"The first {MOST_ROWS} of {found.total} rows; --json has all."]


def pivot(statistics: xr.Dataset, name: str) -> list[Table | str]:
    """One statistic as a table of points and solvers, and what it is."""
    found = listed(statistics, name)
    table = new_table(found.places, found.columns, tight=True)
    for row in found.rows:
        add_row(table, *(field.text for field in row))
    return [f"{describing.statistic_names(statistics.attrs['measure'])[name]} [95 %]:", table]


def listed(
    statistics: xr.Dataset, name: str | None = None, most: int = MOST_ROWS
) -> listings.Listing:
    """Statistics as a listing of solvers and points, or one of them with a column per solver.

    Raises
    ------
    InputError
        The measure has no such statistic.
    """
    columns = listings.of_statistics(statistics)
    if name is None:
        return listings.listing(statistics, columns, most)
    titles = describing.statistic_names(statistics.attrs["measure"])
    known = [name for name, title in titles.items() if title + INTERVAL in columns]
    if name not in known:
        raise InputError(f"no statistic {name!r} of this measure; it has {', '.join(known)}")
    return listings.pivot(statistics, columns[titles[name] + INTERVAL], most)


def _linear(statistics: xr.Dataset) -> dict[str, Column]:
    measure = statistics.attrs["measure"]
    names = ["median", "mean", *(["pooled"] if bool(statistics.pooled.notnull().any()) else [])]
    form = "{:.3g}".format

    def error(one: Row) -> Field:
        # A rate of 1 in all realizations is not certain: its interval says so, ±0 would not.
        return Field(form(one["mean_se"]) if one["mean_se"] > 0 else "–", one["mean_se"])

    columns = {f"{name} {measure}{INTERVAL}": listings.interval(name, form) for name in names}
    return columns | {"± error\nof the mean": error}


def _quantiles(statistics: xr.Dataset) -> dict[str, Column]:
    measure = statistics.attrs["measure"]
    unit, form = ", dB" if is_power(measure) else "", listings.form_of(measure)

    def column(i: int) -> Column:
        return lambda one: Field(texted(one["quantiles"][i], form), float(one["quantiles"][i]))

    levels = statistics["quantile"].values
    return {f"{measure}{unit}\n{100 * level:g} %": column(i) for i, level in enumerate(levels)}


def _ranged(name: str, scale: float) -> Column:
    """Mean and outer quantiles, of counts up to thousands or of times."""

    def form(value: float) -> str:
        return f"{value:.0f}" if value >= 99.5 else f"{value:.2g}"

    def column(one: Row) -> Field:
        levels = one[f"{name}_quantile"]
        values = (scale * v for v in (one[name], levels[0], levels[-1]))
        middle, low, high = (texted(value, form) for value in values)
        return Field(middle if middle == "–" else f"{middle} ({low}–{high})", float(one[name]))

    return column


def latency_table(statistics: xr.Dataset) -> Table:
    """Median latencies and memory by host; see `pipeline.analysis.latencies`."""
    table: Any = _table(statistics, listings.of_latencies(statistics))[0]
    return table


def reading_lines(
    results: xr.Dataset, shown: list[xr.Dataset], means: Sequence[str] = MEANS
) -> list[str]:
    """Lines that explain the marks, those of such means as well, and say what is missing."""
    statistics = shown[0]
    lines = [f"{line}." for line in (*remarks.tuned(results), *remarks.device_notes(results))]
    if any(bool(one[f"{name}_marked"].any()) for one in shown for name in means):
        lines.append(f"* {describing.MARKED}. Read the median.")
    if bool(statistics.failed.any()):
        lines.append(f"Failed realizations {remarks.FAILED_RANKED} in medians and quantiles.")
    if any(bool(one.doubtful.any()) for one in shown):
        lines += caveat_lines(results)
    undefined, missing = int(statistics.undefined.sum()), int(not_run(results).sum())
    if undefined:
        lines.append(
            f"{undefined} cells ended well, but their {statistics.attrs['measure']} is NaN; "
            "the statistics leave them out."
        )
    if missing:
        asked = int(asked_for(results).sum())
        lines.append(
            f"The cube is unfinished: {missing} of {asked} cells that were asked for are not there "
            "yet."
        )
    return lines


def caveat_lines(results: xr.Dataset) -> list[str]:
    """Say which solvers' statistics are marked, and why."""
    return [f"{DOUBTFUL} {LEGEND}:", *(f"  {caveat.sentence}" for caveat in caveats(results))]


def comparison(results: xr.Dataset, statistics: xr.Dataset) -> list[Table | str]:
    """Paired comparison of solvers with one of them."""
    parts = _table(statistics, listings.of_comparison(statistics))
    parts += listings.reading_comparison(statistics)
    if bool(statistics.doubtful.any()):
        parts += caveat_lines(results)
    parts += stop_parts(results)
    if statistics.attrs["missing"] and "unpaired" not in statistics.attrs:  # of one cube
        missing = statistics.attrs["missing"]
        parts.append(f"The cube is unfinished: {missing} cells have not been run.")
    return parts


def gap_parts(statistics: xr.Dataset) -> list[Table | str]:
    """How far the means of solvers lie above bounds; see `pipeline.analysis.gaps`."""
    return [f"{describing.GAP}:", *_table(statistics, listings.of_gaps(statistics))]


def worst(found: Sequence[Worst], measure: str, against: str | None, store: Path) -> list[str]:
    """The worst realizations, what went wrong, and the commands that show them."""
    unit, form = " dB" if is_power(measure) else "", listings.form_of(measure)
    lines = []
    for one in found:
        at = ", ".join(f"{k}={describing.short_text(v)}" for k, v in one.point.items())
        said = f"{measure} {form(one.value)}{unit}"
        if against:
            said += f", {against} {form(one.against)}{unit}, {one.loss:.3g}{unit} behind"
        lines += [
            f"realization {one.realization}{at and f' at {at}'}: {said}; {one.words}",
            f"  kronsbl replay {shlex.quote(str(store))} {one.options}",
        ]
    return lines or ["none: no realization has been run"]


def stop_parts(results: xr.Dataset) -> list[Table | str]:
    """How precise the points are that stopped by themselves; see `pipeline.analysis.stopped`."""
    found = stopped(results)
    if found is None:
        return []
    return [
        "What points were stopped by:",
        *_table(found, listings.of_stopped(found)),
        *stop_lines(found),
    ]
