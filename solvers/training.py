"""Least squares: estimators that need no sparsity but as many measurements as unknowns.

In training of an intelligent reflecting surface y = (S ⊗ X ⊗ I) x with patterns S and pilots X, and
x[n] is the product of the channels to and from element n: of rank one, whatever these are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from solvers.core import Solver, Start
from solvers.decomposition import decompose
from solvers.estimate import Estimate, IterationState, Watch
from solvers.kron import abs2, kron_apply, outer, total
from solvers.options import option
from solvers.problem import Array, Problem
from solvers.rows import keep_rows
from solvers.status import Status

SOURCE = "de Araújo, de Almeida and Boyer, arXiv 2008.04766"


@dataclass(frozen=True)
class LeastSquares(Solver):
    """Least squares, of least norm where factors have fewer rows than atoms.

    Eq. `eq:ls` of docs/numbers.md.

    Notes
    -----
    Source: the pseudo-inverse of a Kronecker product is that of its factors. In training without
    an assumption on the channel, de Araújo, de Almeida and Boyer, arXiv 2008.04766.
    """

    source: ClassVar[str] = SOURCE
    family: ClassVar[str] = "least squares"

    def _solve(self, problem: Problem, *, initial: Start, watch: Watch) -> Estimate:
        x = kron_apply([np.linalg.pinv(a) for a in problem.factors], problem.y)
        return Estimate(self.shaped(x))

    def shaped(self, x: Array) -> Array:
        """Impose structure on the least-squares solution, (B, N_1, …, N_I); here none."""
        return x


@dataclass(frozen=True)
class KhatriRao(LeastSquares):
    """Khatri-Rao factorization: every slice x[n] of the least-squares solution made rank one.

    Eq. `eq:krf` of docs/numbers.md.

    Notes
    -----
    Source: de Araújo, de Almeida and Boyer, arXiv 2008.04766. With more than three factors the
    slices are products of vectors as `solvers.decomposition.decompose` finds them; with one or two
    there is nothing to be factorized.
    """

    def shaped(self, x: Array) -> Array:
        """Replace every slice along the first mode by a product of vectors close to it."""
        if x.ndim < 4:
            return x
        vectors, sizes = _slices(x)
        return _joined([*vectors[:-1], vectors[-1] * sizes[..., None]])


@dataclass(frozen=True)
class BilinearALS(KhatriRao):
    """Bilinear alternating least squares: one channel after the other, given all others.

    Eq. `eq:bals` of docs/numbers.md.

    Notes
    -----
    Source: de Araújo, de Almeida and Boyer, arXiv 2008.04766. It starts from the Khatri-Rao
    factorization, where theirs starts at random, since solvers have no randomness.
    """

    tolerance: float = option(
        1e-10, "stop when the residual changes by at most this share of ‖y‖²", at_least=0.0
    )
    max_iterations: int = option(200, "cap on iterations", at_least=1)

    def _solve(self, problem: Problem, *, initial: Start, watch: Watch) -> Estimate:
        start = super()._solve(problem, initial=initial, watch=watch)
        if len(problem.dims) < 3:
            return start
        assert start.x is not None
        found, rows, x = _Alternation(problem, start.x), np.arange(problem.batch), start.x.copy()
        iterations, status = np.zeros(problem.batch, int), start.status.copy()
        for iteration in range(1, self.max_iterations + 1):
            found.step()
            x[rows], iterations[rows] = found.x, iteration
            watch(iteration, rows, IterationState(x=found.x, change=found.change))
            going = found.change > self.tolerance
            if not going.any():
                break
            if not going.all():
                keep_rows(found, going)
                rows = rows[going]
        else:
            status[rows] = Status.MAX_ITERATIONS
        return Estimate(x, status, iterations)


def _slices(x: Array) -> tuple[list[Array], Array]:
    """Vectors of unit norm, (B, N_1, N_i), and norms, (B, N_1), for all slices x[n]; 0 of 0."""
    flat = x.reshape(-1, *x.shape[2:])
    zero = ~flat.reshape(len(flat), -1).any(axis=1)
    flat = np.where(zero.reshape(-1, *[1] * (flat.ndim - 1)), 1.0, flat)
    vectors, sizes, _ = decompose(flat)
    split = [v.reshape(*x.shape[:2], -1) for v in vectors]
    return split, np.where(zero, 0.0, sizes).reshape(x.shape[:2])


def _joined(vectors: list[Array]) -> Array:
    """Inverse of `_slices`: (B, N_1, N_i), i > 1, to (B, N_1, …, N_I)."""
    slices = outer([v.reshape(-1, v.shape[-1]) for v in vectors])
    return slices.reshape(*vectors[0].shape[:2], *slices.shape[1:])


class _Alternation:
    """Rows that are still running: factors (b, N_1, N_i) of the slices along the first mode."""

    def __init__(self, problem: Problem, start: Array) -> None:
        inverses = [np.linalg.pinv(a) for a in problem.factors[1:]]
        first = np.moveaxis(problem.y, 1, -1)  # so that the others can be inverted
        self.y = np.moveaxis(kron_apply([*inverses, np.eye(first.shape[-1])], first), -1, 1)
        self.patterns = [problem.factors[0]]
        vectors, sizes = _slices(start)
        self.factors = [*vectors[:-1], vectors[-1] * sizes[..., None]]
        self.power = np.maximum(total(abs2(self.y)), np.finfo(float).tiny)
        self.misfit = self.change = np.full(problem.batch, np.inf)

    @property
    def x(self) -> Array:
        return _joined(self.factors)

    def step(self) -> None:
        """Each factor in turn, given the others."""
        batch, left = len(self.y), self.y
        for mode in range(len(self.factors)):
            known = np.broadcast_to(self.patterns[0], (batch, *self.patterns[0].shape[-2:]))
            for other, factor in enumerate(self.factors):
                if other != mode:
                    product = known[:, :, None] * factor.swapaxes(1, 2)[:, None]
                    known = product.reshape(batch, -1, known.shape[-1])
            seen = np.moveaxis(self.y, mode + 2, -1).reshape(batch, known.shape[1], -1)
            self.factors[mode] = np.linalg.pinv(known) @ seen
            left = seen - known @ self.factors[mode]
        before, self.misfit = self.misfit, total(abs2(left)) / self.power
        self.change = np.abs(before - self.misfit)
