"""What is sent to learn a channel: pilots of the antennas, reflection patterns of a surface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.scenarios.streams import stream, streams

Array = NDArray[Any]


def dft_rows(rows: int, columns: int) -> Array:
    """Rows of a discrete Fourier transform, of modulus 1/√columns, (rows, columns).

    Where there are fewer rows than columns, they are orthogonal, and spread over all frequencies;
    otherwise the columns are orthogonal.
    """
    size = max(rows, columns)
    frequencies = np.arange(rows) * size // rows
    return np.exp(-2j * np.pi * np.outer(frequencies, np.arange(columns)) / size) / np.sqrt(columns)


DRAWN: Mapping[str, Callable[[np.random.Generator, tuple[int, int]], Array]] = MappingProxyType(
    {
        "qpsk": lambda rng, size: np.array([1, 1j, -1, -1j])[rng.integers(4, size=size)],
        "binary": lambda rng, size: rng.integers(2, size=size) * 2.0 - 1.0,
        "uniform": lambda rng, size: np.exp(2j * np.pi * rng.random(size)),
    }
)
"""Random entries of modulus 1; more rows extend fewer."""


class Sequences(NamedTuple):
    """Rows of coefficients, one at a time at the antennas along each axis of an array.

    Along two axes they are sent in every combination, so that all of them together are a
    Kronecker product.

    Attributes
    ----------
    name : str
        Of the streams that they are drawn from.
    kind : str
        One of `DRAWN`, or "dft".
    rows, columns : tuples of int
        How many, and how many antennas, along each axis.
    fixed : bool
        Drawn once for a campaign instead of anew for each realization.
    given : array, (rows, columns), optional
        Instead of those, for one axis.
    """

    name: str
    kind: str
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    fixed: bool = False
    given: Array | None = None

    @property
    def is_drawn(self) -> bool:
        """Whether they are random."""
        return self.given is None and self.kind in DRAWN

    def one(self, axis: int, rng: np.random.Generator | None) -> Array:
        """Those along one axis, (rows, columns)."""
        if self.given is not None:
            return self.given
        rows, columns = self.rows[axis], self.columns[axis]
        if not self.is_drawn:
            return dft_rows(rows, columns)
        assert rng is not None
        return DRAWN[self.kind](rng, (rows, columns)) / np.sqrt(columns)

    def parts(self, seed: int, realizations: Sequence[int]) -> list[Array]:
        """Those along each axis, (rows, columns) or (B, rows, columns)."""
        found = []
        for axis in range(len(self.rows)):
            name = on_axis(self.name, axis)
            if not self.is_drawn:
                found.append(self.one(axis, None))
            elif self.fixed:
                found.append(self.one(axis, stream(seed, on_axis(f"{self.name}.fixed", axis), 0)))
            else:
                drawn = [self.one(axis, rng) for rng in streams(seed, name, realizations)]
                found.append(np.stack(drawn))
        return found


def on_axis(ingredient: str, axis: int) -> str:
    """The name of the stream of an ingredient along one axis of an array."""
    return ingredient if axis == 0 else f"{ingredient}.{axis}"
