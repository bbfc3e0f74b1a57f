"""The IRS study: the uplink channel of a MIMO link by way of an intelligent reflecting surface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass as parameters

from pipeline.scenarios import metrics
from pipeline.scenarios.base import (
    PARAMETERS,
    Count,
    Decibels,
    Measure,
    Scenario,
    Truth,
    noise_variance,
)
from pipeline.scenarios.streams import normal, stream, streams
from solvers import ErrorForm, Estimate, Problem
from solvers.kron import kron_apply, outer

Array = NDArray[Any]

FAINT = 1e-5
"""Norm below which a pattern's channel counts as no channel at all."""


def steering(antennas: int, grid: int) -> Array:
    """Half-wavelength array responses a(ψ)_m = exp(jπmψ)/√M at ψ_k = −1 + 2k/G, (M, G)."""
    angles = -1.0 + 2.0 * np.arange(grid) / grid
    return np.exp(1j * np.pi * np.outer(np.arange(antennas), angles)) / np.sqrt(antennas)


def symbol_error_rate(channel: Array, estimate: Array, snr_db: float) -> Array:
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

    def gain(matrix: Array) -> Array:
        return (receive * matrix * transmit).sum(axis=(-2, -1))

    true, assumed = gain(channel), gain(estimate)
    phi = np.angle(true) - np.angle(assumed)
    root = np.sqrt(2.0 * 10.0 ** (snr_db / 10.0))
    misses = [scipy.special.ndtr(-root * np.cos(phi + turn)) for turn in (np.pi / 4, -np.pi / 4)]
    rate = misses[0] + misses[1] - misses[0] * misses[1]
    rate = np.where((np.abs(true) > 0) & (np.abs(assumed) > 0), rate, 0.75)
    return np.where(finite, rate, np.nan)


@dataclass(frozen=True, eq=False, kw_only=True)
class ChannelTruth(Truth):
    """x on the grid, and what it stands for.

    Attributes
    ----------
    channel : array, (B, Q, BS, UE)
        Cascaded channel from UE to BS under each of the Q reflection patterns.
    """

    channel: Array


