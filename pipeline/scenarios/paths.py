"""Paths between antenna arrays: the channel that they make, and its coefficients on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.scenarios.arrays import UniformArray, on_cosines

Array = NDArray[Any]


class Hop(NamedTuple):
    """L paths from one array to another, for each of B realizations.

    Attributes
    ----------
    departure, arrival : arrays, (B, L, A)
        Directions in cells of the grid, along each of the A axes of the array.
    gain : complex array, (B, L)
    power : array, (L,)
        Expected |gain|² of each path.
    """

    departure: Array
    arrival: Array
    gain: Array
    power: Array


def cascade(first: Hop, second: Hop, patterns: Array, arrays: Sequence[UniformArray]) -> Array:
    """Channel of two hops by way of a reflecting surface, under each of its patterns.

    Parameters
    ----------
    first, second
        To the surface, and from it.
    patterns : array, (Q, N) or (B, Q, N)
        Reflection coefficients of the N elements.
    arrays
        The surface, where the first hop begins (U antennas), and where the second ends (M).

    Returns
    -------
    array, (B, Q, M, U)
        H_q = H_2 diag(θ_q) H_1 with H = Σ_l g_l a(arrival_l) a(departure_l)ᴴ.
    """
    surface, begin, end = arrays
    arriving = surface.responses(first.arrival).swapaxes(1, 2)
    leaving = surface.responses(second.departure).conj()
    patterns = np.broadcast_to(patterns, (len(arriving), *patterns.shape[-2:]))
    reflected = (leaving[:, :, None] * patterns[:, None]) @ arriving[:, None]  # (B, P, Q, L)
    gains = second.gain[:, :, None, None] * reflected * first.gain[:, None, None]
    by_end = gains @ begin.responses(first.departure).conj()[:, None]  # (B, P, Q, U)
    ends = end.responses(second.arrival)
    found: Array = np.einsum("bpqu,bpm->bqmu", by_end, ends, optimize=True)
    return found


def on_grid(first: Hop, second: Hop, grids: Sequence[Sequence[int]]) -> tuple[Array, Array]:
    """Coefficients of the cascade over differences of angles at the surface, and their variances.

    On the grid a(arrival) ∘ conj a(departure) depends on departure − arrival modulo G only.

    Parameters
    ----------
    first, second
    grids
        Of each axis of the surface, of where the first hop begins, and of where the second ends.

    Returns
    -------
    x : complex array, (B, G_1, …, G_I)
        Over that difference, departures of the first hop and arrivals of the second.
    variance : array, (B, G_1, …, G_I)
        Expected |x|².
    """
    x = np.zeros((len(first.gain), *(g for axes in grids for g in axes)), complex)
    variance = np.zeros(x.shape)
    places = (  # each (B, L, P, A)
        (second.departure[:, None] - first.arrival[:, :, None]) % np.array(grids[0]),
        first.departure[:, :, None],
        second.arrival[:, None],
    )
    rows = np.arange(len(x))[:, None, None]
    place = (rows, *(p[..., axis] for p in places for axis in range(p.shape[-1])))
    np.add.at(x, place, first.gain[:, :, None] * second.gain[:, None])
    np.add.at(variance, place, first.power[:, None] * second.power)
    return x, variance


def path_cosines(first: Hop, second: Hop, arrays: Sequence[UniformArray]) -> Array:
    """Where each path of the cascade lies along the axes of x, as cosines, (B, L·P, I).

    At the surface it is the difference of the cosines of departure and arrival.
    """
    surface, begin, end = (np.array(array.grids) for array in arrays)
    parts = (
        (second.departure[:, None] - first.arrival[:, :, None]) * 2.0 / surface,
        on_cosines(first.departure, begin)[:, :, None],
        on_cosines(second.arrival, end)[:, None],
    )
    shape = (len(first.gain), first.gain.shape[1], second.gain.shape[1])
    wide = [np.broadcast_to(part, (*shape, part.shape[-1])) for part in parts]
    return np.concatenate(wide, axis=-1).reshape(shape[0], shape[1] * shape[2], -1)
