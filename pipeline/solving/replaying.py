"""One cell of a store solved again, with its trace, to be looked at."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.campaign.axes import value_label
from pipeline.campaign.blocks import Configuration
from pipeline.campaign.request import Request
from pipeline.errors import InputError
from pipeline.html import Shown
from pipeline.scenarios import Truth
from pipeline.solving import process
from pipeline.solving.contract import check_estimate
from pipeline.solving.outcome import diagnostics_of, nmse_watch, outcome
from pipeline.solving.resolving import solvable
from pipeline.store import Store
from pipeline.store.block_file import DamagedBlock
from solvers import Estimate, IterationState, Problem, Trace
from solvers.registry import suggest


@dataclasses.dataclass(frozen=True)
class Replay(Shown):
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
        Cost, change and the scenario's NMSE per iteration.
    atoms : int array, (iterations,)
        Atoms of the dictionary whose variance is not 0 after each; empty where the solver tells of
        none. Where atoms are pruned, the cost may rise.
    objective : str
        What the cost is; empty where the solver has none.
    cell : dict
        Measures, iterations and status now.
    stored : dict or None
        The same as found in the store, or None where the cell has not been run.
    """

    solver: str
    point: Mapping[str, Any]
    realization: int
    problem: Problem = dataclasses.field(repr=False)
    truth: Truth = dataclasses.field(repr=False)
    estimate: Estimate = dataclasses.field(repr=False)
    trace: Trace = dataclasses.field(repr=False)
    atoms: NDArray[np.int64] = dataclasses.field(repr=False)
    objective: str
    cell: dict[str, Any]
    stored: dict[str, Any] | None

    @property
    def pruned(self) -> NDArray[np.int64]:
        """Iterations, from 1, in which atoms were pruned; what was pruned at once is in none."""
        return np.flatnonzero(np.diff(self.atoms) < 0) + 2


def replay(
    store: str | Path | Store, solver: str, realization: int, code: Path | None = None, **point: Any
) -> Replay:
    """Solve one cell of a store again.

    Parameters
    ----------
    store
    solver
        Label, as on the cube's solver axis.
    realization
        Number of the realization.
    code
        Folder of a solver or scenario named ``module:Class``; see `Store.allow_code`.
    **point
        One value for each swept dimension, by its name in the cube.

    Returns
    -------
    Replay

    Raises
    ------
    InputError
        No such solver, point or realization in what the store was asked for, or the solver or
        scenario is not to be had or may not run here, or the solver does not apply.
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
    store = Store.of(store)
    asked = store.asked()
    found = _find(asked, solver, point)
    if not 0 <= realization < asked.realizations:
        last = asked.realizations - 1
        raise InputError(f"realization {realization}: the store has 0 to {last}")
    if found.declined:
        raise InputError(f"{solver}: does not apply here, so no cell has numbers: {found.declined}")
    try:
        configuration = solvable(found, store.allow_code(code))
    except (ValueError, TypeError) as error:
        raise InputError(f"{solver}: {error}") from None
    problem, truth = configuration.draw([realization])
    trace = nmse_watch(configuration.scenario, problem, truth)
    atoms: list[int] = []

    def watch(iteration: int, rows: NDArray[Any], state: IterationState) -> None:
        trace(iteration, rows, state)
        if (gamma := state.gamma) is not None:
            parts = gamma if isinstance(gamma, tuple) else (gamma,)
            atoms.append(math.prod(int(np.count_nonzero(part)) for part in parts))

    process.prepare()
    estimate = configuration.solve(problem, watch)
    check_estimate(problem, estimate, diagnostics_of(configuration))
    columns = outcome(configuration, [realization]).columns
    names = [
        *configuration.scenario.measures,
        "iterations",
        "inner_iterations",
        "noise_var",
        "status",
    ]
    return Replay(
        solver=solver,
        point=configuration.point,
        realization=realization,
        problem=problem,
        truth=truth,
        estimate=estimate,
        trace=trace,
        atoms=np.array(atoms, int),
        objective=getattr(configuration.solver, "objective", ""),
        cell={name: _plain(columns[name][0]) for name in names},
        stored=_stored(store, found, realization, names),
    )


def _find(asked: Request, solver: str, point: Mapping[str, Any]) -> Configuration:
    labels = asked.labels
    if solver not in labels:
        raise InputError(f"solver {solver!r}: not in the store; {suggest(solver, labels)}")
    dimensions = {axis.dimension: axis for axis in asked.axes}
    point = {name: value_label(value) for name, value in point.items()}
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
    return next(s for s in asked.configurations if s.label == solver and s.point == wanted)


def _stored(
    store: Store, configuration: Configuration, realization: int, names: list[str]
) -> dict[str, Any] | None:
    index, row = divmod(realization, configuration.batch)
    try:
        cell = store.read(configuration, index).cells[row]
    except (FileNotFoundError, DamagedBlock):
        return None
    return {name: _plain(cell[name]) for name in names}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
