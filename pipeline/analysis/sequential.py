"""Intervals that hold at several looks at once: exact for medians, whatever the distribution.

If m is the median of a continuous law, the number of values below m among the first n is a walk of
fair coins, whatever the law. So ranks can be chosen, look after look, that the walk leaves at *any*
look with a probability of α at most; no rank depends on how many looks follow. The α of the first k
looks is α(1 − 0.85^k), in the manner of Lan and DeMets (1983, Biometrika 70, 659).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from pipeline.analysis.intervals import to_db

LEFT = 0.85
"""Share of the α left that stays for later looks."""
NEGLIGIBLE = 1e-18
"""Probabilities of steps of the walk that are left out of its convolution."""


class Look(NamedTuple):
    """One look of a sequential procedure: its number of realizations, and the error it may spend.

    Attributes
    ----------
    realizations : int
    rank : int
        The interval of a median lies between the values of this rank from below and from above;
        0 where there is none yet.
    level : float
        Probability of the same interval, were it the only look, to miss the median.
    spent : float
        Probability of those of all looks up to this one to miss it at any of them.
    share : float
        Part of α that a look at a probability costs; all looks together cost α at most.
    """

    realizations: int
    rank: int
    level: float
    spent: float
    share: float


class Interval(NamedTuple):
    """A statistic of a sample between the ends of its interval, which may be infinite."""

    low: float
    value: float
    high: float


@functools.lru_cache(maxsize=64)
def plan_of_looks(sizes: tuple[int, ...], alpha: float) -> tuple[Look, ...]:
    """Ranks and levels of looks at so many realizations.

    Parameters
    ----------
    sizes
        Ascending.
    alpha
        Probability of any miss, over all looks.
    """
    looks, spent, before = [], 0.0, 0
    law, low = np.ones(1), 0  # P(walk = low + i, inside at all looks so far)
    for k, size in enumerate(sizes, 1):
        steps = scipy.stats.binom.pmf(np.arange(size - before + 1), size - before, 0.5)
        kept = np.flatnonzero(steps > NEGLIGIBLE)
        law, low = np.convolve(law, steps[kept[0] : kept[-1] + 1]), low + int(kept[0])
        walk = low + np.arange(len(law))
        allowed = alpha * (1.0 - LEFT**k) - spent  # for both tails, which are alike
        rank = low + int(np.searchsorted(2.0 * np.cumsum(law), allowed, side="right"))
        inside = (walk >= rank) & (walk <= size - rank)
        spent += float(law[~inside].sum())
        law, low, before = law[inside], int(walk[inside][0]), size
        level = 2.0 * float(scipy.stats.binom.cdf(rank - 1, size, 0.5))
        looks.append(Look(size, rank, level, spent, alpha * (1.0 - LEFT) * LEFT ** (k - 1)))
    return tuple(looks)


def differences(values: NDArray[Any], others: NDArray[Any] | None, *, in_db: bool) -> NDArray[Any]:
    """Values minus others, both infinite where something failed; 0 where both are equal, (n,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        one = to_db(values) if in_db else values
        if others is None:
            return one
        other = to_db(others) if in_db else others
        return np.where(values == others, 0.0, one - other)


def median(sample: NDArray[Any], look: Look) -> Interval:
    """Median of a sample of the look's size between two order statistics; ends may be infinite."""
    ordered = np.sort(sample)
    if not 0 < look.rank <= len(ordered) // 2:
        return Interval(-np.inf, _middle(ordered), np.inf)
    low, high = ordered[look.rank - 1], ordered[-look.rank]
    return Interval(float(low), _middle(ordered), float(high))


def _middle(ordered: NDArray[Any]) -> float:
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(low if low == high else (low + high) / 2.0)


def mean(sample: NDArray[Any], look: Look) -> Interval:
    """Mean of a sample, Student's interval at the look's level; none where a value is infinite."""
    if not look.rank or not np.isfinite(sample).all():
        return Interval(-np.inf, np.nan, np.inf)
    number, middle = len(sample), float(sample.mean())
    half = float(scipy.stats.t.isf(look.level / 2.0, number - 1) * scipy.stats.sem(sample))
    return Interval(middle - half, middle, middle + half)


def share(hits: NDArray[np.bool_], look: Look) -> Interval:
    """Share of hits, Clopper and Pearson's interval (1934) at the part of α for the look."""
    number, count = len(hits), int(hits.sum())
    low = scipy.stats.beta.ppf(look.share / 2.0, count, number - count + 1.0) if count else 0.0
    few = count < number
    high = scipy.stats.beta.isf(look.share / 2.0, count + 1.0, number - count) if few else 1.0
    return Interval(float(low), count / number, float(high))
