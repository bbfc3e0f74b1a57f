"""The file of an archive: a zip of plain files, whose digests stand in one of them.

Everything is stored as it is, in the order in which it comes and without times, so that the same
files make the same bytes; ``sha256sum -c SHA256SUMS`` checks what other programs have unpacked.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import InputError, in_one_line
from pipeline.store.files import replaced

SUMS = "SHA256SUMS"
STORE = "store"
"""The folder that is a store once it is unpacked."""

BLOCK_SUMS = "blocks.sha256"
"""In place of the blocks: their digests."""


def sum_line(name: str, data: bytes) -> str:
    """A line of `SUMS`."""
    return f"{hashlib.sha256(data).hexdigest()}  {name}\n"


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write an archive, whole or not at all, with no more than one member in memory.

    Parameters
    ----------
    path
    members
        Names and contents.
    """
    sums = []
    with replaced(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in members:
            _add(archive, name, data)
            sums.append(sum_line(name, data))
        _add(archive, SUMS, "".join(sums).encode())


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    member = zipfile.ZipInfo(name)  # of 1980
    member.external_attr = 0o644 << 16  # else nobody may read what `unzip` makes of it
    archive.writestr(member, data)


def unpack_archive(path: Path, folder: Path) -> tuple[int, list[str]]:
    """Check every member of an archive, and put the store in it into a folder.

    Parameters
    ----------
    path
        The archive.
    folder
        An empty one; the store becomes its folder `STORE`.

    Returns
    -------
    int, list of str
        The number of members that are as they were written, and what is wrong with others, which
        are not unpacked.

    Raises
    ------
    InputError
        No such file, no zip, or none of ours.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{path}: no such file") from None
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: no zip file, or only the beginning of one ({error})") from None
    with archive:
        if not {SUMS, f"{STORE}/campaign.toml"} <= {*archive.namelist()}:
            raise InputError(
                f"{path}: no archive of kronsbl's, or only the beginning of one: it has no {SUMS}"
            )
        sums, wrong = _read(archive, archive.getinfo(SUMS), path.stat().st_size)
        if wrong:
            return 0, [f"{SUMS}: {wrong}"]
        expected = {line[66:]: line[:64] for line in sums.decode(errors="replace").splitlines()}
        good, damaged = 1, []
        for member in archive.infolist():
            name = member.filename
            if name == SUMS:
                continue
            data, wrong = _read(archive, member, path.stat().st_size)
            if not wrong and hashlib.sha256(data).hexdigest() != expected.pop(name, ""):
                wrong = f"not as {SUMS} has it"
            if wrong:
                expected.pop(name, None)
                damaged.append(f"{name}: {wrong}")
                continue
            good += 1
            if name.startswith(f"{STORE}/"):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
    return good, [*damaged, *(f"{name}: missing" for name in expected)]


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> tuple[bytes, str]:
    """Content of a member, or what is wrong with it."""
    parts = member.filename.split("/")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > most:
        return b"", "claims to be larger than the file"
    if {"", ".", ".."} & {*parts} or "\\" in member.filename:
        return b"", "a name that is none of ours"
    try:
        return archive.read(member), ""
    # OSError: a damaged directory says that a member begins before the file does.
    except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, OSError) as error:
        return b"", in_one_line(error)
