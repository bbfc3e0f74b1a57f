"""Leading eigenvectors of many small matrices."""

from __future__ import annotations

import math

import numpy as np

from solvers.arrays import Array
from solvers.kernels.compiling import compiled

STEPS = 200
STILL = 1e-30


@compiled("Tuple((float64[:, ::1], boolean[::1]))(float64[:, :, ::1])")
def power_iterations(matrices: Array) -> tuple[Array, Array]:
    """Power iterations from the sums of the rows, for symmetric non-negative matrices.

    Parameters
    ----------
    matrices : array, (B, n, n)

    Returns
    -------
    vectors : array, (B, n)
        Of norm 1, or 0 for a matrix of zeros.
    settled : array of bool, (B,)
        Whether they stand still; where leading eigenvalues all but coincide they do not.
    """
    batch, n = matrices.shape[:2]
    vectors, settled = np.ones((batch, n)), np.zeros(batch, np.bool_)
    product = np.empty(n)
    for row in range(batch):
        vector = vectors[row]
        for _ in range(STEPS):
            norm2 = 0.0
            for i in range(n):
                total = 0.0
                for j in range(n):
                    total += matrices[row, i, j] * vector[j]
                product[i] = total
                norm2 += total * total
            inverse = 1.0 / math.sqrt(norm2) if norm2 > 0.0 else 0.0
            change = 0.0
            for i in range(n):
                value = product[i] * inverse
                change += (value - vector[i]) ** 2
                vector[i] = value
            if change <= STILL:
                settled[row] = True
                break
    return vectors, settled
