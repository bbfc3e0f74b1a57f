"""Batched Kronecker algebra: mode products, norms and pruning.

A vector of length ΠN is kept as a tensor (B, N_1, …, N_I) in C order, so that the product of
A_1 ⊗ … ⊗ A_I with it is one small product along each axis. Neither the Kronecker product nor a
covariance is ever formed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from solvers.core import Array

SQUARINGS, SETTLED = 7, 1e-13
FEW = 16
"""Matrices of which `eigh` is faster than the calls of several products."""


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
    """`numpy.linalg.eigh` of a stack, with NaN for matrices that are not finite.

    One such matrix would otherwise fail the whole batch; this way its row ends as diverged.
    """
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

    Notes
    -----
    Powers of a matrix by repeated squaring approach the projector on its leading eigenvector,
    the error squared each time: a few products of small matrices, where `eigh` would compute
    all eigenvectors. Rows that have not settled after `SQUARINGS` of them (leading eigenvalues
    that all but coincide) get theirs from `eigh`.
    """
    if len(matrices) < FEW:
        return np.abs(eigh(matrices)[1][:, :, -1])
    scale = np.einsum("bii->b", matrices)[:, None, None]
    scale = np.where(scale > 0, scale, 1.0)
    power, vectors = matrices / scale, np.zeros(matrices.shape[:2])
    for _ in range(SQUARINGS):
        power = power @ power
        power /= np.where((trace := np.einsum("bii->b", power)) > 0, trace, 1.0)[:, None, None]
    # The projector applied to a positive vector, and one step more to wash out rounding.
    vectors = (matrices @ power.sum(axis=2)[:, :, None])[:, :, 0]
    norms = np.sqrt(squares(vectors))[:, None]
    vectors = np.divide(vectors, norms, out=vectors, where=norms > 0)
    # A projector is its own square: trace(P²) = trace(P) = 1.
    unsettled = np.flatnonzero(~(np.einsum("bij,bij->b", power, power) > 1.0 - SETTLED))
    if unsettled.size:
        vectors[unsettled] = np.abs(eigh(matrices[unsettled])[1][:, :, -1])
    return vectors


def squares(vectors: Array) -> Array:
    """Squared norms of (B, n) vectors, (B,)."""
    return np.vecdot(vectors, vectors)


def norm2(vectors: Sequence[Array]) -> Array:
    """Squared norm of the Kronecker product of (B, n_i) vectors, (B,)."""
    return reduce(np.multiply, [squares(v) for v in vectors])


def distance2(new: Sequence[Array], old: Sequence[Array]) -> Array:
    """Squared distance between two Kronecker products of non-negative (B, n_i) vectors, (B,).

    Notes
    -----
    ‖b‖² + ‖a‖² − 2⟨a, b⟩ would lose all digits below 1e-8. The difference is telescoped instead:
    that of the first i factors is (difference so far) ⊗ b_i + (a_1 ⊗ … ⊗ a_{i−1}) ⊗ Δ_i, with a
    the old, b the new and Δ_i = b_i − a_i. Its square needs inner products of vectors only.
    """
    deltas = [b - a for b, a in zip(new, old, strict=True)]
    # ‖d‖², ⟨d, a⟩ and ‖a‖² of the factors so far
    square, overlap, size = squares(deltas[0]), np.vecdot(old[0], deltas[0]), squares(old[0])
    for a, delta in zip(old[1:], deltas[1:], strict=True):
        aa, ad, dd = squares(a), np.vecdot(a, delta), squares(delta)
        ab, bd = aa + ad, ad + dd
        square = square * (ab + bd) + 2.0 * overlap * bd + size * dd
        overlap, size = overlap * ab + size * ad, size * aa
    return np.maximum(square, 0.0)


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


def prune(
    gamma: Sequence[Array], relative: Sequence[float], absolute: Sequence[float], where: Array
) -> tuple[tuple[Array, ...], Array]:
    """Set small entries of each factor of γ to 0.

    Parameters
    ----------
    gamma : sequence of arrays (B, n_i)
    relative, absolute : sequences of float
        Per factor: bound relative to the factor's own largest entry, and bound as it stands.
    where : bool array, (B,)
        Rows to prune; the others come back as they are.

    Returns
    -------
    gamma : tuple of arrays (B, n_i)
    removed : array, (B,)
        Squared norm of what was taken out of the Kronecker product. Summed from the parts that
        went, so that it is exactly 0 where nothing did.
    """
    kept: list[Array] = []
    removed, before = np.zeros(len(where)), np.ones(len(where))
    for g, bound, floor in zip(gamma, relative, absolute, strict=True):
        limit = np.maximum(bound * g.max(axis=1), floor)
        gone = (g < np.where(where, limit, 0.0)[:, None]) & (g > 0)
        if not gone.any():
            kept.append(g)
            removed, before = removed * squares(g), before * squares(g)
            continue
        lost, left = np.where(gone, g, 0.0), np.where(gone, 0.0, g)
        # ‖⊗g‖² − ‖⊗kept‖² = Σ_i Π_{j<i} ‖kept_j‖² · ‖lost_i‖² · Π_{j>i} ‖g_j‖²
        removed = removed * squares(g) + before * squares(lost)
        before = before * squares(left)
        kept.append(left)
    return tuple(kept), removed
