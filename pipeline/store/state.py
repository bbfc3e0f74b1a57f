"""How far a store is: cells done, failed and pending, live runs, disk use."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.campaign.blocks import Configuration
from pipeline.errors import InputError
from pipeline.store.folder import Store

ALIVE_SECONDS = 120.0
"""A run that has not been heard of for so long is taken for dead."""


@dataclasses.dataclass(frozen=True)
class ConfigurationState:
    """Cells of one solver at one point of the grid."""

    solver: str
    point: dict[str, Any]
    done: int
    failed: int
    pending: int
    messages: dict[str, int]
    """Why cells failed, and how many blocks or cells said so."""


@dataclasses.dataclass(frozen=True)
class LiveRun:
    """A process that is, or was when last heard of, computing for the store.

    Attributes
    ----------
    host : str
    pid : int
    silent : float
        Seconds since it was last heard of.
    rate : float
        Cells per second so far.
    seconds_left : float or None
        None at the start, while it is not known what a solver costs.
    """

    host: str
    pid: int
    silent: float
    rate: float
    seconds_left: float | None

    @property
    def alive(self) -> bool:
        """Whether it was heard of lately."""
        return self.silent < ALIVE_SECONDS


@dataclasses.dataclass(frozen=True)
class StoreState:
    """State of a store."""

    name: str
    configurations: list[ConfigurationState]
    runs: list[LiveRun]
    blocks: int
    bytes: dict[str, int]

    @property
    def complete(self) -> bool:
        """Whether nothing that was asked for is pending."""
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
    campaign = store.last_request()
    if campaign is None:
        raise InputError(f"{store.path}: no run has asked for anything yet")
    sizes = {entry.name[:-4]: entry.stat().st_size for entry in store.block_files()}
    failures = store.failures()
    realizations = campaign.realizations
    return StoreState(
        name=campaign.campaign.name,
        configurations=[
            _configuration_state(s, realizations, sizes, failures) for s in campaign.configurations
        ],
        runs=[
            run for path in sorted((store.path / "running").glob("*.json")) if (run := _live(path))
        ],
        blocks=len(sizes),
        bytes={"blocks": sum(sizes.values()), "cubes": _size(store.path / "cubes")},
    )


def _configuration_state(
    configuration: Configuration,
    realizations: int,
    done: dict[str, int],
    failures: dict[str, dict[str, Any]],
) -> ConfigurationState:
    have, failed, messages = 0, 0, Counter[str]()
    for index in range(configuration.block_count(realizations)):
        key = configuration.key(index)
        if key in done:
            asked = min(configuration.batch, realizations - index * configuration.batch)
            have += asked
            if key in failures:
                failed += min(failures[key]["cells"], asked)
                messages.update(failures[key]["messages"])
    pending = realizations - have
    return ConfigurationState(
        configuration.label, dict(configuration.point), have, failed, pending, dict(messages)
    )


def _live(path: Path) -> LiveRun | None:
    """What a run says of itself, or None where it has just ended, or its file is damaged."""
    try:
        beat = json.loads(path.read_text())
        seconds = beat["updated"] - beat["started"]
        rate = beat["done"] / seconds if seconds > 0 else 0.0
        silent = time.time() - beat["updated"]
        return LiveRun(beat["host"], beat["pid"], silent, rate, beat["seconds_left"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _size(folder: Path) -> int:
    """Bytes in the files below a folder, in which others may be busy."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(root, name)).st_size
    return total
