"""How far the solvers' mean errors lie above bounds: a ratio of means."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis import intervals
from pipeline.analysis.cells import check, failed, is_kind, is_power, over_realizations, usable
from pipeline.analysis.summaries import summarize

STATISTICS = ("gap", "gap_low", "gap_high", "pairs")


def gaps(results: xr.Dataset, measure: str = "nmse") -> xr.Dataset | None:
    """The gap between the mean of every solver and every bound; None without bounds.

    Bounds hold for means, and of unbiased estimators only: SBL is biased, and may lie below.

    Returns
    -------
    xarray.Dataset
        Over ``bound``, the other solvers, and the swept parameters:

        ``gap``, ``gap_low``, ``gap_high``
            Mean of the solver over mean of the bound, on the realizations that both have, with the
            bootstrap interval (BCa, realizations drawn in pairs); in dB for mean squared errors.
        ``gap_marked``
            Whether not to trust it, as `summarize` marks the solver's mean.
        ``pairs``, ``failed``
            Numbers of these realizations, and of those in which the solver has no estimate.
    """
    check(results, measure)
    bound = is_kind(results, "bound")
    values = results[measure].where(usable(results, measure))
    if not bool(bound.any() & values.sel(solver=bound).notnull().any()):
        return None
    floor = values.sel(solver=bound).rename(solver="bound")
    found = over_realizations(_ratio, values.sel(solver=~bound), floor, names=STATISTICS)
    lost = failed(results).sel(solver=~bound).sum("realization")
    gap = found.assign(failed=lost).compute()
    gap["pairs"] = gap.pairs.astype(int)
    marked = summarize(results, measure).mean_marked  # as the solver's mean is
    gap["gap_marked"] = marked.sel(solver=gap.solver) & gap.gap.notnull()
    if is_power(measure):
        gap = gap.assign({name: intervals.to_db(gap[name]) for name in STATISTICS[:3]})
    return gap.assign_attrs({**results[measure].attrs, "measure": measure})


def _ratio(solver: NDArray[Any], bound: NDArray[Any]) -> NDArray[Any]:
    """The k values that `STATISTICS` names, (…, n) twice -> (…, k)."""
    solver, bound = np.broadcast_arrays(solver, bound)
    there = ~np.isnan(solver) & (bound > 0)
    ratios = np.divide(solver, bound, out=np.full(solver.shape, np.nan), where=there)
    bounds = intervals.mean_interval(ratios, bound)
    found = (intervals.mean(ratios, bound), *bounds, intervals.count(ratios))
    return np.stack(found, axis=-1).astype(float)
