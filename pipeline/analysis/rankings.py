"""The order of the solvers, and where it depends on which cells are looked at."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.stats
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.cells import is_kind, json_scalar
from pipeline.analysis.summaries import summarize

RANKINGS_SHOWN = 10


class Ranking(NamedTuple):
    """A point where the order of the solvers depends on which cells are looked at.

    Attributes
    ----------
    point : dict
        Values of the swept parameters.
    statistic : str
        ``median`` or ``mean``: what the solvers were ordered by.
    all, common : list of list of str
        Solvers, best first and those that tie together, over their own cells and over the common
        ones. By the mean over its own cells, a solver that failed on some is the last.
    """

    point: dict[str, Any]
    statistic: str
    all: list[list[str]]
    common: list[list[str]]


def changed_rankings(everything: xr.Dataset, shared: xr.Dataset) -> list[Ranking]:
    """Points where the ranking over common cells is another than over all; bounds have no rank.

    Parameters
    ----------
    everything, shared
        Summaries from `summarize` with ``cells="all"`` and with ``cells="common"``.
    """
    found = []
    bounds = everything.attrs.get("bounds", [])
    everything, shared = (one.drop_sel(solver=bounds) for one in (everything, shared))
    solvers = everything.solver.values
    for name in ("median", "mean"):
        points = everything[name].isel(solver=0, drop=True)
        a, b = _costs(everything, name), _costs(shared, name)
        known = ~(np.isnan(a) | np.isnan(b))
        # NaN would spread to the others' ranks; last, it moves none of them.
        ranks = [scipy.stats.rankdata(np.where(known, v, np.inf), "min", axis=0) for v in (a, b)]
        for number in np.flatnonzero(((ranks[0] != ranks[1]) & known).any(axis=0)):
            place = np.unravel_index(number, points.shape)
            at = {
                str(d): json_scalar(points[d].values[i])
                for d, i in zip(points.dims, place, strict=True)
                if d in points.coords
            }
            there = known[:, number]
            orders = (_in_order(solvers[there], rank[there, number]) for rank in ranks)
            found.append(Ranking(at, name, *orders))
    return found


def best_solver(results: xr.Dataset, measure: str) -> str | None:
    """The estimator whose medians rank best on average over the points; None without any."""
    estimators = summarize(results.sel(solver=is_kind(results, "estimator")), measure)
    costs = _costs(estimators, "median")
    known = ~np.isnan(costs).any(axis=0)
    if not known.any():
        return None
    ranks = scipy.stats.rankdata(costs[:, known], axis=0).mean(axis=1)
    return str(estimators.solver.values[np.argmin(ranks)])


def _costs(summary: xr.Dataset, name: str) -> NDArray[Any]:
    """What solvers are ordered by, (solvers, points), less being better."""
    value = -summary[name] if summary.attrs.get("better") == "higher" else summary[name]
    if name == "mean":  # of the others' cells nobody knows how bad they would have been
        value = value.where((summary.failed == 0) | value.isnull(), np.inf)
    ordered: NDArray[Any] = value.transpose("solver", ...).values.reshape(value.sizes["solver"], -1)
    return ordered


def _in_order(solvers: NDArray[Any], ranks: NDArray[Any]) -> list[list[str]]:
    return [[str(s) for s in solvers[ranks == rank]] for rank in np.unique(ranks)]


def ranking_lines(everything: xr.Dataset, shared: xr.Dataset) -> list[str]:
    """Lines that say where the ranking over the common cells differs; see `changed_rankings`."""
    changes = changed_rankings(everything, shared)
    if not changes:
        return ["All cells and the common ones rank the solvers alike, at every point."]
    lines = []
    for change in changes[:RANKINGS_SHOWN]:
        where = ", ".join(f"{k} = {v}" for k, v in change.point.items()) or "the only point"
        orders = (", ".join(" = ".join(tie) for tie in one) for one in (change.all, change.common))
        lines.append(
            f"Ranking by the {change.statistic} differs at {where}: {next(orders)} "
            f"over all cells; {next(orders)} over the common ones (best first)."
        )
    if len(changes) > RANKINGS_SHOWN:
        lines.append(f"So it does at {len(changes) - RANKINGS_SHOWN} more; --json names them.")
    return lines
