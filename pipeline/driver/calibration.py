"""Calibration: time and memory of a block, from a few realizations solved for a few seconds."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, NamedTuple

import numpy as np

from pipeline.campaign.blocks import SolvableConfiguration
from pipeline.errors import in_one_line
from pipeline.solving.device import CPU, Declined, Device
from pipeline.solving.outcome import nmse_watch
from pipeline.solving.trying import Cut, Patience, block_bytes, rows_that_fit

CALIBRATION_POINTS = 3
"""Grid points at which each solver is timed, evenly spread."""

CALIBRATION_SECONDS = 1.0
"""A try that takes so long is long enough to go by. Less will not do: tries are of fewer rows than
a block has, and a row of a small batch takes up to three times as long."""

PATIENCE_SECONDS = 15.0
"""A solve that takes so long is cut short, and the rest of its iterations reckoned."""


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


@dataclasses.dataclass(frozen=True)
class Costs:
    """What trying a solver has told: seconds per block by place in the grid, and memory."""

    per_block: dict[tuple[int, ...], float]
    measured: list[Calibration]
    bytes: float = 0.0
    trouble: str = ""
    device: str = CPU.name


def costs_of(
    configurations: list[SolvableConfiguration], device: Device = CPU, realizations: int = 1
) -> Costs:
    """Try a solver at some points, and interpolate between them.

    Parameters
    ----------
    configurations
        Of one solver.
    device
        Where it is solved, if the solver can.
    realizations
        Of a point, which a device may solve together.
    """
    applying = [c for c in configurations if not c.declined]
    if not applying:
        return Costs({}, [])
    device = device if applying[0].any_array else CPU
    at = np.unique(np.linspace(0, len(applying) - 1, CALIBRATION_POINTS).round().astype(int))
    measured, memory, trouble = [Calibration(0.0)] * len(at), 0.0, ""
    try:
        most = applying[0].batch
        if device is not CPU:
            most = max(most, min(rows_that_fit(applying[0], device), realizations))
        measured = [seconds_per_block(applying[i], device, most) for i in at]
        memory = block_bytes(applying[0])
    except Declined:
        return costs_of(configurations)
    except Exception as error:  # a run would store it as the outcome of these realizations
        trouble = in_one_line(error)
    per_block = np.interp(np.arange(len(applying)), at, [m.seconds for m in measured])
    by_place = dict(zip((c.grid_index for c in applying), per_block.tolist(), strict=True))
    return Costs(by_place, measured, memory, trouble, device.name)


def seconds_per_block(
    configuration: SolvableConfiguration, device: Device = CPU, most: int | None = None
) -> Calibration:
    """Measure on as many realizations as it takes to fill `CALIBRATION_SECONDS`.

    Parameters
    ----------
    configuration
        What to solve.
    device
        Where.
    most
        Realizations that may be solved together, by default those of a block.

    Notes
    -----
    Where a single realization takes longer than `PATIENCE_SECONDS`, the solve is cut short and
    the time of its iterations so far is extended to the solver's `max_iterations`: right where
    it uses them all, too much where it converges earlier. Solvers without a cap are not cut.
    """
    cap = getattr(configuration.solver, "max_iterations", None)
    rows, most = 1, most or configuration.batch
    if device is not CPU:  # of whose first solve much is spent on compiling and starting
        device.solve(configuration, configuration.draw(range(1))[0])
    while True:
        start = time.perf_counter()
        problem, truth = configuration.draw(range(rows))
        drawn = time.perf_counter() - start
        scenario = configuration.scenario
        trace = nmse_watch(scenario, problem, truth) if configuration.trace else None
        watch = trace if cap is None else Patience(PATIENCE_SECONDS, then=trace)
        try:
            estimate = device.solve(configuration, problem, watch)
        except Cut as cut:
            solving = time.perf_counter() - start - drawn
            assert cap is not None
            seconds = drawn + solving * cap / cut.iterations
            return Calibration(seconds / rows * configuration.batch, at_most=cut.iterations < cap)
        if estimate.x is not None:
            scenario.score(truth, problem, estimate)
        spent = time.perf_counter() - start
        if rows == most or spent > CALIBRATION_SECONDS:
            seconds = spent / rows * configuration.batch
            return Calibration(
                seconds, False, _numbers(estimate.status), _numbers(estimate.iterations)
            )
        rows = min(most, 8 * rows)


def _numbers(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(np.asarray(values).tolist())
