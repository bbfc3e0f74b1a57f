"""State of a store: cells done, failed and pending, live runs, disk use."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from pipeline.campaign.blocks import ESTIMATES, Configuration
from pipeline.campaign.request import Request
from pipeline.store.decisions import Standing, standings_of
from pipeline.store.files import size_of
from pipeline.store.folder import Store
from pipeline.store.heartbeat import LiveRun, live_runs
from pipeline.store.pending import done_blocks


@dataclasses.dataclass(frozen=True)
class ConfigurationState:
    """Cells of one solver at one point of the grid."""

    solver: str
    point: dict[str, Any]
    done: int
    failed: int
    pending: int
    declined: str
    """Why the solver does not apply, so that nothing is pending; empty where it does."""
    messages: dict[str, int]
    """Why cells failed, and how many blocks or cells said so."""


@dataclasses.dataclass(frozen=True)
class PointState:
    """A point of the grid of a campaign with ``[stop]``."""

    point: dict[str, Any]
    asked: int
    maximum: int
    reason: str
    half_widths: dict[str, tuple[float | None, float]]
    """Of the last look, and those asked for, by pair; None where the interval has no end."""


@dataclasses.dataclass(frozen=True)
class StoreState:
    """State of a store."""

    name: str
    configurations: list[ConfigurationState]
    points: list[PointState]
    """Empty without ``[stop]``."""
    runs: list[LiveRun]
    changes: list[str]
    """Versions for which a run computes again what is, or had been, there."""
    blocks: int
    bytes: dict[str, int]

    @property
    def complete(self) -> bool:
        """True when nothing that was asked for is pending."""
        return not any(s.pending for s in self.configurations)

    def tables(self) -> dict[str, Any]:
        """As plain dictionaries and lists, for JSON."""
        runs = [{**dataclasses.asdict(r), "alive": r.alive} for r in self.runs]
        return {**dataclasses.asdict(self), "runs": runs, "complete": self.complete}


def state_of(store: Store) -> StoreState:
    """Look at a store, finished or not, while others work on it or not.

    Raises
    ------
    InputError
        No run has asked for anything yet.
    """
    asked = store.asked()
    names = store.names()
    failures = store.failures()
    standings, number = standings_of(store, asked), len(asked.record["points"])
    wanted = [s.asked for s in standings] if standings else [asked.realizations] * number
    configurations = [
        _state_of(configuration, wanted[at % number], names, failures)
        for at, configuration in enumerate(asked.configurations)
    ]
    changes = list(asked.version_changes(asked.as_installed()))
    if any(c.pending for c in configurations):
        changes += store.version_changes(asked)
    return StoreState(
        name=asked.name,
        configurations=configurations,
        points=[
            _point_of(asked, dict(configuration.point), standing)
            for configuration, standing in zip(asked.configurations, standings or (), strict=False)
        ],
        runs=live_runs(store.path),
        changes=changes,
        blocks=sum(not name.endswith(f".{ESTIMATES}") for name in names),
        bytes={
            "blocks": sum(size_of(store.path / folder) for folder in ("blocks", "packs")),
            "cubes": size_of(store.path / "cubes"),
        },
    )


def _point_of(asked: Request, point: dict[str, Any], standing: Standing) -> PointState:
    assert asked.rule is not None
    halves = standing.decision.half_widths if standing.decision else ()
    widths = {
        str(pair): (half if math.isfinite(half) else None, pair.target.half_width)
        for pair, half in zip(asked.rule.pairs, halves, strict=False)
    }
    reason = standing.reason.name.lower()
    return PointState(point, standing.asked, asked.realizations, reason, widths)


def _state_of(
    configuration: Configuration,
    realizations: int,
    names: Collection[str],
    failures: Mapping[str, Mapping[str, Any]],
) -> ConfigurationState:
    done, failed, messages = 0, 0, Counter[str]()
    for index in done_blocks(configuration, 0, realizations, names):
        asked = min(configuration.batch, realizations - index * configuration.batch)
        done += asked
        if (failure := failures.get(configuration.key(index))) is not None:
            failed += min(failure["cells"], asked)
            messages.update(failure["messages"])
    return ConfigurationState(
        solver=configuration.label,
        point=dict(configuration.point),
        done=done,
        failed=failed,
        pending=0 if configuration.declined else realizations - done,
        declined=configuration.declined,
        messages=dict(messages),
    )
