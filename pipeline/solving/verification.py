"""Verification of a store: every block read, a sample of them solved again."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.campaign.blocks import ESTIMATES, Block, Configuration, digest, score_digest
from pipeline.errors import InputError
from pipeline.solving import provenance
from pipeline.solving.deciding import differing_decisions
from pipeline.solving.outcome import solve_block
from pipeline.solving.resolving import solvable
from pipeline.store import Store
from pipeline.store.archive import STORE, unpack_archive
from pipeline.store.block_file import (
    BlockData,
    DamagedBlock,
    confirmed,
    read_block,
    read_estimates,
    read_text,
)
from pipeline.store.naming import ASIDE
from solvers import Status

TOLERANCE = 1e-8
"""Relative to the largest value, between hosts or versions of libraries."""

NOT_COMPARED = {"runtime", "own_seconds"}


@dataclasses.dataclass
class Verdict:
    """Result of a verification.

    Attributes
    ----------
    members : int
        Of an archive, how many are as they were written.
    read : int
        Files of blocks and estimates read.
    damaged : list of str
        What was wrong with files, and what was done about it.
    restored : list of str
        Files that had been moved aside and are back.
    solved : int
        Blocks solved again.
    exact : int
        Of these, how many were held to the last bit.
    differing : list of str
        Where the new numbers are others.
    skipped : list of str
        Blocks of the sample that could not be solved again, and why.
    """

    members: int = 0
    read: int = 0
    damaged: list[str] = dataclasses.field(default_factory=list)
    restored: list[str] = dataclasses.field(default_factory=list)
    solved: int = 0
    exact: int = 0
    differing: list[str] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when nothing is damaged and nothing differs."""
        return not (self.damaged or self.differing)


def verify(
    store: str | Path | Store,
    blocks: int = 10,
    seed: int | None = None,
    *,
    code: Path | None = None,
    restore: bool = False,
    move_all: bool = False,
) -> Verdict:
    """Read all blocks of a store, and solve a random sample of them again from their specs.

    Parameters
    ----------
    store
        The store, or its path; or that of an archive (``.zip``), whose members are checked first,
        in a temporary folder. It counts as somebody else's: its code takes `code`.
    blocks
        Size of the sample.
    seed
        Of the choice.
    code
        Folder of solvers and scenarios named ``module:Class``; see `Store.allow_code`.
    restore
        Look again at the files that were moved aside, and put back those that are whole.
    move_all
        Move damaged files aside also where they are many at once; see `Store.set_aside`.

    Returns
    -------
    Verdict

    Notes
    -----
    A block certifies itself: its name is the hash of the spec inside, and each part has its
    checksum. Damaged files are moved aside, so that the next run computes them. On the same
    machine with the same libraries, numbers must agree to the last bit, elsewhere to 1e-8.
    Decisions of the newest request are taken again from its blocks, and must be the same.
    """
    if not isinstance(store, Store) and Path(store).suffix.lower() == ".zip":
        if restore or move_all:
            raise InputError(f"{store}: an archive, which is never changed")
        return _verify_archive(Path(store), blocks, seed, code)
    store = Store.of(store)
    verdict = Verdict()
    if restore:
        aside = sorted(name for name in store.objects.list(ASIDE) if name.endswith(".npz"))
        names = [name.removeprefix(ASIDE).removesuffix(".npz") for name in aside]
        whole = [n for n in names if not _what_is_wrong(store, n, ASIDE) and store.put_back(n)]
        verdict.restored = [f"{name}.npz" for name in whole]
    _check_blocks(store, verdict, blocks, seed, store.allow_code(code), move_all)
    return verdict


def _verify_archive(path: Path, blocks: int, seed: int | None, code: Path | None) -> Verdict:
    """Unpack what is whole of an archive, and verify it as a store."""
    with tempfile.TemporaryDirectory(prefix="kronsbl-") as folder:
        verdict = Verdict()
        verdict.members, verdict.damaged = unpack_archive(path, Path(folder))
        if not Path(folder, STORE, "campaign.toml").is_file():
            return verdict  # which says that it is damaged
        store = Store.open(Path(folder, STORE))
        refused = "an archive's; name the folder of its code with --code"
        if store.names():
            refused = refused if code is None else store.allow_code(code)
            _check_blocks(store, verdict, blocks, seed, refused)
        elif not verdict.damaged:
            verdict.skipped = [f"{path}: holds digests of its blocks only"]
    return verdict


