"""The IRS study: the uplink channel of a MIMO link by way of an intelligent reflecting surface."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass as parameters

from pipeline.scenarios import channel_measures, metrics, paths
from pipeline.scenarios.base import (
    PARAMETERS,
    Decibels,
    Measure,
    Real,
    Scenario,
    Truth,
    noise_variance,
)
from pipeline.scenarios.paths import Hop
from pipeline.scenarios.records import Records, bound_to
from pipeline.scenarios.scattering import Scattering
from pipeline.scenarios.streams import Draws, stream
from pipeline.scenarios.surfaces import Hardware
from pipeline.scenarios.training import Training
from solvers import ErrorForm, Estimate, Problem
from solvers.kron import kron, kron_apply

Array = NDArray[Any]

FAINT = 1e-5
"""Norm below which a pattern's channel counts as no channel at all."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ChannelTruth(Truth):
    """The true channel, and its coefficients x where all angles lie on the grid.

    Attributes
    ----------
    channel : array, (B, Q, BS, UE)
        Cascaded channel from UE to BS under each of the Q reflection patterns.
    cosines : array, (B, L, I), or None
        Where its paths lie along the axes of x; see `pipeline.scenarios.paths.path_cosines`.
    """

    channel: Array
    cosines: Array | None = None


@parameters(frozen=True, config=PARAMETERS, kw_only=True)
class IrsMimo(Hardware, Training, Scattering, Scenario[ChannelTruth]):
    """Cascaded channel of UE, IRS and BS, sparse on an angular grid.

    Pilot p under reflection pattern q is received as H_irs_bs diag(θ_q) H_ue_irs s_p + n. On
    the grid, differences of angles at the IRS coincide modulo the grid, so that the cascade has
    a dictionary of three factors: patterns × grid, pilots × grid, BS antennas × grid; a planar
    array has two instead of one. The dictionary assumes half-wavelength arrays, ideal hardware,
    angles on its grid and the noise variance that it is told; the channel need keep to none of it.

    Attributes
    ----------
    snr_db : float
        Relative to the realised mean |y|² over pilots and patterns, dB; and after beamforming,
        for the symbol error rate. A direct link is not in it.
    noise_error_db : float
        How far the noise variance that solvers are told is above the true one, dB.
    recorded : str, optional
        File of channel matrices, .npz or zarr, instead of paths; see docs/recorded.md.
    recorded_digest : str
        Of its content, so that another content is another campaign.

    Notes
    -----
    Source: He and Joseph, arXiv 2307.14719, channel estimation for IRS-aided MIMO; ``main.m``
    of the authors' code. That code draws a pattern again under which the channel vanishes, by
    an expression that gives a different kind of pattern (a precedence slip), and keeps it for
    the trials after. Here such a pattern, where it is random, is replaced by another of its kind,
    for this realization only.
    """

    snr_db: Decibels
    noise_error_db: Real = 0.0
    recorded: str | None = None
    recorded_digest: str = ""

    units: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType(
        {
            "snr_db": ("dB", "SNR"),
            "spacing": ("1", "true spacing of antennas, in wavelengths"),
            "grid": ("1", "angles of the channel"),
            "cluster_width": ("1", "width of clusters, in cells"),
            "decay_db": ("dB", "decay from path to path"),
            "pilot_slots": ("1", "pilot slots"),
            "reflection_patterns": ("1", "reflection patterns"),
            "off_grid": ("1", "offset from the grid, in half cells"),
            "rician_db": ("dB", "Rician K factor"),
            "direct_db": ("dB", "power of the direct link"),
            "phase_bits": ("1", "bits of IRS phases"),
            "least_amplitude": ("1", "least reflection amplitude"),
            "dead_elements": ("1", "share of dead IRS elements"),
            "phase_noise": ("degree", "phase noise of the IRS"),
            "assumed_grid": ("1", "angles of the dictionary"),
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
            **channel_measures.MEASURES,
            **metrics.CALIBRATION,
        }
    )

    def __post_init__(self) -> None:
        self.check_paths()
        _ = self.assumed_arrays
        self.check_training()
        self.check_hardware()
        if self.phase_bits is not None and self.phases == "binary":
            raise ValueError(
                'phase_bits changes nothing of phases 0 and π; set phases = "uniform", too'
            )
        if (found := self._records) is not None:
            self._check_recorded(found)

    def _check_recorded(self, found: Records) -> None:
        """Raise ValueError where the file does not fit, or paths are described besides."""
        for name in ("spacing", *Scattering.__annotations__):
            if getattr(self, name) != getattr(Scattering, name):
                raise ValueError(f"{name} says nothing of recorded channels; drop it, or recorded")
        irs, ue, bs = (array.antennas for array in self.arrays)
        found.check("ue_irs", (None, irs, ue), "1")
        found.check("irs_bs", (found.shape("ue_irs")[0], bs, irs), "1")

    @property
    def _records(self) -> Records | None:
        """The file of channels, where there is one."""
        return None if self.recorded is None else bound_to(self, self.recorded, "recorded_digest")

    @property
    def records(self) -> int | None:
        """How many channels were recorded; see `Scenario.records`."""
        return None if self._records is None else self._records.shape("ue_irs")[0]

    def draw(self, realizations: Sequence[int], seed: int) -> tuple[Problem, ChannelTruth]:
        """Channel, pilots, patterns and noise of some realizations; see `Scenario.draw`."""
        draws = Draws(seed, realizations)
        hops = None if self.recorded else self.hops(draws)
        pilots = self._pilots.parts(draws)
        patterns, reflected, channel = self._visible(hops, draws)
        sent = kron(pilots)
        sent = (sent if sent.ndim == 2 else sent[:, None]).swapaxes(-2, -1)  # (…, UE, P)
        clean = (channel @ sent).swapaxes(2, 3)
        power = (np.abs(clean.reshape(len(clean), -1)) ** 2).mean(axis=1)
        noise_var = noise_variance(power, self.snr_db)
        noise = draws.normal("noise", *clean.shape[1:])
        told = noise_var * 10.0 ** (self.noise_error_db / 10.0)
        if self.direct == "removed":
            noise = noise - draws.normal("noise.direct", *clean.shape[2:])[:, None]
            told = 2.0 * told
        elif (link := self.direct_link(draws)) is not None:
            clean = clean + (link[:, None] @ sent).swapaxes(2, 3)
        y = clean + np.sqrt(noise_var)[:, None, None, None] * noise
        patterns = [reflected] if self.assumed_hardware == "true" else patterns
        problem = Problem(
            y=y.reshape(len(y), *self._patterns.rows, *self._pilots.rows, *self.arrays[2].sides),
            factors=self._factors(patterns, pilots),
            noise_var=told,
        )
        if hops is None:
            return problem, ChannelTruth(channel=channel)
        cosines = paths.path_cosines(*hops, self.arrays)
        if not self._on_grid:
            return problem, ChannelTruth(channel=channel, cosines=cosines)
        x, variance = paths.on_grid(*hops, [array.grids for array in self.arrays])
        truth = ChannelTruth(x=x, gains=self.gain_vectors(x), channel=channel, cosines=cosines)
        return dataclasses.replace(problem, true_variance=variance), truth

    @property
    def _on_grid(self) -> bool:
        """Whether angles lie on the grid of the dictionary."""
        return self.recorded is None and self.is_as_assumed and not self.has_own_angles

    def _visible(
        self, hops: tuple[Hop, Hop] | None, draws: Draws
    ) -> tuple[list[Array], Array, Array]:
        """Patterns along each axis of the IRS, what it makes of them, and the channel of each.

        Random ones are replaced that show nothing of a channel that was drawn.
        """
        patterns, again = self._patterns.parts(draws), None
        while True:
            reflected = self.reflected(kron(patterns), draws)
            channel = self._cascade(hops, reflected, draws)
            faint = np.linalg.norm(channel, axis=(2, 3)) < FAINT
            if hops is None or not (self._patterns.is_drawn and faint.any()):
                return patterns, reflected, channel
            seed, realizations = draws
            again = again or [stream(seed, "patterns.again", r) for r in realizations]
            patterns = self._patterns.again(patterns, faint, again)

    def _cascade(self, hops: tuple[Hop, Hop] | None, reflected: Array, draws: Draws) -> Array:
        """Channel under each pattern, (B, Q, BS, UE), of paths or as it was recorded."""
        if hops is not None:
            return paths.cascade(*hops, reflected, self.arrays)
        assert self._records is not None
        first, second = (
            self._records.rows(name, draws.realizations) / np.sqrt(self._records.power[name] or 1.0)
            for name in ("ue_irs", "irs_bs")
        )
        return (second[:, None] * reflected[..., None, :]) @ first[:, None]

    def _factors(self, patterns: Sequence[Array], pilots: Sequence[Array]) -> tuple[Array, ...]:
        """Factors of the dictionary, along each axis of IRS, UE and BS."""
        steered = self.dictionary
        seen = [p @ a for p, a in zip(patterns, self.surface_dictionary, strict=True)]
        sent = [s @ a for s, a in zip(pilots, steered, strict=False)]
        return (*seen, *sent, *steered[len(pilots) :])

    def channel(self, x: Array, problem: Problem) -> Array:
        """Cascaded channel of each pattern, (B, Q, BS, UE), that x stands for."""
        seen = problem.factors[: len(self._patterns.rows)]
        ue, bs = (array.antennas for array in self.arrays[1:])
        channel = kron_apply((*seen, *self.dictionary), np.asarray(x, complex))
        return channel.reshape(len(x), -1, ue, bs).swapaxes(2, 3)

    def score(
        self, truth: ChannelTruth, problem: Problem, estimate: Estimate
    ) -> dict[str, NDArray[Any]]:
        """NMSE and symbol error rate, means over patterns, and measures of beams and angles.

        Eqs. `eq:nmse-irs`, `eq:ser`, `eq:beam-error`, `eq:angle-error` of docs/numbers.md.
        """
        assert estimate.x is not None
        channel = self.channel(estimate.x, problem)
        return {
            "nmse": channel_measures.channel_nmse(channel, truth.channel),
            "ser": metrics.symbol_error_rate(truth.channel, channel, self.snr_db).mean(axis=1),
            "beam_error": channel_measures.beam_error(channel, truth.channel, self.arrays[2].sides),
            **channel_measures.angle_scores(estimate.x, self.assumed_cosines, truth.cosines),
            **metrics.calibration(estimate, truth.x),
        }

    def nmse(self, truth: ChannelTruth, problem: Problem, x: Array) -> Array:
        """NMSE of the cascaded channel, mean over patterns; see `Scenario.nmse`."""
        return channel_measures.channel_nmse(self.channel(x, problem), truth.channel)

    def signal_energy(self, truth: ChannelTruth, problem: Problem) -> Array:
        """Mean over patterns of ‖H_q‖_F², (B,); see `Scenario.signal_energy`."""
        energy: Array = (np.linalg.norm(truth.channel, axis=(2, 3)) ** 2).mean(axis=1)
        return energy

    def error_forms(self, problem: Problem, truth: ChannelTruth) -> list[ErrorForm] | None:
        """A form per pattern, the mean of ‖Ĥ_q − H_q‖²/‖H_q‖²; see `Scenario.error_forms`.

        None where the dictionary does not give the channel, whatever x is, or something else than
        white noise is in y.
        """
        known = self.is_ideal or self.assumed_hardware == "true"
        if not (self._on_grid and known) or self.direct_db is not None or self.direct == "removed":
            return None
        weights = channel_measures.weights(np.linalg.norm(truth.channel, axis=(2, 3)) ** 2)
        seen, rest = problem.factors[: len(self._patterns.rows)], self.dictionary
        rows = np.ndindex(*self._patterns.rows)
        return [
            ErrorForm(
                (*(a[..., q : q + 1, :] for a, q in zip(seen, row, strict=True)), *rest),
                weights[:, number],
            )
            for number, row in enumerate(rows)
        ]
