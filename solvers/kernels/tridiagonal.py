"""Householder reduction of many symmetric matrices to tridiagonal form; see `eigen`.

Arrays end in an axis of lanes, one matrix each: a[i, j, m] is entry (i, j) of matrix m. Reflections
H = I − β v vᴴ make column after column 0 below the entry beside the diagonal,
A ← A − v wᴴ − w vᴴ with w = β A v − ½ β² (vᴴ A v) v.
"""

from __future__ import annotations

import math

from solvers.arrays import Array
from solvers.kernels.compiling import compiled


@compiled()
def _fill(vector: Array, value: float) -> None:
    for m in range(vector.size):
        vector[m] = value


@compiled()
def _set_identity(z: Array, n: int, lanes: int) -> None:
    """The first n rows of z (n or 2n, n, lanes) as identity matrices, 0 below."""
    for i in range(len(z)):
        for j in range(n):
            for m in range(lanes):
                z[i, j, m] = 1.0 if i == j else 0.0


@compiled()
def _reflect_symmetric(a: Array, t: Array, w: Array, beta: Array, k: int, lanes: int) -> None:
    """Make reflection k: v goes into column k of A, β and the entry beside the diagonal apart."""
    n = a.shape[0]
    s = w[n]
    _fill(s, 0.0)
    for i in range(k + 2, n):
        for m in range(lanes):
            s[m] += a[i, k, m] * a[i, k, m]
    for m in range(lanes):
        head = a[k + 1, k, m]
        alpha = -math.copysign(math.sqrt(s[m] + head * head), head)
        v = head - alpha
        done = s[m] == 0.0
        beta[k, m] = 0.0 if done else 2.0 / (s[m] + v * v)
        t[1, k, m] = head if done else alpha
        a[k + 1, k, m] = v


@compiled()
def _update_symmetric(a: Array, w: Array, beta: Array, k: int, lanes: int) -> None:
    """Apply reflection k to the rest of A."""
    n = a.shape[0]
    s = w[n]
    for i in range(k + 1, n):
        for m in range(lanes):
            w[i, m] = a[i, i, m] * a[i, k, m]
    for i in range(k + 1, n):
        for j in range(k + 1, i):
            for m in range(lanes):
                w[i, m] += a[i, j, m] * a[j, k, m]
            for m in range(lanes):
                w[j, m] += a[i, j, m] * a[i, k, m]
    _fill(s, 0.0)
    for i in range(k + 1, n):
        for m in range(lanes):
            w[i, m] *= beta[k, m]
        for m in range(lanes):
            s[m] += w[i, m] * a[i, k, m]
    for m in range(lanes):
        s[m] *= 0.5 * beta[k, m]
    for i in range(k + 1, n):
        for m in range(lanes):
            w[i, m] -= s[m] * a[i, k, m]
    for i in range(k + 1, n):
        for j in range(k + 1, i + 1):
            for m in range(lanes):
                a[i, j, m] -= a[i, k, m] * w[j, m] + w[i, m] * a[j, k, m]


@compiled()
def _symmetric_vectors(a: Array, z: Array, w: Array, beta: Array, lanes: int) -> None:
    """Multiply the reflections out to Z."""
    n = a.shape[0]
    s = w[n]
    _set_identity(z, n, lanes)
    for k in range(n - 3, -1, -1):
        for j in range(k + 1, n):
            _fill(s, 0.0)
            for i in range(k + 1, n):
                for m in range(lanes):
                    s[m] += z[i, j, m] * a[i, k, m]
            for m in range(lanes):
                s[m] *= beta[k, m]
            for i in range(k + 1, n):
                for m in range(lanes):
                    z[i, j, m] -= s[m] * a[i, k, m]


@compiled()
def reduce_symmetric(a: Array, z: Array, t: Array, w: Array, beta: Array, lanes: int) -> None:
    """Reduce to Zᵀ A Z = T, with the diagonal of T in t[0] and what is beside it in t[1].

    `a` (n, n, lanes), lower triangles, is overwritten by the Householder vectors, column by
    column; `w` (n + 1, lanes) and `beta` (n, lanes) are room to work in.
    """
    n = a.shape[0]
    for k in range(n - 2):
        _reflect_symmetric(a, t, w, beta, k, lanes)
        _update_symmetric(a, w, beta, k, lanes)
    for m in range(lanes):
        for i in range(n):
            t[0, i, m] = a[i, i, m]
        if n > 1:
            t[1, n - 2, m] = a[n - 1, n - 2, m]
        t[1, n - 1, m] = 0.0
    _symmetric_vectors(a, z, w, beta, lanes)


@compiled()
def _reflect_hermitian(
    a: Array, b: Array, t: Array, w: Array, beta: Array, k: int, lanes: int
) -> None:
    """Make reflection k, as `_reflect_symmetric`, with the remaining phase above the diagonal.

    That place of `a` and `b` is free.
    """
    n = a.shape[0]
    s = w[0, n]
    _fill(s, 0.0)
    for i in range(k + 2, n):
        for m in range(lanes):
            s[m] += a[i, k, m] * a[i, k, m] + b[i, k, m] * b[i, k, m]
    for m in range(lanes):
        x, y = a[k + 1, k, m], b[k + 1, k, m]
        size = math.sqrt(x * x + y * y)
        norm = math.sqrt(s[m] + size * size)
        # The phase of the entry that stays; any will do where it is 0.
        cosine = x / size if size > 0.0 else 1.0
        sine = y / size if size > 0.0 else 0.0
        done = s[m] == 0.0
        v = size + norm
        beta[k, m] = 0.0 if done else 2.0 / (s[m] + v * v)
        a[k + 1, k, m], b[k + 1, k, m] = cosine * v, sine * v
        t[1, k, m] = size if done else -norm
        a[k, k + 1, m], b[k, k + 1, m] = cosine, sine


