"""The one EM loop: every Bayesian solver here is a prior's model and an M-step plugged into it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from solvers.core import Array, Estimate, Gamma, Problem, Solver, Status, Watch, option
from solvers.kron import abs2, distance2, norm2, prune, total


class Posterior(Protocol):
    """What the loop and the M-steps need of an E-step, for B rows and the atoms in use.

    The hyperparameters γ are always a tuple of factors (B, n_i): a prior without structure is
    the Kronecker product of one factor of ΠN entries.
    """

    model: Any
    gamma: tuple[Array, ...]
    noise_var: Array

    @property
    def mean(self) -> Array:
        """Posterior mean μ."""

    @property
    def variance(self) -> Array:
        """Posterior variances diag(Σ)."""

    @property
    def moment(self) -> Array:
        """Second moments |μ|² + diag(Σ)."""

    @property
    def residual(self) -> Array:
        """‖y − Aμ‖², (B,)."""

    @property
    def determined(self) -> Array:
        """Σ_n (1 − Σ_nn/γ_n), (B,)."""

    @property
    def cost(self) -> Array:
        """SBL cost, (B,)."""

    def take(self, rows: Array) -> Self:
        """Only some of the rows."""


class Model(Protocol):
    """A batch of realizations under one kind of prior, reduced to the atoms in use."""

    def gamma_factors(self, gamma: Gamma) -> tuple[Array, ...]:
        """Hyperparameters over all atoms, as given by a user, as this model's factors."""

    def compact(self, gamma: tuple[Array, ...]) -> tuple[Self, tuple[Array, ...]]:
        """Drop atoms whose γ is 0 in every row, where that pays."""

    def posterior(self, gamma: tuple[Array, ...], noise_var: Array) -> Posterior:
        """The E-step."""

    def expand(self, x: Array) -> Array:
        """A tensor over the atoms in use as one over all, (B, N_1, …, N_I)."""

    def expand_gamma(self, gamma: tuple[Array, ...]) -> Gamma:
        """Hyperparameters over all atoms, as users see them."""


class MStep(NamedTuple):
    """Result of an M-step: new γ, and per row the inner iterations spent and whether capped."""

    gamma: tuple[Array, ...]
    inner_iterations: Array | int = 0
    inner_capped: Array | bool = False


class State:
    """What a `watch` sees of the rows still running, expanded to all atoms when asked for.

    Attributes
    ----------
    change : array, (B,)
        Relative change that the stopping rule looks at.
    """

    def __init__(self, posterior: Posterior, change: Array) -> None:
        self._posterior, self.change = posterior, change

    @property
    def x(self) -> Array:
        """Posterior mean after this iteration, (B, N_1, …, N_I)."""
        return self._posterior.model.expand(self._posterior.mean)

    @property
    def gamma(self) -> Gamma:
        """Hyperparameters that `x` belongs to."""
        return self._posterior.model.expand_gamma(self._posterior.gamma)

    @property
    def noise_var(self) -> Array:
        """Noise variance that `x` belongs to, (B,)."""
        return self._posterior.noise_var

    @property
    def cost(self) -> Array:
        """SBL cost at `gamma` and `noise_var`, (B,)."""
        return self._posterior.cost


