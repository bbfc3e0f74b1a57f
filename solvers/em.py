"""The one EM loop: every Bayesian solver here is a prior's model and an M-step plugged into it."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np

from solvers.core import Solver, Start
from solvers.estimate import Estimate, IterationState, Watch
from solvers.kron import abs2, distance2, norm2, prune, total
from solvers.options import option, published
from solvers.problem import Array, Gamma, Problem, broadcast_gamma
from solvers.status import Status
from solvers.units import RESOLVED, with_power


class Posterior(Protocol):
    """An E-step as the loop and the M-steps need it, for B rows and the atoms in use.

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
    def effective_parameters(self) -> Array:
        """Effective number of parameters Σ_n (1 − Σ_nn/γ_n), (B,)."""

    @property
    def cost(self) -> Array:
        """SBL cost, (B,)."""

    @property
    def finite(self) -> Array:
        """Whether the mean is finite, (B,)."""

    def take(self, rows: Array) -> Self:
        """The posterior of some of the rows."""


class Model(Protocol):
    """A batch of realizations under one kind of prior, reduced to the atoms in use."""

    unit: Array
    """Unit of absolute bounds on γ, (B,): 1 in the published way."""

    shares: tuple[Array, ...] | None
    """‖a‖² of the atoms of each factor of γ over the largest, (B, n_i), by which γ is weighed
    where it is pruned; None in the published way, which does not."""

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


class _State(NamedTuple):
    """The realizations of a batch that are still running, one entry each."""

    rows: Array
    """Their indices in the batch."""
    posterior: Posterior
    """Posterior of this iteration's E-step, at γ as pruned."""
    norm2: Array
    """‖γ‖² before pruning."""
    removed: Array
    """Squared norm of what pruning took from γ."""
    change: Array
    """Relative change that the stopping rule looks at."""
    broken: Array
    """Whether γ or the noise variance has overflowed."""
    inner_iterations: Array
    """Iterations of all M-steps so far."""
    inner_capped: Array
    """Whether an M-step has ended at its cap."""

    def take(self, rows: Array) -> _State:
        """The state of some of them (indices)."""
        values = {name: part[rows] for name, part in self._asdict().items() if name != "posterior"}
        return _State(posterior=self.posterior.take(rows), **values)


