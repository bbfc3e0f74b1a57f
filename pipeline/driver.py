"""A run from end to end: what is asked for, minus what is there, computed and published."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pipeline.blocks import Series, series_of
from pipeline.campaign import Campaign
from pipeline.cluster import connect
from pipeline.request import prepare
from pipeline.shipping import make_shippable
from pipeline.store import Store
from pipeline.work import Report, Task

EARLY_BLOCKS = 3
"""A solver is stopped when so many first blocks of it have no cell with a result."""

SECONDS_BETWEEN_BEATS = 5.0


@dataclasses.dataclass
class Counts:
    """How far a run has come, in cells.

    Attributes
    ----------
    total : int
        Cells asked for, in whole blocks.
    before : int
        Of these, there before the run.
    done : int
        Computed by the run.
    failed : int
        Of these, crashed.
    """

    total: int = 0
    before: int = 0
    done: int = 0
    failed: int = 0


Progress = Callable[[Counts], None]


@dataclasses.dataclass(frozen=True)
class Run:
    """What came of a run.

    Attributes
    ----------
    store, cube : Path
    counts : Counts
    missing : int
        Cells still not done.
    damaged : list of str
        What was wrong with block files, which were moved aside.
    stopped : dict
        Solvers that were stopped because their first blocks all failed, and with what message.
    """

    store: Path
    cube: Path
    counts: Counts
    missing: int
    damaged: list[str]
    stopped: dict[str, str]

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for is there and nothing crashed on the way."""
        return not (self.missing or self.damaged or self.stopped or self.counts.failed)


def blocks_to_do(
    store: Store, campaign: Campaign, *, retry_failed: bool = False
) -> list[tuple[Series, list[int]]]:
    """What a campaign still needs: block numbers by series.

    Parameters
    ----------
    store, campaign
    retry_failed
        Count blocks with failed cells as not done.
    """
    done = store.keys()
    if retry_failed:
        done -= store.failures().keys()
    realizations = campaign.campaign.realizations
    found = []
    for series in series_of(campaign):
        indices = range(series.block_count(realizations))
        found.append((series, [i for i in indices if series.key(i) not in done]))
    return found


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
) -> Run:
    """Compute what a store lacks of a campaign, and publish the cube.

    Parameters
    ----------
    campaign
        A `Campaign`, or the path of its file.
    store
        Where results go; by default the folder ``results/<name>``.
    client : distributed.Client, optional
        To run on; by default one is made for `cluster` and closed afterwards.
    workers
        Worker processes, where we start them; by default one per core.
    cluster
        See `pipeline.cluster.connect`.
    progress
        Called with the `Counts` whenever blocks are done.
    folder
        Of the campaign file, for its provenance.
    retry_failed
        Compute blocks with failed cells again, and replace them.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        The campaign or the store cannot be used; nothing has been computed.
    OSError, ClusterLost
        Something broke on the way. What had been computed is stored; running again goes on.

    Notes
    -----
    An interruption (KeyboardInterrupt) publishes what is there before it goes on.
    """
    from pipeline.results import publish

    if not isinstance(campaign, Campaign):
        folder = folder or Path(campaign).resolve().parent
        campaign = Campaign.load(campaign)
    store, campaign = prepare(campaign, store, folder)
    todo = blocks_to_do(store, campaign, retry_failed=retry_failed)
    work = _Work(store, campaign, todo, retry_failed, progress)
    if any(indices for _, indices in todo):
        try:
            with nullcontext(client) if client is not None else connect(cluster, workers) as on:
                work.run(on)
        except KeyboardInterrupt:
            publish(store)
            raise
    cube = publish(store, force=retry_failed and work.counts.done > 0)
    return Run(store.path, cube.path, work.counts, cube.missing, cube.damaged, work.stopped)


class _Work:
    """The computing part of a run, and how it is going."""

    def __init__(
        self,
        store: Store,
        campaign: Campaign,
        todo: list[tuple[Series, list[int]]],
        replace: bool,
        progress: Progress | None,
    ) -> None:
        self._store, self._todo, self._replace = store, todo, replace
        self._limit = campaign.limits.seconds_per_realization
        self._progress = progress or (lambda _: None)
        self.counts = _counts(todo, campaign.campaign.realizations)
        self.stopped: dict[str, str] = {}
        self._blocks, self._good = Counter[str](), Counter[str]()
        self._progress(self.counts)

    def run(self, client: Any) -> None:
        """Compute every block that is to do."""
        from pipeline.graph import FanOut
        from pipeline.pacing import Queue

        for series, _ in self._todo:
            make_shippable(series)
        threads = sum(client.nthreads().values())
        self._queue = Queue(
            self._store.path.resolve(),
            self._todo,
            threads,
            limit=self._limit,
            replace=self._replace,
        )
        with self._heart(threads) as self._beat:
            FanOut(client, self._queue, self._report).run()

    def _report(self, task: Task, report: Report) -> None:
        self.counts.done += report.cells
        self.counts.failed += report.failed
        label = task.series.label
        self._blocks[label] += report.blocks
        self._good[label] += report.cells - report.failed
        if self._blocks[label] >= EARLY_BLOCKS and not self._good[label]:
            self._queue.stop(label)
            self.stopped[label] = report.message
        self._beat()
        self._progress(self.counts)

    @contextlib.contextmanager
    def _heart(self, threads: int) -> Iterator[Callable[[], None]]:
        """A small file in the store that says, every few seconds, how far this run is."""
        path = self._store.path / "running" / f"{platform.node()}-{os.getpid()}.json"
        path.parent.mkdir(exist_ok=True)
        started, last = time.time(), 0.0

        def beat() -> None:
            nonlocal last
            if time.time() - last < SECONDS_BETWEEN_BEATS:
                return
            last = time.time()
            state = {"host": platform.node(), "pid": os.getpid(), "threads": threads}
            state |= {"started": started, "updated": last, **dataclasses.asdict(self.counts)}
            aside = path.with_suffix(".new")
            aside.write_text(json.dumps(state))
            os.replace(aside, path)

        try:
            beat()
            yield beat
        finally:
            path.unlink(missing_ok=True)


def _counts(todo: Iterable[tuple[Series, list[int]]], realizations: int) -> Counts:
    counts = Counts()
    for series, indices in todo:
        blocks = series.block_count(realizations)
        counts.total += blocks * series.batch
        counts.before += (blocks - len(indices)) * series.batch
    return counts
