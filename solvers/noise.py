"""The noise variance where it is estimated: its start, its M-step and its floor."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from solvers.arrays import flat, namespace
from solvers.core import Solver
from solvers.kron import abs2, total
from solvers.options import option
from solvers.posterior import Posterior
from solvers.problem import Array
from solvers.units import RESOLVED


@dataclass(frozen=True)
class NoiseOption(Solver):
    """Base class of solvers that either know the noise variance or estimate it."""

    noise: str = option(
        "known",
        "take the noise variance from the problem, or estimate it",
        choices=("known", "estimate"),
        kw_only=True,
    )

    @property
    def requires(self) -> tuple[str, ...]:
        """The noise variance, unless it is estimated."""
        return ("noise_var",) if self.noise == "known" else ()


def first_noise_var(y: Array, scaling: str) -> Array:
    """An estimate to start from: all of y is noise, or Eq. `eq:noise-start` as published, (B,)."""
    if scaling == "data":
        return namespace(y).maximum(total(abs2(y)) / _size(y), noise_floor(y, scaling))
    every = flat(y)
    spread = total(abs2(every - namespace(y).mean(every, axis=1, keepdims=True)))
    return 0.1 * spread / max(every.shape[1] - 1, 1) + noise_floor(y, scaling)


def _size(y: Array) -> int:
    """Measurements of a realization."""
    return math.prod(y.shape[1:])


def noise_floor(y: Array, scaling: str) -> Array:
    """Least noise variance of realizations, (B,).

    Departure from the paper: an estimated variance stays above the rounding of y, since a fit
    without residual would drive it to 0 and the posterior's D = 1/(σ² + p) to infinity.
    """
    mean_power = total(abs2(y)) / _size(y)
    if scaling == "data":
        return RESOLVED * mean_power
    return sys.float_info.epsilon**2 * mean_power + sys.float_info.min


def fitted_noise_var(posterior: Posterior, y: Array) -> Array:
    """The noise variance that EM's M-step gives: Eq. `eq:noise-step` of docs/numbers.md."""
    fitted = posterior.residual + posterior.noise_var * posterior.effective_parameters
    return fitted / _size(y)
