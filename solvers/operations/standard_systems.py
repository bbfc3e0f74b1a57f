"""Systems of an unstructured prior in the array API standard: many rows at once, padded alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from solvers import arrays
from solvers.arrays import Array, flat, namespace, reshape, take
from solvers.kron import abs2, adjoint, kron_apply
from solvers.operations.terms import Parts, Systems

ENTRIES = 2**27
"""Bound, in entries, on the matrices that are worked on at once."""

NARROW = 1e-8
"""Noise variance over a matrix's largest entry, from which on no more care need be taken."""

LEAF = 96
"""Order up to which libraries factorise and invert; above it products of matrices do."""


def solve_systems(model: Systems, gamma: Array, noise_var: Array) -> Parts:
    xp, m = namespace(gamma), int(np.prod(model.y.shape[1:]))
    counts = arrays.host(xp.count_nonzero(gamma, axis=1))
    found, begin = [], 0
    order = np.argsort(-counts, kind="stable")  # so that little is padded
    while begin < order.size:
        most = max(int(counts[order[begin]]), 1)
        by_atoms = most < m
        end = begin + max(ENTRIES // min(most, m) ** 2, 1)
        if not by_atoms:
            end = min(end, int(np.count_nonzero(counts >= m)))
        rows = arrays.like(order[begin:end], gamma)
        some = model.take(rows), take(gamma, rows), take(noise_var, rows)
        found.append(_over_atoms(*some, most) if by_atoms else _over_measurements(*some))
        begin = end
    back = arrays.like(np.argsort(order), gamma)
    return Parts(*(take(xp.concat(parts, axis=0), back) for parts in zip(*found, strict=True)))


def _over_measurements(model: Systems, gamma: Array, noise_var: Array) -> Parts:
    """Posterior of rows by the M×M matrices K."""
    xp, shape = namespace(gamma), model.y.shape
    k = gram(model.pairs, model.expand(gamma), shape[1:])
    k = k + noise_var[:, None, None] * arrays.eye(k, k.shape[1])
    root = inverse_root(k, precise=_wide(k, noise_var))
    inverse = adjoint(root) @ root
    weighted = xp.matmul(inverse, flat(model.y)[:, :, None])
    adjoints = [adjoint(a) for a in model.factors]
    correlation = model.select(kron_apply(adjoints, reshape(weighted, *shape)))
    explained = gamma * model.select(quadratic_forms(model.pairs, inverse, shape[1:]))
    return Parts(
        gamma * correlation,
        xp.clip(gamma - gamma * explained, 0.0, gamma),
        xp.sum(explained, axis=1),
        _logdet(root),
        xp.sum(gamma * abs2(correlation), axis=1),
    )


def _over_atoms(model: Systems, gamma: Array, noise_var: Array, most: int) -> Parts:
    """Posterior of rows by the n×n matrices S, n being the largest number of atoms in use."""
    xp, used = namespace(gamma), gamma > 0
    keep = xp.argsort(xp.astype(~used, xp.int8), axis=1, stable=True)[:, :most]
    own = arrays.arange(gamma, most)[None, :] < xp.count_nonzero(used, axis=1)[:, None]
    root = xp.sqrt(xp.take_along_axis(gamma, keep, axis=1))
    atom = keep if model.index is None else xp.take_along_axis(model.index, keep, axis=1)
    s = root[:, :, None] * root[:, None, :]
    grams, start, stride = model.grams, 0, int(np.prod(model.dims))
    grams = xp.broadcast_to(grams, (gamma.shape[0], grams.shape[1]))
    for n in model.dims:
        stride //= n
        at = (atom // stride) % n
        entries = start + at[:, :, None] * n + at[:, None, :]
        s = s * reshape(xp.take_along_axis(grams, flat(entries), axis=1), *s.shape)
        start += n * n
    s = s + noise_var[:, None, None] * arrays.eye(s, most)
    inverse = inverse_root(s, precise=_wide(s, noise_var))
    target = root * xp.take_along_axis(model.correlation, keep, axis=1)
    weights = (adjoint(inverse) @ xp.matmul(inverse, target[:, :, None]))[:, :, 0]
    freedom = noise_var[:, None] * xp.sum(abs2(inverse), axis=1)
    mean, variance = (
        arrays.zeros(gamma, gamma.shape, model.correlation.dtype),
        arrays.zeros(gamma, gamma.shape),
    )
    mean[used], variance[used] = (root * weights)[own], (root**2 * freedom)[own]
    m = float(np.prod(model.y.shape[1:]))
    return Parts(
        mean,
        variance,
        xp.sum(xp.where(own, 1.0 - freedom, 0.0), axis=1),
        _logdet(inverse) + (m - most) * xp.log(noise_var),
        xp.sum(abs2(weights), axis=1),
    )


def gram(pairs: Sequence[Array], gamma: Array, measurements: Sequence[int]) -> Array:
    """Lower triangles of A diag(γ) Aᴴ, (B, ΠM, ΠM); what is above the diagonal means nothing.

    Parameters as those of `solvers.operations.compiled_systems.gram`, for a batch.
    """
    xp, (first, *rest), batch = namespace(gamma), measurements, gamma.shape[0]
    size, count = int(np.prod(rest)), len(rest)
    product = kron_apply(pairs, gamma)
    product = reshape(product, batch, product.shape[1], *(m for m in rest for _ in range(2)))
    order = [0, 1, *range(2, 2 * count + 1, 2), *range(3, 2 * count + 2, 2)]
    blocks = reshape(xp.permute_dims(product, order), batch, product.shape[1], size, size)
    table = np.zeros((first, first), int)
    table[np.tril_indices(first)] = np.arange(product.shape[1])
    blocks = take(blocks, (table + np.tril(table, -1).T).reshape(-1), axis=1)
    blocks = reshape(blocks, batch, first, first, size, size)
    return reshape(xp.permute_dims(blocks, (0, 1, 3, 2, 4)), batch, first * size, first * size)


def quadratic_forms(pairs: Sequence[Array], matrix: Array, measurements: Sequence[int]) -> Array:
    """diag(Aᴴ W A) of Hermitian W (B, ΠM, ΠM) as (B, N_1, …, N_I), the adjoint of `gram`."""
    xp, (first, *rest), batch = namespace(matrix), measurements, matrix.shape[0]
    size, count = int(np.prod(rest)), len(rest)
    row, column = np.tril_indices(first)
    blocks = xp.permute_dims(reshape(matrix, batch, first, size, first, size), (0, 1, 3, 2, 4))
    blocks = take(reshape(blocks, batch, first * first, size, size), row * first + column, axis=1)
    twice = arrays.like(np.where(row == column, 1.0, 2.0), matrix)  # for those above the diagonal
    blocks = reshape(blocks * twice[:, None, None], batch, row.size, *rest, *rest)
    order = [0, 1, *(axis for i in range(count) for axis in (2 + i, 2 + count + i))]
    tensor = reshape(xp.permute_dims(blocks, order), batch, row.size, *(m * m for m in rest))
    return arrays.real(kron_apply([adjoint(r) for r in pairs], tensor))


def _wide(matrices: Array, noise_var: Array) -> bool:
    """Whether eigenvalues of matrices, the least of which is the noise variance, lie far apart."""
    xp = namespace(matrices)
    largest = xp.max(arrays.real(xp.linalg.diagonal(matrices)), axis=1)
    return bool(xp.any(noise_var < NARROW * largest))


def inverse_root(matrices: Array, *, precise: bool = True) -> Array:
    """Inverses of the lower Cholesky factors L of matrices, (B, n, n); NaN where there is none.

    By a recursion over blocks of half the order, which is made of products of matrices. It carries
    the inverse of the *triangle*: one that carried inverses of the matrices would lose digits with
    the square of the condition number.

    Parameters
    ----------
    matrices
        Hermitian, of which the lower triangle is read.
    precise
        Whether to take two products more, without which L is that of a matrix that differs by the
        rounding error times the root of the condition number, and with which by that error only.
    """
    return _root(matrices, precise)[1]


def _root(matrices: Array, precise: bool) -> tuple[Array, Array]:
    """L, where it has to be precise, and its inverse."""
    n = matrices.shape[1]
    if n <= LEAF:
        root = _cholesky(matrices)
        return root, namespace(root).linalg.inv(root)
    h = n // 2
    above, first = _root(matrices[:, :h, :h], precise)
    beside = matrices[:, h:, :h] @ adjoint(first)
    if precise:  # the standard has no substitution, which would leave as little
        left = matrices[:, h:, :h] - beside @ adjoint(above)
        beside = beside + left @ adjoint(first)
    below, second = _root(matrices[:, h:, h:] - beside @ adjoint(beside), precise)
    inverse = _triangle(first, -(second @ (beside @ first)), second)
    return _triangle(above, beside, below) if precise else inverse, inverse


def _triangle(above: Array, beside: Array, below: Array) -> Array:
    """Lower triangular matrices from their blocks."""
    xp, (batch, h, _), n = namespace(above), above.shape, below.shape[1]
    upper = xp.concat([above, arrays.zeros(above, (batch, h, n), above.dtype)], axis=2)
    return xp.concat([upper, xp.concat([beside, below], axis=2)], axis=1)


def _cholesky(matrices: Array) -> Array:
    """Lower Cholesky factors; NaN beside the identity where a matrix is not positive definite."""
    xp = namespace(matrices)
    try:
        with arrays.failing_aloud(matrices):
            return xp.linalg.cholesky(matrices)
    except Exception as error:  # the standard does not say which
        if "LinAlgError" not in type(error).__name__:
            raise
        if matrices.shape[0] == 1:
            return arrays.full(matrices, matrices.shape, float("nan"), matrices.dtype)
    parts = [_cholesky(matrices[i : i + 1, ...]) for i in range(matrices.shape[0])]
    return xp.concat(parts, axis=0)


def _logdet(root: Array) -> Array:
    """log|K| from the inverse of its Cholesky factor, (B,)."""
    xp = namespace(root)
    return -2.0 * xp.sum(xp.log(arrays.real(xp.linalg.diagonal(root))), axis=1)