@dataclass(frozen=True)
class EMSolver(Solver):
    """A solver that alternates an E-step (the posterior of x) and an M-step (an update of γ).

    Eqs. (25) to (28) of docs/numbers.md are what all of them share.
    """

    max_iterations: int = option(150, "cap on EM iterations", at_least=1)
    tolerance: float = option(1e-4, "stop when the relative change is at most this", at_least=0.0)
    noise: str = option(
        "known",
        "take the noise variance from the problem, or estimate it",
        choices=("known", "estimate"),
    )

    stops_on: ClassVar[str] = "gamma"
    """Whose relative change the stopping rule looks at: "gamma" or "mean"."""

    @property
    def requires(self) -> tuple[str, ...]:
        """The noise variance, unless it is estimated."""
        return ("noise_var",) if self.noise == "known" else ()

    @abstractmethod
    def model(self, problem: Problem) -> Model:
        """The working set to run the E-steps on."""

    @abstractmethod
    def start(self, problem: Problem) -> Gamma:
        """Hyperparameters to start from, each factor broadcast to the batch."""

    @abstractmethod
    def prune_bounds(self, factors: int) -> tuple[Sequence[float], Sequence[float]]:
        """Relative and absolute pruning bounds, one of each per factor of γ."""

    @abstractmethod
    def maximize(self, posterior: Posterior) -> MStep:
        """The M-step: γ that maximises (or improves) the expected log posterior."""

    def solve(
        self,
        problem: Problem,
        *,
        initial: tuple[Gamma, ArrayLike | None] | None = None,
        watch: Watch | None = None,
    ) -> Estimate:
        """Run EM on every row of the batch; see `Solver.solve`."""
        self.check(problem)
        with np.errstate(all="ignore"):  # rows that overflow are found, and end as diverged
            gamma, noise_var = self._start(problem, initial)
            results = _Results(problem, gamma, self.noise == "known")
            # The evidence of y = 0 is largest at γ = 0, which `results` holds already.
            rows = np.flatnonzero(problem.y.reshape(problem.batch, -1).any(axis=1))
            if rows.size:
                active = problem.take(rows)
                model = self.model(active)
                factors = model.gamma_factors(_rows_of(gamma, rows))
                everyone = np.ones(rows.size, bool)
                step = _e_step(self, model, factors, norm2(factors), noise_var[rows], everyone)
                _iterate(self, rows, step, results, watch)
        return results.estimate()

    def _start(
        self, problem: Problem, initial: tuple[Gamma, ArrayLike | None] | None
    ) -> tuple[Gamma, Array]:
        gamma, noise_var = initial if initial is not None else (None, None)
        if gamma is None:
            gamma = self.start(problem)
        gamma = broadcast_gamma(gamma, problem)
        if self.noise == "known":
            assert problem.noise_var is not None
            return gamma, problem.noise_var
        if noise_var is None:
            flat = problem.y.reshape(problem.batch, -1)
            spread = total(abs2(flat - flat.mean(axis=1, keepdims=True)))
            return gamma, 0.1 * spread / max(flat.shape[1] - 1, 1) + _noise_floor(problem.y)
        start = np.broadcast_to(np.asarray(noise_var, float), (problem.batch,))
        if not (np.isfinite(start) & (start > 0)).all():
            raise ValueError("the initial noise variance must be positive and finite")
        return gamma, start


def _noise_floor(y: Array) -> Array:
    # Departure from the paper: an estimated variance stays above the rounding of y, since a fit
    # without residual would drive it to 0 and the posterior's D = 1/(σ² + p) to infinity.
    mean_power = total(abs2(y)) / y[0].size
    return np.finfo(float).eps ** 2 * mean_power + np.finfo(float).tiny


def broadcast_gamma(gamma: Gamma, problem: Problem) -> Gamma:
    """`gamma` for every row of the batch, checked."""

    def one(value: ArrayLike, shape: tuple[int, ...], name: str) -> Array:
        array = np.asarray(value, float)
        if array.shape not in (shape, (problem.batch, *shape)):
            raise ValueError(
                f"{name} must have shape {shape} or {(problem.batch, *shape)}, got {array.shape}"
            )
        if not (np.isfinite(array) & (array >= 0)).all():
            raise ValueError(f"{name} must be finite and non-negative")
        return np.broadcast_to(array, (problem.batch, *shape))

    if isinstance(gamma, tuple | list):
        if len(gamma) != len(problem.dims):
            raise ValueError(f"gamma needs {len(problem.dims)} factors, got {len(gamma)}")
        return tuple(
            one(g, (n,), f"gamma[{i}]")
            for i, (g, n) in enumerate(zip(gamma, problem.dims, strict=True))
        )
    return one(gamma, problem.dims, "gamma")


def _rows_of(gamma: Gamma, rows: Array) -> Gamma:
    return tuple(g[rows] for g in gamma) if isinstance(gamma, tuple) else gamma[rows]


class _Step(NamedTuple):
    """An E-step, with what the pruning before it took from γ."""

    posterior: Posterior
    norm2: Array  # of γ before pruning
    removed: Array  # squared norm of the part that was pruned

    def take(self, rows: Array) -> _Step:
        return _Step(self.posterior.take(rows), self.norm2[rows], self.removed[rows])


def _e_step(
    solver: EMSolver,
    model: Model,
    gamma: tuple[Array, ...],
    size: Array,
    noise_var: Array,
    prunable: Array,
) -> _Step:
    gamma, removed = prune(gamma, *solver.prune_bounds(len(gamma)), prunable)
    model, gamma = model.compact(gamma)
    return _Step(model.posterior(gamma, noise_var), size, removed)


