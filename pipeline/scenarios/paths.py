"""Paths between antenna arrays: where they leave and arrive, and the channel that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.scenarios.streams import normal, streams

Array = NDArray[Any]


def responses(antennas: int, directions: Array, grid: int) -> Array:
    """Responses a(ψ)_m = exp(jπmψ)/√M of a half-wavelength uniform linear array, (…, M).

    Parameters
    ----------
    antennas
        M.
    directions : array
        Directions k in cells of a grid of cosines, ψ = −1 + 2k/G; whole numbers lie on it.
    grid
        G.
    """
    cosines = -1.0 + 2.0 * np.asarray(directions) / grid
    turns = cosines[..., None] * np.arange(antennas)
    return np.exp(1j * np.pi * turns) / np.sqrt(antennas)


class Hop(NamedTuple):
    """L paths from one array to another, for each of B realizations.

    Attributes
    ----------
    departure, arrival : arrays, (B, L)
        Directions in cells of the grid.
    gain : complex array, (B, L)
    power : array, (L,)
        Expected |gain|² of each path.
    """

    departure: Array
    arrival: Array
    gain: Array
    power: Array


class Draws(NamedTuple):
    """Draws ingredients of some realizations, each from its own stream."""

    seed: int
    realizations: Sequence[int]

    def directions(self, ingredient: str, choices: int, paths: int, off_grid: float) -> Array:
        """Adjacent directions, the first of them among the first `choices` of the grid.

        Parameters
        ----------
        ingredient
            Name of the stream.
        choices
            Of the first direction.
        paths
            How many directions, L.
        off_grid
            Each of them lies up to this share of half a cell away from the grid.

        Returns
        -------
        array, (B, L)
        """
        first = [rng.integers(choices) for rng in self._streams(ingredient)]
        found = np.array(first)[:, None] + np.arange(paths)
        if off_grid == 0:
            return found
        offset = [rng.uniform(-0.5, 0.5, paths) for rng in self._streams(f"{ingredient}.offset")]
        return found + off_grid * np.stack(offset)

    def gains(self, ingredient: str, paths: int) -> Array:
        """Gains CN(0, 1), (B, L)."""
        drawn = [normal(rng, (paths,), complex_valued=True) for rng in self._streams(ingredient)]
        return np.stack(drawn)

    def phases(self, ingredient: str) -> Array:
        """Gains of modulus 1 and a uniform phase, (B, 1)."""
        turns = np.array([[rng.random()] for rng in self._streams(ingredient)])
        return np.exp(2j * np.pi * turns)

    def chosen(self, ingredient: str, share: float, size: int) -> Array:
        """Entries of `size` that are chosen with probability `share`, bool (B, size)."""
        return np.stack([rng.random(size) < share for rng in self._streams(ingredient)])

    def _streams(self, ingredient: str) -> Any:
        return streams(self.seed, ingredient, self.realizations)


def with_line_of_sight(hop: Hop, sight: Hop, k_factor: float) -> Hop:
    """Scattered paths and a line of sight that carries `k_factor` times their power (Rice).

    Together they have the power that the scattered ones have without.
    """
    scattered = 1.0 / (1.0 + k_factor)
    direct = hop.power.sum() * k_factor * scattered

    def joined(first: Array, second: Array) -> Array:
        return np.concatenate([first, second], axis=-1)

    return Hop(
        joined(hop.departure, sight.departure),
        joined(hop.arrival, sight.arrival),
        joined(np.sqrt(scattered) * hop.gain, np.sqrt(direct) * sight.gain),
        joined(scattered * hop.power, direct * sight.power),
    )


def cascade(
    first: Hop, second: Hop, patterns: Array, antennas: tuple[int, int], grid: int
) -> Array:
    """Channel of two hops by way of a reflecting surface, under each of its patterns.

    Parameters
    ----------
    first, second
        To the surface, and from it.
    patterns : array, (Q, N) or (B, Q, N)
        Reflection coefficients of the N elements.
    antennas
        Where the first hop begins (U), and where the second ends (M).
    grid
        G, the unit of directions.

    Returns
    -------
    array, (B, Q, M, U)
        H_q = H_2 diag(θ_q) H_1 with H = Σ_l g_l a(arrival_l) a(departure_l)ᴴ.
    """
    batch, elements = len(first.gain), patterns.shape[-1]
    arriving = responses(elements, first.arrival, grid).swapaxes(1, 2)
    leaving = responses(elements, second.departure, grid).conj()
    patterns = np.broadcast_to(patterns, (batch, *patterns.shape[-2:]))
    reflected = (leaving[:, :, None] * patterns[:, None]) @ arriving[:, None]  # (B, P, Q, L)
    gains = second.gain[:, :, None, None] * reflected * first.gain[:, None, None]
    begin = responses(antennas[0], first.departure, grid).conj()
    end = responses(antennas[1], second.arrival, grid)
    by_end = gains @ begin[:, None]  # (B, P, Q, U)
    found: Array = np.einsum("bpqu,bpm->bqmu", by_end, end, optimize=True)
    return found


def on_grid(first: Hop, second: Hop, grid: int) -> tuple[Array, Array]:
    """Coefficients of the cascade over differences of angles at the surface, and their variances.

    On the grid a(arrival) ∘ conj a(departure) depends on departure − arrival modulo G only.

    Returns
    -------
    x : complex array, (B, G, G, G)
        Over that difference, departures of the first hop and arrivals of the second.
    variance : array, (B, G, G, G)
        Expected |x|².
    """
    x = np.zeros((len(first.gain), grid, grid, grid), complex)
    variance = np.zeros(x.shape)
    rows = np.arange(len(x))[:, None, None]
    difference = (second.departure[:, None] - first.arrival[:, :, None]) % grid  # (B, L, P)
    place = (rows, difference, first.departure[:, :, None], second.arrival[:, None])
    np.add.at(x, place, first.gain[:, :, None] * second.gain[:, None])
    np.add.at(variance, place, first.power[:, None] * second.power)
    return x, variance
