"""Eigendecompositions of many small symmetric matrices at once, several per instruction.

LAPACK takes one matrix at a time, and with orders of 5 to 15 spends most of it on loops too short
for a processor's vector units. Here the matrices of a batch lie side by side, entry by entry, as
lanes, and every operation is done for all lanes. Householder reflections bring them to
tridiagonal form, implicit QL steps with Wilkinson's shift to diagonal form (Golub and Van Loan,
*Matrix Computations*, 4th ed., sections 8.3.1 and 8.3.5).
"""

from __future__ import annotations

import math

import numpy as np

from solvers.arrays import Array
from solvers.kernels.compiling import compiled
from solvers.kernels.tridiagonal import reduce_hermitian, reduce_symmetric

LANES = 32
STEPS = 30  # per eigenvalue; about two are needed
EPSILON = 2.0**-52

_CUBE, _PLANE = "float64[:, :, ::1]", "float64[:, ::1]"


@compiled()
def _shifts(t: Array, state: Array, first: int, lanes: int) -> int:
    """Zero what is negligible beside the diagonal; Wilkinson's shift of every lane, in state[4].

    Returns the first row that any lane has not finished, or n − 1.
    """
    n = t.shape[1]
    for i in range(first, n - 1):
        for m in range(lanes):
            e = t[1, i, m]
            size = abs(t[0, i, m]) + abs(t[0, i + 1, m])
            t[1, i, m] = e if abs(e) > EPSILON * size else 0.0
    lowest = n - 1
    for m in range(lanes):
        k = first
        while k < n - 1 and t[1, k, m] == 0.0:
            k += 1
        state[4, m] = 0.0
        if k < n - 1:
            e, d = t[1, k, m], t[0, k, m]
            ratio = (t[0, k + 1, m] - d) / (2.0 * e)
            root = math.copysign(math.sqrt(ratio * ratio + 1.0), ratio)
            state[4, m] = d - e / (ratio + root)
        lowest = min(lowest, k)
    return lowest


@compiled()
def _diagonalize(t: Array, z: Array, lanes: int) -> bool:
    """Implicit QL steps on T until t[1] is 0, the rotations applied to the columns of Z.

    Where an entry beside the diagonal is 0, blocks part: the bulge ends, and a new one is begun
    with the lane's shift. So no lane branches, what has converged is left as it is, and no lane
    depends on its neighbours.

    Returns whether it came to an end.
    """
    n = t.shape[1]
    turn, state = np.empty(t.shape), np.empty((5, lanes))
    first = 0
    for _ in range(STEPS * n):
        first = _shifts(t, state, first, lanes)
        if first == n - 1:
            return True
        for i in range(n - 2, first - 1, -1):
            for m in range(lanes):
                d, e, d_next = t[0, i, m], t[1, i, m], t[0, i + 1, m]
                begins, ends = t[1, i + 1, m] == 0.0, e == 0.0
                sine = 1.0 if begins else state[0, m]
                cosine = 1.0 if begins else state[1, m]
                g = d_next - state[4, m] if begins else state[2, m]
                p = 0.0 if begins else state[3, m]
                bulge, beside = sine * e, cosine * e
                r = math.sqrt(bulge * bulge + g * g)
                inverse = 1.0 / (1.0 if r == 0.0 else r)
                sine = bulge * inverse
                cosine = 1.0 if ends or r == 0.0 else g * inverse
                d_next -= p
                q = (d - d_next) * sine + 2.0 * cosine * beside
                p = sine * q
                t[0, i + 1, m] = d_next + p
                t[1, i + 1, m] = 0.0 if begins else g if ends else r
                state[0, m], state[1, m] = sine, cosine
                state[2, m], state[3, m] = cosine * q - beside, p
                turn[0, i, m], turn[1, i, m] = sine, cosine
        for m in range(lanes):
            t[0, first, m] -= state[3, m]
            t[1, first, m] = state[2, m]
        for row in range(len(z)):
            for i in range(n - 2, first - 1, -1):
                for m in range(lanes):
                    here, after = z[row, i, m], z[row, i + 1, m]
                    z[row, i + 1, m] = turn[0, i, m] * here + turn[1, i, m] * after
                    z[row, i, m] = turn[1, i, m] * here - turn[0, i, m] * after
    return False


