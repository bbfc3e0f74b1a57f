"""Training of an IRS with as many patterns as elements, which needs no sparse channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from pipeline.scenarios import metrics
from pipeline.scenarios.arrays import steering
from pipeline.scenarios.base import (
    PARAMETERS,
    Count,
    Decibels,
    Measure,
    Scenario,
    Truth,
    noise_variance,
)
from pipeline.scenarios.streams import Draws
from pipeline.scenarios.training import Sequences
from solvers import ErrorForm, Estimate, Problem
from solvers.kron import kron_apply

Array = NDArray[Any]

TRAINING = ("reflection_patterns", "pilot_slots")


@dataclass(frozen=True, config=PARAMETERS)
class IrsTraining(Scenario[Truth]):
    """Channels to and from every element of an IRS, trained by enough patterns and pilots.

    y = (S ⊗ X ⊗ I) x + n with patterns S, pilots X, and x[n, u, b] = G[n, u] H[n, b] of the
    channels G from the UE to element n and H from there to the BS.

    Attributes
    ----------
    snr_db : float
        Relative to the realised mean |y|² without noise, dB.
    irs_elements, ue_antennas, bs_antennas : int
        Half-wavelength uniform linear arrays.
    reflection_patterns, pilot_slots : int
        At least as many as elements of the IRS, and as antennas of the UE.
    patterns : "random" or "dft"
        Patterns of uniform phases and QPSK pilots, drawn for each realization; or both from
        columns of a DFT, which are orthogonal.
    paths : int
        Of each hop, in directions of their own anywhere; 0 for channels of independent CN(0, 1)
        entries, as rich scattering makes them.

    Notes
    -----
    Source: the training of de Araújo, de Almeida and Boyer, arXiv 2008.04766. Draws are nested:
    more patterns, pilot slots and elements extend fewer of them.
    """

    snr_db: Decibels
    irs_elements: Count = 16
    ue_antennas: Count = 2
    bs_antennas: Count = 6
    reflection_patterns: Count = 20
    pilot_slots: Count = 4
    patterns: Literal["random", "dft"] = "random"
    paths: Annotated[int, Field(strict=True, ge=0)] = 0

    draw_version: ClassVar[int] = 2
    units: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType(
        {
            "snr_db": ("dB", "SNR"),
            "irs_elements": ("1", "IRS elements"),
            "reflection_patterns": ("1", "reflection patterns"),
            "paths": ("1", "paths per hop"),
        }
    )
    measures: ClassVar[Mapping[str, Measure]] = MappingProxyType(
        {
            "nmse": Measure(
                "1", "normalised mean squared error of x", "lower", bounds=(0, None), zero=1
            ),
            **metrics.CALIBRATION,
        }
    )

    def __post_init__(self) -> None:
        for fewer, more in zip(("irs_elements", "ue_antennas"), TRAINING, strict=True):
            if getattr(self, fewer) > (number := getattr(self, more)):
                raise ValueError(f"{more} {number} is less than {fewer}; take as many at least")

    def draw(self, realizations: Sequence[int], seed: int) -> tuple[Problem, Truth]:
        """Channels, patterns, pilots and noise of some realizations; see `Scenario.draw`."""
        draws = Draws(seed, realizations)
        first, second = (
            self._channel(draws, end, antennas)
            for end, antennas in (("ue", self.ue_antennas), ("bs", self.bs_antennas))
        )
        x = first[:, :, :, None] * second[:, :, None, :]
        factors = (*self._training(draws), np.eye(self.bs_antennas))
        clean = kron_apply(factors, x)
        noise_var = noise_variance((np.abs(clean) ** 2).mean(axis=(1, 2, 3)), self.snr_db)
        unit = draws.normal("noise", *clean.shape[1:])
        y = clean + np.sqrt(noise_var)[:, None, None, None] * unit
        return Problem(y, factors, noise_var, true_variance=np.ones(x.shape)), Truth(x)

    def _channel(self, draws: Draws, end: str, antennas: int) -> Array:
        """Between every element of the IRS and every antenna, (B, N, antennas), of unit power."""
        if self.paths == 0:
            return draws.normal(f"{end}_channel", self.irs_elements, antennas)
        irs, other = (
            draws.each(side, lambda rng: rng.uniform(-1.0, 1.0, self.paths))
            for side in (f"{end}_irs_angles", f"{end}_angles")
        )
        size = np.sqrt(self.irs_elements * antennas / self.paths)
        gains = size * draws.normal(f"{end}_gains", self.paths)
        steered = gains[:, :, None] * steering(irs, self.irs_elements)
        return steered.swapaxes(1, 2) @ steering(other, antennas)

    def _training(self, draws: Draws) -> list[Array]:
        """Patterns (…, K, N) of modulus 1, and pilots (…, T, U) of modulus 1/√U."""
        kinds = ("dft", "dft") if self.patterns == "dft" else ("uniform", "qpsk")
        patterns, pilots = (
            Sequences(name, kind, (rows,), (columns,)).parts(draws)[0]
            for name, kind, rows, columns in (
                ("patterns", kinds[0], self.reflection_patterns, self.irs_elements),
                ("pilots", kinds[1], self.pilot_slots, self.ue_antennas),
            )
        )
        return [np.sqrt(self.irs_elements) * patterns, pilots]

    def score(self, truth: Truth, problem: Problem, estimate: Estimate) -> dict[str, Array]:
        """NMSE of x, Eq. `eq:nmse` of docs/numbers.md, and calibration."""
        assert estimate.x is not None
        assert truth.x is not None
        return {
            "nmse": metrics.nmse(estimate.x, truth.x),
            **metrics.calibration(estimate, truth.x),
        }

    def error_forms(self, problem: Problem, truth: Truth) -> list[ErrorForm]:
        """‖x̂ − x‖²/‖x‖²; see `Scenario.error_forms`."""
        return [ErrorForm((None, None, None), 1.0 / self.signal_energy(truth, problem))]