@dataclass(frozen=True)
class EMSolver(Solver):
    """A solver that alternates an E-step (the posterior of x) and an M-step (an update of γ).

    Eqs. `eq:noise-start` to `eq:stop` of docs/numbers.md are what all of them share.
    """

    max_iterations: int = option(150, "cap on EM iterations", at_least=1)
    tolerance: float = option(1e-4, "stop when the relative change is at most this", at_least=0.0)
    noise: str = option(
        "known",
        "take the noise variance from the problem, or estimate it",
        choices=("known", "estimate"),
    )
    initial_gamma: float = option(
        1.0,
        'prior power Σγ‖a‖² to start from, as a share of ‖y‖²; with scaling "none" γ itself',
        above=0.0,
        kw_only=True,
    )

    version: ClassVar[int] = 2

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(
        max_iterations=150, tolerance=1e-4, initial_gamma=1.0
    )

    stops_on: ClassVar[str] = "gamma"
    """The stopping rule looks at the relative change of this: "gamma" or "mean"."""

    objective: ClassVar[str] = "SBL cost"

    @property
    def requires(self) -> tuple[str, ...]:
        """The noise variance, unless it is estimated."""
        return ("noise_var",) if self.noise == "known" else ()

    @abstractmethod
    def model(self, problem: Problem) -> Model:
        """The working set to run the E-steps on."""

    @abstractmethod
    def start(self, problem: Problem) -> Gamma:
        """Hyperparameters to start from but for their scale, each factor broadcast to the batch."""

    @abstractmethod
    def prune_bounds(self, factors: int) -> tuple[Sequence[float], Sequence[float]]:
        """Relative and absolute pruning bounds, one of each per factor of γ."""

    @abstractmethod
    def maximize(self, posterior: Posterior) -> MStep:
        """The M-step: γ that maximises (or improves) the expected log posterior."""

    def _solve(self, problem: Problem, *, initial: Start, watch: Watch) -> Estimate:
        state, ended = self._begin(problem, initial), []
        for iteration in range(1, self.max_iterations + 1):
            before = state
            state, ends = self._step(problem, state, last=iteration == self.max_iterations)
            lost = self._lost(before, state)
            if lost.size:
                ended.append((state.rows[lost], self._last_good(before.take(lost), iteration - 1)))
                going = np.setdiff1d(np.arange(len(ends)), lost)
                state, ends = state.take(going), ends[going]
                if not going.size:
                    break
            watch(iteration, state.rows, _seen(state))
            if ends.any():
                over = state.take(np.flatnonzero(ends))
                ended.append((over.rows, self._result(over, iteration)))
                if ends.all():
                    break
                state = state.take(np.flatnonzero(~ends))
        return Estimate.joined(ended)

    def _begin(self, problem: Problem, initial: Start) -> _State:
        """The E-step at the hyperparameters to start from."""
        gamma, noise_var = initial
        model = self.model(problem)
        factors = model.gamma_factors(self._first_gamma(problem) if gamma is None else gamma)
        if self.noise == "known":
            noise_var = problem.noise_var
        elif noise_var is None:
            noise_var = self._first_noise_var(problem.y)
        elif not (np.isfinite(noise_var) & (noise_var > 0)).all():
            raise ValueError("the initial noise variance must be positive and finite")
        assert noise_var is not None
        posterior, removed = self._e_step(model, factors, noise_var, np.ones(problem.batch, bool))
        return _State(
            rows=np.arange(problem.batch),
            posterior=posterior,
            norm2=norm2(factors),
            removed=removed,
            change=np.full(problem.batch, np.inf),
            broken=np.zeros(problem.batch, bool),
            inner_iterations=np.zeros(problem.batch, int),
            inner_capped=np.zeros(problem.batch, bool),
        )

    def _first_gamma(self, problem: Problem) -> Gamma:
        """γ as `start` shapes it, with the power that `initial_gamma` says."""
        gamma = broadcast_gamma(self.start(problem), problem)
        if self.scaling == "data":
            return with_power(gamma, problem, self.initial_gamma)
        if isinstance(gamma, tuple):
            return (*gamma[:-1], self.initial_gamma * gamma[-1])
        return self.initial_gamma * gamma

    def _first_noise_var(self, y: Array) -> Array:
        """An estimate to start from: all of y is noise, or Eq. `eq:noise-start` as published."""
        if self.scaling == "data":
            return np.maximum(total(abs2(y)) / y[0].size, self._noise_floor(y))
        flat = y.reshape(len(y), -1)
        spread = total(abs2(flat - flat.mean(axis=1, keepdims=True)))
        return 0.1 * spread / max(flat.shape[1] - 1, 1) + self._noise_floor(y)

    def _noise_floor(self, y: Array) -> Array:
        # Departure from the paper: an estimated variance stays above the rounding of y, since a
        # fit without residual would drive it to 0 and the posterior's D = 1/(σ² + p) to infinity.
        mean_power = total(abs2(y)) / y[0].size
        if self.scaling == "data":
            return RESOLVED * mean_power
        return np.finfo(float).eps ** 2 * mean_power + np.finfo(float).tiny

    def _e_step(
        self, model: Model, gamma: tuple[Array, ...], noise_var: Array, prunable: Array
    ) -> tuple[Posterior, Array]:
        """The posterior at γ as pruned, and the squared norm of what was taken from γ."""
        bounds = self.prune_bounds(len(gamma))
        gamma, removed = prune(gamma, *bounds, prunable, model.shares, model.unit)
        model, gamma = model.compact(gamma)
        return model.posterior(gamma, noise_var), removed

    def _step(self, problem: Problem, state: _State, *, last: bool) -> tuple[_State, Array]:
        """Make one iteration: M-step, stopping rule, pruning and E-step.

        Returns
        -------
        _State
            After the iteration.
        array of bool
            Which of its rows end with it.
        """
        before = state.posterior
        update = self.maximize(before)
        noise_var = before.noise_var
        if self.noise == "estimate":
            y = problem.y[state.rows]
            noise_var = np.maximum(_fitted_noise_var(before, y), self._noise_floor(y))
        gamma, noise_var, size, broken = _without_overflow(update.gamma, noise_var)
        # Measured against γ before pruning, whose pruned part is missing from `before.gamma`.
        change = _relative(distance2(gamma, before.gamma) + state.removed, state.norm2)
        settling = self._settling(before.noise_var, noise_var)
        change = np.maximum(change, settling)
        ends = broken | last
        if self.stops_on == "gamma":
            ends |= change <= self.tolerance
        # A row that ends keeps the γ it ended with: it is not pruned again.
        posterior, removed = self._e_step(before.model, gamma, noise_var, ~ends)
        if self.stops_on == "mean":
            change = _relative(total(abs2(posterior.mean - before.mean)), total(abs2(before.mean)))
            change = np.maximum(change, settling)
            ends |= change <= self.tolerance
        after = _State(
            rows=state.rows,
            posterior=posterior,
            norm2=size,
            removed=removed,
            change=change,
            broken=broken,
            inner_iterations=state.inner_iterations + update.inner_iterations,
            inner_capped=state.inner_capped | update.inner_capped,
        )
        return after, ends

    def _settling(self, before: Array, after: Array) -> Array:
        """Relative change of an estimated noise variance, which has to come to rest as well.

        The published way does not look at it, and may end with far too much noise: it falls by
        a factor in each iteration, while γ has long settled at high SNR.
        """
        if self.scaling == "none" or self.noise == "known":
            return np.zeros(len(before))
        return np.abs(after - before) / before

    def _lost(self, before: _State, after: _State) -> Array:
        """Rows (places) whose E-step rounding errors have broken, the one before being good."""
        if self.scaling == "none":
            return np.empty(0, int)
        return np.flatnonzero(before.posterior.finite & ~(after.posterior.finite | after.broken))

    def _last_good(self, state: _State, iteration: int) -> Estimate:
        """The estimate of rows that double precision takes no further."""
        estimate = self._result(state, iteration)
        return dataclasses.replace(
            estimate, status=np.full(len(state.rows), Status.PRECISION_LIMIT)
        )

    def _result(self, state: _State, iteration: int) -> Estimate:
        """The estimate of rows that have ended."""
        posterior = state.posterior
        x = posterior.model.expand(posterior.mean)
        status = np.where(state.change <= self.tolerance, Status.CONVERGED, Status.MAX_ITERATIONS)
        if self.scaling == "data" and self.noise == "estimate":
            # A fit that leaves no residual: its noise variance is what rounding makes of 0.
            at_floor = posterior.noise_var <= self._noise_floor(posterior.model.y)
            status[at_floor & (status == Status.CONVERGED)] = Status.PRECISION_LIMIT
        diverged = state.broken | ~np.isfinite(total(abs2(x)))
        status[diverged], x[diverged] = Status.DIVERGED, np.nan
        return Estimate(
            x=x,
            status=status,
            iterations=np.full(len(x), iteration),
            inner_iterations=state.inner_iterations,
            inner_capped=state.inner_capped,
            variance=posterior.model.expand(posterior.variance),
            gamma=posterior.model.expand_gamma(posterior.gamma),
            noise_var=posterior.noise_var if self.noise == "estimate" else None,
        )

    def cost_as_given(self, cost: Array, log_scale: Array, size: int) -> Array:
        """The log determinant of a covariance that is scale² times as large."""
        return cost + 2.0 * size * log_scale

    def _without_signal(self, problem: Problem) -> Estimate:
        # The evidence of y = 0 is largest at γ = 0.
        gamma = broadcast_gamma(self.start(problem), problem)
        return Estimate(
            x=np.zeros((problem.batch, *problem.dims), problem.y.dtype),
            variance=np.zeros((problem.batch, *problem.dims)),
            gamma=tuple(map(np.zeros_like, gamma))
            if isinstance(gamma, tuple)
            else np.zeros_like(gamma),
            noise_var=np.zeros(problem.batch) if self.noise == "estimate" else None,
        )


