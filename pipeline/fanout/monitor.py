"""The monitor thread of a run: counts workers, keeps the heartbeat, gives up without any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Self

from pipeline.fanout.fan_out import FanOut
from pipeline.fanout.queue import Queue

SECONDS_BETWEEN_LOOKS = 2.0


class Monitor(threading.Thread):
    """A thread that looks at the cluster every few seconds, while inside a with statement.

    Parameters
    ----------
    client : distributed.Client
    fan_out
        Given up when there has been no worker for too long.
    queue
        Told how many threads there are, since it sizes tasks by them.
    tick
        Called with the number of workers.
    patience
        Seconds without any worker.
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
        seen = time.monotonic()
        while not self._over.is_set():
            try:
                threads = self._client.nthreads()
            except (OSError, ValueError, RuntimeError):
                threads = {}  # the scheduler is on its way out; the fan-out will hear of it
            if threads:
                seen = time.monotonic()
                self._queue.threads = sum(threads.values())
            elif time.monotonic() - seen > self._patience:
                self._fan_out.abandon(f"there has been no worker for {self._patience:.0f} s")
                return
            self._tick(len(threads))
            self._over.wait(SECONDS_BETWEEN_LOOKS)
