"""Problems from elsewhere: ray-traced or measured, from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass as parameters

from pipeline.scenarios import metrics
from pipeline.scenarios.base import PARAMETERS, Decibels, Measure, Scenario, Truth, noise_variance
from pipeline.scenarios.records import Records, bound_to
from pipeline.scenarios.streams import Draws
from solvers import Estimate, Problem
from solvers.kron import kron_apply

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Target(Truth):
    """Truth of recorded problems, with a target (B, K_1, …, K_J) where that is not x itself."""

    target: Array | None = None


@parameters(frozen=True, config=PARAMETERS, kw_only=True)
class Recorded(Scenario[Target]):
    """Problems of a file; realization r is its record r.

    Attributes
    ----------
    file : str
        .npz, or zarr, beside the campaign or anywhere: arrays y, factor_0, factor_1, …, and
        whatever more there is of noise_var, x, target, target_0, …; see docs/recorded.md.
    snr_db : float, optional
        Its y has no noise yet, and gets some, dB below the realised mean |y|². None: it has.
    digest : str
        Of its content, so that another content is another campaign.
    """

    file: str
    snr_db: Decibels | None = None
    digest: str = ""

    units: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType({"snr_db": ("dB", "SNR")})
    measures: ClassVar[Mapping[str, Measure]] = MappingProxyType(
        {
            "nmse": Measure(
                "1", "normalised mean squared error", "lower", bounds=(0, None), zero=1
            ),
            "residual": Measure(
                "1", "squared residual over ‖y‖²", "lower", None, (0, None), 1, detail=True
            ),
            **metrics.CALIBRATION,
        }
    )

    def __post_init__(self) -> None:
        found = self._records
        found.check("y", (None,) * max(len(found.shape("y")), 2))
        count, *measurements = found.shape("y")
        dims = self._check_factors("factor", measurements, (count,))
        if "noise_var" in found.arrays:
            unit = found.units.get("y")
            found.check("noise_var", (count,), f"{unit}2" if unit not in (None, "1") else unit)
            least = found.arrays["noise_var"][:].min()
            if np.iscomplexobj(least) or least < 0:
                raise ValueError(f"{self.file}: noise_var must be real and from 0, got {least:g}")
            if self.snr_db is not None:
                raise ValueError(f"{self.file}: has a noise_var, so y has noise; drop snr_db")
        if "x" in found.arrays:
            found.check("x", (count, *dims))
        if "target" in found.arrays:
            rows = found.shape("target")[1:]
            found.check("target", (count, *rows))
            if self._check_factors("target", rows, ()) != dims:
                raise ValueError(f"{self.file}: target_0, … need the columns of factor_0, …")
        known = {"y", "noise_var", "x", *(f"factor_{axis}" for axis in range(len(measurements)))}
        if "target" in found.arrays:
            known |= {"target", *(f"target_{axis}" for axis in range(len(rows)))}
        if unknown := sorted({*found.arrays} - known):
            raise ValueError(
                f"{self.file}: no such array as {', '.join(unknown)} is known beside "
                f"{', '.join(sorted(known))}; see docs/recorded.md"
            )

    def _check_factors(self, name: str, rows: Sequence[int], own: tuple[int, ...]) -> list[int]:
        """Columns of NAME_0, …, one for each axis; some may have records of their `own`."""
        for axis, length in enumerate(rows):
            each = own if len(self._records.shape(f"{name}_{axis}")) > 2 else ()
            self._records.check(f"{name}_{axis}", (*each, length, None))
        return [self._records.shape(f"{name}_{axis}")[-1] for axis in range(len(rows))]

    @property
    def _records(self) -> Records:
        return bound_to(self, self.file, "digest")

    @property
    def records(self) -> int:
        """How many there are; see `Scenario.records`."""
        return self._records.shape("y")[0]

    def draw(self, realizations: Sequence[int], seed: int) -> tuple[Problem, Target]:
        """Records with those numbers, and noise where they have none; see `Scenario.draw`."""
        found = self._records
        y, noise_var, x, target = (
            found.rows(name, realizations) if name in found.arrays else None
            for name in ("y", "noise_var", "x", "target")
        )
        assert y is not None
        factors = tuple(
            found.rows(name, realizations) if len(found.shape(name)) > 2 else found.arrays[name][:]
            for name in (f"factor_{axis}" for axis in range(y.ndim - 1))
        )
        if self.snr_db is not None:
            power = (np.abs(y.reshape(len(y), -1)) ** 2).mean(axis=1)
            noise_var = noise_variance(power, self.snr_db)
            kind = any(np.iscomplexobj(a) for a in (y, *factors))
            unit = Draws(seed, realizations).normal("noise", *y.shape[1:], complex_valued=kind)
            y = y + np.sqrt(noise_var).reshape(-1, *[1] * (y.ndim - 1)) * unit
        variance = None
        if x is not None:  # of the support alike, since no more is known of it
            axes = tuple(range(1, x.ndim))
            power = (np.abs(x) ** 2).sum(axes, keepdims=True)
            variance = (x != 0) * power / np.maximum((x != 0).sum(axes, keepdims=True), 1)
        return Problem(y, factors, noise_var, variance), Target(x=x, target=target)

    def score(self, truth: Target, problem: Problem, estimate: Estimate) -> dict[str, Array]:
        """NMSE of the target, or of x, and the residual; NaN of what is not known."""
        assert estimate.x is not None
        nmse = np.full(problem.batch, np.nan)
        if truth.target is not None:
            arrays = self._records.arrays
            factors = [arrays[f"target_{axis}"][:] for axis in range(truth.target.ndim - 1)]
            nmse = metrics.nmse(kron_apply(factors, estimate.x), truth.target)
        elif truth.x is not None:
            nmse = metrics.nmse(estimate.x, truth.x)
        return {
            "nmse": nmse,
            "residual": metrics.nmse(kron_apply(problem.factors, estimate.x), problem.y),
            **metrics.calibration(estimate, truth.x),
        }

    def signal_energy(self, truth: Target, problem: Problem) -> Array:
        """Energy of the target, or of x; see `Scenario.signal_energy`."""
        if truth.target is None:
            return super().signal_energy(truth, problem)
        return np.asarray((np.abs(truth.target.reshape(problem.batch, -1)) ** 2).sum(axis=1))
