"""The axes and measures of a cube, and the cells that count."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from pipeline.errors import InputError
from solvers import Status


def axes_of(results: xr.Dataset) -> list[str]:
    """Names of the swept dimensions of a cube."""
    return [str(d) for d in results.status.dims if d not in ("solver", "realization")]


def measures_of(results: xr.Dataset) -> list[str]:
    """Names of the measures in a cube."""
    return [str(name) for name, v in results.data_vars.items() if "better" in v.attrs]


def default_measure(results: xr.Dataset) -> str:
    """``nmse`` where the cube has it, its first measure otherwise."""
    known = measures_of(results)
    return "nmse" if "nmse" in known or not known else known[0]


def is_power(measure: str) -> bool:
    """Whether decibels make sense of a measure: mean squared errors, by their name."""
    return measure.endswith("mse")


def check(results: xr.Dataset, *measures: str) -> None:
    """Raise InputError where a dataset is no cube, holds no cells, or lacks a measure."""
    if "status" not in results or not {"solver", "realization"} <= set(results.status.dims):
        got = f"got {', '.join(map(str, results)) or 'nothing'}"
        if "status" in results:
            got = f"its dimensions are {', '.join(map(str, results.status.dims)) or 'none'}; one "
            got += 'value stays one where it is selected by a list, as in sel(solver=["svd"])'
        raise InputError(
            "not a result cube: expected a dataset with a status over solver and realization, "
            f"as pipeline.open_results gives it; {got}"
        )
    if results.status.size == 0:
        raise InputError(f"this cube holds no cells: its sizes are {dict(results.status.sizes)}")
    for measure in measures:
        reason = lacking(results, measure)
        if reason is not None:
            raise InputError(reason)


def lacking(results: xr.Dataset, measure: str) -> str | None:
    """A line that says that a cube lacks a measure, and which it has; None where it has it."""
    known = measures_of(results)
    if measure in known:
        return None
    return f"no measure {measure!r} in this cube; it has {', '.join(known) or 'none'}"


def ran(results: xr.Dataset) -> xr.DataArray:
    """True for the cells that have been run, well or not."""
    return results.status.isin(Status.values("ran"))


def finished(results: xr.Dataset) -> xr.DataArray:
    """True for the cells that have an estimate; it may not have converged."""
    return results.status.isin(Status.values("finished"))


def failed(results: xr.Dataset) -> xr.DataArray:
    """True for the cells that have been run and have no estimate to score."""
    return results.status.isin(Status.values("failed"))


def not_run(results: xr.Dataset) -> xr.DataArray:
    """True for the cells that are still to be run."""
    return (results.status == Status.NOT_RUN) & asked_for(results)


def asked_for(results: xr.Dataset) -> xr.DataArray:
    """True for the cells that were asked for: all, unless points stop by themselves."""
    if "asked" not in results:
        return xr.ones_like(results.status, bool)
    return (results.realization < results.asked) & (results.status >= 0)


def devices_of(results: xr.Dataset) -> list[str]:
    """Kinds of devices that cells of a cube were computed on."""
    known = results["device"].attrs.get("flag_meanings", "") if "device" in results else ""
    return str(known).split()[1:]  # the first stands for none


def runtimes(results: xr.Dataset) -> xr.DataArray:
    """Runtimes of the cells that have been run, which are never mixed between devices.

    NaN for a solver at a point of the grid of which cells were computed on several.
    """
    times = results.runtime.where(ran(results))
    if len(devices_of(results)) < 2:
        return times
    on = results.device.where(ran(results) & (results.device > 0))
    return times.where(~(on.max("realization") > on.min("realization")))


def usable(results: xr.Dataset, measure: str) -> xr.DataArray:
    """True for the cells that have an estimate and a value of a measure."""
    return finished(results) & results[measure].notnull()


def common(results: xr.Dataset, measure: str) -> xr.DataArray:
    """True for the realizations that every solver has finished, by grid point.

    Solvers that have finished nothing at a point have no say there, nor have bounds.
    """
    good = usable(results, measure)
    solvers = good.sel(solver=~is_kind(results, "bound"))
    return (solvers | ~solvers.any("realization")).all("solver") & solvers.any("solver")


def is_kind(results: xr.Dataset, *kinds: str) -> xr.DataArray:
    """True for the solvers of some kinds: "estimator", "oracle", "bound"."""
    known = json.loads(results.attrs.get("solvers", "{}"))
    found = [known.get(str(s), {}).get("kind", "estimator") in kinds for s in results.solver.values]
    return xr.DataArray(found, dims="solver", coords={"solver": results.solver})


def labels_of(results: xr.Dataset, *kinds: str) -> list[str]:
    """Labels of the solvers of some kinds."""
    return [str(s) for s in results.solver.values[is_kind(results, *kinds).values]]


def lower_is_better(measure: xr.DataArray) -> bool:
    """Whether a measure is an error, and not a rate of success."""
    return bool(measure.attrs.get("better", "lower") == "lower")


def limits_of(measure: xr.DataArray) -> tuple[float, float]:
    """The least and the largest value that a measure can take; infinite where none is known."""
    least, most = (measure.attrs.get(f"valid_{end}", np.nan) for end in ("min", "max"))
    return float(np.nan_to_num(least, nan=-np.inf)), float(np.nan_to_num(most, nan=np.inf))


def outcomes(results: xr.Dataset, measure: str) -> xr.DataArray:
    """A measure of every cell that has been run, failed ones being the worst that there can be.

    So statistics of their order, as medians, take no profit from failures. Bounds have no
    outcome: they hold for means.
    """
    values = results[measure]
    least, most = limits_of(values)
    counted = values.where(finished(results)).where(
        ~failed(results), most if lower_is_better(values) else least
    )
    return counted.where(~is_kind(results, "bound"))


def over_realizations(
    function: Callable[..., Any], *inputs: xr.DataArray, names: Sequence[str]
) -> xr.Dataset:
    """Apply a function of samples to every solver and point; lazily where the inputs are lazy.

    Parameters
    ----------
    function
        Takes one array (…, n) per input, gives (…, k).
    *inputs
        With a dimension ``realization``.
    names
        Of the k statistics that it gives, which become the variables of the dataset.
    """
    whole = [x.chunk(realization=-1) if x.chunks is not None else x for x in inputs]
    found: xr.DataArray = xr.apply_ufunc(
        function,
        *whole,
        input_core_dims=[["realization"]] * len(inputs),
        output_core_dims=[["statistic"]],
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": {"statistic": len(names)}},
        output_dtypes=[float],
    )
    return found.assign_coords(statistic=list(names)).to_dataset("statistic")


def json_scalar(value: Any) -> Any:
    """A scalar as JSON takes it: NaN is None, infinities are the words ``inf`` and ``-inf``."""
    found = np.asarray(value)[()]
    found = found.item() if hasattr(found, "item") else found
    if isinstance(found, float) and not math.isfinite(found):
        return None if math.isnan(found) else str(found)
    return found
