"""Blocks: the units that are solved together, stored and counted as done, and their keys."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from pipeline.campaign.definition import Campaign, Entry, SweepValue
from pipeline.scenarios import Scenario
from solvers import Solver

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
class Series:
    """All blocks of one solver at one point of the grid, up to their numbers.

    It holds everything that a worker needs, and whatever decides the numbers goes into `spec`;
    the label and the place in the grid do not.

    Attributes
    ----------
    label : str
        Of the solver.
    point : dict
        The swept parameters by key.
    place : tuple of int
        Position in the cube: along the solver axis and each swept axis.
    batch : int
        Realizations per block.
    trace : bool
        Whether iterations are stored as well.
    """

    label: str
    point: Mapping[str, SweepValue]
    place: tuple[int, ...]
    scenario_use: str
    scenario: Scenario[Any]
    solver_use: str
    solver: Solver
    seed: int
    batch: int
    trace: bool

    @cached_property
    def spec(self) -> dict[str, Any]:
        """What decides the numbers of every block of the series."""
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
        return f'{{"block":{index},"series":{self._canonical}}}'

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
    """One batch of realizations of one series."""

    series: Series
    index: int

    @property
    def key(self) -> str:
        """Name of its file."""
        return self.series.key(self.index)

    @property
    def realizations(self) -> range:
        """Which, by number."""
        return self.series.realizations(self.index)


def series_of(campaign: Campaign) -> Iterator[Series]:
    """Every series of a campaign, solver by solver."""
    shape = [range(len(axis.values)) for axis in campaign.axes]
    for number, entry in enumerate(campaign.entries):
        for place, point in zip(itertools.product(*shape), campaign.points(), strict=True):
            yield _series(campaign, entry, (number, *place), point)


def _series(
    campaign: Campaign, entry: Entry, place: tuple[int, ...], point: tuple[SweepValue, ...]
) -> Series:
    return Series(
        label=entry.label,
        point=dict(zip((axis.key for axis in campaign.axes), point, strict=True)),
        place=place,
        scenario_use=campaign.scenario_use,
        scenario=campaign.scenario_at(point),
        solver_use=entry.use,
        solver=entry.solver,
        seed=campaign.campaign.seed,
        batch=entry.batch,
        trace=campaign.output.trace,
    )


def blocks_of(campaign: Campaign) -> Iterator[Block]:
    """Every block of a campaign, series by series."""
    for series in series_of(campaign):
        for index in range(series.block_count(campaign.campaign.realizations)):
            yield Block(series, index)
