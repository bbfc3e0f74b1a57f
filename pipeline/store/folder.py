"""The store: immutable block files, from which result cubes are built.

<store>/campaign.toml                 frozen: what makes it this campaign and no other
<store>/requests/0002.toml            what each run asked for, and what its code said of itself
<store>/blocks/ab/<key>.<score>.npz   one file per block and scoring; exists <=> done
<store>/blocks/ab/<key>.x.npz         its estimates, where the campaign keeps them
<store>/packs/000001.pack             many of these files in one; see `pipeline.store.packs`
<store>/failed/<key>.json             beside a block with failed cells: how many, and why
<store>/cubes/000003.zarr, LATEST     a published cube, and the name of the newest
"""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import tomli_w

from pipeline.campaign.blocks import ESTIMATES, Block, Configuration, canonical
from pipeline.campaign.definition import Campaign
from pipeline.campaign.files import make_importable, runs_code, why_not_importable
from pipeline.campaign.request import Request
from pipeline.errors import InputError
from pipeline.store import block_file, files, naming
from pipeline.store.block_file import BlockData, DamagedBlock, StoredFile, read_block
from pipeline.store.naming import ASIDE, CAMPAIGN, block_name, block_of, key_of, mark_name
from pipeline.store.objects import Objects
from pipeline.store.packs import PackedFiles, objects_at

DAMAGED_AT_ONCE = 0.01
"""Share of the files that are moved aside as damaged without being told to: where it is more, a
disk or a file system is out of order, and files may read well again once that is mended."""

LOOSE_FILES = 1000
"""Where a store has more when it is published or swept, they are packed."""

LOOSE_IN_A_RUN = 20_000
"""Blocks after which a run packs what is loose."""


