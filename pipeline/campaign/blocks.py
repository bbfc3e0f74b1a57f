"""Blocks: the units that are solved together, stored and counted as done, and their keys."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pipeline.scenarios import Scenario
from solvers import Solver

SweepValue = bool | int | float | str

KEY_FORMAT = 1


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

    def plain(item: Any) -> Any:
        if isinstance(item, Mapping):
            return {str(k): plain(v) for k, v in item.items()}
        if isinstance(item, list | tuple):
            return [plain(v) for v in item]
        if hasattr(item, "tolist"):  # numpy scalars and arrays
            return plain(item.tolist())
        if isinstance(item, float) and item.is_integer():
            return int(item)
        return item

    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"))


def digest(text: str) -> str:
    """Short name of a text, as good as unique."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One solver at one grid point: all that is needed to compute any of its blocks.

    A worker needs nothing else. What decides the numbers goes into `spec`; the label and the
    position in the grid do not.

    Attributes
    ----------
    label : str
        Of the solver.
    point : dict
        The swept parameters by key.
    grid_index : tuple of int
        Position in the cube: along the solver axis and each swept axis.
    batch : int
        Realizations per block.
    trace : bool
        Whether iterations are stored as well.
    """

    label: str
    point: Mapping[str, SweepValue]
    grid_index: tuple[int, ...]
    scenario_use: str
    scenario: Scenario[Any]
    solver_use: str
    solver: Solver
    seed: int
    batch: int
    trace: bool

    @cached_property
    def spec(self) -> dict[str, Any]:
        """What decides the numbers of every block of the configuration."""
        return {
            "format": KEY_FORMAT,
            "scenario": {
                "use": self.scenario_use,
                "version": self.scenario.version,
                "parameters": dataclasses.asdict(self.scenario),  # type: ignore[call-overload]
            },
            "solver": {
                "use": self.solver_use,
                "version": getattr(self.solver, "version", 1),
                "options": dataclasses.asdict(self.solver),
            },
            "seed": self.seed,
            "batch": self.batch,
            "trace": self.trace,
        }

    @cached_property
    def _canonical(self) -> str:
        return canonical(self.spec)

    def block_spec(self, index: int) -> str:
        """Canonical text of everything that decides the numbers of one block."""
        return f'{{"block":{index},"configuration":{self._canonical}}}'

    def key(self, index: int) -> str:
        """Name of one block, a hash of its spec."""
        return digest(self.block_spec(index))

    def realizations(self, index: int) -> range:
        """Realizations of one block."""
        return range(index * self.batch, (index + 1) * self.batch)

    def block_count(self, realizations: int) -> int:
        """Blocks that cover so many realizations; the last one may hold more than asked for."""
        return -(-realizations // self.batch)

    def describe(self) -> str:
        """For people: the solver's label and the point."""
        at = ", ".join(f"{key}={value}" for key, value in self.point.items())
        return f"{self.label} at {at}" if at else self.label


@dataclasses.dataclass(frozen=True, slots=True)  # there may be a million
class Block:
    """One batch of realizations of one configuration."""

    configuration: Configuration
    index: int

    @property
    def key(self) -> str:
        """Name of its file."""
        return self.configuration.key(self.index)

    @property
    def realizations(self) -> range:
        """Which, by number."""
        return self.configuration.realizations(self.index)
