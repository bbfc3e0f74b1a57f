"""Heartbeats: the small file by which a run tells others that it lives and how far it is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pipeline.store.files import entries, read_bytes, replaced

ALIVE_SECONDS = 120.0
"""A run that has not been heard of for so long is taken for dead."""


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
        """True when it was heard of lately."""
        return self.silent < ALIVE_SECONDS


class Heartbeat:
    """The file of this process; there while a with statement lasts.

    Parameters
    ----------
    store : Path
        Folder of the store.

    Attributes
    ----------
    stop : str
        Name of a file beside it; once it is there, workers begin no further block.
    """

    def __init__(self, store: Path) -> None:
        name, folder = f"{platform.node()}-{os.getpid()}", store / "running"
        folder.mkdir(exist_ok=True)
        self.stop, self._stop = f"running/{name}.stop", folder / f"{name}.stop"
        self._path, self._started = folder / f"{name}.json", time.time()

    def __enter__(self) -> Self:
        self._stop.unlink(missing_ok=True)  # of a namesake that was killed
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def beat(self, counts: Mapping[str, Any]) -> None:
        """Tell how far the run is."""
        state = {"host": platform.node(), "pid": os.getpid(), "started": self._started}
        state |= {"updated": time.time(), **counts}
        # A full disk ends the run elsewhere.
        with contextlib.suppress(OSError), replaced(self._path) as temporary:
            temporary.write_text(json.dumps(state))


def live_runs(store: Path) -> list[LiveRun]:
    """Runs that have left a heartbeat in a store, alive or not."""
    paths = entries(store / "running", "*.json")
    return [run for path in paths if (run := _read(path)) is not None]


def _read(path: Path) -> LiveRun | None:
    """One heartbeat, or None when its run has just ended or the file is damaged."""
    try:
        beat = json.loads(read_bytes(path))
        seconds = beat["updated"] - beat["started"]
        rate = beat["done"] / seconds if seconds > 0 else 0.0
        silent = time.time() - beat["updated"]
        return LiveRun(beat["host"], beat["pid"], silent, rate, beat["seconds_left"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