def _check_blocks(
    store: Store,
    verdict: Verdict,
    blocks: int,
    seed: int | None,
    refused: str,
    move_all: bool = False,
) -> None:
    """Read all blocks, solve a sample of them again, and take decisions again."""
    good, damaged = [], dict[str, str]()
    for name in sorted(store.names()):
        verdict.read += 1
        if wrong := _what_is_wrong(store, name):
            damaged[name] = wrong
        elif not name.endswith(f".{ESTIMATES}"):
            good.append(name)
    verdict.damaged += store.troubles() + store.set_aside(damaged, however_many=move_all)
    for name in random.Random(seed).sample(good, min(blocks, len(good))):
        _solve_again(store, name, verdict, refused)
    if (asked := store.last_request()) is not None:
        verdict.differing += differing_decisions(store, asked)


def _what_is_wrong(store: Store, name: str, place: str = "") -> str:
    try:
        _certify(store, name, place)
    except DamagedBlock as error:
        return str(error)
    return ""


@confirmed
def _certify(store: Store, name: str, place: str) -> None:
    """Read a file and hold it against its name.

    Raises
    ------
    DamagedBlock, FileNotFoundError
    """
    file, (key, _, score) = store.file(name, place), name.partition(".")
    spec = read_text(file, "spec")
    if digest(spec) != key:
        raise DamagedBlock(f"{file.where}: holds another block than its name says")
    batch = json.loads(spec)["configuration"]["batch"]
    if score == ESTIMATES:
        rows = len(read_estimates(file).get("solved", ()))
    else:
        rows = len(read_block(file).cells)
        if score_digest(read_text(file, "scoring")) != score:
            raise DamagedBlock(f"{file.where}: holds another scoring than its name says")
    if rows != batch:
        raise DamagedBlock(f"{file.where}: {rows} realizations, expected {batch}")


def block_of(text: str, refused: str = "") -> Block:
    """The block that the text of a spec describes, ready to be solved; see `solvable`.

    Raises
    ------
    ValueError
        Its solver or scenario is not to be had or may not run here, or not in that version.
    """
    tables = json.loads(text)
    spec = tables["configuration"]
    found = Configuration(spec["solver"]["use"], point={}, grid_index=(), spec=spec, scoring={})
    return Block(solvable(found, refused), tables["block"])


def _solve_again(store: Store, name: str, verdict: Verdict, refused: str) -> None:
    stored, what = read_block(file := store.file(name)), f"{name}.npz"
    if np.isin(stored.cells["status"], (Status.TIME_LIMIT, Status.KILLED_WORKER)).any():
        verdict.skipped.append(f"{what}: has realizations that ran over time or killed workers")
        return
    try:
        block = block_of(read_text(file, "spec"), refused)
    except (ValueError, TypeError) as error:
        verdict.skipped.append(f"{what}: {error}")
        return
    if block.files[-1] != name:
        verdict.skipped.append(f"{what}: scored by another version of the scenario's score")
        return
    about = provenance.of_process()
    exact = all(stored.meta.get(name) == about[name] for name in provenance.SAME_MACHINE)
    again = solve_block(block)
    verdict.solved += 1
    verdict.exact += exact
    verdict.differing += [
        f"{what} ({block.configuration.describe()}, block {block.index}): {text}"
        for text in differences(stored, again, exact=exact)
    ]


def differences(stored: BlockData, again: BlockData, *, exact: bool) -> list[str]:
    """Sentences on where two versions of a block disagree."""
    found = []
    names = set(stored.cells.dtype.names or ()) | set(again.cells.dtype.names or ())
    for name in sorted(names - NOT_COMPARED):
        if not all(name in (cells.dtype.names or ()) for cells in (stored.cells, again.cells)):
            found.append(f"{name} is in one of them only")
            continue
        a, b = stored.cells[name], again.cells[name]
        if a.shape != b.shape:
            found.append(f"{name} has shape {a.shape}, now {b.shape}")
            continue
        apart = _apart(a, b, exact=exact)
        rows = np.flatnonzero(apart.reshape(len(a), -1).any(axis=1))
        found += [f"{name} of row {row}: {_first(a[row])}, now {_first(b[row])}" for row in rows]
    return found


def _apart(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], *, exact: bool) -> Any:
    if exact or a.dtype.kind != "f":
        with np.errstate(invalid="ignore"):
            return ~((a == b) | ((a != a) & (b != b)))
    peak = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    return ~np.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * peak, equal_nan=True)


def _first(value: Any) -> str:
    value = np.ravel(value)[0]
    return f"{value:.17g}" if isinstance(value, float) and math.isfinite(value) else str(value)