def _seen(state: _State) -> IterationState:
    """The state of an iteration as a watch sees it."""
    posterior = state.posterior
    return IterationState(
        x=lambda: posterior.model.expand(posterior.mean),
        gamma=lambda: posterior.model.expand_gamma(posterior.gamma),
        noise_var=posterior.noise_var,
        cost=lambda: posterior.cost,
        change=state.change,
    )


def _fitted_noise_var(posterior: Posterior, y: Array) -> Array:
    """The noise variance that EM's M-step gives: Eq. `eq:noise-step` of docs/numbers.md."""
    fitted = posterior.residual + posterior.noise_var * posterior.effective_parameters
    return fitted / y[0].size


def _without_overflow(
    gamma: tuple[Array, ...], noise_var: Array
) -> tuple[tuple[Array, ...], Array, Array, Array]:
    """γ and noise variance with harmless numbers in rows that overflowed; ‖γ‖² and those rows."""
    size = norm2(gamma)
    broken = ~np.isfinite(size + noise_var)
    if broken.any():
        gamma = tuple(np.where(broken[:, None], 0.0, g) for g in gamma)
        size, noise_var = np.where(broken, 0.0, size), np.where(broken, 1.0, noise_var)
    return gamma, noise_var, size, broken


def _relative(difference2: Array, reference2: Array) -> Array:
    """√(difference² / reference²), where 0/0 is no change."""
    return np.sqrt(difference2 / np.where(reference2 > 0, reference2, 1.0))
