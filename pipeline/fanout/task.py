"""A task: some blocks of one solver, solved and stored by a worker one after the other."""

from __future__ import annotations

import contextlib
import itertools
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import cloudpickle

from pipeline.campaign.blocks import Block
from pipeline.errors import WrongWorker
from pipeline.fanout.watchdog import deadline
from pipeline.solving.device import CPU, PROCESSOR, Device, device_of
from pipeline.solving.outcome import ATTEMPTS, Drawn, Failure, outcome, solve_blocks
from pipeline.solving.rescoring import rescored
from pipeline.solving.trying import rows_that_fit
from pipeline.solving.worker import VERSION
from pipeline.store import Store
from pipeline.store.block_file import BlockData
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
    device : str
        Where to solve. On another device than the processor blocks of one configuration are merged
        into batches as large as its memory takes.
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
    device: str = PROCESSOR
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
def _accountable(store: Store, task: Task, blocks: Sequence[Block], rows: int) -> Iterator[None]:
    """Leave files behind should this process die in here; end it when it takes too long.

    Solvers that watch their iterations are stopped in time by the clock; the deadline is for
    those that do not, or hang. The driver hears of a lost worker, and by the files tells who was
    at it from who only waited there.
    """
    paths = [store.path / task.marker(block) for block in blocks]
    paths[0].parent.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(paths[0].open("w"))  # native code writes the traceback
        stack.callback(paths[0].unlink, missing_ok=True)
        for path in paths[1:]:  # not kept open: there may be more than a process may have
            stack.callback(path.unlink, missing_ok=True)
            path.touch()
        if task.limit is not None:
            # A batch over time is tried again half by half, a block row by row, and each of these
            # once more.
            tries = 1 + ATTEMPTS + (len(blocks) - 1).bit_length()
            stack.enter_context(deadline(tries * task.limit * rows + GRACE_SECONDS, file))
        yield


def _leaving() -> bool:
    """True when this worker is about to end, at its wall time say."""
    try:
        from distributed import get_worker

        return get_worker().status.name != "running"
    except (ImportError, ValueError):  # not on a worker
        return False


_Work = tuple[tuple[Block, ...], list[Block], int, Drawn | None]
"""Consecutive blocks of a task, those of them that are to be solved, crashed cells of the others,
and the problem that was drawn ahead."""


def _groups(store: Store, task: Task, device: Device) -> Iterator[tuple[Block, ...]]:
    """The blocks of a task as they are solved together, in their order."""
    for _, same in itertools.groupby(task.blocks, lambda block: id(block.configuration)):
        left, size = tuple(same), 1
        while left:
            if device is not CPU and len(left) > 1:
                # A try solves three realizations, and it may be the one that kills its worker.
                first, tried = left[0], left[0].realizations[0]
                with _accountable(store, task, [first], 4):
                    rows = rows_that_fit(first.configuration, device, tried)
                size = max(rows // task.batch, 1)
            yield left[:size]
            left = left[size:]


def _prepare(store: Store, task: Task, device: Device, blocks: tuple[Block, ...]) -> _Work:
    """Find out what is to be solved of some blocks, and draw it where another device solves."""
    todo, failed, drawn = list[Block](), 0, None
    for block in blocks:
        # Shards and other runs may share the store: their block is as good as ours.
        if not task.replace and (known := store.crashed(block)) is not None:
            failed += known
        elif not task.replace and (data := rescored(store, block)) is not None:
            store.write(block, data)
            failed += data.crashed
        else:
            todo.append(block)
    if todo and device is not CPU and not task.excluded:
        with (
            _accountable(store, task, todo, len(todo) * task.batch),
            contextlib.suppress(Exception),  # drawn again where that is data
        ):
            drawn = todo[0].configuration.draw([r for b in todo for r in b.realizations])
    return blocks, todo, failed, drawn


def _prepared(store: Store, task: Task, device: Device) -> Iterator[_Work]:
    """The work of a task; what another device solves next is drawn while it is at work."""
    groups = _groups(store, task, device)
    with ThreadPoolExecutor(1) as thread:

        def begun() -> Callable[[], _Work] | None:
            if (group := next(groups, None)) is None:
                return None
            prepare = partial(_prepare, store, task, device, group)
            return prepare if device is CPU else thread.submit(prepare).result

        coming = begun()
        while coming is not None:
            # In this order: what follows is planned while no thread draws, which would count.
            work, coming = coming(), begun()
            yield work


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
    device = device_of(task.device)
    start, blocks, failed, message = time.perf_counter(), 0, 0, ""
    if task.probe:
        with _accountable(store, task, task.blocks, len(task.probe)):
            outcome(task.blocks[0].configuration, task.probe, task.limit, device=device)
    for group, todo, crashed, drawn in () if task.probe else _prepared(store, task, device):
        if (task.stop and task.stop in store.objects) or (blocks and _leaving()):
            break
        found = list[BlockData]()
        if todo:
            with _accountable(store, task, todo, len(todo) * task.batch):
                found = solve_blocks(todo, task.limit, dict(task.excluded), device, drawn)
        for block, data in zip(todo, found, strict=True):
            store.write(block, data, replace=task.replace)
            message = message or next(iter(data.meta["failures"]), "")
        blocks += len(group)
        failed += crashed + sum(data.crashed for data in found)
    seconds = time.perf_counter() - start
    return TaskResult(blocks, blocks * task.batch, failed, seconds, message)
