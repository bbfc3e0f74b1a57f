"""Whole distributions: of a measure over realizations, and of a trace per iteration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.cells import failed, finished, lower_is_better, ran
from pipeline.analysis.intervals import CONFIDENCE, quantiles

STEPS = 400
"""An empirical distribution of more values is thinned to so many steps."""
ITERATIONS = 150
"""A longer trace is thinned to so many iterations, evenly in the logarithm."""


def empirical_cdf(sample: xr.Dataset, measure: str) -> xr.Dataset:
    """Share of the realizations whose measure is at most a value.

    Parameters
    ----------
    sample
        A cube at one solver and one point: its one dimension is ``realization``.
    measure
        Name of a measure.

    Returns
    -------
    xarray.Dataset
        ``share`` over ``value``, a step at the smallest, with ``low`` and ``high``: the
        95 % band of Dvoretzky, Kiefer and Wolfowitz with Massart's constant, which holds for the
        whole curve at once. Failed realizations are the worst outcome: of an error they reach no
        value, so that the curve ends below 1, and of a rate all, so that it begins above 0.
    """
    trials = int(ran(sample).sum())
    values = sample[measure].where(finished(sample)).values
    values = np.sort(values[~np.isnan(values)])
    count = max(trials, 1)
    below = 0 if lower_is_better(sample[measure]) else int(failed(sample).sum())
    at = np.unique(np.linspace(0, len(values) - 1, min(STEPS, len(values))).round().astype(int))
    share, values = np.r_[0.0, at + 1.0], np.r_[values[:1], values[at]]
    share = (share + below) / count
    share = share[: len(values)]
    margin = math.sqrt(math.log(2 / (1 - CONFIDENCE)) / (2 * count))
    bands = {"low": share - margin, "high": share + margin}
    return xr.Dataset(
        {"share": ("value", share)} | {k: ("value", v.clip(0, 1)) for k, v in bands.items()},
        coords={"value": values},
    )


def trace_quantiles(sample: xr.Dataset, trace: str) -> xr.Dataset:
    """Median and quartiles of a trace over the realizations, per iteration.

    Parameters
    ----------
    sample
        A cube at one solver and one point.
    trace
        Name of a variable over ``realization`` and ``iteration``.

    Returns
    -------
    xarray.Dataset
        ``median``, ``low`` and ``high`` (quartiles) over ``iteration``, up to the last one that
        any realization took. A realization that has stopped keeps its last value. Empty where
        the solver leaves no trace.
    """
    values = sample[trace].transpose("realization", "iteration").where(finished(sample))
    there = values.notnull().any("realization").values
    last = int(np.flatnonzero(there)[-1]) + 1 if there.any() else 0
    picks = np.unique(np.geomspace(1, max(last, 1), ITERATIONS).round().astype(int))[:last] - 1
    kept = xr.apply_ufunc(
        _held,
        values,
        input_core_dims=[["iteration"]],
        output_core_dims=[["pick"]],
        kwargs={"picks": picks},
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": {"pick": len(picks)}, "allow_rechunk": True},
        output_dtypes=[values.dtype],
    ).values
    kept = kept[~np.isnan(kept).all(axis=1)]
    low, median, high = quantiles(kept.T, (0.25, 0.5, 0.75)).T if last else np.empty((3, 0))
    return xr.Dataset(
        {k: ("iteration", v) for k, v in {"median": median, "low": low, "high": high}.items()},
        coords={"iteration": values.iteration.values[picks]},
    )


def _held(values: NDArray[Any], picks: NDArray[Any]) -> NDArray[Any]:
    """Values at some iterations, or where there is none any more the last one before."""
    at = np.where(np.isnan(values), 0, np.arange(values.shape[-1]))
    at = np.maximum.accumulate(at, axis=-1)[..., picks]
    return np.take_along_axis(values, at, axis=-1)
