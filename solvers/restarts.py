"""Restarts: another solver from many random starts, for studies of what its cost looks like."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from solvers.core import Solver
from solvers.em import EMSolver
from solvers.estimate import Estimate
from solvers.options import option
from solvers.problem import Array, Gamma, Problem, broadcast_gamma
from solvers.registry import create
from solvers.status import Status
from solvers.trace import cost
from solvers.units import with_power


@dataclass(frozen=True)
class Restarts(Solver):
    """Another solver from random starts; x̂ is that of the lowest SBL cost.

    Start number 0 is the solver's own; the others multiply every entry of γ there by
    exp(spread · N(0, 1)) and keep the prior power. They are the same for all realizations, so
    that no result depends on which others are in a batch.

    Notes
    -----
    This is registered by an entry point and not in `solvers.registry`, which it needs itself.
    """

    solver: str = option("fast_sbl", "name of the solver")
    options: tuple[str, ...] = option(
        (), "its options, as lines of TOML: [\"order = 'cyclic'\"]", listed=True, type=str
    )
    starts: int = option(20, "number of starts", at_least=1)
    first: int = option(0, "number of the first", at_least=0)
    spread: float = option(2.0, "standard deviation of log γ at the random starts", above=0.0)
    alike: float = option(0.5, "costs that differ by no more are those of one minimum", above=0.0)
    solver_version: int = option(0, "version of the solver, so that another is another", at_least=0)

    objective: ClassVar[str] = "SBL cost"
    source: ClassVar[str] = "random starts"
    family: ClassVar[str] = "landscape"
    diagnostics: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType(
        {
            "lowest_cost": ("1", "lowest SBL cost of all starts, in data units"),
            "lowest_share": ("1", "share of the starts that end at the lowest cost"),
            "different_costs": ("1", "minima that the starts end in, told apart by their cost"),
            "most_nonzeros": ("1", "most entries of γ that are not 0 where a start ends"),
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            options = tomllib.loads("\n".join(self.options))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(
                f"options must be lines of TOML, got {self.options}: {error}"
            ) from None
        solver = create(self.solver, **options)
        # Those of the landscape begin where they like, so that all starts would be one.
        if solver.objective != "SBL cost" or solver.family == self.family:
            raise ValueError(
                "solver must name a solver that lowers the SBL cost from a given start, "
                f"got {self.solver!r}"
            )
        if self.solver_version not in (0, solver.version):
            raise ValueError(
                f"{self.solver} has version {solver.version} here, not {self.solver_version}"
            )
        object.__setattr__(self, "solver_version", solver.version)
        object.__setattr__(self, "_started", solver)

    @property
    def started(self) -> Solver:
        """The solver that is started."""
        solver: Solver = vars(self)["_started"]
        return solver

    @property
    def requires(self) -> tuple[str, ...]:
        """What the restarted solver requires of a problem."""
        return self.started.requires

    def applies(self, problem: Problem) -> str | None:
        """Why the restarted solver does not apply, or None; see `Solver.applies`."""
        return self.started.applies(problem)

    def _solve(self, problem: Problem, **_: Any) -> Estimate:
        ends = [self._end(problem, self.first + number) for number in range(self.starts)]
        costs = np.array([reached for _, reached in ends])
        lowest, rows = costs.argmin(axis=0), np.arange(problem.batch)
        chosen = [(np.flatnonzero(lowest == start), end) for start, (end, _) in enumerate(ends)]
        best = Estimate.joined([(at, end.take(at)) for at, end in chosen if at.size])
        reached, ranked = costs[lowest, rows], np.sort(costs, axis=0)
        steps = np.diff(ranked, axis=0, append=np.inf)
        ended = np.isfinite(ranked)
        return dataclasses.replace(
            best,
            iterations=np.sum([end.iterations for end, _ in ends], axis=0),
            diagnostics={
                "lowest_cost": np.where(np.isfinite(reached), reached, np.nan),
                "lowest_share": (costs <= reached + self.alike).mean(axis=0),
                "different_costs": (ended & (steps > self.alike)).sum(axis=0),
                "most_nonzeros": np.max([_nonzeros(end.gamma) for end, _ in ends], axis=0),
            },
        )

    def _end(self, problem: Problem, number: int) -> tuple[Estimate, Array]:
        """Where a start leads, and the cost there: infinite where it has no estimate."""
        initial = self._start(problem, number) if number else None
        end = self.started.solve(problem, initial=(initial, None))
        reached = np.full(problem.batch, np.inf)
        good = np.flatnonzero(np.isin(end.status, Status.values("finished")))
        if good.size:
            there = end.take(good)
            assert there.gamma is not None
            assert there.noise_var is not None
            reached[good] = cost(problem.take(good), there.gamma, there.noise_var)
        return end, reached

    def _start(self, problem: Problem, number: int) -> Gamma:
        solver, power = self.started, 1.0
        own: Gamma = np.ones(problem.dims)
        if isinstance(solver, EMSolver):
            own, power = solver.start(problem), solver.initial_gamma
        own, rng = broadcast_gamma(own, problem), np.random.default_rng(number)

        def moved(gamma: Array) -> Array:
            return gamma * np.exp(self.spread * rng.standard_normal(gamma.shape[1:]))

        gamma = tuple(map(moved, own)) if isinstance(own, tuple) else moved(own)
        return with_power(gamma, problem, power)


def _nonzeros(gamma: Gamma | None) -> Array:
    """Entries of γ that are not 0, (B,)."""
    if isinstance(gamma, tuple):
        return np.prod([_nonzeros(part) for part in gamma], axis=0)
    assert gamma is not None
    return np.count_nonzero(gamma.reshape(len(gamma), -1), axis=1)
