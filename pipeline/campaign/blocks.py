"""Blocks: the units that are solved together, stored and counted as done, and their keys."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

from pipeline.scenarios import Scenario
from solvers import Estimate, Problem, Solver
from solvers.estimate import Watch

SweepValue = bool | int | float | str

KEY_FORMAT = 2

ESTIMATES = "x"
"""Second part of the name of a file of estimates, in the place of a block's score."""


def canonical(value: Any) -> str:
    """One string for equal values: JSON with sorted keys, in which 10.0 is 10.

    Parameters
    ----------
    value
        Numbers (numpy's too), strings, booleans, None, and lists, tuples and dictionaries of
        them.

    Raises
    ------
    TypeError
        There is something else in it.

    Examples
    --------
    >>> canonical({"b": (10.0, 2.5), "a": 10}) == canonical({"a": 10.0, "b": [10, 2.5]})
    True
    """
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"))


def plain(value: Any) -> Any:
    """Numbers, strings, lists and dictionaries as JSON has them; whole numbers as integers."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def digest(text: str) -> str:
    """Short name of a text, as good as unique."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def score_digest(scoring_text: str) -> str:
    """Short name of a scoring; see `scoring_of`."""
    return digest(scoring_text)[:16]


def scenario_spec(use: str, scenario: Scenario[Any]) -> dict[str, Any]:
    """All that decides what a scenario draws, but the seed."""
    parameters = dataclasses.asdict(scenario)  # type: ignore[call-overload]
    return {"use": use, "version": scenario.draw_version, "parameters": parameters}


def solver_spec(use: str, solver: Solver) -> dict[str, Any]:
    """All that decides what a solver makes of a problem."""
    version = getattr(solver, "version", 1)
    return {"use": use, "version": version, "options": dataclasses.asdict(solver)}


def scoring_of(score_version: int, measures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All that decides the measures of a block, given its estimates.

    Parameters
    ----------
    score_version
        Of the scenario's `score`.
    measures
        Fields of each `pipeline.scenarios.Measure` by its name. Only units and dimension count:
        how a measure is called or bounded changes no number.
    """
    return {
        "version": score_version,
        "measures": {name: [m["units"], m["dimension"]] for name, m in measures.items()},
    }


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One solver at one grid point, as the store knows it: what names its blocks.

    Attributes
    ----------
    label : str
        Of the solver.
    point : dict
        The swept parameters by key.
    grid_index : tuple of int
        Position in the cube: along the solver axis and each swept axis.
    spec : dict
        Everything that decides the estimates of its blocks, but their numbers: scenario and its
        parameters, solver and its options, their versions, seed, batch, trace. Labels do not.
    scoring : dict
        What decides the measures, given the estimates; see `scoring_of`.
    keeps_estimates : bool
        Whether x̂ is stored beside the measures.
    declined : str
        Why the solver does not apply here; empty where it does.
    """

    label: str
    point: Mapping[str, SweepValue]
    grid_index: tuple[int, ...]
    spec: Mapping[str, Any]
    scoring: Mapping[str, Any]
    keeps_estimates: bool = False
    declined: str = ""

    @property
    def batch(self) -> int:
        """Realizations per block."""
        return int(self.spec["batch"])

    @cached_property
    def _canonical(self) -> str:
        return canonical(self.spec)

    @cached_property
    def scoring_text(self) -> str:
        """Canonical text of everything that decides the measures, given the estimates."""
        return canonical(self.scoring)

    @cached_property
    def score(self) -> str:
        """Second part of the name of every block: a hash of the scoring."""
        return score_digest(self.scoring_text)

    def block_spec(self, index: int) -> str:
        """Canonical text of everything that decides the estimates of one block."""
        return f'{{"block":{index},"configuration":{self._canonical},"format":{KEY_FORMAT}}}'

    def key(self, index: int) -> str:
        """First part of the name of one block: a hash of its spec."""
        return digest(self.block_spec(index))

    def files(self, index: int) -> tuple[str, ...]:
        """Names of the files that are there once a block is done; the block itself is the last."""
        key = self.key(index)
        block = f"{key}.{self.score}"
        return (f"{key}.{ESTIMATES}", block) if self.keeps_estimates else (block,)

    def is_done(self, index: int, names: Collection[str]) -> bool:
        """Whether all files of a block are among `names`."""
        return all(name in names for name in self.files(index))

    def realizations(self, index: int) -> range:
        """Realizations of one block."""
        return range(index * self.batch, (index + 1) * self.batch)

    def block_count(self, realizations: int) -> int:
        """Blocks that cover so many realizations; the last one may hold more than asked for.

        None where the solver does not apply.
        """
        return 0 if self.declined else -(-realizations // self.batch)

    def describe(self) -> str:
        """For people: the solver's label and the point."""
        at = ", ".join(f"{key}={value}" for key, value in self.point.items())
        return f"{self.label} at {at}" if at else self.label


@dataclasses.dataclass(frozen=True)
class SolvableConfiguration(Configuration):
    """A configuration with its scenario and solver at hand: all that a worker needs."""

    scenario: Scenario[Any] = dataclasses.field(kw_only=True)
    solver: Solver = dataclasses.field(kw_only=True)

    def draw(self, realizations: Sequence[int]) -> tuple[Problem, Any]:
        """Problem and truth of some realizations; see `Scenario.draw_with_truth`."""
        return self.scenario.draw_with_truth(realizations, self.seed)

    def solve(self, problem: Problem, watch: Watch | None = None) -> Estimate:
        """Hand a problem to the solver, without the truth unless it requires it."""
        return self.solver.solve(problem.seen_by(self.solver), watch=watch)

    @property
    def any_array(self) -> bool:
        """Whether the solver runs on arrays of any library, and so on any device."""
        return bool(getattr(self.solver, "any_array", False))

    @property
    def seed(self) -> int:
        """Seed of the campaign."""
        return int(self.spec["seed"])

    @property
    def trace(self) -> bool:
        """Whether iterations are stored as well."""
        return bool(self.spec["trace"])


@dataclasses.dataclass(frozen=True, slots=True)  # there may be a million
class Block:
    """One batch of realizations of one configuration."""

    configuration: SolvableConfiguration
    index: int

    @property
    def key(self) -> str:
        """First part of its file's name."""
        return self.configuration.key(self.index)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its files, its own the last; see `Configuration.files`."""
        return self.configuration.files(self.index)

    @property
    def realizations(self) -> range:
        """Which, by number."""
        return self.configuration.realizations(self.index)
