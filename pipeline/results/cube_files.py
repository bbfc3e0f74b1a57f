"""The files of a cube: all of them there, as they were published, and such as we write."""

from __future__ import annotations

import errno
import json
import math
import os
import zlib
from pathlib import Path
from typing import Any

from zarr.storage import LocalStore

from pipeline.errors import InputError
from pipeline.store.files import read_bytes

MANIFEST = "manifest.json"

CODECS = {"bytes", "vlen-utf8", "zstd"}
"""Codecs of our cubes. Others may be made for more than numbers: there is one that unpickles."""


class CubeFiles(LocalStore):
    """A published cube for zarr to read, in which a chunk that is gone is an error.

    Every chunk is written, so none is empty: one that is not there was swept out or lost. zarr
    would give fill values, that is, cells that seem not to have been run.
    """

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        """Bytes of a file."""
        return self._there(key, await super().get(key, *args, **kwargs))

    def get_sync(self, key: str, **kwargs: Any) -> Any:
        """Bytes of a file."""
        return self._there(key, super().get_sync(key, **kwargs))

    def _there(self, key: str, found: Any) -> Any:
        if found is None and "/c/" in f"/{key}/":
            gone = "this part of the cube is gone, open the results anew"
            raise FileNotFoundError(errno.ENOENT, gone, str(self.root / key))
        return found


def manifest_of(folder: Path) -> dict[str, list[int]]:
    """Size of every file below `folder`, and the CRC of those that hold metadata.

    The checksums in the chunks say nothing of chunks that are gone.
    """
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if name != MANIFEST:
                crc = zlib.crc32(path.read_bytes()) if name == "zarr.json" else 0
                found[str(path.relative_to(folder))] = [path.stat().st_size, crc]
    return found


def check(folder: Path) -> None:
    """Make sure that a cube is whole, and such as we write them.

    Raises
    ------
    InputError
        Files are missing or not as they were published, or one is what no cube of ours has.
    OSError
        The system cannot read it.
    """
    try:
        files = json.loads(read_bytes(folder / MANIFEST))
        place = os.path.realpath(folder)
        for name, (size, crc) in files.items():
            path = os.path.join(place, name)
            if os.path.realpath(path) != path:
                raise ValueError(f"{name} is a link")
            if os.stat(path).st_size != size or (
                crc and zlib.crc32(Path(path).read_bytes()) != crc
            ):
                raise ValueError(f"{name} is not as it was published")
        about = json.loads(read_bytes(folder / "zarr.json"))
        for name, array in about["consolidated_metadata"]["metadata"].items():
            _check_array(name, array, files)
    except (FileNotFoundError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise InputError(
            f"{folder}: damaged cube ({error}); "
            "`kronsbl publish --force` builds it again from the blocks"
        ) from None


def _check_array(name: str, array: Any, files: Any) -> None:
    """Hold an array's metadata against what we write, and against the files that are there."""
    chunk = array["chunk_grid"]["configuration"]["chunk_shape"]
    chunks = math.prod(-(-n // c) for n, c in zip(array["shape"], chunk, strict=True))
    there = sum(file.startswith(f"{name}/c/") for file in files)
    if not {codec["name"] for codec in array["codecs"]} <= CODECS or chunks != there:
        raise ValueError(f"{name} has {there} of {chunks} chunks, or is packed in another way")
