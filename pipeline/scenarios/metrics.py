"""Figures of merit, over batches of tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.scenarios.base import Measure
from solvers import Estimate

WIDTH_REAL, WIDTH_COMPLEX = 1.9599639845400545, math.sqrt(-math.log(0.05))
"""Standard deviations within which 95 % of a Gaussian lie, real or circular complex."""

CALIBRATION = {
    f"{what}_{part}": Measure("1", f"{words}, {part} the support", better, None, bounds, None, True)
    for what, words, better, bounds in (
        ("coverage", "share of entries in their 95 % posterior interval", "higher", (0, 1)),
        ("error_ratio", "squared error over posterior variance", "lower", (0, None)),
    )
    for part in ("on", "off")
}
"""Measures that `calibration` gives."""


def _energy(x: NDArray[Any]) -> NDArray[np.float64]:
    return (np.abs(x.reshape(len(x), -1)) ** 2).sum(axis=1)


def at_unit_scale(estimate: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Estimate and truth times the power of two, per row, that brings the truth's largest near 1.

    Squares of entries below 1e-154 underflow, and those of entries above 1e154 overflow. Products
    with a power of two are exact, so that ordinary rows keep every bit of their ratios. Where the
    truth is 0, the estimate's largest entry decides.
    """
    peak = np.where(_peak(truth) > 0, _peak(truth), _peak(estimate))
    exponent = np.where(np.isfinite(peak), np.frexp(peak)[1], 0)
    scale = np.ldexp(1.0, -np.clip(exponent, -1000, 1000))  # beyond, the scale itself overflows
    scale = scale.reshape(-1, *[1] * (truth.ndim - 1))
    return estimate * scale, truth * scale


def _peak(x: NDArray[Any]) -> NDArray[np.float64]:
    """The largest real or imaginary part of each row; magnitudes would overflow first."""
    parts = np.maximum(np.abs(x.real), np.abs(x.imag))
    return parts.reshape(len(x), -1).max(axis=1, initial=0.0)


