"""Statistics that mean little, since many of their realizations ended at a cap or not well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from pipeline.analysis.cells import axes_of, check, ran
from solvers import Status, endings

LEGEND = (
    f"more than {100 * endings.MOST:g} % of these realizations ended at a cap, collapsed or failed"
)


class Caveat(NamedTuple):
    """A solver whose statistics are to be read with care, and why.

    Attributes
    ----------
    solver : str
        Label.
    cells : int
        Its realizations that have been run, over the whole grid.
    endings : dict
        How many of them ended in ways that count, by the name of the status.
    iterations : list of int
        At how many iterations its caps ended it; the least and the most.
    points, doubtful : int
        Points of the grid at which it was run, and those at which too many ended so.
    sentence : str
        All that in words: ``am: 643 of 720 ended at 150 iterations``.
    """

    solver: str
    cells: int
    endings: dict[str, int]
    iterations: list[int]
    points: int
    doubtful: int
    sentence: str


def shares(results: xr.Dataset) -> xr.Dataset:
    """Share of cells with each status that needs care, per solver and point of the grid.

    Returns
    -------
    xarray.Dataset
        ``cells``, the realizations that have been run; ``number`` and ``share`` of them over the
        further dimension ``ending``, with the names of `solvers.Status`; and ``doubtful``, whether
        all these endings together are more than `solvers.endings.MOST`.
    """
    check(results)
    telling = endings.telling()
    number = xr.concat(
        [(results.status == status).sum("realization") for status in telling],
        xr.Variable("ending", [status.name.lower() for status in telling]),
        coords="minimal",
        compat="override",
    ).transpose(..., "ending")
    cells = ran(results).sum("realization")
    found = xr.Dataset({"cells": cells, "number": number}).compute()
    found["share"] = found.number / found.cells.where(found.cells > 0)
    found["doubtful"] = endings.is_worth_a_word(found.number.sum("ending"), found.cells)
    return found.drop_attrs(deep=False)


def doubtful(results: xr.Dataset, there: xr.DataArray) -> xr.DataArray:
    """Whether too many cells ended at a cap or failed, per solver and point; lazily.

    Parameters
    ----------
    results
    there
        The cells that a statistic is made of, or lacks since they failed.
    """
    telling = (there & results.status.isin(endings.telling())).sum("realization")
    return endings.is_worth_a_word(telling, there.sum("realization"))


def caveats(results: xr.Dataset) -> list[Caveat]:
    """Look for solvers whose statistics mean little at some point of the grid.

    Parameters
    ----------
    results
        A cube, finished or not.
    """
    found = shares(results)
    return [
        _caveat(results, str(label), found.sel(solver=label))
        for label in found.solver.values
        if bool(found.doubtful.sel(solver=label).any())
    ]


def _caveat(results: xr.Dataset, label: str, found: xr.Dataset) -> Caveat:
    totals = found.number.sum(axes_of(results))
    numbers = {str(name): int(n) for name, n in zip(found.ending.values, totals, strict=True) if n}
    points, marked = int((found.cells > 0).sum()), int(found.doubtful.sum())
    caps = _caps(results.sel(solver=label))
    said = endings.in_words(_by_status(numbers), int(found.cells.sum()), caps)
    where = f", more than {100 * endings.MOST:g} % of them at {marked} of {points} points"
    return Caveat(
        solver=label,
        cells=int(found.cells.sum()),
        endings=numbers,
        iterations=caps,
        points=points,
        doubtful=marked,
        sentence=f"{label}: {said}{where if marked < points else ''}",
    )


def _by_status(numbers: Mapping[str, int]) -> dict[Status, int]:
    return {Status[name.upper()]: number for name, number in numbers.items()}


def _caps(results: xr.Dataset) -> list[int]:
    """The least and the most iterations of realizations that ended at the maximum."""
    capped = results.iterations.where(results.status == Status.MAX_ITERATIONS)
    bounds: list[Any] = [capped.min().compute(), capped.max().compute()]
    return sorted({int(bound) for bound in bounds if not np.isnan(bound)})
