"""Greedy pursuit: atoms are added one after the other, never taken back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from solvers.core import Solver
from solvers.estimate import Estimate, IterationState, Watch
from solvers.kron import abs2, adjoint, kron_apply, outer, total
from solvers.options import option, per_factor
from solvers.problem import Array, Problem
from solvers.rows import keep_rows

DEPENDENT = 1e-12
"""Share of an atom's energy below which it counts as in the span of the others."""


class _Pursuit:
    """Rows of OMP that are still growing, and the factorisation of their Gram matrices.

    The Gram matrix of the chosen atoms is G = L Lᴴ. L⁻¹ is what is kept, so that adding an atom
    takes a few matrix-vector products for the whole batch.
    """

    def __init__(self, problem: Problem, cap: int) -> None:
        batch = problem.batch
        self.problem, self.residual = problem, problem.y
        self.grams = [adjoint(a) @ a for a in problem.factors]
        norms2 = [np.einsum("...ii->...i", g).real for g in self.grams]
        self.norms2 = outer([np.broadcast_to(n, (batch, n.shape[-1])) for n in norms2])
        self.norms2 = self.norms2.reshape(batch, -1)
        self.correlation = self._correlate(problem.y)
        self.count = 0
        room = min(cap, 16)
        self.chosen = np.zeros((batch, room), int)
        self.inverse = np.zeros((batch, room, room), problem.y.dtype)
        self.rotated = np.zeros((batch, room), problem.y.dtype)
        self.weights = np.zeros((batch, room), problem.y.dtype)

    def _correlate(self, tensor: Array) -> Array:
        """Aᴴ r, (B, ΠN)."""
        adjoints = [adjoint(a) for a in self.problem.factors]
        return kron_apply(adjoints, tensor).reshape(len(tensor), -1)

    def _gram(self, first: Array, second: Array) -> Array:
        """Entries of AᴴA at flat atom indices (B, k) and (B, 1), products over the factors."""
        product = np.ones(first.shape)
        left = np.unravel_index(first, self.problem.dims)
        right = np.unravel_index(second, self.problem.dims)
        rows = np.arange(len(first))[:, None]
        for g, i, j in zip(self.grams, left, right, strict=True):
            product = product * (g[i, j] if g.ndim == 2 else g[rows, i, j])
        return product

    @property
    def x(self) -> Array:
        """Least-squares solution on the chosen atoms, (B, N_1, …, N_I)."""
        x = np.zeros(self.norms2.shape, self.problem.y.dtype)
        chosen, weights = self.chosen[:, : self.count], self.weights[:, : self.count]
        np.put_along_axis(x, chosen, weights, axis=1)
        return x.reshape(-1, *self.problem.dims)

    def extend(self) -> Array:
        """Add the best atom to every row; tell which rows had one to add."""
        k = self.count
        if k == self.chosen.shape[1]:
            self._make_room()
        scores = np.sqrt(abs2(self._correlate(self.residual)) / np.maximum(self.norms2, 1e-300))
        scores[self.norms2 == 0] = 0.0
        np.put_along_axis(scores, self.chosen[:, :k], 0.0, axis=1)
        best = scores.argmax(axis=1)[:, None]
        energy = np.take_along_axis(self.norms2, best, axis=1)[:, 0]
        inverse = self.inverse[:, :k, :k]
        w = (inverse @ self._gram(self.chosen[:, :k], best)[:, :, None])[:, :, 0]
        new = energy - abs2(w).sum(axis=1)
        grows = (new > DEPENDENT * energy) & (scores.max(axis=1) > 0)
        d = np.sqrt(np.where(grows, new, 1.0))
        row = np.concatenate(
            [-(w.conj()[:, None, :] @ inverse)[:, 0], np.ones((len(d), 1))], axis=1
        )
        row = np.where(grows[:, None], row / d[:, None], 0.0)
        target = np.take_along_axis(self.correlation, best, axis=1)[:, 0]
        z = (target - (w.conj() * self.rotated[:, :k]).sum(axis=1)) / d
        self.chosen[:, k], self.inverse[:, k, : k + 1], self.rotated[:, k] = best[:, 0], row, z
        self.weights[:, : k + 1] += row.conj() * np.where(grows, z, 0.0)[:, None]
        self.count += 1
        self.residual = self.problem.y - kron_apply(self.problem.factors, self.x)
        return grows

    def _make_room(self) -> None:
        room = self.chosen.shape[1]
        self.chosen = np.pad(self.chosen, ((0, 0), (0, room)))
        self.rotated = np.pad(self.rotated, ((0, 0), (0, room)))
        self.weights = np.pad(self.weights, ((0, 0), (0, room)))
        self.inverse = np.pad(self.inverse, ((0, 0), (0, room), (0, room)))


