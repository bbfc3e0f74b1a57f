"""Hardware of a reflecting surface: what it reflects for the phases that it is set to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as parameters

from pipeline.scenarios.arrays import Geometry, per_axis
from pipeline.scenarios.base import PARAMETERS, Count, NotNegative, Real
from pipeline.scenarios.streams import Draws

Array = NDArray[Any]


@parameters(frozen=True, config=PARAMETERS, kw_only=True)
class Hardware(Geometry):
    """Hardware impairments of the IRS; by default there are none.

    Attributes
    ----------
    phase_bits : int, optional
        The IRS takes the nearest of 2^b phases; None: the one that is asked for.
    least_amplitude : float
        Reflection amplitude β_min of the phase at which elements absorb most; 1: none do.
    dead_elements : float
        Probability that an element of the IRS reflects nothing, for each realization.
    phase_noise : float
        Standard deviation of each phase of the IRS, under each pattern, degrees.
    assumed_hardware : "ideal" or "true"
        Whether the dictionary has the patterns that are asked for, or those that are reflected.

    Notes
    -----
    Amplitudes by phase are β(θ) of Abeywickrama et al., arXiv 1907.06002, with the phase and the
    steepness of its examples; Eq. `eq:amplitude` of docs/numbers.md.
    """

    phase_bits: Count | None = None
    least_amplitude: Annotated[Real, Field(gt=0, le=1)] = 1.0
    dead_elements: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    phase_noise: NotNegative = 0.0
    assumed_hardware: Literal["ideal", "true"] = "ideal"

    def check_hardware(self) -> None:
        """Raise ValueError where the dictionary cannot have what is reflected."""
        if self.assumed_hardware == "true" and len(per_axis(self.irs_elements)) > 1:
            raise ValueError(
                'assumed_hardware = "true" needs a linear IRS: what a planar one reflects is no '
                "Kronecker product of two patterns"
            )

    @property
    def is_ideal(self) -> bool:
        """Whether the hardware is ideal, so that patterns are reflected as they are set."""
        exact = self.phase_bits is None and self.least_amplitude == 1
        return exact and self.dead_elements == 0 and self.phase_noise == 0

    def reflected(self, patterns: Array, draws: Draws) -> Array:
        """Patterns as the hardware reflects them, (Q, N) or (B, Q, N)."""
        if self.is_ideal:
            return patterns
        phase = np.angle(patterns)
        if self.phase_bits is not None:
            step = 2.0 * np.pi / 2.0**self.phase_bits
            phase = step * np.round(phase / step)
        share = (0.5 * (np.sin(phase - 0.43 * np.pi) + 1.0)) ** 1.6
        amplitude = (1.0 - self.least_amplitude) * share + self.least_amplitude
        if self.phase_noise > 0:
            turned = draws.normal("phase_noise", *patterns.shape[-2:], complex_valued=False)
            phase = phase + np.radians(self.phase_noise) * turned
        reflected = np.abs(patterns) * amplitude * np.exp(1j * phase)
        if self.dead_elements == 0:
            return reflected
        drawn = draws.each("dead_elements", lambda rng: rng.random(patterns.shape[-1]))
        return np.where((drawn < self.dead_elements)[:, None], 0.0, reflected)
