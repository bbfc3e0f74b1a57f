"""Randomness by name: one independent stream per seed, ingredient and realization."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


def streams(
    seed: int, ingredient: str, realizations: Iterable[int]
) -> Iterator[np.random.Generator]:
    """The random streams of one ingredient, for several realizations in turn.

    Parameters
    ----------
    seed
        Of the campaign; any non-negative integer.
    ingredient
        What is drawn from it, "noise" or "support.0" say. A scenario that adds an ingredient
        leaves the streams of the others as they were.
    realizations
        Which realizations, from 0.

    Yields
    ------
    numpy.random.Generator
        Philox, keyed by seed and ingredient; the realization is the highest word of its counter,
        so that the streams of different realizations cannot overlap. It is one generator, set
        anew for each realization (ten times cheaper than a new one): draw from it before asking
        for the next.
    """
    digest = hashlib.blake2b(f"{seed}/{ingredient}".encode(), digest_size=16).digest()
    bits = np.random.Philox(key=np.frombuffer(digest, dtype="<u8"))
    rng, fresh = np.random.Generator(bits), bits.state
    for realization in realizations:
        fresh["state"]["counter"][3] = realization
        bits.state = fresh
        yield rng


def stream(seed: int, ingredient: str, realization: int) -> np.random.Generator:
    """The random stream of one ingredient of one realization; see `streams`."""
    return next(streams(seed, ingredient, [realization]))


def on_axis(ingredient: str, axis: int) -> str:
    """The name of the stream of an ingredient along one axis of an array."""
    return ingredient if axis == 0 else f"{ingredient}.{axis}"


class Draws(NamedTuple):
    """Draws ingredients of some realizations, each from its own stream."""

    seed: int
    realizations: Sequence[int]

    def each(self, ingredient: str, draw: Callable[[np.random.Generator], Any]) -> NDArray[Any]:
        """What is drawn from the stream of each realization, (B, …)."""
        return np.stack([draw(rng) for rng in streams(self.seed, ingredient, self.realizations)])

    def normal(self, ingredient: str, *shape: int, complex_valued: bool = True) -> NDArray[Any]:
        """Standard normal numbers, (B, *shape); see `normal`."""
        return self.each(ingredient, lambda rng: normal(rng, shape, complex_valued=complex_valued))


def normal(
    rng: np.random.Generator, shape: tuple[int, ...], *, complex_valued: bool = False
) -> NDArray[np.float64] | NDArray[np.complex128]:
    """Standard normal N(0, 1), or circular complex CN(0, 1), in C order.

    A larger first axis extends what a smaller one draws.
    """
    if not complex_valued:
        return rng.standard_normal(shape)
    pairs = rng.standard_normal((*shape, 2))
    return (pairs[..., 0] + 1j * pairs[..., 1]) / np.sqrt(2.0)
