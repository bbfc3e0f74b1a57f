"""A task: some blocks of one solver, solved and stored by a worker one after the other."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import cloudpickle

from pipeline.campaign.blocks import Block
from pipeline.errors import WrongWorker
from pipeline.fanout.watchdog import deadline
from pipeline.solving.outcome import ATTEMPTS, Failure, outcome, solve_block
from pipeline.solving.rescoring import rescored
from pipeline.solving.worker import VERSION
from pipeline.store import Store
from pipeline.store.naming import CAMPAIGN
from solvers import kernels

GRACE_SECONDS = 1.0


class TaskResult(NamedTuple):
    """The result of a task, as the driver gets it; numbers themselves go to the store.

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
    """Some blocks of one solver, to be solved one after the other by one worker.

    Attributes
    ----------
    store : str
        Its address.
    blocks : tuple of Block
        At least one; they may be of several points of the grid.
    limit : float or None
        Seconds per realization.
    replace : bool
        Whether to write blocks that are there already.
    probe : tuple of int
        Realizations of the one block to try out, to see whether they kill the worker; nothing
        is stored. Empty for a task that is meant.
    excluded : tuple of (int, Failure)
        Realizations of the one block not to touch, since they do.
    stop : str
        Name of an object of the store; once it is there, no further block is begun.
    version : str
        Of the kronsbl that made the task.
    """

    store: str
    blocks: tuple[Block, ...]
    limit: float | None = None
    replace: bool = False
    probe: tuple[int, ...] = ()
    excluded: tuple[tuple[int, Failure], ...] = ()
    stop: str = ""
    version: str = VERSION

    def __reduce__(self) -> tuple[Any, ...]:
        # Dask's own pickling would name modules that workers cannot import; see `shipping`.
        return _unpacked, (
            cloudpickle.dumps({f.name: getattr(self, f.name) for f in fields(self)}),
        )

    @property
    def label(self) -> str:
        """Label of the solver."""
        return self.blocks[0].configuration.label

    @property
    def batch(self) -> int:
        """Realizations per block; one solver's blocks are all of a size."""
        return self.blocks[0].configuration.batch

    def marker(self, block: Block) -> str:
        """Name of what is there while a worker solves that block, with a traceback if it hung."""
        part = f"-{self.probe[0]}-{self.probe[-1]}" if self.probe else ""
        return f"in_progress/{block.key}{part}.txt"


def _unpacked(packed: bytes) -> Task:
    return Task(**cloudpickle.loads(packed))


@contextlib.contextmanager
def _accountable(store: Store, task: Task, block: Block, rows: int) -> Iterator[None]:
    """Leave a file behind should this process die in here; end it when it takes too long.

    Solvers that watch their iterations are stopped in time by the clock; the deadline is for
    those that do not, or hang. The driver hears of a lost worker, and by the file tells who was
    at it from who only waited there.
    """
    path = store.path / task.marker(block)  # a file, since native code writes the traceback
    path.parent.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("w"))
        stack.callback(path.unlink, missing_ok=True)
        if task.limit is not None:
            # A batch over time is tried again row by row, and each of these once more.
            stack.enter_context(deadline((1 + ATTEMPTS) * task.limit * rows + GRACE_SECONDS, file))
        yield


def _leaving() -> bool:
    """True when this worker is about to end, at its wall time say."""
    try:
        from distributed import get_worker

        return get_worker().status.name != "running"
    except (ImportError, ValueError):  # not on a worker
        return False


def run_task(task: Task) -> TaskResult:
    """Solve and store the blocks of a task, on a worker.

    Blocks are left undone where the worker is to leave or the run to stop; the report tells how
    many were done, from the first.
    """
    if task.version != VERSION:
        raise WrongWorker(
            f"worker on {platform.node()} runs kronsbl {VERSION}, this is {task.version}: use the "
            "same environment on both sides"
        )
    store = Store(task.store)
    if CAMPAIGN not in store.objects:
        raise WrongWorker(f"worker on {platform.node()} cannot see the store {task.store}")
    kernels.load()  # once per process; where they must be compiled, no clock should run
    start, blocks, failed, message = time.perf_counter(), 0, 0, ""
    if task.probe:
        [block] = task.blocks
        with _accountable(store, task, block, len(task.probe)):
            outcome(block.configuration, task.probe, task.limit)
    for block in () if task.probe else task.blocks:
        if (task.stop and task.stop in store.objects) or (blocks and _leaving()):
            break
        # Shards and other runs may share the store: their block is as good as ours.
        if not task.replace and (known := store.crashed(block)) is not None:
            blocks, failed = blocks + 1, failed + known
            continue
        data = None if task.replace else rescored(store, block)
        if data is None:
            with _accountable(store, task, block, task.batch):
                data = solve_block(block, task.limit, dict(task.excluded))
        store.write(block, data, replace=task.replace)
        blocks += 1
        failed += data.crashed
        message = message or next(iter(data.meta["failures"]), "")
    seconds = time.perf_counter() - start
    return TaskResult(blocks, blocks * task.batch, failed, seconds, message)