class Store:
    """A store.

    Parameters
    ----------
    address
        Its folder; `create` makes one, `open` asks for one that is there.
    objects
        What is in it; by default the files in that folder.

    Attributes
    ----------
    address : str
        What tasks carry, for workers to find it.
    objects : Objects
    path : Path
        Its folder, where cubes, logs and marks of processes lie beside the objects.
    """

    def __init__(self, address: str | Path, objects: Objects | None = None) -> None:
        self.address, self.path = str(address), Path(address)
        self.objects = objects_at(self.address) if objects is None else objects

    @classmethod
    def of(cls, store: str | Path | Self) -> Self:
        """A store given as such or by its path, which must be there; see `open`."""
        return store if isinstance(store, cls) else cls.open(store)  # type: ignore[arg-type]

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """A store that exists already.

        Raises
        ------
        InputError
            There is none at `path`.
        """
        store = cls(path)
        if CAMPAIGN not in store.objects or "format" not in store._identity():
            raise InputError(f"{path}: {naming.why_no_store(store.path)}")
        if store._identity().get("format") != naming.FORMAT:
            raise InputError(
                f"{path}: store format {store._identity().get('format')}, this version reads "
                f"{naming.FORMAT}; read it with the kronsbl that made it, or compute it again "
                "elsewhere"
            )
        return store

    @classmethod
    def create(cls, path: str | Path, campaign: Campaign) -> Self:
        """The store of a campaign, made where there is none.

        Raises
        ------
        InputError
            The folder cannot be written, or belongs to another campaign.
        """
        store = cls(path)
        identity = naming.identity_of(campaign)
        try:
            if store.path.exists() and not store.path.is_dir():
                raise InputError(f"{path}: is a file; a store is a folder")
            # In this order: another process may be making the same store now.
            others = store.path.exists() and any(
                not files.is_temporary(entry) for entry in store.path.iterdir()
            )
            if CAMPAIGN not in store.objects:
                if others:
                    raise InputError(
                        f"{path}: a folder with other things in it; "
                        "take an empty or a new one as store"
                    )
                store.objects.create(CAMPAIGN, tomli_w.dumps(identity).encode())
        except OSError as error:
            raise InputError(f"{path}: cannot make a store there: {error.strerror}") from None
        store = cls.open(path)
        have = store._identity()
        differ = [k for k in identity if canonical(have.get(k)) != canonical(identity[k])]
        if differ:
            detail = "; ".join(f"{k} is {have.get(k)!r}, not {identity[k]!r}" for k in differ)
            raise InputError(
                f"{path}: the store of another campaign ({detail}); take another --store"
            )
        return store

    def _identity(self) -> dict[str, Any]:
        return self._tables(CAMPAIGN)

    def _tables(self, name: str) -> dict[str, Any]:
        """A TOML file of the store."""
        try:
            return tomllib.loads(self.objects.get(name).decode())
        except ValueError as error:
            raise InputError(f"{self.path / name}: cannot be read: {error}") from None

    # -- requests ---------------------------------------------------------------------------

    def requests(self) -> list[str]:
        """Names of the requests, oldest first: 9999 comes before 10000."""
        found = [name for name in self.objects.list("requests/") if name.endswith(".toml")]
        return sorted((name for name in found if naming.number_of(name) >= 0), key=naming.number_of)

    def _request(self, name: str) -> Request:
        return Request.from_tables(self._tables(name))

    def last_request(self) -> Request | None:
        """The newest request, or None in a new store."""
        found = self.requests()
        return self._request(found[-1]) if found else None

    def asked(self) -> Request:
        """The newest request.

        Raises
        ------
        InputError
            No run has asked for anything yet.
        """
        last = self.last_request()
        if last is None:
            raise InputError(f"{self.path}: no run has asked for anything yet")
        return last

    def last_campaign(self, code: Path | None = None) -> Campaign:
        """The campaign that was asked for last, with its solvers and scenario.

        Parameters
        ----------
        code
            See `allow_code`.

        Raises
        ------
        InputError
            Nothing has been asked for, or a class of it is not to be had or may not run here.
        """
        asked, refused = self.asked(), self.allow_code(code)
        named = [use for use in asked.uses if runs_code(use)]
        if refused and named:
            raise InputError(f"{self.path}: {named[0]}: {refused}")
        return asked.campaign()

    def allow_code(self, code: Path | None = None) -> str:
        """Put the folder of the solvers named ``module:Class`` on the import path, if it may be.

        A campaign file is a program, a store is data: whoever only looks runs none of it.

        Parameters
        ----------
        code
            A folder of the user's choice; by default that of the campaign file, where it and the
            store are the user's own and it lies outside the store.

        Returns
        -------
        str
            Why no such class may be imported for this store; empty where they may.

        Raises
        ------
        InputError
            The module lies in a store, or has the name of another one.
        """
        last = self.last_request() or Request({}, {}, {})
        folder = code or Path(str(last.facts.get("folder", "")))
        if code is None and (reason := why_not_importable(folder, self.path)):
            return f"{reason}; name the folder of its code with --code"
        make_importable(folder.resolve(), last.tables)
        return ""

    def version_changes(self, now: Request) -> list[str]:
        """Sentences on versions that the store's requests had and `now` has not."""
        earlier = [self._request(name) for name in self.requests()]
        found = (sentence for request in earlier for sentence in request.version_changes(now))
        return list(dict.fromkeys(found))

    def git_states(self) -> list[str]:
        """Commits of the source trees from which runs were started, oldest first."""
        states = (self._request(name).facts.get("git", "unknown") for name in self.requests())
        return list(dict.fromkeys(states))

    def add_request(self, request: Request) -> None:
        """Record what is asked for, unless the last request says the same, from the same commit."""
        last = self.last_request()
        if (
            last is not None
            and last.facts.get("git") == request.facts.get("git")
            and last.asks_the_same(request)
        ):
            return
        data = tomli_w.dumps(request.to_tables()).encode()
        number = 1 + max(map(naming.number_of, self.requests()), default=0)
        while not self.objects.create(f"requests/{number:04}.toml", data):
            number += 1

    # -- blocks -----------------------------------------------------------------------------

    def block_path(self, name: str) -> Path:
        """Path of the file of that name (``KEY.SCORE``, or ``KEY.x``) while it is loose."""
        return self.path / block_name(name)

    def names(self) -> set[str]:
        """Names of all files of blocks and of estimates: the one listing that says what is done."""
        return {block_of(name) for name in self.objects.list("blocks/") if name.endswith(".npz")}

    def file(self, name: str, place: str = "") -> StoredFile:
        """The file of that name (``KEY.SCORE``, or ``KEY.x``), wherever it lies.

        Parameters
        ----------
        name
        place
            ``"damaged/"`` for one that was set aside.

        Raises
        ------
        DamagedBlock, FileNotFoundError
        """
        where = f"{place}{name}.npz" if place else block_name(name)
        try:
            return StoredFile(str(self.path / where), self.objects.get(where))
        except ValueError as error:
            raise DamagedBlock(str(error)) from None

    def has(self, block: Block) -> bool:
        """True when all files of a block are there; see `Configuration.is_done`."""
        return all(block_name(name) in self.objects for name in block.files)

    def write(self, block: Block, data: BlockData, *, replace: bool = False) -> None:
        """Store a block, unless it is there and not to be replaced."""
        spec = block.configuration.block_spec(block.index)
        self._mark_failures(block.key, data)  # first, so that no block with failures has no mark
        if data.estimates is not None:  # before the block, which says that all is done
            self._write(f"{block.key}.{ESTIMATES}", block_file.pack(spec, data.estimates), replace)
        texts = {"scoring": block.configuration.scoring_text, "meta": json.dumps(data.meta)}
        written = self._write(
            block.files[-1], block_file.pack(spec, {"cells": data.cells}, **texts), replace
        )
        if written and not data.crashed:
            self.objects.delete(mark_name(block.key))

    def _mark_failures(self, key: str, data: BlockData) -> None:
        if data.crashed:
            failures = {"cells": data.crashed, "messages": data.meta["failures"]}
            self.objects.put(mark_name(key), json.dumps(failures).encode())

    def _write(self, name: str, data: bytes, replace: bool) -> bool:
        if block_name(name) in self.objects and not replace:
            return False
        self.objects.put(block_name(name), data)
        return True

    def crashed(self, block: Block) -> int | None:
        """Number of crashed cells of a block; None when the block is not done."""
        if not self.has(block):
            return None
        try:
            return int(self._failures(mark_name(block.key))["cells"])
        except FileNotFoundError:
            return 0

    def failures(self) -> dict[str, dict[str, Any]]:
        """Blocks with failed cells: key to ``{"cells": count, "messages": {text: count}}``."""
        marks = [name for name in self.objects.list("failed/") if name.endswith(".json")]
        return {key_of(name): self._failures(name) for name in marks}

    def _failures(self, name: str) -> dict[str, Any]:
        """Content of a failure mark."""
        try:
            return {"cells": 0, "messages": {}, **json.loads(self.objects.get(name))}
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{self.path / name}: cannot be read: {error}; remove it together with "
                f"{key_of(name)}.*.npz, and the next run computes that block again"
            ) from None

    def set_aside(self, damaged: Mapping[str, str], *, however_many: bool = False) -> list[str]:
        """Move damaged files away, so that their blocks count as not done.

        Parameters
        ----------
        damaged
            What is wrong, by the names of the files.
        however_many
            Also where they are more than `DAMAGED_AT_ONCE` of all files (and more than one).

        Returns
        -------
        list of str
            What is wrong, and what was done about it.
        """
        if not damaged:
            return []
        total = len(self.names())
        if len(damaged) > max(total * DAMAGED_AT_ONCE, 1) and not however_many:
            left = (
                f"left there, since {len(damaged)} of {total} at once are hardly the files' fault; "
                "`kronsbl verify --move-all` moves them aside"
            )
            return [f"{what}; {left}" for what in damaged.values()]
        for name in damaged:
            with contextlib.suppress(FileNotFoundError, DamagedBlock):  # a link, or in a pack
                self.objects.put(f"{ASIDE}{name}.npz", self.file(name).data)
            key, _, second = name.partition(".")
            self.objects.delete(
                block_name(name), *([] if second == ESTIMATES else [mark_name(key)])
            )
        return [f"{what}; moved aside, the next run computes it" for what in damaged.values()]

    def put_back(self, name: str) -> bool:
        """Undo `set_aside` of a file that reads well; False where it was computed again since."""
        if block_name(name) in self.objects:
            return False
        file, (key, _, second) = self.file(name, ASIDE), name.partition(".")
        if second != ESTIMATES:
            self._mark_failures(key, read_block(file))
        self.objects.put(block_name(name), file.data)
        self.objects.delete(f"{ASIDE}{name}.npz")
        return True

    def tidy(self, *, merge: bool = False) -> None:
        """Pack files where there are more than `LOOSE_FILES`, and merge small or damaged packs."""
        if isinstance(self.objects, PackedFiles):
            self.objects.pack(LOOSE_FILES + 1, merge=merge)

    def troubles(self) -> list[str]:
        """What is wrong with packs; blocks that were lost with them are not there."""
        return [*self.objects.troubles()] if isinstance(self.objects, PackedFiles) else []

    @block_file.confirmed
    def read(self, configuration: Configuration, index: int) -> BlockData:
        """Read a block and make sure that it is that block; see `read_block`."""
        file = self.file(configuration.files(index)[-1])
        data = read_block(file, configuration.block_spec(index))
        if len(data.cells) != configuration.batch:
            raise DamagedBlock(
                f"{file.where}: {len(data.cells)} realizations, expected {configuration.batch}"
            )
        return data

    def read_scored_otherwise(self, block: Block) -> BlockData | None:
        """A block and its estimates as they were scored before, or None where that is not kept."""
        spec, kept = block.configuration.block_spec(block.index), f"{block.key}.{ESTIMATES}"
        if block_name(kept) not in self.objects:  # the usual case, met before every solve
            return None
        for name in set(self.objects.list(block_name(f"{block.key}.")[:-4])) - {block_name(kept)}:
            try:
                data = read_block(self.file(block_of(name)), spec)
                estimates = block_file.read_estimates(self.file(kept), spec)
                return BlockData(data.cells, data.meta, estimates)
            except (DamagedBlock, FileNotFoundError):
                continue  # solved again, which needs none of it
        return None
