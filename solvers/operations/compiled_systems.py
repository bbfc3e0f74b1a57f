"""Systems of an unstructured prior for arrays of numpy: LAPACK in place, of one triangle only.

Rows take the M×M matrices one by one, and the n×n ones in portions, each of its own n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from solvers import kernels
from solvers.arrays import Array
from solvers.kron import abs2, adjoint, kron_apply
from solvers.lapack import invert, invert_root, times
from solvers.operations.terms import Parts, Systems

PORTION_ENTRIES = 2**20
"""Bound, in entries, on the n×n matrices that are held in memory at once."""


def solve_systems(model: Systems, gamma: Array, noise_var: Array) -> Parts:
    found = Parts(
        np.empty_like(model.correlation), np.empty(gamma.shape), *np.empty((3, len(gamma)))
    )
    counts = np.count_nonzero(gamma, axis=1)
    few = np.flatnonzero(counts < model.y[0].size)
    portions = [(few[rows], _over_atoms) for rows in _portions(counts[few])]
    many = np.flatnonzero(counts >= model.y[0].size)
    for rows, solve in (
        *portions,
        *((many[i : i + 1], _over_measurements) for i in range(many.size)),
    ):
        if rows.size:
            parts = solve(model.take(rows), gamma[rows], noise_var[rows])
            for whole, part in zip(found, parts, strict=True):
                whole[rows] = part
    return found


def gram(pairs: Sequence[Array], gamma: Array, measurements: Sequence[int]) -> Array:
    """Lower triangle of A diag(γ) Aᴴ for A = A_1 ⊗ … ⊗ A_I.

    Parameters
    ----------
    pairs : sequence of arrays (M_i (M_i + 1) / 2 for the first, M_i² for the others; N_i)
        The `_pairs` of each factor.
    gamma : array (N_1, …, N_I)
    measurements : sequence of M_i

    Returns
    -------
    array, (ΠM, ΠM)
        What is above the diagonal means nothing.
    """
    first, *rest = measurements
    row, column = np.tril_indices(first)
    product = kron_apply(pairs, gamma[None])[0]
    product = product.reshape(row.size, *(m for m in rest for _ in range(2)))
    order = [0, *range(1, 2 * len(rest), 2), *range(2, 2 * len(rest) + 1, 2)]
    size = math.prod(rest)
    matrix = np.empty((first, size, first, size), product.dtype)
    matrix[row, :, column] = product.transpose(order).reshape(row.size, size, size)
    return matrix.reshape(first * size, first * size)


def quadratic_forms(pairs: Sequence[Array], matrix: Array, measurements: Sequence[int]) -> Array:
    """diag(Aᴴ W A) of a Hermitian W, the adjoint of `gram`.

    Parameters
    ----------
    pairs, measurements
        As for `gram`.
    matrix : array (ΠM, ΠM)
        W, of which the lower triangle is read.

    Returns
    -------
    array, (N_1, …, N_I)
    """
    first, *rest = measurements
    row, column = np.tril_indices(first)
    size = math.prod(rest)
    blocks = matrix.reshape(first, size, first, size)[row, :, column]
    # Every entry below the diagonal counts for two, so the diagonal for half.
    middle = np.tril(blocks[row == column])
    np.einsum("kii->ki", middle)[:] *= 0.5
    blocks[row == column] = middle
    blocks = blocks.reshape(row.size, *rest, *rest)
    order = [0, *(axis for i in range(len(rest)) for axis in (1 + i, 1 + len(rest) + i))]
    tensor = blocks.transpose(order).reshape(1, row.size, *(m * m for m in rest))
    return 2.0 * kron_apply([adjoint(r) for r in pairs], tensor)[0].real


def _over_measurements(model: Systems, gamma: Array, noise_var: Array) -> Parts:
    """Posterior of one row by the M×M matrix K."""
    y, m = model.y.reshape(-1), model.y.shape[1:]
    pairs = [p if p.ndim == 2 else p[0] for p in model.pairs]
    matrix = gram(pairs, model.expand(gamma)[0], m)
    matrix[np.diag_indices(y.size)] += noise_var[0]
    logdet = invert(matrix)  # K until here, K⁻¹ from here on
    weighted = times(matrix, y)
    adjoints = [adjoint(a) for a in model.factors]
    correlation = model.select(kron_apply(adjoints, weighted.reshape(1, *m)))
    explained = gamma * model.select(quadratic_forms(pairs, matrix, m)[None])
    return Parts(
        gamma * correlation,
        np.clip(gamma - gamma * explained, 0.0, gamma),
        explained.sum(),
        logdet,
        (gamma * abs2(correlation)).sum(),
    )


def _over_atoms(model: Systems, gamma: Array, noise_var: Array) -> Parts:
    """Posterior of rows by the n×n matrices S."""
    row, atom = np.nonzero(gamma)
    counts = np.bincount(row, minlength=len(gamma))
    index = atom if model.index is None else model.index[row, atom]
    positions = np.array(np.unravel_index(index, model.dims))
    root = np.sqrt(gamma[row, atom])
    systems = kernels.assemble(
        model.grams, np.array(model.dims), positions, counts, root, noise_var
    )
    for n, end in zip(counts, np.cumsum(counts**2), strict=True):
        if n:
            invert_root(systems[end - n * n : end].reshape(n, n))
    target = root * model.correlation[row, atom]
    weights, diagonal, logdet = kernels.finish(systems, counts, target)
    freedom = noise_var[row] * diagonal
    mean, variance = np.zeros_like(model.correlation), np.zeros(gamma.shape)
    mean[row, atom], variance[row, atom] = root * weights, root**2 * freedom
    effective_parameters = counts - np.bincount(row, freedom, minlength=len(gamma))
    penalty = np.bincount(row, abs2(weights), minlength=len(gamma))
    logdet += (model.y[0].size - counts) * np.log(noise_var)
    return Parts(mean, variance, effective_parameters, logdet, penalty)


def _portions(counts: Array) -> list[Array]:
    """Rows in portions whose n×n matrices fit into memory together."""
    portion = np.cumsum(counts**2) // PORTION_ENTRIES
    return np.split(np.arange(len(counts)), np.flatnonzero(np.diff(portion)) + 1)
