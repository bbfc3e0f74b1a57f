"""A clock that stands still while this process is stopped, so that no pause is a solver's time.

A process is stopped with Ctrl-Z, a laptop's lid, or a virtual machine that moves. Then its thread
below misses its ticks though no CPU time is used. A solver that sleeps lets it tick; one that
computes without letting go of the interpreter uses CPU time, unless it waits for another device:
where there is one, nothing is concluded.
"""

from __future__ import annotations

import threading
import time
from functools import cache

from pipeline.solving import device

SECONDS_BETWEEN_TICKS = 0.2

LONGEST_GAP = 1.0
"""Between ticks; machines with too much to do take a while to come round."""

LEAST_SHARE = 0.25
"""Of a longer gap that was CPU time, where the process was at work."""


class Clock:
    """Wall time without the pauses of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self.paused = 0.0

    def __call__(self) -> float:
        """Seconds from some moment on."""
        with self._lock:
            wall, cpu = time.perf_counter(), time.process_time()
            gap, used = wall - self._wall, cpu - self._cpu
            if gap > LONGEST_GAP and used < LEAST_SHARE * gap and not device.others_at_work():
                self.paused += gap - used
            self._wall, self._cpu = wall, cpu
            return wall - self.paused


@cache
def of_process() -> Clock:
    """The clock of this process, ticking."""
    clock = Clock()

    def tick() -> None:
        while True:
            time.sleep(SECONDS_BETWEEN_TICKS)
            clock()

    threading.Thread(target=tick, name="kronsbl-clock", daemon=True).start()
    return clock
