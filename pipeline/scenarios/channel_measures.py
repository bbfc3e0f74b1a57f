"""Figures of merit of an estimated channel: its error, its beam pattern, its angles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.scenarios import metrics
from pipeline.scenarios.base import Measure

Array = NDArray[Any]

MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "beam_error": Measure(
            "1", "squared error of the beam pattern", "lower", None, (0, None), 1, True
        ),
        "detection": Measure(
            "1", "share of the paths that are found", "higher", None, (0, 1), 0, True
        ),
        "angle_error": Measure(
            "1", "error of the cosines of paths found", "lower", None, (0, 1), None, True
        ),
    }
)

FINER = 4
"""Directions per antenna at which a beam pattern is looked at."""


def channel_nmse(channel: Array, truth: Array) -> Array:
    """‖Ĥ_q − H_q‖²/‖H_q‖² of channels (B, Q, M, U), mean over those q whose H_q is not 0, (B,)."""
    channel, truth = metrics.at_unit_scale(channel, truth)
    error = np.linalg.norm(channel - truth, axis=(2, 3)) ** 2
    power = np.linalg.norm(truth, axis=(2, 3)) ** 2
    return (error * weights(power)).sum(axis=1)


def weights(power: Array) -> Array:
    """Weights of a mean of errors relative to each pattern's power; 0 where that is 0, (B, Q)."""
    there = power > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(there, 1.0 / power, 0.0) / there.sum(axis=1, keepdims=True)


def beam_error(channel: Array, truth: Array, sides: Sequence[int]) -> Array:
    """Σ(P̂ − P)²/ΣP² of beam patterns P(ψ) = Σ_q‖a(ψ)ᴴH_q‖² at the receiver, (B,).

    Parameters
    ----------
    channel, truth : arrays, (B, Q, M, U)
    sides
        Antennas along each axis of the receiver, whose product is M.
    """
    channel, truth = metrics.at_unit_scale(channel, truth)
    axes = tuple(range(2, 2 + len(sides)))

    def pattern(matrices: Array) -> Array:
        shape = (*matrices.shape[:2], *sides, matrices.shape[-1])
        seen = np.fft.fftn(matrices.reshape(shape), [FINER * m for m in sides], axes)
        return (np.abs(seen) ** 2).sum(axis=(1, -1))

    return metrics.nmse(pattern(channel), pattern(truth))


def angle_scores(
    x: Array, grid: Sequence[Array], truth: Array | None
) -> dict[str, NDArray[np.float64]]:
    """``detection`` of the true paths, and ``angle_error`` of those detected, (B,) each.

    As many of the largest entries of x as there are true paths are paired with them, by that
    assignment which detects most paths and has the least error among those; a path is detected
    by an entry that lies within a cell of it along every axis.

    Parameters
    ----------
    x : array, (B, N_1, …, N_I)
        An estimate.
    grid : sequence of I arrays (N_i,)
        Cosines of its entries along each axis, any grid.
    truth : array, (B, L, I), or None
        Those of the true paths; None where they are not known, and all is NaN.

    Notes
    -----
    Eq. `eq:angle-error` of docs/numbers.md. Cosines count modulo 2, as half-wavelength arrays
    cannot tell them apart otherwise.
    """
    from scipy.optimize import linear_sum_assignment  # takes long

    found = {name: np.full(len(x), np.nan) for name in ("detection", "angle_error")}
    if truth is None:
        return found
    cells = 2.0 / np.array([len(axis) for axis in grid])
    magnitude = np.abs(x.reshape(len(x), -1))
    most = min(truth.shape[1], magnitude.shape[1])
    largest = np.argpartition(-magnitude, most - 1, axis=1)[:, :most]
    for row in np.flatnonzero(np.isfinite(magnitude).all(axis=1)):
        chosen = largest[row][magnitude[row, largest[row]] > 0]
        places = np.unravel_index(chosen, x.shape[1:])
        cosines = np.stack([a[p] for a, p in zip(grid, places, strict=True)], axis=-1)
        apart = truth[row, :, None] - cosines
        apart = np.abs((apart + 1.0) % 2.0 - 1.0)  # (L, K, I)
        near = (apart <= cells * (1 + 1e-9)).all(axis=-1)
        squares = (apart**2).mean(axis=-1)
        pairs = linear_sum_assignment(np.where(near, squares, 10.0 * len(truth[row])))
        right = near[pairs]
        found["detection"][row] = right.sum() / truth.shape[1]
        if right.any():
            found["angle_error"][row] = np.sqrt(squares[pairs][right].mean())
    return found
