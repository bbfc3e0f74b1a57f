"""The realizations that went worst, with what is known of why, and how to see them again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis import describing
from pipeline.analysis.cells import (
    axes_of,
    check,
    is_power,
    json_scalar,
    labels_of,
    lower_is_better,
    outcomes,
)
from pipeline.analysis.intervals import to_db
from pipeline.errors import InputError
from solvers import Status, endings

UNTOLD = "it converged, and nothing that is stored tells more"


@dataclass(frozen=True)
class Worst:
    """A realization that went badly.

    Attributes
    ----------
    solver : str
    point : dict
        Values of the swept parameters by their dimensions.
    realization : int
    value : float
        The measure; where there is no estimate, the worst that it can be.
    against : float
        That of the other solver on the same realization; NaN without one.
    loss : float
        By how much it is worse: in dB for mean squared errors, in the measure's units otherwise.
        Without another solver, the value itself in these units, negative where more is better.
    words : str
        What went wrong, as far as status and measures tell.
    """

    solver: str
    point: dict[str, Any]
    realization: int
    value: float
    against: float
    loss: float
    words: str

    @property
    def options(self) -> str:
        """What ``kronsbl replay STORE`` takes to show this realization."""
        words = ["--solver", self.solver, "--realization", str(self.realization)]
        return shlex.join([*words, *describing.point_words(self.point)])

    def record(self) -> dict[str, Any]:
        """All of it as JSON takes it."""
        plain = {name: json_scalar(v) for name, v in vars(self).items() if name != "point"}
        point = {name: json_scalar(v) for name, v in self.point.items()}
        return {**plain, "point": point, "options": self.options}


def worst(
    results: xr.Dataset,
    solver: str,
    against: str | None = None,
    measure: str = "nmse",
    n: int = 10,
) -> list[Worst]:
    """Look for the realizations that a solver did worst on.

    Parameters
    ----------
    results
        A cube, or a part of one; it may be unfinished.
    solver
        Label.
    against
        Label of another solver, an oracle say: then those on which the solver is furthest behind
        it, so that problems which are hard for both do not come first.
    measure
        Name of a measure of the cube.
    n
        How many at most.

    Returns
    -------
    list of Worst
        The worst first; failed realizations are worse than any estimate.

    Raises
    ------
    InputError
        There is no such solver or measure, one is a bound, which holds for means, or the measure
        has several values per realization.
    """
    check(results, measure)
    known = labels_of(results, "estimator", "oracle")
    for label in (solver, *filter(None, [against])):
        if label in labels_of(results, "bound"):
            raise InputError(f"{label} is a bound, on means only: no realization is its worst")
        if label not in known:
            raise InputError(f"no solver {label!r} in this cube; it has {', '.join(known)}")
    if set(results[measure].dims) != set(results.status.dims):
        raise InputError(f"{measure} has several values per realization, none of them the worst")
    found = _losses(results, solver, against, measure).compute()
    losses = found.loss.values
    order = np.argsort(-losses, axis=None, kind="stable")  # NaN, of cells not run, come last
    order = order[: min(n, np.count_nonzero(~np.isnan(losses)))]
    names = [v for v in TOLD_BY if v in results] + ([measure] if measure not in TOLD_BY else [])
    worst_cells = []
    for place in zip(*np.unravel_index(order, losses.shape), strict=True):
        index: Any = dict(zip(found.loss.dims, place, strict=True))
        at, cells = found.isel(index), results[names].isel(index).compute()
        places = [str(k) for k in (*axes_of(results), *at.coords) if k != "realization"]
        words = list(_words(cells.sel(solver=solver), measure))
        other = "" if against is None else _ending(cells.sel(solver=against))
        worst_cells.append(
            Worst(
                solver=solver,
                point={name: at[name].item() for name in places},
                realization=int(at.realization),
                value=float(at.value),
                against=float(at.against),
                loss=float(at.loss),
                words="; ".join([*words, *([f"{against} {other}"] if other else [])]) or UNTOLD,
            )
        )
    return worst_cells


TOLD_BY = ("status", "iterations", "inner_capped", "recall", "precision", "srr")
"""Variables that tell what went wrong, as far as a cube has them."""


def _losses(results: xr.Dataset, solver: str, against: str | None, measure: str) -> xr.Dataset:
    """``value``, ``against`` and ``loss`` of every cell of a solver."""
    seen = outcomes(results.sel(solver=[solver, against or solver]), measure)
    seen = seen.transpose("solver", *axes_of(results), "realization")
    value, other = (seen.isel(solver=i, drop=True) for i in (0, 1))
    sign = 1 if lower_is_better(results[measure]) else -1
    scaled, base = (to_db(v) if is_power(measure) else v for v in (value, other))
    if against is None:
        other, loss = xr.full_like(other, np.nan), sign * scaled
    else:  # of two infinities, of failures, the difference is none
        loss = (sign * (scaled - base)).where(value != other, 0.0).where(other.notnull())
    return xr.Dataset({"value": value, "against": other, "loss": loss})


def _ending(cell: xr.Dataset) -> str:
    """How a cell ended, where that is worth a word."""
    status = Status(int(cell.status))
    if status == Status.MAX_ITERATIONS:
        return f"ended at its cap of {int(cell.iterations)} iterations"
    return endings.PHRASES.get(status, "")


def _words(cell: xr.Dataset, measure: str) -> Iterator[str]:
    """What status and measures tell of a cell that went wrong."""
    known = {str(name): float(value) for name, value in cell.data_vars.items() if value.ndim == 0}
    if _ending(cell):
        yield _ending(cell)
    if known.get("inner_capped"):
        yield "an inner loop ended at its cap"
    if known.get("recall", 1.0) < 1:
        yield f"missed {1 - known['recall']:.0%} of the support"
    if known.get("precision", 1.0) < 1:
        yield f"{1 - known['precision']:.0%} of the entries that it found are off the support"
    if not {"recall", "precision"} & known.keys() and known.get("srr", 1.0) < 1:
        yield f"support recovered to {known['srr']:.0%}"
    zero, value = cell[measure].attrs.get("zero_estimate", np.nan), known.get(measure, np.nan)
    if value >= zero if lower_is_better(cell[measure]) else value <= zero:
        yield "no better than an estimate of 0"
