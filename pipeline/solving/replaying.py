"""One cell of a store solved again, with its trace, to be looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.campaign import Campaign
from pipeline.campaign.blocks import Block, Series, series_of
from pipeline.errors import InputError
from pipeline.scenarios import Truth
from pipeline.solving import process
from pipeline.solving.contract import check_estimate
from pipeline.solving.outcome import outcome
from pipeline.store.folder import DamagedBlock, Store
from solvers import Estimate, Problem, Status, Trace
from solvers.registry import suggest


@dataclasses.dataclass(frozen=True)
class Replay:
    """A cell, solved again.

    Attributes
    ----------
    solver : str
        Label.
    point : dict
        Swept parameters.
    realization : int
    problem, truth, estimate
        Of that realization alone: batches of one.
    trace : Trace
        Cost, change and NMSE of x per iteration.
    figures : dict
        Measures, iterations and status now.
    stored : dict or None
        The same as found in the store, or None where the cell has not been run.
    """

    solver: str
    point: Mapping[str, Any]
    realization: int
    problem: Problem
    truth: Truth
    estimate: Estimate
    trace: Trace
    figures: dict[str, Any]
    stored: dict[str, Any] | None


def replay(store: str | Path | Store, solver: str, realization: int, **point: Any) -> Replay:
    """Solve one cell of a store again.

    Parameters
    ----------
    store
    solver
        Label, as on the cube's solver axis.
    realization
        Number of the realization.
    **point
        One value for each swept dimension, by its name in the cube.

    Returns
    -------
    Replay

    Raises
    ------
    InputError
        No such solver, point or realization in what the store was asked for.
    BrokenContract
        What the solver returns is no estimate of the problem.
    Exception
        Whatever the solver or the scenario raises.

    Notes
    -----
    The realization is solved alone, so that its numbers agree with the stored ones, which come
    from a batch, to rounding (1e-10).

    Examples
    --------
    ``pipeline.replay("results/quickstart", "am", 17, snr_db=20).trace.nmse``
    """
    store = store if isinstance(store, Store) else Store.open(store)
    campaign = store.last_request()
    if campaign is None:
        raise InputError(f"{store.path}: no run has asked for anything yet")
    series = _find(campaign, solver, point)
    if not 0 <= realization < campaign.campaign.realizations:
        last = campaign.campaign.realizations - 1
        raise InputError(f"realization {realization}: the store has 0 to {last}")
    problem, truth = series.scenario.draw([realization], series.seed)
    trace = Trace(truth.x)
    process.prepare()
    estimate = series.solver.solve(problem.seen_by(series.solver), watch=trace)
    check_estimate(problem, estimate)
    columns, _ = outcome(dataclasses.replace(series, trace=False), [realization])
    names = [*series.scenario.measures, "iterations", "inner_iterations", "noise_var", "status"]
    return Replay(
        solver=solver,
        point=series.point,
        realization=realization,
        problem=problem,
        truth=truth,
        estimate=estimate,
        trace=trace,
        figures={name: _plain(columns[name][0]) for name in names},
        stored=_stored(store, series, realization, names),
    )


def _find(campaign: Campaign, solver: str, point: Mapping[str, Any]) -> Series:
    labels = [entry.label for entry in campaign.entries]
    if solver not in labels:
        raise InputError(f"solver {solver!r}: not in the store; {suggest(solver, labels)}")
    dimensions = {axis.dimension: axis for axis in campaign.axes}
    for name in point:
        if name not in dimensions:
            raise InputError(f"{name}: not a swept dimension; {suggest(name, dimensions)}")
    for name, axis in dimensions.items():
        if name not in point:
            raise InputError(f"{name}: give a value, one of {list(axis.values)}")
        if point[name] not in axis.values:
            raise InputError(
                f"{name} = {point[name]!r}: not in the store, which has {list(axis.values)}"
            )
    wanted = {axis.key: point[name] for name, axis in dimensions.items()}
    return next(s for s in series_of(campaign) if s.label == solver and s.point == wanted)


def _stored(
    store: Store, series: Series, realization: int, names: list[str]
) -> dict[str, Any] | None:
    block = Block(series, realization // series.batch)
    try:
        cell = store.read(block).cells[realization % series.batch]
    except (FileNotFoundError, DamagedBlock):
        return None
    return {name: _plain(cell[name]) for name in names}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def text(result: Replay) -> str:
    """A replay as lines of text."""
    at = ", ".join(f"{key}={value}" for key, value in result.point.items())
    place = f"{result.solver}{f' at {at}' if at else ''}, realization {result.realization}"
    lines = [place, "", f"{'':18}{'now':>24}{'stored':>24}"]
    for name, value in result.figures.items():
        before = "–" if result.stored is None else _shown(name, result.stored[name])
        lines.append(f"{name:18}{_shown(name, value):>24}{before:>24}")
    assert result.estimate.x is not None
    x, found = result.truth.x[0], result.estimate.x[0]
    lines += [
        "",
        f"nonzeros of x: {np.count_nonzero(x)}, of the estimate above 1e-3 of its "
        f"largest: {int((np.abs(found) > 1e-3 * np.abs(found).max()).sum())}",
    ]
    count = result.trace.cost.shape[1]
    if count:
        lines += ["", f"{'iteration':>9}{'cost':>16}{'change':>12}{'NMSE of x':>12}"]
        shown = sorted({*(2**k for k in range(count.bit_length())), count})
        nmse = result.trace.nmse
        for k in (k for k in shown if k <= count):
            error = float("nan") if nmse is None else nmse[0, k - 1]
            cost, change = result.trace.cost[0, k - 1], result.trace.change[0, k - 1]
            lines.append(f"{k:9}{cost:16.6f}{change:12.3e}{error:12.3e}")
    return "\n".join(lines)


def _shown(name: str, value: Any) -> str:
    if name == "status":
        return Status(value).name.lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)
