"""What a worker does: one task after the other, each some blocks of one series."""

from __future__ import annotations

import contextlib
import faulthandler
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.blocks import Block, Series
from pipeline.outcome import Failure, outcome, solve_block
from pipeline.store import Store

GRACE_SECONDS = 2.0


class Report(NamedTuple):
    """The word that a task returns: how much of what it was given went how.

    Attributes
    ----------
    blocks, cells : int
        Stored.
    failed : int
        Cells among them that crashed (see `solvers.Status.crashed`).
    seconds : float
    message : str
        Of one of the failures.
    """

    blocks: int
    cells: int
    failed: int
    seconds: float
    message: str = ""


@dataclass(frozen=True)
class Task:
    """Some blocks of one series, to be solved one after the other by one worker.

    Attributes
    ----------
    store : Path
    series : Series
    indices : tuple of int
        Which blocks.
    limit : float or None
        Seconds per realization.
    replace : bool
        Whether to write blocks that are there already.
    probe : tuple of int
        Realizations of the one block to try out, to see whether they kill the worker; nothing
        is stored. Empty for a task that is meant.
    condemned : tuple of (int, Failure)
        Realizations of the one block not to touch, since they do.
    stop : Path or None
        A file; once it is there, no further block is begun.
    """

    store: Path
    series: Series
    indices: tuple[int, ...]
    limit: float | None = None
    replace: bool = False
    probe: tuple[int, ...] = ()
    condemned: tuple[tuple[int, Failure], ...] = ()
    stop: Path | None = None

    def tombstone(self, index: int) -> Path:
        """Where the traceback goes of a worker that is ended for being stuck in that block."""
        part = f"-{self.probe[0]}-{self.probe[-1]}" if self.probe else ""
        return self.store / "stuck" / f"{self.series.key(index)}{part}.txt"


@contextlib.contextmanager
def _ended_when_stuck(task: Task, index: int, rows: int) -> Iterator[None]:
    """End this process when a block takes too long, whatever it hangs in.

    Solvers that watch their iterations are stopped in time by the clock. This is for those that
    do not, or hang in native code that holds the interpreter lock: `faulthandler`'s watchdog
    is a thread outside of the interpreter. The driver hears of a lost worker and finds the
    traceback.
    """
    if task.limit is None:
        yield
        return
    path = task.tombstone(index)
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        faulthandler.dump_traceback_later(
            # Twice: a batch over time is tried again row by row.
            2 * task.limit * rows + GRACE_SECONDS,
            exit=True,
            file=file,
        )
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            path.unlink(missing_ok=True)


def run_task(task: Task) -> Report:
    """Solve and store the blocks of a task, on a worker."""
    store = Store(task.store)
    start, blocks, failed, message = time.perf_counter(), 0, 0, ""
    if task.probe:
        with _ended_when_stuck(task, task.indices[0], len(task.probe)):
            outcome(task.series, task.probe, task.limit)
    for index in () if task.probe else task.indices:
        if task.stop is not None and task.stop.exists():
            break
        block = Block(task.series, index)
        with _ended_when_stuck(task, index, task.series.batch):
            data = solve_block(block, task.limit, dict(task.condemned))
        store.write(block, data, replace=task.replace)
        blocks += 1
        failed += data.crashed
        message = message or next(iter(data.meta["failures"]), "")
    seconds = time.perf_counter() - start
    return Report(blocks, blocks * task.series.batch, failed, seconds, message)
