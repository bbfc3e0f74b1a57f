"""A block file: one immutable .npz that certifies itself by a CRC of each part and its own spec."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import in_one_line
from solvers import Status

F = TypeVar("F", bound=Callable[..., Any])


class DamagedBlock(Exception):
    """A block file that is not what was written, or not the block it is named after.

    What the system cannot read is no such thing: OSError and MemoryError stay what they are.
    """


def confirmed(read: F) -> F:
    """Have what a function reads count as damaged only if it is so when read a second time."""

    @functools.wraps(read)
    def twice(*args: Any, **kwargs: Any) -> Any:
        try:
            return read(*args, **kwargs)
        except DamagedBlock:
            return read(*args, **kwargs)

    return twice  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True)
class BlockData:
    """Result of a block.

    Attributes
    ----------
    cells : structured array, (batch,)
        One field per variable.
    meta : dict
        Where and how it was computed, and the messages of what failed. Fields that this version
        does not know are kept.
    estimates : dict of arrays, or None
        The estimates, packed; see `pipeline.solving.estimates`. They are a file of their own.
    """

    cells: NDArray[Any]
    meta: Mapping[str, Any]
    estimates: Mapping[str, NDArray[Any]] | None = None

    @functools.cached_property
    def crashed(self) -> int:
        """Cells whose status says that the solver crashed."""
        return int(np.isin(self.cells["status"], Status.values("crashed")).sum())


def pack(spec: str, members: Mapping[str, NDArray[Any]], **texts: str) -> bytes:
    """The bytes of a block file.

    Parameters
    ----------
    spec
        What it is the block of; see `Configuration.block_spec`.
    members
        Arrays by name.
    **texts
        Further members that hold text.
    """
    arrays = {**members, **{name: _bytes(text) for name, text in {"spec": spec, **texts}.items()}}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return buffer.getvalue()


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


class StoredFile(NamedTuple):
    """A file of a store, as it was read.

    Attributes
    ----------
    where : str
        For messages.
    data : bytes
    """

    where: str
    data: bytes


def read_text(file: StoredFile, member: str) -> str:
    """A member that holds text: ``spec``, ``scoring`` or ``meta``.

    Raises
    ------
    DamagedBlock
    """
    return _members(file, [member])[member].tobytes().decode(errors="replace")


def read_block(file: StoredFile, spec: str | None = None) -> BlockData:
    """Result of a block, from its file.

    Parameters
    ----------
    file
    spec
        What it must be the block of; not compared where None.

    Raises
    ------
    DamagedBlock
        Checksum, structure or spec is not as written.
    """
    members = _members(file, ["cells", "spec", "meta"])
    _compare(file, members["spec"], spec)
    cells = members["cells"]
    if not {"status", "runtime"} <= set(cells.dtype.names or ()):
        raise DamagedBlock(f"{file.where}: holds no cells")
    return BlockData(cells, json.loads(members["meta"].tobytes()))


def read_estimates(file: StoredFile, spec: str | None = None) -> dict[str, NDArray[Any]]:
    """Read one file of estimates; see `read_block`."""
    members = _members(file)
    _compare(file, members.pop("spec", np.empty(0, np.uint8)), spec)
    return members


def _compare(file: StoredFile, found: NDArray[Any], spec: str | None) -> None:
    if spec is not None and found.tobytes().decode(errors="replace") != spec:
        raise DamagedBlock(f"{file.where}: holds another block than its name says")


def _members(file: StoredFile, names: list[str] | None = None) -> dict[str, NDArray[Any]]:
    """Members by name; all of them by default."""
    where, data = file
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if names is None:
                names = [name.removesuffix(".npy") for name in archive.namelist()]
            return {name: _array(archive, f"{name}.npy", len(data)) for name in names}
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged archive makes its readers raise
        raise DamagedBlock(f"{where}: {in_one_line(error)}") from error


def _array(archive: zipfile.ZipFile, name: str, most: int) -> NDArray[Any]:
    """One member, which is stored as it is, so that it cannot be larger than the file."""
    about = archive.getinfo(name)
    if about.compress_type != zipfile.ZIP_STORED or about.file_size > most:
        raise zipfile.BadZipFile(f"{name} claims to be larger than the file")
    data = archive.read(name)  # as a whole: zipfile compares the CRC only at the end of a member
    if data[6:8] != b"\1\0":  # of another version of the format, as with odd names of measures
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    start = 10 + int.from_bytes(data[8:10], "little")
    shape, fortran, dtype = _described(data[:start])
    # More than there is, objects and pickles cannot be had from a buffer.
    found = np.frombuffer(data, dtype, math.prod(shape), start)
    return found.reshape(shape, order="F" if fortran else "C").copy()


@functools.lru_cache(maxsize=1024)  # blocks have few of them, and parsing them takes longest
def _described(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of an array, from the header of its file."""
    file = io.BytesIO(header)
    np.lib.format.read_magic(file)
    return np.lib.format.read_array_header_1_0(file)
