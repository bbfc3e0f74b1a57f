"""M-steps that minimise Σ log γ + Λ/γ over the factors of γ in turn.

Factors are kept one after the other in one array (B, Σn), 0 at atoms out of use; see
`solvers.kernels.contracting`.
"""

from __future__ import annotations

import math

import numpy as np

from solvers.arrays import Array
from solvers.kernels import contracting, factors, least_squares
from solvers.kernels.compiling import compiled

_VECTOR, _MATRIX, _SIZES = "float64[::1]", "float64[:, ::1]", "int64[::1]"


@compiled()
def _invert(gamma: Array, start: Array, reciprocal: Array) -> None:
    """1/γ. What Λ has at atoms out of use is 0, so that any finite value will do there."""
    for k in range(gamma.size):
        reciprocal[k] = 1.0 / gamma[k] if start[k] > 0.0 else 1.0


@compiled()
def _set_shares(gamma: Array, starts: Array, shares: Array) -> None:
    """1/Π_{j≠i} n_j of the atoms in use."""
    atoms = 1.0
    for mode in range(shares.size):
        used = 0
        for k in range(starts[mode], starts[mode + 1]):
            used += gamma[k] > 0.0
        shares[mode] = max(used, 1)
        atoms *= shares[mode]
    for mode in range(shares.size):
        shares[mode] /= atoms


@compiled()
def _inner(a: Array, b: Array) -> float:
    """Inner product of two vectors."""
    total = 0.0
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@compiled()
def _coupling(positions: Array, gamma: Array, beta: float) -> Array:
    """C of PC-KroSBL: 1 for an atom in use and itself, β for neighbours, 0 otherwise.

    Atoms in use are kept in their order, those out of use behind them, so that C is tridiagonal.
    """
    n = positions.size
    matrix = np.zeros((n, n))
    for i in range(n):
        matrix[i, i] = gamma[i] > 0.0
    for i in range(n - 1):
        if gamma[i] > 0.0 and gamma[i + 1] > 0.0 and positions[i + 1] - positions[i] == 1:
            matrix[i, i + 1] = matrix[i + 1, i] = beta
    return matrix


@compiled()
def _couple(gamma: Array, matrix: Array, normal: Array, floor: float, free: Array) -> None:
    """Replace a factor by the nearest that is C g + floor with g ≥ 0."""
    x = np.empty(gamma.size)
    least_squares.minimize(matrix, matrix, normal, 1, gamma, free, x)  # C is symmetric
    nearest = least_squares.multiply(matrix, x, 1)
    for k in range(gamma.size):
        gamma[k] = nearest[k] + floor * matrix[k, k]


