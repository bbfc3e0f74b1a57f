"""The operations in the array API standard, for arrays of any library.

They make few calls on many rows, as GPUs want it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from solvers import arrays
from solvers.arrays import Array, flat, namespace, reshape, take
from solvers.kron import abs2, kron_apply, normalize, outer
from solvers.operations.standard_systems import solve_systems as solve_systems
from solvers.operations.terms import Sweeps

MOST_AT_ONCE = 2**22
"""Bound, in entries, on the matrices whose eigenvectors are asked for at once: some libraries take
a few kilobytes of room for each."""


def eigh(matrices: Array) -> tuple[Array, Array]:
    xp, (batch, n) = namespace(matrices), matrices.shape[:2]
    finite = xp.all(xp.isfinite(flat(matrices)), axis=1)
    harmless = xp.where(finite[:, None, None], matrices, arrays.eye(matrices, n))
    size = max(MOST_AT_ONCE // (n * n), 1)
    parts = [xp.linalg.eigh(harmless[i : min(i + size, batch), ...]) for i in range(0, batch, size)]
    values = xp.concat([part[0] for part in parts], axis=0)
    vectors = xp.concat([part[1] for part in parts], axis=0)
    return xp.where(finite[:, None], values, float("nan")), vectors


def leading_vectors(matrices: Array) -> Array:
    xp = namespace(matrices)
    values, vectors = eigh(matrices)
    last = xp.argmax(values, axis=1, keepdims=True)
    found = xp.take_along_axis(vectors, last[:, None, :], axis=2)[:, :, 0]
    # Atoms that are gone stay so: a library's rounding would bring them back, next to nothing.
    found = xp.where(xp.linalg.diagonal(matrices) == 0, 0.0, found)
    largest = xp.max(values, axis=1, keepdims=True)
    return xp.where(largest == 0, 0.0, xp.abs(found) + 0.0 * largest)  # NaN stays NaN


def shrink(spectra: Sequence[Array], noise_var: Array, data: Array) -> tuple[Array, Array]:
    d = 1.0 / (arrays.wide(noise_var, data.ndim) + outer(spectra))
    return d, d * data


def second_moments(mean: Array, gamma: Sequence[Array], explained: Array) -> Array:
    return abs2(mean) + namespace(mean).abs(outer(gamma) - explained)


def alternate(
    moment: Array, gamma: Sequence[Array], options: Sweeps
) -> tuple[tuple[Array, ...], Array, Array]:
    """Alternating minimisation; converged rows are left out once they are half of all."""
    tolerance, relative, most, coupling, unit, spread = options
    if coupling is not None:
        raise NotImplementedError("coupled factors need non-negative least squares")
    xp, batch = namespace(moment), moment.shape[0]
    if spread is not None:
        variance = kron_apply(spread.weights, spread.d)
        moment = moment + (outer(gamma) - variance if spread.explained else variance)
        most = 1
    unit = arrays.full(moment, (batch,), 1.0) if unit is None else unit
    needed = [moment, unit, _shares(gamma), *(g > 0 for g in gamma)]
    going, sweeps = (
        arrays.full(moment, (batch,), True, xp.bool),
        arrays.zeros(moment, (batch,), xp.int64),
    )
    answer, ended = [arrays.arange(moment, batch), going, sweeps, *gamma], []
    for iteration in range(1, most + 1):
        moment, unit, shares, *used = needed
        rows, going, sweeps, *old = answer
        swept = _swept(moment, used, shares, old)
        moved2, size2 = change(swept, old)
        sweeps = sweeps + xp.astype(going, xp.int64)
        new = [xp.where(going[:, None], s, o) for s, o in zip(swept, old, strict=True)]
        going = going & (moved2 > tolerance**2 * (size2 if relative else unit**2))
        answer = [rows, going, sweeps, *new]
        left = int(xp.count_nonzero(going))
        if left == 0 or iteration == most:
            break
        if 2 * left <= going.shape[0]:
            ended.append([take(part, arrays.where_true(~going)) for part in answer])
            rest = arrays.where_true(going)
            answer, needed = ([take(p, rest) for p in parts] for parts in (answer, needed))
    whole = (xp.concat(parts, axis=0) for parts in zip(*ended, answer, strict=True))
    rows, capped, sweeps, *factors = whole
    order = xp.argsort(rows)
    if spread is not None:
        capped = arrays.zeros(moment, (batch,), xp.bool)
    found = normalize([take(g, order) for g in factors])
    return found, take(sweeps, order), take(capped, order)


def _shares(gamma: Sequence[Array]) -> Array:
    """1/Π_{j≠i} n_j of the atoms in use, (B, I)."""
    xp = namespace(gamma[0])
    used = xp.stack([xp.count_nonzero(g, axis=1) for g in gamma], axis=1)
    atoms = xp.maximum(xp.astype(used, xp.float64), 1.0)
    return atoms / xp.prod(atoms, axis=1, keepdims=True)


def _swept(
    moment: Array, used: Sequence[Array], shares: Array, gamma: Sequence[Array]
) -> list[Array]:
    """The factors after one sweep over them."""
    xp, batch = namespace(moment), moment.shape[0]
    inverses = [_inverse(g, u) for g, u in zip(gamma[1:], used[1:], strict=True)]
    rest, swept = moment, []
    for mode, u in enumerate(used):
        rest = reshape(rest, batch, u.shape[1], -1)
        behind = inverses[mode:]
        tail = flat(outer(behind)) if behind else arrays.full(rest, (batch, 1), 1.0)
        factor = xp.matmul(rest, tail[:, :, None])[:, :, 0] * shares[:, mode : mode + 1]
        if behind:
            rest = xp.matmul(_inverse(factor, u)[:, None, :], rest)
        swept.append(factor)
    return swept


def _inverse(gamma: Array, used: Array) -> Array:
    """1/γ. What Λ has at atoms out of use is 0, so that any finite value will do there."""
    return 1.0 / namespace(gamma).where(used, gamma, 1.0)


def prune(
    gamma: Sequence[Array],
    relative: Sequence[float],
    absolute: Sequence[float],
    where: Array,
    weights: Sequence[Array] | None,
    unit: Array | None,
) -> tuple[tuple[Array, ...], Array]:
    xp, kept = namespace(where), []
    lost: Any = 0.0
    before: Any = 1.0
    weighed = gamma if weights is None else [g * w for g, w in zip(gamma, weights, strict=True)]
    largest = [xp.max(w, axis=1, keepdims=True) for w in weighed]
    product = math.prod(largest)
    # ‖⊗g‖² − ‖⊗kept‖² = Σ_i Π_{j<i} ‖kept_j‖² · ‖lost_i‖² · Π_{j>i} ‖g_j‖²
    for g, w, most, share, bound in zip(gamma, weighed, largest, relative, absolute, strict=True):
        if weights is None or unit is None:
            limit = xp.maximum(share * most, bound)
        else:
            least = bound * unit[:, None] / xp.where(product > 0, product, 1.0)
            limit = xp.where(product > 0, xp.maximum(least, share), share) * most
        small = (w < limit) & where[:, None]
        gone, left = (xp.sum(xp.where(m, g * g, 0.0), axis=1) for m in (small, ~small))
        kept.append(xp.where(small, 0.0, g))
        lost, before = lost * (gone + left) + before * gone, before * left
    return tuple(kept), lost


def distance2(new: Sequence[Array], old: Sequence[Array]) -> Array:
    return change(new, old)[0]


def change(new: Sequence[Array], old: Sequence[Array]) -> tuple[Array, Array]:
    """Squared distance of two Kronecker products, and the squared norm of the old one, (B,) each.

    Telescoped as in `solvers.kernels.factors.change`.
    """
    xp, one = namespace(new[0]), arrays.full(new[0], new[0].shape[:1], 1.0)
    square, overlap, size = 0.0 * one, 0.0 * one, one  # ‖d‖², ⟨d, a⟩ and ‖a‖² of the factors so far
    for b, a in zip(new, old, strict=True):
        delta = b - a
        aa, ad, dd = (xp.vecdot(p, q) for p, q in ((a, a), (a, delta), (delta, delta)))
        ab, bd = aa + ad, ad + dd
        square = square * (ab + bd) + 2.0 * overlap * bd + size * dd
        overlap, size = overlap * ab + size * ad, size * aa
    return xp.maximum(square, 0.0), size
