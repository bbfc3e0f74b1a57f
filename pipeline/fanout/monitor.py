"""The monitor thread of a run: counts workers at work, keeps the heartbeat, gives up without."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from pipeline.cluster.checks import SECONDS_BETWEEN_WORDS, workers_at_work
from pipeline.fanout.fan_out import FanOut
from pipeline.fanout.queue import Queue

SECONDS_BETWEEN_LOOKS = 2.0

log = logging.getLogger("kronsbl")


class Monitor(threading.Thread):
    """A thread that looks at the cluster every few seconds, while inside a with statement.

    Parameters
    ----------
    client : distributed.Client
    fan_out
        Given up when no worker has been at work for too long.
    queue
        Told how many threads there are, since it sizes tasks by them.
    tick
        Called with the number of workers at work.
    patience
        Seconds without any worker at work.
    """

    def __init__(
        self,
        client: Any,
        fan_out: FanOut,
        queue: Queue,
        tick: Callable[[int], None],
        patience: float,
    ) -> None:
        super().__init__(name="kronsbl-monitor", daemon=True)
        self._client, self._fan_out, self._queue = client, fan_out, queue
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
        seen = spoke = time.monotonic()
        while not self._over.is_set():
            try:
                threads, others = workers_at_work(self._client)
            except (OSError, ValueError, RuntimeError):
                # The scheduler is on its way out; the fan-out will hear of it.
                threads, others = {}, "the scheduler does not answer"
            now = time.monotonic()
            if threads:
                seen = spoke = now
                self._queue.threads = sum(threads.values())
            elif now - seen > self._patience:
                self._fan_out.abandon(
                    f"there has been no worker at work for {self._patience:.0f} s ({others})"
                )
                return
            elif now - spoke > SECONDS_BETWEEN_WORDS:
                spoke = now
                log.warning("no worker is at work (%s)", others)
            self._tick(len(threads))
            self._over.wait(SECONDS_BETWEEN_LOOKS)
