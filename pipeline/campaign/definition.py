"""A campaign: a study as a TOML file, checked in full before anything runs."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.campaign.axes import Axis, assign, check_axes, check_names, with_configurations
from pipeline.campaign.blocks import (
    Block,
    SolvableConfiguration,
    SweepValue,
    scenario_spec,
    scoring_of,
    solver_spec,
)
from pipeline.campaign.files import as_python, make_importable, read_tables
from pipeline.campaign.messages import first_complaint, one_line
from pipeline.campaign.settings import ClusterSettings, Header, Label, Limits, Output, Table
from pipeline.campaign.stopping import Rule, Stop
from pipeline.errors import InputError
from pipeline.scenarios import REGISTRY as SCENARIOS
from pipeline.scenarios import Measure, Scenario
from solvers import Solver
from solvers.registry import REGISTRY as SOLVERS

MOST_CONFIGURATIONS = 10**6
"""More is a slip, and would take hours to be written down."""

RECORDED = {"options", "over", "statistic", "value", "before", "trials", "realizations", "seed"}
"""What a record of tuning has, of which summaries tell."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One configured solver of a campaign: a table ``[solvers.LABEL]``."""

    label: str
    use: str
    solver: Solver
    batch: int


class Campaign(Table):
    """A validated campaign.

    The fields are the tables of the file; the properties are what they come to. Build one with
    `load`, or with `from_tables` from the same tables as Python dictionaries.

    Attributes
    ----------
    campaign : table
        What makes a study this one, and how large it is.
    scenario : table
        Where realizations come from: ``use``, its name or ``module:Class``, and its parameters.
    solvers : table of tables
        A table for each configured solver, ``[solvers.LABEL]``: ``use``, its name or
        ``module:Class``, ``batch`` where it needs another one than the campaign, ``tuned``, the
        record of `kronsbl tune`, which changes no number, and its options.
    sweep : table
        The axes of the grid. A key names a parameter of the scenario, or one element of a list
        ("measurements.0"), and its values, which may be whole lists. A table of parameters makes
        one axis along which they move together; its first parameter names the places. A key
        "solvers.LABEL.OPTION" makes a solver of each value.
    output : table
        What to store beside the measures.
    limits : table
        When to give a realization up.
    cluster : table
        What a batch system must be told.
    stop : table
        Until when a point of the grid takes realizations; see docs/precise.md.
    """

    campaign: Header
    scenario: dict[str, Any]
    solvers: dict[Label, dict[str, Any]]
    sweep: dict[str, list[Any] | dict[str, list[Any]]] = Field(default_factory=dict)
    output: Output = Output()
    limits: Limits = Limits()
    cluster: ClusterSettings = ClusterSettings()
    stop: Stop | None = None

    @classmethod
    def from_tables(
        cls, tables: Mapping[str, Any], where: str = "campaign", *, tuning: bool = False
    ) -> Self:
        """Check the tables of a campaign.

        Parameters
        ----------
        tables
            What TOML makes of a campaign file: ``{"campaign": {…}, "scenario": {…}, …}``.
        where
            What to call it in messages.
        tuning
            Whether the seed may be below 0, which those of campaign files never are.

        Raises
        ------
        InputError
            One line that names the key at fault.
        """
        try:
            return cls.model_validate(as_python(tables), context={"tuning": tuning})
        except ValidationError as error:
            raise InputError(f"{where}: {one_line(error, cls)}") from None
        except UnicodeEncodeError as error:
            raise InputError(f"{where}: {error.object!r} is no text ({error.reason})") from None

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
        tables = read_tables(path)
        try:
            make_importable(path.resolve().parent, tables)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        if realizations is not None and isinstance(tables.get("campaign"), dict):
            tables["campaign"]["realizations"] = realizations
        return cls.from_tables(tables, str(path))

    @model_validator(mode="before")
    @classmethod
    def _spelt_out(cls, tables: Any) -> Any:
        known = isinstance(tables, Mapping) and all(
            isinstance(tables.get(name), Mapping) for name in ("sweep", "solvers")
        )
        return with_configurations(tables) if known else tables

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        if not self.solvers:
            raise ValueError("solvers: no solver given; add a table [solvers.LABEL] with a use")
        _ = self.entries
        check_axes(
            self.axes,
            fields=self._scenario_fields,
            constants=self.constants,
            labels=self.solvers,
        )
        size = math.prod(len(axis.values) for axis in self.axes) * len(self.solvers)
        if size > MOST_CONFIGURATIONS:
            raise ValueError(f"sweep: {size} configurations, at most {MOST_CONFIGURATIONS} will do")
        measures = self.measures  # checks every point of the grid as well
        there = min((n for s in self.scenarios if (n := s.records) is not None), default=None)
        if there is not None and self.realizations > there:
            raise ValueError(
                f"campaign.realizations: {self.realizations}, but only {there} are recorded"
            )
        others = [m.dimension for m in measures.values() if m.dimension is not None]
        for entry in self.entries:
            others += getattr(entry.solver, "diagnostics", {})
        check_names(self.axes, measures, others)
        if self.stop is not None:
            kinds = {
                e.label: (e.batch, getattr(e.solver, "kind", "estimator")) for e in self.entries
            }
            Rule.of(self.stop, self.realizations, kinds, measures)
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
        return tuple(Axis.of(key, given) for key, given in self.sweep.items())

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
        """Everything that decides the measures, given the estimates."""
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
        """The scenario's parameters in its table of the file."""
        return {k: v for k, v in self.scenario.items() if k != "use"}

    def points(self) -> Iterator[tuple[SweepValue, ...]]:
        """The grid: one value per axis, the last axis fastest."""
        return itertools.product(*(axis.values for axis in self.axes))

    def scenario_at(self, point: tuple[SweepValue, ...]) -> Scenario[Any]:
        """The scenario at a point of the grid."""
        parameters = dict(self.constants)
        for axis, value in zip(self.axes, point, strict=True):
            for key, setting in axis.places[value].items():
                assign(parameters, key, setting, self._scenario_fields)
        try:
            scenario: Scenario[Any] = SCENARIOS.create(self.scenario_use, parameters)
        except ValidationError as error:
            raise ValueError(self._located(first_complaint(error), point)) from None
        except (ValueError, TypeError) as error:
            raise ValueError(self._located(str(error), point)) from None
        return scenario

    def _located(self, message: str, point: tuple[SweepValue, ...]) -> str:
        """A scenario's complaint, with the point of the grid where that is what it is about."""
        at = ", ".join(f"{a.key} = {v!r}" for a, v in zip(self.axes, point, strict=True))
        keys = (key for axis in self.axes for key in axis.settings)
        swept = any(key.partition(".")[0] in message for key in keys)
        return f"scenario: {message}" + (f" (at sweep {at})" if swept else "")

    def tables(self) -> dict[str, Any]:
        """The campaign as plain tables; `from_tables` takes them back."""
        return self.model_dump(mode="json", exclude_none=True)


