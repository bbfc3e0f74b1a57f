"""Garbage of a store: what nobody needs any more, told from what looks like it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.results.publishing import latest
from pipeline.store import Store
from pipeline.store.files import size_of, temporary_beside

CUBES_KEPT = 2
"""The newest ones, since a dataset that is open reads from its cube until it is closed."""

LEAST_AGE = 24 * 3600.0

CUBE = re.compile(r"cubes/(\d+)\.zarr")

LEFT_BEHIND = re.compile(
    r"(?:.*/)?\.[^/]+\.\d+-[0-9a-f]{8}\.tmp"  # what is being written, or removed
    r"|\.(?:private|probe)-\w+(?:\.tmp)?"  # keys of a run; what its workers are to see
    r"|running/[^/]+-\d+\.(?:json|stop)"
    r"|in_progress/[0-9a-f]{32}(?:-\d+-\d+)?\.txt"
)
"""Names that killed processes of ours have left behind: nothing else is removed."""


class Entry(NamedTuple):
    """A file or folder: its name within the store, and when it was changed last."""

    name: str
    modified: float


class Removed(NamedTuple):
    """A file or folder that was removed, and its bytes."""

    path: Path
    bytes: int


def garbage(found: Iterable[Entry], newest: int | None, now: float) -> list[Entry]:
    """Choose what may go.

    Parameters
    ----------
    found
    newest
        Number of the cube that LATEST names; None where it names none, and then no cube goes.
    now
        The time, as that of the entries.

    Returns
    -------
    list of Entry
        Nothing younger than `LEAST_AGE`, nor the newest cubes, nor one that is newer than LATEST
        says: somebody has just published it.
    """
    found = list(found)
    cubes = {entry: int(match[1]) for entry in found if (match := CUBE.fullmatch(entry.name))}
    known = sorted(number for number in cubes.values() if newest is not None and number <= newest)
    oldest_kept = min(known[-CUBES_KEPT:], default=0)
    return [
        entry
        for entry in found
        if now - entry.modified > LEAST_AGE
        and (cubes[entry] < oldest_kept if entry in cubes else LEFT_BEHIND.fullmatch(entry.name))
    ]


def collect_garbage(store: Store, *, dry_run: bool = False) -> list[Removed]:
    """Remove old cubes, and what killed processes have left behind; see `garbage`.

    Parameters
    ----------
    store
    dry_run
        Only say what would go.

    Returns
    -------
    list of Removed
    """
    newest = latest(store)  # before the listing: what is published meanwhile is newer
    number = None if newest is None else int(newest.stem)
    removed = []
    for entry in garbage(_entries(store.path), number, time.time()):
        path = store.path / entry.name
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            size = size_of(path)
            if not dry_run:
                _remove(path)
            removed.append(Removed(path, size))
    return removed


def _entries(store: Path) -> Iterator[Entry]:
    """Yield the files and folders with names of ours; links are neither followed nor given."""
    for root, folders, files in os.walk(store):
        place = os.path.relpath(root, store).removeprefix(".")
        for name in [*folders, *files]:
            inside = os.path.join(place, name)
            if CUBE.fullmatch(inside) or LEFT_BEHIND.fullmatch(inside):
                with contextlib.suppress(FileNotFoundError):
                    about = os.lstat(store / inside)
                    if not stat.S_ISLNK(about.st_mode):
                        yield Entry(inside, about.st_mtime)
        folders[:] = [name for name in folders if not name.endswith((".zarr", ".tmp"))]


def _remove(path: Path) -> None:
    """Remove a file, or a folder: first its name, so that nobody finds half of it."""
    if not path.is_dir():
        path.unlink()
        return
    aside = temporary_beside(path)
    path.rename(aside)
    shutil.rmtree(aside)
