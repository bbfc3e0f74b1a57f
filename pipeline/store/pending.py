"""Done and pending blocks: decided here alone, from one listing of the store."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from pipeline.campaign.blocks import Configuration

C = TypeVar("C", bound=Configuration)


class PendingBlocks(NamedTuple, Generic[C]):
    """The blocks of one configuration in a run or shard, and those that are not done.

    Attributes
    ----------
    configuration : Configuration
    blocks : int
        How many, done or not.
    todo : list of int
        Numbers of those that are not done.
    priority : float
        Less goes first.
    """

    configuration: C
    blocks: int
    todo: list[int]
    priority: float = 0.0


def done_blocks(
    configuration: Configuration, first: int, last: int, names: Collection[str]
) -> Iterator[int]:
    """Numbers of the blocks that are done and hold some of the realizations [first, last).

    Parameters
    ----------
    configuration
    first, last
        Realizations.
    names
        Of the store's files; see `Store.names`.
    """
    if configuration.declined:
        return
    for index in range(first // configuration.batch, -(-last // configuration.batch)):
        if configuration.is_done(index, names):
            yield index


def pending_blocks(
    configurations: Iterable[C],
    realizations: int,
    names: Collection[str],
    *,
    again: Collection[str] = (),
    shard: tuple[int, int] = (0, 1),
) -> list[PendingBlocks[C]]:
    """The blocks that cover so many realizations, configuration by configuration.

    Parameters
    ----------
    configurations
    realizations
    names
        Of the store's files; see `Store.names`.
    again
        Keys of blocks that count as not done.
    shard : (i, N)
        Only every N-th of the blocks, from the i-th; done or not, so that a shard's part stays
        the same whatever the others have done.
    """
    found, number = [], itertools.count()
    for configuration in configurations:
        count = configuration.block_count(realizations)
        mine = [index for index in range(count) if next(number) % shard[1] == shard[0]]
        todo = [
            index
            for index in mine
            if not configuration.is_done(index, names) or configuration.key(index) in again
        ]
        found.append(PendingBlocks(configuration, len(mine), todo))
    return found
