"""The queue of blocks still to be done, handed out as tasks sized by measured cost."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping

from pipeline.campaign.blocks import Block, SolvableConfiguration
from pipeline.fanout.task import Task, TaskResult
from pipeline.store import Store

TASK_SECONDS = 10.0
SHORTEST_TASK_SECONDS = 0.2

_Waiting = tuple[float, int, SolvableConfiguration, list[int]]
"""Priority, place in the order of arrival, and blocks of a configuration."""


@dataclasses.dataclass
class _Cost:
    """Measured seconds per block of one solver."""

    blocks: int = 0
    seconds: float = 0.0

    @property
    def per_block(self) -> float | None:
        return self.seconds / self.blocks if self.blocks else None


class Queue:
    """Blocks still to be done, handed out as tasks.

    Parameters
    ----------
    store : Store
    missing : iterable of (SolvableConfiguration, list of int)
        Blocks to do, by configuration.
    threads : int
        Workers' threads, to size tasks so that all of them end together.
    limit : float, optional
        Seconds per realization, handed to the tasks.
    replace : bool
        Whether the blocks are there already and meant to be replaced.
    stop : str
        Name of what ends tasks once it is there; see `pipeline.fanout.task.Task`.
    ahead : callable, optional
        Gives a block that may be wanted later, for workers that would be idle.

    Notes
    -----
    The first tasks of a solver are one block each. Once its cost is known, its tasks last about
    `TASK_SECONDS`, less towards the end; dear solvers go first, so that no worker idles while
    another still has a long task.
    """

    def __init__(
        self,
        store: Store,
        missing: Iterable[tuple[SolvableConfiguration, list[int]]],
        threads: int,
        *,
        limit: float | None = None,
        replace: bool = False,
        stop: str = "",
        ahead: Callable[[], tuple[SolvableConfiguration, int] | None] = lambda: None,
    ) -> None:
        self._store, self.threads = store, max(threads, 1)
        self._limit, self._replace, self._stop = limit, replace, stop
        self._ahead = ahead
        self._urgent: list[Task] = []
        self._stopped: set[str] = set()
        self._waiting: dict[str, list[_Waiting]] = {}
        self._order = itertools.count()
        self._left: dict[str, int] = {}  # still to be handed out
        self._undone: dict[str, int] = {}
        self._costs: dict[str, _Cost] = {}
        for configuration, indices in missing:
            self.add(configuration, indices)

    def add(
        self, configuration: SolvableConfiguration, indices: Iterable[int], priority: float = 0.0
    ) -> None:
        """Put blocks into the queue, those of less priority first."""
        label, numbers = configuration.label, list(indices)
        if not numbers or label in self._stopped:
            return
        waiting = self._waiting.setdefault(label, [])
        heapq.heappush(waiting, (priority, next(self._order), configuration, numbers))
        self._left[label] = self._left.get(label, 0) + len(numbers)
        self._undone[label] = self._undone.get(label, 0) + len(numbers)
        self._costs.setdefault(label, _Cost())

    def seconds_left(self) -> float | None:
        """Expected seconds until all is done, or None while a solver's cost is not known."""
        if any(n and not self._costs[label].blocks for label, n in self._undone.items()):
            return None
        return self._seconds_of(self._undone) / self.threads

    def _seconds_of(self, blocks: Mapping[str, int]) -> float:
        """Expected seconds of work, as far as costs are known."""
        return sum((self._costs[label].per_block or 0.0) * n for label, n in blocks.items())

    def _blocks_per_task(self, label: str) -> int:
        cost = self._costs[label].per_block
        if cost is None:
            return 1
        share = self._seconds_of(self._left) / (4 * self.threads)
        target = max(min(TASK_SECONDS, share), SHORTEST_TASK_SECONDS)
        return max(int(target / max(cost, 1e-6)), 1)

    def next(self, *, idle: bool = False) -> Task | None:
        """The next task, or None when nothing is waiting.

        Parameters
        ----------
        idle
            Whether a worker has nothing to do, so that it may as well work ahead.
        """
        if self._urgent:
            return self._urgent.pop()
        if idle and not any(self._left.values()) and (found := self._ahead()) is not None:
            self.add(found[0], [found[1]])
        open_labels = [label for label, n in self._left.items() if n]
        if not open_labels:
            return None
        label = max(open_labels, key=self._urgency)
        return Task(
            self._store.address,
            tuple(self._take(label, self._blocks_per_task(label))),
            limit=self._limit,
            replace=self._replace,
            stop=self._stop,
        )

    def _urgency(self, label: str) -> tuple[float, int]:
        """Sort key of solvers: those of unknown cost take turns first, then the most expensive."""
        on_their_way = self._undone[label] - self._left[label]
        return self._costs[label].per_block or float("inf"), -on_their_way

    def _take(self, label: str, count: int) -> list[Block]:
        """Up to so many blocks of a solver, of as few points as will do."""
        waiting, taken = self._waiting[label], list[Block]()
        while waiting and len(taken) < count:
            priority, _, configuration, indices = heapq.heappop(waiting)
            few = count - len(taken)
            taken += [Block(configuration, index) for index in indices[:few]]
            if rest := indices[few:]:
                # Points take turns, so that a solver's measured cost is that of a mixture.
                heapq.heappush(waiting, (priority, next(self._order), configuration, rest))
        self._left[label] -= len(taken)
        return taken

    def put_first(self, tasks: Iterable[Task]) -> None:
        """Hand these out before all others, but for those of solvers that have been stopped."""
        self._urgent.extend(task for task in tasks if task.label not in self._stopped)

    def stop(self, label: str) -> int:
        """Hand out no more blocks of a solver; return how many are left undone."""
        self._urgent = [task for task in self._urgent if task.label != label]
        self._stopped.add(label)
        left, self._left[label] = self._left[label], 0
        self._undone[label] = 0
        return left

    def done(self, task: Task, result: TaskResult) -> None:
        """Learn from a finished task."""
        cost = self._costs[task.label]
        cost.blocks += result.blocks
        cost.seconds += result.seconds
        self._undone[task.label] = max(self._undone[task.label] - result.blocks, 0)

    def stop_all(self) -> bool:
        """Hand out nothing more, and tell tasks on their way to begin no further block."""
        self._urgent.clear()
        self._left = dict.fromkeys(self._left, 0)
        if self._stop:
            self._store.objects.put(self._stop, b"")
        return bool(self._stop)
