"""Model mismatch: assumed parameters crossed with true ones, and rankings that change."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import xarray as xr

from pipeline.analysis import describing
from pipeline.analysis.cells import labels_of
from pipeline.analysis.comparison import compare

ASSUMED = "assumed_"
"""How names of parameters of the assumed model begin; errors of it end in `ERROR`."""

ERROR = "_error_db"


class Crossing(NamedTuple):
    """The two axes of a cube of which one says what is true, and one what is assumed.

    Attributes
    ----------
    true, assumed : str
    matched : dict
        For each value on the axis of what is true the assumption that is right.
    """

    true: str
    assumed: str
    matched: dict[Any, Any]


def crossing(results: xr.Dataset) -> Crossing | str:
    """The axes of a cube with true and with assumed parameters, or why there are none.

    ``assumed_NAME`` is right where it has the value of NAME, an error where it is 0, and
    ``assumed_hardware`` where it is "true".
    """
    axes = describing.free_axes(results)
    assumed = [axis for axis in axes if axis.startswith(ASSUMED) or axis.endswith(ERROR)]
    if len(axes) != 2 or len(assumed) != 1:
        have = ", ".join(axes) or "none"
        return f"needs two swept parameters, one of them assumed_… or an error; here are: {have}"
    true = next(axis for axis in axes if axis not in assumed)
    there = results[assumed[0]].values.tolist()
    right: Any = 0 if assumed[0].endswith(ERROR) else "true"
    own = assumed[0] == ASSUMED + true
    matched = {v: v if own else right for v in results[true].values.tolist()}
    lacking = [v for v in matched.values() if v not in there]
    if lacking:
        return f"needs the matched case, {assumed[0]} = {lacking[0]}, among {there}"
    return Crossing(true, assumed[0], matched)


def turned_over(results: xr.Dataset, measure: str) -> list[str]:
    """Sentences on pairs of solvers whose order changes with what is assumed.

    Both where it is right and where it is not, the interval of the median of paired differences
    leaves out 0.
    """
    found = crossing(results)
    assert isinstance(found, Crossing)
    solvers = [s for s in map(str, results.solver.values) if s not in labels_of(results, "bound")]
    lines = []
    for one, other in itertools.combinations(solvers, 2):
        pair = compare(results.sel(solver=[one, other]), other, measure).sel(solver=one)
        low, high = pair.median_difference_low, pair.median_difference_high
        ahead = (high < 0).astype(int) - (low > 0)
        for true, right in found.matched.items():
            at = {found.true: true}
            row, gaps = ahead.sel(at).squeeze(), pair.median_difference.sel(at).squeeze()
            where = {found.assumed: right}
            for value in row[found.assumed].values[(row * row.sel(where) < 0).values]:
                gap, before = (float(gaps.sel({found.assumed: v})) for v in (value, right))
                first, second = (one, other) if gap < 0 else (other, one)
                point = describing.point_text(results, {**at, found.assumed: value})
                lines.append(
                    f"{first} is ahead of {second} by {abs(gap):.2g} dB at {point}, and behind by "
                    f"{abs(before):.2g} dB where the assumption is right"
                )
    return lines
