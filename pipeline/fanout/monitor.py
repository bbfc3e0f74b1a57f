"""The monitor thread of a run: counts workers at work, keeps the heartbeat, gives up without."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Self

from pipeline.fanout.fan_out import FanOut
from pipeline.fanout.queue import Queue

SECONDS_BETWEEN_LOOKS = 2.0

SECONDS_BETWEEN_WORDS = 50.0
"""Whoever waits in vain is told so within a minute."""

log = logging.getLogger("kronsbl")


class Monitor(threading.Thread):
    """A thread that looks at the cluster every few seconds, while inside a with statement.

    Parameters
    ----------
    look
        Gives the threads of the workers that are at work by address, how many of these have a
        device, and says in words what is with the others.
    fan_out
        Given up when no worker has been at work for too long.
    queue
        Told how many threads and devices there are, since it sizes tasks by them.
    tick
        Called with the number of workers at work.
    patience
        Seconds without any worker at work.
    """

    def __init__(
        self,
        look: Callable[[], tuple[dict[str, int], int, str]],
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
        seen = spoke = time.monotonic()
        while not self._over.is_set():
            try:
                threads, devices, others = self._look()
            except (OSError, ValueError, RuntimeError):
                # The scheduler is on its way out; the fan-out will hear of it.
                threads, devices, others = {}, 0, "the scheduler does not answer"
            now, wanted = time.monotonic(), "worker"
            if threads:
                self._queue.threads, self._queue.devices = sum(threads.values()), devices
            if threads and not devices and self._queue.needs_device:
                wanted = "worker with a GPU"
            elif threads:
                seen = spoke = now
            if now - seen > self._patience:
                self._fan_out.abandon(
                    f"there has been no {wanted} at work for {self._patience:.0f} s ({others})"
                )
                return
            if now - spoke > SECONDS_BETWEEN_WORDS:
                spoke = now
                log.warning("no %s is at work (%s)", wanted, others)
            self._tick(len(threads))
            self._over.wait(SECONDS_BETWEEN_LOOKS)
