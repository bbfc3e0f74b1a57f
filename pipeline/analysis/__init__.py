"""From cells to figures: how good, how certain, and better than which."""

from pipeline.analysis.cells import axes_of, check, default_measure, is_power, measures_of
from pipeline.analysis.comparison import compare
from pipeline.analysis.intervals import CONFIDENCE, to_db
from pipeline.analysis.rows import records, row_dimensions, rows_of
from pipeline.analysis.summaries import (
    Ranking,
    changed_rankings,
    has_gaps,
    latencies,
    means_of,
    ranking_lines,
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
    "has_gaps",
    "is_power",
    "latencies",
    "means_of",
    "measures_of",
    "ranking_lines",
    "records",
    "row_dimensions",
    "rows_of",
    "summarize",
    "to_db",
]
