"""Batched Kronecker algebra: mode products, norms and pruning.

A vector of length ΠN is kept as a tensor (B, N_1, …, N_I) in C order, so that the product of
A_1 ⊗ … ⊗ A_I with it is one small product along each axis. Neither the Kronecker product nor a
covariance is ever formed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce

import numpy as np
from numpy.typing import DTypeLike

from solvers import kernels
from solvers.problem import Array

LARGEST = 32
"""Order above which LAPACK is faster than compiled eigenvectors of many matrices at once.

It is so, too, where there are few matrices, some less than their order.
"""


def adjoint(matrix: Array) -> Array:
    """Conjugate transpose of the last two axes."""
    return matrix.conj().swapaxes(-1, -2)


def abs2(x: Array) -> Array:
    """Squared modulus, without the square root in between."""
    return x.real**2 + x.imag**2 if np.iscomplexobj(x) else x * x


def mode_product(x: Array, matrix: Array, mode: int) -> Array:
    """Multiply every fibre of `x` along one mode by a matrix.

    Parameters
    ----------
    x : array, (B, d_1, …, d_I)
    matrix : array, (r, d) or (B, r, d) with d = d_{mode+1}
        One matrix for the batch, or one per realization.
    mode : int
        Which mode, counted from 0 (so axis ``mode + 1``).

    Returns
    -------
    array like x, with r instead of d

    Notes
    -----
    The tensor is only reshaped, never transposed: the last mode is a product from the right, the
    others are products from the left, broadcast over the modes before.
    """
    shape = x.shape
    before, after = int(np.prod(shape[1 : mode + 1])), int(np.prod(shape[mode + 2 :]))
    if after == 1:
        product = x.reshape(shape[0], before, shape[mode + 1]) @ matrix.swapaxes(-1, -2)
    else:
        stack = matrix if matrix.ndim == 2 else matrix[:, None]
        product = stack @ x.reshape(shape[0], before, shape[mode + 1], after)
    return product.reshape(*shape[: mode + 1], matrix.shape[-2], *shape[mode + 2 :])


def kron_apply(matrices: Sequence[Array], x: Array) -> Array:
    """(B_1 ⊗ … ⊗ B_I) x for a batch of tensors x.

    Parameters
    ----------
    matrices : sequence of arrays, each (r_i, d_i) or (B, r_i, d_i)
    x : array, (B, d_1, …, d_I)

    Returns
    -------
    array, (B, r_1, …, r_I)

    Notes
    -----
    Each product takes one mode off one end of the tensor and puts its result at the other end,
    so that it is a single matrix product per realization and no transposed copy is made; after I
    of them the modes are back in order. It starts at the end that needs fewer operations.
    """
    shrink = [m.shape[-2] / m.shape[-1] for m in matrices]
    if shrink[0] <= shrink[-1]:
        for matrix in matrices:
            batch, d, *rest = x.shape
            product = x.reshape(batch, d, -1).swapaxes(1, 2) @ matrix.swapaxes(-1, -2)
            x = product.reshape(batch, *rest, matrix.shape[-2])
    else:
        for matrix in reversed(matrices):
            batch, *rest, d = x.shape
            product = matrix @ x.reshape(batch, -1, d).swapaxes(1, 2)
            x = product.reshape(batch, matrix.shape[-2], *rest)
    return x


def outer(vectors: Sequence[Array]) -> Array:
    """Tensor of all products, a new array: (B, n_1), …, (B, n_I) to (B, n_1, …, n_I)."""
    # From the last on, so that numpy's inner loops run over many entries.
    result = vectors[-1] if len(vectors) > 1 else vectors[-1].copy()
    for vector in reversed(vectors[:-1]):
        result = (vector[:, :, None] * result[:, None, :]).reshape(len(vector), -1)
    return result.reshape(len(result), *(v.shape[1] for v in vectors))


def total(x: Array) -> Array:
    """Sum over everything but the batch, (B, …) to (B,)."""
    return x.reshape(len(x), -1).sum(axis=1)


def eigh(matrices: Array) -> tuple[Array, Array]:
    """Eigenvalues (B, n), in no order, and eigenvectors (B, n, n) of Hermitian matrices.

    Matrices that are not finite get NaN: one of them would otherwise fail the whole batch, and
    this way its row ends as diverged.
    """
    batch, n = matrices.shape[:2]
    if n > LARGEST or batch < n - 4:
        return _lapack_eigh(matrices)
    compiled = kernels.eigh_symmetric if np.isrealobj(matrices) else kernels.eigh_hermitian
    values, vectors, failed = compiled(np.ascontiguousarray(matrices))
    if failed.any():
        values[failed], vectors[failed] = _lapack_eigh(matrices[failed])
    return values, vectors


def _lapack_eigh(matrices: Array) -> tuple[Array, Array]:
    try:
        values, vectors = np.linalg.eigh(matrices)
    except np.linalg.LinAlgError:
        finite = np.isfinite(matrices).all(axis=(1, 2))
        if finite.all():
            raise
        values = np.full(matrices.shape[:2], np.nan)
        vectors = np.full_like(matrices, np.nan)
        values[finite], vectors[finite] = np.linalg.eigh(matrices[finite])
    return values, vectors


def leading_vectors(matrices: Array) -> Array:
    """Leading eigenvectors of symmetric non-negative matrices, (B, n, n) to (B, n).

    By power iterations; rows that have not settled (leading eigenvalues that all but coincide)
    get theirs from all eigenvectors.
    """
    vectors, settled = kernels.power_iterations(np.ascontiguousarray(matrices))
    rest = np.flatnonzero(~settled)
    if rest.size:
        values, found = eigh(matrices[rest])
        vectors[rest] = np.abs(found[np.arange(rest.size), :, values.argmax(axis=1)])
    return vectors


def squares(vectors: Array) -> Array:
    """Squared norms of (B, n) vectors, (B,)."""
    return np.vecdot(vectors, vectors)


def norm2(vectors: Sequence[Array]) -> Array:
    """Squared norm of the Kronecker product of (B, n_i) vectors, (B,)."""
    return reduce(np.multiply, [squares(v) for v in vectors])


def distance2(new: Sequence[Array], old: Sequence[Array]) -> Array:
    """Squared distance between two Kronecker products of non-negative (B, n_i) vectors, (B,)."""
    return kernels.row_distances2(join(new), join(old), sizes(new))


def normalize(gamma: Sequence[Array]) -> tuple[Array, ...]:
    """Same Kronecker product, factors 1…I−1 at unit norm and the scale in the last.

    The product does not change when its factors are rescaled, so this loses nothing.
    """
    *leading, last = gamma
    result = []
    for g in leading:
        norm = np.sqrt(squares(g))[:, None]
        norm[norm == 0] = 1.0
        result.append(g / norm)
        last = last * norm
    return (*result, last)


def sizes(vectors: Sequence[Array]) -> Array:
    """Lengths n_i of (B, n_i) vectors; not to be written to."""
    return _integers(tuple(v.shape[1] for v in vectors))


@lru_cache(maxsize=4096)  # they change rarely, and in small batches every call counts
def _integers(values: tuple[int, ...]) -> Array:
    return np.array(values)


def join(vectors: Sequence[Array], dtype: DTypeLike = float) -> Array:
    """Vectors (B, n_i) one after the other, (B, Σn), as the kernels expect them."""
    return np.ascontiguousarray(np.concatenate(vectors, axis=1, dtype=dtype))


def split(joined: Array, like: Sequence[Array]) -> tuple[Array, ...]:
    """The inverse of `join`, into vectors of the lengths of these."""
    vectors, start = [], 0
    for vector in like:
        end = start + vector.shape[1]
        vectors.append(joined[:, start:end].copy())
        start = end
    return tuple(vectors)


def prune(
    gamma: Sequence[Array],
    relative: Sequence[float],
    absolute: Sequence[float],
    where: Array,
    weights: Sequence[Array] | None = None,
    unit: Array | None = None,
) -> tuple[tuple[Array, ...], Array]:
    """Set small entries of each factor of γ, (B, n_i), to 0; see `kernels.prune_rows`.

    Parameters
    ----------
    gamma, relative, absolute, where
        As there.
    weights : sequence of arrays (B, n_i), optional
        What entries are weighed by. With them absolute bounds are those of the product γ in terms
        of `unit`, (B,); without, those of its factors as they stand.
    """
    bounds = np.array(relative, float), np.array(absolute, float)
    joined, dims = join(gamma), sizes(gamma)
    if weights is None or unit is None:
        kept, removed = kernels.prune_rows(joined, dims, *bounds, where)
    else:
        weighed = kernels.prune_weighed_rows
        kept, removed = weighed(joined, join(weights), dims, *bounds, unit, where)
    return split(kept, gamma), removed
