"""The IRS study: the uplink channel of a MIMO link by way of an intelligent reflecting surface."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as parameters

from pipeline.scenarios import metrics
from pipeline.scenarios.base import (
    PARAMETERS,
    Count,
    Decibels,
    Measure,
    Real,
    Scenario,
    Truth,
    noise_variance,
)
from pipeline.scenarios.paths import Draws, Hop, cascade, on_grid, responses, with_line_of_sight
from pipeline.scenarios.streams import normal, stream, streams
from solvers import ErrorForm, Estimate, Problem
from solvers.kron import kron_apply

Array = NDArray[Any]


FAINT = 1e-5
"""Norm below which a pattern's channel counts as no channel at all."""


def steering(antennas: int, grid: int) -> Array:
    """Array responses on the grid, (M, G); see `responses`."""
    return responses(antennas, np.arange(grid), grid).T


@dataclass(frozen=True, eq=False, kw_only=True)
class ChannelTruth(Truth):
    """x where angles lie on the grid, and the channel itself.

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
    a dictionary of three factors: patterns × grid, pilots × grid, BS antennas × grid. The
    dictionary assumes ideal hardware, angles on its grid and the noise variance that it is told;
    the channel need keep to none of it.

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
    phases : "binary" or "uniform"
        Reflection phases of the patterns: 0 and π, or any.
    off_grid : float
        Each true angle lies up to this share of half a cell away from the grid: 0 on it, 1
        anywhere.
    assumed_grid : int, optional
        Angles per factor of the dictionary; those of the channel's grid unless given.
    rician_db : float, optional
        K factor of both hops, dB: a line of sight, of directions of its own, has that much more
        power than the scattered paths together. None, or -inf: there is none.
    phase_bits : int, optional
        The IRS takes the nearest of 2^b phases; None: the one that is asked for.
    least_amplitude : float
        Reflection amplitude β_min of the phase at which elements absorb most; 1: none do.
    dead_elements : float
        Probability that an element of the IRS reflects nothing, for each realization.
    noise_error_db : float
        How far the noise variance that solvers are told is above the true one, dB.

    Notes
    -----
    Source: He and Joseph, arXiv 2307.14719, channel estimation for IRS-aided MIMO; ``main.m``
    of the authors' code. That code draws a pattern again under which the channel vanishes, by
    an expression that gives a different kind of pattern (a precedence slip), and keeps it for
    the trials after. Here such a pattern is replaced by another of its kind, for this
    realization only. Amplitudes by phase follow Abeywickrama et al., arXiv 1907.06002.
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
    phases: Literal["binary", "uniform"] = "binary"
    off_grid: Annotated[Real, Field(ge=0, le=1)] = 0.0
    assumed_grid: Count | None = None
    rician_db: Annotated[float, Field(strict=True, le=300)] | None = None
    phase_bits: Count | None = None
    least_amplitude: Annotated[Real, Field(gt=0, le=1)] = 1.0
    dead_elements: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    noise_error_db: Real = 0.0

    units: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType(
        {
            "snr_db": ("dB", "SNR"),
            "pilot_slots": ("1", "pilot slots"),
            "reflection_patterns": ("1", "reflection patterns"),
            "off_grid": ("1", "offset from the grid, in half cells"),
            "assumed_grid": ("1", "angles of the dictionary"),
            "rician_db": ("dB", "Rician K factor"),
            "phase_bits": ("1", "bits of IRS phases"),
            "least_amplitude": ("1", "least reflection amplitude"),
            "dead_elements": ("1", "share of dead IRS elements"),
            "noise_error_db": ("dB", "error of the noise variance told"),
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
        if self.phase_bits is not None and self.phases == "binary":
            raise ValueError(
                'phase_bits changes nothing of phases 0 and π; set phases = "uniform", too'
            )

    @property
    def spreads(self) -> tuple[int, int]:
        """Angles of arrival at the IRS and at the BS."""
        return self.spread if isinstance(self.spread, tuple) else (self.spread, self.spread)

    def draw(self, realizations: Sequence[int], seed: int) -> tuple[Problem, ChannelTruth]:
        """Channel, pilots, patterns and noise of some realizations; see `Scenario.draw`."""
        hops = self.hops(realizations, seed)
        pilots = self._shared_or_not("pilots", realizations, seed)
        patterns, channel = self._visible(hops, realizations, seed)
        sent = pilots if pilots.ndim == 2 else pilots[:, None]
        clean = (channel @ sent.swapaxes(-2, -1)).swapaxes(2, 3)
        power = (np.abs(clean.reshape(len(clean), -1)) ** 2).mean(axis=1)
        noise_var = noise_variance(power, self.snr_db)
        unit = [
            normal(rng, clean.shape[1:], complex_valued=True)
            for rng in streams(seed, "noise", realizations)
        ]
        problem = Problem(
            y=clean + np.sqrt(noise_var)[:, None, None, None] * np.stack(unit),
            factors=self._factors(patterns, pilots),
            noise_var=noise_var * 10.0 ** (self.noise_error_db / 10.0),
        )
        if not self._on_grid:
            return problem, ChannelTruth(channel=channel)
        x, variance = on_grid(*hops, self.grid)
        truth = ChannelTruth(x=x, gains=self._gains(hops), channel=channel)
        return dataclasses.replace(problem, true_variance=variance), truth

    @property
    def _on_grid(self) -> bool:
        """Whether angles lie on the grid of the dictionary."""
        return self.off_grid == 0 and self._angles == self.grid

    @property
    def _angles(self) -> int:
        """Angles per factor of the dictionary."""
        return self.assumed_grid or self.grid

    @property
    def _ideal_surface(self) -> bool:
        """Whether the IRS reflects as it is told."""
        return self.phase_bits is None and self.least_amplitude == 1 and self.dead_elements == 0

    @property
    def _scales(self) -> tuple[float, float]:
        """Amplitudes of the hops, whose scattered paths share the power of their arrays."""
        irs, bs = self.spreads
        first = np.sqrt(self.ue_antennas * self.irs_elements / irs)
        return float(first), float(np.sqrt(self.bs_antennas * self.irs_elements / bs))

    def hops(self, realizations: Sequence[int], seed: int) -> tuple[Hop, Hop]:
        """Paths from the UE to the IRS, and from there to the BS."""
        draws = Draws(seed, realizations)
        found = []
        for begin, end, paths, scale in zip(
            ("ue", "irs"), ("irs", "bs"), self.spreads, self._scales, strict=True
        ):
            leaves = draws.directions(f"{begin}_departure", self.grid, 1, self.off_grid)
            choices = self.grid - paths + 1
            hop = Hop(
                np.repeat(leaves, paths, axis=1),
                draws.directions(f"{end}_arrival", choices, paths, self.off_grid),
                scale * draws.gains(f"{end}_gains", paths),
                np.full(paths, scale**2),
            )
            if self.rician_db is not None and self.rician_db > -np.inf:
                sight, side = f"{begin}_{end}.sight", (self.grid, 1, self.off_grid)
                direct = Hop(
                    draws.directions(f"{sight}.departure", *side),
                    draws.directions(f"{sight}.arrival", *side),
                    draws.phases(f"{sight}.phase"),
                    np.ones(1),
                )
                hop = with_line_of_sight(hop, direct, 10.0 ** (self.rician_db / 10.0))
            found.append(hop)
        return found[0], found[1]

    def _gains(self, hops: tuple[Hop, Hop]) -> tuple[Array, ...] | None:
        """Vectors whose product x is, over IRS angle difference, UE angle and BS angle."""
        first, second = hops
        if first.gain.shape[1] + second.gain.shape[1] > sum(self.spreads):
            return None  # a line of sight leaves by another angle than the scattered paths
        rows = np.arange(len(first.gain))[:, None]
        parts = [np.zeros((len(rows), self.grid), complex) for _ in range(3)]
        parts[0][rows, (second.departure[:, :1] - first.arrival) % self.grid] = first.gain
        parts[1][rows, first.departure[:, :1]] = 1.0
        parts[2][rows, second.arrival] = second.gain
        return tuple(parts)

    def _draw(self, what: str, rng: np.random.Generator) -> Array:
        """Pilots (slots, UE) or patterns (Q, IRS); more of them extend fewer."""
        if what == "pilots":
            turns = rng.integers(4, size=(self.pilot_slots, self.ue_antennas))
            return 1j**turns / np.sqrt(self.ue_antennas)
        size = (self.reflection_patterns, self.irs_elements)
        if self.phases == "uniform":
            return np.exp(2j * np.pi * rng.random(size)) / np.sqrt(self.irs_elements)
        return (rng.integers(2, size=size) * 2 - 1) / np.sqrt(self.irs_elements)

    def _shared_or_not(self, what: str, realizations: Sequence[int], seed: int) -> Array:
        """One draw for the campaign, or one per realization with a batch axis before it."""
        if self.patterns == "fixed":
            return self._draw(what, stream(seed, f"{what}.fixed", 0))
        return np.stack([self._draw(what, rng) for rng in streams(seed, what, realizations)])

    def _visible(
        self, hops: tuple[Hop, Hop], realizations: Sequence[int], seed: int
    ) -> tuple[Array, Array]:
        """Patterns, those replaced that show nothing of the channel, and the channel of each."""
        patterns = self._shared_or_not("patterns", realizations, seed)
        again = [stream(seed, "patterns.again", realization) for realization in realizations]
        draws, antennas = Draws(seed, realizations), (self.ue_antennas, self.bs_antennas)
        while True:
            reflected = self._reflected(patterns, draws)
            channel = cascade(*hops, reflected, antennas, self.grid)
            faint = np.linalg.norm(channel, axis=(2, 3)) < FAINT
            if not faint.any():
                return patterns, channel
            patterns = np.broadcast_to(patterns, (len(channel), *patterns.shape[-2:])).copy()
            for row in np.flatnonzero(faint.any(axis=1)):
                patterns[row, faint[row]] = self._draw("patterns", again[row])[faint[row]]

    def _reflected(self, patterns: Array, draws: Draws) -> Array:
        """What the IRS makes of patterns."""
        if self._ideal_surface:
            return patterns
        phase = np.angle(patterns)
        if self.phase_bits is not None:
            step = 2.0 * np.pi / 2.0**self.phase_bits
            phase = step * np.round(phase / step)
        # β(θ) of arXiv 1907.06002, with the phase and the steepness of its examples.
        share = (0.5 * (np.sin(phase - 0.43 * np.pi) + 1.0)) ** 1.6
        amplitude = (1.0 - self.least_amplitude) * share + self.least_amplitude
        reflected = np.abs(patterns) * amplitude * np.exp(1j * phase)
        if self.dead_elements == 0:
            return reflected
        dead = draws.chosen("dead_elements", self.dead_elements, self.irs_elements)
        return np.where(dead[:, None], 0.0, reflected)

    @property
    def _dictionary(self) -> tuple[Array, Array]:
        """Steering vectors of UE, conjugated, and BS on the grid that is assumed."""
        ue, bs = (steering(n, self._angles) for n in (self.ue_antennas, self.bs_antennas))
        return ue.conj(), bs

    def _factors(self, patterns: Array, pilots: Array) -> tuple[Array, ...]:
        """Factors of the dictionary; the IRS's distinct columns are exp(−2πjma/G)/IRS."""
        ue, bs = self._dictionary
        turns = np.outer(np.arange(self.irs_elements), np.arange(self._angles)) / self._angles
        seen = patterns @ (np.exp(-2j * np.pi * turns) / self.irs_elements)
        return seen, pilots @ ue, bs

    def channel(self, x: Array, pattern_factor: Array) -> Array:
        """Cascaded channel of each pattern, (B, Q, BS, UE), that x, (B, G, G, G), stands for."""
        return kron_apply((pattern_factor, *self._dictionary), x).swapaxes(2, 3)

    def score(
        self, truth: ChannelTruth, problem: Problem, estimate: Estimate
    ) -> dict[str, NDArray[Any]]:
        """NMSE and symbol error rate, means over patterns.

        Eqs. `eq:nmse-irs`, `eq:ser` of docs/numbers.md.
        """
        assert estimate.x is not None
        channel = self.channel(np.asarray(estimate.x, complex), problem.factors[0])
        return {
            "nmse": _channel_nmse(channel, truth.channel),
            "ser": metrics.symbol_error_rate(truth.channel, channel, self.snr_db).mean(axis=1),
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

    def error_forms(self, problem: Problem, truth: ChannelTruth) -> list[ErrorForm] | None:
        """A form per pattern, the mean of ‖Ĥ_q − H_q‖²/‖H_q‖²; see `Scenario.error_forms`.

        None where the dictionary does not give the channel, whatever x is.
        """
        if not (self._on_grid and self._ideal_surface):
            return None
        power, steered = np.linalg.norm(truth.channel, axis=(2, 3)) ** 2, self._dictionary
        return [
            ErrorForm(
                (problem.factors[0][..., q : q + 1, :], *steered),
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
