"""Scoring a store anew: new measures of old estimates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipeline.campaign.blocks import ESTIMATES, Block
from pipeline.driver.preparation import prepare
from pipeline.solving import process
from pipeline.solving.rescoring import rescored
from pipeline.store import Store
from pipeline.store.pending import pending_blocks


class Rescored(NamedTuple):
    """Result of a rescoring.

    Attributes
    ----------
    scored : int
        Blocks that have the measures as they are now.
    unsolved : int
        Blocks that are not done and keep no estimates: the next run solves them.
    """

    scored: int
    unsolved: int


def rescore(
    store: str | Path | Store,
    progress: Callable[[int, int], None] | None = None,
    *,
    code: Path | None = None,
) -> Rescored:
    """Compute the measures of a store as its scenario has them now, from kept estimates.

    Parameters
    ----------
    store
        The store, or its path.
    progress
        Called with how many blocks have been looked at, and how many there are.
    code
        Folder of a solver or scenario named ``module:Class``; see `Store.allow_code`.

    Raises
    ------
    InputError
        Nothing has been asked for, or the scenario is not to be had here.

    Notes
    -----
    The present versions are recorded as a request; a run does the same before it solves.
    """
    store = Store.of(store)
    folder = store.asked().facts.get("folder")
    prepared = prepare(store.last_campaign(code), store, Path(folder) if folder else None)
    names = store.names()
    pending = pending_blocks(prepared.configurations, prepared.campaign.realizations, names)
    blocks = [Block(part.configuration, index) for part in pending for index in part.todo]
    if prepared.campaign.stop is not None:  # others may never have been asked for
        blocks = [block for block in blocks if f"{block.key}.{ESTIMATES}" in names]
    process.prepare()
    scored = 0
    for seen, block in enumerate(blocks, 1):
        if (data := rescored(store, block)) is not None:
            store.write(block, data)
            scored += 1
        if progress is not None:
            progress(seen, len(blocks))
    return Rescored(scored, len(blocks) - scored)
