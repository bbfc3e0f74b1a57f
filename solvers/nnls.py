"""Non-negative least squares for a batch of small square systems."""

from __future__ import annotations

import numpy as np
import scipy.optimize

from solvers.core import Array

FULL_EXCHANGES = 3
MOST_EXCHANGES = 20
RIDGE = 1e-10
REFINEMENTS = 2


def nnls(matrices: Array, targets: Array) -> Array:
    """Minimise ‖C x − b‖ over x ≥ 0, for every row of a batch.

    Parameters
    ----------
    matrices : array, (B, n, n)
        C. Zero columns get x = 0.
    targets : array, (B, n)
        b.

    Returns
    -------
    array, (B, n)

    Notes
    -----
    Block principal pivoting (Júdice and Pires 1994; Kim and Park, SIAM J. Sci. Comput. 33(6),
    2011): all entries that violate the optimality conditions x ≥ 0, Cᵀ(Cx − b) ≥ 0 change sides
    at once; a row where that does not reduce their number falls back to Murty's rule, one entry
    at a time, which ends. Systems are solved with a ridge of 1e-10, which keeps singular ones
    solvable (their minimiser is not unique, but C x is); refinement on the residual undoes it,
    and the rounding of the normal equations.
    """
    batch, n = targets.shape
    normal = matrices.swapaxes(1, 2) @ matrices
    correlated = (matrices.swapaxes(1, 2) @ targets[:, :, None])[:, :, 0]
    diagonal = np.einsum("bii->bi", normal)
    usable = diagonal > 0
    diagonal += RIDGE * diagonal.max(axis=1, initial=0.0, keepdims=True)
    slack = 1e-10 * np.abs(correlated).max(axis=1, initial=0.0, keepdims=True)
    free = usable & (correlated > 0)
    x = np.zeros((batch, n))
    rows = np.arange(batch)
    fewest = np.full(batch, n + 1)
    chances = np.full(batch, FULL_EXCHANGES)
    for _ in range(MOST_EXCHANGES * n):
        solution = _solve_free(normal[rows], correlated[rows], free[rows])
        gradient = (normal[rows] @ solution[:, :, None])[:, :, 0] - correlated[rows]
        wrong = np.where(free[rows], solution < 0, (gradient < -slack[rows]) & usable[rows])
        x[rows] = solution
        count = wrong.sum(axis=1)
        better = count < fewest[rows]
        fewest[rows] = np.minimum(count, fewest[rows])
        chances[rows] = np.where(better, FULL_EXCHANGES, chances[rows] - 1)
        # Murty's rule: only the last of the entries in the wrong.
        last = n - 1 - np.argmax(wrong[:, ::-1], axis=1)
        only = (np.arange(n) == last[:, None]) & wrong
        free[rows] ^= np.where((chances[rows] > 0)[:, None], wrong, only)
        rows = rows[count > 0]
        if not rows.size:
            break
    for row in rows:  # rounding that goes round in circles; never seen
        x[row] = scipy.optimize.nnls(matrices[row], targets[row])[0]
        free[row] = x[row] > 0
    for _ in range(REFINEMENTS):
        residual = targets - (matrices @ x[:, :, None])[:, :, 0]
        correction = (matrices.swapaxes(1, 2) @ residual[:, :, None])[:, :, 0]
        x = np.maximum(x + _solve_free(normal, correction, free), 0.0) * free
    return x


def _solve_free(normal: Array, right: Array, free: Array) -> Array:
    """Solve the systems of the free entries; the others are 0."""
    both = free[:, :, None] & free[:, None, :]
    system = np.where(both, normal, np.eye(free.shape[1]))
    return np.linalg.solve(system, np.where(free, right, 0.0)[:, :, None])[:, :, 0]
