"""The fan-out: a bounded number of tasks in flight, each looked at when it comes back."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from types import MappingProxyType
from typing import Any

from pipeline.errors import ClusterLost
from pipeline.fanout.queue import Queue
from pipeline.fanout.rescue import Rescue
from pipeline.fanout.task import Task, TaskResult, run_task
from pipeline.signals import signals_delivered
from pipeline.solving.device import PROCESSOR

SECONDS_FOR_A_WORD = 20.0
WIND_DOWN_SECONDS = 15.0
LEAST_IN_FLIGHT = 32


class FanOut:
    """Runs every task of a queue on a cluster.

    Parameters
    ----------
    client : distributed.Client
    queue
        Where tasks come from.
    on_result
        Called with every finished task and its report.
    on_hopeless
        Called with the label of a solver that kills every worker it is tried on, and how.
    resources
        By kind of device, what tasks for it ask of workers, in Dask's words; see
        `pipeline.cluster.checks.resources_for`.
    """

    def __init__(
        self,
        client: Any,
        queue: Queue,
        on_result: Callable[[Task, TaskResult], None],
        on_hopeless: Callable[[str, str], None],
        resources: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
    ) -> None:
        from distributed import as_completed

        self._client, self._queue, self._on_result = client, queue, on_result
        self._rescue = Rescue(on_hopeless)
        self._resources = resources
        self._in_flight: dict[Any, Task] = {}
        self._completed = as_completed(loop=client.loop)
        self._lost = ""

    def run(self) -> None:
        """Work until nothing is left.

        Raises
        ------
        ClusterLost
            The cluster was lost, or all workers that tasks wait for; what had finished is stored.
        OSError
            A worker could not write a block (disk full, say).
        WrongWorker
            One that came later runs another kronsbl, or does not see the store.
        """
        try:
            self._refill()
            while (future := self._next()) is not None:
                self._come_back(future, self._in_flight.pop(future))
                self._refill()
        except KeyboardInterrupt:
            self._wind_down()
            raise
        finally:
            if self._in_flight:
                self._client.cancel(list(self._in_flight))

    def in_flight(self, place: str) -> int:
        """How many tasks are on their way for a kind of device: some as long as any are waiting."""
        tasks = list(self._in_flight.values())  # which another thread may change meanwhile
        return sum(task.device == place for task in tasks)

    def abandon(self, why: str) -> None:
        """Give up, from another thread; `run` raises `ClusterLost`."""
        self._lost = why
        self._client.cancel(list(self._in_flight))

    def _wind_down(self) -> None:
        """Let the blocks that are being solved finish, for a short while."""
        from distributed import wait

        if self._queue.stop_all() and self._in_flight:
            with contextlib.suppress(TimeoutError, CancelledError), signals_delivered():
                wait(list(self._in_flight), timeout=WIND_DOWN_SECONDS)

    def _next(self) -> Any:
        """Wait for the next task that has finished; None where there is none in flight."""
        with signals_delivered():
            return next(self._completed, None)

    def _refill(self) -> None:
        for place in self._queue.places:
            # Bounded, so that the scheduler's memory does not grow with the campaign, and enough
            # for no worker to wait for us while we look at what has come back.
            threads = self._queue.threads_of(place)
            bound = max(LEAST_IN_FLIGHT, 3 * threads) if place == PROCESSOR else 2 * threads
            flying = self.in_flight(place)
            while flying < bound and (task := self._queue.next(place, idle=flying < threads)):
                # Retried by us, not by dask: a task that fails has a reason.
                future = self._client.submit(
                    run_task, task, pure=False, retries=0, resources=self._resources.get(place)
                )
                self._in_flight[future] = task
                self._completed.add(future)
                flying += 1

    def _come_back(self, future: Any, task: Task) -> None:
        from distributed.scheduler import KilledWorker

        # Every ending is looked at: whatever were ignored here would be blocks lost without a word.
        status = future.status
        if status == "error":
            error = future.exception()
            if not isinstance(error, KilledWorker):
                raise error
            self._queue.put_first(self._rescue.killed(task, f"KilledWorker: {error}"))
        elif status == "cancelled":
            # What a scheduler that dies leaves behind, without an exception.
            raise ClusterLost(self._lost or "the scheduler was lost")
        elif (report := self._word(future)) is None:
            # The worker that held the word has died since. What it did is stored.
            self._queue.put_first([task])
        else:
            self._queue.put_first(self._rescue.completed(task))
            if not task.probe:
                self._done(task, report)
        future.release()

    def _done(self, task: Task, result: TaskResult) -> None:
        self._queue.done(task, result)
        self._on_result(task, result)
        if rest := task.blocks[result.blocks :]:  # the worker had to leave, at its wall time say
            self._queue.put_first([dataclasses.replace(task, blocks=rest)])

    @staticmethod
    def _word(future: Any) -> TaskResult | None:
        """The report of a finished task, or None where it has gone with its worker."""
        from distributed.scheduler import KilledWorker

        try:
            result: TaskResult = future.result(timeout=SECONDS_FOR_A_WORD)
        except (KilledWorker, CancelledError, TimeoutError):
            return None
        return result
