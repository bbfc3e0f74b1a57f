"""Tables of a report: statistics of every solver and point, each with its uncertainty."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis import (
    best_solver,
    compare,
    default_measure,
    describing,
    finished,
    gaps,
    has_gaps,
    is_power,
    latencies,
    listings,
    ranking_lines,
    remarks,
    stopped,
    summarize,
    worst,
)
from pipeline.analysis.caveats import LEGEND
from pipeline.analysis.cells import labels_of
from pipeline.analysis.listings import Column, Field, Row, milliseconds, number, texted
from pipeline.analysis.stopped import stop_lines
from pipeline.analysis.summaries import MEANS
from pipeline.plots.measures import drawable_measures
from pipeline.report.charts import capital
from pipeline.report.page import Paragraph, Part, SortableTable

ROWS = 2000
"""A longer table is cut."""


def tables_of(results: xr.Dataset) -> list[Part]:
    """Tables of mean squared errors, of the means of other measures, of costs and latencies."""
    parts: list[Part] = []
    first, *others = drawable_measures(results)
    summaries = {m: summarize(results, m) for m in (first, *filter(is_power, others))}
    for measure, summary in summaries.items():
        parts.append(_statistics(results, summary))
        if has_gaps(results, measure):
            shared = summarize(results, measure, cells="common")
            parts.append(_statistics(results, shared))
            parts += [Paragraph(line) for line in ranking_lines(summary, shared)]
    rates = [name for name in others if not is_power(name)]
    details = drawable_measures(results, details=True)
    for name in (first, *others):
        missing = int((finished(results) & results[name].isnull()).sum())
        said = f"{name} is NaN in {missing} cells that ended well; they are left out."
        parts += [Paragraph(said)] if missing else []
    if rates:
        parts.append(_means(results, summaries[first], rates, "Means of the other measures"))
    parts.append(_costs(results, summaries[first]))
    found = stopped(results)
    if found is not None:
        caption = f"Intervals that points were stopped by. {' '.join(stop_lines(found))}"
        parts.append(table(results, found, listings.of_stopped(found), caption))
    timed = latencies(results)
    if timed is not None:
        caption = (
            "Latency of realizations solved one at a time, each host for itself: median with its "
            "95 % distribution-free interval. The runtimes above are shares of batches."
        )
        parts.append(table(results, timed, listings.of_latencies(timed), caption))
    if details:
        told = _means(results, summaries[first], details, "Means of what tells of calibration")
        parts.append(dataclasses.replace(told, folded=True))
    return parts


def compared(results: xr.Dataset) -> xr.Dataset | None:
    """Every solver against the best one by the default measure; None where there is no other."""
    measure = default_measure(results)
    reference = best_solver(results, measure)
    others = set(map(str, results.solver.values)) - {reference, *labels_of(results, "bound")}
    return compare(results, reference, measure) if reference and others else None


def comparisons_of(results: xr.Dataset, found: xr.Dataset | None) -> list[Part]:
    """What `compared` has found, and every solver against every bound, by the default measure."""
    parts: list[Part] = []
    to_bounds = gaps(results, default_measure(results))
    if found is not None:
        reference = found.attrs["reference"]
        lines = [
            f"Against {reference}, the best by its medians, realization by realization",
            *listings.reading_comparison(found),
        ]
        parts.append(table(results, found, listings.of_comparison(found), ": ".join(lines[:2])))
        parts += [Paragraph(line) for line in lines[2:]]
    if to_bounds is not None:
        parts.append(table(results, to_bounds, listings.of_gaps(to_bounds), describing.GAP))
        parts.append(Paragraph(f"*: {describing.MARKED}."))
    return parts


def worst_of(results: xr.Dataset, found: xr.Dataset | None) -> list[Part]:
    """Realizations on which the best solver is furthest behind an oracle, or did worst."""
    if found is None:
        return []
    solver, measure = found.attrs["reference"], found.attrs["measure"]
    against = next(iter(labels_of(results, "oracle")), None)
    form, unit = listings.form_of(measure), " dB" if is_power(measure) else ""
    rows: list[list[Field | str]] = [
        [
            describing.point_text(results, one.point) or "–",
            _cell(Field(form(one.value) + unit, one.value)),
            _cell(Field(form(one.against) + unit if against else "–", one.against)),
            one.words,
            f"kronsbl replay STORE {one.options}",
        ]
        for one in worst(results, solver, against, measure)
    ]
    behind = f"is furthest behind {against}" if against else "did worst"
    caption = f"Realizations on which {solver} {behind}, and what is known of why."
    columns = ["point", f"{measure} of {solver}", f"of {against}", "what went wrong", "to see it"]
    return [SortableTable(caption, columns, rows)] if rows else []


def table(
    results: xr.Dataset, statistics: xr.Dataset, columns: Mapping[str, Column], caption: str
) -> SortableTable:
    """A table of a page; headings are in one line, and numbers have a true minus."""
    found = listings.listing(statistics, columns, ROWS)
    cut = f" The first {ROWS} of {found.total} rows." if found.total > ROWS else ""
    axes = {"solver": "solver", "timing_host": "host", "bound": "bound", "stop_target": "target"}
    heads = [axes.get(name) or describing.label_of(results[name]) for name in found.places]
    heads += [heading.replace("\n", " ").removesuffix(" [95 %]") for heading in found.columns]
    rows = [list(map(_cell, row)) for row in found.rows]
    alike = [
        len(rows) > 1 and len({row[i] for row in rows}) == 1 and i >= len(found.places)
        for i in range(len(heads))
    ]
    said = ", ".join(f"{heads[i]} {found.rows[0][i].text}" for i in np.flatnonzero(alike))
    caption += cut + (f" Everywhere: {said}." if said else "")
    kept = [i for i in range(len(heads)) if not alike[i]]
    rows = [[row[i] for i in kept] for row in rows]
    return SortableTable(caption, [heads[i] for i in kept], rows)


def _means(
    results: xr.Dataset, summary: xr.Dataset, measures: list[str], caption: str
) -> SortableTable:
    found, columns = listings.of_means(results, summary, measures)
    return table(results, found, columns, f"{caption}, with 95 % bootstrap intervals.")


def _cell(field: Field) -> Field | str:
    if isinstance(field.key, str):
        return field.text
    return Field(field.text.rstrip().replace("-", "−"), field.key)


def _statistics(results: xr.Dataset, summary: xr.Dataset) -> SortableTable:
    """Median and means of a measure, with the numbers of realizations that they are over."""
    over = " over the realizations that all solvers have finished"
    caption = "".join(
        [
            capital(describing.label_of(results[summary.attrs["measure"]])),
            over if summary.attrs["cells"] == "common" else "",
            ", with 95 % intervals: distribution-free for the median, in which failed realizations "
            f"{remarks.FAILED_RANKED}; bootstrap for means, in dB Student's and Hall's.",
            f" *: {describing.MARKED}." if any(summary[f"{m}_marked"].any() for m in MEANS) else "",
            f" {listings.DOUBTFUL}: {LEGEND}." if summary.doubtful.any() else "",
        ]
    )
    return table(results, summary, listings.of_statistics(summary), caption)


def count(value: Any) -> Field:
    """A number of cells."""
    return Field(str(int(value)), int(value))


def _costs(results: xr.Dataset, summary: xr.Dataset) -> SortableTable:
    def quartiles(one: Row) -> Field:
        low, high = (one["runtime_quantile"][i] for i in (1, 2))
        text = texted(low, lambda low: f"{milliseconds(low)} – {milliseconds(high)}")
        return Field(text, float(low))

    columns = {
        "runtime (ms)": number("runtime", milliseconds),
        "quartiles (ms)": quartiles,
        "iterations": number("iterations", "{:.1f}".format),
        "run": number("cells"),
        "missing": number("missing"),
        "failed": number("failed"),
        "not converged": number("unconverged"),
    }
    caption = (
        "Cost and cells. Runtime: a realization's share of the time of its batch, mean and "
        "quartiles; iterations: mean; then the numbers of realizations that were run, that are "
        "missing, that failed, and that ended at the maximum of iterations."
    )
    return table(results, summary, columns, caption)
