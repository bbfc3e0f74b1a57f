"""The contract of a scenario: it draws problems, and scores what solvers make of them."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, Field

from solvers import ErrorForm, Estimate, Problem, Status

# Strict about scalars (neither "3" nor true is a 3), lenient about lists for tuples.
Count = Annotated[int, Field(strict=True, ge=1)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
NotNegative = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]


def _no_noise_or_some(value: float) -> float:
    if 300 < value < math.inf:
        raise ValueError("Input should be at most 300, or inf where there is no noise")
    return value


# Further apart than double precision reaches, and far from overflowing as a ratio.
Decibels = Annotated[float, Field(strict=True, ge=-300), AfterValidator(_no_noise_or_some)]
Counts = Annotated[tuple[Count, ...], Field(min_length=1)]

PARAMETERS = ConfigDict(extra="forbid")
"""Configuration of scenarios as pydantic dataclasses: unknown parameters are refused."""


class Measure(NamedTuple):
    """Meaning of one of the figures of merit that `Scenario.score` gives.

    Attributes
    ----------
    units : str
    long_name : str
    better : str
        "lower" or "higher".
    dimension : str or None
        Name of the extra axis of a measure with k values per realization.
    bounds : (float or None, float or None)
        The least and the largest value that it can take; None where there is no bound.
    zero : float or None
        Its value for the estimate x̂ = 0, where that is the same for every problem.
    detail : bool
        Whether tables of other measures leave it out.
    """

    units: str
    long_name: str
    better: str
    dimension: str | None = None
    bounds: tuple[float | None, float | None] = (None, None)
    zero: float | None = None
    detail: bool = False


@dataclass(frozen=True, eq=False)
class Truth:
    """The truth that solvers must find.

    Subclasses add fields for what they score against: arrays whose first axis is the batch.

    Attributes
    ----------
    x : array, (B, N_1, …, N_I), or None
        Coefficients on the dictionary; None where the truth does not lie on it.
    gains : tuple of I arrays (B, N_i), or None
        Vectors whose Kronecker product x is in every realization; None where that need not be.
    """

    x: NDArray[Any] | None = None
    gains: tuple[NDArray[Any], ...] | None = None

    def take(self, rows: NDArray[Any]) -> Self:
        """The truth of the realizations `rows` (indices, a slice or a mask)."""
        arrays = {
            field.name: value[rows]
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        gains = None if self.gains is None else tuple(g[rows] for g in self.gains)
        return dataclasses.replace(self, gains=gains, **arrays)


T = TypeVar("T", bound=Truth)


class Scenario(ABC, Generic[T]):
    """A frozen dataclass of parameters that draws batches of realizations.

    All randomness comes from `pipeline.scenarios.streams.stream`, by ingredient and realization,
    so that nothing added to a campaign changes a number that was there before.
    """

    draw_version: ClassVar[int] = 1
    """Version of `draw`: raised when its numbers change, so that blocks are solved again."""

    score_version: ClassVar[int] = 1
    """Version of `score`: raised when its numbers change, so that blocks are scored again."""

    measures: ClassVar[Mapping[str, Measure]]
    """The figures of merit that `score` gives."""

    units: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Units and long name of parameters by their key in a sweep, for coordinates and plots."""

    @property
    def records(self) -> int | None:
        """How many realizations there are at most; None: as many as anybody wants."""
        return None

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

    def nmse(self, truth: T, problem: Problem, x: NDArray[Any]) -> NDArray[Any]:
        """The scenario's normalised squared error of some x̂, (B,), for traces of iterations.

        It is what `score` gives as ``nmse``; NaN for a scenario without such a measure. Override
        it where scoring costs more than this one measure.
        """
        if "nmse" not in self.measures:
            return np.full(problem.batch, np.nan)
        status = np.full(problem.batch, Status.CONVERGED)
        return self.score(truth, problem, Estimate(x=x, status=status))["nmse"]

    def signal_energy(self, truth: T, problem: Problem) -> NDArray[Any]:
        """Energy that the normalised error refers to, (B,): ‖x‖², or NaN off the dictionary.

        Products with ``nmse`` are squared errors, which may be summed over realizations.
        """
        if truth.x is None:
            return np.full(problem.batch, np.nan)
        return np.sum(np.abs(truth.x.reshape(problem.batch, -1)) ** 2, axis=1)

    def error_forms(self, problem: Problem, truth: T) -> list[ErrorForm] | None:
        """The ``nmse`` as quadratic forms Σ w‖C(x̂ − x)‖², or None where it is no such thing.

        Bounds on the mean squared error are computed from it in closed form.
        """
        return None

    def draw_with_truth(self, realizations: Sequence[int], seed: int) -> tuple[Problem, T]:
        """As `draw`, with all of the truth in the problem that a solver may require."""
        problem, truth = self.draw(realizations, seed)
        forms = self.error_forms(problem, truth) or None
        return dataclasses.replace(problem, true_gains=truth.gains, error_forms=forms), truth


def noise_variance(power: NDArray[Any], snr_db: float) -> NDArray[np.float64]:
    """Noise variance `snr_db` below a signal power; positive even where there is no signal.

    At an `snr_db` of infinity there is no noise, and it is 0.
    """
    if snr_db == math.inf:
        return np.zeros(power.shape)
    return np.maximum(power / 10.0 ** (snr_db / 10.0), np.finfo(float).tiny)
