"""The outcome of a batch of realizations: drawn, solved and scored, with failures as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.campaign.blocks import Block, SolvableConfiguration
from pipeline.errors import in_one_line
from pipeline.scenarios import Scenario, Truth
from pipeline.solving import clock, estimates, provenance
from pipeline.solving.contract import REPORTED_KINDS, BrokenContract, check_estimate, scores_of
from pipeline.store.block_file import BlockData
from solvers import Estimate, Problem, Status, Trace

Columns = dict[str, NDArray[Any]]

FIXED_FIELDS = (
    ("runtime", "f8"),
    ("iterations", "i4"),
    ("inner_iterations", "i4"),
    ("noise_var", "f8"),
    ("signal_energy", "f8"),
    ("status", "u1"),
    ("inner_capped", "?"),
)
TRACES = ("cost", "change", "nmse")

ATTEMPTS = 2
"""Attempts on a single realization that must end its worker, or take too long, before it is given
up. Each is made on as many workers as the scheduler allows."""

NOT_FINITE = "x holds NaN or infinite values"


class OverTime(Exception):
    """A batch has used up the time of its realizations."""


class Failure(NamedTuple):
    """Why a realization has no result."""

    status: Status
    message: str


class RowClock:
    """A watch that shares the time of each iteration among the rows still running.

    The rows' shares add up to the time from `start` to `stop`. Time spent in the callback
    `then` is not counted, nor is time in which the process was stopped; see `clock`.

    Parameters
    ----------
    batch : int
    then : watch, optional
        Called after the time has been taken.
    limit : float, optional
        Seconds per row; past it the clock raises `OverTime`.
    """

    def __init__(self, batch: int, then: Any = None, limit: float | None = None) -> None:
        self.seconds = np.zeros(batch)
        self._then, self._limit = then, limit
        self._now = clock.of_process()
        self._since = 0.0

    def start(self) -> None:
        """Begin to count."""
        self._since = self._now()

    def __call__(self, iteration: int, rows: NDArray[Any], state: Any) -> None:
        """Share what has passed among `rows`."""
        self.seconds[rows] += (self._now() - self._since) / len(rows)
        if self._limit is not None and self.seconds.mean() > self._limit:
            raise OverTime(f"more than {self._limit:g} s per realization, at iteration {iteration}")
        if self._then is not None:
            self._then(iteration, rows, state)
        self._since = self._now()

    def stop(self) -> None:
        """Share the rest among all rows."""
        self.seconds += (self._now() - self._since) / len(self.seconds)


@dataclass(frozen=True)
class Outcome:
    """Result of some realizations.

    Attributes
    ----------
    columns : dict of arrays (B,) or (B, k)
        Variables of the cells.
    failures : dict
        Message to count.
    estimates : list of (rows, Estimate)
        Of the rows that have one, as they were solved together.
    """

    columns: Columns
    failures: Mapping[str, int] = field(default_factory=dict)
    estimates: Sequence[tuple[NDArray[np.intp], Estimate]] = ()


def nmse_watch(scenario: Scenario[Any], problem: Problem, truth: Truth) -> Trace:
    """A trace whose NMSE is the scenario's own, so that it ends where the score begins."""

    def nmse(rows: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
        if len(rows) == problem.batch:
            return scenario.nmse(truth, problem, x)
        return scenario.nmse(truth.take(rows), problem.take(rows), x)

    return Trace(nmse=nmse, batch=problem.batch)


def _solve(
    configuration: SolvableConfiguration, realizations: Sequence[int], limit: float | None
) -> Outcome:
    """Draw, solve and score a batch; raises whatever the solver or the scenario raises."""
    scenario = configuration.scenario
    problem, truth = configuration.draw(realizations)
    trace = nmse_watch(scenario, problem, truth) if configuration.trace else None
    clock = RowClock(problem.batch, trace, limit)
    clock.start()
    estimate = configuration.solve(problem, clock)
    clock.stop()
    check_estimate(problem, estimate, diagnostics_of(configuration))
    columns = scores_of(scenario, truth, problem, estimate)
    columns |= {name: np.asarray(v, float) for name, v in estimate.diagnostics.items()}
    noise_var = estimate.noise_var
    columns |= {
        "runtime": clock.seconds,
        "noise_var": np.full(problem.batch, np.nan) if noise_var is None else noise_var,
        "signal_energy": np.asarray(scenario.signal_energy(truth, problem), float),
        **{name: getattr(estimate, name) for name in REPORTED_KINDS},
    }
    if trace is not None:
        columns |= {f"trace_{name}": getattr(trace, name) for name in TRACES}
    not_finite = np.zeros(problem.batch, bool)
    if estimate.x is not None:
        good = ~np.isin(columns["status"], Status.values("failed"))
        not_finite = good & ~np.isfinite(estimate.x.reshape(problem.batch, -1)).all(axis=1)
    columns["status"] = np.where(not_finite, Status.NOT_FINITE, columns["status"])
    failures = {NOT_FINITE: int(not_finite.sum())} if not_finite.any() else {}
    return Outcome(columns, failures, [(np.arange(problem.batch), estimate)])


def diagnostics_of(configuration: SolvableConfiguration) -> Sequence[str]:
    """Names of what a solver reports beside its estimate; third parties' may declare nothing."""
    return list(getattr(configuration.solver, "diagnostics", {}))


def _failure(error: BaseException) -> Failure:
    """The failure that an exception stands for, of a single realization."""
    status = Status.RAISED
    if isinstance(error, BrokenContract):
        status = Status.BROKE_CONTRACT
    elif isinstance(error, OverTime):
        status = Status.TIME_LIMIT
    return Failure(status, in_one_line(error))


def _lost(configuration: SolvableConfiguration, failure: Failure) -> Outcome:
    """The outcome of a single realization that has no result."""
    nan = (*configuration.scenario.measures, *diagnostics_of(configuration))
    columns: Columns = {
        name: np.full(1, np.nan) for name in (*nan, "runtime", "noise_var", "signal_energy")
    }
    for name in ("iterations", "inner_iterations", "inner_capped"):
        columns[name] = np.zeros(1, int)
    if configuration.trace:
        columns |= {f"trace_{name}": np.full((1, 0), np.nan) for name in TRACES}
    return Outcome(columns | {"status": np.full(1, failure.status)}, {failure.message: 1})


def outcome(
    configuration: SolvableConfiguration,
    realizations: Sequence[int],
    limit: float | None = None,
    excluded: Mapping[int, Failure] = MappingProxyType({}),
) -> Outcome:
    """Solve and score some realizations; what fails is data.

    Parameters
    ----------
    configuration
        What to solve.
    realizations
        Their numbers.
    limit
        Seconds per realization.
    excluded
        Realizations not to touch, and why.
    """
    rows = [row for row, r in enumerate(realizations) if r not in excluded]
    parts = _attempt(configuration, realizations, rows, limit)
    parts += [
        ([row], _lost(configuration, excluded[r]))
        for row, r in enumerate(realizations)
        if r in excluded
    ]
    return parts[0][1] if len(parts) == 1 else _joined(parts)


Parts = list[tuple[list[int], Outcome]]


def _attempt(
    configuration: SolvableConfiguration,
    realizations: Sequence[int],
    rows: list[int],
    limit: float | None,
    tries: int = ATTEMPTS,
) -> Parts:
    """Outcomes with their rows: of one batch, or, where it fails as a whole, of each row alone.

    So only the realizations at fault are lost. One over its time gets another try: it may have
    been the machine's fault.
    """
    if not rows:
        return []
    try:
        return [(rows, _solve(configuration, [realizations[row] for row in rows], limit))]
    except (Exception, SystemExit) as error:  # a solver may raise anything; that is data
        if len(rows) == 1 and not (isinstance(error, OverTime) and tries > 1):
            return [(rows, _lost(configuration, _failure(error)))]
    left = tries - (len(rows) == 1)
    again = (_attempt(configuration, realizations, [row], limit, left) for row in rows)
    return [part for parts in again for part in parts]


def _joined(parts: Parts) -> Outcome:
    """Outcomes of several batches in the order of their rows, short traces padded with NaN."""
    order = np.argsort([row for rows, _ in parts for row in rows])
    columns: Columns = {}
    for name in parts[0][1].columns:
        arrays = [part.columns[name] for _, part in parts]
        depth = max(a.ndim for a in arrays)
        arrays = [a.reshape(*a.shape, *[1] * (depth - a.ndim)) for a in arrays]
        width = max(a.shape[-1] for a in arrays)
        if depth > 1:
            arrays = [
                np.pad(a, [(0, 0), (0, width - a.shape[-1])], constant_values=np.nan)
                for a in arrays
            ]
        columns[name] = np.concatenate(arrays)[order]
    failures = Counter[str]()
    for _, part in parts:
        failures.update(part.failures)
    kept = [(np.array(rows)[at], e) for rows, part in parts for at, e in part.estimates]
    return Outcome(columns, dict(failures), kept)


def cells_of(columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Columns as one structured array, (B,), in the types that they are stored in."""
    fixed = dict(FIXED_FIELDS)
    fields = [
        (name, fixed.get(name, "f4" if name.startswith("trace_") else "f8"), values.shape[1:])
        for name, values in columns.items()
    ]
    cells = np.zeros(len(columns["status"]), fields)
    for name, values in columns.items():
        cells[name] = values
    return cells


def solve_block(
    block: Block,
    limit: float | None = None,
    excluded: Mapping[int, Failure] = MappingProxyType({}),
) -> BlockData:
    """Everything there is to know about one block; see `outcome`."""
    now, configuration = clock.of_process(), block.configuration
    start, paused = now(), now.paused
    found = outcome(configuration, block.realizations, limit, excluded)
    times = {"elapsed": now() - start, "paused": now.paused - paused}
    meta = {**provenance.of_process(), **times, "failures": dict(found.failures)}
    kept = None
    if configuration.keeps_estimates:
        kept = estimates.pack(found.estimates, configuration.batch)
    return BlockData(cells_of(found.columns), meta, kept)
