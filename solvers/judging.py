"""Judging estimates: statuses that a solver itself cannot know."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from solvers.arrays import host, is_complex, is_numeric, like, namespace, take, where_true, zeros
from solvers.estimate import Estimate
from solvers.kron import abs2, kron_apply, total
from solvers.problem import Array, Problem
from solvers.status import Status

NEXT_TO_NOTHING = 0.01
"""Share of ‖y‖² that an estimate must explain more of, or it has collapsed."""


FROM_GOOD_TO_BAD = (
    Status.COLLAPSED,  # of a part says nothing of the whole, which is judged by itself
    Status.CONVERGED,
    Status.PRECISION_LIMIT,
    Status.MAX_ITERATIONS,
    Status.DIVERGED,
)


def combined(statuses: Sequence[Array]) -> Array:
    """Status of a realization that was solved in parts: the worst of the parts' statuses.

    Parameters
    ----------
    statuses : sequence of int arrays, (B,)
        As solvers report them.
    """
    rank = np.zeros(max(FROM_GOOD_TO_BAD) + 1, int)
    rank[list(FROM_GOOD_TO_BAD)] = range(len(FROM_GOOD_TO_BAD))
    worst = np.max([rank[host(status)] for status in statuses], axis=0)
    found = np.array(FROM_GOOD_TO_BAD)[np.maximum(worst, rank[Status.CONVERGED])]
    return like(found, statuses[0])


def judged(
    solver: Any, problem: Problem, estimate: Estimate, unresolved: Array | None = None
) -> Estimate:
    """An estimate whose status tells of collapse and of the limits of double precision.

    Parameters
    ----------
    solver
        Whose it is.
    problem
        What it was made of, in the same units.
    estimate
        As the solver gave it. One of odd shapes is left alone, for whoever checks estimates.
    unresolved : bool array, (B,)
        Realizations that were solved with more noise than they have.

    Notes
    -----
    Where the noise variance is known, an estimate has collapsed if ‖Ax̂‖² ≤ 0.01 ‖y‖² although y
    is no noise: ‖y‖² > σ² (M + 5 √(κM)), κ = 2 for real and 1 for complex data, five standard
    deviations above what noise alone would have.
    """
    if not _fits(estimate, problem):
        return estimate
    assert estimate.x is not None
    status, xp = estimate.status, namespace(estimate.status)
    if unresolved is not None and bool(xp.any(unresolved)) and "noise_var" in solver.requires:
        limited = unresolved & (status == int(Status.CONVERGED))
        status = xp.where(limited, int(Status.PRECISION_LIMIT), status)
    if solver.kind == "estimator" and problem.noise_var is not None:
        finished = [status == value for value in Status.values("finished")]
        collapsed = _collapsed(problem, estimate.x) & functools.reduce(operator.or_, finished)
        status = xp.where(collapsed, int(Status.COLLAPSED), status)
    return estimate if status is estimate.status else dataclasses.replace(estimate, status=status)


def _fits(estimate: Any, problem: Problem) -> bool:
    """Whether there is an x and a status of the right shape to look at."""
    if not isinstance(estimate, Estimate):
        return False
    whole = (problem.batch, *problem.dims)
    return is_numeric(estimate.x, whole) and is_numeric(estimate.status, whole[:1], "integral")


def _collapsed(problem: Problem, x: Array) -> Array:
    size, kinds = math.prod(problem.measurements), 1.0 if is_complex(problem.y) else 2.0
    power = total(abs2(problem.y))
    assert problem.noise_var is not None
    collapsed = zeros(power, power.shape, namespace(power).bool)
    signal = power > problem.noise_var * (size + 5.0 * math.sqrt(kinds * size))
    rows = where_true(signal)
    if rows.shape[0]:
        factors = [a if a.ndim == 2 else take(a, rows) for a in problem.factors]
        explained = total(abs2(kron_apply(factors, take(x, rows))))
        collapsed[signal] = explained <= NEXT_TO_NOTHING * take(power, rows)
    return collapsed
