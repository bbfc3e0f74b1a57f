"""Tries of a solver, cut short: what a solve takes of memory, and how many realizations fit."""

from __future__ import annotations

import contextlib
import sys
import time
import tracemalloc
from typing import Any

from pipeline.campaign.blocks import SolvableConfiguration, canonical
from pipeline.solving.device import Device

MEMORY_ITERATIONS = 3
"""After so many, the arrays of a long solve are at their largest: working sets only shrink."""

SHARE = 0.5
"""Of the memory that is free: the estimate is of numpy's arrays, and of what a solver holds there;
elsewhere its operations are other ones, and libraries have work space of their own."""


class Cut(Exception):
    """A solve was cut short, after so many iterations."""

    def __init__(self, iterations: int) -> None:
        super().__init__(iterations)
        self.iterations = iterations


class Patience:
    """A watch that cuts a solve short after so many seconds from now.

    Parameters
    ----------
    seconds : float
    least : int
        Iterations to wait for all the same.
    then : watch, optional
        Called at each iteration.
    """

    def __init__(self, seconds: float, least: int = 1, then: Any = None) -> None:
        self._until = time.perf_counter() + seconds
        self._least, self._then = least, then

    def __call__(self, iteration: int, rows: Any, state: Any) -> None:
        """Look at the clock."""
        if self._then is not None:
            self._then(iteration, rows, state)
        if iteration >= self._least and time.perf_counter() > self._until:
            raise Cut(iteration)


def block_bytes(configuration: SolvableConfiguration) -> float:
    """Peak of the arrays of a block, extrapolated from one and two realizations."""
    first, further = footprint(configuration)
    return first + further * (configuration.batch - 1)


def footprint(configuration: SolvableConfiguration, realization: int = 0) -> tuple[float, float]:
    """Bytes of arrays at their peak, of the first realization of a batch and of each further.

    They are measured of one, solved alone and in a batch of two.
    """
    peaks = []
    for rows in (1, 2):
        tracemalloc.start()
        try:
            problem, _ = configuration.draw([realization] * rows)
            configuration.solve(problem, Patience(0.0, MEMORY_ITERATIONS))
        except Cut:
            pass
        finally:
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    return peaks[0], max(peaks[1] - peaks[0], 0)


_footprints: dict[str, tuple[float, float]] = {}
_most: dict[str, int] = {}
"""Realizations of a batch, by what is solved, after one that was too large."""


def _sizes(configuration: SolvableConfiguration, realization: int = 0) -> str:
    """What decides how much memory a solve takes: a solver, and the sizes of its problems."""
    problem, _ = configuration.draw([realization])
    shapes = [str(problem.y.dtype), *(a.shape for a in (problem.y, *problem.factors))]
    return canonical([configuration.spec["solver"], shapes])


def rows_that_fit(
    configuration: SolvableConfiguration, device: Device, realization: int = 0
) -> int:
    """How many realizations a device takes at once, and the host beside it; at least one.

    From an estimate of what each takes, by a try of one. The host holds two batches: the next is
    drawn meanwhile.
    """
    try:
        sizes = _sizes(configuration, realization)
        if sizes not in _footprints:
            _footprints[sizes] = footprint(configuration, realization)
    except Exception:  # its realizations fail, which is data; nothing is to be gained from more
        return 1
    (first, further), room = _footprints[sizes], min(device.free_bytes(), _host_bytes() / 2)
    fitting = 1 + int(max(SHARE * room - first, 0.0) / max(further, 1.0))
    return min(fitting, _most.get(sizes, fitting))


def fit_at_most(configuration: SolvableConfiguration, rows: int, realization: int) -> None:
    """Have later batches be no larger, after one with this realization ran out of memory."""
    _most[_sizes(configuration, realization)] = rows


def fitted(configuration: SolvableConfiguration, realization: int) -> int:
    """How many realizations a batch may have after what has been learned of memory."""
    return _most.get(_sizes(configuration, realization), sys.maxsize) if _most else sys.maxsize


def _host_bytes() -> float:
    """Memory that this process may take: a worker's limit, or what the machine has."""
    from distributed import get_worker
    from distributed.system import MEMORY_LIMIT

    with contextlib.suppress(ValueError, AttributeError):  # not on a worker
        return float(get_worker().memory_manager.memory_limit or MEMORY_LIMIT)
    return float(MEMORY_LIMIT)
