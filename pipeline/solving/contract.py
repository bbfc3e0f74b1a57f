"""Whether solvers and scenarios return what their contracts say."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.scenarios import Scenario, Truth
from solvers import Estimate, Problem, Status

REPORTED_KINDS = {"status": "iu", "iterations": "iu", "inner_iterations": "iu", "inner_capped": "b"}
REPORTED_STATUS = Status.values("reported_by_solver")
KIND_NAMES = {"fciu": "numbers", "fiu": "real numbers", "iu": "integers", "b": "booleans"}


class BrokenContract(Exception):
    """A solver returned something else than an estimate of its problem."""


def check_estimate(problem: Problem, estimate: Estimate) -> None:
    """Raise BrokenContract where an estimate does not keep the contract."""
    if not isinstance(estimate, Estimate):
        raise BrokenContract(f"{type(estimate).__name__} returned, not a solvers.Estimate")
    _check_array("x", estimate.x, (problem.batch, *problem.dims), "fciu")
    for name, kinds in REPORTED_KINDS.items():
        _check_array(name, getattr(estimate, name), (problem.batch,), kinds)
    if estimate.noise_var is not None:
        _check_array("noise_var", estimate.noise_var, (problem.batch,), "fiu")
    unknown = set(estimate.status.tolist()).difference(REPORTED_STATUS)
    if unknown:
        raise BrokenContract(f"status {unknown}, the contract says one of {REPORTED_STATUS}")
    for name in ("iterations", "inner_iterations"):
        counts = getattr(estimate, name)
        if counts.min() < 0 or counts.max() > np.iinfo("i4").max:
            raise BrokenContract(f"{name} from {counts.min()} to {counts.max()} are no counts")


def figures_of(
    scenario: Scenario[Any], truth: Truth, problem: Problem, estimate: Estimate
) -> dict[str, NDArray[Any]]:
    """The scenario's figures, (B,) or (B, k); raises ValueError where they are not as it says."""
    measures = scenario.measures
    figures = {
        name: np.asarray(value, float)
        for name, value in scenario.score(truth, problem, estimate).items()
    }
    if figures.keys() != measures.keys():
        raise ValueError(f"score gives {sorted(figures)}, its measures are {sorted(measures)}")
    for name, values in figures.items():
        depth = 1 if measures[name].dimension is None else 2
        if values.ndim != depth or len(values) != problem.batch:
            raise ValueError(f"score gives {name} of shape {values.shape} for {problem.batch} rows")
    return figures


def _check_array(name: str, value: Any, shape: tuple[int, ...], kinds: str) -> None:
    if not isinstance(value, np.ndarray):
        raise BrokenContract(
            f"{name} is of type {type(value).__name__}, the contract says an array"
        )
    if value.shape != shape:
        raise BrokenContract(f"{name} has shape {value.shape}, the contract says {shape}")
    if value.dtype.kind not in kinds:
        raise BrokenContract(f"{name} holds {value.dtype}, the contract says {KIND_NAMES[kinds]}")
