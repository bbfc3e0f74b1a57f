"""A block file: one immutable .npz that certifies itself by a CRC of each part and its own spec."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import in_one_line
from solvers import Status


class DamagedBlock(Exception):
    """A block file that is not what was written, or not the block it is named after."""


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

    @property
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


def read_text(path: Path, member: str) -> str:
    """A member that holds text: ``spec``, ``scoring`` or ``meta``.

    Raises
    ------
    DamagedBlock, FileNotFoundError
    """
    return _members(path, [member])[member].tobytes().decode(errors="replace")


def read_block(path: Path, spec: str | None = None) -> BlockData:
    """Read one block file.

    Parameters
    ----------
    path
        The file.
    spec
        What it must be the block of; not compared where None.

    Raises
    ------
    DamagedBlock
        Checksum, structure or spec is not as written.
    FileNotFoundError
        There is no such block.
    """
    members = _members(path, ["cells", "spec", "meta"])
    _compare(path, members["spec"], spec)
    cells = members["cells"]
    if not {"status", "runtime"} <= set(cells.dtype.names or ()):
        raise DamagedBlock(f"{path}: holds no cells")
    return BlockData(cells, json.loads(members["meta"].tobytes()))


def read_estimates(path: Path, spec: str | None = None) -> dict[str, NDArray[Any]]:
    """Read one file of estimates; see `read_block`."""
    members = _members(path)
    _compare(path, members.pop("spec", np.empty(0, np.uint8)), spec)
    return members


def _compare(path: Path, found: NDArray[Any], spec: str | None) -> None:
    if spec is not None and found.tobytes().decode(errors="replace") != spec:
        raise DamagedBlock(f"{path}: holds another block than its name says")


def _members(path: Path, names: list[str] | None = None) -> dict[str, NDArray[Any]]:
    """Members by name; all of them by default."""
    try:
        with zipfile.ZipFile(path) as archive:
            if names is None:
                names = [name.removesuffix(".npy") for name in archive.namelist()]
            # Read whole members: zipfile compares the CRC only at the end of one.
            return {
                name: np.lib.format.read_array(
                    io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False
                )
                for name in names
            }
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedBlock(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # whatever a damaged archive makes its readers raise
        raise DamagedBlock(f"{path}: {in_one_line(error)}") from error
