"""The outcome of a batch of realizations: drawn, solved and scored, with failures as data."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.campaign.blocks import Block, SolvableConfiguration
from pipeline.errors import in_one_line
from pipeline.scenarios import Scenario, Truth
from pipeline.solving import clock, estimates, provenance
from pipeline.solving.contract import REPORTED_KINDS, BrokenContract, check_estimate, scores_of
from pipeline.solving.device import CPU, Declined, Device, ran_out_of_memory
from pipeline.solving.trying import fit_at_most, fitted
from pipeline.store.block_file import BlockData
from solvers import Estimate, Problem, Status, Trace
from solvers.arrays import host

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
        running = host(rows)  # which also waits until another device has got so far
        self.seconds[running] += (self._now() - self._since) / len(running)
        if self._limit is not None and self.seconds.mean() > self._limit:
            raise OverTime(f"more than {self._limit:g} s per realization, at iteration {iteration}")
        if self._then is not None:
            self._then(iteration, rows, state)
        self._since = self._now()

    def stop(self) -> None:
        """Share the rest among all rows."""
        self.seconds += (self._now() - self._since) / len(self.seconds)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of some realizations.

    Attributes
    ----------
    columns : dict of arrays (B,) or (B, k)
        Variables of the cells.
    failures : dict
        Messages of the rows that failed, by row.
    estimates : list of (rows, Estimate)
        Of the rows that have one, as they were solved together.
    device : Device
        Where they were solved.
    """

    columns: Columns
    failures: Mapping[int, str] = dataclasses.field(default_factory=dict)
    estimates: Sequence[tuple[NDArray[np.intp], Estimate]] = ()
    device: Device = CPU


def nmse_watch(scenario: Scenario[Any], problem: Problem, truth: Truth) -> Trace:
    """A trace whose NMSE is the scenario's own, so that it ends where the score begins."""

    def nmse(rows: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
        if len(rows) == problem.batch:
            return scenario.nmse(truth, problem, x)
        return scenario.nmse(truth.take(rows), problem.take(rows), x)

    return Trace(nmse=nmse, batch=problem.batch)


Drawn = tuple[Problem, Truth]


def _solve(
    configuration: SolvableConfiguration, drawn: Drawn, limit: float | None, device: Device
) -> Outcome:
    """Solve and score a batch; raises whatever the solver or the scenario raises."""
    scenario, (problem, truth) = configuration.scenario, drawn
    trace = nmse_watch(scenario, problem, truth) if configuration.trace else None
    clock = RowClock(problem.batch, trace, limit)
    clock.start()
    estimate = device.solve(configuration, problem, clock)
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
    failures = dict.fromkeys(np.flatnonzero(not_finite).tolist(), NOT_FINITE)
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
    return Outcome(columns | {"status": np.full(1, failure.status)}, {0: failure.message})


Parts = list[tuple[list[int], Outcome]]


def outcome(
    configuration: SolvableConfiguration,
    realizations: Sequence[int],
    limit: float | None = None,
    excluded: Mapping[int, Failure] = MappingProxyType({}),
    device: Device = CPU,
    drawn: Drawn | None = None,
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
    device
        Where to solve; where the solver declines, it is done on the processor.
    drawn
        Problem and truth of all of them, if they have been drawn already.

    Notes
    -----
    Where a batch fails as a whole, that of one block is tried row by row, so that only the
    realizations at fault are lost; a larger one, or one that takes too much of a device's memory,
    half by half. One over its time gets another try: it may have been the machine's fault.
    """
    size = configuration.batch

    def attempt(rows: list[int], tries: int = ATTEMPTS) -> Parts:
        nonlocal device
        if not rows:
            return []
        try:
            if device is not CPU and len(rows) > 1:
                most = fitted(configuration, realizations[rows[0]])
                if len(rows) > most:
                    return pieces(rows, most, tries)
            part = drawn
            if part is None or len(rows) < len(realizations):
                part = configuration.draw([realizations[row] for row in rows])
            return [(rows, _solve(configuration, part, limit, device))]
        except Declined:
            device = CPU
            return pieces(rows, size, tries)  # to the bit what blocks are
        except (Exception, SystemExit) as error:  # a solver may raise anything; that is data
            too_large = device is not CPU and ran_out_of_memory(error)
            if len(rows) == 1 and not (isinstance(error, OverTime) and tries > 1):
                return [(rows, _lost(configuration, _failure(error)))]
        unit = size if len(rows) > size else 1  # whole blocks, as far as there are some
        step = -(-len(rows) // (2 * unit)) * unit if too_large or unit > 1 else 1
        if too_large:
            device.let_go()
            fit_at_most(configuration, step, realizations[rows[0]])
        return pieces(rows, step, tries - (len(rows) == 1))

    def pieces(rows: list[int], step: int, tries: int) -> Parts:
        cuts = range(0, len(rows), step)
        return [part for at in cuts for part in attempt(rows[at : at + step], tries)]

    parts = attempt([row for row, r in enumerate(realizations) if r not in excluded])
    parts += [
        ([row], _lost(configuration, excluded[r]))
        for row, r in enumerate(realizations)
        if r in excluded
    ]
    return dataclasses.replace(parts[0][1] if len(parts) == 1 else _joined(parts), device=device)


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
    failures = {rows[at]: why for rows, part in parts for at, why in part.failures.items()}
    kept = [(np.array(rows)[at], e) for rows, part in parts for at, e in part.estimates]
    return Outcome(columns, failures, kept)


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
    return solve_blocks([block], limit, excluded)[0]


def solve_blocks(
    blocks: Sequence[Block],
    limit: float | None = None,
    excluded: Mapping[int, Failure] = MappingProxyType({}),
    device: Device = CPU,
    drawn: Drawn | None = None,
) -> list[BlockData]:
    """Everything there is to know about blocks of one configuration, solved as one batch.

    See `outcome`. The time that was not a realization's is shared evenly among them.
    """
    now, configuration, size = clock.of_process(), blocks[0].configuration, len(blocks)
    start, paused = now(), now.paused
    realizations = [r for block in blocks for r in block.realizations]
    found = outcome(configuration, realizations, limit, excluded, device, drawn)
    times = {"elapsed": (now() - start) / size, "paused": (now.paused - paused) / size}
    about = {**provenance.of_process(found.device), **times}
    blocks_data = []
    for part in [found] if size == 1 else _split(found, configuration.batch):
        kept = None
        if configuration.keeps_estimates:
            kept = estimates.pack(part.estimates, configuration.batch)
        meta = {**about, "failures": dict(Counter(part.failures.values()))}
        blocks_data.append(BlockData(cells_of(part.columns), meta, kept))
    return blocks_data


def _split(found: Outcome, size: int) -> list[Outcome]:
    """Outcomes of so many rows each."""
    parts = []
    for first in range(0, len(found.columns["status"]), size):
        columns = {name: values[first : first + size] for name, values in found.columns.items()}
        traces = {name: t for name, t in columns.items() if name.startswith("trace_")}
        told = [np.flatnonzero(~np.isnan(t).all(axis=0)) for t in traces.values()]
        width = int(max((at[-1] + 1 for at in told if len(at)), default=0))
        columns |= {name: t[:, :width] for name, t in traces.items()}  # others went on for longer
        failures = {r - first: why for r, why in found.failures.items() if 0 <= r - first < size}
        inside = [(rows, (rows >= first) & (rows < first + size), e) for rows, e in found.estimates]
        kept = [
            (rows[at] - first, e.take(np.flatnonzero(at))) for rows, at, e in inside if at.any()
        ]
        parts.append(Outcome(columns, failures, kept))
    return parts
