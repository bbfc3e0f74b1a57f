"""The one EM loop: every Bayesian solver here is a prior's model and an M-step plugged into it."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from solvers import arrays
from solvers.acceleration import (
    LEAPS,
    SETTLED,
    Memory,
    Point,
    acceleration,
    leap,
    remembered,
)
from solvers.arrays import namespace, take
from solvers.core import Start
from solvers.estimate import Estimate, IterationState, Watch
from solvers.kron import abs2, norm2, normalize, total
from solvers.noise import NoiseOption, first_noise_var, fitted_noise_var, noise_floor
from solvers.operations import distance2, prune
from solvers.options import option, published
from solvers.posterior import Model, MStep, Posterior
from solvers.problem import Array, Gamma, Problem, broadcast_gamma
from solvers.status import Status
from solvers.units import with_power


class _State(NamedTuple):
    """The realizations of a batch that are still running, one entry each."""

    posterior: Posterior
    """Posterior of this iteration's E-step, at γ as pruned."""
    rows: Array
    """Their indices in the batch."""
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
    memory: Memory | None
    """Where EM is accelerated, what is remembered for it."""

    def take(self, rows: Array) -> _State:
        """The state of some of them (indices)."""
        memory = None if self.memory is None else self.memory.take(rows)
        parts = (take(values, rows) for values in self[1:-1])
        taken: Any = [self.posterior.take(rows), *parts, memory]
        return _State(*taken)


def initial_gamma(default: float) -> Any:
    """Declare the option `initial_gamma` with the default of a solver."""
    return option(
        default,
        'prior power Σγ‖a‖² to start from, as a share of ‖y‖²; with scaling "none" γ itself',
        above=0.0,
        kw_only=True,
    )


