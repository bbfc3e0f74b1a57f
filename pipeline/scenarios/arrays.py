"""Uniform arrays of antennas, linear or planar, and their responses to plane waves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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


def kron(parts: Sequence[Array]) -> Array:
    """Kronecker product of matrices, (…, ΠR_i, ΠC_i), each (…, R_i, C_i)."""

    def pair(a: Array, b: Array) -> Array:
        product = a[..., :, None, :, None] * b[..., None, :, None, :]
        rows, columns = a.shape[-2] * b.shape[-2], a.shape[-1] * b.shape[-1]
        return product.reshape(*product.shape[:-4], rows, columns)

    return reduce(pair, parts)


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