def _check_record(where: str, tuned: Any, options: Mapping[str, Any]) -> None:
    """Raise ValueError where a record of tuning is none, or not of these options."""
    found = tuned.get("options") if isinstance(tuned, Mapping) else None
    if not (isinstance(found, Mapping) and {*tuned} >= RECORDED):
        raise ValueError(f"{where}.tuned: must be a record, as `kronsbl tune` writes it")
    for name, value in found.items():
        if options.get(name) != value:
            raise ValueError(
                f"{where}.tuned: is of {name} = {value}, and the table has {options.get(name)}; "
                "drop the record or the change"
            )


def _entry(label: str, table: Mapping[str, Any], batch: int) -> Entry:
    options = dict(table)
    use = options.pop("use", None)
    own_batch = options.pop("batch", batch)
    where = f"solvers.{label}"
    if "tuned" in options:
        _check_record(where, options.pop("tuned"), options)
    if not isinstance(use, str):
        known = ", ".join(SOLVERS.names())
        raise ValueError(f"{where}.use: missing or not a string; known: {known}")
    if isinstance(own_batch, bool) or not isinstance(own_batch, int) or own_batch < 1:
        raise ValueError(f"{where}.batch: must be a whole number from 1, got {own_batch!r}")
    try:
        return Entry(label, use, SOLVERS.create(use, options), own_batch)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from None
