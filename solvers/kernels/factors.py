"""Norms, distances and pruning of γ = γ_1 ⊗ … ⊗ γ_I, whose factors are kept one after the other.

Factor i are the entries ``starts[i]`` to ``starts[i + 1]`` of each row of an array (B, Σn).
"""

from __future__ import annotations

import math

import numpy as np

from solvers.arrays import Array
from solvers.kernels.compiling import compiled

_VECTOR, _MATRIX, _SIZES = "float64[::1]", "float64[:, ::1]", "int64[::1]"


@compiled()
def offsets(sizes: Array) -> Array:
    """Begin of each of several arrays that follow each other, and the end of the last one."""
    starts = np.empty(sizes.size + 1, np.int64)
    starts[0] = 0
    for mode in range(sizes.size):
        starts[mode + 1] = starts[mode] + sizes[mode]
    return starts


@compiled()
def change(new: Array, old: Array, starts: Array) -> tuple[float, float]:
    """Squared distance of two Kronecker products, and the squared norm of the old one.

    ‖b‖² + ‖a‖² − 2⟨a, b⟩ would lose all digits below 1e-8. The difference is telescoped instead:
    that of the first i factors is (difference so far) ⊗ b_i + (a_1 ⊗ … ⊗ a_{i−1}) ⊗ Δ_i, with a
    the old, b the new and Δ_i = b_i − a_i. Its square needs inner products of vectors only.
    """
    square, overlap, size = 0.0, 0.0, 1.0  # ‖d‖², ⟨d, a⟩ and ‖a‖² of the factors so far
    for mode in range(starts.size - 1):
        aa, ad, dd = 0.0, 0.0, 0.0
        for k in range(starts[mode], starts[mode + 1]):
            a, delta = old[k], new[k] - old[k]
            aa += a * a
            ad += a * delta
            dd += delta * delta
        ab, bd = aa + ad, ad + dd
        square = square * (ab + bd) + 2.0 * overlap * bd + size * dd
        overlap, size = overlap * ab + size * ad, size * aa
    return max(square, 0.0), size


@compiled(f"{_VECTOR}({_MATRIX}, {_MATRIX}, {_SIZES})")
def row_distances2(new: Array, old: Array, sizes: Array) -> Array:
    """Squared distance of every row, (B,); see `change`."""
    distances, starts = np.empty(len(new)), offsets(sizes)
    for row in range(len(new)):
        distances[row] = change(new[row], old[row], starts)[0]
    return distances


@compiled()
def normalize_row(gamma: Array, starts: Array) -> None:
    """Scale all factors but the last to norm 1, and the last one by what they lose."""
    for mode in range(starts.size - 2):
        square = 0.0
        for k in range(starts[mode], starts[mode + 1]):
            square += gamma[k] * gamma[k]
        norm = math.sqrt(square) if square > 0.0 else 1.0
        for k in range(starts[mode], starts[mode + 1]):
            gamma[k] /= norm
        for k in range(starts[-2], starts[-1]):
            gamma[k] *= norm


@compiled(
    f"Tuple(({_MATRIX}, {_VECTOR}))({_MATRIX}, {_MATRIX}, {_SIZES}, {_VECTOR}, {_VECTOR}, "
    f"{_VECTOR}, boolean, boolean[::1])"
)
def prune_rows(
    gamma: Array,
    weights: Array,
    sizes: Array,
    relative: Array,
    absolute: Array,
    unit: Array,
    of_product: bool,
    where: Array,
) -> tuple[Array, Array]:
    """Set small entries of each factor of γ to 0.

    Parameters
    ----------
    gamma : array, (B, Σn)
    weights : array, (B, Σn)
        What entries of γ are weighed by: they, or their atoms, may be small.
    sizes : array of int, (I,)
        The n_i.
    relative, absolute : arrays, (I,)
        Per factor: bound relative to the factor's own largest weighed entry, and bound on the
        entry as it stands, or where `of_product` on the largest weighed entry of the product γ
        that it is a part of.
    unit : array, (B,)
        What absolute bounds on the product are multiples of.
    where : array of bool, (B,)
        Rows to prune.

    Returns
    -------
    gamma : array, (B, Σn)
    removed : array, (B,)
        Squared norm of what was taken out of the Kronecker product. Summed from the parts that
        went, so that it is exactly 0 where nothing did.
    """
    kept, removed, starts = gamma.copy(), np.zeros(len(gamma)), offsets(sizes)
    largest = np.empty(sizes.size)
    for row in range(len(gamma)):
        if not where[row]:
            continue
        product = 1.0
        for mode in range(sizes.size):
            largest[mode] = 0.0
            for k in range(starts[mode], starts[mode + 1]):
                largest[mode] = max(largest[mode], gamma[row, k] * weights[row, k])
            product *= largest[mode]
        # ‖⊗g‖² − ‖⊗kept‖² = Σ_i Π_{j<i} ‖kept_j‖² · ‖lost_i‖² · Π_{j>i} ‖g_j‖²
        before = 1.0
        for mode in range(sizes.size):
            limit = relative[mode] * largest[mode]
            if not of_product:
                limit = max(limit, absolute[mode])
            elif product > 0.0:
                share = max(relative[mode], absolute[mode] * unit[row] / product)
                limit = share * largest[mode]
            lost, left = 0.0, 0.0
            for k in range(starts[mode], starts[mode + 1]):
                if gamma[row, k] * weights[row, k] < limit:
                    lost += gamma[row, k] ** 2
                    kept[row, k] = 0.0
                else:
                    left += gamma[row, k] ** 2
            removed[row] = removed[row] * (lost + left) + before * lost
            before *= left
    return kept, removed
