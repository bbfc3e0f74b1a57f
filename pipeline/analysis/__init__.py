"""From cells to statistics: how good, how certain, and better than which."""

from pipeline.analysis.bounds import gaps
from pipeline.analysis.caveats import Caveat, caveats, shares
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
from pipeline.analysis.outliers import Worst, worst
from pipeline.analysis.rankings import Ranking, best_solver, changed_rankings, ranking_lines
from pipeline.analysis.rows import records, row_dimensions, rows_of
from pipeline.analysis.stopped import stopped
from pipeline.analysis.summaries import (
    has_gaps,
    latencies,
    summarize,
)

__all__ = [
    "CONFIDENCE",
    "Caveat",
    "Ranking",
    "Worst",
    "axes_of",
    "best_solver",
    "caveats",
    "changed_rankings",
    "check",
    "compare",
    "default_measure",
    "finished",
    "gaps",
    "has_gaps",
    "is_power",
    "latencies",
    "measures_of",
    "ran",
    "ranking_lines",
    "records",
    "row_dimensions",
    "rows_of",
    "share_interval",
    "shares",
    "stopped",
    "summarize",
    "to_db",
    "worst",
]
