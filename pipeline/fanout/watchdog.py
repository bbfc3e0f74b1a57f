"""Ending a process that is stuck, whatever it is stuck in."""

from __future__ import annotations

import faulthandler
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

SOONEST_SECONDS = 0.001

_lock = threading.Lock()
_deadlines: dict[int, tuple[float, IO[str]]] = {}
"""Deadline of each watched thread, and the file that gets the tracebacks."""


@contextmanager
def deadline(seconds: float, file: IO[str]) -> Iterator[None]:
    """End this process should the thread be in here for too long.

    Native code that hangs may hold the interpreter lock, so the watchdog is `faulthandler`'s,
    which runs outside of the interpreter. A process has one; where workers have several threads,
    it waits for whichever is due first.

    Parameters
    ----------
    seconds
    file
        Gets the traceback of all threads before the process ends.
    """
    thread = threading.get_ident()
    with _lock:
        _deadlines[thread] = (time.monotonic() + seconds, file)
        _wait_for_the_first()
    try:
        yield
    finally:
        with _lock:
            del _deadlines[thread]
            _wait_for_the_first()


def _wait_for_the_first() -> None:
    if not _deadlines:
        faulthandler.cancel_dump_traceback_later()
        return
    when, file = min(_deadlines.values(), key=lambda entry: entry[0])
    left = max(when - time.monotonic(), SOONEST_SECONDS)
    faulthandler.dump_traceback_later(left, exit=True, file=file)
