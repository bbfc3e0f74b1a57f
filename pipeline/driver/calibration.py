"""Calibration: time and memory of a block, from a few realizations solved for a few seconds."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any, NamedTuple

import numpy as np

from pipeline.campaign.blocks import SolvableConfiguration
from pipeline.solving.outcome import nmse_watch

CALIBRATION_SECONDS = 1.0
"""A try that takes so long is long enough to go by. Less will not do: tries are of fewer rows than
a block has, and a row of a small batch takes up to three times as long."""

PATIENCE_SECONDS = 15.0
"""A solve that takes so long is cut short, and the rest of its iterations reckoned."""

MEMORY_ITERATIONS = 3
"""After so many, the arrays of a long solve are at their largest: working sets only shrink."""


class Calibration(NamedTuple):
    """Findings from a try of a solver.

    Attributes
    ----------
    seconds : float
        Time of one block.
    at_most : bool
        Whether that was reckoned as if all iterations were used.
    status, iterations : tuple of int
        How the realizations that were tried ended; none where the try was cut short.
    """

    seconds: float
    at_most: bool = False
    status: tuple[int, ...] = ()
    iterations: tuple[int, ...] = ()


class _Cut(Exception):
    """A solve was cut short, after so many iterations."""

    def __init__(self, iterations: int) -> None:
        super().__init__(iterations)
        self.iterations = iterations


class _Patience:
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
        if self._then is not None:
            self._then(iteration, rows, state)
        if iteration >= self._least and time.perf_counter() > self._until:
            raise _Cut(iteration)


def seconds_per_block(configuration: SolvableConfiguration) -> Calibration:
    """Measure on as many realizations as it takes to fill `CALIBRATION_SECONDS`.

    Where a single realization takes longer than `PATIENCE_SECONDS`, the solve is cut short and
    the time of its iterations so far is extended to the solver's `max_iterations`: right where
    it uses them all, too much where it converges earlier. Solvers without a cap are not cut.
    """
    cap = getattr(configuration.solver, "max_iterations", None)
    rows = 1
    while True:
        start = time.perf_counter()
        problem, truth = configuration.draw(range(rows))
        drawn = time.perf_counter() - start
        scenario = configuration.scenario
        trace = nmse_watch(scenario, problem, truth) if configuration.trace else None
        watch = trace if cap is None else _Patience(PATIENCE_SECONDS, then=trace)
        try:
            estimate = configuration.solve(problem, watch)
        except _Cut as cut:
            solving = time.perf_counter() - start - drawn
            assert cap is not None
            seconds = drawn + solving * cap / cut.iterations
            return Calibration(seconds / rows * configuration.batch, at_most=cut.iterations < cap)
        if estimate.x is not None:
            scenario.score(truth, problem, estimate)
        spent = time.perf_counter() - start
        if rows == configuration.batch or spent > CALIBRATION_SECONDS:
            seconds = spent / rows * configuration.batch
            return Calibration(
                seconds, False, _numbers(estimate.status), _numbers(estimate.iterations)
            )
        rows = min(configuration.batch, 8 * rows)


def _numbers(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(np.asarray(values).tolist())


def block_bytes(configuration: SolvableConfiguration) -> float:
    """Peak of the arrays of a block, extrapolated from one and two realizations."""
    peaks = []
    for rows in (1, 2):
        tracemalloc.start()
        try:
            problem, _ = configuration.draw(range(rows))
            configuration.solve(problem, _Patience(0.0, MEMORY_ITERATIONS))
        except _Cut:
            pass
        finally:
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    return peaks[0] + max(peaks[1] - peaks[0], 0) * (configuration.batch - 1)
