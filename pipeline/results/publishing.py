"""Published cubes: made visible as a whole, checked when opened, kept until swept out."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import zarr

from pipeline.errors import InputError
from pipeline.results.cube import CubeBuilder
from pipeline.store import Store
from pipeline.store.files import TEMPORARY, sync, sync_tree, temporary_beside, write_durably

if TYPE_CHECKING:
    import xarray as xr

MANIFEST = "manifest.json"
ABANDONED_AFTER = 24 * 3600.0


class Published(NamedTuple):
    """A published cube.

    Attributes
    ----------
    path : Path
    missing : int
        Cells that were asked for and are not done.
    damaged : list of str
        What was wrong with block files, which were moved aside.
    """

    path: Path
    missing: int
    damaged: list[str]


def latest(store: Store) -> Path | None:
    """The newest published cube, or None."""
    try:
        name = (store.path / "LATEST").read_text().strip()
    except FileNotFoundError:
        return None
    path = store.path / "cubes" / name
    return path if path.suffix == ".zarr" and path.is_dir() else None


def publish(store: str | Path | Store, *, force: bool = False) -> Published:
    """Build the cube of the last request from the blocks that are there, and make it the newest.

    Parameters
    ----------
    store
        The store, or its path.
    force
        Also where the newest cube holds the same blocks already.

    Returns
    -------
    Published

    Raises
    ------
    InputError
        Nothing has been asked for yet.

    Notes
    -----
    The cube is built in a folder aside, flushed, renamed, and then named by LATEST. A reader
    sees the old generation or the new one; old ones stay until `collect_garbage`, since a
    lazily opened dataset still reads from them.
    """
    store = Store.of(store)
    builder = CubeBuilder(store, store.asked())
    current = latest(store)
    if current is not None and not force:
        about = zarr.open_group(current, mode="r").attrs
        if about.get("content") == builder.fingerprint():
            return Published(current, int(str(about["missing"])), [])
    cubes = store.path / "cubes"
    cubes.mkdir(exist_ok=True)
    # Aside, under a name that no reader looks at: a killed publisher leaves nothing visible.
    folder = temporary_beside(cubes / "new.zarr")
    try:
        builder.fill(folder)
        with warnings.catch_warnings():
            # Not in the zarr 3 specification yet; readers that do not know it do without.
            warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
            zarr.consolidate_metadata(folder)
        (folder / MANIFEST).write_text(json.dumps(_manifest(folder)))
        sync_tree(folder)
        path = _make_visible(cubes, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    # Last, so that LATEST never names a cube that a power cut could take away.
    _name_newest(store)
    return Published(path, builder.missing, builder.damaged)


def _name_newest(store: Store) -> None:
    """Have LATEST name the newest generation, whoever else publishes at the same time."""
    named = ""
    while named != (newest := max(p.name for p in (store.path / "cubes").glob("[0-9]*.zarr"))):
        write_durably(store.path / "LATEST", newest.encode())
        named = newest


def _make_visible(cubes: Path, folder: Path) -> Path:
    number = 1 + max((int(p.stem) for p in cubes.glob("[0-9]*.zarr")), default=0)
    while True:
        path = cubes / f"{number:06}.zarr"
        try:
            os.rename(folder, path)
        except OSError:
            if not path.exists():
                raise
            number += 1  # somebody else has just published
            continue
        sync(cubes)
        return path


def _manifest(folder: Path) -> dict[str, list[int]]:
    """Size of every file below `folder`, and the CRC of those that hold metadata.

    The checksums in the chunks say nothing of chunks that are gone: zarr reads those as fill
    values.
    """
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if name != MANIFEST:
                crc = zlib.crc32(path.read_bytes()) if name == "zarr.json" else 0
                found[str(path.relative_to(folder))] = [path.stat().st_size, crc]
    return found


def _check(folder: Path) -> None:
    """Raise InputError where files of a cube are missing or not as they were published."""
    try:
        for name, (size, crc) in json.loads((folder / MANIFEST).read_text()).items():
            path = folder / name
            if path.stat().st_size != size or (crc and zlib.crc32(path.read_bytes()) != crc):
                raise ValueError(f"{name} is not as it was published")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder}: damaged cube ({error}); "
            "`kronsbl publish --force` builds it again from the blocks"
        ) from None


def open_results(store: str | Path | Store) -> xr.Dataset:
    """Open the newest cube of a store, lazily.

    Parameters
    ----------
    store
        The store, or its path.

    Returns
    -------
    xarray.Dataset
        Dimensions ``solver``, one per swept parameter, ``realization``; see docs/numbers.md for
        the variables. A cell with ``status`` 0 has not been run.

    Raises
    ------
    InputError
        No such store, nothing published in it yet, or its cube is damaged.

    Examples
    --------
    ``pipeline.open_results("results/quickstart").nmse.mean("realization")``
    """
    import xarray as xr

    store = Store.of(store)
    path = latest(store)
    if path is None:
        raise InputError(f"{store.path}: no cube published yet; `kronsbl publish` makes one")
    _check(path)
    return xr.open_zarr(path, consolidated=True)


def collect_garbage(store: Store) -> list[Path]:
    """Drop all cubes but the newest, and what killed processes have left behind.

    Returns
    -------
    list of Path
        What was removed.
    """
    removed = []
    newest = latest(store)
    for path in (store.path / "cubes").glob("[0-9]*.zarr"):
        if path != newest:
            shutil.rmtree(path)
            removed.append(path)
    left_behind = itertools.chain(
        store.path.rglob(f".*{TEMPORARY}"),
        *((store.path / folder).glob("*") for folder in ("running", "in_progress")),
    )
    for path in left_behind:
        if time.time() - path.stat().st_mtime > ABANDONED_AFTER:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            removed.append(path)
    return removed
