"""The store: a folder of immutable block files, from which result cubes are built.

<store>/campaign.toml         frozen: what makes it this campaign and no other
<store>/requests/0002.toml    what each run asked for
<store>/blocks/ab/<key>.npz   one file per block; exists <=> done
<store>/failed/<key>.json     beside a block with failed cells: how many, and why
<store>/cubes/000003.zarr     a published cube
<store>/LATEST                names the newest cube
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

from pipeline.campaign.blocks import Block, canonical
from pipeline.campaign.definition import Campaign
from pipeline.errors import InputError, in_one_line
from pipeline.store.files import create_durably, is_temporary, sync, write_durably
from solvers import Status

FORMAT = 1


class DamagedBlock(Exception):
    """A block file that is not what was written, or not the block it is named after."""


@dataclasses.dataclass(frozen=True)
class BlockData:
    """Content of a block file.

    Attributes
    ----------
    cells : structured array, (batch,)
        One field per variable.
    meta : dict
        Where and how it was computed, and the messages of what failed.
    """

    cells: NDArray[Any]
    meta: Mapping[str, Any]

    @property
    def crashed(self) -> int:
        """Cells whose status says that the solver crashed."""
        return int(np.isin(self.cells["status"], Status.values("crashed")).sum())


def _text(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _pack(members: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of an .npz file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in members.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return buffer.getvalue()


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
    cells, found, meta = _members(path, "cells", "spec", "meta")
    if spec is not None and found.tobytes().decode(errors="replace") != spec:
        raise DamagedBlock(f"{path}: holds another block than its name says")
    if not {"status", "runtime"} <= set(cells.dtype.names or ()):
        raise DamagedBlock(f"{path}: holds no cells")
    return BlockData(cells, json.loads(meta.tobytes()))


def read_spec(path: Path) -> str:
    """The spec that a block file carries; see `Series.block_spec`."""
    return _members(path, "spec")[0].tobytes().decode()


def _members(path: Path, *names: str) -> list[NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            # Read whole members: zipfile compares the CRC only at the end of one.
            return [
                np.lib.format.read_array(
                    io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False
                )
                for name in names
            ]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedBlock(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # whatever a damaged archive makes its readers raise
        raise DamagedBlock(f"{path}: {in_one_line(error)}") from error


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
    def open(cls, path: str | Path) -> Store:
        """A store that exists already.

        Raises
        ------
        InputError
            There is none at `path`.
        """
        store = cls(path)
        if not store.path.exists():
            raise InputError(f"{path}: no such store")
        if not (store.path / "campaign.toml").is_file():
            raise InputError(f"{path}: not a kronsbl store (it has no campaign.toml)")
        if store._identity().get("format") != FORMAT:
            raise InputError(
                f"{path}: store format {store._identity().get('format')}, "
                f"this version reads {FORMAT}"
            )
        return store

    @classmethod
    def create(cls, path: str | Path, campaign: Campaign) -> Store:
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
                not is_temporary(entry) for entry in store.path.iterdir()
            )
            if not (store.path / "campaign.toml").exists():
                if others:
                    raise InputError(
                        f"{path}: a folder with other things in it; "
                        "take an empty or a new one as store"
                    )
                data = tomli_w.dumps(identity).encode()
                create_durably(store.path / "campaign.toml", data)
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
        return sorted((self.path / "requests").glob("[0-9]*.toml"))

    def last_request(self) -> Campaign | None:
        """What was asked for last, or None in a new store."""
        found = self.requests()
        if not found:
            return None
        tables = _tables(found[-1])
        tables.pop("request", None)
        self.make_importable()
        return Campaign.from_tables(tables, str(found[-1]))

    def make_importable(self) -> None:
        """Put the last campaign's folder on the import path, for solvers kept beside it."""
        folder = self.request_facts().get("folder")
        if folder and folder not in sys.path and Path(folder).is_dir():
            sys.path.append(folder)

    def request_facts(self) -> dict[str, Any]:
        """When, where and by what the last request was made."""
        found = self.requests()
        return _facts(found[-1]) if found else {}

    def git_states(self) -> list[str]:
        """Commits of the source trees from which runs were started, oldest first."""
        return list(dict.fromkeys(_facts(path).get("git", "unknown") for path in self.requests()))

    def add_request(self, campaign: Campaign, about: Mapping[str, Any]) -> None:
        """Record what is asked for, unless the last request says the same, from the same commit."""
        last = self.last_request()
        same_commit = self.request_facts().get("git") == about.get("git")
        if (
            last is not None
            and same_commit
            and canonical(last.tables()) == canonical(campaign.tables())
        ):
            return
        data = tomli_w.dumps({"request": dict(about), **campaign.tables()}).encode()
        number = len(self.requests()) + 1
        while not create_durably(self.path / "requests" / f"{number:04}.toml", data):
            number += 1

    # -- blocks -----------------------------------------------------------------------------

    def block_path(self, key: str) -> Path:
        """Where the block of that key is, or would be."""
        return self.path / "blocks" / key[:2] / f"{key}.npz"

    def block_files(self) -> Iterator[os.DirEntry[str]]:
        """Every block file, in no order."""
        folder = self.path / "blocks"
        if not folder.is_dir():
            return
        for shelf in [path for path in folder.iterdir() if path.is_dir()]:
            with os.scandir(shelf) as entries:
                found = [e for e in entries if e.name.endswith(".npz") and e.name[0] != "."]
            yield from found

    def keys(self) -> set[str]:
        """Keys of all blocks that are done."""
        return {entry.name[:-4] for entry in self.block_files()}

    def write(self, block: Block, data: BlockData, *, replace: bool = False) -> None:
        """Store a block, unless it is there and not to be replaced."""
        path = self.block_path(block.key)
        if path.exists() and not replace:
            return
        new_shelf = not path.parent.exists()
        mark = self._failure_mark(block.key)
        if data.crashed:  # first, so that no block with failures goes without its mark
            failures = {"cells": data.crashed, "messages": data.meta["failures"]}
            write_durably(mark, json.dumps(failures).encode())
        spec = block.series.block_spec(block.index)
        members = {"cells": data.cells, "spec": _text(spec), "meta": _text(json.dumps(data.meta))}
        write_durably(path, _pack(members))
        if new_shelf:
            sync(path.parent.parent)
        if replace and not data.crashed:
            mark.unlink(missing_ok=True)

    def _failure_mark(self, key: str) -> Path:
        return self.path / "failed" / f"{key}.json"

    def crashed(self, key: str) -> int | None:
        """How many cells of a block crashed; None where the block is not there."""
        if not self.block_path(key).exists():
            return None
        try:
            return int(_mark(self._failure_mark(key))["cells"])
        except FileNotFoundError:
            return 0

    def failures(self) -> dict[str, dict[str, Any]]:
        """Blocks with failed cells: key to ``{"cells": count, "messages": {text: count}}``."""
        found = {}
        for mark in (self.path / "failed").glob("[0-9a-f]*.json"):
            if self.block_path(mark.stem).exists():
                found[mark.stem] = _mark(mark)
        return found

    def set_aside(self, key: str) -> None:
        """Move a damaged block file away, so that its block counts as not done."""
        path = self.block_path(key)
        target = self.path / "damaged" / path.name
        target.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, target)
        self._failure_mark(key).unlink(missing_ok=True)

    def read(self, block: Block) -> BlockData:
        """Read a block and make sure that it is that block; see `read_block`."""
        data = read_block(self.block_path(block.key), block.series.block_spec(block.index))
        if len(data.cells) != block.series.batch:
            raise DamagedBlock(
                f"{self.block_path(block.key)}: {len(data.cells)} realizations, "
                f"expected {block.series.batch}"
            )
        return data


def _tables(path: Path) -> dict[str, Any]:
    """A TOML file of a store."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None


def _facts(path: Path) -> dict[str, Any]:
    """What a request says of itself."""
    facts: dict[str, Any] = _tables(path).get("request", {})
    return facts


def _mark(path: Path) -> dict[str, Any]:
    """What is said of a block with failed cells."""
    try:
        return {"cells": 0, "messages": {}, **json.loads(path.read_text(encoding="utf-8"))}
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read: {error}; remove it together with {path.stem}.npz, "
            "and the next run computes that block again"
        ) from None


def identity_of(campaign: Campaign) -> dict[str, Any]:
    """What a store's campaign can never change."""
    header = campaign.campaign
    return {
        "format": FORMAT,
        "name": header.name,
        "scenario": campaign.scenario_use,
        "seed": header.seed,
        "batch": header.batch,
    }
