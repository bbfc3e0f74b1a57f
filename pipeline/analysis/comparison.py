"""Solvers against one of them, realization by realization: all have seen the same problems."""

from __future__ import annotations

import functools
import itertools
import json
import math
from typing import Any

import numpy as np
import scipy.stats
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis import intervals, tails
from pipeline.analysis.caveats import doubtful
from pipeline.analysis.cells import (
    check,
    failed,
    finished,
    is_power,
    labels_of,
    lower_is_better,
    not_run,
    over_realizations,
    ran,
)
from pipeline.analysis.stopped import with_looks
from pipeline.errors import InputError

STATISTICS = (
    *("difference", "difference_low", "difference_high"),
    *("median_difference", "median_difference_low", "median_difference_high"),
    *("pairs", "failed", "reference_failed"),
    *("won", "won_low", "won_high", "lost", "tied", "p_value"),
)
SPEED = ("speed", "speed_low", "speed_high")
FEWEST_BATCHES = 3
"""With fewer batches Student's interval is too wide to print."""


def compare(results: xr.Dataset, reference: str, measure: str = "nmse") -> xr.Dataset:
    """Paired comparison of every other solver with a reference.

    Parameters
    ----------
    results
        A cube; it may be unfinished. Pairs are the realizations that both solvers have run. A
        failed one is worse than any estimate, and two failed ones are equal.
    reference
        Label of a solver.
    measure
        Name of a measure of the cube.

    Returns
    -------
    xarray.Dataset
        Over the other solvers and the swept parameters:

        ``pairs``, ``failed``, ``reference_failed``
            Their number, and in how many the solver, and the reference, has no estimate.
        ``median_difference``, ``median_difference_low``, ``median_difference_high``
            Median of the paired differences, solver minus reference, with its interval between two
            order statistics: in dB for mean squared errors, in the measure's own units otherwise.
        ``difference``, ``difference_low``, ``difference_high``, ``difference_marked``
            Their mean over the pairs in which both have an estimate, with Student's and Hall's
            interval; and whether not to trust it: fewer than 100 pairs, or some failed.
        ``won``, ``won_low``, ``won_high``, ``lost``, ``tied``
            Shares of the pairs in which the solver is the better one, with Clopper and Pearson's
            interval, in which it is the worse one, and in which the two are equal.
        ``p_value``, ``p_holm``
            P-value of the exact sign test that the median difference is 0; after Holm's correction
            for all comparisons in this dataset. The plain one is below 0.05 where the interval of
            the median leaves out 0.
        ``speed``, ``speed_low``, ``speed_high``
            Sum of the runtimes of the reference over that of the solver, failed realizations with
            a runtime included: above 1 the solver is the faster one. Student's interval of the
            logarithm, batches being drawn; NaN for fewer than three.
        ``doubtful``
            Whether more than 5 % of the realizations of either solver ended at a cap, collapsed or
            failed; see `caveats`.

        All intervals are of 95 % confidence, and each stands for itself; those that a campaign
        stopped by are of its own confidence, at all looks at once (see `stopped`).

    Raises
    ------
    InputError
        There is no such solver or measure, no second solver, or the reference is a bound, which
        is compared by `gaps`.
    """
    check(results, measure)
    all_labels, bounds = map(str, results.solver.values), labels_of(results, "bound")
    if reference in bounds:
        raise InputError(f"{reference} is a bound, on means only: gaps to it have no pairs to win")
    labels = [label for label in all_labels if label not in bounds]
    if reference not in labels:
        raise InputError(f"no solver {reference!r} in this cube; it has {', '.join(labels)}")
    others = [label for label in labels if label != reference]
    if not others:
        raise InputError(f"{reference} is the only solver in this cube; comparing needs a second")
    values, lost = results[measure].where(finished(results)), failed(results)
    power, lower = is_power(measure), lower_is_better(results[measure])
    pair = [(x.sel(solver=others), x.sel(solver=reference, drop=True)) for x in (values, lost)]
    pairs = functools.partial(_pairs, power=power, lower=lower)
    found = over_realizations(pairs, *itertools.chain(*pair), names=STATISTICS)
    speeds = _speeds(results.runtime.where(ran(results)), reference, others, _batches(results))
    doubt = doubtful(results, ran(results))
    doubt = doubt.sel(solver=others) | doubt.sel(solver=reference, drop=True)
    found = found.merge(speeds).assign(doubtful=doubt).compute()
    found = with_looks(found, results, measure, reference)
    counts = ("pairs", "failed", "reference_failed")
    found = found.assign({count: found[count].astype(int) for count in counts})
    lacking = found.failed + found.reference_failed > 0
    few = found.pairs < tails.FEWEST
    found["difference_marked"] = (lacking | few) & found.difference.notnull()
    found["p_holm"] = found.p_value.copy(data=holm(found.p_value.values))
    unit = "dB" if is_power(measure) else results[measure].attrs.get("units", "1")
    for name, variable in found.data_vars.items():
        variable.attrs["units"] = unit if "difference" in str(name) else "1"
    about = {**results[measure].attrs, "measure": measure, "reference": reference}
    missing = int(not_run(results).sum())
    return found.assign_attrs(about | {"confidence": intervals.CONFIDENCE, "missing": missing})


