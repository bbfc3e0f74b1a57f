"""Several cubes together: the studies of a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.results.publishing import open_results
from pipeline.store import Store

if TYPE_CHECKING:
    import xarray as xr

Where = str | Path | Store


def open_studies(stores: Mapping[str, Where] | Sequence[Where]) -> xr.DataTree:
    """Open the newest cubes of several stores as one tree, lazily.

    Parameters
    ----------
    stores
        Stores by the name that each study gets; or a list of them, named after their folders.

    Returns
    -------
    xarray.DataTree
        One child per study. What is done to the tree is done to each of them.

    Raises
    ------
    InputError
        No store at all, two studies of one name, or a store without a cube.

    Examples
    --------
    ``pipeline.open_studies({"snr": "results/paper-snr", "irs": "results/paper-irs"})["snr"].nmse``
    """
    import xarray as xr

    if isinstance(stores, str | Path | Store):
        raise InputError("open_studies takes several stores; open_results opens one")
    pairs = (
        list(stores.items())
        if isinstance(stores, Mapping)
        else [((s.path if isinstance(s, Store) else Path(s)).resolve().name, s) for s in stores]
    )
    if not pairs:
        raise InputError("no store to open: expected at least one")
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two studies are called {name}; give the stores names of your own")
        if not name or "/" in name or name.startswith("."):
            raise InputError(f"{name!r} cannot name a study: expected a word without a slash")
    return xr.DataTree.from_dict({name: open_results(where) for name, where in pairs})
