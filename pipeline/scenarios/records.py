"""Channels and problems from files, .npz or zarr: known by their content."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BYTES_AT_A_TIME = 2**26


@dataclass(frozen=True, eq=False)
class Records:
    """Arrays of a file; where records differ from each other, the first axis counts them.

    Attributes
    ----------
    name : str
        The file, as the campaign has it.
    arrays : mapping of str to array
        numpy's, or zarr's, which are read where they are asked for.
    units : mapping of str to str
        Of those arrays that have one.
    power : mapping of str to float
        Mean |a|² of the entries of each array.
    digest : str
        Hash of names, types, shapes, values and units; the container is not in it, and integers
        and half precision are the doubles that they stand for.
    """

    name: str
    arrays: Mapping[str, Any]
    units: Mapping[str, str]
    power: Mapping[str, float]
    digest: str

    def rows(self, name: str, realizations: Sequence[int]) -> Array:
        """Records of an array for some realizations, whose numbers count modulo the records."""
        array = self.arrays[name]
        return np.stack([_kept(array[r % array.shape[0]]) for r in realizations])

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array; that of a number where there is none."""
        return tuple(self.arrays[name].shape) if name in self.arrays else ()

    def check(self, name: str, shape: Sequence[int | None], unit: str | None = None) -> None:
        """Raise ValueError unless an array is there, of that shape, finite, and in that unit.

        Parameters
        ----------
        name
        shape
            None stands for any length.
        unit
            None, and a file that says none, is any.
        """
        if name not in self.arrays:
            there = ", ".join(sorted(self.arrays)) or "nothing"
            raise ValueError(f"{self.name}: no array {name!r}, but {there}; see docs/recorded.md")
        found = self.shape(name)
        wanted = [m if n is None else n for m, n in zip(found, shape, strict=False)]
        if len(found) != len(shape) or [*found] != wanted or 0 in found:
            words = " × ".join("any" if n is None else str(n) for n in shape)
            raise ValueError(f"{self.name}: {name} has the shape {found}, expected {words}")
        if self.arrays[name].dtype.kind not in "fciu":
            raise ValueError(f"{self.name}: {name} must hold numbers")
        if not np.isfinite(self.power[name]):
            raise ValueError(f"{self.name}: {name} holds NaN or infinite values")
        if unit is not None and self.units.get(name, unit) != unit:
            raise ValueError(
                f"{self.name}: {name} is in {self.units[name]!r}, expected {unit!r}; convert it"
            )


def bound_to(scenario: Any, name: str, field: str) -> Records:
    """The records of a file, whose digest a scenario keeps in one of its fields.

    It is called when the scenario is made, and later wherever it is: the path that was found
    travels with it, and what is found there must still be the same.

    Raises
    ------
    ValueError
        There is no such file, it cannot be read, or it is not what it was.
    """
    path = vars(scenario).get("_path") or beside_the_campaign(name)
    if path is None:
        raise ValueError(f"{name}: no such .npz or zarr file beside the campaign")
    found = _opened(path, name, (path / "zarr.json" if path.is_dir() else path).stat().st_mtime_ns)
    if getattr(scenario, field) not in ("", found.digest):
        raise ValueError(f"{name}: not what it was, {getattr(scenario, field)}")
    object.__setattr__(scenario, field, found.digest)
    object.__setattr__(scenario, "_path", path)
    return found


def beside_the_campaign(name: str) -> Path | None:
    """A file, or zarr folder, of that name: absolute, or the last place on the import path."""
    places = (Path(folder, name) for folder in reversed(sys.path))
    found = next((p for p in places if p.is_file() or (p / "zarr.json").is_file()), None)
    return None if found is None else found.resolve()


@functools.lru_cache(maxsize=4)
def _opened(path: Path, name: str, _changed: int) -> Records:
    try:
        arrays, units = _of_zarr(path) if path.is_dir() else _of_npz(path)
        hashed, power = hashlib.blake2b(digest_size=16), {}
        for key in sorted(arrays):
            array = arrays[key]
            kind = _kept_as(array.dtype).str
            hashed.update(repr((key, kind, array.shape, units.get(key))).encode())
            energy = 0.0
            for part in _parts(array):
                hashed.update(part.tobytes())
                energy += float((np.abs(part) ** 2).sum()) if part.dtype.kind in "fciu" else np.nan
            power[key] = energy / max(array.size, 1)
    except Exception as error:  # of many kinds, whatever it is that lies there
        said = " ".join(str(error).split())
        raise ValueError(f"{name}: cannot be read as .npz or zarr ({said})") from None
    return Records(name, arrays, units, power, hashed.hexdigest())


def _of_npz(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    with np.load(path, allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    named = {name for name in found if name.removesuffix("_units") in found.keys() - {name}}
    units = {name.removesuffix("_units"): str(found.pop(name)) for name in named}
    return found, units


def _of_zarr(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    import zarr  # takes long

    arrays = dict(zarr.open_group(path, mode="r").arrays())
    return arrays, {k: str(a.attrs["units"]) for k, a in arrays.items() if "units" in a.attrs}


def _parts(array: Any) -> Iterator[Array]:
    """An array in pieces along its first axis."""
    if not array.shape:
        yield _kept(array[()])
        return
    size = max(array.dtype.itemsize * int(np.prod(array.shape[1:])), 1)
    step = max(BYTES_AT_A_TIME // size, 1)
    for first in range(0, array.shape[0], step):
        yield _kept(array[first : first + step])


def _kept_as(kind: np.dtype[Any]) -> np.dtype[Any]:
    """Doubles in place of integers and half precision, since squares would not fit their type."""
    return np.dtype(float) if kind.kind in "iu" or kind == np.float16 else kind


def _kept(part: Any) -> Array:
    part = np.asarray(part)
    return part.astype(_kept_as(part.dtype), copy=False)