def nmse(estimate: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Normalised squared error ‖x̂ − x‖²/‖x‖² of each row, (B,).

    Notes
    -----
    He and Joseph, arXiv 2307.14719, numerical results. Where the truth is 0, the value is 0 for
    an estimate of 0 and infinite for any other.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        estimate, truth = at_unit_scale(estimate, truth)
        error, power = _energy(estimate - truth), _energy(truth)
        return np.where((error == 0) & (power == 0), 0.0, error / power)


def support_recovery(
    estimate: NDArray[Any], truth: NDArray[Any], threshold: float = 1e-3
) -> NDArray[np.float64]:
    """Support recovery rate |S ∩ Ŝ| / |S ∪ Ŝ| of each row, (B,).

    Ŝ are the entries above `threshold` times the estimate's largest; an empty union counts as 1,
    an estimate with NaN as NaN.

    Notes
    -----
    ``recover_rate.m`` of the authors' code of arXiv 2307.14719.
    """
    found, there = _large(estimate, threshold), truth.reshape(len(truth), -1) != 0
    union = (found | there).sum(axis=1)
    rate = np.where(union > 0, (found & there).sum(axis=1) / np.maximum(union, 1), 1.0)
    return np.where(np.isnan(estimate).reshape(len(estimate), -1).any(axis=1), np.nan, rate)


def calibration(estimate: Estimate, truth: NDArray[Any] | None) -> dict[str, NDArray[np.float64]]:
    """Whether errors are as large as the posterior variances say, on and off the true support.

    Eqs. `eq:coverage` and `eq:error-ratio` of docs/numbers.md, (B,) each.

    Parameters
    ----------
    estimate
        Without variances all is NaN.
    truth
        The true x, (B, N_1, …, N_I); None where it is not on the dictionary, and all is NaN.
    """
    if estimate.x is None or estimate.variance is None or truth is None:
        return {name: np.full(len(estimate.status), np.nan) for name in CALIBRATION}
    deviation, error = at_unit_scale(np.sqrt(estimate.variance), estimate.x - truth)
    flat = (len(truth), -1)
    deviation, error = deviation.reshape(flat), np.abs(error).reshape(flat)
    on = truth.reshape(flat) != 0
    width = WIDTH_COMPLEX if np.iscomplexobj(estimate.x) else WIDTH_REAL
    covered = np.where(np.isnan(error), np.nan, error <= width * deviation)
    found = {}
    for part, there in (("on", on), ("off", ~on)):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            squares, variance = ((v**2 * there).sum(axis=1) for v in (error, deviation))
            found[f"coverage_{part}"] = (covered * there).sum(axis=1) / there.sum(axis=1)
            ratio = squares / variance
        as_said = there.any(axis=1) & (squares == 0) & (variance == 0)
        found[f"error_ratio_{part}"] = np.where(as_said, 1.0, ratio)
    return found


def support_scores(
    estimate: NDArray[Any], truth: NDArray[Any], threshold: float = 1e-3
) -> dict[str, NDArray[np.float64]]:
    """``precision``, ``recall`` and their harmonic mean ``f1`` of each row's support, (B,).

    Entries above `threshold` times the largest are found, or worth finding. Precision is the share
    of the found ones that are not 0 in truth, however small there; recall the share of those worth
    finding that are found. So the truth itself scores 1, as it need not by `support_recovery`. An
    estimate of 0 scores 0, unless there is nothing to find; one with NaN scores NaN.
    """
    found, there = _large(estimate, threshold), truth.reshape(len(truth), -1) != 0
    worth = _large(truth, threshold)
    nothing = np.where(there.any(axis=1), 0.0, 1.0)

    def share(hits: NDArray[Any], of: NDArray[Any]) -> NDArray[Any]:
        number = of.sum(axis=1)
        return np.where(number > 0, (hits & of).sum(axis=1) / np.maximum(number, 1), nothing)

    precision, recall = share(there, found), share(found, worth)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    odd = np.isnan(estimate).reshape(len(estimate), -1).any(axis=1)
    scores = {"precision": precision, "recall": recall, "f1": f1}
    return {name: np.where(odd, np.nan, score) for name, score in scores.items()}


def _large(x: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """True for the entries above `threshold` times the largest of their row, (B, N)."""
    magnitude = np.abs(x.reshape(len(x), -1))
    return (magnitude > threshold * magnitude.max(axis=1, keepdims=True)) & (magnitude > 0)


def symbol_error_rate(channel: NDArray[Any], estimate: NDArray[Any], snr_db: float) -> NDArray[Any]:
    """QPSK symbol error rate over a channel, with beamforming by an estimate of it.

    Parameters
    ----------
    channel, estimate : arrays, (…, BS, UE)
        True and estimated channel matrices H and Ĥ.
    snr_db : float
        How far the noise is below the realised power after beamforming, dB.

    Returns
    -------
    array, (…)

    Notes
    -----
    Transmit and receive beamformers are the leading singular vectors v, u of Ĥ, and symbols are
    detected with the effective gain uᴴĤv. With φ the angle of the true gain uᴴHv from it and s
    the linear SNR, a symbol is right when two independent Gaussian variables are positive:
    SER = 1 − Φ(√(2s) cos(φ + π/4)) Φ(√(2s) cos(φ − π/4)), Eq. `eq:ser` of docs/numbers.md.
    This replaces the 1e5 simulated symbols of ``ser_compute.m`` in the authors' code of arXiv
    2307.14719. Where there is no gain to detect with, three symbols of four are wrong.
    """
    import scipy.special  # takes long

    finite = np.asarray(np.isfinite(estimate).all(axis=(-2, -1)))
    estimate = np.where(finite[..., None, None], estimate, 0.0)
    u, _, vh = np.linalg.svd(estimate, full_matrices=False)
    receive, transmit = u[..., :, :1].conj(), vh[..., :1, :].conj()

    def gain(matrix: NDArray[Any]) -> NDArray[Any]:
        return (receive * matrix * transmit).sum(axis=(-2, -1))

    true, assumed = gain(channel), gain(estimate)
    phi = np.angle(true) - np.angle(assumed)
    root = np.sqrt(2.0 * 10.0 ** (snr_db / 10.0))
    misses = [scipy.special.ndtr(-root * np.cos(phi + turn)) for turn in (np.pi / 4, -np.pi / 4)]
    rate = misses[0] + misses[1] - misses[0] * misses[1]
    rate = np.where((np.abs(true) > 0) & (np.abs(assumed) > 0), rate, 0.75)
    return np.where(finite, rate, np.nan)
