"""The timing lane: how long a realization takes alone, on a machine with nothing else to do.

The runtimes of a campaign are shares of batches, measured while all cores are at work: fair to
compare with each other, but not a latency. Latencies are measured here, stored beside the blocks
and never mixed with them, nor with those of other hosts.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.campaign import Campaign
from pipeline.campaign.blocks import Series, canonical, digest, series_of
from pipeline.errors import in_one_line
from pipeline.solving import process, provenance
from pipeline.solving.contract import check_estimate
from pipeline.store import Store
from pipeline.store.files import write_durably

log = logging.getLogger("kronsbl")

Progress = Callable[[int, int], None]
"""Called with how many solves are done, and how many there are."""


class Timing(NamedTuple):
    """Latencies of one solver at one point on one host.

    Attributes
    ----------
    realizations : list of int, (n,)
        Their numbers.
    latency : list of float, (n,)
        Seconds, the median over the repeats; NaN where the solver failed.
    peak_memory : float
        Bytes that a solve allocates at most; numpy's arrays, without workspace inside LAPACK.
    """

    realizations: list[int]
    latency: list[float]
    peak_memory: float


class HostTimings(NamedTuple):
    """Timings of one host with one set of libraries.

    Attributes
    ----------
    about : dict
        What is known about it.
    timings : dict
        By `timing_key`.
    """

    about: dict[str, Any]
    timings: dict[str, Timing]


def timing_key(series: Series) -> str:
    """Of everything that decides how long a solve takes, but the host; batches do not."""
    spec = {k: v for k, v in series.spec.items() if k not in ("batch", "trace")}
    return digest(canonical(spec))


@dataclass
class _Lane:
    """One series at its turn now and then."""

    series: Series
    realizations: Sequence[int]
    peak_memory: float = 0.0
    seconds: dict[int, list[float]] = field(default_factory=dict)
    trouble: str = ""

    def warm_up(self) -> None:
        """Solve once, and see how much memory that takes."""
        problem, _ = self.series.scenario.draw([self.realizations[0]], self.series.seed)
        tracemalloc.start()
        try:
            self.series.solver.solve(problem.seen_by(self.series.solver))
            self.peak_memory = float(tracemalloc.get_traced_memory()[1])
        except Exception:  # a solver may raise anything; see `measure`
            self.peak_memory = np.nan
        finally:
            tracemalloc.stop()

    def measure(self, realization: int) -> None:
        """Solve one realization under the clock."""
        problem, _ = self.series.scenario.draw([realization], self.series.seed)
        try:
            start = time.perf_counter()
            estimate = self.series.solver.solve(problem.seen_by(self.series.solver))
            spent = time.perf_counter() - start
            check_estimate(problem, estimate)
        except Exception as error:  # no latency; the campaign itself tells what happened
            spent = np.nan
            self.trouble = in_one_line(error)
        self.seconds.setdefault(realization, []).append(spent)

    def write(self, store: Store, about: Mapping[str, Any]) -> None:
        """Put what has been measured into the store, in the place of what was there."""
        text = json.dumps(
            {
                "about": about,
                "spec": self.series.spec,
                "realizations": list(self.seconds),
                "latency": [float(np.median(s)) for s in self.seconds.values()],
                "repeats": max(map(len, self.seconds.values())),
                "peak_memory": self.peak_memory,
            }
        )
        path = _folder(store, about) / f"{timing_key(self.series)}.json"
        write_durably(path, text.encode())


def _folder(store: Store, about: Mapping[str, Any]) -> Path:
    """Of one host with one set of libraries."""
    facts = canonical({name: about[name] for name in provenance.SAME_MACHINE})
    return store.path / "timings" / f"{about['host']}-{digest(facts)[:8]}"


def measure(
    campaign: Campaign,
    store: Store,
    *,
    realizations: int = 20,
    repeats: int = 3,
    progress: Progress | None = None,
) -> None:
    """Time every solver at every point on a random subset of realizations, one at a time.

    In this process alone, with one BLAS thread, after a warm-up, in a random order anew for each
    repeat, so that a drift of the machine's speed meets all solvers alike. Stored after each
    repeat.

    Parameters
    ----------
    campaign
    store
    realizations
        Size of the subset; the same for all solvers and points.
    repeats
        How often each is solved; the median counts.
    progress
    """
    process.prepare()
    about = provenance.of_process()
    order = random.Random(campaign.campaign.seed)
    everything = range(campaign.campaign.realizations)
    chosen = order.sample(everything, min(realizations, len(everything)))
    lanes = [_Lane(series, chosen) for series in series_of(campaign)]
    for lane in lanes:
        lane.warm_up()
    turns, total = 0, repeats * len(lanes) * len(chosen)
    for _ in range(repeats):
        queue = [(lane, r) for lane in lanes for r in chosen]
        order.shuffle(queue)
        with _no_collections():
            for lane, realization in queue:
                lane.measure(realization)
                turns += 1
                if progress is not None:
                    progress(turns, total)
        for lane in lanes:
            lane.write(store, about)
    for lane in lanes:
        if lane.trouble:
            log.warning("%s was not timed everywhere: %s", lane.series.describe(), lane.trouble)


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Python collects no garbage in cycles, which would fall to whoever is at his turn."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def timings_of(store: Store) -> dict[str, HostTimings]:
    """Timings of a store by host.

    A host is named once per set of libraries that it was measured with.
    """
    found: dict[str, HostTimings] = {}
    for path in sorted((store.path / "timings").glob("*/*.json")):
        tables = json.loads(path.read_text())
        host = found.setdefault(path.parent.name, HostTimings(tables["about"], {}))
        host.timings[path.stem] = Timing(
            tables["realizations"], tables["latency"], tables["peak_memory"]
        )
    return found
