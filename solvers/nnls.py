"""Non-negative least squares for a batch of small square systems."""

from __future__ import annotations

import numpy as np

from solvers.core import Array

FULL_EXCHANGES = 3
MOST_EXCHANGES = 20
RIDGE = 1e-10
REFINEMENTS = 2


class NonNegativeLeastSquares:
    """Minimise ‖C x − b‖ over x ≥ 0 for every row of a batch, for one C and several b in turn.

    Which entries are free (not held at 0), and the inverse that belongs to them, are kept from
    one b to the next: for a b near the last one there is little left to do.

    Parameters
    ----------
    matrices : array, (B, n, n)
        C. Zero columns get x = 0.
    near : array, (B, n), optional
        A vector that C x is expected to be close to.

    Notes
    -----
    Block principal pivoting (Júdice and Pires 1994; Kim and Park, SIAM J. Sci. Comput. 33(6),
    2011): all entries that violate the optimality conditions x ≥ 0, Cᵀ(Cx − b) ≥ 0 change sides
    at once; a row where that does not reduce their number falls back to Murty's rule, one entry
    at a time, which ends. Systems are solved with a ridge of 1e-10, which keeps singular ones
    solvable (their minimiser is not unique, but C x is); refinement on the residual undoes it,
    and the rounding of the normal equations.
    """

    def __init__(self, matrices: Array, near: Array | None = None) -> None:
        self._matrices, self._transposed = matrices, matrices.swapaxes(1, 2)
        self._normal = self._transposed @ matrices
        diagonal = np.einsum("bii->bi", self._normal)
        self._usable = diagonal > 0
        diagonal += RIDGE * diagonal.max(axis=1, initial=0.0, keepdims=True)
        self._free = self._usable.copy()
        self._inverse = _inverse(self._normal, self._free)
        if near is not None:
            x = _times(self._inverse, _times(self._transposed, near))
            self._free &= x > 1e-3 * x.max(axis=1, initial=0.0, keepdims=True)
            self._inverse = _inverse(self._normal, self._free)

    def take(self, rows: Array) -> NonNegativeLeastSquares:
        """Only the rows `rows` (indices)."""
        new = NonNegativeLeastSquares.__new__(NonNegativeLeastSquares)
        for name, value in vars(self).items():
            setattr(new, name, value[rows])
        new._transposed = new._matrices.swapaxes(1, 2)
        return new

    def solve(self, targets: Array) -> Array:
        """The minimisers x, (B, n), for the targets b, (B, n)."""
        correlated = _times(self._transposed, targets)
        slack = 1e-10 * np.abs(correlated).max(axis=1, initial=0.0, keepdims=True)
        x = _times(self._inverse, correlated)
        wrong = self._violations(x, _times(self._normal, x) - correlated, slack, slice(None))
        if wrong.any():
            self._exchange(x, correlated, slack, wrong, targets)
        for _ in range(REFINEMENTS):
            residual = targets - _times(self._matrices, x)
            x = np.maximum(x + _times(self._inverse, _times(self._transposed, residual)), 0.0)
        return x

    def _violations(self, x: Array, gradient: Array, slack: Array, rows: Array | slice) -> Array:
        free = self._free[rows]
        return np.where(free, x < 0, (gradient < -slack) & self._usable[rows])

    def _exchange(
        self, x: Array, correlated: Array, slack: Array, wrong: Array, targets: Array
    ) -> None:
        """Let entries change sides until none is in the wrong; updates `x`."""
        batch, n = x.shape
        fewest, chances = np.full(batch, n + 1), np.full(batch, FULL_EXCHANGES)
        rows = np.arange(batch)
        for _ in range(MOST_EXCHANGES * n):
            count = wrong.sum(axis=1)
            rows, wrong, count = rows[count > 0], wrong[count > 0], count[count > 0]
            if not rows.size:
                return
            chances[rows] = np.where(count < fewest[rows], FULL_EXCHANGES, chances[rows] - 1)
            fewest[rows] = np.minimum(count, fewest[rows])
            # Murty's rule: only the last of the entries in the wrong.
            last = n - 1 - np.argmax(wrong[:, ::-1], axis=1)
            only = (np.arange(n) == last[:, None]) & wrong
            self._free[rows] ^= np.where((chances[rows] > 0)[:, None], wrong, only)
            normal = self._normal[rows]
            self._inverse[rows] = inverse = _inverse(normal, self._free[rows])
            x[rows] = solution = _times(inverse, correlated[rows])
            gradient = _times(normal, solution) - correlated[rows]
            wrong = self._violations(solution, gradient, slack[rows], rows)
        for row in rows:  # rounding that goes round in circles; never seen
            import scipy.optimize  # takes long

            x[row] = scipy.optimize.nnls(self._matrices[row], targets[row])[0]
            self._free[row] = x[row] > 0
            self._inverse[row] = _inverse(self._normal[row, None], self._free[row, None])[0]


def nnls(matrices: Array, targets: Array) -> Array:
    """Minimise ‖C x − b‖ over x ≥ 0, for every row of a batch; see `NonNegativeLeastSquares`."""
    return NonNegativeLeastSquares(matrices).solve(targets)


def _times(matrices: Array, vectors: Array) -> Array:
    return (matrices @ vectors[:, :, None])[:, :, 0]


def _inverse(normal: Array, free: Array) -> Array:
    """Inverses of the systems of the free entries; rows and columns of the others are 0."""
    both = free[:, :, None] & free[:, None, :]
    return np.where(both, np.linalg.inv(np.where(both, normal, np.eye(free.shape[1]))), 0.0)
