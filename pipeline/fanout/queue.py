"""The queue of blocks still to be done, handed out as tasks sized by measured cost."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping

from pipeline.campaign.blocks import Block, SolvableConfiguration
from pipeline.fanout.task import Task, TaskResult
from pipeline.solving.device import PROCESSOR
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
    device : str
        Where blocks are solved whose solvers can; the others are for processors.
    limit : float, optional
        Seconds per realization, handed to the tasks.
    replace : bool
        Whether the blocks are there already and meant to be replaced.
    stop : str
        Name of what ends tasks once it is there; see `pipeline.fanout.task.Task`.
    ahead : callable, optional
        Gives a block that may be wanted later, for workers that would be idle.

    Attributes
    ----------
    threads : dict
        Workers' threads for the blocks of each kind of device; to be kept up to date.
    places : tuple of str
        Kinds of devices that there may be blocks for.

    Notes
    -----
    The first tasks of a solver are one block each, and a solver's blocks are all solved on one kind
    of device, so that what one has cost is known for that device. Once it is, its tasks last about
    `TASK_SECONDS`, less towards the end; dear solvers go first, so that no worker idles while
    another still has a long task.
    """

    def __init__(
        self,
        store: Store,
        missing: Iterable[tuple[SolvableConfiguration, list[int]]],
        threads: int,
        *,
        device: str = PROCESSOR,
        limit: float | None = None,
        replace: bool = False,
        stop: str = "",
        ahead: Callable[[], tuple[SolvableConfiguration, int] | None] = lambda: None,
    ) -> None:
        self._store, self._device = store, device
        self.threads = {device: 1, PROCESSOR: threads - (device != PROCESSOR)}
        self.places = tuple(dict.fromkeys((PROCESSOR, device)))
        self._limit, self._replace, self._stop = limit, replace, stop
        self._ahead = ahead
        self._urgent: list[Task] = []
        self._stopped: set[str] = set()
        self._waiting: dict[str, list[_Waiting]] = {}
        self._order = itertools.count()
        self._left: dict[str, int] = {}  # still to be handed out
        self._undone: dict[str, int] = {}
        self._costs: dict[str, _Cost] = {}
        self._places: dict[str, str] = {}  # where a solver's blocks are solved
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
        self._places[label] = self._device if configuration.any_array else PROCESSOR

    def threads_of(self, place: str) -> int:
        """Workers' threads for the blocks of one kind of device."""
        return max(self.threads[place], 1)

    def seconds_left(self) -> float | None:
        """Expected seconds until all is done, or None while a solver's cost is not known."""
        if any(n and not self._costs[label].blocks for label, n in self._undone.items()):
            return None
        return max(self._seconds_of(self._undone, place) for place in self.places)

    def _seconds_of(self, blocks: Mapping[str, int], place: str) -> float:
        """Expected seconds until a kind of device has done its blocks, by costs that are known."""
        costs = ((self._costs[label].per_block or 0.0, label) for label in blocks)
        work = (cost * blocks[label] for cost, label in costs if self._places[label] == place)
        return sum(work) / self.threads_of(place)

    def _blocks_per_task(self, label: str) -> int:
        cost = self._costs[label].per_block
        if cost is None:
            return 1
        share = self._seconds_of(self._left, self._places[label])
        if self._places[label] == PROCESSOR:  # elsewhere fewer, larger batches end sooner
            share /= 4
        target = max(min(TASK_SECONDS, share), SHORTEST_TASK_SECONDS)
        return max(int(target / max(cost, 1e-6)), 1)

    def next(self, place: str = PROCESSOR, *, idle: bool = False) -> Task | None:
        """The next task for a kind of device, or None when nothing is waiting for it.

        Parameters
        ----------
        place
            One of `places`.
        idle
            Whether a worker has nothing to do, so that it may as well work ahead.
        """
        for task in reversed(self._urgent):
            if task.device == place:
                self._urgent.remove(task)
                return task
        if idle and not any(self._left.values()) and (found := self._ahead()) is not None:
            self.add(found[0], [found[1]])
        here = [label for label in self._left if self._places[label] == place]
        open_labels = [label for label in here if self._left[label]]
        if not open_labels:
            return None
        label = max(open_labels, key=self._urgency)
        return Task(
            self._store.address,
            tuple(self._take(label, self._blocks_per_task(label))),
            limit=self._limit,
            replace=self._replace,
            stop=self._stop,
            device=place,
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
        if task.device != PROCESSOR and result.blocks:  # larger batches than before cost less
            cost.blocks, cost.seconds = 0, 0.0
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
