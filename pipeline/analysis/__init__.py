"""From cells to statistics: how good, how certain, and better than which."""

from pipeline.analysis.cells import (
    axes_of,
    check,
    default_measure,
    finished,
    is_power,
    measures_of,
    ran,
)
from pipeline.analysis.comparison import compare
from pipeline.analysis.intervals import CONFIDENCE, share_interval, to_db
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
    "finished",
    "has_gaps",
    "is_power",
    "latencies",
    "means_of",
    "measures_of",
    "ran",
    "ranking_lines",
    "records",
    "row_dimensions",
    "rows_of",
    "share_interval",
    "summarize",
    "to_db",
]
