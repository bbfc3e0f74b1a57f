"""Fast SBL: the SBL cost lowered by one γ_n after the other, each at its minimum and often 0."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from solvers.core import Solver, Start
from solvers.em import EMSolver
from solvers.estimate import Estimate, IterationState, Watch
from solvers.kron import abs2, adjoint, kron, kron_apply, outer, total
from solvers.noise import noise_floor
from solvers.options import option
from solvers.problem import Array, Problem
from solvers.rows import keep_rows
from solvers.status import Status
from solvers.units import atom_norms2

SMALL = 64
"""Measurements up to which C is solved with in every step."""


@dataclass(frozen=True)
class FastSBL(Solver):
    """Fast marginal likelihood maximisation for an unstructured γ, of which most stay exactly 0.

    A step takes the γ_n that lowers the cost most to where it is least, the others given. It starts
    from γ = 0, or from any γ that is given, and ends where no single entry can be improved by more
    than `tolerance`. `iterations` are steps. Eqs. `eq:fast-parts` to `eq:fast-update` of
    docs/numbers.md.

    Notes
    -----
    Source: Tipping and Faul, AISTATS 2003. Departure: adding, changing and removing atoms is one
    and the same update, of rank one. Where n entries of γ are not 0, an n × n matrix is kept.
    """

    tolerance: float = option(1e-2, "stop where no step lowers the cost by more", at_least=0.0)
    max_iterations: int = option(5000, "cap on steps", at_least=1)
    order: str = option(
        "largest",
        "take the step that lowers the cost most, or the next one that lowers it",
        choices=("largest", "cyclic"),
    )

    objective: ClassVar[str] = "SBL cost"
    source: ClassVar[str] = "Tipping and Faul, AISTATS 2003"
    family: ClassVar[str] = "SBL without structure"

    requires = ("noise_var",)
    cost_as_given = EMSolver.cost_as_given

    def _solve(self, problem: Problem, *, initial: Start, watch: Watch) -> Estimate:
        state, rows = _begun(problem, initial, self.scaling), np.arange(problem.batch)
        iterations, status = np.zeros(rows.size, int), np.full(rows.size, Status.CONVERGED)
        shape = state.gamma.shape
        results = np.zeros(shape, problem.y.dtype), np.zeros(shape), np.zeros(shape)
        for iteration in range(1, self.max_iterations + 2):
            *step, lower = state.best(self.tolerance, cyclic=self.order == "cyclic")
            going = lower > self.tolerance
            if iteration > self.max_iterations:
                status[rows[going]], going = Status.MAX_ITERATIONS, np.zeros_like(going)
            if not going.all():
                for result, part in zip(results, (*state.moments(), state.gamma), strict=True):
                    result[rows[~going]] = part[~going]
                keep_rows(state, going)
                rows, step, lower = rows[going], [part[going] for part in step], lower[going]
            if not rows.size:
                break
            state.move(*step)
            iterations[rows] = iteration
            watch(iteration, rows, state.seen(lower))
        x, variance, gamma = (part.reshape(-1, *problem.dims) for part in results)
        broken = ~np.isfinite(total(abs2(x)))
        x[broken], status[broken] = np.nan, Status.DIVERGED
        return Estimate(x, status, iterations, variance=variance, gamma=gamma)


class _Descent(ABC):
    """Rows that are still moving."""

    def __init__(self, problem: Problem, noise_var: Array) -> None:
        self.dims, batch = problem.dims, problem.batch
        self.gamma, self.atom = np.zeros((batch, math.prod(self.dims))), np.full(batch, -1)
        self.noise_var = noise_var[:, None]
        self.cost = total(abs2(problem.y)) / noise_var + problem.y[0].size * np.log(noise_var)

    @abstractmethod
    def moments(self) -> tuple[Array, Array]:
        """Means and variances of all entries of x, (b, ΠN) each."""

    @abstractmethod
    def alone(self) -> tuple[Array, Array]:
        """Numbers s and q of every atom, (b, ΠN) each: Eq. `eq:fast-parts`."""

    def best(self, tolerance: float, *, cyclic: bool) -> tuple[Array, ...]:
        """The step to take, as `move` wants it, and how much it lowers the cost, (b,) each."""
        s, q = self.alone()
        q2 = abs2(q)
        after = np.where(q2 > s, (q2 - s) / s**2, 0.0)
        wanted = lower = _gain(after, s, q2) - _gain(self.gamma, s, q2)
        if cyclic:
            ahead = (np.arange(s.shape[1]) - self.atom[:, None] - 1) % s.shape[1]
            wanted = np.where(lower > tolerance, -1.0 - ahead, -np.inf)
        atom = wanted.argmax(axis=1)
        at = np.arange(len(atom)), atom
        return atom, after[at], s[at], q[at], lower[at]

    def move(self, atom: Array, after: Array, s: Array, q: Array) -> None:
        """Give an atom of each row another γ."""
        at = np.arange(len(atom)), atom
        self.cost = self.cost - _gain(after, s, abs2(q)) + _gain(self.gamma[at], s, abs2(q))
        self.gamma[at], self.atom = after, atom

    def seen(self, lower: Array) -> IterationState:
        """The state of the rows as a watch sees it."""
        shape = (-1, *self.dims)
        return IterationState(
            x=lambda: self.moments()[0].reshape(shape),
            gamma=lambda: self.gamma.reshape(shape),
            noise_var=self.noise_var[:, 0],
            cost=self.cost,
            change=lower,
        )


class _Small(_Descent):
    """All of it anew from γ in each step: however many atoms, and however little noise."""

    def __init__(self, problem: Problem, noise_var: Array) -> None:
        super().__init__(problem, noise_var)
        self.y, a = problem.y.reshape(problem.batch, -1, 1), kron(problem.factors)
        self.a = np.broadcast_to(a, (problem.batch, *a.shape[-2:]))

    def _weighted(self) -> tuple[Array, Array]:
        """S and Q: aᴴC⁻¹a and aᴴC⁻¹y of every atom, (b, ΠN) each."""
        identity = np.eye(self.a.shape[1])
        c = self.noise_var[:, None] * identity + (self.a * self.gamma[:, None]) @ adjoint(self.a)
        weighted = np.linalg.solve(c, self.a)
        return (self.a.conj() * weighted).sum(axis=1).real, (adjoint(weighted) @ self.y)[..., 0]

    def moments(self) -> tuple[Array, Array]:
        s, q = self._weighted()
        return self.gamma * q, self.gamma - self.gamma**2 * s

    def alone(self) -> tuple[Array, Array]:
        s, q = self._weighted()
        left = 1.0 - self.gamma * s
        return s / left, q / left


class _Structured(_Descent):
    """With few atoms in use: C⁻¹ = (σ²I + AΓAᴴ)⁻¹ changed by a matrix of rank one in each step.

    C⁻¹ is (I − A Z Aᴴ)/σ² with σ²Z the posterior covariance of the atoms in use. Each of them has
    a place in Z; places that are free hold zeros.
    """

    def __init__(self, problem: Problem, noise_var: Array) -> None:
        super().__init__(problem, noise_var)
        adjoints, batch = [adjoint(a) for a in problem.factors], problem.batch
        self.grams = [h @ a for h, a in zip(adjoints, problem.factors, strict=True)]
        self.target = kron_apply(adjoints, problem.y).reshape(batch, -1)
        norms2 = [np.ones((batch, 1)) * atom_norms2(a) for a in problem.factors]
        self.s = outer(norms2).reshape(batch, -1) / self.noise_var
        self.q, self.atoms = self.target / self.noise_var, np.zeros((batch, 0), int)
        self.used, self.z = self.atoms > 0, np.zeros((batch, 0, 0), problem.y.dtype)

    def _spread(self, values: Array) -> Array:
        """Values by place as values by atom, (b, places) to (b, ΠN)."""
        spread, (row, place) = np.zeros(self.gamma.shape, values.dtype), np.nonzero(self.used)
        spread[row, self.atoms[row, place]] = values[row, place]
        return spread

    def moments(self) -> tuple[Array, Array]:
        target = np.take_along_axis(self.target, self.atoms, axis=1)
        mean = (self.z @ target[:, :, None])[:, :, 0]
        variance = self.noise_var * np.einsum("bii->bi", self.z).real
        return self._spread(mean), self._spread(variance)

    def alone(self) -> tuple[Array, Array]:
        mean, variance = self.moments()
        left = 1.0 - self.gamma * self.s
        # Where little is left of an atom's prior variance, S has lost it, and Z has not.
        narrow = (self.gamma > 0) & (variance < 0.5 * self.gamma)
        s = np.where(narrow, 1.0 / variance - 1.0 / self.gamma, self.s / left)
        return s, np.where(narrow, mean / variance, self.q / left)

    def move(self, atom: Array, after: Array, s: Array, q: Array) -> None:
        rows, more = np.arange(len(atom)), ((0, 0), (0, 16 + self.used.shape[1]))
        if self.used.all(axis=1).any():
            self.atoms, self.used = np.pad(self.atoms, more), np.pad(self.used, more)
            self.z = np.pad(self.z, (*more, more[1]))
        at, here = (rows, atom), self.used & (self.atoms == atom[:, None])
        place = np.where(here.any(axis=1), here.argmax(axis=1), self.used.argmin(axis=1))
        self.atoms[rows, place], self.used[rows, place] = atom, True
        before, noise_var, alone = self.gamma[at], self.noise_var, np.zeros(self.gamma.shape)
        alone[at] = 1.0
        products = np.take_along_axis(self._times_gram(alone), self.atoms, axis=1)
        v = -(self.z @ products[:, :, None])[:, :, 0]
        v[rows, place] += 1.0
        known = np.flatnonzero(before)  # of these the same, without taking a difference
        v[known] = self.z[known, :, place[known]] * (noise_var[known] / before[known, None])
        t = self._times_gram(self._spread(v)) / noise_var
        size = (after - before) / (1.0 + after * s)
        kappa = size * (1.0 + before * s)
        self.z += (kappa / noise_var[:, 0])[:, None, None] * (v[:, :, None] * v[:, None].conj())
        self.s -= kappa[:, None] * abs2(t)
        self.q -= (size * q)[:, None] * t
        gone = np.flatnonzero(after == 0)
        self.used[gone, place[gone]] = False
        self.z[gone, place[gone]] = self.z[gone, :, place[gone]] = 0.0
        super().move(atom, after, s, q)

    def _times_gram(self, x: Array) -> Array:
        """AᴴA x, (b, ΠN)."""
        return kron_apply(self.grams, x.reshape(-1, *self.dims)).reshape(x.shape)


def _begun(problem: Problem, initial: Start, scaling: str) -> _Descent:
    """All rows at the γ to start from, where atoms are put one after the other."""
    assert problem.noise_var is not None
    noise_var = np.maximum(problem.noise_var, noise_floor(problem.y, scaling))
    kind = _Small if problem.y[0].size <= SMALL else _Structured
    state, first = kind(problem, noise_var), initial.gamma
    if first is not None:
        first = (outer(first) if isinstance(first, tuple) else first).reshape(state.gamma.shape)
        for atom in np.flatnonzero(first.any(axis=0)):
            s, q = (part[:, atom] for part in state.alone())
            state.move(np.full(problem.batch, atom), first[:, atom], s, q)
        state.atom[:] = -1
    return state


def _gain(gamma: Array, s: Array, q2: Array) -> Array:
    """How much an atom lowers the cost at γ_n, against 0: Eq. `eq:fast-gain`."""
    return q2 * gamma / (1.0 + gamma * s) - np.log1p(gamma * s)
