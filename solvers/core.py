"""The contract of a solver: a `Problem` in, an `Estimate` out, options checked when it is built."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from solvers import arrays
from solvers.arrays import flat, full, namespace, take, where_true, zeros
from solvers.estimate import Estimate, IterationState, Watch
from solvers.judging import judged
from solvers.options import check_options, option, published
from solvers.problem import Array, Gamma, Problem, broadcast_gamma
from solvers.units import DataUnits

Initial = tuple[Gamma | None, ArrayLike | None]
"""Hyperparameters and noise variance to start from, as a caller gives them."""


class Start(NamedTuple):
    """Point that a solver is asked to start from; None stands for its own way to start.

    Attributes
    ----------
    gamma : like `Estimate.gamma`, or None
    noise_var : array, (B,), or None
    """

    gamma: Gamma | None
    noise_var: Array | None

    @classmethod
    def of(cls, initial: Initial | None, problem: Problem) -> Start:
        """Spread what a caller gave over the batch; ValueError where it does not fit."""
        gamma, noise_var = (None, None) if initial is None else initial
        if noise_var is not None:
            noise_var = arrays.given(noise_var, problem.y)
            noise_var = namespace(noise_var).broadcast_to(noise_var, (problem.batch,))
        return cls(None if gamma is None else broadcast_gamma(gamma, problem), noise_var)

    def take(self, rows: Array) -> Start:
        """The start of the realizations `rows` (indices)."""
        gamma = self.gamma
        if isinstance(gamma, tuple):
            gamma = tuple(take(g, rows) for g in gamma)
        elif gamma is not None:
            gamma = take(gamma, rows)
        return Start(gamma, None if self.noise_var is None else take(self.noise_var, rows))


@dataclass(frozen=True)
class Solver(ABC):
    """Base class of the solvers: a frozen dataclass whose fields are its options.

    A solver keeps no state between calls, so one object may be shared and pickled freely. What
    it has to bring is `_solve`.
    """

    version: ClassVar[int] = 1
    """Version of the numerics. Raised when results change beyond rounding, so that stored results
    of the version before are computed again."""

    kind: ClassVar[Literal["estimator", "oracle", "bound"]] = "estimator"
    """An estimator knows what can be measured, an oracle is told something of the truth, and a
    bound gives no estimate but says how good one can be."""

    objective: ClassVar[str] = ""
    """Name of what `IterationState.cost` is, "SBL cost" say; empty where a solver has none."""

    diagnostics: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType({})
    """Units and long name of what a solver reports as `Estimate.diagnostics`, by name."""

    source: ClassVar[str] = ""
    """Publication that the algorithm comes from."""

    family: ClassVar[str] = "other"
    """What it is listed with: solvers that go about it in the same way, in a word or three."""

    any_array: ClassVar[bool] = False
    """Whether it runs on arrays of any library, being written in the array API standard; the others
    run on those of numpy."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published()
    """Named settings: the options that each stands for, unless they are stated."""

    scaling: str = option(
        "data",
        "solve in units of the data, or as published in those of the problem",
        choices=("data", "none"),
        kw_only=True,
    )
    preset: str | None = option(
        None,
        "named setting that options which are not given come from",
        choices=("published",),
        optional=True,
        type=str,
        kw_only=True,
    )

    def __post_init__(self) -> None:
        check_options(self)
        # So that whoever reads of the preset in a stored result can rely on it.
        if self.preset == "published" and self.scaling != "none":
            raise ValueError(
                "the preset 'published' has scaling 'none'; "
                "solvers.create(name, preset='published') fills that in"
            )

    @property
    def requires(self) -> tuple[str, ...]:
        """Names of the optional parts of a `Problem` that this solver cannot do without."""
        return ()

    def applies(self, problem: Problem) -> str | None:
        """Say why this solver does not apply to a problem, in a sentence, or None if it does.

        Parameters
        ----------
        problem
            The problem that would be handed to `solve`.

        Notes
        -----
        To be overridden by solvers that are made for some kinds of problem only; call this one
        first. The answer must rest on shapes, types and the presence of optional parts, never on
        values: it is asked once for all realizations.
        """
        for name in self.requires:
            if getattr(problem, name) is None:
                return f"{type(self).__name__} requires a problem with {name}"
        if not self.any_array and namespace(problem.y) is not np:
            return f"{type(self).__name__} runs on numpy's arrays only"
        return None

    def check(self, problem: Problem) -> None:
        """Raise ValueError where this solver does not apply, or its options do not fit.

        Parameters
        ----------
        problem
            The problem that would be handed to `solve`.
        """
        reason = self.applies(problem)
        if reason is not None:
            raise ValueError(reason)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata.get("per_factor") and isinstance(value, tuple):
                self._check_length(field.name, value, len(problem.dims))

    def _check_length(self, name: str, value: tuple[Any, ...], factors: int) -> None:
        if len(value) != factors:
            raise ValueError(
                f"{name} lists {len(value)} values for a problem of {factors} factors; "
                "give one per factor, or a single number for all"
            )

    def solve(
        self, problem: Problem, *, initial: Initial | None = None, watch: Watch | None = None
    ) -> Estimate:
        """Estimate x for every realization of `problem`.

        Parameters
        ----------
        problem
            The batch. It is not modified.
        initial
            Hyperparameters γ (shaped like `Estimate.gamma`) and noise variance to start from;
            either may be None for the default. Solvers without hyperparameters ignore it.
        watch
            Called as ``watch(iteration, rows, state)`` at the end of each iteration, with the
            indices of the realizations that were still running and an `IterationState` of those.
            Solvers without iterations ignore it.

        Returns
        -------
        Estimate

        Raises
        ------
        ValueError
            The solver does not apply to the problem, or `initial` does not fit it.

        Notes
        -----
        What all solvers share is done here, the algorithm is in `_solve`. An estimator is not
        asked about realizations with y = 0: their estimate is 0. With `scaling` "data" the
        algorithm sees the problem in data units (`solvers.units`), without atoms that have no
        norm, and what it makes of it is scaled back. Diagnostics stay as the algorithm gives them.
        """
        self.check(problem)
        problem, start = problem.seen_by(self), Start.of(initial, problem)
        with np.errstate(all="ignore"):  # rows that overflow are found, and end as diverged
            estimate = self._solve_nonzero(problem, start, watch or _nobody_watches)
        # Whatever is no Estimate is left to the caller, who knows what else a solver may return.
        if isinstance(estimate, Estimate) and estimate.noise_var is None:
            return dataclasses.replace(estimate, noise_var=problem.noise_var)
        return estimate

    def _solve_nonzero(self, problem: Problem, initial: Start, watch: Watch) -> Estimate:
        """Solve what has a signal; oracles and bounds take everything."""
        xp = namespace(problem.y)
        zero = xp.all(flat(problem.y == 0), axis=1)
        if self.kind != "estimator" or not bool(xp.any(zero)):
            return self._solve_in_units(problem, initial, watch)
        if bool(xp.all(zero)):
            return self._without_signal(problem)
        rows, rest = where_true(~zero), where_true(zero)
        part = self._solve_in_units(problem.take(rows), initial.take(rows), _of_part(watch, rows))
        return Estimate.joined([(rows, part), (rest, self._without_signal(problem.take(rest)))])

    def _solve_in_units(self, problem: Problem, initial: Start, watch: Watch) -> Estimate:
        """Leave the algorithm to `_solve`, in the units that `scaling` says."""
        if self.scaling == "none":
            return judged(self, problem, self._solve(problem, initial=initial, watch=watch))
        parts = []
        for rows, units in DataUnits.of(problem):
            own, start = watch, initial
            if rows.shape[0] < problem.batch:
                own, start = _of_part(watch, rows), initial.take(rows)
            if own is not _nobody_watches:
                own = self._watched_from(units, own)
            estimate = self._solve(units.problem, initial=Start(*units.enter(*start)), watch=own)
            if isinstance(estimate, Estimate):
                estimate = units.leave(judged(self, units.problem, estimate, units.unresolved))
            parts.append((rows, estimate))
        return parts[0][1] if len(parts) == 1 else Estimate.joined(parts)

    def _watched_from(self, units: DataUnits, watch: Watch) -> Watch:
        """A watch of what goes on in data units, that tells `watch` in those of the caller."""
        size = math.prod(units.problem.measurements)

        def cost(value: Array, exponent: Array) -> Array:
            log_scale = arrays.like(exponent * np.log(2.0), value)
            return self.cost_as_given(value, log_scale, size)

        def tell(iteration: int, rows: Array, state: IterationState) -> None:
            watch(iteration, rows, units.seen(state, rows, cost))

        return tell

    def cost_as_given(self, cost: Array, log_scale: Array, size: int) -> Array:
        """The cost in the caller's units, from that of the problem as `_solve` was given it.

        Parameters
        ----------
        cost
            What `_solve` told its watch, (b,).
        log_scale
            Logarithm of y in the caller's units over y in data units, (b,).
        size
            Measurements of a realization.

        Notes
        -----
        To be overridden by solvers whose objective depends on units. This one changes nothing.
        """
        return cost

    @abstractmethod
    def _solve(self, problem: Problem, *, initial: Start, watch: Watch) -> Estimate:
        """Run the algorithm.

        Parameters
        ----------
        problem
            A problem that this solver applies to, without the truth unless the solver requires
            it, and for an estimator without realizations whose y is 0. In data units, unless
            `scaling` is "none".
        initial
            Where to start.
        watch
            To be called at the end of each iteration, with indices into this problem's batch.

        Notes
        -----
        Solvers that ignore some of these collect them: ``def _solve(self, problem, **_)``.
        """

    def _without_signal(self, problem: Problem) -> Estimate:
        """The estimate where y = 0."""
        return Estimate(
            zeros(problem.y, (problem.batch, *problem.dims), problem.y.dtype),
            diagnostics={
                name: full(problem.y, (problem.batch,), np.nan) for name in self.diagnostics
            },
        )


def _of_part(watch: Watch, rows: Array) -> Watch:
    """A watch of some of the realizations, that tells `watch` of them by their own indices."""

    def tell(iteration: int, of_part: Array, state: IterationState) -> None:
        watch(iteration, take(rows, of_part), state)

    return watch if watch is _nobody_watches else tell


def _nobody_watches(iteration: int, rows: Array, state: IterationState) -> None:
    pass
