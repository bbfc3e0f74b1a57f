"""The monitor thread of a run: counts workers at work, keeps the heartbeat, gives up without."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Self

from pipeline.fanout.fan_out import FanOut
from pipeline.fanout.queue import Queue
from pipeline.solving.device import PROCESSOR

SECONDS_BETWEEN_LOOKS = 2.0

SECONDS_BETWEEN_WORDS = 50.0
"""Whoever waits in vain is told so within a minute."""

log = logging.getLogger("kronsbl")


class Monitor(threading.Thread):
    """A thread that looks at the cluster every few seconds, while inside a with statement.

    Parameters
    ----------
    look
        Gives the number of workers at work and their threads by kind of device, and says in words
        what is with the others.
    fan_out
        Given up when everything that is left to do has waited for workers for too long.
    queue
        Told how many threads there are, since it sizes tasks by them.
    tick
        Called with the number of workers at work.
    patience
        Seconds without any worker at work of a kind that tasks are waiting for.
    """

    def __init__(
        self,
        look: Callable[[], tuple[int, dict[str, int], str]],
        fan_out: FanOut,
        queue: Queue,
        tick: Callable[[int], None],
        patience: float,
    ) -> None:
        super().__init__(name="kronsbl-monitor", daemon=True)
        self._look, self._fan_out, self._queue = look, fan_out, queue
        self._tick, self._patience = tick, patience
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Look, tell, wait."""
        spoke = time.monotonic()
        seen = dict.fromkeys(self._queue.places, spoke)
        while not self._over.is_set():
            try:
                workers, threads, others = self._look()
            except (OSError, ValueError, RuntimeError):
                # The scheduler is on its way out; the fan-out will hear of it.
                workers, threads, others = 0, {}, "the scheduler does not answer"
            now = time.monotonic()
            if workers:
                self._queue.threads = threads
            waiting = [place for place in seen if self._fan_out.in_flight(place)]
            for place in seen:
                if threads.get(place) or place not in waiting:
                    seen[place] = now
            missing = [_kind(place) for place in waiting if seen[place] < now]
            wanted = missing[0] if workers and missing else "worker"
            # As long as others are at work, those that are missing may come back meanwhile.
            if waiting and all(now - seen[place] > self._patience for place in waiting):
                self._fan_out.abandon(
                    f"there has been no {wanted} at work for {self._patience:.0f} s ({others})"
                )
                return
            if not missing:
                spoke = now
            elif now - spoke > SECONDS_BETWEEN_WORDS:
                spoke = now
                log.warning("no %s is at work (%s)", wanted, others)
            self._tick(workers)
            self._over.wait(SECONDS_BETWEEN_LOOKS)


def _kind(place: str) -> str:
    return f"worker {'without' if place == PROCESSOR else 'with'} a GPU"