@dataclass(frozen=True)
class OMP(Solver):
    """Orthogonal matching pursuit on the flattened x, until the residual is at the noise level.

    In each iteration the atom with the largest correlation |aᴴr|/‖a‖ joins, and x is the
    least-squares solution on the atoms so far. A row ends when ‖r‖² ≤ M σ², at `max_atoms`, or
    when the best atom is in the span of the others: Eqs. `eq:omp-atom` and `eq:omp-stop` of
    docs/numbers.md.

    Notes
    -----
    Source: Pati, Rezaiifar and Krishnaprasad, Asilomar 1993. Entries of the Gram matrix are
    products of those of the factors' Gram matrices.
    """

    max_atoms: int | None = option(
        None,
        "cap on the atoms; by default as many as there are measurements",
        optional=True,
        type=int,
        at_least=1,
    )

    source: ClassVar[str] = "Pati, Rezaiifar and Krishnaprasad, Asilomar 1993"
    family: ClassVar[str] = "greedy"

    requires = ("noise_var",)

    def _solve(self, problem: Problem, *, watch: Watch, **_: Any) -> Estimate:
        size = problem.y[0].size
        cap = min(size, int(np.prod(problem.dims)), self.max_atoms or size)
        x = np.zeros((problem.batch, *problem.dims), problem.y.dtype)
        atoms = np.zeros(problem.batch, int)
        pursuit, rows = _Pursuit(problem, cap), np.arange(problem.batch)
        while pursuit.count < cap:
            assert pursuit.problem.noise_var is not None
            far = total(abs2(pursuit.residual)) > size * pursuit.problem.noise_var
            if not far.any():
                break
            keep_rows(pursuit, far)
            rows = rows[far]
            grows = pursuit.extend()
            x[rows], atoms[rows] = pursuit.x, pursuit.count - ~grows
            if not grows.any():
                break
            keep_rows(pursuit, grows)
            rows = rows[grows]
            watch(pursuit.count, rows, IterationState(x=x[rows]))
        return Estimate(x, iterations=atoms)


@dataclass(frozen=True)
class KroneckerOMP(Solver):
    """Kronecker OMP: an index joins in every factor at once; x is a full block of their product.

    In each iteration the largest entry of |Aᴴr| adds its index to each factor's set, unless it
    is there or the set is full. A row ends when the residual is small, when all sets are full,
    or when no factor gains an index, which is the usual end in the paper's study. Eqs.
    `eq:komp-index` and `eq:komp-fit` of docs/numbers.md.

    Notes
    -----
    Source: Caiafa and Cichocki, *Computing Sparse Representations of Multidimensional Signals
    Using Kronecker Bases*, Neural Computation 25(1), 2013; ``KroOMP.m`` of the authors' code of
    arXiv 2307.14719. There the residual of 1e-2 is below the noise from 5 to 30 dB, so that it
    goes on selecting and overfits; ``stop="noise"`` ends at ‖r‖² ≤ M σ² instead. The pseudo-
    inverse of the chosen block is the Kronecker product of those of the factors' columns, which
    are recomputed as they grow; a set may hold more atoms than its factor has rows.
    """

    sparsity: int | tuple[int, ...] = option(
        10, "cap on the atoms of a factor", per_factor=True, at_least=1
    )
    residual: float = option(1e-2, "stop when ‖r‖/‖y‖ is at most this", at_least=0.0)
    stop: str = option(
        "residual", "stop at `residual`, or at the noise level", choices=("residual", "noise")
    )

    source: ClassVar[str] = "Caiafa and Cichocki, Neural Computation 25(1), 2013"
    family: ClassVar[str] = "greedy"

    @property
    def requires(self) -> tuple[str, ...]:
        """The noise variance, where it decides when to stop."""
        return ("noise_var",) if self.stop == "noise" else ()

    def _solve(self, problem: Problem, *, watch: Watch, **_: Any) -> Estimate:
        dims, batch = problem.dims, problem.batch
        caps = np.minimum(per_factor(self.sparsity, len(dims)), dims)
        bound2 = self._bound2(problem)
        x = np.zeros((batch, *dims), problem.y.dtype)
        iterations = np.zeros(batch, int)
        chosen = [np.zeros((batch, n), bool) for n in dims]
        rows = np.flatnonzero(total(abs2(problem.y)) > 0)
        residual = problem.y[rows]
        while rows.size:
            part = problem.take(rows)
            scores = abs2(kron_apply([adjoint(a) for a in part.factors], residual))
            best = np.unravel_index(scores.reshape(rows.size, -1).argmax(axis=1), dims)
            gained = np.zeros(rows.size, bool)
            for mask, index, cap in zip(chosen, best, caps, strict=True):
                joins = ~mask[rows, index] & (mask[rows].sum(axis=1) < cap)
                mask[rows[joins], index[joins]] = True
                gained |= joins
            inverses = [
                np.linalg.pinv(a * mask[rows][:, None, :])
                for a, mask in zip(part.factors, chosen, strict=True)
            ]
            x[rows] = kron_apply(inverses, part.y)
            residual = part.y - kron_apply(part.factors, x[rows])
            iterations[rows] += 1
            watch(int(iterations[rows[0]]), rows, IterationState(x=x[rows]))
            full = np.all([m[rows].sum(axis=1) == c for m, c in zip(chosen, caps, strict=True)], 0)
            goes_on = gained & ~full & (total(abs2(residual)) > bound2[rows])
            rows, residual = rows[goes_on], residual[goes_on]
        return Estimate(x, iterations=iterations)

    def _bound2(self, problem: Problem) -> Array:
        """Squared norm of the residual at which a row ends, (B,)."""
        if self.stop == "noise":
            assert problem.noise_var is not None
            return problem.y[0].size * problem.noise_var
        return self.residual**2 * total(abs2(problem.y))
