"""ℓ1: the LASSO, by accelerated proximal gradient steps, and basis pursuit denoising, by ADMM."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from solvers.core import Solver
from solvers.eigenbasis import Eigenbasis
from solvers.estimate import Estimate, IterationState, Watch
from solvers.kron import abs2, adjoint, kron_apply, total
from solvers.options import option
from solvers.problem import Array, Problem
from solvers.rows import keep_rows
from solvers.status import Status
from solvers.units import atom_norms2

LOOK = 10
"""Iterations from one look at the KKT residual to the next: it costs a quarter of an iteration."""

RELAX = 1.6
"""Over-relaxation of ADMM."""

ADAPT = 10
"""Iterations from one adaptation of ADMM's ρ to the next."""

MOST = 5.0
"""Most that ρ changes by at once."""

LEAST = 1e-12
"""Smallest λ, as a share of the least that makes x 0."""

LOOSE = 0.1
"""KKT residual, as a share of λ, at which the next λ of a path is taken."""


def atoms_of(problem: Problem) -> tuple[Array, Array]:
    """Mean norm of the atoms and their number, both without atoms that are 0, (B,) each."""
    norm, count = np.ones(problem.batch), np.ones(problem.batch)
    for factor in problem.factors:
        norms = np.sqrt(atom_norms2(factor))
        live = np.maximum((norms > 0).sum(axis=-1), 1)
        norm, count = norm * norms.sum(axis=-1) / live, count * live
    return norm, count


def universal(problem: Problem) -> Array:
    """The size that the largest of |aᴴn| has for noise alone, (B,).

    σ ā √(2 log N) of real data, σ ā √(log N) of complex ones, ā being the mean norm of the atoms
    and N their number, both without atoms that are 0: Eq. `eq:universal` of docs/numbers.md.
    """
    assert problem.noise_var is not None
    norm, count = atoms_of(problem)
    kinds = 1.0 if np.iscomplexobj(problem.y) else 2.0
    return np.sqrt(problem.noise_var * kinds * np.log(np.maximum(count, 2))) * norm


def soft(x: Array, threshold: Array) -> Array:
    """Shrink the modulus of every entry by a threshold, to no less than 0."""
    size = np.abs(x)
    return x * np.maximum(1.0 - threshold / _or_one(size), 0.0)


def optimality(x: Array, gradient: Array, penalty: Array) -> Array:
    """KKT residual of the LASSO, (B,): Eq. `eq:lasso-kkt` of docs/numbers.md.

    Parameters
    ----------
    x : array, (B, N_1, …, N_I)
    gradient : array like x
        Aᴴ(y − Ax).
    penalty : array, (B, 1, …, 1)
        λ.
    """
    size = np.abs(x)
    on = np.abs(gradient - penalty * x / _or_one(size))
    off = np.abs(gradient) - penalty
    return np.where(size > 0, on, off).reshape(len(x), -1).max(axis=1, initial=0.0)


