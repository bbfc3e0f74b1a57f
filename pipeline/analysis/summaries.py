"""Statistics of a cube per solver and grid point, each with how certain it is."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis import intervals, tails
from pipeline.analysis.caveats import doubtful
from pipeline.analysis.cells import (
    axes_of,
    check,
    common,
    failed,
    finished,
    is_kind,
    is_power,
    labels_of,
    limits_of,
    lower_is_better,
    not_run,
    outcomes,
    over_realizations,
    ran,
    runtimes,
    usable,
)
from pipeline.analysis.stopped import with_looks
from pipeline.errors import InputError
from solvers import Status

QUANTILES = (0.05, 0.25, 0.75, 0.95)
LEVELS = tuple(map(str, QUANTILES))
MEANS = ("mean", "db_mean", "pooled")
STATISTICS = (
    *("mean", "mean_low", "mean_high", "mean_marked"),
    *("db_mean", "db_mean_low", "db_mean_high", "db_mean_marked"),
    *("pooled", "pooled_low", "pooled_high", "pooled_marked"),
    *("median", "median_low", "median_high"),
    *("mean_se", "used"),
)
WHICH_CELLS = ("all", "common")


def summarize(results: xr.Dataset, measure: str = "nmse", *, cells: str = "all") -> xr.Dataset:
    """Statistics of one measure per solver and grid point.

    Parameters
    ----------
    results
        A cube, as `pipeline.open_results` gives it; it may be unfinished, and larger than memory:
        what is held at a time is some chunks of it, with all realizations of a point.
    measure
        Name of one of its measures.
    cells : {"all", "common"}
        Each solver's own cells, or at each point only the realizations that all solvers have
        finished (those that have finished none there have no say).

    Returns
    -------
    xarray.Dataset
        Over the cube's dimensions without ``realization``:

        ``median``, ``median_low``, ``median_high``
            Median, and its interval between two order statistics. Failed realizations count as
            the worst outcome.
        ``mean``, ``mean_se``, ``mean_low``, ``mean_high``
            Mean of the realizations with an estimate, standard error, bootstrap interval.
        ``db_mean``, ``db_mean_low``, ``db_mean_high``
            Mean of 10 log10 of the values, Student's and Hall's interval; NaN unless the measure
            is a mean squared error and all values are positive and finite.
        ``pooled``, ``pooled_low``, ``pooled_high``
            Σ‖e‖²/Σ‖x‖²: ``nmse`` weighted by ``signal_energy``, bootstrap interval; NaN for other
            measures.
        ``mean_marked``, ``db_mean_marked``, ``pooled_marked``
            Whether not to trust that mean, however narrow its interval: see `pipeline.analysis.
            tails` and docs/uncertainty.md.
        ``quantiles``
            Over the dimension ``quantile``: 0.05, 0.25, 0.75, 0.95; failures as in the median.
        ``cells``, ``missing``, ``failed``, ``unconverged``, ``undefined``, ``used``
            Numbers of cells that have been run, that have not, that have no estimate, that ended
            at the maximum of iterations, whose measure is NaN in spite of an estimate, and that
            the means are made of: ``used = cells − failed − undefined``.
        ``doubtful``
            Whether more than 5 % of the cells ended at a cap, collapsed or failed; see `caveats`.
        ``runtime``, ``iterations``, ``runtime_quantile``, ``iterations_quantile``
            Means and quantiles of the cells that have one. A runtime is a share of the time of
            a batch; for the latency of a realization alone see `latencies`. There is none where a
            solver's cells at a point were computed on several kinds of devices.

        All intervals are of 95 % confidence; those that a campaign stopped by are of its own, at
        all looks at once (`stopped`). Those of means allow for failures that have not been
        seen yet, unless the solver is an oracle or a bound. Bounds have means only.

    Raises
    ------
    InputError
        There is no such measure, or no cell at all.
    """
    check(results, measure)
    if cells not in WHICH_CELLS:
        raise InputError(f"cells is one of {', '.join(WHICH_CELLS)}, not {cells!r}")
    there, good = ran(results), finished(results)
    if cells == "common":
        shared = common(results, measure)
        there, good = there & shared, good & shared
    samples = [results[measure].where(good), outcomes(results, measure).where(there)]
    if measure == "nmse" and "signal_energy" in results:
        samples.append(results.signal_energy)
    found = over_realizations(
        functools.partial(_statistics, power=is_power(measure)),
        *samples,
        names=(*STATISTICS, "largest", *LEVELS),
    )
    used = found.used.astype(int)
    variables = {**found.drop_vars(LEVELS).data_vars} | {
        "quantiles": _as_quantiles(found),
        "used": used,
        "cells": there.sum("realization"),
        "missing": not_run(results).sum("realization"),
        "failed": (there & ~good).sum("realization"),
        "unconverged": (there & (results.status == Status.MAX_ITERATIONS)).sum("realization"),
        "undefined": good.sum("realization") - used,
        "doubtful": doubtful(results, there),
    }
    timed = {
        "runtime": runtimes(results).where(there),
        "iterations": results.iterations.where(good),
    }
    for name, values in timed.items():
        spread = over_realizations(_mean_and_quantiles, values, names=("mean", *LEVELS))
        variables |= {name: spread["mean"], f"{name}_quantile": _as_quantiles(spread)}
    about = {
        **results[measure].attrs,
        **{"measure": measure, "confidence": intervals.CONFIDENCE, "cells": cells},
    }
    summary = xr.Dataset(variables, attrs=about).compute()
    silent = is_kind(results, "bound") & (
        summary.used.sum(set(summary.used.dims) - {"solver"}) == 0
    )
    summary, results = (part.sel(solver=~silent) for part in (summary, results))
    summary.attrs["bounds"] = labels_of(results, "bound")
    summary = _allowing_for_failures(summary, results, measure)
    summary = with_looks(summary, results, measure) if cells == "all" else summary
    return _described(summary, results, measure)


def _statistics(
    values: NDArray[Any],
    ranked: NDArray[Any],
    energy: NDArray[Any] | None = None,
    *,
    power: bool,
) -> NDArray[Any]:
    """The k values that `STATISTICS`, "largest" and `QUANTILES` name, (…, n) each -> (…, k)."""
    nothing = np.full(values.shape[:-1], np.nan)
    decibels: tuple[Any, ...] = (nothing,) * 4
    pooled: tuple[Any, ...] = (nothing,) * 4
    if power:
        levels = intervals.to_db(values)
        odd = (np.isinf(levels) | (np.isnan(levels) & ~np.isnan(values))).any(-1, keepdims=True)
        decibels = _of_levels(np.where(odd, np.nan, levels))
    if energy is not None:
        energy = np.broadcast_to(energy, values.shape)
        values_pooled = np.where(energy >= 0, values, np.nan)
        few = tails.rests_on_few(values_pooled * energy) | tails.rests_on_few(energy)
        bounds = intervals.mean_interval(values_pooled, energy)
        pooled = (intervals.mean(values_pooled, energy), *bounds, few)
    ranked = np.sort(ranked)  # once; sorting it again is cheap
    middle, *spread = np.moveaxis(intervals.quantiles(ranked, (0.5, *QUANTILES)), -1, 0)
    found = (
        *(intervals.mean(values), *intervals.mean_interval(values), tails.rests_on_few(values)),
        *decibels,
        *pooled,
        *(middle, *intervals.median_interval(ranked)),
        *(intervals.standard_error(values), intervals.count(values)),
        *(np.fmax.reduce(values, axis=-1), *spread),
    )
    return np.stack(np.broadcast_arrays(*found), axis=-1).astype(float)


def _of_levels(levels: NDArray[Any]) -> tuple[Any, ...]:
    """Mean, interval and mark of values in dB: skewed, but with tails that are light."""
    return intervals.mean(levels), *intervals.skewed_interval(levels), np.array(False)


def _allowing_for_failures(found: xr.Dataset, results: xr.Dataset, measure: str) -> xr.Dataset:
    """Statistics whose means allow for what has not been seen yet, in intervals and marks."""
    values = results[measure]
    errors, zero = lower_is_better(values), values.attrs.get("zero_estimate", np.nan)
    careful, limits = is_kind(results, "estimator"), limits_of(values)
    for name in (name for name in MEANS if name in found):
        middle, low, high = (found[name + end] for end in ("", "_low", "_high"))
        if name == "mean":
            low, high = xr.apply_ufunc(
                functools.partial(tails.opened_at, least=limits[0], most=limits[1]),
                *(low, high, found.used),
                output_core_dims=[[], []],
            )
        marked = found.failed > 0
        if errors:
            worst = zero
            if name == "db_mean":  # in which failures that are worse weigh little more
                worst = intervals.to_db(np.maximum(zero, found.largest))
            unseen = tails.with_unseen(middle, found.used, worst).where(careful)
            high = high.where(~(unseen > high), unseen)
        if errors and name != "db_mean":  # whose tail is light: its interval tells all
            far = (unseen > tails.FACTOR * middle) | (careful & (found.largest > zero))
            marked = marked | far | (found[f"{name}_marked"] > 0)
        marked = marked & middle.notnull()
        found = found.assign({f"{name}_low": low, f"{name}_high": high, f"{name}_marked": marked})
    return found.drop_vars("largest")


def _mean_and_quantiles(values: NDArray[Any]) -> NDArray[Any]:
    spread = intervals.quantiles(values, QUANTILES)
    return np.concatenate([intervals.mean(values)[..., np.newaxis], spread], axis=-1)


def _as_quantiles(found: xr.Dataset) -> xr.DataArray:
    levels = found[list(LEVELS)].to_dataarray("quantile").assign_coords(quantile=list(QUANTILES))
    return levels.transpose(..., "quantile")


def _described(summary: xr.Dataset, results: xr.Dataset, measure: str) -> xr.Dataset:
    """The summary with units and long names, for plots."""
    for name, variable in summary.data_vars.items():
        source = next((s for s in ("runtime", "iterations") if str(name).startswith(s)), measure)
        about = results[source].attrs
        what = str(name).removeprefix(source).replace("_", " ").strip() or "mean"
        variable.attrs = {
            "units": about.get("units", "1"),
            "long_name": f"{about.get('long_name', source)}, {what}",
        }
        if str(name).startswith("db_"):
            variable.attrs["units"] = "dB"
        if variable.dtype.kind in "ib":
            variable.attrs = {"units": "1", "long_name": str(name)}
    return summary


def means_of(results: xr.Dataset, measures: list[str]) -> xr.Dataset:
    """Means of some measures as ``NAME``, with ``NAME_low``, ``NAME_high`` and ``NAME_marked``."""
    check(results, *measures)
    good = finished(results)
    found: dict[str, xr.DataArray] = {}
    labels = ("mean", "mean_low", "mean_high", "mean_marked", "used", "largest")
    for name in measures:
        one = over_realizations(_of_values, results[name].where(good), names=labels)
        one["failed"] = failed(results).sum("realization")
        one = _allowing_for_failures(one.compute(), results, name)
        found |= {name + end: one[f"mean{end}"] for end in ("", "_low", "_high", "_marked")}
    return xr.Dataset(found)


def _of_values(values: NDArray[Any]) -> NDArray[Any]:
    bounds = intervals.mean_interval(values)
    largest = np.fmax.reduce(values, axis=-1)
    found = (intervals.mean(values), *bounds, tails.rests_on_few(values))
    return np.stack([*found, intervals.count(values), largest], axis=-1)


def has_gaps(results: xr.Dataset, measure: str) -> bool:
    """Whether solvers have cells at some point that not all of them have finished."""
    check(results, measure)
    lone = usable(results, measure) & ~common(results, measure)
    return bool((lone & ~is_kind(results, "bound")).any().compute())


def latencies(results: xr.Dataset) -> xr.Dataset | None:
    """Latency and memory of realizations that were timed alone, or None where there are none.

    Returns
    -------
    xarray.Dataset
        Over ``timing_host``, ``solver`` and the swept parameters, never averaged over hosts:
        ``latency`` (median, s) with ``latency_low`` and ``latency_high`` (95 % confidence), the
        number ``timed``, and ``peak_memory`` (bytes) where the cube has it.
    """
    if "latency" not in results:
        return None
    check(results)

    def statistics(values: NDArray[Any]) -> NDArray[Any]:
        middle = intervals.quantiles(values, (0.5,))[..., 0]
        return np.stack(
            [middle, *intervals.median_interval(values), intervals.count(values)], axis=-1
        )

    names = ("latency", "latency_low", "latency_high", "timed")
    found = over_realizations(statistics, results.latency, names=names)
    found = found.assign(timed=found.timed.astype(int))
    if "peak_memory" in results:
        found["peak_memory"] = results.peak_memory
    return found.transpose("timing_host", "solver", *axes_of(results), ...).compute()
