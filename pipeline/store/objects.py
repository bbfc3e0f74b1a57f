"""The place where the files of a store lie, behind one small interface."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pipeline.store import files


class Objects(Protocol):
    """Named bytes, each of them there whole or not at all, also after a power cut.

    Names are relative paths with slashes, as in ``requests/0001.toml``. What begins with a dot is
    no object: files that are being written have such names.
    """

    def put(self, name: str, data: bytes) -> None:
        """Write an object, or replace it: readers see the old or the new one."""

    def create(self, name: str, data: bytes) -> bool:
        """Write an object that is not there yet; False where somebody else made it first."""

    def get(self, name: str) -> bytes:
        """All of an object.

        Raises
        ------
        FileNotFoundError
            There is none of that name.
        OSError
            The system cannot read it now, which says nothing of what is in it.
        ValueError
            It is not what was written.
        """

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that begin so, in no order."""

    def delete(self, *names: str) -> None:
        """Remove objects, as far as they are there."""

    def __contains__(self, name: str) -> bool:
        """Whether there is an object of that name."""


class LocalFiles:
    """Objects that are files in a folder of this machine, or of a file system that it shares.

    Parameters
    ----------
    folder : Path
        It need not be there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """The file of an object, which need not be there."""
        return self.folder / name

    def put(self, name: str, data: bytes) -> None:
        """See `Objects.put`."""
        path = self.path(name)
        new = "/" in name and not path.parent.exists()
        files.write_durably(path, data)
        if new:  # the name of the folder must be on the disk as well
            files.sync(path.parent.parent)

    def create(self, name: str, data: bytes) -> bool:
        """See `Objects.create`."""
        return files.create_durably(self.path(name), data)

    def get(self, name: str) -> bytes:
        """See `Objects.get`; a link counts as damage, since it may lead out of the store."""
        return files.read_bytes(self.path(name))

    def list(self, prefix: str = "") -> Iterator[str]:
        """See `Objects.list`."""
        folder, slash, beginning = prefix.rpartition("/")
        yield from self._below(folder + slash, beginning)

    def _below(self, folder: str, beginning: str = "") -> Iterator[str]:
        try:
            with os.scandir(self.path(folder)) as found:
                entries = [e for e in found if e.name[0] != "." and e.name.startswith(beginning)]
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(f"{folder}{entry.name}/")
            else:
                yield folder + entry.name

    def delete(self, *names: str) -> None:
        """See `Objects.delete`."""
        for name in names:
            self.path(name).unlink(missing_ok=True)

    def __contains__(self, name: str) -> bool:
        return self.path(name).exists()
