"""The contracts of solvers and scenarios, checked on what they return."""

from __future__ import annotations

from collections.abc import Collection
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


def check_estimate(problem: Problem, estimate: Estimate, diagnostics: Collection[str] = ()) -> None:
    """Make sure that an estimate keeps the contract.

    Parameters
    ----------
    problem, estimate
    diagnostics
        Names that the solver declares for what it reports beside its estimate.

    Raises
    ------
    BrokenContract
        It does not.
    """
    if not isinstance(estimate, Estimate):
        raise BrokenContract(f"{type(estimate).__name__} returned, not a solvers.Estimate")
    if estimate.x is not None:
        _check_array("x", estimate.x, (problem.batch, *problem.dims), "fciu")
    if set(estimate.diagnostics) != set(diagnostics):
        raise BrokenContract(
            f"diagnostics {sorted(estimate.diagnostics)}, the solver declares {sorted(diagnostics)}"
        )
    for name, values in estimate.diagnostics.items():
        _check_array(name, values, (problem.batch,), "fiub")
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


def scores_of(
    scenario: Scenario[Any], truth: Truth, problem: Problem, estimate: Estimate
) -> dict[str, NDArray[Any]]:
    """The scenario's measures of an estimate, each (B,) or (B, k).

    Of a bound, which has no x̂ to score, those that it gives itself, as diagnostics of that name.

    Raises
    ------
    ValueError
        They are not what the scenario says that they are.
    """
    measures = scenario.measures
    if estimate.x is None:
        nothing = np.full(problem.batch, np.nan)
        return {name: np.asarray(estimate.diagnostics.get(name, nothing)) for name in measures}
    scores = {
        name: np.asarray(value, float)
        for name, value in scenario.score(truth, problem, estimate).items()
    }
    if scores.keys() != measures.keys():
        raise ValueError(f"score gives {sorted(scores)}, its measures are {sorted(measures)}")
    for name, values in scores.items():
        depth = 1 if measures[name].dimension is None else 2
        if values.ndim != depth or len(values) != problem.batch:
            raise ValueError(f"score gives {name} of shape {values.shape} for {problem.batch} rows")
    return scores


def _check_array(name: str, value: Any, shape: tuple[int, ...], kinds: str) -> None:
    if not isinstance(value, np.ndarray):
        raise BrokenContract(
            f"{name} is of type {type(value).__name__}, the contract says an array"
        )
    if value.shape != shape:
        raise BrokenContract(f"{name} has shape {value.shape}, the contract says {shape}")
    if value.dtype.kind not in kinds:
        raise BrokenContract(f"{name} holds {value.dtype}, the contract says {KIND_NAMES[kinds]}")