def _relative(difference2: Array, reference2: Array) -> Array:
    """√(difference² / reference²), where 0/0 is no change."""
    return np.sqrt(difference2 / np.where(reference2 > 0, reference2, 1.0))


def _iterate(
    solver: EMSolver,
    rows: Array,
    step: _Step,
    results: _Results,
    watch: Watch | None,
) -> None:
    """M-step and E-step until every row has converged or run out of iterations."""
    for iteration in range(1, solver.max_iterations + 1):
        before = step.posterior
        update = solver.maximize(before)
        gamma, noise_var = update.gamma, before.noise_var
        if solver.noise == "estimate":
            fitted = before.residual + noise_var * before.determined
            noise_var = np.maximum(fitted / results.measurements, results.noise_floor[rows])
        size = norm2(gamma)
        broken = ~np.isfinite(size + noise_var)
        if broken.any():
            gamma = tuple(np.where(broken[:, None], 0.0, g) for g in gamma)
            size, noise_var = np.where(broken, 0.0, size), np.where(broken, 1.0, noise_var)
        # Measured against γ before pruning, whose pruned part is missing from `before.gamma`.
        change = _relative(distance2(gamma, before.gamma) + step.removed, step.norm2)
        ends = broken | (iteration == solver.max_iterations)
        if solver.stops_on == "gamma":
            ends |= change <= solver.tolerance
        # A row that ends keeps the γ it ended with: it is not pruned again.
        step = _e_step(solver, before.model, gamma, size, noise_var, ~ends)
        if solver.stops_on == "mean":
            moved = total(abs2(step.posterior.mean - before.mean))
            change = _relative(moved, total(abs2(before.mean)))
            ends |= change <= solver.tolerance
        results.count(rows, update)
        if watch is not None:
            watch(iteration, rows, State(step.posterior, change))
        if ends.any():
            over, on = np.flatnonzero(ends), np.flatnonzero(~ends)
            status = np.where(change <= solver.tolerance, Status.CONVERGED, Status.MAX_ITERATIONS)
            status[broken] = Status.DIVERGED
            results.record(rows[over], step.posterior.take(over), status[over], iteration)
            if not on.size:
                return
            rows, step = rows[on], step.take(on)


class _Results:
    """The rows' final values, filled in as they end."""

    def __init__(self, problem: Problem, gamma: Gamma, noise_known: bool) -> None:
        batch = problem.batch
        self.measurements, self.noise_floor = problem.y[0].size, _noise_floor(problem.y)
        self._x = np.zeros((batch, *problem.dims), np.result_type(problem.y))
        self._variance = np.zeros((batch, *problem.dims))
        self._gamma = (
            tuple(np.zeros(g.shape) for g in gamma)
            if isinstance(gamma, tuple)
            else np.zeros(gamma.shape)
        )
        known = problem.noise_var if noise_known else None
        self._noise_var = np.zeros(batch) if known is None else known.copy()
        self._iterations = np.zeros(batch, int)
        self._inner_iterations = np.zeros(batch, int)
        self._inner_capped = np.zeros(batch, bool)
        self._status = np.full(batch, int(Status.CONVERGED))

    def count(self, rows: Array, update: MStep) -> None:
        self._inner_iterations[rows] += update.inner_iterations
        self._inner_capped[rows] |= update.inner_capped

    def record(self, rows: Array, posterior: Posterior, status: Array, iteration: int) -> None:
        x = posterior.model.expand(posterior.mean)
        status = np.where(np.isfinite(total(abs2(x))), status, Status.DIVERGED)
        x[status == Status.DIVERGED] = np.nan
        self._x[rows] = x
        self._variance[rows] = posterior.model.expand(posterior.variance)
        gamma = posterior.model.expand_gamma(posterior.gamma)
        if isinstance(gamma, tuple):
            for full, g in zip(self._gamma, gamma, strict=True):
                full[rows] = g
        else:
            self._gamma[rows] = gamma  # type: ignore[index]
        self._noise_var[rows] = posterior.noise_var
        self._iterations[rows] = iteration
        self._status[rows] = status

    def estimate(self) -> Estimate:
        return Estimate(
            x=self._x,
            status=self._status,
            iterations=self._iterations,
            inner_iterations=self._inner_iterations,
            inner_capped=self._inner_capped,
            variance=self._variance,
            gamma=self._gamma,
            noise_var=self._noise_var,
        )
