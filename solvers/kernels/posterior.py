"""Entrywise work of a Kronecker E-step, in one pass over the tensors instead of one per operation.

Tensors are flat, (B, a n), and what is an outer product over them comes as its parts: one vector
over all modes but the last, (B, a), and one over the last, (B, n).
"""

from __future__ import annotations

import numpy as np

from solvers.arrays import Array
from solvers.kernels.compiling import compiled

_REAL, _COMPLEX = "float64[:, ::1]", "complex128[:, ::1]"


@compiled(
    f"Tuple(({_REAL}, {_REAL}))({_REAL}, {_REAL}, float64[::1], {_REAL})",
    f"Tuple(({_REAL}, {_COMPLEX}))({_REAL}, {_REAL}, float64[::1], {_COMPLEX})",
)
def shrink(lead: Array, last: Array, noise_var: Array, data: Array) -> tuple[Array, Array]:
    """D = 1 / (σ² + p) for p = lead ⊗ last, and D ∘ data."""
    d, shrunk = np.empty(data.shape), np.empty_like(data)
    n = last.shape[1]
    for row in range(len(data)):
        for i in range(lead.shape[1]):
            for j in range(n):
                value = 1.0 / (noise_var[row] + lead[row, i] * last[row, j])
                d[row, i * n + j] = value
                shrunk[row, i * n + j] = value * data[row, i * n + j]
    return d, shrunk


@compiled(
    f"{_REAL}({_REAL}, {_REAL}, {_REAL}, {_REAL})",
    f"{_REAL}({_COMPLEX}, {_REAL}, {_REAL}, {_REAL})",
)
def second_moments(mean: Array, lead: Array, last: Array, explained: Array) -> Array:
    """|μ|² + |γ − explained| for γ = lead ⊗ last.

    The modulus, since rounding may leave a variance a little below 0.
    """
    moment = np.empty(explained.shape)
    n = last.shape[1]
    for row in range(len(mean)):
        for i in range(lead.shape[1]):
            for j in range(n):
                value = mean[row, i * n + j]
                variance = lead[row, i] * last[row, j] - explained[row, i * n + j]
                moment[row, i * n + j] = value.real**2 + value.imag**2 + abs(variance)
    return moment
