"""What a comparison comes to, in one sentence that claims nothing beyond what is certain."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis import describing, intervals
from pipeline.analysis.cells import axes_of, is_power, labels_of
from pipeline.analysis.stopped import rule_of


def verdict(results: xr.Dataset, found: xr.Dataset) -> str:
    """Where a solver is better than all other estimators, and by how much; empty without others.

    Parameters
    ----------
    results
        A cube.
    found
        Its solvers held against that one, by `compare`. It is better where the exact sign test
        says so of each of the others, after Holm's correction; then no interval holds 0.
    """
    best, measure = found.attrs["reference"], found.attrs["measure"]
    rivals = found.sel(solver=[s for s in labels_of(results, "estimator") if s != best])
    if not rivals.sizes["solver"]:
        return ""
    axes = axes_of(results)
    rivals = rivals.stack(point=axes, create_index=False) if axes else rivals.expand_dims("point")
    rivals = rivals.transpose("solver", "point")
    sign = 1 if found.attrs.get("better", "lower") == "lower" else -1
    ahead = sign * rivals.median_difference
    told = rivals.p_holm < 1 - intervals.CONFIDENCE
    apart = told.any("point").values
    level = ", ".join(rivals.solver.values[~apart])
    rivals, ahead, told = rivals.isel(solver=apart), ahead[apart], told[apart]
    at = np.flatnonzero((told & (ahead > 0)).all("solver"))
    if not (len(at) and apart.any()):
        return f"{best} ranks best by medians of {measure} on average, but nowhere certainly so."
    nearest = ahead.min("solver").values[at]
    extremes = dict.fromkeys([at[np.argmin(nearest)], at[np.argmax(nearest)]])
    unit = " dB" if is_power(measure) else ""

    def margin(i: int) -> str:
        one = rivals.isel(point=i, solver=int(ahead.values[:, i].argmin()))
        ends = (abs(float(one[f"median_difference_{end}"])) for end in ("low", "high"))
        low, high = map(_short, sorted(ends))
        point = {axis: one[axis].item() for axis in describing.free_axes(results)}
        where = f" at {describing.point_text(results, point)}" if point and len(at) > 1 else ""
        by = f"by {_short(abs(float(one.median_difference)))}{unit} [{low}, {high}]"
        return f"{by} over {one.solver.item()}{where}"

    where = _where(results, rivals, at)
    how = "medians, 95 %"
    if rule_of(results) is not None:  # the sign test does not know of looks
        how += " as if the number of realizations had been fixed before"
    who = f"{best} (not told apart from {level})" if level else best
    return f"{who} has the best {measure}{where}: {', '.join(map(margin, extremes))} ({how})."


def _short(size: float) -> str:
    return f"{size:.2g}" if size >= 0.01 else "<0.01"


def _where(results: xr.Dataset, rivals: xr.Dataset, at: NDArray[Any]) -> str:
    """The points in words: a range where they are neighbours on the one axis that varies."""
    total, axes = rivals.sizes["point"], describing.free_axes(results)
    if len(at) == total:
        return " at all points" if total > 1 else ""
    if len(axes) > 1 or np.any(np.diff(at) != 1):
        return f" at {len(at)} of {total} points"
    first, last = (results[axes[0]].values[i] for i in (at[0], at[-1]))
    text = describing.value_text(results[axes[0]], last)
    many = f" = {describing.short_text(first)}–" if len(at) > 1 else " = "
    return f" at {text.replace(' = ', many, 1)}"
