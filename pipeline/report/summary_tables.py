"""Tables of a report: statistics of every solver and point, each with its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from pipeline.analysis import (
    best_solver,
    compare,
    default_measure,
    describing,
    gaps,
    has_gaps,
    latencies,
    listings,
    ranking_lines,
    stopped,
    summarize,
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
    """A table per measure, one of costs and cells, and one of latencies where there are some."""
    parts: list[Part] = []
    summaries = {measure: summarize(results, measure) for measure in drawable_measures(results)}
    for measure, summary in summaries.items():
        parts.append(_statistics(results, summary))
        if bool(summary.undefined.any()):
            missing = int(summary.undefined.sum())
            parts.append(
                Paragraph(
                    f"{measure} is NaN in {missing} cells that ended well; they are left out."
                )
            )
        if has_gaps(results, measure):
            shared = summarize(results, measure, cells="common")
            parts.append(_statistics(results, shared))
            parts += [Paragraph(line) for line in ranking_lines(summary, shared)]
    parts.append(_costs(results, next(iter(summaries.values()))))
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
    return parts


def comparisons_of(results: xr.Dataset) -> list[Part]:
    """Every solver against the best one, and against every bound, by the default measure."""
    parts: list[Part] = []
    measure = default_measure(results)
    reference, to_bounds = best_solver(results, measure), gaps(results, measure)
    others = set(map(str, results.solver.values)) - {reference, *labels_of(results, "bound")}
    if reference is not None and others:
        found = compare(results, reference, measure)
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
    return SortableTable(caption + cut, heads, rows)


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
            f"{describing.FAILED_RANKED}; bootstrap for means, in dB Student's and Hall's.",
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
