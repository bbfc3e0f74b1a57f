"""What comes of a batch of realizations: drawn, solved and scored, with failures as data."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.campaign.blocks import Block, Series
from pipeline.errors import in_one_line
from pipeline.scenarios import Truth
from pipeline.solving import provenance
from pipeline.solving.contract import REPORTED_KINDS, BrokenContract, check_estimate, figures_of
from pipeline.store.folder import BlockData
from solvers import Problem, Status, Trace

FIXED_FIELDS = (
    ("runtime", "f8"),
    ("iterations", "i4"),
    ("inner_iterations", "i4"),
    ("noise_var", "f8"),
    ("status", "u1"),
    ("inner_capped", "?"),
)
TRACES = ("cost", "change", "nmse")

NOT_FINITE = "x holds NaN or infinite values"


class OverTime(Exception):
    """A batch has used up the time of its realizations."""


class Failure(NamedTuple):
    """Why a realization has no result."""

    status: Status
    message: str


class RowClock:
    """A watch that shares the time of each iteration among the rows still running.

    The rows' shares add up to the time from `start` to `stop`. Time spent in `then`, which looks
    at the state, is nobody's.

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
        self._since = 0.0

    def start(self) -> None:
        """Begin to count."""
        self._since = time.perf_counter()

    def __call__(self, iteration: int, rows: NDArray[Any], state: Any) -> None:
        """Share what has passed among `rows`."""
        self.seconds[rows] += (time.perf_counter() - self._since) / len(rows)
        if self._limit is not None and self.seconds.mean() > self._limit:
            raise OverTime(f"more than {self._limit:g} s per realization, at iteration {iteration}")
        if self._then is not None:
            self._then(iteration, rows, state)
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Share the rest among all rows."""
        self.seconds += (time.perf_counter() - self._since) / len(self.seconds)


def _solve(
    series: Series, problem: Problem, truth: Truth, limit: float | None
) -> dict[str, NDArray[Any]]:
    """Solve and score a batch; raises whatever the solver or the scenario raises."""
    trace = Trace(truth.x) if series.trace else None
    clock = RowClock(problem.batch, trace, limit)
    clock.start()
    estimate = series.solver.solve(problem.seen_by(series.solver), watch=clock)
    clock.stop()
    check_estimate(problem, estimate)
    columns = figures_of(series.scenario, truth, problem, estimate)
    noise_var = estimate.noise_var
    columns |= {
        "runtime": clock.seconds,
        "noise_var": np.full(problem.batch, np.nan) if noise_var is None else noise_var,
        **{name: getattr(estimate, name) for name in REPORTED_KINDS},
    }
    if trace is not None:
        columns |= {f"trace_{name}": getattr(trace, name) for name in TRACES}
    assert estimate.x is not None  # `check_estimate` has looked
    finite = np.isfinite(estimate.x.reshape(problem.batch, -1)).all(axis=1)
    claimed = np.isin(columns["status"], Status.values("finished"))
    columns["status"] = np.where(claimed & ~finite, Status.NOT_FINITE, columns["status"])
    return columns


def _failure(error: BaseException) -> Failure:
    """What an exception means for a single realization."""
    status = Status.RAISED
    if isinstance(error, BrokenContract):
        status = Status.BROKE_CONTRACT
    elif isinstance(error, OverTime):
        status = Status.TIME_LIMIT
    return Failure(status, in_one_line(error))


def _without_result(series: Series, status: Status) -> dict[str, NDArray[Any]]:
    """Columns of a single realization that has none."""
    nan = (*series.scenario.measures, "runtime", "noise_var")
    columns: dict[str, NDArray[Any]] = {name: np.full(1, np.nan) for name in nan}
    for name in ("iterations", "inner_iterations", "inner_capped"):
        columns[name] = np.zeros(1, int)
    if series.trace:
        columns |= {f"trace_{name}": np.full((1, 0), np.nan) for name in TRACES}
    return columns | {"status": np.full(1, status)}


def _merged(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Columns of several batches below each other, short rows padded with NaN."""
    merged = {}
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        depth = max(a.ndim for a in arrays)
        arrays = [a.reshape(*a.shape, *[1] * (depth - a.ndim)) for a in arrays]
        width = max(a.shape[-1] for a in arrays)
        if depth > 1:
            arrays = [
                np.pad(a, [(0, 0), (0, width - a.shape[-1])], constant_values=np.nan)
                for a in arrays
            ]
        merged[name] = np.concatenate(arrays)
    return merged


def outcome(
    series: Series,
    realizations: Sequence[int],
    limit: float | None = None,
    condemned: Mapping[int, Failure] = MappingProxyType({}),
) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
    """Figures of some realizations, and how often which failure happened.

    A batch that fails as a whole is tried again one realization at a time, so that only the
    culprits are lost.

    Parameters
    ----------
    series
        What to solve.
    realizations
        Their numbers.
    limit
        Seconds per realization.
    condemned
        Realizations not to touch, and why.

    Returns
    -------
    columns : dict of arrays (B,) or (B, k)
    failures : dict
        Message to count.
    """
    if condemned.keys() & set(realizations):
        return _around(series, realizations, limit, condemned)
    try:
        problem, truth = series.scenario.draw(realizations, series.seed)
        columns = _solve(series, problem, truth, limit)
    except (Exception, SystemExit) as error:  # a solver may raise anything; that is data
        if len(realizations) == 1:
            failure = _failure(error)
            return _without_result(series, failure.status), {failure.message: 1}
    else:
        count = int((columns["status"] == Status.NOT_FINITE).sum())
        return columns, {NOT_FINITE: count} if count else {}
    return _joined([outcome(series, [realization], limit) for realization in realizations])


def _joined(
    parts: Sequence[tuple[dict[str, NDArray[Any]], dict[str, int]]],
) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
    failures = Counter[str]()
    for _, messages in parts:
        failures.update(messages)
    return _merged([columns for columns, _ in parts]), dict(failures)


def _around(
    series: Series,
    realizations: Sequence[int],
    limit: float | None,
    condemned: Mapping[int, Failure],
) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
    """`outcome` of the realizations that are not condemned, in one batch, with the others."""
    sound = [r for r in realizations if r not in condemned]
    lost = [r for r in realizations if r in condemned]
    parts = [outcome(series, sound, limit)] if sound else []
    parts += [
        (_without_result(series, condemned[r].status), {condemned[r].message: 1}) for r in lost
    ]
    columns, failures = _joined(parts)
    order = np.argsort([*sound, *lost], kind="stable")
    return {name: values[order] for name, values in columns.items()}, failures


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
    condemned: Mapping[int, Failure] = MappingProxyType({}),
) -> BlockData:
    """Everything there is to know about one block; see `outcome`."""
    about = provenance.of_process()
    start = time.perf_counter()
    realizations = block.series.realizations(block.index)
    columns, failures = outcome(block.series, realizations, limit, condemned)
    meta = {**about, "elapsed": time.perf_counter() - start, "failures": failures}
    return BlockData(cells_of(columns), meta)