@compiled(
    f"Tuple(({_MATRIX}, {_SIZES}, boolean[::1]))({_MATRIX}, {_MATRIX}, {_SIZES}, "
    f"float64, boolean, int64, int64[:, ::1], {_VECTOR}, float64, {_VECTOR})"
)
def alternate_rows(
    moment: Array,
    gamma: Array,
    dims: Array,
    tolerance: float,
    relative: bool,
    most: int,
    positions: Array,
    betas: Array,
    floor: float,
    unit: Array,
) -> tuple[Array, Array, Array]:
    """Sweep over the factors until γ stands still, each row for as long as it needs.

    Parameters
    ----------
    moment : array, (B, Πn)
        Posterior second moments Λ, 0 at atoms out of use.
    gamma : array, (B, Σn)
        Where to start.
    dims : array of int, (I,)
        The n_i.
    tolerance, relative, most
        As for `solvers.kron_sbl.alternate`.
    positions : array of int, (B, Σn)
        Where the atoms lie along their modes.
    betas : array, (I,)
        Weight of a neighbour; NaN for factors that are not coupled.
    floor : float
        Keeps the variances of coupled atoms away from 0.
    unit : array, (B,)
        What an absolute tolerance is a multiple of, and the floor of the last factor, which
        carries the scale of all of them.

    Returns
    -------
    gamma : array, (B, Σn)
        The factors after the last sweep, all but the last of norm 1.
    sweeps : array of int, (B,)
    capped : array of bool, (B,)
    """
    batch, modes = len(moment), dims.size
    starts = factors.offsets(dims)
    tails, memory = contracting.room(starts), np.empty((modes, moment.shape[1] // dims[0]))
    result, sweeps, capped = gamma.copy(), np.zeros(batch, np.int64), np.zeros(batch, np.bool_)
    reciprocal, before = np.empty(gamma.shape[1]), np.empty(gamma.shape[1])
    shares, free = np.empty(modes), np.empty(gamma.shape[1], np.bool_)
    nothing, coupled = np.empty((0, 0)), False
    for beta in betas:
        coupled = coupled or not math.isnan(beta)
    for row in range(batch):
        g, start = result[row], gamma[row]
        _set_shares(start, starts, shares)
        _invert(g, start, reciprocal)
        couplings, normals = [], []
        for mode in range(modes):
            c, normal = nothing, nothing
            if not math.isnan(betas[mode]):
                first, last = starts[mode], starts[mode + 1]
                c = _coupling(positions[row, first:last], start[first:last], betas[mode])
                normal = least_squares.normal_matrix(c, 1)
            couplings.append(c)
            normals.append(normal)
        for k in range(free.size):
            free[k] = True
        while True:
            for k in range(g.size):
                before[k] = g[k]
            contracting.set_tails(tails, reciprocal, starts)
            rest = moment[row]
            for mode in range(modes):
                first, last = starts[mode], starts[mode + 1]
                factor = g[first:last]
                contracting.along(rest, tails, starts, mode, factor)
                for k in range(factor.size):
                    factor[k] *= shares[mode]
                if not math.isnan(betas[mode]):
                    least = floor * unit[row] if mode == modes - 1 else floor
                    _couple(factor, couplings[mode], normals[mode], least, free[first:last])
                _invert(factor, start[first:last], reciprocal[first:last])
                if mode < modes - 1:
                    rest = contracting.fold(rest, reciprocal[first:last], memory[mode])
            sweeps[row] += 1
            if coupled:  # the floor is absolute, so that scales matter
                factors.normalize_row(g, starts)
                _invert(g, start, reciprocal)
            distance2, norm2 = factors.change(g, before, starts)
            # Written so that NaN ends a row, for the EM loop to see.
            if not distance2 > tolerance**2 * (norm2 if relative else unit[row] ** 2):
                break
            if sweeps[row] == most:
                capped[row] = True
                break
        factors.normalize_row(g, starts)
    return result, sweeps, capped


@compiled(f"{_MATRIX}({_MATRIX}, {_MATRIX}, {_MATRIX}, boolean, {_MATRIX}, {_SIZES}, {_SIZES})")
def sweep(
    power: Array,
    d: Array,
    weights: Array,
    explained: bool,
    gamma: Array,
    dims: Array,
    ranks: Array,
) -> Array:
    """Sweep over the factors once, without forming the tensor of the variances.

    Parameters
    ----------
    power : array, (B, Πn)
        |μ|² of the posterior mean.
    d : array, (B, Πr)
    weights : array, (B, Σ n_i r_i)
        Matrices W_i (n_i, r_i), one after the other, by which the variances are
        (W_1 ⊗ … ⊗ W_I) d, or where `explained` γ minus that.
    gamma : array, (B, Σn)
        The factors of γ.
    dims, ranks : arrays of int, (I,)
        The n_i and r_i.

    Returns
    -------
    array, (B, Σn)
        The new factors, all but the last of norm 1.
    """
    modes, result = dims.size, gamma.copy()
    starts, inner_starts = factors.offsets(dims), factors.offsets(ranks)
    weight_starts = factors.offsets(dims * ranks)
    tails, inner_tails = contracting.room(starts), contracting.room(inner_starts)
    memory = np.empty((modes, power.shape[1] // dims[0]))
    inner_memory = np.empty((modes, d.shape[1] // ranks[0]))
    reciprocal, inner = np.empty(gamma.shape[1]), np.empty(inner_starts[-1])
    scale, shares = np.empty(modes), np.empty(modes)
    for row in range(len(gamma)):
        g, start = result[row], gamma[row]
        _set_shares(start, starts, shares)
        _invert(g, start, reciprocal)
        for mode in range(modes):
            r = reciprocal[starts[mode] : starts[mode + 1]]
            w = weights[row, weight_starts[mode] : weight_starts[mode + 1]]
            contracting.fold(w, r, inner[inner_starts[mode] : inner_starts[mode + 1]])
            scale[mode] = _inner(start[starts[mode] : starts[mode + 1]], r)
        contracting.set_tails(tails, reciprocal, starts)
        contracting.set_tails(inner_tails, inner, inner_starts)
        rest, inner_rest = power[row], d[row]
        for mode in range(modes):
            first, last = starts[mode], starts[mode + 1]
            factor, r = g[first:last], reciprocal[first:last]
            q = inner[inner_starts[mode] : inner_starts[mode + 1]]
            w = weights[row, weight_starts[mode] : weight_starts[mode + 1]]
            contracting.along(rest, tails, starts, mode, factor)
            contracting.along(inner_rest, inner_tails, inner_starts, mode, q)
            others = 1.0
            for other in range(modes):
                others *= scale[other] if other != mode else 1.0
            for k in range(factor.size):
                variance = _inner(w[k * q.size : (k + 1) * q.size], q)
                if explained:
                    variance = others * start[first + k] - variance
                factor[k] = (factor[k] + variance) * shares[mode]
            _invert(factor, start[first:last], r)
            scale[mode] = _inner(start[first:last], r)
            contracting.fold(w, r, q)
            if mode < modes - 1:
                rest = contracting.fold(rest, r, memory[mode])
                inner_rest = contracting.fold(inner_rest, q, inner_memory[mode])
        factors.normalize_row(g, starts)
    return result
