"""Solvers against one of them, realization by realization: all have seen the same problems."""

from __future__ import annotations

import functools
import json
import math
from typing import Any

import numpy as np
import scipy.stats
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis import intervals
from pipeline.analysis.cells import check, is_power, not_run, over_realizations, usable
from pipeline.errors import InputError

STATISTICS = (
    *("difference", "difference_low", "difference_high"),
    *("median_difference", "median_difference_low", "median_difference_high"),
    *("pairs", "won", "won_low", "won_high", "tied", "p_value"),
)
SPEED = ("speed", "speed_low", "speed_high")
FEWEST_BATCHES = 3
"""With fewer batches Student's interval is too wide to print."""


def compare(results: xr.Dataset, reference: str, measure: str = "nmse") -> xr.Dataset:
    """Paired comparison of every other solver with a reference.

    Parameters
    ----------
    results
        A cube; it may be unfinished. Pairs are the realizations that both solvers finished.
    reference
        Label of a solver.
    measure
        Name of a measure of the cube.

    Returns
    -------
    xarray.Dataset
        Over the other solvers and the swept parameters:

        ``pairs``
            Their number.
        ``difference``, ``difference_low``, ``difference_high``
            Mean of the paired differences, solver minus reference, with Student's interval: in dB
            for mean squared errors, in the measure's own units otherwise.
        ``median_difference``, ``median_difference_low``, ``median_difference_high``
            Their median, with its interval between two order statistics.
        ``won``, ``won_low``, ``won_high``, ``tied``
            Shares of the pairs in which the solver is the better one, with Clopper and Pearson's
            interval, and in which the two are equal.
        ``p_value``, ``p_holm``
            P-value of Wilcoxon's signed-rank test that the differences are symmetric about 0; after
            Holm's correction for all comparisons in this dataset.
        ``speed``, ``speed_low``, ``speed_high``
            Geometric mean of the runtime of the reference over that of the solver: above 1 the
            solver is the faster one. Student's interval of the logarithm, from the means of
            batches, since the realizations of a batch share its time; NaN for fewer than three.

        All intervals are of 95 % confidence, and each stands for itself.

    Raises
    ------
    InputError
        There is no such solver or measure, or no second solver.
    """
    check(results, measure)
    labels = [str(s) for s in results.solver.values]
    if reference not in labels:
        raise InputError(f"no solver {reference!r} in this cube; it has {', '.join(labels)}")
    others = [label for label in labels if label != reference]
    if not others:
        raise InputError(f"{reference} is the only solver in this cube; comparing needs a second")
    good = usable(results, measure)
    values = results[measure].where(good)
    solver, base = values.sel(solver=others), values.sel(solver=reference, drop=True)
    paired = over_realizations(
        functools.partial(
            _pairs, power=is_power(measure), lower=_lower_is_better(results[measure])
        ),
        *(solver, base),
        dimension="statistic",
        labels=STATISTICS,
    )
    variables = {name: paired.sel(statistic=name, drop=True) for name in STATISTICS}
    times = results.runtime.where(good)
    variables |= _speeds(times, reference, others, _batches(results))
    found = xr.Dataset(variables).compute()
    found["pairs"] = found["pairs"].astype(int)
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


def _lower_is_better(measure: xr.DataArray) -> bool:
    return measure.attrs["better"] == "lower"


def _pairs(solver: NDArray[Any], base: NDArray[Any], *, power: bool, lower: bool) -> NDArray[Any]:
    """The k values that `STATISTICS` names, (…, n) twice -> (…, k)."""
    solver, base = np.broadcast_arrays(solver, base)
    there = ~(np.isnan(solver) | np.isnan(base))
    scaled = intervals.to_db if power else np.asarray
    with np.errstate(invalid="ignore"):
        difference = np.where(solver == base, 0.0, scaled(solver) - scaled(base))
    difference = np.where(there, difference, np.nan)
    pairs = there.sum(axis=-1)
    won = ((solver < base) if lower else (solver > base)).sum(axis=-1)
    share = np.where(pairs > 0, 1.0 / np.maximum(pairs, 1), np.nan)
    found = (
        *(intervals.mean(difference), *intervals.t_interval(difference)),
        intervals.quantiles(difference, (0.5,))[..., 0],
        *intervals.median_interval(difference),
        pairs,
        *(won * share, *intervals.share_interval(won, pairs)),
        (there & (solver == base)).sum(axis=-1) * share,
        np.apply_along_axis(_signed_rank, -1, difference),
    )
    return np.stack(found, axis=-1)


def _signed_rank(difference: NDArray[Any]) -> float:
    """P-value of Wilcoxon's test; 1 where all pairs are equal, NaN where there are none."""
    there = np.nan_to_num(difference[~np.isnan(difference)])  # only ranks count: ±inf are largest
    if not there.any():
        return 1.0 if there.size else np.nan
    return float(scipy.stats.wilcoxon(there).pvalue)


def _batches(results: xr.Dataset) -> dict[str, int]:
    """Batch sizes by solver, as far as the cube says."""
    found: dict[str, int] = json.loads(results.attrs.get("batch", "{}"))
    return found


def _speeds(
    times: xr.DataArray, reference: str, others: list[str], batches: dict[str, int]
) -> dict[str, xr.DataArray]:
    """Runtime ratios to the reference; clusters are whole batches of both solvers."""
    ratios = []
    for label in others:
        size = math.lcm(batches.get(label, 1), batches.get(reference, 1))
        ratios.append(
            over_realizations(
                functools.partial(speed_ratio, size=size),
                times.sel(solver=reference, drop=True),
                times.sel(solver=[label]),
                dimension="statistic",
                labels=SPEED,
            )
        )
    found = xr.concat(ratios, "solver")
    return {name: found.sel(statistic=name, drop=True) for name in SPEED}


def speed_ratio(base: NDArray[Any], solver: NDArray[Any], *, size: int) -> NDArray[Any]:
    """Geometric mean of base over solver with its interval, (…, n) twice -> (…, 3)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(base) - np.log(solver)
    logarithms = np.where(np.isfinite(logarithms), logarithms, np.nan)
    *rest, number = logarithms.shape
    gap = np.full((*rest, -number % size), np.nan)
    by_batch = np.concatenate([logarithms, gap], axis=-1).reshape(*rest, -1, size)
    batches = intervals.mean(by_batch)
    few = intervals.count(batches) < FEWEST_BATCHES
    low, high = (np.where(few, np.nan, bound) for bound in intervals.t_interval(batches))
    middle = intervals.mean(logarithms)
    return np.exp(np.stack([middle, low, high], axis=-1))
