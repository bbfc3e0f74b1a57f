"""From cells to figures: means, medians and how certain they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.stats
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import InputError
from solvers import Status

CONFIDENCE = 0.95
RESAMPLES = 999


def axes_of(results: xr.Dataset) -> list[str]:
    """Names of the swept dimensions of a cube."""
    return [str(d) for d in results.status.dims if d not in ("solver", "realization")]


def measures_of(results: xr.Dataset) -> list[str]:
    """Names of the figures of merit in a cube."""
    return [str(name) for name, v in results.data_vars.items() if "better" in v.attrs]


def to_db(values: Any) -> Any:
    """10 log10 of a power ratio; −∞ for 0."""
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(values)


def mean_interval(sample: NDArray[Any]) -> tuple[float, float]:
    """Bootstrap confidence interval of the mean of one sample (BCa, 95 %).

    Parameters
    ----------
    sample : array, (n,)

    Returns
    -------
    low, high : float
        NaN for fewer than two values; the value itself where all are equal.
    """
    if len(sample) < 2:
        return np.nan, np.nan
    if np.ptp(sample) == 0:
        return float(sample[0]), float(sample[0])
    found = scipy.stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(len(sample)),
        batch=max(1, 10_000_000 // len(sample)),
    ).confidence_interval
    return float(found.low), float(found.high)


def summarize(results: xr.Dataset, measure: str = "nmse") -> xr.Dataset:
    """Figures of one measure per solver and grid point.

    Parameters
    ----------
    results
        A cube, as `pipeline.open_results` gives it; it may be unfinished.
    measure
        Name of one of its measures.

    Returns
    -------
    xarray.Dataset
        Over the cube's dimensions without ``realization``: ``mean`` with ``low`` and ``high``
        (95 % confidence), ``median``, ``cells`` (run), ``failed``, ``unconverged``, and the means
        of ``runtime`` and ``iterations``. Failed cells are left out of all but the counts.

    Raises
    ------
    InputError
        There is no such measure.
    """
    known = measures_of(results)
    if measure not in known:
        raise InputError(f"no measure {measure!r} in this cube; it has {', '.join(known)}")
    ran = results.status != Status.NOT_RUN
    good = ran & (results.status < Status.DIVERGED)
    values = results[measure].where(good)
    interval = xr.apply_ufunc(
        lambda rows: np.apply_along_axis(lambda row: mean_interval(row[~np.isnan(row)]), -1, rows),
        values,
        input_core_dims=[["realization"]],
        output_core_dims=[["bound"]],
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": {"bound": 2}, "allow_rechunk": True},
        output_dtypes=[float],
    )
    return xr.Dataset(
        {
            "mean": values.mean("realization"),
            "low": interval.isel(bound=0),
            "high": interval.isel(bound=1),
            "median": values.chunk(realization=-1).median("realization"),
            "cells": ran.sum("realization"),
            "failed": (ran & ~good).sum("realization"),
            "unconverged": (results.status == Status.MAX_ITERATIONS).sum("realization"),
            "runtime": results.runtime.where(good).mean("realization"),
            "iterations": results.iterations.where(good).mean("realization"),
        },
        attrs={**results[measure].attrs, "measure": measure},
    ).compute()
