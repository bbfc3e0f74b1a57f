"""Ctrl-C and SIGTERM at places where they do no harm.

Python raises KeyboardInterrupt between any two instructions. In the middle of Dask's own code
that leaves coroutines behind that nobody awaits, or is swallowed by a destructor.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 3
"""So many interruptions in vain are raised wherever we are: something hangs."""


class _Gate:
    """Handler of the signals; at most one is in force, since a process has one set of them."""

    def __init__(self) -> None:
        self.handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self.waiting: list[int] = []
        self.open = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        self.waiting.append(number)
        if self.open or len(self.waiting) >= PATIENCE:
            self.deliver(frame)

    def deliver(self, frame: FrameType | None = None) -> None:
        if self.waiting:
            first = self.waiting[0]
            self.waiting.clear()
            self.handlers[first](first, frame)


_gate: _Gate | None = None


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Let interruptions wait until a part marked `signals_delivered`, or the end.

    Does nothing in threads other than the main one, which are never interrupted.
    """
    global _gate
    if _gate is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    gate = _gate = _Gate()
    for number in SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler):  # else ignored, or deadly by default
            gate.handlers[number] = handler
            signal.signal(number, gate.receive)
    try:
        yield
    finally:
        _gate = None
        for caught, handler in gate.handlers.items():
            signal.signal(caught, handler)
        gate.deliver()


@contextmanager
def signals_delivered() -> Iterator[None]:
    """A part within `signals_deferred` that interruptions may end."""
    if _gate is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    gate = _gate
    gate.open = True
    try:
        gate.deliver()
        yield
    finally:
        gate.open = False


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Import a package that has handlers of its own: dask-jobqueue exits at Ctrl-C, with 0."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


@contextmanager
def blocked_in_children() -> Iterator[None]:
    """Ctrl-C at a terminal does not reach processes that threads started herein start.

    The terminal sends SIGINT to all of them, and they die of it loudly while they load modules.
    """
    from multiprocessing import resource_tracker

    # Else started with the first child, whereby Python unblocks SIGINT in that thread.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
