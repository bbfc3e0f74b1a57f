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
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.campaign.blocks import SolvableConfiguration, canonical, digest
from pipeline.errors import in_one_line
from pipeline.solving import clock, process, provenance
from pipeline.solving.contract import check_estimate
from pipeline.solving.outcome import diagnostics_of
from pipeline.store import Store
from pipeline.store.files import write_durably
from pipeline.store.timings import timing_key

log = logging.getLogger("kronsbl")

Progress = Callable[[int, int], None]
"""Called with how many solves are done, and how many there are."""


@dataclass
class _Measurement:
    """Latencies of one configuration, taken in random order with the others."""

    configuration: SolvableConfiguration
    realizations: Sequence[int]
    peak_memory: float = 0.0
    seconds: dict[int, list[float]] = field(default_factory=dict)
    trouble: str = ""

    def warm_up(self) -> None:
        """Solve once, and see how much memory that takes."""
        problem, _ = self.configuration.draw([self.realizations[0]])
        tracemalloc.start()
        try:
            self.configuration.solve(problem)
            self.peak_memory = float(tracemalloc.get_traced_memory()[1])
        except Exception:  # a solver may raise anything; see `measure`
            self.peak_memory = np.nan
        finally:
            tracemalloc.stop()

    def measure(self, realization: int) -> None:
        """Solve one realization under the clock."""
        problem, _ = self.configuration.draw([realization])
        now = clock.of_process()
        try:
            start = now()
            estimate = self.configuration.solve(problem)
            spent = now() - start
            check_estimate(problem, estimate, diagnostics_of(self.configuration))
        except Exception as error:  # no latency; the campaign itself tells what happened
            spent = np.nan
            self.trouble = in_one_line(error)
        self.seconds.setdefault(realization, []).append(spent)

    def write(self, store: Store, about: Mapping[str, Any]) -> None:
        """Put what has been measured into the store, in the place of what was there."""
        text = json.dumps(
            {
                "about": about,
                "spec": self.configuration.spec,
                "realizations": list(self.seconds),
                "latency": [float(np.median(s)) for s in self.seconds.values()],
                "repeats": max(map(len, self.seconds.values())),
                "peak_memory": self.peak_memory,
            }
        )
        path = _folder(store, about) / f"{timing_key(self.configuration)}.json"
        write_durably(path, text.encode())


def _folder(store: Store, about: Mapping[str, Any]) -> Path:
    """Folder of the latencies of one host with one set of libraries."""
    facts = canonical({name: about[name] for name in provenance.SAME_MACHINE})
    return store.path / "timings" / f"{about['host']}-{digest(facts)[:8]}"


def measure(
    configurations: Sequence[SolvableConfiguration],
    store: Store,
    *,
    of: int,
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
    configurations
        Those that decline are left out.
    store
    of
        Realizations to choose from.
    realizations
        Size of the subset; the same for all solvers and points.
    repeats
        How often each is solved; the median counts.
    progress
    """
    process.prepare()
    about = provenance.of_process()
    order = random.Random(configurations[0].seed)
    chosen = order.sample(range(of), min(realizations, of))
    lanes = [_Measurement(c, chosen) for c in configurations if not c.declined]
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
            log.warning(
                "%s was not timed everywhere: %s", lane.configuration.describe(), lane.trouble
            )


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Python collects no garbage in cycles, which would fall to whoever is at his turn."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
