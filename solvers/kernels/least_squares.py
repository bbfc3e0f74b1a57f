"""Non-negative least squares for small square systems, dense or banded."""

from __future__ import annotations

import math

import numpy as np

from solvers.arrays import Array
from solvers.kernels.compiling import compiled

FULL_EXCHANGES = 3
MOST_EXCHANGES = 20  # per unknown
RIDGE = 1e-10
REFINEMENTS = 2

_VECTOR, _MATRIX = "float64[::1]", "float64[:, ::1]"


@compiled()
def multiply(matrix: Array, vector: Array, band: int) -> Array:
    """C x for a symmetric or other C without entries further than `band` off its diagonal."""
    n = vector.size
    product = np.empty(n)
    for i in range(n):
        total = 0.0
        for j in range(max(i - band, 0), min(i + band + 1, n)):
            total += matrix[i, j] * vector[j]
        product[i] = total
    return product


@compiled()
def normal_matrix(transposed: Array, band: int) -> Array:
    """CᵀC from Cᵀ, with a ridge by which systems can be solved where C is singular."""
    n = len(transposed)
    normal, largest = np.zeros((n, n)), 0.0
    for i in range(n):
        for j in range(max(i - 2 * band, 0), i + 1):
            total = 0.0
            for k in range(max(i - band, 0), min(j + band + 1, n)):
                total += transposed[i, k] * transposed[j, k]
            normal[i, j] = normal[j, i] = total
        largest = max(largest, normal[i, i])
    for i in range(n):
        if normal[i, i] > 0.0:
            normal[i, i] += RIDGE * largest
    return normal


@compiled()
def _factorize(normal: Array, free: Array, band: int, lower: Array, positions: Array) -> int:
    """Cholesky factor of the free rows and columns, their positions, and their number."""
    count = 0
    for i in range(free.size):
        if free[i]:
            positions[count] = i
            count += 1
    for i in range(count):
        first = max(i - band, 0)
        for j in range(first, i + 1):
            total = normal[positions[i], positions[j]]
            for k in range(first, j):
                total -= lower[i, k] * lower[j, k]
            lower[i, j] = math.sqrt(total) if i == j else total / lower[j, j]
    return count


@compiled()
def _solve(lower: Array, positions: Array, count: int, band: int, right: Array, x: Array) -> None:
    """Solve for the free entries; the others become 0."""
    for i in range(x.size):
        x[i] = 0.0
    for i in range(count):
        total = right[positions[i]]
        for k in range(max(i - band, 0), i):
            total -= lower[i, k] * x[positions[k]]
        x[positions[i]] = total / lower[i, i]
    for i in range(count - 1, -1, -1):
        total = x[positions[i]]
        for k in range(i + 1, min(i + band + 1, count)):
            total -= lower[k, i] * x[positions[k]]
        x[positions[i]] = total / lower[i, i]


@compiled()
def minimize(
    matrix: Array,
    transposed: Array,
    normal: Array,
    band: int,
    target: Array,
    free: Array,
    x: Array,
) -> None:
    """Minimise ‖C x − b‖ over x ≥ 0.

    Parameters
    ----------
    matrix, transposed, normal : arrays, (n, n)
        C, Cᵀ, and the `normal_matrix` of it. Zero columns get x = 0.
    band : int
        C has no entries further than that off its diagonal.
    target : array, (n,)
        b.
    free : array of bool, (n,)
        Entries to start with that are not held at 0; those of the minimiser afterwards. For a b
        near the last one there is little left to do.
    x : array, (n,)
        The minimiser is written here.

    Notes
    -----
    Block principal pivoting (Júdice and Pires 1994; Kim and Park, SIAM J. Sci. Comput. 33(6),
    2011): all entries that violate the optimality conditions x ≥ 0, Cᵀ(Cx − b) ≥ 0 change sides
    at once; where that does not reduce their number, Murty's rule, one entry at a time, which
    ends. Refinement on the residual undoes the ridge, and the rounding of the normal equations.
    """
    n = target.size
    lower, positions, wrong = np.empty((n, n)), np.empty(n, np.int64), np.empty(n, np.bool_)
    correlated = multiply(transposed, target, band)
    slack = 0.0
    for i in range(n):
        slack = max(slack, 1e-10 * abs(correlated[i]))
        free[i] = free[i] and normal[i, i] > 0.0
    fewest, chances, count = n + 1, FULL_EXCHANGES, 0
    for _ in range(MOST_EXCHANGES * n):
        count = _factorize(normal, free, 2 * band, lower, positions)
        _solve(lower, positions, count, 2 * band, correlated, x)
        gradient = multiply(normal, x, 2 * band)
        violations, last = 0, -1
        for i in range(n):
            if free[i]:
                wrong[i] = x[i] < 0.0
            else:
                wrong[i] = gradient[i] - correlated[i] < -slack and normal[i, i] > 0.0
            if wrong[i]:
                violations, last = violations + 1, i
        if violations == 0:
            break
        chances = FULL_EXCHANGES if violations < fewest else chances - 1
        fewest = min(fewest, violations)
        for i in range(n):
            if wrong[i] and (chances > 0 or i == last):
                free[i] = not free[i]
    step = np.empty(n)
    for _ in range(REFINEMENTS):
        residual = multiply(matrix, x, band)
        for i in range(n):
            residual[i] = target[i] - residual[i]
        _solve(lower, positions, count, 2 * band, multiply(transposed, residual, band), step)
        for i in range(n):
            x[i] = max(x[i] + step[i], 0.0)
