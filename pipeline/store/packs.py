"""Local files of which the older lie in packs, since file systems count files as well as bytes.

Whoever writes puts a file of its own, as ever. A packer copies such loose files into a pack, makes
that durable, reads it back, and only then removes them. So what is loose is the newest, and
readers look loose, into the packs, and loose again.

Nothing in a pack is ever removed. Who deletes an object leaves a file ``.gone`` beside its name,
and removes the loose file after that; a packer turns ``.gone`` into a record without data, which
wins over older ones. A packer removes a loose file, ``.gone`` or not, only where it is still the
one that it has packed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import secrets
import stat
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.campaign.blocks import canonical, digest
from pipeline.store import files
from pipeline.store.objects import LocalFiles
from pipeline.store.pack_file import Pack, PackWriter, Place, hash_of, whole_records

FOLDER, SUFFIX = "packs", ".pack"

PACKED = ("blocks/", "failed/")
"""Beginnings of the names of what may be packed."""

GONE = ".gone"
"""Ending of a loose file that says that an object, which is in a pack, is not there any more."""

PACK_BYTES = 128 << 20

TICK = 2_000_000_000
"""Nanoseconds within which a folder may change twice and keep the time of its last change: some
file systems count in seconds, as Lustre does."""

CLAIM_SECONDS = 600.0
"""A packer of which nothing has been heard for so long has been killed, and another may begin."""


class _Overtaken(Exception):
    """Another packer has begun, since nothing was heard of this one."""


class PackedFiles:
    """Objects in a folder, loose or in packs.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._loose, self._path = LocalFiles(folder), LocalFiles(folder).path
        self._packs = str(folder / FOLDER)
        self._stamp: tuple[int, ...] = ()
        self._known: dict[str, Pack] = {}

    # -- reading ----------------------------------------------------------------------------

    def packs(self, *, anew: bool = False) -> Sequence[Pack]:
        """The packs that are there, oldest first."""
        try:
            about = os.stat(self._packs)
        except FileNotFoundError:
            return []
        stamp = (about.st_dev, about.st_ino, about.st_mtime_ns)
        if anew or stamp != self._stamp:
            found: dict[str, Pack] | None = None
            while found is None:
                with contextlib.suppress(FileNotFoundError):  # one was merged with others meanwhile
                    found = self._opened()
            settled = time.time_ns() - about.st_mtime_ns > TICK
            self._stamp, self._known = stamp if settled else (), found
        return list(self._known.values())

    def _opened(self) -> dict[str, Pack]:
        found = {}
        for path in files.numbered(self._path(FOLDER), SUFFIX):
            about = path.lstat()
            key = f"{path} {about.st_ino} {about.st_mtime_ns} {about.st_size}"
            pack = self._known.get(key) or Pack(path, self._identity())
            # Only what is so when read a second time is damage.
            found[key] = Pack(path, self._identity()) if pack.trouble else pack
        return found

    def troubles(self) -> Sequence[str]:
        """What is wrong with packs."""
        return [pack.trouble for pack in self.packs(anew=True) if pack.trouble]

    def _identity(self) -> bytes:
        """What tells this store from others."""
        try:
            tables = tomllib.loads(self._loose.get("campaign.toml").decode())
        except FileNotFoundError:  # no pack that has gone, which is looked for again
            raise OSError(errno.EIO, f"{self._packs}: no campaign.toml beside it") from None
        frozen = [tables.get(name) for name in ("name", "scenario", "seed", "batch")]
        return digest(canonical(frozen)).encode()[:8]

    def _newest(self, name: str, packs: Sequence[Pack]) -> tuple[Place, Pack] | None:
        """The record of that name that counts, which may say that it is gone."""
        number, newest = hash_of(name), None
        for pack in packs:
            place = pack.find(number)
            if place is not None and (newest is None or place >= newest[0]):
                newest = place, pack
        return newest

    def _packed(self, name: str) -> tuple[Place, Pack] | None:
        """The record of an object that is there."""
        # Looked for before the packs are: it leaves when one of them says the same.
        if not name.startswith(PACKED) or name + GONE in self._loose:
            return None
        found = self._newest(name, self.packs())
        return found if found is not None and found[0].size else None

    def get(self, name: str) -> bytes:
        """See `Objects.get`."""
        looked_twice = False
        while True:
            with contextlib.suppress(FileNotFoundError):
                return self._loose.get(name)
            self.packs(anew=looked_twice)
            if (found := self._packed(name)) is not None:
                with contextlib.suppress(FileNotFoundError):  # merged with others meanwhile
                    return found[1].get(name, found[0].start)
            elif looked_twice:
                return self._loose.get(name)
            looked_twice = True

    def __contains__(self, name: str) -> bool:
        return name in self._loose or self._packed(name) is not None

    def list(self, prefix: str = "") -> Iterator[str]:
        """See `Objects.list`."""
        loose, packed = set[str](), None
        while packed is None:
            loose = set(self._loose.list(prefix))  # first: what leaves is in a pack by then
            with contextlib.suppress(FileNotFoundError):  # a pack, merged with others meanwhile
                packed = self._names(prefix)
        gone = {name.removesuffix(GONE) for name in loose if name.endswith(GONE)}
        loose = {n for n in loose if not (n.endswith(GONE) or n.startswith(f"{FOLDER}/"))}
        yield from loose
        yield from packed - loose - gone

    def _names(self, prefix: str) -> set[str]:
        """Names of the objects in packs that begin so."""
        packs = self.packs(anew=True) if prefix.startswith(PACKED) or not prefix else ()
        found = {name for pack in packs for name in pack.names() if name.startswith(prefix)}
        for pack in packs:
            if pack.says_gone:
                newest = {name: self._newest(name, packs) for name in pack.names()}
                found -= {name for name, at in newest.items() if at and not at[0].size}
        return found

    # -- writing ----------------------------------------------------------------------------

    def put(self, name: str, data: bytes) -> None:
        """See `Objects.put`."""
        self._loose.put(name, data)

    def create(self, name: str, data: bytes) -> bool:
        """See `Objects.create`."""
        return self._packed(name) is None and self._loose.create(name, data)

    def delete(self, *names: str) -> None:
        """See `Objects.delete`."""
        for name in names:
            # A packer may be about to put a loose one into a pack.
            loose = name.startswith(PACKED) and name in self._loose
            said = (loose and os.path.isdir(self._packs)) or self._packed(name) is not None
            if said:
                self._loose.put(name + GONE, b"")
            self._loose.delete(name)
            if loose and not said and os.path.isdir(self._packs):  # the first has begun meanwhile
                self._loose.put(name + GONE, b"")

    def pack(self, least: int = 1, *, merge: bool = False) -> int:
        """Pack what is loose, if that are so many files and nobody else does.

        Parameters
        ----------
        least
        merge
            Also rewrite packs that are small, and what is whole in damaged ones.

        Returns
        -------
        int
            How many objects have been packed.
        """
        loose = [name for beginning in PACKED for name in self._loose.list(beginning)]
        loose = loose if len(loose) >= least else []
        every = [pack for pack in self.packs(anew=True) if not pack.foreign] if merge else []
        old = [pack for pack in every if pack.trouble or pack.bytes < PACK_BYTES / 2]
        old = old if len(old) > 1 or any(pack.trouble for pack in old) else []
        count, seen = 0, dict[str, tuple[int, int]]()
        with (
            contextlib.suppress(_Overtaken),
            self._alone() if loose or old else contextlib.nullcontext() as at_it,
        ):
            if at_it is None:
                return 0
            rewritten = self._counting(old, gone=len(old) < len(every))
            records = itertools.chain(rewritten, self._records(loose, seen))
            for names in self._write(records, at_it):
                unique = files.temporary_beside(self._path("packed")).name[1:]
                for file in (file for name in names for file in (name + GONE, name)):
                    if file in seen:
                        at_it()
                        self._remove(file, seen, unique)
                count += len(names)
            for pack in old:
                at_it(0.0)
                if pack.trouble:  # whoever can may look at what is left of it
                    self._path("damaged").mkdir(exist_ok=True)
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(pack.path, self._path("damaged") / pack.path.name)
                pack.path.unlink(missing_ok=True)
        for shelf in self._path("blocks").glob("[0-9a-f]*") if count else ():
            with contextlib.suppress(OSError):  # not empty
                shelf.rmdir()
        return count

    def _records(
        self, loose: Sequence[str], seen: dict[str, tuple[int, int]]
    ) -> Iterator[tuple[str, int, bytes]]:
        """Yield name, time and data of loose files, and note which files these were."""
        root, packs = f"{self._path('')}/", self.packs(anew=True)
        for name in dict.fromkeys(name.removesuffix(GONE) for name in loose):
            file, data = name, b""
            about: os.stat_result | None = None
            with contextlib.suppress(FileNotFoundError):
                about = os.lstat(root + name)
                if stat.S_ISREG(about.st_mode):
                    with open(root + name, "rb", buffering=0) as opened:
                        data = opened.read()
            # Looked for last: so one that comes later is newer than what has just been read, and
            # stays. One that is there may be older or newer; it is packed alone, and what is loose
            # of that name stays, for the next time, unless it is being deleted.
            with contextlib.suppress(FileNotFoundError):
                about = os.lstat(root + name + GONE)
                file, data = name + GONE, b""
            if about is None or (file == name and not data):
                continue  # without bytes it is damaged, and says nothing
            seen[file] = _stamp_of(about)
            # What is loose is newer than what is packed, whatever the clocks of writers say.
            before = found[0].time if (found := self._newest(name, packs)) else -1
            yield name, max(about.st_mtime_ns, before + 1), data

    def _remove(self, name: str, seen: dict[str, tuple[int, int]], unique: str) -> None:
        """Remove a loose file, unless it has been replaced since it was read."""
        path = f"{self._path('')}/{name}"
        # Looked at under a name that nobody writes to, since another may replace it any time.
        aside = f"{path[: path.rindex('/')]}/.{unique}"
        with contextlib.suppress(FileNotFoundError):
            if _stamp_of(os.lstat(path)) == seen[name]:
                os.rename(path, aside)
                if _stamp_of(os.lstat(aside)) != seen[name]:
                    files.take_name(Path(aside), Path(path))
                os.unlink(aside)

    def _write(
        self, records: Iterable[tuple[str, int, bytes]], at_it: Callable[..., None]
    ) -> Iterator[Sequence[str]]:
        """Write packs; yield the names in each once it is durable, read back, and has its name."""
        waiting, full = iter(records), True
        while full:
            temporary = files.temporary_beside(self._path(f"{FOLDER}/new{SUFFIX}"))
            try:
                with temporary.open("xb", buffering=1 << 20) as file:
                    writer, full = PackWriter(file, self._identity()), False
                    for record in waiting:
                        at_it()
                        writer.add(*record)
                        if full := writer.bytes >= PACK_BYTES:
                            break
                    writer.finish()
                    file.flush()
                    os.fsync(file.fileno())
                if not writer.names:
                    return
                with temporary.open("rb") as file:
                    if [r.name for _, r in whole_records(file)] != [*writer.names, ""]:
                        raise OSError(errno.EIO, "a pack does not read as it was written")
                there = files.numbered(self._path(FOLDER), SUFFIX)
                at_it(0.0)
                number = 1 + max((int(path.stem) for path in there), default=0)
                while not files.take_name(temporary, self._path(f"{FOLDER}/{number:06}{SUFFIX}")):
                    number += 1
            finally:
                temporary.unlink(missing_ok=True)
            yield writer.names

    @contextmanager
    def _alone(self) -> Iterator[Callable[..., None] | None]:
        """Give what tells others that this process is packing still; None where another is.

        It raises `_Overtaken` where another has begun meanwhile: what that has packed, merged and
        forgotten must not come back with what was read before.
        """
        claim, mine = self._path(FOLDER) / "packing", secrets.token_bytes(8)
        with contextlib.suppress(FileNotFoundError):
            if time.time() - claim.lstat().st_mtime > CLAIM_SECONDS:
                claim.unlink()
        told = time.monotonic()

        def at_it(every: float = CLAIM_SECONDS / 10) -> None:
            nonlocal told
            if time.monotonic() - told >= every:
                with contextlib.suppress(FileNotFoundError):
                    if claim.read_bytes() == mine:
                        os.utime(claim)
                        told = time.monotonic()
                        return
                raise _Overtaken

        made = files.create_durably(claim, mine)
        try:
            yield at_it if made else None
        finally:
            with contextlib.suppress(FileNotFoundError):
                if made and claim.read_bytes() == mine:
                    claim.unlink()

    def _counting(self, packs: Sequence[Pack], gone: bool) -> Iterator[tuple[str, int, bytes]]:
        """Yield the records of packs that count; those that say gone where others are left."""
        for pack in packs:
            # Whoever has merged a pack meanwhile keeps what counts of it.
            with contextlib.suppress(FileNotFoundError):
                yield from self._counting_in(pack, gone)

    def _counting_in(self, pack: Pack, gone: bool) -> Iterator[tuple[str, int, bytes]]:
        for name, place in zip(pack.names(), pack.places(), strict=True):
            newest = self._newest(name, self.packs())
            # By the path: a pack with trouble is opened anew, and is another object then.
            counts = newest and (newest[0], newest[1].path) == (place, pack.path)
            if counts and (place.size or gone):
                try:
                    yield name, place.time, pack.get(name, place.start)
                except ValueError as error:
                    pack.trouble = str(error)


def _stamp_of(about: os.stat_result) -> tuple[int, int]:
    """What tells a file from one that has taken its name."""
    return about.st_ino, about.st_mtime_ns


@functools.lru_cache(maxsize=64)  # a worker's tasks would read the indices of packs anew
def objects_at(address: str) -> PackedFiles:
    """The objects of the store at an address, which is a folder."""
    return PackedFiles(Path(address))
