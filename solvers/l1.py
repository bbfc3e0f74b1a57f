"""ℓ1: the LASSO and basis pursuit denoising, by ADMM with exact steps in the eigenbasis."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from solvers.arrays import wide
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
"""Iterations from one look at how far it is, and one adaptation of ρ, to the next."""

RELAX = 1.6
"""Over-relaxation."""

FIRST = 0.05
"""ρ of the LASSO to begin with, with ‖A‖ = 1."""

MOST = 5.0
"""Most that ρ changes by at once."""

LEAST = 1e-12
"""Smallest λ, as a share of the least that makes x 0."""


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


def clipped(x: Array, most: Array) -> Array:
    """Entries of a modulus of at most `most`: what soft thresholding takes away, in a new array."""
    if not np.iscomplexobj(x):
        return np.clip(x, -most, most)
    return x * np.minimum(1.0, most / _or_one(np.abs(x)))


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
    mask = (np.abs(x) > _wide(bound, x)) if most < flat.shape[1] else x != 0
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
    return wide(values, like.ndim)


@dataclass(frozen=True)
class L1Solver(Solver):
    """Base class of what minimises an ℓ1 norm: the loop over iterations, and debiasing."""

    family: ClassVar[str] = "ℓ1"
    version: ClassVar[int] = 2

    tolerance: float = option(1e-4, "stop at this KKT residual, as a share of λ", at_least=0.0)
    max_iterations: int = option(2000, "cap on iterations", at_least=1)
    debias: bool = option(False, "least squares on the support (at most M/2 atoms) at the end")

    def _minimize(
        self, problem: Problem, splitting: _Splitting, rows: Array, watch: Watch
    ) -> Estimate:
        """Step until every one of `rows` (indices) stands still; the others have the estimate 0."""
        batch = problem.batch
        x = np.zeros((batch, *problem.dims), problem.y.dtype)
        status, iterations = np.full(batch, Status.CONVERGED), np.zeros(batch, int)
        for iteration in range(1, self.max_iterations + 1):
            last = iteration == self.max_iterations
            splitting.step(look=last or iteration % LOOK == 0)
            watch(iteration, rows, splitting.seen())
            far = ~(splitting.change <= self.tolerance)
            ends = rows[~far | last]
            x[ends], iterations[ends] = splitting.x[~far | last], iteration
            if last:
                status[rows[far]] = Status.MAX_ITERATIONS
            rows = rows[far]
            if not rows.size:
                break
            if not far.all():
                keep_rows(splitting, far)
            if iteration % LOOK == 0 and iteration <= self.max_iterations // 2:
                splitting.adapt()
        if self.debias:
            x = least_squares_on_support(problem, x)
        broken = ~np.isfinite(total(abs2(x)))
        x[broken], status[broken] = np.nan, Status.DIVERGED
        return Estimate(x, status, iterations)


class _Splitting(ABC):
    """Rows of ADMM that have not converged yet, in the eigenbasis and with ‖A‖ = 1.

    Attributes
    ----------
    w, u : arrays, (b, N_1, …, N_I)
        The sparse iterate, and the scaled dual of w = x.
    rho : array, (b,)
    primal, dual : arrays, (b,)
        Relative residuals, as of the last look.
    change : array, (b,)
        What the stopping rule looks at, as of then.
    """

    def __init__(self, problem: Problem) -> None:
        basis, self.size = Eigenbasis.of(problem).normalized()
        self.factors, self.power, self.y = basis.factors, basis.power, basis.y
        self.adjoints = [adjoint(a) for a in self.factors]
        self.w = np.zeros((problem.batch, *problem.dims), problem.y.dtype)
        self.u = np.zeros_like(self.w)
        self.rho = np.full(problem.batch, FIRST)
        self.primal, self.dual = np.ones(problem.batch), np.ones(problem.batch)
        self.change = np.full(problem.batch, np.inf)

    @property
    def x(self) -> Array:
        """The sparse iterate, in the units of the problem."""
        return self.w / _wide(self.size, self.w)

    @abstractmethod
    def step(self, look: bool) -> None:
        """One iteration, and how far it is if somebody is to look."""

    def _shrink(self, pull: Array, threshold: Array) -> None:
        """Go on to new w and u, from x = w − u + `pull`, over-relaxed."""
        ahead = RELAX * pull
        ahead += self.w
        ahead += (1.0 - RELAX) * self.u
        self.u = clipped(ahead, _wide(threshold, ahead))
        self.w = ahead - self.u

    def adapt(self) -> None:
        """Let ρ follow the residuals."""
        ratio = np.clip(np.sqrt(self.primal / np.maximum(self.dual, 1e-300)), 1.0 / MOST, MOST)
        self.rho = self.rho * ratio
        self.u = self.u / _wide(ratio, self.u)

    def seen(self) -> IterationState:
        """The state of the rows as a watch sees it."""
        return IterationState(x=lambda: self.x, cost=self.cost, change=self.change)

    @abstractmethod
    def cost(self) -> Array:
        """What is minimised, (b,)."""


@dataclass(frozen=True)
class Lasso(L1Solver):
    """LASSO: the minimiser of ½‖y − Ax‖² + λ‖x‖₁, by ADMM.

    λ is `scale` times the universal one, or fixed. Eqs. `eq:lasso` to `eq:lasso-kkt` of
    docs/numbers.md.

    Notes
    -----
    Source: Tibshirani, J. Royal Statistical Society B 58(1), 1996; ADMM as by Boyd et al.,
    Foundations and Trends in Machine Learning 3(1), 2011, whose step for x is exact in the
    eigenbasis of AAᴴ. Accelerated proximal gradient steps (FISTA) with restart take four times as
    many iterations on Kronecker dictionaries, which are ill-conditioned.
    """

    rule: str = option(
        "universal", "λ by the noise variance, or `penalty`", choices=("universal", "fixed")
    )
    scale: float = option(0.3, "λ as a multiple of the universal one", above=0.0)
    penalty: float = option(0.01, "λ as a share of the least that makes x 0", above=0.0)

    objective: ClassVar[str] = "LASSO objective"
    source: ClassVar[str] = "Tibshirani, J. Royal Statistical Society B 58(1), 1996"

    @property
    def requires(self) -> tuple[str, ...]:
        """The noise variance, where λ follows it."""
        return ("noise_var",) if self.rule == "universal" else ()

    def cost_as_given(self, cost: Array, log_scale: Array, size: int) -> Array:
        """The objective has the units of ‖y‖²."""
        return cost * np.exp(2.0 * log_scale)

    def _penalties(self, problem: Problem, greatest: Array) -> Array:
        """λ, (B,); `greatest` is the least at which x is 0."""
        if self.rule == "universal":
            return np.minimum(self.scale * universal(problem), greatest)
        if self.scaling == "none":
            return np.minimum(np.full(problem.batch, self.penalty), greatest)
        return np.minimum(self.penalty, 1.0) * greatest

    def _solve(self, problem: Problem, *, watch: Watch, **_: Any) -> Estimate:
        splitting = _Penalized(problem)
        pull = np.abs(kron_apply(splitting.adjoints, splitting.y))
        greatest = _or_one(pull.reshape(problem.batch, -1).max(axis=1))
        penalty = self._penalties(problem, greatest * splitting.size) / splitting.size
        # Without noise λ would be 0, at which the solution is not unique.
        splitting.penalty = np.maximum(penalty, LEAST * greatest)
        return self._minimize(problem, splitting, np.arange(problem.batch), watch)


class _Penalized(_Splitting):
    """ADMM with ½‖y − Ax‖² + λ‖w‖₁ and w = x."""

    penalty: Array

    def step(self, look: bool) -> None:
        """See `_Splitting.step`."""
        w, v = self.w, self.w - self.u
        left = self.y - kron_apply(self.factors, v)
        pull = kron_apply(self.adjoints, left / (self.power + _wide(self.rho, self.power)))
        self._shrink(pull, self.penalty / self.rho)
        if look:
            gradient = kron_apply(self.adjoints, self.y - kron_apply(self.factors, self.w))
            kkt = optimality(self.w, gradient, _wide(self.penalty, self.w))
            self.change = kkt / self.penalty
            self.primal = _norm(v + pull - self.w) / _or_one(_norm(self.w))
            self.dual = _norm(self.w - w) / _or_one(_norm(self.u))

    def cost(self) -> Array:
        """½‖y − Ax‖² + λ‖x‖₁."""
        left = self.y - kron_apply(self.factors, self.w)
        return 0.5 * total(abs2(left)) + self.penalty * total(np.abs(self.w))


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
        return self._minimize(problem, _Bounded(problem.take(rows), bound2[rows]), rows, watch)


class _Bounded(_Splitting):
    """ADMM with ‖w‖₁, z in a ball around y, w = x and z = Ax."""

    def __init__(self, problem: Problem, bound2: Array) -> None:
        super().__init__(problem)
        # What no x can fit is not asked of z, and takes its part of ε.
        seen = self.power > problem.y[0].size * np.finfo(float).eps
        missed2 = total(abs2(np.where(seen, 0.0, self.y)))
        self.power, self.y = np.where(seen, self.power, 0.0), np.where(seen, self.y, 0.0)
        self.radius = np.sqrt(np.maximum(bound2 - missed2, 0.0))
        self.unit = atoms_of(problem)[0] / np.sqrt(total(abs2(problem.y)))
        pull = np.abs(kron_apply(self.adjoints, self.y))
        self.rho = 1.0 / _or_one(pull.reshape(len(pull), -1).max(axis=1))
        self.z, self.u_z = np.zeros_like(self.y), np.zeros_like(self.y)

    def step(self, look: bool) -> None:
        """See `_Splitting.step`."""
        w, z = self.w, self.z
        v, q = w - self.u, z - self.u_z
        s = (kron_apply(self.factors, v) + self.power * q) / (1.0 + self.power)
        pull = kron_apply(self.adjoints, q - s)
        self._shrink(pull, 1.0 / self.rho)
        ahead = z + RELAX * (s - z) + self.u_z
        off = ahead - self.y
        within = np.minimum(1.0, self.radius / _or_one(_norm(off)))
        self.z = self.y + _wide(within, z) * off
        self.u_z = ahead - self.z
        if look:
            self.primal = _norm(v + pull - self.w, s - self.z) / _or_one(_norm(self.w, self.z))
            self.dual = _norm(self.w - w, self.z - z) / _or_one(_norm(self.u, self.u_z))
            self.change = np.maximum(self.primal, self.dual)

    def adapt(self) -> None:
        """See `_Splitting.adapt`."""
        before = self.rho
        super().adapt()
        self.u_z = self.u_z * _wide(before / self.rho, self.u_z)

    def cost(self) -> Array:
        """The ℓ1 norm, without units."""
        return self.unit * total(np.abs(self.x))


def _norm(*parts: Array) -> Array:
    """Norm of all parts together, (B,)."""
    return np.sqrt(np.sum([total(abs2(part)) for part in parts], axis=0))