@compiled()
def _scale(matrix: Array) -> float:
    """A power of two by which to divide, so that squares neither overflow nor vanish."""
    largest = 0.0
    for i in range(len(matrix)):
        for j in range(i + 1):
            largest = max(largest, abs(matrix[i, j].real), abs(matrix[i, j].imag))
    usable = 0.0 < largest < np.inf
    return math.ldexp(1.0, math.frexp(largest)[1]) if usable else 1.0


@compiled()
def _portion(left: int) -> tuple[int, int]:
    """Number of matrices to take at once, of those that are left, and of lanes for them."""
    rows = min(LANES, left)
    return rows, LANES if rows > LANES // 2 else LANES // 2


@compiled()
def _unload(t: Array, scales: Array, ended: bool, values: Array, failed: Array) -> None:
    """Write the eigenvalues of some lanes, and whether they failed."""
    for m in range(len(values)):
        total = 0.0
        for i in range(values.shape[1]):
            total += t[0, i, m]
            values[m, i] = t[0, i, m] * scales[m]
        failed[m] = not (ended and math.isfinite(total))


@compiled(f"Tuple(({_PLANE}, {_CUBE}, boolean[::1]))({_CUBE})")
def eigh_symmetric(matrices: Array) -> tuple[Array, Array, Array]:
    """Eigenvalues, in no order, and eigenvectors of real symmetric matrices.

    Parameters
    ----------
    matrices : array, (B, n, n)
        Only their lower triangles are looked at.

    Returns
    -------
    values : array, (B, n)
    vectors : array, (B, n, n)
        Orthonormal columns.
    failed : array of bool, (B,)
        Rows that are not finite, or did not converge; their results mean nothing.
    """
    batch, n = matrices.shape[:2]
    values, vectors = np.empty((batch, n)), np.empty(matrices.shape)
    failed = np.zeros(batch, np.bool_)
    a, z = np.empty((n, n, LANES)), np.empty((n, n, LANES))
    t, w, beta = np.empty((2, n, LANES)), np.empty((n + 1, LANES)), np.empty((n, LANES))
    scales = np.empty(LANES)
    for start in range(0, batch, LANES):
        rows, lanes = _portion(batch - start)
        for m in range(lanes):
            row = matrices[start + min(m, rows - 1)]
            scales[m] = _scale(row)
            for i in range(n):
                for j in range(i + 1):
                    a[i, j, m] = row[i, j] / scales[m]
        reduce_symmetric(a, z, t, w, beta, lanes)
        ended = _diagonalize(t, z, lanes)
        done = slice(start, start + rows)
        _unload(t, scales, ended, values[done], failed[done])
        for m in range(rows):
            for i in range(n):
                for k in range(n):
                    vectors[start + m, k, i] = z[k, i, m]
    return values, vectors, failed


@compiled(f"Tuple(({_PLANE}, complex128[:, :, ::1], boolean[::1]))(complex128[:, :, ::1])")
def eigh_hermitian(matrices: Array) -> tuple[Array, Array, Array]:
    """Eigenvalues and eigenvectors of complex Hermitian matrices; see `eigh_symmetric`."""
    batch, n = matrices.shape[:2]
    values, vectors = np.empty((batch, n)), np.empty(matrices.shape, np.complex128)
    failed = np.zeros(batch, np.bool_)
    a, b, z = np.empty((n, n, LANES)), np.empty((n, n, LANES)), np.empty((2 * n, n, LANES))
    t, w, beta = np.empty((2, n, LANES)), np.empty((2, n + 1, LANES)), np.empty((n, LANES))
    scales = np.empty(LANES)
    for start in range(0, batch, LANES):
        rows, lanes = _portion(batch - start)
        for m in range(lanes):
            row = matrices[start + min(m, rows - 1)]
            scales[m] = _scale(row)
            for i in range(n):
                for j in range(i + 1):
                    a[i, j, m] = row[i, j].real / scales[m]
                    b[i, j, m] = row[i, j].imag / scales[m]
        reduce_hermitian(a, b, z, t, w, beta, lanes)
        ended = _diagonalize(t, z, lanes)
        done = slice(start, start + rows)
        _unload(t, scales, ended, values[done], failed[done])
        for m in range(rows):
            for i in range(n):
                for k in range(n):
                    vectors[start + m, k, i] = z[k, i, m] + 1j * z[n + k, i, m]
    return values, vectors, failed