@dataclass(frozen=True)
class EMSolver(NoiseOption):
    """A solver that alternates an E-step (the posterior of x) and an M-step (an update of γ).

    Eqs. `eq:noise-start` to `eq:stop` of docs/numbers.md are what all of them share.
    """

    max_iterations: int = option(500, "cap on EM iterations", at_least=1)
    tolerance: float = option(1e-4, "stop when the relative change is at most this", at_least=0.0)
    initial_gamma: float = initial_gamma(1.0)
    acceleration: str = acceleration("none")

    version: ClassVar[int] = 3

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(
        max_iterations=150, tolerance=1e-4, initial_gamma=1.0, acceleration="none"
    )

    no_descent: ClassVar[str] = ""
    """Why the M-step may raise the SBL cost, so that steps cannot be accelerated; empty where it
    does not."""

    stops_on: ClassVar[str] = "gamma"
    """The stopping rule looks at the relative change of this: "gamma" or "mean"."""

    objective: ClassVar[str] = "SBL cost"

    diagnostics: ClassVar[Mapping[str, tuple[str, str]]] = LEAPS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.no_descent and self.acceleration != "none":
            raise ValueError(
                f"acceleration {self.acceleration!r} needs an M-step that does not raise the SBL "
                f"cost, and {self.no_descent}; leave acceleration at 'none'"
            )

    @abstractmethod
    def model(self, problem: Problem) -> Model:
        """The model of the prior, which makes the E-steps for a problem."""

    @abstractmethod
    def start(self, problem: Problem) -> Gamma:
        """Hyperparameters to start from, up to a scale that the option `initial_gamma` sets."""

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
            xp = namespace(ends)
            if bool(xp.any(lost)):
                over = before.take(arrays.where_true(lost))
                ended.append((over.rows, self._last_good(over, iteration - 1)))
                going = arrays.where_true(~lost)
                state, ends = state.take(going), take(ends, going)
                if not going.shape[0]:
                    break
            watch(iteration, state.rows, _seen(state))
            if bool(xp.any(ends)):
                over = state.take(arrays.where_true(ends))
                ended.append((over.rows, self._result(over, iteration)))
                if bool(xp.all(ends)):
                    break
                state = state.take(arrays.where_true(~ends))
        return Estimate.joined(ended)

    def _begin(self, problem: Problem, initial: Start) -> _State:
        """The E-step at the hyperparameters to start from."""
        gamma, noise_var = initial
        xp, y, shape = namespace(problem.y), problem.y, (problem.batch,)
        model = self.model(problem)
        factors = model.gamma_factors(self._first_gamma(problem) if gamma is None else gamma)
        if self.noise == "known":
            noise_var = problem.noise_var
        elif noise_var is None:
            noise_var = first_noise_var(problem.y, self.scaling)
        elif not bool(xp.all(xp.isfinite(noise_var) & (noise_var > 0))):
            raise ValueError("the initial noise variance must be positive and finite")
        assert noise_var is not None
        posterior, removed = self._e_step(
            model, factors, noise_var, arrays.full(y, shape, True, xp.bool)
        )
        return _State(
            rows=arrays.arange(y, problem.batch),
            posterior=posterior,
            norm2=norm2(factors),
            removed=removed,
            change=arrays.full(y, shape, math.inf),
            broken=arrays.zeros(y, shape, xp.bool),
            inner_iterations=arrays.zeros(y, shape, xp.int64),
            inner_capped=arrays.zeros(y, shape, xp.bool),
            memory=None if self.acceleration == "none" else Memory.of(problem.batch, y),
        )

    def _first_gamma(self, problem: Problem) -> Gamma:
        """γ as `start` shapes it, with the power that `initial_gamma` says."""
        gamma = broadcast_gamma(self.start(problem), problem)
        if self.scaling == "data":
            return with_power(gamma, problem, self.initial_gamma)
        if isinstance(gamma, tuple):
            return (*gamma[:-1], self.initial_gamma * gamma[-1])
        return self.initial_gamma * gamma

    def _e_step(
        self, model: Model, gamma: tuple[Array, ...], noise_var: Array, prunable: Array
    ) -> tuple[Posterior, Array]:
        """The posterior at γ as pruned, and the squared norm of what was taken from γ."""
        gamma, removed = self._pruned(model, gamma, prunable)
        model, gamma = model.compact(gamma)
        return model.posterior(gamma, noise_var), removed

    def _pruned(
        self, model: Model, gamma: tuple[Array, ...], prunable: Array
    ) -> tuple[tuple[Array, ...], Array]:
        """γ without what is too small, and the squared norm of that."""
        bounds = self.prune_bounds(len(gamma))
        return prune(gamma, *bounds, prunable, model.atom_weights, model.unit)

    def _step(self, problem: Problem, state: _State, *, last: bool) -> tuple[_State, Array]:
        """Make one iteration: M-step, stopping rule, pruning and E-step.

        Returns
        -------
        _State
            After the iteration.
        array of bool
            Which of its rows end with it.
        """
        before, xp = state.posterior, namespace(state.rows)
        update = self.maximize(before)
        noise_var = before.noise_var
        if self.noise == "estimate":
            y = take(problem.y, state.rows)
            noise_var = xp.maximum(fitted_noise_var(before, y), noise_floor(y, self.scaling))
        gamma, noise_var, size, broken = _without_overflow(update.gamma, noise_var)
        # Measured against γ before pruning, whose pruned part is missing from `before.gamma`.
        change = _relative(distance2(gamma, before.gamma) + state.removed, state.norm2)
        settling = self._settling(before.noise_var, noise_var)
        change = xp.maximum(change, settling)
        ends = broken | last
        if self.stops_on == "gamma":
            ends = ends | (change <= self.tolerance)
        after = state._replace(
            change=change,
            broken=broken,
            inner_iterations=state.inner_iterations + update.inner_iterations,
            inner_capped=state.inner_capped | update.inner_capped,
        )
        if state.memory is not None:
            return self._accelerated(after, state.memory, Point(gamma, noise_var), ends), ends
        # A row that ends keeps the γ it ended with: it is not pruned again.
        posterior, removed = self._e_step(before.model, gamma, noise_var, ~ends)
        if self.stops_on == "mean":
            change = _relative(total(abs2(posterior.mean - before.mean)), total(abs2(before.mean)))
            change = xp.maximum(change, settling)
            ends = ends | (change <= self.tolerance)
        return after._replace(posterior=posterior, norm2=size, removed=removed, change=change), ends

    def _accelerated(self, state: _State, memory: Memory, step: Point, ends: Array) -> _State:
        """The state after an E-step where acceleration leads from a plain step.

        Parameters
        ----------
        state
            Before the E-step.
        memory
            Of its rows.
        step
            Where the M-step led.
        ends : bool array, (B,)
            Rows that end there.
        """
        model, settled = state.posterior.model, ~ends & (state.change <= SETTLED)
        points = (*memory.history, step)
        xp = namespace(ends)
        far, leapt = leap(self.acceleration, points, xp.where(settled, memory.age, 0))
        noise_var = step.noise_var
        if self.noise == "estimate":
            noise_var = xp.maximum(far.noise_var, noise_floor(model.y, self.scaling))
        gamma, _ = self._pruned(model, normalize(step.gamma), ~ends)
        if bool(xp.any(leapt)):
            # A leap makes small what is on its way down, and pruning that followed it would drop
            # atoms that plain EM keeps: they stay where the plain step led, if they stay there.
            by_leap, _ = self._pruned(model, far.gamma, ~ends)
            gamma = tuple(xp.where(f > 0, f, g) for f, g in zip(by_leap, gamma, strict=True))
        model, gamma, *kept = model.compact(gamma, *(point.gamma for point in points))
        posterior = model.posterior(gamma, noise_var)
        *history, step = map(Point, kept, (point.noise_var for point in points))
        points = remembered(self.acceleration, (*history, step), Point(gamma, noise_var))
        # Before rows have settled nothing leaps, and no cost is needed.
        cost = posterior.cost if bool(xp.any(settled | leapt)) else memory.cost
        memory, refused = memory.judged(points, cost, leapt, settled)
        if bool(xp.any(refused)):
            rows = arrays.where_true(refused)
            plain = step.take(rows)
            used = [
                xp.where(take(g, rows) > 0, new, 0.0)
                for g, new in zip(gamma, plain.gamma, strict=True)
            ]
            again = model.take(rows).posterior(tuple(used), plain.noise_var)
            memory.cost[refused] = again.cost
            posterior.put(refused, again)
        return state._replace(
            posterior=posterior,
            norm2=norm2(posterior.gamma),
            removed=arrays.zeros(ends, ends.shape),
            memory=memory,
        )

    def _settling(self, before: Array, after: Array) -> Array:
        """Relative change of an estimated noise variance, which has to come to rest as well.

        The published way does not look at it, and may end with far too much noise: it falls by
        a factor in each iteration, while γ has long settled at high SNR.
        """
        if self.scaling == "none" or self.noise == "known":
            return arrays.zeros(before, before.shape)
        return namespace(before).abs(after - before) / before

    def _lost(self, before: _State, after: _State) -> Array:
        """Rows whose E-step rounding errors have broken, the one before being good, (b,)."""
        if self.scaling == "none":
            return arrays.zeros(after.broken, after.broken.shape, namespace(after.broken).bool)
        return before.posterior.finite & ~(after.posterior.finite | after.broken)

    def _last_good(self, state: _State, iteration: int) -> Estimate:
        """The estimate of rows that double precision takes no further."""
        estimate = self._result(state, iteration)
        return dataclasses.replace(
            estimate, status=0 * estimate.status + int(Status.PRECISION_LIMIT)
        )

    def _result(self, state: _State, iteration: int) -> Estimate:
        """The estimate of rows that have ended."""
        posterior = state.posterior
        x = posterior.model.expand(posterior.mean)
        xp, status = (
            namespace(x),
            arrays.full(x, x.shape[:1], int(Status.MAX_ITERATIONS), namespace(x).int64),
        )
        status = xp.where(state.change <= self.tolerance, int(Status.CONVERGED), status)
        if self.scaling == "data" and self.noise == "estimate":
            # A fit that leaves no residual: its noise variance is what rounding makes of 0.
            at_floor = posterior.noise_var <= noise_floor(posterior.model.y, self.scaling)
            limited = at_floor & (status == int(Status.CONVERGED))
            status = xp.where(limited, int(Status.PRECISION_LIMIT), status)
        diverged = state.broken | ~xp.isfinite(total(abs2(x)))
        if bool(xp.any(diverged)):
            status = xp.where(diverged, int(Status.DIVERGED), status)
            x = xp.where(arrays.wide(diverged, x.ndim), math.nan, x)
        return Estimate(
            x=x,
            status=status,
            iterations=arrays.full(x, x.shape[:1], iteration, xp.int64),
            inner_iterations=state.inner_iterations,
            inner_capped=state.inner_capped,
            variance=posterior.model.expand(posterior.variance),
            gamma=posterior.model.expand_gamma(posterior.gamma),
            noise_var=posterior.noise_var if self.noise == "estimate" else None,
            diagnostics=_leaps(state.memory or Memory.of(x.shape[0], x)),
        )

    def cost_as_given(self, cost: Array, log_scale: Array, size: int) -> Array:
        """The SBL cost in the caller's units, whose log determinant depends on the scale of y."""
        return cost + 2.0 * size * log_scale

    def _without_signal(self, problem: Problem) -> Estimate:
        # The evidence of y = 0 is largest at γ = 0.
        gamma = broadcast_gamma(self.start(problem), problem)
        y, batch = problem.y, problem.batch
        return Estimate(
            x=arrays.zeros(y, (batch, *problem.dims), y.dtype),
            variance=arrays.zeros(y, (batch, *problem.dims)),
            gamma=tuple(0.0 * g for g in gamma) if isinstance(gamma, tuple) else 0.0 * gamma,
            noise_var=arrays.zeros(y, (batch,)) if self.noise == "estimate" else None,
            diagnostics=_leaps(Memory.of(batch, y)),
        )


def _leaps(memory: Memory) -> Mapping[str, Array]:
    """Diagnostics of how EM was accelerated."""
    return dict(zip(LEAPS, (memory.accepted, memory.refused), strict=True))


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


def _without_overflow(
    gamma: tuple[Array, ...], noise_var: Array
) -> tuple[tuple[Array, ...], Array, Array, Array]:
    """γ and noise variance with harmless numbers in rows that overflowed; ‖γ‖² and those rows."""
    size = norm2(gamma)
    xp = namespace(size)
    broken = ~xp.isfinite(size + noise_var)
    if bool(xp.any(broken)):
        gamma = tuple(xp.where(broken[:, None], 0.0, g) for g in gamma)
        size, noise_var = xp.where(broken, 0.0, size), xp.where(broken, 1.0, noise_var)
    return gamma, noise_var, size, broken


def _relative(difference2: Array, reference2: Array) -> Array:
    """√(difference² / reference²), where 0/0 is no change."""
    xp = namespace(reference2)
    return xp.sqrt(difference2 / xp.where(reference2 > 0, reference2, 1.0))
