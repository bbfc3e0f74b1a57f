"""The results of a solver: an `Estimate` at the end, an `IterationState` on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.arrays import Array, flat, full, host, is_array, namespace, take, where_true, zeros
from solvers.problem import Gamma
from solvers.status import Status

_FILLED_IN: Any = None  # by Estimate.__post_init__


@dataclass(frozen=True, eq=False)
class Estimate:
    """The result of a solver for a `Problem`, in arrays of the library that the problem is in.

    Only `x` has to be given: what a solver does not have is filled in.

    Attributes
    ----------
    x : array, (B, N_1, …, N_I), or None
        Estimate of x: for Bayesian solvers the posterior mean at the final γ. NaN where the
        status is `Status.DIVERGED`. None for a bound, which has no estimate.
    status : int array, (B,)
        Values of `Status`. By default CONVERGED where x is finite and DIVERGED elsewhere, and
        BOUND where there is no x.
    iterations, inner_iterations : int array, (B,)
        EM (or greedy) iterations, and iterations of the M-step's inner loop in total. By default 0.
    inner_capped : bool array, (B,)
        Whether an inner loop ever ended at its cap instead of its tolerance. By default False.
    variance : array like x, or None
        Posterior variances.
    gamma : tuple of I arrays (B, N_i), one array (B, N_1, …, N_I), or None
        Prior variances (hyperparameters): the factors of their Kronecker product, or the whole.
    noise_var : array, (B,), or None
        The noise variance that was used, or estimated. Where a solver gives none, `Solver.solve`
        puts the problem's own.
    diagnostics : mapping of str to array (B,)
        Further values of every realization that a solver wants to report, by name.
    """

    x: Array | None
    status: Array = _FILLED_IN
    iterations: Array = _FILLED_IN
    inner_iterations: Array = _FILLED_IN
    inner_capped: Array = _FILLED_IN
    variance: Array | None = None
    gamma: Gamma | None = None
    noise_var: Array | None = None
    diagnostics: Mapping[str, Array] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        given = (self.x, self.status, self.noise_var, *self.diagnostics.values())
        some: Any = next((value for value in given if value is not None), ())
        some = some if is_array(some) else np.empty(len(some))
        xp, batch = namespace(some), some.shape[0]
        if self.status is None:
            object.__setattr__(self, "status", self._status_of_x(some))
        kinds = {"iterations": xp.int64, "inner_iterations": xp.int64, "inner_capped": xp.bool}
        for name, kind in kinds.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, zeros(some, (batch,), kind))

    def _status_of_x(self, some: Array) -> Array:
        xp = namespace(some)
        status = full(some, some.shape[:1], int(Status.BOUND), xp.int64)
        if self.x is None:
            return status
        finite = xp.all(flat(xp.isfinite(self.x)), axis=1)
        return xp.where(finite, 0 * status + int(Status.CONVERGED), int(Status.DIVERGED))

    def take(self, rows: Array) -> Estimate:
        """The estimate of the realizations `rows` (indices)."""
        return self.moved(lambda array: take(array, rows))

    def moved(self, move: Callable[[Array], Array]) -> Estimate:
        """The same estimate in other arrays; see `Problem.moved`."""

        def pick(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(pick, value))
            if isinstance(value, Mapping):
                return {name: pick(part) for name, part in value.items()}
            return None if value is None else move(value)

        return Estimate(**{f.name: pick(getattr(self, f.name)) for f in dataclasses.fields(self)})

    @classmethod
    def joined(cls, parts: Sequence[tuple[Array, Estimate]]) -> Estimate:
        """One estimate of a batch from those of its parts.

        Parameters
        ----------
        parts
            Indices of realizations and their estimate, for each part. Together the indices are
            those of the whole batch. What some parts have and others have not becomes 0 there,
            and diagnostics NaN.
        """
        xp = namespace(parts[0][0])
        order = xp.argsort(xp.concat([rows for rows, _ in parts]))

        def join(values: Sequence[Any], missing: float = 0) -> Any:
            known = next((value for value in values if value is not None), None)
            if known is None:
                return None
            if isinstance(known, tuple):
                by_factor = zip(*(v or [None] * len(known) for v in values), strict=True)
                return tuple(map(join, by_factor))
            filled = [
                full(known, (rows.shape[0], *known.shape[1:]), missing) if value is None else value
                for (rows, _), value in zip(parts, values, strict=True)
            ]
            return take(xp.concat(filled, axis=0), order)

        estimates = [estimate for _, estimate in parts]
        names = [f.name for f in dataclasses.fields(cls) if f.name != "diagnostics"]
        reported = dict.fromkeys(name for e in estimates for name in e.diagnostics)
        return cls(
            **{name: join([getattr(e, name) for e in estimates]) for name in names},
            diagnostics={
                name: join([e.diagnostics.get(name) for e in estimates], np.nan)
                for name in reported
            },
        )


class IterationState:
    """State of the realizations that were still running in an iteration, as a `watch` sees it.

    Any part may be None: a solver gives what it has.

    Parameters
    ----------
    x : array, (b, N_1, …, N_I)
        Estimate after this iteration.
    gamma : like `Estimate.gamma`
        Hyperparameters that `x` belongs to.
    noise_var : array, (b,)
        Noise variance that `x` belongs to.
    cost : array, (b,)
        Value of what the solver minimises (its `Solver.objective`), after this iteration.
    change : array, (b,)
        Relative change that the stopping rule looks at.

    Notes
    -----
    Instead of a value each may be given as a function that computes it, which is called when
    somebody looks, and only then.
    """

    def __init__(
        self,
        *,
        x: Array | Callable[[], Array] | None = None,
        gamma: Gamma | Callable[[], Gamma] | None = None,
        noise_var: Array | Callable[[], Array] | None = None,
        cost: Array | Callable[[], Array] | None = None,
        change: Array | Callable[[], Array] | None = None,
    ) -> None:
        self._x, self._gamma, self._noise_var = x, gamma, noise_var
        self._cost, self._change = cost, change

    @property
    def x(self) -> Array | None:
        """Estimate after this iteration, (b, N_1, …, N_I)."""
        return _value_of(self._x)

    @property
    def gamma(self) -> Gamma | None:
        """Hyperparameters that `x` belongs to, like `Estimate.gamma`."""
        return _value_of(self._gamma)

    @property
    def noise_var(self) -> Array | None:
        """Noise variance that `x` belongs to, (b,)."""
        return _value_of(self._noise_var)

    @property
    def cost(self) -> Array | None:
        """Value of what the solver minimises, after this iteration, (b,)."""
        return _value_of(self._cost)

    @property
    def change(self) -> Array | None:
        """Relative change that the stopping rule looks at, (b,)."""
        return _value_of(self._change)


def _value_of(part: Any) -> Any:
    return part() if callable(part) else part


Watch = Callable[[int, Array, IterationState], None]
"""Called as ``watch(iteration, rows, state)``; see `Solver.solve`."""


def ticking(watch: Watch) -> Watch:
    """A watch for a solver within another one, which tells `watch` only that time goes by.

    So clocks go on, and limits hold, while there is no x to show.
    """

    def tick(_: int, rows: Array, __: IterationState) -> None:
        watch(0, rows, IterationState())

    return tick


def told_at_the_end(watch: Watch, estimate: Estimate) -> Estimate:
    """Tell `watch` an estimate's x as that of its last iteration, and return the estimate."""
    iterations = host(estimate.iterations)
    for last in np.unique(iterations[iterations > 0]):
        rows = where_true(estimate.iterations == int(last))
        x = None if estimate.x is None else take(estimate.x, rows)
        watch(int(last), rows, IterationState(x=x))
    return estimate
