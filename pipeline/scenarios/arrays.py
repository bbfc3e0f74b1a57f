"""Uniform arrays of antennas, linear or planar, and their responses to plane waves."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as parameters

from pipeline.scenarios.base import PARAMETERS, Count, Counts, Positive
from solvers.kron import kron

Array = NDArray[Any]


def steering(cosines: Array, antennas: int, spacing: float = 0.5) -> Array:
    """Responses a(ψ)_m = exp(2jπdmψ)/√M of a uniform linear array, (…, M).

    Parameters
    ----------
    cosines : array
        Directions ψ, as cosines of the angle with the array.
    antennas
        M.
    spacing
        d, in wavelengths.
    """
    turns = 2.0 * spacing * np.asarray(cosines)[..., None] * np.arange(antennas)
    return np.exp(1j * np.pi * turns) / np.sqrt(antennas)


def on_cosines(directions: Array, grid: Any) -> Array:
    """Cosines ψ = −1 + 2k/G of directions k in cells of a grid of G; whole numbers lie on it."""
    return -1.0 + 2.0 * np.asarray(directions) / grid


def grid_cosines(grid: int, kind: str = "cosines") -> Array:
    """Cosines of the G directions of a grid, (G,), which is uniform in "cosines" or "angles"."""
    if kind == "angles":
        return -np.cos(np.pi * np.arange(grid) / grid)
    return on_cosines(np.arange(grid), grid)


class UniformArray(NamedTuple):
    """Antennas along one axis, or along two at right angles.

    Attributes
    ----------
    sides : tuple of int
        Antennas along each axis, M_a; the last axis is the fastest.
    grids : tuple of int
        Angles of the grid along each axis, G_a.
    spacing : float
        Of the antennas, in wavelengths.
    """

    sides: tuple[int, ...]
    grids: tuple[int, ...]
    spacing: float = 0.5

    @property
    def antennas(self) -> int:
        """How many they are, M."""
        return math.prod(self.sides)

    def responses(self, directions: Array) -> Array:
        """Responses to waves from directions in cells of the grids, (…, A) -> (…, M)."""
        cosines = on_cosines(directions, np.array(self.grids))
        axes = [
            steering(cosines[..., axis], side, self.spacing)[..., None, :]
            for axis, side in enumerate(self.sides)
        ]
        return kron(axes)[..., 0, :]


Sides = Count | Annotated[tuple[Count, ...], Field(min_length=1, max_length=2)]
"""Along the one axis of an array, or along each of two."""


def per_axis(value: int | tuple[int, ...]) -> tuple[int, ...]:
    """A value of type `Sides` as a tuple."""
    return value if isinstance(value, tuple) else (value,)


@parameters(frozen=True, config=PARAMETERS, kw_only=True)
class Geometry:
    """The arrays of a link by way of an IRS, and the grids of their angles.

    Attributes
    ----------
    ue_antennas, bs_antennas, irs_elements : int or (int, int)
        Uniform linear arrays, or the sides of planar ones.
    spacing : float
        True spacing of antennas and elements, in wavelengths.
    grid : int or tuple of int
        Angles per factor, uniform in cosine: of all, or of each axis of IRS, UE and BS.
    assumed_grid : int or tuple of int, optional
        Angles per factor of the dictionary; those of the channel's grid unless given.
    assumed_angles : "cosines" or "angles"
        In which the dictionary's grids of UE and BS are uniform.
    """

    ue_antennas: Sides = 6
    bs_antennas: Sides = 16
    irs_elements: Sides = 256
    spacing: Positive = 0.5
    grid: Count | Counts = 18
    assumed_grid: Count | Counts | None = None
    assumed_angles: Literal["cosines", "angles"] = "cosines"

    @property
    def arrays(self) -> list[UniformArray]:
        """IRS, UE and BS as they are, on the grid of the channel."""
        return self._on("grid", self.grid, self.spacing)

    @property
    def assumed_arrays(self) -> list[UniformArray]:
        """IRS, UE and BS as the dictionary has them."""
        return self._on("assumed_grid", self.assumed_grid or self.grid, 0.5)

    @property
    def is_as_assumed(self) -> bool:
        """Whether the dictionary has the arrays and grids of the channel."""
        return self.arrays == self.assumed_arrays and self.assumed_angles == "cosines"

    def _on(self, name: str, grid: int | tuple[int, ...], spacing: float) -> list[UniformArray]:
        """The arrays on a grid, the parameter `name`; ValueError where it does not fit them."""
        sides = [per_axis(n) for n in (self.irs_elements, self.ue_antennas, self.bs_antennas)]
        axes = sum(map(len, sides))
        grids = grid if isinstance(grid, tuple) else (grid,) * axes
        if len(grids) != axes:
            raise ValueError(
                f"{name} has {len(grids)} entries but the arrays have {axes} axes; give one "
                "number, or one for each axis of IRS, UE and BS"
            )
        ends = np.cumsum([len(side) for side in sides])
        return [
            UniformArray(side, grids[end - len(side) : end], spacing)
            for side, end in zip(sides, ends, strict=True)
        ]

    @property
    def assumed_cosines(self) -> list[Array]:
        """Cosines of the dictionary's grid along each axis of x, (N_i,).

        At the IRS these are differences of the cosines of departure and arrival.
        """
        irs, ue, bs = self.assumed_arrays
        return [
            *(2.0 * np.arange(grid) / grid for grid in irs.grids),
            *(grid_cosines(grid, self.assumed_angles) for grid in (*ue.grids, *bs.grids)),
        ]

    @property
    def dictionary(self) -> list[Array]:
        """Steering vectors along each axis of UE, conjugated, and BS on the assumed grid."""
        irs, ue, bs = self.assumed_arrays
        cosines = self.assumed_cosines[len(irs.sides) :]
        sides = (*ue.sides, *bs.sides)
        steered = [steering(c, side).T for c, side in zip(cosines, sides, strict=True)]
        return [*(a.conj() for a in steered[: len(ue.sides)]), *steered[len(ue.sides) :]]

    @property
    def surface_dictionary(self) -> list[Array]:
        """Distinct columns exp(−2πjma/G)/IRS of the IRS along each of its axes."""
        irs = self.assumed_arrays[0]
        return [
            np.exp(-2j * np.pi * (np.outer(np.arange(side), np.arange(grid)) / grid)) / side
            for side, grid in zip(irs.sides, irs.grids, strict=True)
        ]
