"""Garbage of a store: what nobody needs any more, told from what looks like it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

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
    r"|packs/packing"  # the claim of a packer
)
"""Names that killed processes of ours have left behind: nothing else is removed."""


def garbage(modified: Mapping[str, float], newest: int | None, now: float) -> list[str]:
    """Choose what may go.

    Parameters
    ----------
    modified
        When they were changed last, of cubes and of what processes of ours leave behind, by their
        names within the store.
    newest
        Number of the cube that LATEST names; None where it names none, and then no cube goes.
    now
        The time, as that of the changes.

    Returns
    -------
    list of str
        Names, the oldest cube first. Nothing younger than `LEAST_AGE`, nor the newest cubes, nor
        one that is newer than LATEST says: somebody has just published it.
    """
    cubes = {name: int(match[1]) for name in modified if (match := CUBE.fullmatch(name))}
    known = sorted(number for number in cubes.values() if newest is not None and number <= newest)
    oldest_kept = min(known[-CUBES_KEPT:], default=0)
    old = sorted(name for name, when in modified.items() if now - when > LEAST_AGE)
    return [name for name in old if cubes.get(name, -1) < oldest_kept]


def collect_garbage(store: Store, *, dry_run: bool = False) -> dict[Path, int]:
    """Remove old cubes, and what killed processes have left behind; pack the blocks.

    See `garbage`, and `Store.tidy`.

    Parameters
    ----------
    store
    dry_run
        Only say what would go.

    Returns
    -------
    dict
        Bytes of what was removed, by path.
    """
    newest = latest(store)  # before the listing: what is published meanwhile is newer
    number, removed = None if newest is None else int(newest.stem), {}
    for name in garbage(dict(_ours(store.path)), number, time.time()):
        path = store.path / name
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            removed[path] = size_of(path)
            if not dry_run:
                _remove(path)
    if not dry_run:
        store.tidy(merge=True)
    return removed


def _ours(store: Path) -> Iterator[tuple[str, float]]:
    """Yield names of ours, and when they were changed; links are neither followed nor given."""
    for root, folders, files in os.walk(store):
        place = os.path.relpath(root, store).removeprefix(".")
        for name in [*folders, *files]:
            inside = os.path.join(place, name)
            if CUBE.fullmatch(inside) or LEFT_BEHIND.fullmatch(inside):
                with contextlib.suppress(FileNotFoundError):
                    about = os.lstat(store / inside)
                    if not stat.S_ISLNK(about.st_mode):
                        yield inside, about.st_mtime
        folders[:] = [name for name in folders if not name.endswith((".zarr", ".tmp"))]


def _remove(path: Path) -> None:
    """Remove a file, or a folder: first its name, so that nobody finds half of it."""
    if path.is_dir():
        shutil.rmtree(path.rename(temporary_beside(path)))
    else:
        path.unlink()
