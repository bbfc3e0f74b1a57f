"""Tails of samples: events too rare to have been seen, and means that rest on few values.

Arrays in, arrays out, samples along the last axis, NaN for what is not there; as `intervals`.
benchmarks/coverage.py tells how often intervals hold where none of this marks a mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from pipeline.analysis.intervals import CONFIDENCE, Array, Interval, count

FEWEST = 100
"""A mean of fewer trials is marked, whatever they are: what happens in one of 30 may be unseen."""
LARGEST_SHARE = 0.05
"""The share of the trials, the largest ones, that `dominated` looks at."""
LARGEST_TENTH = 0.1
"""The share that `heavy_tailed` looks at."""
TAIL_LEVEL = 2e-3
"""How often a law on the verge of having no variance goes unmarked by `heavy_tailed`."""
FACTOR = 2.0
"""A mean is marked where failures not seen yet could multiply it by as much: 3 dB."""

_quiet = np.errstate(divide="ignore", invalid="ignore", over="ignore")


def unseen_rate(number: Any) -> Any:
    """Upper bound on the probability of an event not seen in n trials, 1 − 0.025^(1/n).

    It is Clopper and Pearson's upper end for no event; about 3.7/n.
    """
    return 1.0 - ((1.0 - CONFIDENCE) / 2.0) ** (1.0 / np.maximum(number, 1))


def with_unseen(middle: Any, number: Any, worst: Any) -> Any:
    """The mean if events not seen were as frequent as `unseen_rate`, with the value `worst`."""
    rate = unseen_rate(number)
    return (1.0 - rate) * middle + rate * worst


def opened_at(low: Array, high: Array, number: Array, *, least: float, most: float) -> Interval:
    """The interval of a mean, with one end moved out where the other is at the measure's bound.

    Where all trials have the bound itself, resampling knows of no other value; there are some
    with a probability of at most `unseen_rate` (the rule of three).

    Parameters
    ----------
    low, high : array
    number : array
        How many trials there are.
    least, most : float
        The measure's bounds; infinite where there is none.
    """
    if np.isinf(least) or np.isinf(most):
        return low, high
    reach = unseen_rate(number) * (most - least)
    opened = np.where(high >= most, np.fmin(low, most - reach), low)
    return opened, np.where(low <= least, np.fmax(high, least + reach), high)


@_quiet
def dominated(values: Array) -> NDArray[np.bool_]:
    """Whether few trials make the mean, (…).

    True where the largest 5 % of the values (at least one) hold more than half of the sum of
    magnitudes: then the mean is that of some rare events, of which the sample has seen few.
    """
    ordered, number = np.sort(np.abs(values)), count(values)[..., np.newaxis]
    few = np.ceil(LARGEST_SHARE * number)
    at = np.arange(values.shape[-1])
    largest = np.where((at >= number - few) & (at < number), ordered, 0.0).sum(axis=-1)
    total = np.where(at < number, ordered, 0.0).sum(axis=-1)
    return np.where(np.isinf(total), np.isinf(largest), largest > 0.5 * total)


@_quiet
def heavy_tailed(values: Array) -> NDArray[np.bool_]:
    """Whether the largest values may come from a law that has no variance, (…).

    The logarithms of the largest tenth over the value below them are exponential for a Pareto
    tail, with its index for a rate (Hill 1975), and at an index of 2 the variance begins to be
    infinite. True unless their sum is less than it is in one of 500 samples of that law.
    """
    ordered, number = np.sort(np.abs(values)), count(values)[..., np.newaxis]
    several = np.ceil(LARGEST_TENTH * number)
    first = number - several  # of the largest
    threshold = np.take_along_axis(ordered, np.maximum(first.astype(int) - 1, 0), -1)
    at = np.arange(values.shape[-1])
    largest = (at >= first) & (at < number)
    excess = np.log(ordered) - np.log(threshold)
    excess = np.where(largest & (ordered > threshold), excess, 0.0).sum(axis=-1)
    lightest = scipy.stats.gamma.ppf(TAIL_LEVEL, several[..., 0]) / 2.0
    return (excess >= lightest) & (number[..., 0] > 0)


def rests_on_few(values: Array) -> NDArray[np.bool_]:
    """Whether a mean of these values is to be marked, (…): few, dominated or heavy-tailed."""
    number = count(values)
    few = (number > 0) & (number < FEWEST)
    return few | dominated(values) | heavy_tailed(values)
