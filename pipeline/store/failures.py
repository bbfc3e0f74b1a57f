"""The commonest failure of each solver in a store, with a realization that shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from pipeline.campaign.blocks import Configuration
from pipeline.store.block_file import DamagedBlock
from pipeline.store.folder import Store
from pipeline.store.pending import done_blocks
from solvers import Status


class CommonFailure(NamedTuple):
    """The failure that a solver has had most often.

    Attributes
    ----------
    solver : str
        Label.
    message : str
        The commonest one.
    point : dict
        Values of the swept parameters by their dimensions, of a realization that crashed.
    realization : int or None
        Its number; None where its block cannot be read any more.
    """

    solver: str
    message: str
    point: dict[str, Any]
    realization: int | None


def common_failures(store: Store) -> list[CommonFailure]:
    """Look for the commonest failure of each solver in what the last run has asked for.

    Raises
    ------
    InputError
        No run has asked for anything yet.
    """
    asked, marks = store.asked(), store.failures()
    names = store.names() if marks else set()
    found: dict[str, list[tuple[Configuration, int]]] = {}
    for configuration in asked.configurations:
        for index in done_blocks(configuration, 0, asked.realizations, names):
            if configuration.key(index) in marks:
                found.setdefault(configuration.label, []).append((configuration, index))
    dimensions = {axis.key: axis.dimension for axis in asked.axes}
    return [
        _of_solver(store, asked.realizations, dimensions, marks, blocks)
        for blocks in found.values()
    ]


def _of_solver(
    store: Store,
    realizations: int,
    dimensions: Mapping[str, str],
    marks: Mapping[str, Mapping[str, Any]],
    blocks: list[tuple[Configuration, int]],
) -> CommonFailure:
    said = [Counter[str](marks[c.key(i)]["messages"]) for c, i in blocks]
    message = max(sum(said, Counter[str]()).items(), key=lambda item: item[1], default=("", 0))[0]
    # Where a block has several messages, nothing tells which realization had which.
    nearest = sorted(range(len(blocks)), key=lambda n: -said[n][message] / (said[n].total() or 1))
    configuration, _ = blocks[nearest[0]]
    realization = None
    for configuration, index in (blocks[n] for n in nearest):
        realization = next(_crashed(store, configuration, index, realizations), None)
        if realization is not None:
            break
    point = {dimensions[key]: value for key, value in configuration.point.items()}
    return CommonFailure(configuration.label, message, point, realization)


def _crashed(
    store: Store, configuration: Configuration, index: int, realizations: int
) -> Iterator[int]:
    """Yield the realizations of a block that crashed, as far as they were asked for."""
    try:
        status = store.read(configuration, index).cells["status"]
    except (DamagedBlock, FileNotFoundError):
        return
    for row in np.flatnonzero(np.isin(status, Status.values("crashed"))):
        number = index * configuration.batch + int(row)
        if number < realizations:
            yield number
