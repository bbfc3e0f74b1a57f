"""A replayed cell as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvers import Status

if TYPE_CHECKING:
    from pipeline.solving.replaying import Replay


def replay_text(result: Replay) -> str:
    """A replay as lines of text."""
    at = ", ".join(f"{key}={value}" for key, value in result.point.items())
    place = f"{result.solver}{f' at {at}' if at else ''}, realization {result.realization}"
    lines = [place, "", f"{'':18}{'now':>24}{'stored':>24}"]
    for name, value in result.cell.items():
        before = "–" if result.stored is None else _shown(name, result.stored[name])
        lines.append(f"{name:18}{_shown(name, value):>24}{before:>24}")
    lines += ["", _nonzeros(result)]
    count = result.trace.cost.shape[1]
    if count:
        known = len(result.atoms) == count
        titles = f"{'iteration':>9}{'cost':>16}{'change':>12}{'NMSE of x':>12}"
        lines += ["", titles + (f"{'atoms':>10}" if known else "")]
        shown = sorted({*(2**k for k in range(count.bit_length())), count})
        nmse = result.trace.nmse
        for k in (k for k in shown if k <= count):
            error = float("nan") if nmse is None else nmse[0, k - 1]
            cost, change = result.trace.cost[0, k - 1], result.trace.change[0, k - 1]
            lines.append(f"{k:9}{cost:16.6f}{change:12.3e}{error:12.3e}")
            lines[-1] += f"{result.atoms[k - 1]:10}" if known else ""
        if result.pruned.size:
            first, *_, last = [*result.pruned, *result.pruned]
            when = f"in {len(result.pruned)} iterations from {first} to {last}"
            lines += ["", f"atoms were pruned {when}; there the cost may rise"]
    return "\n".join(lines)


def _nonzeros(result: Replay) -> str:
    """How sparse truth and estimate are; the truth need not lie on the dictionary."""
    x, found = result.truth.x, result.estimate.x
    parts = [] if x is None else [f"nonzeros of x: {np.count_nonzero(x[0])}"]
    if found is not None:
        large = int((np.abs(found[0]) > 1e-3 * np.abs(found[0]).max()).sum())
        parts.append(f"entries of the estimate above 1e-3 of its largest: {large}")
    return ", ".join(parts)


def _shown(name: str, value: Any) -> str:
    if name == "status":
        return Status(value).name.lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)
