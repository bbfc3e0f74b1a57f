"""Paired comparison of solvers: differences to one of them, realization by realization."""

from __future__ import annotations

import functools
import itertools
import json
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.stats
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis import describing, intervals, tails
from pipeline.analysis.caveats import doubtful
from pipeline.analysis.cells import (
    axes_of,
    check,
    failed,
    finished,
    is_power,
    labels_of,
    lower_is_better,
    not_run,
    over_realizations,
    ran,
    runtimes,
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


def compare(results: xr.Dataset, reference: str | xr.Dataset, measure: str = "nmse") -> xr.Dataset:
    """Paired comparison of every other solver with a reference, or with itself in another cube.

    Parameters
    ----------
    results
        A cube; it may be unfinished. Pairs are the realizations that both solvers have run. A
        failed one is worse than any estimate, and two failed ones are equal.
    reference
        Label of a solver; or another cube, of other code say, in which every solver of that label
        is the reference, at the points that both cubes have. If not both have drawn the same
        problems, nothing is paired: the attribute ``unpaired`` says why, differences are those of
        medians and means, with intervals from both by the method of variance estimates recovery
        (Zou and Donner, Statistics in Medicine 27(10), 2008), and the test is Mann and Whitney's.
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
        is compared by `gaps`; the cubes have no solver or no point in common.
    """
    if isinstance(reference, xr.Dataset):
        return _with_another(results, reference, measure)
    return _compared(results, reference, measure, _pairs)


def _compared(
    results: xr.Dataset, reference: str, measure: str, statistics: Callable[..., Any]
) -> xr.Dataset:
    check(results, measure)
    all_labels, bounds = map(str, results.solver.values), labels_of(results, "bound")
    if reference in bounds:
        raise InputError(f"{reference} is a bound, on means only: gaps to it have no pairs to win")
    labels = [label for label in all_labels if label not in bounds]
    if reference not in labels:
        raise InputError(f"no solver {reference!r} in this cube; it has {', '.join(labels)}")
    others = [label for label in labels if label != reference]
    if not others:
        raise InputError(f"nothing to compare {reference} with: name, or compute, another solver")
    values, lost = results[measure].where(finished(results)), failed(results)
    power, lower = is_power(measure), lower_is_better(results[measure])
    pair = [(x.sel(solver=others), x.sel(solver=reference, drop=True)) for x in (values, lost)]
    pairs = functools.partial(statistics, power=power, lower=lower)
    found = over_realizations(pairs, *itertools.chain(*pair), names=STATISTICS)
    speeds = _speeds(runtimes(results), reference, others, _batches(results))
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


def _with_another(results: xr.Dataset, before: xr.Dataset, measure: str) -> xr.Dataset:
    """`compare` of every solver with itself in another cube."""
    cubes = []  # in which what has been selected is an axis again, as in the whole cube
    for one in (before, results):
        one = one.expand_dims([str(name) for name, v in one.coords.items() if v.ndim == 0])
        check(one, measure)
        names = [measure, "status", "runtime", *({"signal_energy"} & {*one})]
        cubes.append(one.assign(runtime=runtimes(one))[names])
    for place, other in ((0, 1), (1, 0)):
        fixed = describing.constants(cubes[place])
        for axis in set(axes_of(cubes[other])) - set(axes_of(cubes[place])):
            if isinstance(fixed.get(axis, []), list):
                raise InputError(f"{axis} is swept in one of the cubes only")
            cubes[place] = cubes[place].expand_dims({axis: [fixed[axis]]})
    cubes = list(xr.align(*cubes, join="inner", exclude={"solver", "realization"}))
    labels = [
        label
        for label in labels_of(results, "estimator", "oracle")
        if label in labels_of(before, "estimator", "oracle")
    ]
    if not labels or 0 in cubes[0].status.shape:
        what = "no point of the grid" if labels else "no solver"
        raise InputError(f"nothing to compare: the two cubes have {what} in common")
    reason = _why_unpaired(cubes[0], cubes[1], labels)
    if reason:  # of which nothing belongs together, whatever their numbers are
        cubes = [one.assign_coords(realization=np.arange(one.realization.size)) for one in cubes]
    found = []
    for label in labels:
        two = [
            one.sel(solver=[label]).assign_coords(solver=[name])
            for one, name in zip(cubes, ("the first", label), strict=True)
        ]
        both = xr.concat(
            two,
            "solver",
            join="outer" if reason else "inner",
            fill_value={"status": 0},
            coords="minimal",
            compat="override",
        )
        sizes = [_batches(one).get(label, 1) for one in cubes]
        both.attrs["batch"] = json.dumps(dict(zip(("the first", label), sizes, strict=True)))
        found.append(_compared(both, "the first", measure, _apart if reason else _pairs))
    all_of_them = xr.concat(found, "solver", combine_attrs="override")
    all_of_them["p_holm"] = all_of_them.p_value.copy(data=holm(all_of_them.p_value.values))
    missing = sum(int(not_run(one.sel(solver=labels)).sum()) for one in cubes)
    return all_of_them.assign_attrs(unpaired=reason, missing=missing)


def _why_unpaired(before: xr.Dataset, now: xr.Dataset, labels: list[str]) -> str:
    """Why two cubes do not hold solves of the same problems; empty where they do."""
    seeds = [one.attrs.get("seed") for one in (before, now)]
    if None in seeds or seeds[0] != seeds[1]:
        return f"their seeds are {seeds[0]} and {seeds[1]}"
    if before.attrs.get("scenario") != now.attrs.get("scenario"):
        return "their scenarios are of different kinds"
    fixed = [describing.constants(one) for one in (before, now)]
    for name in sorted((fixed[0].keys() | fixed[1].keys()) - {*axes_of(before)}):
        a, b = (one.get(name, "not set") for one in fixed)
        if a != b:
            return f"{name} is {a} and {b}"
    for axis in axes_of(before):
        if before[axis].attrs.get("settings") != now[axis].attrs.get("settings"):
            return f"the places on {axis} do not stand for the same parameters"
    if "signal_energy" in before and "signal_energy" in now:
        a, b = xr.align(before.signal_energy, now.signal_energy, join="inner")
        a, b = (one.sel(solver=labels) for one in (a, b))
        if bool((abs(a - b) > 1e-6 * abs(a)).any()):
            return "realizations of one number are not the same problem: versions differ"
    return ""


def _apart(
    solver: NDArray[Any],
    base: NDArray[Any],
    solver_failed: NDArray[Any],
    base_failed: NDArray[Any],
    *,
    power: bool,
    lower: bool,
) -> NDArray[Any]:
    """As `_pairs`, where nothing belongs together; the number of pairs is the smaller one."""
    worst, scaled = np.inf if lower else -np.inf, intervals.to_db if power else np.asarray
    samples, means, medians = [], [], []
    for values, lost in ((solver, solver_failed), (base, base_failed)):
        levels = scaled(values)
        means.append((intervals.mean(levels), *intervals.skewed_interval(levels)))
        levels = np.where(lost, worst, levels)
        middle = intervals.quantiles(levels, (0.5,))[..., 0]
        medians.append((middle, *intervals.median_interval(levels)))
        samples.append(levels)
    shape = np.broadcast_shapes(*(sample.shape[:-1] for sample in samples))
    a, b = (np.broadcast_to(s, (*shape, s.shape[-1])) for s in samples)
    numbers = [intervals.count(sample) for sample in (a, b)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of samples too small
        test = scipy.stats.mannwhitneyu(a, b, axis=-1, nan_policy="omit")
    ahead = test.statistic / np.maximum(numbers[0] * numbers[1], 1)
    won = np.where(np.minimum(*numbers) > 0, 1 - ahead if lower else ahead, np.nan)
    unknown = np.full(shape, np.nan)
    found = (
        *_difference(*means),
        *_difference(*medians),
        *(np.minimum(*numbers), solver_failed.sum(axis=-1), base_failed.sum(axis=-1)),
        *(won, unknown, unknown, 1 - won, unknown, test.pvalue),
    )
    return np.stack(np.broadcast_arrays(*found), axis=-1)


def _difference(a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """Difference of two estimates with its interval, from their own intervals."""
    with np.errstate(invalid="ignore"):
        return (
            a[0] - b[0],
            a[0] - b[0] - np.hypot(a[0] - a[1], b[2] - b[0]),
            a[0] - b[0] + np.hypot(a[2] - a[0], b[0] - b[1]),
        )


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
