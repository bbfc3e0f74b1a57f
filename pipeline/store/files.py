"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import secrets
import stat
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


def read_bytes(path: Path) -> bytes:
    """All of a plain file.

    Raises
    ------
    OSError
        The system cannot read it now, which says nothing of what is in it.
    ValueError
        It is a link or a device, by which a store from elsewhere may lead anywhere.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"{path}: a link or a device, expected a plain file")
    return path.read_bytes()


def entries(folder: Path, pattern: str) -> list[Path]:
    """Entries of a folder by the pattern of their names, sorted; none where it is not there.

    `Path.glob` takes a folder that the system cannot read for an empty one.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(fnmatch.filter(names, pattern))]


def numbered(folder: Path, suffix: str) -> list[Path]:
    """Entries of a folder that are named by numbers, in their order: 9999 comes before 10000."""
    found = [path for path in entries(folder, f"*{suffix}") if path.stem.isdecimal()]
    return sorted(found, key=lambda path: int(path.stem))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder, in which others may be busy."""
    inside = [os.path.join(root, name) for root, _, names in os.walk(path) for name in names]
    total = 0
    for file in inside or [str(path)]:
        with contextlib.suppress(FileNotFoundError):
            total += os.lstat(file).st_size
    return total


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


def _written_beside(path: Path, data: bytes) -> Path:
    """A temporary file with these bytes, flushed; its folder is made where there is none."""
    temporary = temporary_beside(path)
    for more in (True, True, False):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_synced(temporary, data)
        # The folder was empty, and a packer has just removed it, or did while it was made anew.
        except (FileNotFoundError, FileExistsError):
            if more:
                continue
            raise
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        break
    return temporary


def write_durably(path: Path, data: bytes) -> None:
    """Write or replace a file: readers see the old or the new one, whole."""
    # Flushed before the rename: else a power cut could leave the new name with an empty file.
    temporary = _written_beside(path, data)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path)


def _sync_folder(path: Path) -> None:
    """Have the name of a file on the disk, unless it is in a pack by now, and its folder gone."""
    with contextlib.suppress(FileNotFoundError):
        sync(path.parent)


def create_durably(path: Path, data: bytes) -> bool:
    """Write a file that is not there yet; False where somebody else made it first."""
    temporary = _written_beside(path, data)
    try:
        return take_name(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def take_name(temporary: Path, path: Path) -> bool:
    """Give a flushed file another name as well, or instead; False where that is taken."""
    try:
        os.link(temporary, path)  # unlike a rename, fails where the name is taken
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        os.rename(temporary, path)
    _sync_folder(path)
    return True


def checked_output(path: str | Path, *suffixes: str) -> Path:
    """A file that is to be written for people; what is wrong with it shows before the work.

    Raises
    ------
    InputError
        It is a folder or in none, or its name does not end in one of `suffixes`.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: a folder; name a file in it, as in {path / 'NAME'}{suffixes[0]}")
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{path}: expected a file ending in {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
    return path


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