@parameters(frozen=True, config=PARAMETERS)
class IrsMimo(Scenario[ChannelTruth]):
    """Cascaded channel of UE, IRS and BS, sparse on an angular grid.

    Pilot p under reflection pattern q is received as H_irs_bs diag(θ_q) H_ue_irs s_p + n. On
    the grid, differences of angles at the IRS coincide modulo the grid, so that the cascade has
    a dictionary of three factors: patterns × grid, pilots × grid, BS antennas × grid.

    Attributes
    ----------
    snr_db : float
        Relative to the realised mean |y|² over pilots and patterns, dB; and after beamforming,
        for the symbol error rate.
    ue_antennas, bs_antennas, irs_elements : int
        Half-wavelength uniform linear arrays.
    grid : int
        Angles per factor, uniform in cosine.
    spread : int or (int, int)
        Adjacent grid angles of arrival at the IRS and at the BS. They do not wrap around the
        end of the grid. UE and IRS each send in a single direction.
    pilot_slots, reflection_patterns : int
        Random QPSK pilots of modulus 1/√UE, and random ±1/√IRS patterns.
    patterns : "random" or "fixed"
        Pilots and patterns drawn anew for each realization, or once for the campaign (as the
        authors do).

    Notes
    -----
    Source: He and Joseph, arXiv 2307.14719, channel estimation for IRS-aided MIMO; ``main.m``
    of the authors' code. That code draws a pattern again under which the channel vanishes, by
    an expression that gives a different kind of pattern (a precedence slip), and keeps it for
    the trials after. Here such a pattern is replaced by another of its kind, for this
    realization only.
    """

    snr_db: Decibels
    ue_antennas: Count = 6
    bs_antennas: Count = 16
    irs_elements: Count = 256
    grid: Count = 18
    spread: Count | tuple[Count, Count] = 3
    pilot_slots: Count = 3
    reflection_patterns: Count = 6
    patterns: Literal["random", "fixed"] = "random"

    units: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType(
        {
            "snr_db": ("dB", "SNR"),
            "pilot_slots": ("1", "pilot slots"),
            "reflection_patterns": ("1", "reflection patterns"),
        }
    )
    measures: ClassVar[Mapping[str, Measure]] = MappingProxyType(
        {
            "nmse": Measure(
                "1",
                "normalised mean squared error of the cascaded channel",
                "lower",
                bounds=(0, None),
                zero=1,
            ),
            "ser": Measure("1", "symbol error rate of QPSK", "lower", bounds=(0, 1), zero=0.75),
            **metrics.CALIBRATION,
        }
    )

    def __post_init__(self) -> None:
        for width in self.spreads:
            if width > self.grid:
                raise ValueError(f"spread {width} is larger than the grid of {self.grid} angles")

    @property
    def spreads(self) -> tuple[int, int]:
        """Angles of arrival at the IRS and at the BS."""
        return self.spread if isinstance(self.spread, tuple) else (self.spread, self.spread)

    def draw(self, realizations: Sequence[int], seed: int) -> tuple[Problem, ChannelTruth]:
        """Channel, pilots, patterns and noise of some realizations; see `Scenario.draw`."""
        *first, last = self._gains(realizations, seed)
        x = self._scale * outer((*first, last))
        ue, bs = steering(self.ue_antennas, self.grid), steering(self.bs_antennas, self.grid)
        pilots = self._shared_or_not("pilots", realizations, seed)
        seen = self._visible_patterns(x, realizations, seed)
        factors = (seen, pilots @ ue.conj(), bs)
        clean = kron_apply(factors, x)
        power = (np.abs(clean.reshape(len(x), -1)) ** 2).mean(axis=1)
        noise_var = noise_variance(power, self.snr_db)
        unit = [
            normal(rng, clean.shape[1:], complex_valued=True)
            for rng in streams(seed, "noise", realizations)
        ]
        problem = Problem(
            y=clean + np.sqrt(noise_var)[:, None, None, None] * np.stack(unit),
            factors=factors,
            noise_var=noise_var,
            true_variance=(x != 0) * self._scale**2,
        )
        gains = (*first, self._scale * last)
        return problem, ChannelTruth(x=x, gains=gains, channel=self.channel(x, seen))

    @property
    def _scale(self) -> float:
        """Amplitude of the product of two unit gains."""
        first = self.ue_antennas * self.irs_elements / self.spreads[0]
        second = self.bs_antennas * self.irs_elements / self.spreads[1]
        return float(np.sqrt(first * second))

    def paths(self, realization: int, seed: int) -> dict[str, Array]:
        """Grid angles and gains of one realization.

        Returns
        -------
        dict
            ``ue_departure`` and ``irs_departure``: one index each; ``irs_arrival``,
            ``bs_arrival``: adjacent indices; ``irs_gains``, ``bs_gains``: CN(0, 1) of each.
        """

        def index(ingredient: str, choices: int) -> int:
            return int(stream(seed, ingredient, realization).integers(choices))

        def gains(ingredient: str, count: int) -> Array:
            rng = stream(seed, ingredient, realization)
            return normal(rng, (count,), complex_valued=True)

        irs, bs = self.spreads
        return {
            "ue_departure": np.array(index("ue_departure", self.grid)),
            "irs_arrival": index("irs_arrival", self.grid - irs + 1) + np.arange(irs),
            "irs_departure": np.array(index("irs_departure", self.grid)),
            "bs_arrival": index("bs_arrival", self.grid - bs + 1) + np.arange(bs),
            "irs_gains": gains("irs_gains", irs),
            "bs_gains": gains("bs_gains", bs),
        }

    def _gains(self, realizations: Sequence[int], seed: int) -> list[Array]:
        """Gains of the cascade over IRS angle difference, UE angle and BS angle."""
        parts = [np.zeros((len(realizations), self.grid), complex) for _ in range(3)]
        for row, realization in enumerate(realizations):
            path = self.paths(realization, seed)
            # a(arrival) ∘ conj a(departure) depends on departure − arrival modulo the grid.
            difference = (path["irs_departure"] - path["irs_arrival"]) % self.grid
            parts[0][row, difference] = path["irs_gains"]
            parts[1][row, path["ue_departure"]] = 1.0
            parts[2][row, path["bs_arrival"]] = path["bs_gains"]
        return parts

    def _draw(self, what: str, rng: np.random.Generator) -> Array:
        """Pilots (slots, UE) or patterns (Q, IRS); more of them extend fewer."""
        if what == "pilots":
            turns = rng.integers(4, size=(self.pilot_slots, self.ue_antennas))
            return 1j**turns / np.sqrt(self.ue_antennas)
        signs = rng.integers(2, size=(self.reflection_patterns, self.irs_elements)) * 2 - 1
        return signs / np.sqrt(self.irs_elements)

    def _shared_or_not(self, what: str, realizations: Sequence[int], seed: int) -> Array:
        """One draw for the campaign, or one per realization with a batch axis before it."""
        if self.patterns == "fixed":
            return self._draw(what, stream(seed, f"{what}.fixed", 0))
        return np.stack([self._draw(what, rng) for rng in streams(seed, what, realizations)])

    def _visible_patterns(self, x: Array, realizations: Sequence[int], seed: int) -> Array:
        """The patterns' factor, with those replaced that show nothing of the channel."""
        patterns = self._shared_or_not("patterns", realizations, seed)
        again = [stream(seed, "patterns.again", realization) for realization in realizations]
        while True:
            seen = self._pattern_factor(patterns)
            faint = np.linalg.norm(self.channel(x, seen), axis=(2, 3)) < FAINT
            if not faint.any():
                return seen
            patterns = np.broadcast_to(patterns, (len(x), *patterns.shape[-2:])).copy()
            for row in np.flatnonzero(faint.any(axis=1)):
                patterns[row, faint[row]] = self._draw("patterns", again[row])[faint[row]]

    def _pattern_factor(self, patterns: Array) -> Array:
        """Patterns times the IRS's distinct cascade columns exp(−2πjma/G)/IRS, (…, Q, G)."""
        turns = np.outer(np.arange(self.irs_elements), np.arange(self.grid)) / self.grid
        return patterns @ (np.exp(-2j * np.pi * turns) / self.irs_elements)

    def channel(self, x: Array, pattern_factor: Array) -> Array:
        """Cascaded channel of each pattern, (B, Q, BS, UE), from x, (B, G, G, G)."""
        ue, bs = steering(self.ue_antennas, self.grid), steering(self.bs_antennas, self.grid)
        return kron_apply((pattern_factor, ue.conj(), bs), x).swapaxes(2, 3)

    def score(
        self, truth: ChannelTruth, problem: Problem, estimate: Estimate
    ) -> dict[str, NDArray[Any]]:
        """NMSE and symbol error rate, means over patterns.

        Eqs. `eq:nmse-irs`, `eq:ser` of docs/numbers.md.
        """
        assert estimate.x is not None
        assert truth.x is not None
        channel = self.channel(np.asarray(estimate.x, complex), problem.factors[0])
        return {
            "nmse": _channel_nmse(channel, truth.channel),
            "ser": symbol_error_rate(truth.channel, channel, self.snr_db).mean(axis=1),
            **metrics.calibration(estimate, truth.x),
        }

    def nmse(self, truth: ChannelTruth, problem: Problem, x: Array) -> Array:
        """NMSE of the cascaded channel, mean over patterns; see `Scenario.nmse`."""
        return _channel_nmse(
            self.channel(np.asarray(x, complex), problem.factors[0]), truth.channel
        )

    def signal_energy(self, truth: ChannelTruth, problem: Problem) -> Array:
        """Mean over patterns of ‖H_q‖_F², (B,); see `Scenario.signal_energy`."""
        energy: Array = (np.linalg.norm(truth.channel, axis=(2, 3)) ** 2).mean(axis=1)
        return energy

    def error_forms(self, problem: Problem, truth: ChannelTruth) -> list[ErrorForm]:
        """A form per pattern, the mean of ‖Ĥ_q − H_q‖²/‖H_q‖²; see `Scenario.error_forms`."""
        ue, bs = steering(self.ue_antennas, self.grid), steering(self.bs_antennas, self.grid)
        power = np.linalg.norm(truth.channel, axis=(2, 3)) ** 2
        return [
            ErrorForm(
                (problem.factors[0][..., q : q + 1, :], ue.conj(), bs),
                1.0 / (power.shape[1] * power[:, q]),
            )
            for q in range(power.shape[1])
        ]


def _channel_nmse(channel: Array, truth: Array) -> Array:
    """‖Ĥ_q − H_q‖²/‖H_q‖², mean over patterns q, (B,)."""
    channel, truth = metrics.at_unit_scale(channel, truth)
    error = np.linalg.norm(channel - truth, axis=(2, 3)) ** 2
    power = np.linalg.norm(truth, axis=(2, 3)) ** 2
    return (error / power).mean(axis=1)
