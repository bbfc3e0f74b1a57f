"""Batched Kronecker algebra: mode products and norms.

A vector of length ΠN is kept as a tensor (B, N_1, …, N_I) in C order, so that the product of
A_1 ⊗ … ⊗ A_I with it is one small product along each axis. Neither the Kronecker product nor a
covariance is ever formed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import reduce

import numpy as np

from solvers.arrays import Array, conj, copied, flat, is_complex, namespace, reshape


def adjoint(matrix: Array) -> Array:
    """Conjugate transpose of the last two axes."""
    return conj(matrix).mT


def abs2(x: Array) -> Array:
    """Squared modulus, without the square root in between."""
    if not is_complex(x):
        return x * x
    xp = namespace(x)
    return xp.real(x) ** 2 + xp.imag(x) ** 2


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
    xp, before, after = namespace(x), math.prod(shape[1 : mode + 1]), math.prod(shape[mode + 2 :])
    if after == 1:
        product = xp.matmul(reshape(x, shape[0], before, shape[mode + 1]), matrix.mT)
    else:
        stack = matrix if matrix.ndim == 2 else matrix[:, None, :, :]
        product = xp.matmul(stack, reshape(x, shape[0], before, shape[mode + 1], after))
    return reshape(product, *shape[: mode + 1], matrix.shape[-2], *shape[mode + 2 :])


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
    matmul = namespace(x).matmul
    shrink = [m.shape[-2] / m.shape[-1] for m in matrices]
    if shrink[0] <= shrink[-1]:
        for matrix in matrices:
            batch, d, *rest = x.shape
            product = matmul(reshape(x, batch, d, -1).mT, matrix.mT)
            x = reshape(product, batch, *rest, matrix.shape[-2])
    else:
        for matrix in reversed(matrices):
            batch, *rest, d = x.shape
            product = matmul(matrix, reshape(x, batch, -1, d).mT)
            x = reshape(product, batch, matrix.shape[-2], *rest)
    return x


def kron(matrices: Sequence[Array]) -> Array:
    """Kronecker product of matrices of numpy, (…, ΠR_i, ΠC_i), each (…, R_i, C_i).

    For small ones: what solves large problems never forms it.
    """

    def pair(a: Array, b: Array) -> Array:
        product = a[..., :, None, :, None] * b[..., None, :, None, :]
        rows, columns = a.shape[-2] * b.shape[-2], a.shape[-1] * b.shape[-1]
        return product.reshape(*product.shape[:-4], rows, columns)

    return reduce(pair, matrices)


def outer(vectors: Sequence[Array]) -> Array:
    """Tensor of all products, a new array: (B, n_1), …, (B, n_I) to (B, n_1, …, n_I)."""
    # From the last on, so that numpy's inner loops run over many entries.
    result = vectors[-1]
    if len(vectors) == 1:
        return copied(result)
    for vector in reversed(vectors[:-1]):
        result = flat(vector[:, :, None] * result[:, None, :])
    return reshape(result, result.shape[0], *(v.shape[1] for v in vectors))


def total(x: Array) -> Array:
    """Sum over everything but the batch, (B, …) to (B,)."""
    if isinstance(x, np.ndarray):  # the method, which costs less where batches are small
        return x.reshape(len(x), -1).sum(axis=1)
    return namespace(x).sum(flat(x), axis=1)


def squares(vectors: Array) -> Array:
    """Squared norms of (B, n) vectors, (B,)."""
    return namespace(vectors).vecdot(vectors, vectors)


def norm2(vectors: Sequence[Array]) -> Array:
    """Squared norm of the Kronecker product of (B, n_i) vectors, (B,)."""
    return reduce(operator.mul, [squares(v) for v in vectors])


def normalize(gamma: Sequence[Array]) -> tuple[Array, ...]:
    """Same Kronecker product, factors 1…I−1 at unit norm and the scale in the last.

    The product does not change when its factors are rescaled, so this loses nothing.
    """
    *leading, last = gamma
    result = []
    for g in leading:
        xp = namespace(g)
        norm = xp.sqrt(squares(g))[:, None]
        norm = xp.where(norm == 0, 1.0, norm)
        result.append(g / norm)
        last = last * norm
    return (*result, last)
