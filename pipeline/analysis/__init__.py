"""From cells to figures: how good, how certain, and better than which."""

from pipeline.analysis.cells import axes_of, check, default_measure, is_power, measures_of
from pipeline.analysis.comparison import compare
from pipeline.analysis.export import export, places_of, records, rows_of
from pipeline.analysis.intervals import CONFIDENCE, to_db
from pipeline.analysis.summaries import (
    Ranking,
    changed_rankings,
    has_gaps,
    latencies,
    means_of,
    summarize,
)

__all__ = [
    "CONFIDENCE",
    "Ranking",
    "axes_of",
    "changed_rankings",
    "check",
    "compare",
    "default_measure",
    "export",
    "has_gaps",
    "is_power",
    "latencies",
    "means_of",
    "measures_of",
    "places_of",
    "records",
    "rows_of",
    "summarize",
    "to_db",
]
