"""Published cubes: made visible as a whole, and checked when opened."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import zarr

from pipeline.errors import InputError
from pipeline.results.cube import CubeBuilder
from pipeline.results.cube_files import MANIFEST, CubeFiles, check, manifest_of
from pipeline.store import Store, files

if TYPE_CHECKING:
    import xarray as xr


class Published(NamedTuple):
    """A published cube.

    Attributes
    ----------
    path : Path
    missing : int
        Cells that were asked for and are not done.
    damaged : list of str
        What was wrong with block files, and what was done about it.
    """

    path: Path
    missing: int
    damaged: list[str]


def latest(store: Store) -> Path | None:
    """The newest published cube, or None."""
    try:
        name = files.read_bytes(store.path / "LATEST").decode().strip()
    except (FileNotFoundError, ValueError):
        return None
    path = store.path / "cubes" / name
    return path if path in files.numbered(path.parent, ".zarr") and not path.is_symlink() else None


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
    published = _published(store, force)
    store.tidy()  # last: who is told to end has the cube first
    return published


def _published(store: Store, force: bool) -> Published:
    builder = CubeBuilder(store, store.asked())
    current = latest(store)
    if current is not None and not force:
        about = zarr.open_group(current, mode="r").attrs
        if about.get("content") == builder.fingerprint():
            return Published(current, int(str(about["missing"])), store.troubles())
    cubes = store.path / "cubes"
    cubes.mkdir(exist_ok=True)
    # Aside, under a name that no reader looks at: a killed publisher leaves nothing visible.
    folder = files.temporary_beside(cubes / "new.zarr")
    try:
        builder.fill(folder)
        with warnings.catch_warnings():
            # Not in the zarr 3 specification yet; readers that do not know it do without.
            warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
            zarr.consolidate_metadata(folder)
        (folder / MANIFEST).write_text(json.dumps(manifest_of(folder)))
        files.sync_tree(folder)
        path = _make_visible(cubes, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    # Last, so that LATEST never names a cube that a power cut could take away.
    _name_newest(store)
    return Published(path, builder.missing, store.troubles() + store.set_aside(builder.damaged))


def _name_newest(store: Store) -> None:
    """Have LATEST name the newest generation, whoever else publishes at the same time."""
    named = ""
    while named != (newest := files.numbered(store.path / "cubes", ".zarr")[-1].name):
        files.write_durably(store.path / "LATEST", newest.encode())
        named = newest


def _make_visible(cubes: Path, folder: Path) -> Path:
    number = 1 + max((int(path.stem) for path in files.numbered(cubes, ".zarr")), default=0)
    while True:
        path = cubes / f"{number:06}.zarr"
        try:
            os.rename(folder, path)
        except OSError:
            if not path.exists():
                raise
            number += 1  # somebody else has just published
            continue
        files.sync(cubes)
        return path


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
        the variables. A cell with ``status`` 0 has not been run. Its accessor ``.kronsbl`` has
        statistics and figures: `pipeline.plots.accessor.Accessor`.

    Raises
    ------
    InputError
        No such store, nothing published in it yet, or its cube is damaged.

    Examples
    --------
    ``pipeline.open_results("results/quickstart").nmse.mean("realization")``
    """
    store = Store.of(store)
    path = latest(store)
    while path is not None:
        try:
            return _opened(path)
        except (InputError, FileNotFoundError):
            # It may have been swept out since it was named.
            if path == (path := latest(store)):
                raise
    raise InputError(f"{store.path}: no cube published yet; `kronsbl publish` makes one")


def _opened(path: Path) -> xr.Dataset:
    import xarray as xr

    import pipeline.plots.accessor  # noqa: F401  (it brings ``ds.kronsbl`` along)

    check(path)
    # Absolute, since workers and whoever changes folders would look elsewhere; and not a mere
    # path, since xarray takes one with "::" in it for a chain of URLs.
    return xr.open_zarr(CubeFiles(path.resolve(), read_only=True), consolidated=True)
