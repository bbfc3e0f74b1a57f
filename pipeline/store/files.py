"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import InputError

TEMPORARY = ".tmp"


def temporary_beside(path: Path) -> Path:
    """A name in the same folder that no other process uses."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")


def is_temporary(path: Path) -> bool:
    """True for the name of a file that is being written, or whose writer was killed."""
    return path.suffix == TEMPORARY


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a temporary file's name, and put that file in the place of `path` at the end."""
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_durably(path: Path, data: bytes) -> None:
    """Write or replace a file: readers see the old or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as temporary:
        # Before the rename: else a power cut could leave the new name with an empty file.
        _write_synced(temporary, data)
    sync(path.parent)  # the rename itself is on the disk only after this


def create_durably(path: Path, data: bytes) -> bool:
    """Write a file that is not there yet; False where somebody else made it first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        _write_synced(temporary, data)
        try:
            os.link(temporary, path)  # unlike a rename, fails where the name is taken
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if path.exists():
                return False
            os.rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)
    return True


def replace_text(path: Path, text: str) -> None:
    """Write or replace a file for people, such as a report; whole or not at all.

    Raises
    ------
    InputError
        It cannot be written.
    """
    try:
        with replaced(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def sync_tree(folder: Path) -> None:
    """Flush a folder and everything in it to the disk."""
    for root, _, files in os.walk(folder):
        for name in files:
            sync(Path(root, name))
        sync(Path(root))
