"""A run from end to end: what is asked for, minus what is there, computed and published."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.campaign import Campaign
from pipeline.campaign.blocks import SolvableConfiguration
from pipeline.cluster import check_cluster, check_workers, connect, workers_at_work
from pipeline.cluster.checks import resources_for
from pipeline.cluster.main_guard import leave_if_imported_by_a_worker
from pipeline.driver.preparation import chosen_device, prepare
from pipeline.driver.stages import Stages
from pipeline.errors import ClusterLost
from pipeline.fanout.monitor import Monitor
from pipeline.fanout.queue import Queue
from pipeline.fanout.shipping import make_shippable
from pipeline.fanout.task import Task, TaskResult
from pipeline.html import Shown, notebook_progress
from pipeline.signals import signals_deferred
from pipeline.store import Store
from pipeline.store.files import entries
from pipeline.store.folder import LOOSE_IN_A_RUN
from pipeline.store.heartbeat import Heartbeat, live_runs
from pipeline.store.pending import PendingBlocks, pending_blocks
from pipeline.store.run_log import RunLog

if TYPE_CHECKING:
    from pipeline.results.publishing import Published

log = logging.getLogger("kronsbl")

EARLY_BLOCKS = 3
"""A solver is stopped when so many first blocks of it have no cell with a result: it is broken or
misconfigured, and a large campaign would spend its core-hours on failures."""

SECONDS_BETWEEN_LINES = 60.0
"""Of the log in the store."""


@dataclasses.dataclass
class Counts:
    """Progress of a run, in cells.

    Attributes
    ----------
    total : int
        Cells asked for, in whole blocks; of a shard, its own.
    before : int
        Of these, there before the run.
    done : int
        Computed by the run.
    failed : int
        Of these, crashed.
    workers : int
        At work now.
    seconds_left : float or None
        Expected from what blocks of each solver have cost so far, once that is known; never with
        ``[stop]``.
    points, points_done : int
        With ``[stop]``, where `total` grows from look to look: points of the grid, and those that
        take no more.
    farthest : str
        The point farthest from its target.
    solvers : dict
        The first four of these, by label.
    """

    total: int = 0
    before: int = 0
    done: int = 0
    failed: int = 0
    workers: int = 0
    seconds_left: float | None = None
    points: int = 0
    points_done: int = 0
    farthest: str = ""
    solvers: dict[str, Counts] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.before + self.done}/{self.total} cells{failed}"


Progress = Callable[[Counts], None]


@dataclasses.dataclass(frozen=True)
class Run(Shown):
    """Result of a run.

    Attributes
    ----------
    store : Path
    cube : Path or None
        The published cube; a shard publishes none.
    counts : Counts
    missing : int
        Cells still not done.
    damaged : list of str
        What was wrong with block files, and what was done about it.
    stopped : dict
        Solvers that were stopped because their first blocks all failed, and with what message.
    waiting : int
        Of a shard with ``[stop]``: points whose next look needs blocks of other shards.
    """

    store: Path
    cube: Path | None
    counts: Counts
    missing: int
    damaged: list[str]
    stopped: dict[str, str]
    waiting: int = 0

    @property
    def ok(self) -> bool:
        """True when everything that was asked for is there and nothing crashed on the way."""
        gone_wrong = self.damaged or self.stopped or self.counts.failed
        return not (self.missing or self.waiting or gone_wrong)


def run(
    campaign: Campaign | str | Path,
    store: str | Path | Store | None = None,
    client: Any = None,
    *,
    workers: int | None = None,
    cluster: str = "local",
    progress: Progress | None = None,
    folder: Path | None = None,
    retry_failed: bool = False,
    shard: tuple[int, int] | None = None,
    device: str | None = None,
    dashboard: bool = True,
) -> Run:
    """Compute what a store lacks of a campaign, and publish the cube.

    Parameters
    ----------
    campaign
        A `Campaign`, or the path of its file.
    store
        Where results go; by default the folder ``results/<name>``.
    client : distributed.Client, or function that gives a context with one, optional
        To run on; by default one is made for `cluster` and closed afterwards. A function is asked
        where there is something to compute.
    workers
        Worker processes, where we start them; by default one per core.
    cluster
        See `pipeline.cluster.connect`.
    progress
        Called with the `Counts` every now and then, from other threads too; by default a notebook
        shows a bar.
    folder
        Of the campaign file, for its provenance.
    retry_failed
        Compute blocks with failed cells again, and replace them.
    shard : (i, N)
        Compute only the i-th of N parts, from 0, and publish nothing.
    device
        Where solvers that can are to solve, ``cpu`` or ``cuda``; by default what the campaign's
        table ``[cluster]`` says. Of a client's workers, those with the resource GPU.
    dashboard
        See `pipeline.cluster.connect`.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        The campaign, the store, the cluster or the device cannot be used; nothing has been
        computed.
    OSError, ClusterLost, WrongWorker
        Something broke on the way. What had been computed is stored; running again goes on.

    Notes
    -----
    An interruption (KeyboardInterrupt) lets running blocks finish for a short while, and
    publishes what is there before it goes on.
    """
    leave_if_imported_by_a_worker()
    if not isinstance(campaign, Campaign):
        folder = folder or Path(campaign).resolve().parent
        campaign = Campaign.load(campaign)
    # What gives a client when there is work to do is not called for nothing.
    device = chosen_device(campaign, device)
    check_cluster(cluster, campaign.cluster, None if callable(client) else client, device)
    prepared = prepare(campaign, store, folder)
    store, campaign = prepared.store, prepared.campaign
    blocks = partial(
        pending_blocks,
        prepared.configurations,
        campaign.realizations,
        store.names(),
        again=store.failures() if retry_failed else (),
    )
    pending, stages = blocks(shard=shard or (0, 1)), None
    if campaign.stop is not None:
        others = None if shard is None else pending
        everything = pending if shard is None else blocks()
        stages = Stages(store, store.asked(), everything, others, replace=retry_failed)
        pending = stages.begin()
    progress = progress or notebook_progress()
    computing = _Computing(store, campaign, pending, retry_failed, progress, stages, device)
    if any(part.todo for part in pending):
        # Otherwise a user would wonder why a finished store starts to compute again.
        for change in prepared.changes:
            log.info("computed again: %s", change)
        found: AbstractContextManager[Any]
        if client is None:
            found = connect(
                cluster, workers, campaign.cluster, store.path, device=device, dashboard=dashboard
            )
        else:
            found = client() if callable(client) else nullcontext(client)
        try:
            with computing.log, signals_deferred(), found as on:
                computing.run(on)
        except KeyboardInterrupt:
            # A batch system gives no second chance to look at what has been done so far.
            if shard is None:
                _publish(store)
            raise
    counts, stopped = computing.counts, computing.stopped
    if shard is not None:
        # The shards of an array job would publish the same cube over and over.
        missing = counts.total - counts.before - counts.done
        waiting = counts.points - counts.points_done
        return Run(store.path, None, counts, missing, [], stopped, waiting)
    # Replaced blocks keep their names, so that the fingerprint alone would not notice them.
    cube = _publish(store, force=retry_failed and counts.done > 0)
    return Run(store.path, cube.path, counts, cube.missing, cube.damaged, stopped)


def _publish(store: Store, *, force: bool = False) -> Published:
    from pipeline.results.publishing import publish  # zarr is not needed before

    with signals_deferred():  # it is soon done, and an interruption would leave no cube
        return publish(store, force=force)


class _Computing:
    """The computing part of a run, and how it is going."""

    def __init__(
        self,
        store: Store,
        campaign: Campaign,
        pending: list[PendingBlocks[SolvableConfiguration]],
        replace: bool,
        progress: Progress | None,
        stages: Stages | None,
        device: str,
    ) -> None:
        self._store, self._campaign, self._pending = store, campaign, pending
        self._replace, self._progress = replace, progress or (lambda _: None)
        self._stages, self._device = stages, device
        self.counts = Counts()
        self.stopped: dict[str, str] = {}
        self._blocks, self._good, self._loose = Counter[str](), Counter[str](), 0
        self.log, self._logged = RunLog(store.path), 0.0
        self._count(pending)
        self._progress(self.counts)

    def run(self, client: Any) -> None:
        """Compute every block that is to do."""
        from distributed.comm.core import CommClosedError

        from pipeline.fanout.fan_out import FanOut

        limit = self._campaign.limits.seconds_per_realization
        patience = self._campaign.cluster.start_timeout
        # A worker of another version, or without the file system, would spoil the store or hang.
        check_workers(client, self._store.path, patience, limited=limit is not None)
        resources = resources_for(client, self._device, patience)
        for part in self._pending:
            make_shippable(part.configuration)
        if not any(run.alive for run in live_runs(self._store.path)):
            for mark in entries(self._store.path / "in_progress", "*.txt"):
                mark.unlink(missing_ok=True)  # of a run that was killed
        with Heartbeat(self._store.path) as heartbeat:
            self._queue = Queue(
                Store(self._store.path.resolve()),  # workers may be in another folder
                [(part.configuration, part.todo) for part in self._pending],
                sum(client.nthreads().values()),
                device=self._device,
                limit=limit,
                replace=self._replace,
                stop=heartbeat.stop,
                ahead=self._ahead,
            )

            def tick(workers: int) -> None:
                self.counts.workers = workers
                self._progress(self.counts)
                if time.monotonic() - self._logged > SECONDS_BETWEEN_LINES:
                    self._logged = time.monotonic()
                    each = "; ".join(f"{label} {n}" for label, n in self.counts.solvers.items())
                    self.log.say(f"{self.counts} ({each}), workers: {workers}")
                heartbeat.beat(dataclasses.asdict(self.counts))

            fan_out = FanOut(client, self._queue, self._done, self._stop, resources)
            try:
                look = partial(workers_at_work, client, resources)
                with Monitor(look, fan_out, self._queue, tick, patience):
                    fan_out.run()
                    while self._stages and self._go_on(self._stages.refresh(self._store.names())):
                        fan_out.run()
                self.log.say(str(self.counts))
            except CommClosedError:
                raise ClusterLost("the scheduler was lost") from None

    def _done(self, task: Task, result: TaskResult) -> None:
        """Count a finished task, and stop a solver of which nothing has come out well."""
        label = task.label
        for counts in (self.counts, self.counts.solvers[label]):
            counts.done += result.cells
            counts.failed += result.failed
        if result.failed:
            self.log.say(f"{label}: {result.failed} of {result.cells} failed: {result.message}")
        self._blocks[label] += result.blocks
        self._loose += result.blocks
        if self._loose >= LOOSE_IN_A_RUN:
            self._loose = 0
            with suppress(OSError):  # a disk without the room for it ends the run elsewhere
                self._store.tidy()
        self._good[label] += result.cells - result.failed
        if self._blocks[label] >= EARLY_BLOCKS and not self._good[label]:
            self._stop(label, result.message)
        if self._stages:  # nobody knows how many looks there will be
            self._go_on(self._stages.done(task.blocks[: result.blocks]))
        else:
            self.counts.seconds_left = self._queue.seconds_left()
        self._progress(self.counts)

    def _go_on(self, more: list[PendingBlocks[SolvableConfiguration]]) -> bool:
        """Queue what is asked for after a look; False where nothing of it is to do."""
        self._count(more)
        for part in more:
            self._queue.add(part.configuration, part.todo, part.priority)
        return any(part.todo for part in more)

    def _ahead(self) -> tuple[SolvableConfiguration, int] | None:
        """A block that nobody has asked for yet."""
        found = self._stages.ahead() if self._stages else None
        if found:
            for counts in (self.counts, self.counts.solvers[found[0].label]):
                counts.total += found[0].batch
        return found

    def _stop(self, label: str, message: str) -> None:
        """Go on without a solver."""
        self.log.say(f"{label} is stopped: {message}")
        self._queue.stop(label)
        self.stopped[label] = message
        if self._stages:
            self._stages.stop(label)

    def _count(self, parts: Iterable[PendingBlocks[SolvableConfiguration]]) -> None:
        """Count blocks that are asked for."""
        counts = self.counts
        for configuration, blocks, todo, _ in parts:
            for one in (counts, counts.solvers.setdefault(configuration.label, Counts())):
                one.total += blocks * configuration.batch
                one.before += (blocks - len(todo)) * configuration.batch
        if self._stages:
            counts.points_done, counts.points, counts.farthest = self._stages.progress()
