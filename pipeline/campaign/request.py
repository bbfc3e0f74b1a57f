"""A request: what a run asks for, written down so that results can be read without its code."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from pipeline.campaign.axes import Axis
from pipeline.campaign.blocks import Configuration, canonical, plain, scoring_of
from pipeline.campaign.definition import Campaign
from pipeline.campaign.stopping import Rule, Stop
from pipeline.scenarios import REGISTRY as SCENARIOS
from pipeline.scenarios import Measure
from solvers.registry import REGISTRY as SOLVERS
from solvers.registry import Registry


@dataclasses.dataclass(frozen=True)
class Request:
    """A campaign, with all that its solvers and scenario said of themselves when it was asked for.

    A reader of results needs no solver or scenario class: specs, measures, units and kinds are
    here as they were when the run began. Fields that this version does not know are kept.

    Attributes
    ----------
    tables : dict
        The campaign file; see `Campaign.from_tables`.
    record : dict
        What the code said: ``scenario`` (use, versions, measures, units), ``points`` (its
        parameters at each point of the grid), ``solvers`` (by label: spec, batch, kind, objective,
        diagnostics, and how options were tuned), ``declined`` (by label and number of the point:
        the reason).
    facts : dict
        When, where and by what the request was made.
    """

    tables: Mapping[str, Any]
    record: Mapping[str, Any]
    facts: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        campaign: Campaign,
        facts: Mapping[str, Any],
        configurations: Iterable[Configuration] | None = None,
    ) -> Request:
        """The request for a campaign.

        Parameters
        ----------
        campaign
        facts
            When, where and by what it is made.
        configurations
            Those of the campaign, with the reasons of those that decline.
        """
        first, points = campaign.scenarios[0], len(campaign.scenarios)
        declined: dict[str, dict[str, str]] = {}
        solvers, parameters = {}, []
        by_solver = _batched(configurations or campaign.configurations, points)
        for entry, of_solver in zip(campaign.entries, by_solver, strict=True):
            spec = of_solver[0].spec
            parameters = [c.spec["scenario"]["parameters"] for c in of_solver]
            solvers[entry.label] = {
                **spec["solver"],
                "batch": entry.batch,
                "kind": getattr(entry.solver, "kind", "estimator"),
                "objective": getattr(entry.solver, "objective", ""),
                "diagnostics": dict(getattr(entry.solver, "diagnostics", {})),
            }
            if "tuned" in (table := campaign.solvers[entry.label]):
                solvers[entry.label]["tuned"] = table["tuned"]
            reasons = {str(i): c.declined for i, c in enumerate(of_solver) if c.declined}
            if reasons:
                declined[entry.label] = reasons
        record = {
            "scenario": {
                "use": campaign.scenario_use,
                "version": first.draw_version,
                "score_version": first.score_version,
                "measures": {n: m._asdict() for n, m in first.measures.items()},
                "units": {n: list(u) for n, u in first.units.items()},
            },
            "points": parameters,
            "solvers": solvers,
            "declined": declined,
        }
        return cls(campaign.tables(), plain(record), dict(facts))

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any]) -> Request:
        """The request that `to_tables` has written."""
        campaign = dict(tables)
        facts = dict(campaign.pop("request", {}))
        record = json.loads(facts.pop("record", "{}"))
        return cls(campaign, record, facts)

    def to_tables(self) -> dict[str, Any]:
        """All of it as TOML takes it; the record is one string of JSON."""
        return {"request": {**self.facts, "record": json.dumps(self.record)}, **self.tables}

    def campaign(self) -> Campaign:
        """The campaign, checked, with its solvers and scenario.

        Raises
        ------
        InputError
            One of them is not to be had here, or does not take its options any more.
        """
        return Campaign.from_tables(self.tables, "the store's request", tuning=True)

    def asks_the_same(self, other: Request) -> bool:
        """Whether two requests differ in their facts only."""
        return canonical([self.tables, self.record]) == canonical([other.tables, other.record])

    @property
    def name(self) -> str:
        """Name of the campaign."""
        return str(self.tables["campaign"]["name"])

    @property
    def seed(self) -> int:
        """Seed of the campaign."""
        return int(self.tables["campaign"]["seed"])

    @property
    def realizations(self) -> int:
        """Realizations asked for at each point of the grid."""
        return int(self.tables["campaign"]["realizations"])

    @property
    def traced(self) -> bool:
        """Whether iterations are stored as well."""
        return bool(self.tables.get("output", {}).get("trace", False))

    @property
    def scenario_use(self) -> str:
        """Name of the kind of scenario."""
        return str(self.record["scenario"]["use"])

    @property
    def uses(self) -> list[str]:
        """Names of the kind of scenario and of the solvers: what must be imported to solve."""
        return [self.scenario_use, *(str(solver["use"]) for solver in self.solvers.values())]

    @property
    def labels(self) -> list[str]:
        """Labels of the solvers, in the order of the campaign file."""
        return list(self.tables["solvers"])

    @property
    def solvers(self) -> Mapping[str, Mapping[str, Any]]:
        """By label: use, version, options, batch, kind, objective and diagnostics."""
        found: Mapping[str, Mapping[str, Any]] = self.record["solvers"]
        return found

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The swept parameters."""
        sweep = self.tables.get("sweep", {})
        return tuple(Axis.of(key, given) for key, given in sweep.items())

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """The scenario's measures."""
        known = set(Measure._fields)
        return {
            name: Measure(**{k: _as_tuple(v) for k, v in fields.items() if k in known})
            for name, fields in self.record["scenario"]["measures"].items()
        }

    @property
    def units(self) -> Mapping[str, tuple[str, str]]:
        """Units and long name of parameters by their key in a sweep."""
        return {n: (u[0], u[1]) for n, u in self.record["scenario"]["units"].items()}

    @cached_property
    def rule(self) -> Rule | None:
        """Until when points take realizations, where the campaign has a table ``[stop]``."""
        if (table := self.tables.get("stop")) is None:
            return None
        solvers = {label: (int(s["batch"]), str(s["kind"])) for label, s in self.solvers.items()}
        return Rule.of(Stop.model_validate(table), self.realizations, solvers, self.measures)

    @property
    def points(self) -> list[dict[str, Configuration]]:
        """The configurations of each point of the grid, by label."""
        found, number = self.configurations, len(self.record["points"])
        return [{c.label: c for c in found[point::number]} for point in range(number)]

    @cached_property
    def configurations(self) -> tuple[Configuration, ...]:
        """Every solver at every point of the grid, solver by solver."""
        scenario, output = self.record["scenario"], self.tables.get("output", {})
        scoring = scoring_of(scenario["score_version"], scenario["measures"])
        common = {"seed": self.seed, "trace": self.traced}
        shape = [range(len(axis.values)) for axis in self.axes]
        values = itertools.product(*(axis.values for axis in self.axes))
        keys = [axis.key for axis in self.axes]
        grid = list(zip(itertools.product(*shape), values, self.record["points"], strict=True))
        found = []
        for number, label in enumerate(self.labels):
            solver = self.solvers[label]
            spec = common | {
                "solver": {name: solver[name] for name in ("use", "version", "options")},
                "batch": solver["batch"],
            }
            declined = self.record["declined"].get(label, {})
            found += [
                Configuration(
                    label=label,
                    point=dict(zip(keys, point, strict=True)),
                    grid_index=(number, *grid_index),
                    spec=spec
                    | {
                        "scenario": {
                            "use": scenario["use"],
                            "version": scenario["version"],
                            "parameters": parameters,
                        }
                    },
                    scoring=scoring,
                    keeps_estimates=bool(output.get("estimates", False)),
                    declined=declined.get(str(at), ""),
                )
                for at, (grid_index, point, parameters) in enumerate(grid)
            ]
        return tuple(found)

    def as_installed(self) -> Request:
        """The request as the code that is installed here would make it.

        Code named ``module:Class`` is not looked at: reading a store runs nothing of it.
        """

        def versions(registry: Registry, use: str, **names: str) -> dict[str, Any]:
            known = ":" not in use and use in registry.names()
            found = registry.find(use) if known else None
            return {k: getattr(found, v) for k, v in names.items() if hasattr(found, v)}

        scenario = dict(self.record["scenario"])
        names = {"version": "draw_version", "score_version": "score_version"}
        scenario |= versions(SCENARIOS, scenario["use"], measures="measures", **names)
        solvers = {
            label: {**solver, **versions(SOLVERS, solver["use"], version="version")}
            for label, solver in self.solvers.items()
        }
        record = {**self.record, "scenario": scenario, "solvers": solvers}
        return dataclasses.replace(self, record=record)

    def version_changes(self, now: Request) -> Iterator[str]:
        """Sentences on the versions that are others now, which is why blocks are computed again."""
        before, after = self.record["scenario"], now.record["scenario"]
        for what, words in (("version", "draw version"), ("score_version", "score version")):
            if before["use"] == after["use"] and before[what] != after[what]:
                yield f"scenario: {words} {before[what]} in the store, {after[what]} now"
        if before["measures"].keys() != after["measures"].keys():
            yield (
                f"scenario: measures {', '.join(before['measures'])} in the store, "
                f"{', '.join(after['measures'])} now"
            )
        for label in self.solvers.keys() & now.solvers.keys():
            old, new = self.solvers[label], now.solvers[label]
            if old["use"] == new["use"] and old["version"] != new["version"]:
                yield f"{label}: solver version {old['version']} in the store, {new['version']} now"


def _as_tuple(value: Any) -> Any:
    """JSON has no tuples."""
    return tuple(value) if isinstance(value, list) else value


def _batched(items: Iterable[Configuration], size: int) -> Iterator[list[Configuration]]:
    """Lists of so many items each; itertools has it from Python 3.12 on."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
