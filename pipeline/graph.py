"""The fan-out: tasks of a few seconds each, a bounded number of them in flight."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pipeline.blocks import Series
from pipeline.work import Report, Task, run_task

TASK_SECONDS = 10.0
SHORTEST_TASK_SECONDS = 0.2


class ClusterLost(Exception):
    """The cluster went away with work still in flight."""


@dataclasses.dataclass
class _Cost:
    """Measured seconds per block of one solver."""

    blocks: int = 0
    seconds: float = 0.0

    @property
    def per_block(self) -> float | None:
        return self.seconds / self.blocks if self.blocks else None


class Queue:
    """Blocks still to be done, handed out as tasks sized by what blocks have cost so far.

    Parameters
    ----------
    store : Path
    missing : iterable of (Series, list of int)
        Blocks to do, by series.
    threads : int
        Workers' threads, to size tasks so that all of them end together.

    Notes
    -----
    The first tasks of a solver are one block each. Once its cost is known, its tasks last about
    `TASK_SECONDS`, less towards the end; dear solvers go first, so that no worker idles while
    another still has a long task.
    """

    def __init__(
        self, store: Path, missing: Iterable[tuple[Series, list[int]]], threads: int
    ) -> None:
        self._store, self._threads = store, max(threads, 1)
        self._waiting: dict[str, list[tuple[Series, list[int]]]] = {}
        self._left: dict[str, int] = {}
        for series, indices in missing:
            if indices:
                self._waiting.setdefault(series.label, []).append((series, list(indices)))
                self._left[series.label] = self._left.get(series.label, 0) + len(indices)
        self._costs = {label: _Cost() for label in self._waiting}

    def _seconds_left(self) -> float:
        """Expected seconds of what is waiting, as far as costs are known."""
        return sum((self._costs[label].per_block or 0.0) * n for label, n in self._left.items())

    def _blocks_per_task(self, label: str) -> int:
        cost = self._costs[label].per_block
        if cost is None:
            return 1
        share = self._seconds_left() / (4 * self._threads)
        target = max(min(TASK_SECONDS, share), SHORTEST_TASK_SECONDS)
        return max(int(target / max(cost, 1e-6)), 1)

    def next(self) -> Task | None:
        """The next task, or None when nothing is waiting."""
        open_labels = [label for label, n in self._left.items() if n]
        if not open_labels:
            return None
        label = max(open_labels, key=lambda name: self._costs[name].per_block or float("inf"))
        series, indices = self._waiting[label][-1]
        count = min(self._blocks_per_task(label), len(indices))
        taken, indices[:count] = tuple(indices[:count]), []
        if not indices:
            self._waiting[label].pop()
        else:  # let the solver's points take turns, so that its cost is that of a mixture
            self._waiting[label].insert(0, self._waiting[label].pop())
        self._left[label] -= count
        return Task(self._store, series, taken)

    def done(self, task: Task, report: Report) -> None:
        """Learn from a finished task."""
        cost = self._costs[task.series.label]
        cost.blocks += report.blocks
        cost.seconds += report.seconds


def fan_out(client: Any, queue: Queue, on_report: Callable[[Report], None]) -> None:
    """Run every task of the queue.

    Parameters
    ----------
    client : distributed.Client
    queue
        Where tasks come from.
    on_report
        Called with the report of every finished task.

    Raises
    ------
    ClusterLost
        The cluster was lost; what had finished is stored.
    OSError
        A worker could not write a block (disk full, say).
    """
    from distributed import as_completed

    threads = sum(client.nthreads().values())
    bound = max(32, 3 * threads)
    in_flight: dict[Any, Task] = {}
    completed = as_completed()

    def refill() -> None:
        while len(in_flight) < bound and (task := queue.next()) is not None:
            future = client.submit(run_task, task, pure=False)
            in_flight[future] = task
            completed.add(future)

    refill()
    for future in completed:
        task = in_flight.pop(future)
        if future.status != "finished":
            # A scheduler that dies leaves its futures cancelled, without an exception.
            error = future.exception() if future.status == "error" else None
            raise error or ClusterLost(
                f"task of {task.series.describe()} came back {future.status}"
            )
        report = future.result()
        future.release()
        queue.done(task, report)
        on_report(report)
        refill()
