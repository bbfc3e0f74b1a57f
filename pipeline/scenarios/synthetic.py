"""The synthetic study: random dictionary factors and a Kronecker-supported sparse vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from pipeline.scenarios import metrics
from pipeline.scenarios.base import (
    PARAMETERS,
    Count,
    Counts,
    Decibels,
    Measure,
    Positive,
    Scenario,
    Truth,
    noise_variance,
)
from pipeline.scenarios.streams import normal, streams
from solvers import ErrorForm, Estimate, Problem
from solvers.kron import kron_apply, outer


@dataclass(frozen=True, config=PARAMETERS)
class Synthetic(Scenario[Truth]):
    """y = (A_1 ⊗ … ⊗ A_I) x + n with i.i.d. N(0, 1) factors and Kronecker-supported x.

    Attributes
    ----------
    snr_db : float
        Signal-to-noise ratio, dB, relative to the realised mean power of the noiseless y,
        Eq. `eq:snr` of docs/numbers.md.
    dims : tuple of int
        Atoms per factor, N_i.
    measurements : tuple of int
        Rows per factor, M_i.
    sparsity : int or tuple of int
        Nonzeros per factor.
    gains : "product" or "independent"
        x = x_1 ⊗ … ⊗ x_I with Gaussian nonzeros, or independent Gaussian nonzeros on the
        Kronecker support.
    gain_variance : float
        Variance of each nonzero of an x_i, or of x with independent gains.
    complex_valued : bool
        Circular complex dictionary, gains and noise instead of real ones.
    snr_reference : tuple of int, optional
        Rows per factor over which noise is drawn and the signal power for the SNR is taken, at
        least `measurements`; so that a sweep over `measurements` keeps the noise as it is.

    Notes
    -----
    Source: He and Joseph, arXiv 2307.14719, the synthetic study; ``noisy_compare.m`` and
    ``known_unknown_nsq.m`` of the authors' code. Draws are nested: more measurements extend the
    rows drawn for fewer (their noise too, in the first factor, and in all with a
    `snr_reference`), a sparser support is a part of a denser one.
    """

    snr_db: Decibels
    dims: Counts = (15, 15, 15)
    measurements: Counts = (8, 12, 15)
    sparsity: Count | Counts = 3
    gains: Literal["product", "independent"] = "product"
    gain_variance: Positive = 1.0
    complex_valued: Annotated[bool, Field(strict=True)] = False
    snr_reference: Counts | None = None

    draw_version: ClassVar[int] = 2
    units: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType(
        {
            "snr_db": ("dB", "SNR"),
            "sparsity": ("1", "nonzeros per factor"),
            "measurements.0": ("1", "measurements of the first factor"),
        }
    )
    measures: ClassVar[Mapping[str, Measure]] = MappingProxyType(
        {
            "nmse": Measure(
                "1", "normalised mean squared error of x", "lower", bounds=(0, None), zero=1
            ),
            "srr": Measure("1", "support recovery rate", "higher", bounds=(0, 1), zero=0),
            **{
                name: Measure("1", f"{name} of the support", "higher", bounds=(0, 1), zero=0)
                for name in ("precision", "recall", "f1")
            },
            **metrics.CALIBRATION,
        }
    )

    def __post_init__(self) -> None:
        factors = len(self.dims)
        lists = {"measurements": self.measurements, "snr_reference": self.snr_reference}
        if isinstance(self.sparsity, tuple):
            lists["sparsity"] = self.sparsity
        for name, values in lists.items():
            if values is not None and len(values) != factors:
                raise ValueError(
                    f"{name} has {len(values)} entries but dims has {factors}; give one per factor"
                )
        for nonzeros, dim in zip(self.nonzeros, self.dims, strict=True):
            if nonzeros > dim:
                raise ValueError(
                    f"sparsity {nonzeros} is larger than the dimension {dim} of its factor"
                )
        for have, refer in zip(self.measurements, self.snr_reference or (), strict=False):
            if have > refer:
                raise ValueError(
                    f"snr_reference {refer} is smaller than the {have} measurements of its factor"
                )

    @property
    def nonzeros(self) -> tuple[int, ...]:
        """Nonzeros of every factor."""
        if isinstance(self.sparsity, tuple):
            return self.sparsity
        return (self.sparsity,) * len(self.dims)

    def draw(self, realizations: Sequence[int], seed: int) -> tuple[Problem, Truth]:
        """Dictionary, x and noise of some realizations; see `Scenario.draw`."""
        rows = self.snr_reference or self.measurements
        factors = [
            self._normal(seed, f"dictionary.{i}", realizations, shape)
            for i, shape in enumerate(zip(rows, self.dims, strict=True))
        ]
        positions = self._positions(realizations, seed)
        gains = self._gains(realizations, seed, positions)
        x = gains[0] if self.gains == "independent" else outer(gains)
        clean = kron_apply(factors, x)
        power = (np.abs(clean.reshape(len(x), -1)) ** 2).mean(axis=1)
        noise_var = noise_variance(power, self.snr_db)
        scale = np.sqrt(noise_var).reshape(-1, *[1] * len(rows))
        unit = self._normal(seed, "noise", realizations, rows)
        cut = (slice(None), *(slice(m) for m in self.measurements))
        problem = Problem(
            y=clean[cut] + scale * unit[cut],
            factors=tuple(a[:, :m] for a, m in zip(factors, self.measurements, strict=True)),
            noise_var=noise_var,
            true_variance=self._support(positions) * self._entry_variance,
        )
        return problem, Truth(x, gains if self.gains == "product" else None)

    @property
    def _entry_variance(self) -> float:
        """Variance of an entry of x on the support."""
        return self.gain_variance ** (len(self.dims) if self.gains == "product" else 1)

    def _normal(
        self, seed: int, ingredient: str, realizations: Sequence[int], shape: tuple[int, ...]
    ) -> NDArray[Any]:
        """Standard normal numbers of the scenario's kind, (B, *shape)."""
        generators = streams(seed, ingredient, realizations)
        return np.stack([normal(g, shape, complex_valued=self.complex_valued) for g in generators])

    def _positions(self, realizations: Sequence[int], seed: int) -> list[NDArray[Any]]:
        """Positions of the nonzeros of each factor, (B, K_i); fewer are the first of more."""
        return [
            np.stack([g.permutation(n)[:k] for g in streams(seed, f"support.{i}", realizations)])
            for i, (n, k) in enumerate(zip(self.dims, self.nonzeros, strict=True))
        ]

    def _support(self, positions: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
        """The Kronecker product of the factors' supports, (B, N_1, …, N_I)."""
        marginals = [np.zeros((len(p), n), bool) for n, p in zip(self.dims, positions, strict=True)]
        for marginal, places in zip(marginals, positions, strict=True):
            np.put_along_axis(marginal, places, True, axis=1)
        return outer(marginals)

    def _gains(
        self, realizations: Sequence[int], seed: int, positions: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[Any], ...]:
        """Vectors (B, N_i) whose product is x, or x itself, with its nonzeros at `positions`."""
        batch, scale = len(realizations), np.sqrt(self.gain_variance)
        dtype = complex if self.complex_valued else float
        if self.gains == "product":
            parts = [np.zeros((batch, n), dtype) for n in self.dims]
            for i, (part, places) in enumerate(zip(parts, positions, strict=True)):
                drawn = self._normal(seed, f"gains.{i}", realizations, part.shape[1:])
                np.put_along_axis(part, places, scale * drawn[:, : places.shape[1]], axis=1)
            return tuple(parts)
        x = np.zeros((batch, *self.dims), dtype)
        # One gain per entry of a full support, so that a sparser one uses a part of them.
        drawn = scale * self._normal(seed, "gains", realizations, self.dims)
        for row, gains in enumerate(drawn[:, *(slice(k) for k in self.nonzeros)]):
            x[row][np.ix_(*[places[row] for places in positions])] = gains
        return (x,)

    def score(self, truth: Truth, problem: Problem, estimate: Estimate) -> dict[str, NDArray[Any]]:
        """NMSE and measures of the support, from Eq. `eq:nmse` of docs/numbers.md on."""
        assert estimate.x is not None
        assert truth.x is not None
        return {
            "nmse": metrics.nmse(estimate.x, truth.x),
            "srr": metrics.support_recovery(estimate.x, truth.x),
            **metrics.support_scores(estimate.x, truth.x),
            **metrics.calibration(estimate, truth.x),
        }

    def error_forms(self, problem: Problem, truth: Truth) -> list[ErrorForm]:
        """‖x̂ − x‖²/‖x‖²; see `Scenario.error_forms`."""
        return [ErrorForm((None,) * len(self.dims), 1.0 / self.signal_energy(truth, problem))]
