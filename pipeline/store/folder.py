"""The store: a folder of immutable block files, from which result cubes are built.

<store>/campaign.toml                 frozen: what makes it this campaign and no other
<store>/requests/0002.toml            what each run asked for, and what its code said of itself
<store>/blocks/ab/<key>.<score>.npz   one file per block and scoring; exists <=> done
<store>/blocks/ab/<key>.x.npz         its estimates, where the campaign keeps them
<store>/failed/<key>.json             beside a block with failed cells: how many, and why
<store>/cubes/000003.zarr, LATEST     a published cube, and the name of the newest
"""

from __future__ import annotations

import contextlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import tomli_w

from pipeline.campaign.blocks import ESTIMATES, Block, Configuration, canonical
from pipeline.campaign.definition import Campaign
from pipeline.campaign.files import make_importable, runs_code, why_not_importable
from pipeline.campaign.request import Request
from pipeline.errors import InputError
from pipeline.store import block_file, files
from pipeline.store.block_file import BlockData, DamagedBlock, read_block

FORMAT = 2

DAMAGED_AT_ONCE = 0.01
"""Share of the files that are moved aside as damaged without being told to: where it is more, a
disk or a file system is out of order, and files may read well again once that is mended."""


class Store:
    """A store on disk.

    Parameters
    ----------
    path
        Its folder; `create` makes one, `open` asks for one that is there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

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
        reason = _no_store(store.path)
        if reason:
            raise InputError(f"{path}: {reason}")
        if store._identity().get("format") != FORMAT:
            raise InputError(
                f"{path}: store format {store._identity().get('format')}, this version reads "
                f"{FORMAT}; read it with the kronsbl that made it, or compute it again elsewhere"
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
        identity = identity_of(campaign)
        try:
            if store.path.exists() and not store.path.is_dir():
                raise InputError(f"{path}: is a file; a store is a folder")
            # In this order: another process may be making the same store now.
            others = store.path.exists() and any(
                not files.is_temporary(entry) for entry in store.path.iterdir()
            )
            if not (store.path / "campaign.toml").exists():
                if others:
                    raise InputError(
                        f"{path}: a folder with other things in it; "
                        "take an empty or a new one as store"
                    )
                data = tomli_w.dumps(identity).encode()
                files.create_durably(store.path / "campaign.toml", data)
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
        return _tables(self.path / "campaign.toml")

    # -- requests ---------------------------------------------------------------------------

    def requests(self) -> list[Path]:
        """The request files, oldest first."""
        return files.numbered(self.path / "requests", ".toml")

    def last_request(self) -> Request | None:
        """The newest request, or None in a new store."""
        found = self.requests()
        return _request(found[-1]) if found else None

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
        earlier = [_request(path) for path in self.requests()]
        found = (sentence for request in earlier for sentence in request.version_changes(now))
        return list(dict.fromkeys(found))

    def git_states(self) -> list[str]:
        """Commits of the source trees from which runs were started, oldest first."""
        states = (_request(path).facts.get("git", "unknown") for path in self.requests())
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
        number = 1 + max((int(path.stem) for path in self.requests()), default=0)
        while not files.create_durably(self.path / "requests" / f"{number:04}.toml", data):
            number += 1

    # -- blocks -----------------------------------------------------------------------------

    def block_path(self, name: str) -> Path:
        """Path of the file of that name (``KEY.SCORE``, or ``KEY.x``), which need not be there."""
        return self.path / "blocks" / name[:2] / f"{name}.npz"

    def block_files(self) -> Iterator[os.DirEntry[str]]:
        """Every file of blocks and of estimates, in no order."""
        for shelf in files.entries(self.path / "blocks", "[0-9a-f][0-9a-f]"):
            with os.scandir(shelf) as found:
                blocks = [e for e in found if e.name.endswith(".npz") and e.name[0] != "."]
            yield from blocks

    def names(self) -> set[str]:
        """Names of all files of blocks and of estimates: the one listing that says what is done."""
        return {entry.name[:-4] for entry in self.block_files()}

    def has(self, block: Block) -> bool:
        """True when all files of a block are there; see `Configuration.is_done`."""
        return all(self.block_path(name).exists() for name in block.files)

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
            self._failure_mark(block.key).unlink(missing_ok=True)

    def _mark_failures(self, key: str, data: BlockData) -> None:
        if data.crashed:
            failures = {"cells": data.crashed, "messages": data.meta["failures"]}
            files.write_durably(self._failure_mark(key), json.dumps(failures).encode())

    def _write(self, name: str, data: bytes, replace: bool) -> bool:
        path = self.block_path(name)
        if path.exists() and not replace:
            return False
        new_shelf = not path.parent.exists()
        files.write_durably(path, data)
        if new_shelf:
            files.sync(path.parent.parent)
        return True

    def _failure_mark(self, key: str) -> Path:
        return self.path / "failed" / f"{key}.json"

    def crashed(self, block: Block) -> int | None:
        """Number of crashed cells of a block; None when the block is not done."""
        if not self.has(block):
            return None
        try:
            return int(_mark(self._failure_mark(block.key))["cells"])
        except FileNotFoundError:
            return 0

    def failures(self) -> dict[str, dict[str, Any]]:
        """Blocks with failed cells: key to ``{"cells": count, "messages": {text: count}}``."""
        marks = files.entries(self.path / "failed", "[0-9a-f]*.json")
        return {mark.stem: _mark(mark) for mark in marks}

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
            path = self.block_path(name)
            target = self.path / "damaged" / path.name
            target.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, target)
            key, _, second = name.partition(".")
            if second != ESTIMATES:
                self._failure_mark(key).unlink(missing_ok=True)
        return [f"{what}; moved aside, the next run computes it" for what in damaged.values()]

    def put_back(self, path: Path) -> bool:
        """Undo `set_aside` of a file that reads well; False where it was computed again since."""
        target = self.block_path(path.stem)
        if target.exists():
            return False
        key, _, second = path.stem.partition(".")
        if second != ESTIMATES:
            self._mark_failures(key, read_block(path))
        target.parent.mkdir(exist_ok=True)
        os.rename(path, target)
        return True

    @block_file.confirmed
    def read(self, configuration: Configuration, index: int) -> BlockData:
        """Read a block and make sure that it is that block; see `read_block`."""
        path = self.block_path(configuration.files(index)[-1])
        data = read_block(path, configuration.block_spec(index))
        if len(data.cells) != configuration.batch:
            raise DamagedBlock(
                f"{path}: {len(data.cells)} realizations, expected {configuration.batch}"
            )
        return data

    def read_scored_otherwise(self, block: Block) -> BlockData | None:
        """A block and its estimates as they were scored before, or None where that is not kept."""
        spec = block.configuration.block_spec(block.index)
        path = self.block_path(f"{block.key}.{ESTIMATES}")
        if not path.exists():  # the usual case, met before every solve: no listing for it
            return None
        others = {*files.entries(path.parent, f"{block.key}.*.npz")} - {path}
        for other in others:
            try:
                data = read_block(other, spec)
                return BlockData(data.cells, data.meta, block_file.read_estimates(path, spec))
            except (DamagedBlock, FileNotFoundError):
                continue  # solved again, which needs none of it
        return None


def _no_store(path: Path) -> str:
    """Say why there is no store at a path; nothing where there is one."""
    if not path.exists():
        return "no such store"
    if not path.is_dir():
        of_campaign = "; that of a campaign is results/NAME, or what --store said"
        return f"a file, and a store is a folder{of_campaign if path.suffix == '.toml' else ''}"
    identity = path / "campaign.toml"
    if identity.is_file():
        of_somebody = "format" not in _tables(identity)
        return "not a kronsbl store (its campaign.toml is a campaign file)" if of_somebody else ""
    stores = sorted(file.parent.name for file in path.glob("*/campaign.toml"))
    inside = f"; there are stores in it: {', '.join(stores[:5])}" if stores else ""
    return f"not a kronsbl store (it has no campaign.toml){inside}"


def _request(path: Path) -> Request:
    return Request.from_tables(_tables(path))


def _tables(path: Path) -> dict[str, Any]:
    """A TOML file of a store."""
    try:
        return tomllib.loads(files.read_bytes(path).decode())
    except ValueError as error:
        raise InputError(f"{path}: cannot be read: {error}") from None


def _mark(path: Path) -> dict[str, Any]:
    """Content of a failure mark."""
    try:
        return {"cells": 0, "messages": {}, **json.loads(files.read_bytes(path))}
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read: {error}; remove it together with {path.stem}.*.npz, "
            "and the next run computes that block again"
        ) from None


def identity_of(campaign: Campaign) -> dict[str, Any]:
    """The settings of a campaign that can never change within a store."""
    header = campaign.campaign
    return {
        "format": FORMAT,
        "name": header.name,
        "scenario": campaign.scenario_use,
        "seed": header.seed,
        "batch": header.batch,
    }
