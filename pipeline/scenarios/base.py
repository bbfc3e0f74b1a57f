"""The contract of a scenario: it draws problems, and scores what solvers make of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from solvers import Estimate, Problem

# Strict about scalars (neither "3" nor true is a 3), lenient about lists for tuples.
Count = Annotated[int, Field(strict=True, ge=1)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
# Further apart than double precision reaches, and far from overflowing as a ratio.
Decibels = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-300, le=300)]
Counts = Annotated[tuple[Count, ...], Field(min_length=1)]

PARAMETERS = ConfigDict(extra="forbid")
"""Of the pydantic dataclasses that scenarios are."""


class Measure(NamedTuple):
    """How to read one of the figures that `Scenario.score` gives.

    Attributes
    ----------
    units : str
    long_name : str
    better : str
        "lower" or "higher".
    dimension : str or None
        Name of the extra axis of a measure with k values per realization.
    """

    units: str
    long_name: str
    better: str
    dimension: str | None = None


@dataclass(frozen=True, eq=False)
class Truth:
    """What the solvers must find.

    Attributes
    ----------
    x : array, (B, N_1, …, N_I)
    """

    x: NDArray[Any]


T = TypeVar("T", bound=Truth)


class Scenario(ABC, Generic[T]):
    """A frozen dataclass of parameters that draws batches of realizations.

    All randomness comes from `pipeline.scenarios.streams.stream`, by ingredient and realization,
    so that nothing added to a campaign changes a number that was there before.
    """

    version: ClassVar[int] = 1
    """Of `draw` and `score`; part of the key of every stored block."""

    measures: ClassVar[Mapping[str, Measure]]
    """The figures that `score` gives."""

    units: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Units and long name of parameters by their key in a sweep, for coordinates and plots."""

    @abstractmethod
    def draw(self, realizations: Sequence[int], seed: int) -> tuple[Problem, T]:
        """Problem and truth of some realizations.

        Parameters
        ----------
        realizations
            Their numbers; B of them.
        seed
            Of the campaign.
        """

    @abstractmethod
    def score(self, truth: T, problem: Problem, estimate: Estimate) -> dict[str, NDArray[Any]]:
        """Figures of merit by the names in `measures`, each (B,), or (B, k)."""


def noise_variance(power: NDArray[Any], snr_db: float) -> NDArray[np.float64]:
    """Noise variance `snr_db` below a signal power; positive even where there is no signal."""
    return np.maximum(power / 10.0 ** (snr_db / 10.0), np.finfo(float).tiny)