@compiled()
def _update_hermitian(a: Array, b: Array, w: Array, beta: Array, k: int, lanes: int) -> None:
    """Apply reflection k to the rest of A + iB."""
    n = a.shape[0]
    re, im = w[0], w[1]
    s = re[n]
    for i in range(k + 1, n):
        for m in range(lanes):
            re[i, m] = a[i, i, m] * a[i, k, m]
            im[i, m] = a[i, i, m] * b[i, k, m]
    for i in range(k + 1, n):
        for j in range(k + 1, i):
            for m in range(lanes):
                re[i, m] += a[i, j, m] * a[j, k, m] - b[i, j, m] * b[j, k, m]
                im[i, m] += a[i, j, m] * b[j, k, m] + b[i, j, m] * a[j, k, m]
            for m in range(lanes):
                re[j, m] += a[i, j, m] * a[i, k, m] + b[i, j, m] * b[i, k, m]
                im[j, m] += a[i, j, m] * b[i, k, m] - b[i, j, m] * a[i, k, m]
    _fill(s, 0.0)
    for i in range(k + 1, n):
        for m in range(lanes):
            re[i, m] *= beta[k, m]
            im[i, m] *= beta[k, m]
            s[m] += re[i, m] * a[i, k, m] + im[i, m] * b[i, k, m]
    for m in range(lanes):
        s[m] *= 0.5 * beta[k, m]
    for i in range(k + 1, n):
        for m in range(lanes):
            re[i, m] -= s[m] * a[i, k, m]
            im[i, m] -= s[m] * b[i, k, m]
    for i in range(k + 1, n):
        for j in range(k + 1, i + 1):
            for m in range(lanes):
                a[i, j, m] -= a[i, k, m] * re[j, m] + b[i, k, m] * im[j, m]
                a[i, j, m] -= re[i, m] * a[j, k, m] + im[i, m] * b[j, k, m]
            for m in range(lanes):
                b[i, j, m] -= b[i, k, m] * re[j, m] - a[i, k, m] * im[j, m]
                b[i, j, m] -= im[i, m] * a[j, k, m] - re[i, m] * b[j, k, m]


@compiled()
def _hermitian_vectors(a: Array, b: Array, z: Array, w: Array, beta: Array, lanes: int) -> None:
    """Multiply the reflections and the phases out to Z: T = D R Dᴴ with R real."""
    n = a.shape[0]
    s, r = w[0, n], w[1, n]
    _set_identity(z, n, lanes)
    for k in range(n - 3, -1, -1):
        for j in range(k + 1, n):
            _fill(s, 0.0)
            _fill(r, 0.0)
            for i in range(k + 1, n):
                for m in range(lanes):
                    s[m] += a[i, k, m] * z[i, j, m] + b[i, k, m] * z[n + i, j, m]
                    r[m] += a[i, k, m] * z[n + i, j, m] - b[i, k, m] * z[i, j, m]
            for m in range(lanes):
                s[m] *= beta[k, m]
                r[m] *= beta[k, m]
            for i in range(k + 1, n):
                for m in range(lanes):
                    z[i, j, m] -= a[i, k, m] * s[m] - b[i, k, m] * r[m]
                    z[n + i, j, m] -= a[i, k, m] * r[m] + b[i, k, m] * s[m]
    _fill(s, 1.0)
    _fill(r, 0.0)
    for j in range(1, n):
        for m in range(lanes):
            x, y = s[m], r[m]
            s[m] = x * a[j - 1, j, m] - y * b[j - 1, j, m]
            r[m] = x * b[j - 1, j, m] + y * a[j - 1, j, m]
        for i in range(n):
            for m in range(lanes):
                x, y = z[i, j, m], z[n + i, j, m]
                z[i, j, m] = x * s[m] - y * r[m]
                z[n + i, j, m] = x * r[m] + y * s[m]


@compiled()
def reduce_hermitian(
    a: Array, b: Array, z: Array, t: Array, w: Array, beta: Array, lanes: int
) -> None:
    """Reduce A + iB to Zᴴ (A + iB) Z = T, real, with T as for `reduce_symmetric`.

    The real part of Z comes in the first n rows of `z` (2n, n, lanes), its imaginary part in the
    others. `a` and `b`, lower triangles, are overwritten; `w` (2, n + 1, lanes) and `beta`
    (n, lanes) are room to work in.
    """
    n = a.shape[0]
    for k in range(n - 2):
        _reflect_hermitian(a, b, t, w, beta, k, lanes)
        _update_hermitian(a, b, w, beta, k, lanes)
    for m in range(lanes):
        for i in range(n):
            t[0, i, m] = a[i, i, m]
        t[1, n - 1, m] = 0.0
        if n > 1:
            x, y = a[n - 1, n - 2, m], b[n - 1, n - 2, m]
            size = math.sqrt(x * x + y * y)
            t[1, n - 2, m] = size
            a[n - 2, n - 1, m] = x / size if size > 0.0 else 1.0
            b[n - 2, n - 1, m] = y / size if size > 0.0 else 0.0
    _hermitian_vectors(a, b, z, w, beta, lanes)
