"""Statistics of a cube per solver and grid point, each with how certain it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis import intervals
from pipeline.analysis.cells import (
    axes_of,
    check,
    common,
    finished,
    is_power,
    json_scalar,
    not_run,
    over_realizations,
    ran,
    usable,
)
from pipeline.errors import InputError
from solvers import Status

QUANTILES = (0.05, 0.25, 0.75, 0.95)
STATISTICS = (
    *("mean", "mean_se", "mean_low", "mean_high"),
    *("median", "median_low", "median_high"),
    *("db_mean", "db_low", "db_high"),
    *("used", "dominated"),
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

        ``mean``, ``mean_se``, ``mean_low``, ``mean_high``
            Mean, standard error, bootstrap interval. See ``dominated`` before trusting them.
        ``median``, ``median_low``, ``median_high``
            Median, and its interval between two order statistics.
        ``db_mean``, ``db_low``, ``db_high``
            Mean of 10 log10 of the values, and Student's interval; NaN unless the measure is a
            mean squared error and all values are positive and finite.
        ``quantiles``
            Over the dimension ``quantile``: 0.05, 0.25, 0.75, 0.95.
        ``dominated``
            Whether the largest 5 % of the trials hold more than half of the sum.
        ``cells``, ``missing``, ``failed``, ``unconverged``, ``undefined``, ``used``
            Numbers of cells that have been run, that have not, that have no estimate, that ended
            at the maximum of iterations, whose measure is NaN in spite of an estimate, and that
            the statistics are made of: ``used = cells − failed − undefined``.
        ``runtime``, ``iterations``, ``runtime_quantile``, ``iterations_quantile``
            Means and quantiles of the cells with an estimate. A runtime is a share of the time of
            a batch; for the latency of a realization alone see `latencies`.

        All intervals are of 95 % confidence.

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
    values = results[measure].where(good)
    found = over_realizations(
        _statistics_of_power if is_power(measure) else _statistics,
        values,
        dimension="statistic",
        labels=(*STATISTICS, *map(str, QUANTILES)),
    )
    used = found.sel(statistic="used", drop=True)
    variables = {name: found.sel(statistic=name, drop=True) for name in STATISTICS}
    variables |= {
        "quantiles": _as_quantiles(found.isel(statistic=slice(len(STATISTICS), None))),
        "dominated": variables["dominated"] > 0,
        "used": used.astype(int),
        "cells": there.sum("realization"),
        "missing": not_run(results).sum("realization"),
        "failed": (there & ~good).sum("realization"),
        "unconverged": (there & (results.status == Status.MAX_ITERATIONS)).sum("realization"),
        "undefined": (good.sum("realization") - used).astype(int),
    }
    for name in ("runtime", "iterations"):
        spread = over_realizations(
            _mean_and_quantiles,
            results[name].where(good),
            dimension="statistic",
            labels=("mean", *map(str, QUANTILES)),
        )
        variables[name] = spread.sel(statistic="mean", drop=True)
        variables[f"{name}_quantile"] = _as_quantiles(spread.isel(statistic=slice(1, None)))
    about = {**results[measure].attrs, "measure": measure, "confidence": intervals.CONFIDENCE}
    summary = xr.Dataset(variables, attrs={**about, "cells": cells}).compute()
    return _described(summary, results, measure)


def _statistics(values: NDArray[Any]) -> NDArray[Any]:
    """The k values that `STATISTICS` and `QUANTILES` name, (…, n) -> (…, k); decibels are NaN."""
    undefined = np.full(values.shape[:-1], np.nan)
    return _stacked(values, (undefined, undefined, undefined))


def _statistics_of_power(values: NDArray[Any]) -> NDArray[Any]:
    """`_statistics` of a mean squared error, for which decibels make sense."""
    levels = intervals.to_db(values)
    odd = (np.isinf(levels) | (np.isnan(levels) & ~np.isnan(values))).any(axis=-1, keepdims=True)
    levels = np.where(odd, np.nan, levels)
    return _stacked(values, (intervals.mean(levels), *intervals.t_interval(levels)))


def _stacked(values: NDArray[Any], decibels: tuple[Any, Any, Any]) -> NDArray[Any]:
    ordered = np.sort(values)  # once; sorting it again is cheap
    middle, *spread = np.moveaxis(intervals.quantiles(ordered, (0.5, *QUANTILES)), -1, 0)
    found = (
        intervals.mean(values),
        intervals.standard_error(values),
        *intervals.mean_interval(values),
        middle,
        *intervals.median_interval(ordered),
        *decibels,
        intervals.count(values),
        intervals.dominated(ordered),
        *spread,
    )
    return np.stack(np.broadcast_arrays(*found), axis=-1).astype(float)


def _mean_and_quantiles(values: NDArray[Any]) -> NDArray[Any]:
    spread = intervals.quantiles(values, QUANTILES)
    return np.concatenate([intervals.mean(values)[..., np.newaxis], spread], axis=-1)


def _as_quantiles(found: xr.DataArray) -> xr.DataArray:
    return found.rename(statistic="quantile").assign_coords(quantile=list(QUANTILES))


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
    """Means of some measures over their finished cells, and standard errors as ``NAME_se``."""
    check(results, *measures)
    good = finished(results)
    found = {}
    for name in measures:
        both = over_realizations(
            lambda v: np.stack([intervals.mean(v), intervals.standard_error(v)], axis=-1),
            results[name].where(good),
            dimension="statistic",
            labels=("mean", "se"),
        )
        found[name] = both.sel(statistic="mean", drop=True)
        found[f"{name}_se"] = both.sel(statistic="se", drop=True)
    return xr.Dataset(found).compute()


def has_gaps(results: xr.Dataset, measure: str) -> bool:
    """Whether solvers have cells at some point that not all of them have finished."""
    check(results, measure)
    return bool((usable(results, measure) & ~common(results, measure)).any().compute())


RANKINGS_SHOWN = 10


class Ranking(NamedTuple):
    """A point where the order of the solvers depends on which cells are looked at.

    Attributes
    ----------
    point : dict
        Values of the swept parameters.
    statistic : str
        ``median`` or ``mean``: what the solvers were ordered by.
    all, common : list of str
        Solvers, best first, over their own cells and over the common ones.
    """

    point: dict[str, Any]
    statistic: str
    all: list[str]
    common: list[str]


def changed_rankings(everything: xr.Dataset, shared: xr.Dataset) -> list[Ranking]:
    """Points where the ranking over common cells is another than over all.

    Parameters
    ----------
    everything, shared
        Summaries from `summarize` with ``cells="all"`` and with ``cells="common"``.
    """
    found = []
    sign = -1.0 if everything.attrs.get("better") == "higher" else 1.0
    solvers = everything.solver.values
    for name in ("median", "mean"):
        points = everything[name].isel(solver=0, drop=True)
        a, b = (
            sign * one[name].transpose("solver", ...).values.reshape(len(solvers), -1)
            for one in (everything, shared)
        )
        unknown = np.isnan(a) | np.isnan(b)
        orders = [np.argsort(np.where(unknown, np.nan, v), axis=0, kind="stable") for v in (a, b)]
        for number in np.flatnonzero((orders[0] != orders[1]).any(axis=0)):
            place = np.unravel_index(number, points.shape)
            known = len(solvers) - np.count_nonzero(unknown[:, number])
            names = [[str(solvers[i]) for i in order[:known, number]] for order in orders]
            at = {
                str(d): json_scalar(points[d].values[i])
                for d, i in zip(points.dims, place, strict=True)
                if d in points.coords
            }
            found.append(Ranking(at, name, *names))
    return found


def ranking_lines(everything: xr.Dataset, shared: xr.Dataset) -> list[str]:
    """Lines that say where the ranking over the common cells differs; see `changed_rankings`."""
    changes = changed_rankings(everything, shared)
    if not changes:
        return ["All cells and the common ones rank the solvers alike, at every point."]
    lines = []
    for change in changes[:RANKINGS_SHOWN]:
        where = ", ".join(f"{k} = {v}" for k, v in change.point.items()) or "the only point"
        lines.append(
            f"Ranking by the {change.statistic} differs at {where}: {', '.join(change.all)} "
            f"over all cells; {', '.join(change.common)} over the common ones (best first)."
        )
    if len(changes) > RANKINGS_SHOWN:
        lines.append(f"So it does at {len(changes) - RANKINGS_SHOWN} more; --json names them.")
    return lines


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
    found = over_realizations(statistics, results.latency, dimension="statistic", labels=names)
    variables = {name: found.sel(statistic=name, drop=True) for name in names}
    variables["timed"] = variables["timed"].astype(int)
    if "peak_memory" in results:
        variables["peak_memory"] = results.peak_memory
    order = ("timing_host", "solver", *axes_of(results))
    return xr.Dataset(variables).transpose(*order, ...).compute()
