"""Sums of a tensor over all modes but one, each mode weighted by a vector of its own.

In a sweep over the modes, those before a mode have been given new vectors when it is its turn,
and those behind it still have the old ones. So what is summed over all modes before (`fold`) and
the products of the vectors behind (`set_tails`) are computed once each, and every pass over a
tensor runs along its memory. Vectors are kept one after the other, as in
`solvers.kernels.factors`.
"""

from __future__ import annotations

import numpy as np

from solvers.arrays import Array
from solvers.kernels.compiling import compiled

_VECTOR, _SIZES = "float64[::1]", "int64[::1]"


@compiled()
def _tail(starts: Array, mode: int) -> tuple[int, int]:
    """Begin and end, in the array of `set_tails`, of the product of the vectors behind a mode."""
    begin, size = 0, 1
    for behind in range(starts.size - 2, mode, -1):
        begin, size = begin + size, size * (starts[behind + 1] - starts[behind])
    return begin, begin + size


@compiled()
def room(starts: Array) -> Array:
    """Allocate the array that `set_tails` fills."""
    return np.empty(_tail(starts, 0)[1])


@compiled()
def set_tails(tails: Array, vectors: Array, starts: Array) -> None:
    """Kronecker products of the vectors behind each mode: of none, of the last, of the last two."""
    tails[0] = 1.0
    for mode in range(starts.size - 2, 0, -1):
        begin, end = _tail(starts, mode)
        size = end - begin
        for i in range(starts[mode + 1] - starts[mode]):
            weight = vectors[starts[mode] + i]
            for j in range(size):
                tails[end + i * size + j] = weight * tails[begin + j]


@compiled()
def along(tensor: Array, tails: Array, starts: Array, mode: int, out: Array) -> None:
    """Sum a flat tensor that begins with this mode over the modes behind it."""
    begin, end = _tail(starts, mode)
    tail, size = tails[begin:end], end - begin
    for i in range(out.size):
        fibre, total = tensor[i * size : (i + 1) * size], 0.0
        for j in range(size):
            total += fibre[j] * tail[j]
        out[i] = total


@compiled()
def fold(tensor: Array, vector: Array, memory: Array) -> Array:
    """Contract the first mode of a flat tensor with a vector; the result is kept in `memory`."""
    size = tensor.size // vector.size
    out = memory[:size]
    for j in range(size):
        out[j] = 0.0
    for i in range(vector.size):
        slab, weight = tensor[i * size : (i + 1) * size], vector[i]
        for j in range(size):
            out[j] += weight * slab[j]
    return out
