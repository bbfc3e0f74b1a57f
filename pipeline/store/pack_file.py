"""A pack: one file of many objects, never changed once it has its name.

It is a row of records, each with a magic, the store it is of, when it was written, its name, and
checksums of all that; the last record is an index, and the last bytes say where that begins. What
is torn or flipped costs the records concerned: the others are found by their magic.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAGIC = b"kronsbl\1"
_HEAD = struct.Struct("<8s8sqHQI")  # magic, store, time, bytes of name and data, CRC of the data
_CRC = struct.Struct("<I")  # of head and name
_END = struct.Struct("<8sQ")  # magic, and where the index begins
_INDEX = np.dtype([("hash", "u8"), ("time", "i8"), ("start", "i8"), ("size", "i8")])
_WINDOW = 1 << 20


class Record(NamedTuple):
    """A record that is whole.

    Attributes
    ----------
    name : str
        Of the object; empty for the index.
    time : int
        When it was written, in nanoseconds: of several records of a name the latest counts.
    data : bytes
        None say that the object is gone.
    store : bytes, (8,)
        What tells the store from others.
    """

    name: str
    time: int
    data: bytes
    store: bytes


class Place(NamedTuple):
    """The record of an object, as an index has it."""

    time: int
    start: int
    size: int


def hash_of(name: str) -> int:
    """Number by which an index finds a name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


class PackWriter:
    """Writes a pack of a store to a file that is open, and empty."""

    def __init__(self, file: BinaryIO, store: bytes) -> None:
        self._file, self._store, self.bytes = file, store, 0
        self.names: list[str] = []
        self._rows: list[tuple[int, str, int, int, int]] = []

    def add(self, name: str, time: int, data: bytes) -> None:
        """Append a record."""
        self._rows.append((hash_of(name), name, time, self.bytes, len(data)))
        self.names.append(name)
        self._add(name, time, data)

    def _add(self, name: str, time: int, data: bytes) -> None:
        words = name.encode()
        head = _HEAD.pack(MAGIC, self._store, time, len(words), len(data), zlib.crc32(data)) + words
        record = head + _CRC.pack(zlib.crc32(head)) + data
        self._file.write(record)
        self.bytes += len(record)

    def finish(self) -> None:
        """Append the index of what has been added."""
        self._rows.sort()
        numbers = np.array([(number, *row) for number, _, *row in self._rows], _INDEX)
        names = "\n".join(row[1] for row in self._rows).encode()
        start = self.bytes
        self._add("", 0, len(numbers).to_bytes(8, "little") + numbers.tobytes() + names)
        self._file.write(_END.pack(MAGIC, start))


def record_at(file: BinaryIO, start: int) -> Record | None:
    """The record that begins there, with the file left at its end; None where none is whole."""
    file.seek(start)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size or not head.startswith(MAGIC):
        return None
    _, store, time, length, size, crc = _HEAD.unpack(head)
    words = file.read(length + _CRC.size)
    if words[length:] != _CRC.pack(zlib.crc32(head + words[:length])):
        return None
    data = file.read(size)
    return Record(words[:length].decode(), time, data, store) if zlib.crc32(data) == crc else None


def whole_records(file: BinaryIO) -> Iterator[tuple[int, Record]]:
    """Yield where each whole record begins, and the record; what is damaged is passed over."""
    start = 0
    while start >= 0:
        if (record := record_at(file, start)) is not None:
            yield start, record
            start = start + _HEAD.size + len(record.name.encode()) + _CRC.size + len(record.data)
        else:
            start = _next_magic(file, start + 1)


def _next_magic(file: BinaryIO, start: int) -> int:
    """Where the next magic is, or -1."""
    file.seek(start)
    kept = b""
    while window := file.read(_WINDOW):
        if (at := (kept + window).find(MAGIC)) >= 0:
            return start - len(kept) + at
        start, kept = start + len(window), (kept + window)[1 - len(MAGIC) :]
    return -1


class Pack:
    """A pack that is there, by its index.

    Parameters
    ----------
    path : Path
    store : bytes, (8,)
        The store that it must be of.

    Attributes
    ----------
    bytes : int
    foreign : bool
        True where it is of another store, and nothing of it is read.
    trouble : str
        What is wrong with the file; empty where nothing is.
    """

    def __init__(self, path: Path, store: bytes) -> None:
        self.path, self.trouble = path, ""
        self._names: list[str] | None = None  # read again on demand: few need them, in memory
        with path.open("rb") as file:
            self.bytes = file.seek(0, 2)
            found = _index(file)
            of, self._numbers, _ = found or self._salvaged(file, store)
        self.foreign = of != store
        if self.foreign:
            self.trouble = f"{path}: a pack of another store, of which nothing is read; remove it"
            self._numbers, self._names = self._numbers[:0], []
        self._hashes = self._numbers["hash"].copy()  # searched faster than a part of rows

    def _salvaged(self, file: BinaryIO, store: bytes) -> tuple[bytes, NDArray[Any], str]:
        """What is whole in a pack without an index that reads well."""
        found = [(start, record) for start, record in whole_records(file) if record.name]
        rows = sorted(
            (hash_of(r.name), r.name, r.time, start, len(r.data))
            for start, r in found
            if r.store == store
        )
        self._names = [row[1] for row in rows]
        self.trouble = (
            f"{self.path}: cut or damaged; {len(rows)} records in it are whole, the next run "
            "computes the others"
        )
        of = found[0][1].store if found and not rows else store
        return of, np.array([(number, *row) for number, _, *row in rows], _INDEX), ""

    def find(self, number: int) -> Place | None:
        """The record whose name has that hash."""
        at = int(self._hashes.searchsorted(np.uint64(number), "right")) - 1  # the latest of several
        if at < 0 or int(self._hashes[at]) != number:
            return None
        return Place(*self._numbers[at].item()[1:])

    def names(self) -> list[str]:
        """Names of all its records, in the order of their hashes."""
        if self._names is not None:
            return self._names
        with self.path.open("rb") as file:
            found = _index(file)
        if found is None:
            raise ValueError(f"{self.path}: has changed since it was opened")
        return found[2].split("\n") if len(found[1]) else []

    def places(self) -> list[Place]:
        """All its records, in the order of their hashes."""
        return [Place(*row[1:]) for row in self._numbers.tolist()]

    @property
    def says_gone(self) -> bool:
        """Whether a record says that its object is gone."""
        return not self._numbers["size"].all()

    def get(self, name: str, start: int) -> bytes:
        """Data of the record of that name, which begins there.

        Raises
        ------
        ValueError
            It is not what was written.
        """
        for _ in range(2):  # only what is so when read a second time is damage
            with self.path.open("rb") as file:
                record = record_at(file, start)
            if record is not None and record.name == name:
                return record.data
        raise ValueError(f"{self.path}: the record of {name} is not what was written")


def _index(file: BinaryIO) -> tuple[bytes, NDArray[Any], str] | None:
    """Store, numbers and names of the index; None where it does not read well."""
    file.seek(max(file.seek(0, 2) - _END.size, 0))
    end = file.read()
    if len(end) < _END.size or not end.startswith(MAGIC):
        return None
    record = record_at(file, min(_END.unpack(end)[1], file.tell()))
    if record is None or record.name:
        return None
    numbers = np.frombuffer(record.data, _INDEX, int.from_bytes(record.data[:8], "little"), 8)
    return record.store, numbers, record.data[8 + numbers.nbytes :].decode()