def least_squares_on_support(problem: Problem, x: Array) -> Array:
    """Least squares on the support of x, by conjugate gradients from there.

    Parameters
    ----------
    problem
    x : array, (B, N_1, …, N_I)
        Of more than M/2 entries only the M/2 largest stay.
    """
    flat = np.abs(x).reshape(len(x), -1)
    most = min(problem.y[0].size // 2 + 1, flat.shape[1])
    bound = np.partition(flat, -most, axis=1)[:, -most]
    mask = (np.abs(x) > bound.reshape(-1, *[1] * (x.ndim - 1))) if most < flat.shape[1] else x != 0
    adjoints = [adjoint(a) for a in problem.factors]
    x = np.where(mask, x, 0)
    gradient = mask * kron_apply(adjoints, problem.y - kron_apply(problem.factors, x))
    ahead, power = gradient, total(abs2(gradient))
    least = 1e-24 * total(abs2(kron_apply(adjoints, problem.y)))
    for _ in range(min(problem.y[0].size, 500)):
        going = power > least
        if not going.any():
            break
        seen = kron_apply(problem.factors, ahead)
        step = _wide(np.where(going, power / _or_one(total(abs2(seen))), 0.0), x)
        x = x + step * ahead
        gradient = gradient - step * (mask * kron_apply(adjoints, seen))
        before, power = power, total(abs2(gradient))
        ahead = gradient + _wide(np.where(going, power / _or_one(before), 0.0), x) * ahead
    return x


def _or_one(values: Array) -> Array:
    """Values to divide by; 1 where they are 0."""
    return np.where(values > 0, values, 1.0)


def _wide(values: Array, like: Array) -> Array:
    """(B,) to (B, 1, …, 1)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True)
class L1Solver(Solver):
    """Base class of what minimises an ℓ1 norm: the loop over iterations, and debiasing."""

    family: ClassVar[str] = "ℓ1"

    tolerance: float = option(1e-4, "stop at this KKT residual, as a share of λ", at_least=0.0)
    max_iterations: int = option(2000, "cap on iterations", at_least=1)
    debias: bool = option(False, "least squares on the support (at most M/2 atoms) at the end")

    def _minimize(
        self, problem: Problem, descent: _Descent | _Splitting, rows: Array, watch: Watch
    ) -> Estimate:
        """Step until every one of `rows` (indices) stands still; the others have the estimate 0."""
        batch = problem.batch
        x = np.zeros((batch, *problem.dims), problem.y.dtype)
        status, iterations = np.full(batch, Status.CONVERGED), np.zeros(batch, int)
        status[rows] = Status.MAX_ITERATIONS
        for iteration in range(1, self.max_iterations + 1):
            descent.step(iteration, self)
            x[rows], iterations[rows] = descent.x, iteration
            watch(iteration, rows, descent.seen())
            far = ~(descent.change <= self.tolerance)
            status[rows[~far]] = Status.CONVERGED
            rows = rows[far]
            if not rows.size:
                break
            if not far.all():
                keep_rows(descent, far)
        if self.debias:
            x = least_squares_on_support(problem, x)
        broken = ~np.isfinite(total(abs2(x)))
        x[broken], status[broken] = np.nan, Status.DIVERGED
        return Estimate(x, status, iterations)


@dataclass(frozen=True)
class Lasso(L1Solver):
    """LASSO: the minimiser of ½‖y − Ax‖² + λ‖x‖₁, by FISTA with restart.

    λ is `scale` times the universal one, or fixed. Eqs. `eq:lasso` to `eq:lasso-kkt` of
    docs/numbers.md.

    Notes
    -----
    Source: Beck and Teboulle, SIAM J. Imaging Sciences 2(1), 2009; the restart is that of
    O'Donoghue and Candès, Foundations of Computational Mathematics 15, 2015. Both products with A
    of an iteration are of x, those of the point ahead being combinations of these.
    """

    rule: str = option(
        "universal", "λ by the noise variance, or `penalty`", choices=("universal", "fixed")
    )
    scale: float = option(0.3, "λ as a multiple of the universal one", above=0.0)
    penalty: float = option(0.01, "λ as a share of the least that makes x 0", above=0.0)
    path: int = option(5, "how many λ to descend by, each from the solution before", at_least=1)

    objective: ClassVar[str] = "LASSO objective"
    source: ClassVar[str] = "Beck and Teboulle, SIAM J. Imaging Sciences 2(1), 2009"

    @property
    def requires(self) -> tuple[str, ...]:
        """The noise variance, where λ follows it."""
        return ("noise_var",) if self.rule == "universal" else ()

    def cost_as_given(self, cost: Array, log_scale: Array, size: int) -> Array:
        """The objective has the units of ‖y‖²."""
        return cost * np.exp(2.0 * log_scale)

    def _penalties(self, problem: Problem, greatest: Array) -> Array:
        """λ at the end of the path, (B,); `greatest` is the least at which x is 0."""
        if self.rule == "universal":
            return np.minimum(self.scale * universal(problem), greatest)
        if self.scaling == "none":
            return np.minimum(np.full(problem.batch, self.penalty), greatest)
        return np.minimum(self.penalty, 1.0) * greatest

    def _solve(self, problem: Problem, *, watch: Watch, **_: Any) -> Estimate:
        descent = _Descent(problem, self._penalties, self.path)
        return self._minimize(problem, descent, np.arange(problem.batch), watch)


class _Descent:
    """Rows of FISTA that have not converged yet."""

    def __init__(
        self, problem: Problem, penalties: Callable[[Problem, Array], Array], path: int
    ) -> None:
        batch = problem.batch
        self.problem, self.path = problem, path
        self.adjoints = [adjoint(a) for a in problem.factors]
        self.gradient = kron_apply(self.adjoints, problem.y)
        self.x = np.zeros_like(self.gradient)
        self.residual = problem.y
        self.greatest = _or_one(np.abs(self.gradient).reshape(batch, -1).max(axis=1))
        # Without noise λ would be 0, which no path leads to.
        self.last = np.maximum(penalties(problem, self.greatest), LEAST * self.greatest)
        self.change = np.full(batch, np.inf)
        self.stage, self.momentum = np.zeros(batch, int), np.ones(batch)
        norms2 = [np.linalg.norm(a, 2, axis=(-2, -1)) ** 2 for a in problem.factors]
        self.rate = 1.0 / _or_one(np.broadcast_to(math.prod(norms2), (batch,)))
        self.x_step, self.gradient_step = np.zeros_like(self.x), np.zeros_like(self.x)

    @property
    def penalty(self) -> Array:
        """λ of this stage of the path, (b,): falling to the last one geometrically."""
        left = 1.0 - (self.stage + 1) / self.path
        return self.last * (self.greatest / self.last) ** left

    def step(self, iteration: int, solver: L1Solver) -> None:
        """One step from the point ahead, with a look at how good it is every now and then."""
        t = self.momentum
        self.momentum = (1.0 + np.sqrt(1.0 + 4.0 * t**2)) / 2.0
        ahead = _wide((t - 1.0) / self.momentum, self.x)
        rate = _wide(self.rate, self.x)
        start = self.x + ahead * self.x_step
        moved = start + rate * (self.gradient + ahead * self.gradient_step)
        new = soft(moved, rate * _wide(self.penalty, self.x))
        self.residual = self.problem.y - kron_apply(self.problem.factors, new)
        gradient = kron_apply(self.adjoints, self.residual)
        self.x_step, self.gradient_step = new - self.x, gradient - self.gradient
        self.x, self.gradient = new, gradient
        turned = total(((start - new).conj() * self.x_step).real) > 0
        self.momentum[turned] = 1.0
        if iteration % LOOK == 0 or iteration == solver.max_iterations:
            self._advance(solver.tolerance)

    def _advance(self, tolerance: float) -> None:
        """Measure the KKT residual, and go on to the next λ where this one is solved."""
        penalty, last = self.penalty, self.stage == self.path - 1
        kkt = optimality(self.x, self.gradient, _wide(penalty, self.x)) / penalty
        solved = (kkt <= max(tolerance, LOOSE)) & ~last
        self.change = np.where(last, kkt, np.inf)
        self.stage = self.stage + solved
        self.momentum[solved] = 1.0

    def seen(self) -> IterationState:
        """The state of the rows as a watch sees it."""
        return IterationState(x=self.x, cost=self._cost, change=self.change)

    def _cost(self) -> Array:
        return 0.5 * total(abs2(self.residual)) + self.last * total(np.abs(self.x))


@dataclass(frozen=True)
class BPDN(L1Solver):
    """Basis pursuit denoising: the least ‖x‖₁ with ‖y − Ax‖ ≤ ε, by ADMM.

    ε is σ√M by default, so that nothing has to be tuned. Where no x fits so closely it is the
    closest that there is. Eqs. `eq:bpdn` to `eq:bpdn-steps` of docs/numbers.md.

    Notes
    -----
    Source: Chen, Donoho and Saunders, SIAM J. Scientific Computing 20(1), 1998; ADMM as by Boyd et
    al., Foundations and Trends in Machine Learning 3(1), 2011, both constraints (w = x and z = Ax)
    at one ρ, so that x comes from an exact solve in the eigenbasis of AAᴴ. ρ follows the ratio of
    the relative residuals.
    """

    tolerance: float = option(1e-4, "stop at these relative residuals", at_least=0.0)
    epsilon: float | None = option(
        None,
        "bound on the residual as a share of ‖y‖, itself with scaling none; σ√M by default",
        optional=True,
        type=float,
        at_least=0.0,
    )

    objective: ClassVar[str] = "l1 norm times atom norm over ‖y‖"
    source: ClassVar[str] = "Chen, Donoho and Saunders, SIAM J. Scientific Computing 20(1), 1998"

    @property
    def requires(self) -> tuple[str, ...]:
        """The noise variance, where ε follows it."""
        return ("noise_var",) if self.epsilon is None else ()

    def _bound2(self, problem: Problem) -> Array:
        """ε², (B,)."""
        if self.epsilon is None:
            assert problem.noise_var is not None
            return problem.y[0].size * problem.noise_var
        power = np.ones(problem.batch) if self.scaling == "none" else total(abs2(problem.y))
        return self.epsilon**2 * power

    def _solve(self, problem: Problem, *, watch: Watch, **_: Any) -> Estimate:
        bound2 = self._bound2(problem)
        rows = np.flatnonzero(total(abs2(problem.y)) > bound2)
        if not rows.size:
            return Estimate(np.zeros((problem.batch, *problem.dims), problem.y.dtype))
        return self._minimize(problem, _Splitting(problem.take(rows), bound2[rows]), rows, watch)


class _Splitting:
    """Rows of ADMM that have not converged yet, in the eigenbasis and with ‖A‖ = 1."""

    def __init__(self, problem: Problem, bound2: Array) -> None:
        basis, self.size = Eigenbasis.of(problem).normalized()
        self.factors, power = basis.factors, basis.power
        # What no x can fit is not asked of z, and takes its part of ε.
        seen = power > problem.y[0].size * np.finfo(float).eps
        self.power, self.y = np.where(seen, power, 0.0), np.where(seen, basis.y, 0.0)
        missed2 = total(abs2(np.where(seen, 0.0, basis.y)))
        self.radius = np.sqrt(np.maximum(bound2 - missed2, 0.0))
        self.unit = atoms_of(problem)[0] / np.sqrt(total(abs2(problem.y)))
        pull = np.abs(kron_apply([adjoint(a) for a in self.factors], self.y))
        self.rho = 1.0 / _or_one(pull.reshape(len(pull), -1).max(axis=1))
        self.w = np.zeros((problem.batch, *problem.dims), problem.y.dtype)
        self.z = np.zeros_like(self.y)
        self.u_w, self.u_z = np.zeros_like(self.w), np.zeros_like(self.z)
        self.change = np.full(problem.batch, np.inf)

    @property
    def x(self) -> Array:
        """The sparse iterate, in the units of the problem."""
        return self.w / _wide(self.size, self.w)

    def step(self, iteration: int, solver: L1Solver) -> None:
        """One iteration, after which ρ follows the residuals every now and then."""
        w, z = self.w, self.z
        v, q = w - self.u_w, z - self.u_z
        s = (kron_apply(self.factors, v) + self.power * q) / (1.0 + self.power)
        x = v + kron_apply([adjoint(a) for a in self.factors], q - s)
        ahead_x, ahead_s = w + RELAX * (x - w), z + RELAX * (s - z)
        self.w = soft(ahead_x + self.u_w, _wide(1.0 / self.rho, w))
        off = ahead_s + self.u_z - self.y
        far = np.sqrt(total(abs2(off)))
        within = np.minimum(1.0, self.radius / _or_one(far))
        self.z = self.y + _wide(within, z) * off
        self.u_w = self.u_w + ahead_x - self.w
        self.u_z = self.u_z + ahead_s - self.z
        primal = _norm(x - self.w, s - self.z) / _or_one(_norm(self.w, self.z))
        dual = _norm(self.w - w, self.z - z) / _or_one(_norm(self.u_w, self.u_z))
        self.change = np.maximum(primal, dual)
        if iteration % ADAPT == 0 and iteration <= solver.max_iterations // 2:
            ratio = np.clip(np.sqrt(primal / np.maximum(dual, 1e-300)), 1.0 / MOST, MOST)
            self.rho = self.rho * ratio
            self.u_w, self.u_z = self.u_w / _wide(ratio, w), self.u_z / _wide(ratio, z)

    def seen(self) -> IterationState:
        """The state of the rows as a watch sees it."""
        return IterationState(x=lambda: self.x, cost=self._cost, change=self.change)

    def _cost(self) -> Array:
        return self.unit * total(np.abs(self.x))


def _norm(first: Array, second: Array) -> Array:
    """Norm of both together, (B,)."""
    return np.sqrt(total(abs2(first)) + total(abs2(second)))
