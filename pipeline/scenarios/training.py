"""Training sequences: pilots of the antennas and reflection patterns of a surface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass as parameters

from pipeline.scenarios.arrays import Geometry, Sides, per_axis
from pipeline.scenarios.base import PARAMETERS, Real
from pipeline.scenarios.streams import Draws, on_axis, stream

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
    """Training sequences of an array: each slot applies a row of coefficients to the antennas.

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
        """The sequences along one axis, (rows, columns)."""
        if self.given is not None:
            return self.given
        rows, columns = self.rows[axis], self.columns[axis]
        if not self.is_drawn:
            return dft_rows(rows, columns)
        assert rng is not None
        return DRAWN[self.kind](rng, (rows, columns)) / np.sqrt(columns)

    def parts(self, draws: Draws) -> list[Array]:
        """The sequences along each axis, (rows, columns) or (B, rows, columns)."""
        return [self._along(axis, draws) for axis in range(len(self.rows))]

    def _along(self, axis: int, draws: Draws) -> Array:
        if not self.is_drawn:
            return self.one(axis, None)
        if self.fixed:
            return self.one(axis, stream(draws.seed, on_axis(f"{self.name}.fixed", axis), 0))
        return draws.each(on_axis(self.name, axis), lambda rng: self.one(axis, rng))

    def again(
        self, parts: Sequence[Array], rows: Array, generators: Sequence[np.random.Generator]
    ) -> list[Array]:
        """The sequences along each axis, drawn anew where they are part of given combinations.

        Parameters
        ----------
        parts
        rows : bool array, (B, ΠR_a)
            Which combinations of each realization.
        generators
            Of each realization.
        """
        found = [np.broadcast_to(p, (len(rows), *p.shape[-2:])).copy() for p in parts]
        for row in np.flatnonzero(rows.any(axis=1)).tolist():
            for axis, places in enumerate(np.nonzero(rows[row].reshape(self.rows))):
                found[axis][row, places] = self.one(axis, generators[row])[places]
        return found


@parameters(frozen=True, config=PARAMETERS, kw_only=True)
class Training(Geometry):
    """Pilots of the UE and reflection patterns of the IRS.

    Attributes
    ----------
    pilot_slots, reflection_patterns : int or (int, int)
        Pilots of modulus 1/√UE and patterns of modulus 1/√IRS; for a planar array as many along
        each axis, of which all Kronecker products are sent.
    patterns : "random" or "fixed"
        What is random of pilots and patterns is drawn anew for each realization, or once for the
        campaign (as the authors do).
    pilots : "qpsk" or "orthogonal"
        Random, or rows of a DFT.
    phases : "binary", "uniform", "dft" or "given"
        Reflection phases of the patterns: 0 and π, or any, at random; rows of a DFT; or
        `given_degrees`.
    given_degrees : list of lists of float, optional
        Phases of each pattern, degrees, for a linear IRS.
    """

    pilot_slots: Sides = 3
    reflection_patterns: Sides = 6
    patterns: Literal["random", "fixed"] = "random"
    pilots: Literal["qpsk", "orthogonal"] = "qpsk"
    phases: Literal["binary", "uniform", "dft", "given"] = "binary"
    given_degrees: tuple[tuple[Real, ...], ...] | None = None

    def check_training(self) -> None:
        """Raise ValueError where pilots or patterns do not fit the arrays."""
        for name, of in (("reflection_patterns", "irs_elements"), ("pilot_slots", "ue_antennas")):
            entries, axes = (len(per_axis(getattr(self, field))) for field in (name, of))
            if entries != axes:
                raise ValueError(
                    f"{name} has {entries} entries but {of} has {axes}; give one per axis"
                )
        if (self.phases == "given") != (self.given_degrees is not None):
            raise ValueError('phases = "given" and given_degrees go together; give both or none')
        sizes = [per_axis(n) for n in (self.reflection_patterns, self.irs_elements)]
        given = self.given_degrees
        if given is not None and [(len(given),), *{(len(row),) for row in given}] != sizes:
            raise ValueError(
                f"given_degrees must have {self.reflection_patterns} rows of {self.irs_elements} "
                "phases, as reflection_patterns and irs_elements say, for a linear IRS"
            )

    @property
    def _pilots(self) -> Sequences:
        kind = "dft" if self.pilots == "orthogonal" else self.pilots
        rows, columns = per_axis(self.pilot_slots), per_axis(self.ue_antennas)
        return Sequences("pilots", kind, rows, columns, self.patterns == "fixed")

    @property
    def _patterns(self) -> Sequences:
        rows, columns = per_axis(self.reflection_patterns), per_axis(self.irs_elements)
        given = None
        if self.given_degrees is not None:
            given = np.exp(1j * np.radians(self.given_degrees)) / np.sqrt(columns[0])
        fixed = self.patterns == "fixed"
        return Sequences("patterns", self.phases, rows, columns, fixed, given)
