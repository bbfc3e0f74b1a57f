"""The n×n systems S = σ²I + Γ^½AᴴAΓ^½ of the n atoms that a realization has in use.

Realizations differ in n. Their matrices follow each other in one array, n² entries each, and so do
their vectors, n entries each.
"""

from __future__ import annotations

import math

import numpy as np

from solvers.arrays import Array
from solvers.kernels.compiling import compiled

_SIZES, _REALS = "int64[::1]", "float64[::1]"


@compiled(
    *(
        f"{kind}[::1]({kind}[:, ::1], {_SIZES}, int64[:, ::1], {_SIZES}, {_REALS}, {_REALS})"
        for kind in ("float64", "complex128")
    )
)
def assemble(
    grams: Array, dims: Array, positions: Array, counts: Array, root: Array, noise_var: Array
) -> Array:
    """The upper triangles of S, whose entries are products of those of the factors' AᴴA.

    Parameters
    ----------
    grams : array, (B or 1, ΣN_i²)
        A_iᴴA_i of the factors, one after the other; one row where realizations share them.
    dims : array of int, (I,)
        The N_i.
    positions : array of int, (I, Σn)
        Where the atoms lie along the modes.
    counts : array of int, (B,)
        The n.
    root : array, (Σn,)
        Γ^½.
    noise_var : array, (B,)

    Returns
    -------
    array, (Σn²,)
        What is below the diagonals means nothing.
    """
    entries = 0
    for n in counts:
        entries += n * n
    systems, first, begin = np.empty(entries, grams.dtype), 0, 0
    for row in range(counts.size):
        n, gram = counts[row], grams[row if len(grams) > 1 else 0]
        for i in range(first, first + n):
            line = systems[begin + (i - first) * n : begin + (i - first + 1) * n]
            for j in range(i, first + n):
                line[j - first] = root[i] * root[j]
            start = 0
            for mode in range(dims.size):
                at = start + positions[mode, i] * dims[mode]
                for j in range(i, first + n):
                    line[j - first] *= gram[at + positions[mode, j]]
                start += dims[mode] ** 2
            line[i - first] += noise_var[row]
        first, begin = first + n, begin + n * n
    return systems


@compiled(
    *(
        f"Tuple(({kind}[::1], {_REALS}, {_REALS}))({kind}[::1], {_SIZES}, {kind}[::1])"
        for kind in ("float64", "complex128")
    )
)
def finish(roots: Array, counts: Array, target: Array) -> tuple[Array, Array, Array]:
    """S⁻¹ t, diag(S⁻¹) and log|S| from upper triangular R with R Rᴴ = S⁻¹.

    Parameters
    ----------
    roots : array, (Σn²,)
        R.
    counts : array of int, (B,)
    target : array, (Σn,)
        t.

    Returns
    -------
    solution, diagonal : arrays, (Σn,)
    logdet : array, (B,)
    """
    solution, diagonal = np.zeros_like(target), np.zeros(target.size)
    half, logdet = np.empty_like(target), np.zeros(counts.size)
    first, begin = 0, 0
    for row in range(counts.size):
        n = counts[row]
        for j in range(n):
            half[j] = 0.0
        for i in range(n):
            line, t = roots[begin + i * n : begin + (i + 1) * n], target[first + i]
            for j in range(i, n):
                half[j] += np.conj(line[j]) * t
            logdet[row] -= 2.0 * math.log(line[i].real)
        for i in range(n):
            line = roots[begin + i * n : begin + (i + 1) * n]
            value, power = line[i] * half[i], 0.0
            for j in range(i + 1, n):
                value += line[j] * half[j]
            for j in range(i, n):
                power += line[j].real ** 2 + line[j].imag ** 2
            solution[first + i], diagonal[first + i] = value, power
        first, begin = first + n, begin + n * n
    return solution, diagonal, logdet