def holm(p_values: NDArray[Any]) -> NDArray[Any]:
    """P-values after Holm's step-down correction, of any shape; NaN are no comparisons."""
    flat = p_values.reshape(-1)
    order = np.argsort(flat)[: np.count_nonzero(~np.isnan(flat))]
    factors = np.arange(len(order), 0, -1)
    corrected = np.full(flat.shape, np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(flat[order] * factors), 1.0)
    return corrected.reshape(p_values.shape)


def _pairs(
    solver: NDArray[Any],
    base: NDArray[Any],
    solver_failed: NDArray[Any],
    base_failed: NDArray[Any],
    *,
    power: bool,
    lower: bool,
) -> NDArray[Any]:
    """The k values that `STATISTICS` names, (…, n) four times -> (…, k)."""
    worst = np.inf if lower else -np.inf
    a, b = np.where(solver_failed, worst, solver), np.where(base_failed, worst, base)
    a, b = np.broadcast_arrays(a, b)
    there = ~(np.isnan(a) | np.isnan(b))
    scaled = intervals.to_db if power else np.asarray
    with np.errstate(invalid="ignore"):
        difference = np.where(a == b, 0.0, scaled(a) - scaled(b))
    difference = np.where(there, difference, np.nan)
    both = there & ~solver_failed & ~base_failed
    estimated = np.where(both, difference, np.nan)
    won = (there & ((a < b) if lower else (a > b))).sum(axis=-1)
    pairs, tied = there.sum(axis=-1), (there & (a == b)).sum(axis=-1)
    lost = pairs - won - tied
    share = np.where(pairs > 0, 1.0 / np.maximum(pairs, 1), np.nan)
    found = (
        *(intervals.mean(estimated), *intervals.skewed_interval(estimated)),
        intervals.quantiles(difference, (0.5,))[..., 0],
        *intervals.median_interval(difference),
        *(pairs, (there & solver_failed).sum(axis=-1), (there & base_failed).sum(axis=-1)),
        *(won * share, *intervals.share_interval(won, pairs), lost * share, tied * share),
        intervals.sign_test(won, lost, tied),
    )
    return np.stack(np.broadcast_arrays(*found), axis=-1)


def _batches(results: xr.Dataset) -> dict[str, int]:
    """Batch sizes by solver, as far as the cube says."""
    found: dict[str, int] = json.loads(results.attrs.get("batch", "{}"))
    return found


def _speeds(
    times: xr.DataArray, reference: str, others: list[str], batches: dict[str, int]
) -> xr.Dataset:
    """Runtime ratios to the reference; clusters are whole batches of both solvers."""
    ratios = []
    for label in others:
        size = math.lcm(batches.get(label, 1), batches.get(reference, 1))
        ratios.append(
            over_realizations(
                functools.partial(speed_ratio, size=size),
                times.sel(solver=reference, drop=True),
                times.sel(solver=[label]),
                names=SPEED,
            )
        )
    return xr.concat(ratios, "solver")


def speed_ratio(base: NDArray[Any], solver: NDArray[Any], *, size: int) -> NDArray[Any]:
    """Sum of base over sum of solver with its interval, (…, n) twice -> (…, 3)."""
    there = (base > 0) & (solver > 0) & np.isfinite(base) & np.isfinite(solver)
    *rest, number = there.shape
    gap = np.zeros((*rest, -number % size))

    def by_batch(times: NDArray[Any]) -> NDArray[Any]:
        padded = np.concatenate([np.where(there, times, 0.0), gap], axis=-1)
        return padded.reshape(*rest, -1, size).sum(axis=-1)

    top, bottom = by_batch(base), by_batch(solver)
    batches = (bottom > 0).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = top.sum(axis=-1) / bottom.sum(axis=-1)
        residuals = top / top.sum(-1, keepdims=True) - bottom / bottom.sum(-1, keepdims=True)
        error = np.sqrt((residuals**2).sum(axis=-1) * batches / (batches - 1.0))
        reach = error * scipy.stats.t.isf((1 - intervals.CONFIDENCE) / 2, batches - 1.0)
    reach = np.where(batches < FEWEST_BATCHES, np.nan, reach)
    return np.stack([ratio, ratio * np.exp(-reach), ratio * np.exp(reach)], axis=-1)
