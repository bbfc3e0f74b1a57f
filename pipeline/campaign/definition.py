"""A campaign: a study as a TOML file, checked in full before anything runs."""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from pipeline.campaign.blocks import (
    Block,
    SolvableConfiguration,
    SweepValue,
    scenario_spec,
    scoring_of,
    solver_spec,
)
from pipeline.campaign.settings import NAME, ClusterSettings, Header, Limits, Name, Output, Table
from pipeline.errors import InputError
from pipeline.scenarios import REGISTRY as SCENARIOS
from pipeline.scenarios import Measure, Scenario
from solvers import Solver
from solvers.registry import REGISTRY as SOLVERS
from solvers.registry import suggest

PYDANTICS_OWN = {"[key]", "constrained-int", "constrained-float"}
"""Parts of the places of its complaints that no campaign file has."""

RESERVED_DIMENSIONS = frozenset({"realization", "solver", "iteration"})


@dataclasses.dataclass(frozen=True)
class Entry:
    """One configured solver of a campaign: a table ``[solvers.LABEL]``."""

    label: str
    use: str
    solver: Solver
    batch: int


@dataclasses.dataclass(frozen=True)
class Axis:
    """One swept parameter.

    Attributes
    ----------
    key : str
        As in the file: a parameter, or one element of a list ("measurements.0").
    values : tuple
    """

    key: str
    values: tuple[SweepValue, ...]

    @property
    def dimension(self) -> str:
        """Name of the cube's dimension."""
        return self.key.replace(".", "_")


class Campaign(Table):
    """A validated campaign.

    The fields are the tables of the file; the properties are what they come to. Build one with
    `load`, or with `from_tables` from the same tables as Python dictionaries.
    """

    campaign: Header
    scenario: dict[str, Any]
    solvers: dict[Name, dict[str, Any]]
    sweep: dict[str, list[Any]] = Field(default_factory=dict)
    output: Output = Output()
    limits: Limits = Limits()
    cluster: ClusterSettings = ClusterSettings()

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any], where: str = "campaign") -> Self:
        """Check the tables of a campaign.

        Parameters
        ----------
        tables
            What TOML makes of a campaign file: ``{"campaign": {…}, "scenario": {…}, …}``.
        where
            What to call it in messages.

        Raises
        ------
        InputError
            One line that names the key at fault.
        """
        try:
            return cls.model_validate(dict(tables))
        except ValidationError as error:
            raise InputError(f"{where}: {_one_line(error, cls)}") from None

    @classmethod
    def load(cls, path: str | Path, *, realizations: int | None = None) -> Self:
        """Read and check a campaign file.

        Parameters
        ----------
        path
            The file. Its folder is put on the import path, for solvers and scenarios of one's
            own (``use = "my_module:MySolver"``).
        realizations
            Instead of the file's.

        Raises
        ------
        InputError
            The file cannot be read, is no TOML, or is no campaign.
        """
        path = Path(path)
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not a TOML file: {error}") from None
        folder = str(path.resolve().parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        if realizations is not None and isinstance(tables.get("campaign"), dict):
            tables["campaign"]["realizations"] = realizations
        return cls.from_tables(tables, str(path))

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        if not self.solvers:
            raise ValueError("solvers: no solver given; add a table [solvers.LABEL] with a use")
        _ = self.entries
        _check_axes(self.axes, self._scenario_fields)
        taken = {*self.measures, *RESERVED_DIMENSIONS}  # checks every point of the grid as well
        for axis in self.axes:
            if axis.dimension in taken:
                raise ValueError(f"sweep.{axis.key}: the name {axis.dimension!r} is taken")
        return self

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The configured solvers, in the order of the file."""
        return tuple(
            _entry(label, table, self.campaign.batch) for label, table in self.solvers.items()
        )

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The swept parameters, in the order of the file."""
        return tuple(Axis(key, tuple(values)) for key, values in self.sweep.items())

    @cached_property
    def _scenario_fields(self) -> dict[str, Any]:
        """Default values (MISSING where there is none) of the scenario's parameters."""
        use = self.scenario_use
        try:
            found = SCENARIOS.find(use)
        except ValueError as error:
            raise ValueError(f"scenario.use: {error}") from None
        return {field.name: field.default for field in dataclasses.fields(found) if field.init}

    @property
    def scenario_use(self) -> str:
        """Name of the kind of scenario."""
        use = self.scenario.get("use")
        if not isinstance(use, str):
            known = ", ".join(SCENARIOS.names())
            raise ValueError(f"scenario.use: missing or not a string; known: {known}")
        return use

    @cached_property
    def scenarios(self) -> tuple[Scenario[Any], ...]:
        """The scenario at every point of the grid, the last axis fastest."""
        return tuple(self.scenario_at(point) for point in self.points())

    @cached_property
    def configurations(self) -> tuple[SolvableConfiguration, ...]:
        """Every solver at every point of the grid, solver by solver."""
        shape = [range(len(axis.values)) for axis in self.axes]
        keys = [axis.key for axis in self.axes]
        grid = list(zip(itertools.product(*shape), self.points(), self.scenarios, strict=True))
        solvers = [(entry, solver_spec(entry.use, entry.solver)) for entry in self.entries]
        scenarios = [scenario_spec(self.scenario_use, scenario) for scenario in self.scenarios]
        common = {"seed": self.campaign.seed, "trace": self.output.trace}
        return tuple(
            SolvableConfiguration(
                label=entry.label,
                point=dict(zip(keys, point, strict=True)),
                grid_index=(number, *grid_index),
                spec=common | {"scenario": drawn, "solver": solver, "batch": entry.batch},
                scoring=self.scoring,
                keeps_estimates=self.output.estimates,
                scenario=scenario,
                solver=entry.solver,
            )
            for number, (entry, solver) in enumerate(solvers)
            for (grid_index, point, scenario), drawn in zip(grid, scenarios, strict=True)
        )

    @cached_property
    def scoring(self) -> dict[str, Any]:
        """What decides the measures, given the estimates."""
        scenario = self.scenarios[0]
        measures = {name: measure._asdict() for name, measure in scenario.measures.items()}
        return scoring_of(scenario.score_version, measures)

    def blocks(self) -> Iterator[Block]:
        """Every block that this campaign asks for, configuration by configuration."""
        for configuration in self.configurations:
            for index in range(configuration.block_count(self.realizations)):
                yield Block(configuration, index)

    @property
    def realizations(self) -> int:
        """Realizations asked for at each point of the grid."""
        return self.campaign.realizations

    @property
    def measures(self) -> Mapping[str, Measure]:
        """The scenario's measures, the same at every point of the grid."""
        return self.scenarios[0].measures

    @property
    def constants(self) -> dict[str, Any]:
        """The scenario's parameters in the file, without the swept ones."""
        swept = {axis.key for axis in self.axes}
        return {k: v for k, v in self.scenario.items() if k != "use" and k not in swept}

    def points(self) -> Iterator[tuple[SweepValue, ...]]:
        """The grid: one value per axis, the last axis fastest."""
        return itertools.product(*(axis.values for axis in self.axes))

    def scenario_at(self, point: tuple[SweepValue, ...]) -> Scenario[Any]:
        """The scenario at a point of the grid."""
        parameters = dict(self.constants)
        for axis, value in zip(self.axes, point, strict=True):
            _assign(parameters, axis.key, value, self._scenario_fields)
        try:
            scenario: Scenario[Any] = SCENARIOS.create(self.scenario_use, parameters)
        except ValidationError as error:
            raise ValueError(self._located(_first_error(error), point)) from None
        except (ValueError, TypeError) as error:
            raise ValueError(self._located(str(error), point)) from None
        return scenario

    def _located(self, message: str, point: tuple[SweepValue, ...]) -> str:
        """A scenario's complaint, with the point of the grid where that is what it is about."""
        at = ", ".join(f"{a.key} = {v!r}" for a, v in zip(self.axes, point, strict=True))
        swept = any(axis.key.partition(".")[0] in message for axis in self.axes)
        return f"scenario: {message}" + (f" (at sweep {at})" if swept else "")

    def tables(self) -> dict[str, Any]:
        """The campaign as plain tables; `from_tables` takes them back."""
        return self.model_dump(mode="json", exclude_none=True)


def _entry(label: str, table: Mapping[str, Any], batch: int) -> Entry:
    options = dict(table)
    use = options.pop("use", None)
    own_batch = options.pop("batch", batch)
    where = f"solvers.{label}"
    if not isinstance(use, str):
        known = ", ".join(SOLVERS.names())
        raise ValueError(f"{where}.use: missing or not a string; known: {known}")
    if isinstance(own_batch, bool) or not isinstance(own_batch, int) or own_batch < 1:
        raise ValueError(f"{where}.batch: must be a whole number from 1, got {own_batch!r}")
    try:
        return Entry(label, use, SOLVERS.create(use, options), own_batch)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from None


def _check_axes(axes: tuple[Axis, ...], fields: Mapping[str, Any]) -> None:
    for axis in axes:
        where = f"sweep.{axis.key}"
        parameter = axis.key.partition(".")[0]
        if parameter not in fields:
            raise ValueError(
                f"{where}: the scenario has no parameter {parameter!r}; "
                f"{suggest(parameter, fields)}"
            )
        if not axis.values:
            raise ValueError(f"{where}: no values; give at least one, or drop the key")
        kinds = {_kind(value) for value in axis.values}
        if None in kinds or len(kinds) > 1:
            raise ValueError(
                f"{where}: values must be all numbers, all strings or all booleans; "
                'to sweep a list, sweep its elements, as in "measurements.0"'
            )
        if any(isinstance(v, float) and math.isnan(v) for v in axis.values):
            raise ValueError(f"{where}: values must not be NaN, got {list(axis.values)}")
        if len(set(axis.values)) < len(axis.values):
            raise ValueError(f"{where}: duplicate values in {list(axis.values)}")
    keys = {axis.key for axis in axes}
    for key in keys:
        whole, dot, _ = key.partition(".")
        if dot and whole in keys:
            raise ValueError(f"sweep.{key}: {whole!r} is swept as well; sweep one or the other")
    dimensions = [axis.dimension for axis in axes]
    for dimension in dimensions:
        if dimensions.count(dimension) > 1:
            raise ValueError(f"sweep: two keys give the dimension {dimension!r}")


def _kind(value: Any) -> str | None:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else None


def _assign(
    parameters: dict[str, Any], key: str, value: SweepValue, fields: Mapping[str, Any]
) -> None:
    """Set a parameter, or one element of a list parameter, in place."""
    name, dot, element = key.partition(".")
    if not dot:
        parameters[name] = value
        return
    whole = parameters.get(name, fields[name])
    if not isinstance(whole, list | tuple):
        raise ValueError(f"sweep.{key}: {name} is not a list; sweep {name!r} itself")
    if element not in map(str, range(len(whole))):
        raise ValueError(f"sweep.{key}: {name} has elements 0 to {len(whole) - 1}")
    parameters[name] = [*whole[: int(element)], value, *whole[int(element) + 1 :]]


def _first_error(error: ValidationError) -> str:
    """The first of pydantic's complaints, as "key: what is wrong, got value"."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"] if part not in PYDANTICS_OWN)
    if first["type"] == "value_error":  # raised by us, with all that there is to say
        message = str(first["ctx"]["error"])
        return f"{key}: {message}" if key else message
    if first["type"] == "missing":
        return f"{key}: missing"
    if first["type"] == "string_pattern_mismatch" and first["ctx"]["pattern"] == NAME:
        return f"{key}: a name has letters, digits and . + - _ only, got {first['input']!r}"
    return f"{key}: {first['msg'].lower()}, got {first['input']!r}"


def _one_line(error: ValidationError, model: type[BaseModel]) -> str:
    # What was misspelt explains what is missing, not the other way round.
    errors = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    first = errors[0]
    if first["type"] == "extra_forbidden":
        *tables, key = map(str, first["loc"])
        for table in tables:
            model = model.model_fields[table].annotation  # type: ignore[assignment]
        place = f"[{'.'.join(tables)}]" if tables else "the file"
        return f"{key}: unknown key in {place}; {suggest(key, model.model_fields)}{more}"
    return " ".join((_first_error(error) + more).split())
