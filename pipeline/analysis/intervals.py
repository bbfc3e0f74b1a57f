"""Statistics of samples and how certain they are: arrays in, arrays out.

All functions take samples along the last axis, (…, n). NaN is a value that is not there; samples
may differ in how many they have. What cannot be said of a sample comes out as NaN, without a
warning. docs/uncertainty.md says how often these intervals hold what they promise.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 999
LARGEST_SHARE = 0.05
"""The share of the trials, the largest ones, that `dominated` looks at."""

Array = NDArray[Any]
Interval = tuple[Array, Array]

_TAIL = (1.0 - CONFIDENCE) / 2.0
_FEWEST = 6  # values that can bound a median, or are worth resampling
_GROUPS = 2000  # larger samples are bootstrapped as sums of groups
_RESAMPLED_AT_ONCE = 2_000_000

_quiet = np.errstate(divide="ignore", invalid="ignore", over="ignore")


@_quiet
def to_db(values: Any) -> Any:
    """10 log10 of a power ratio; −∞ for 0, NaN for what is negative."""
    return 10.0 * np.log10(values)


def count(values: Array) -> NDArray[np.int64]:
    """Number of values that are there, (…)."""
    return np.sum(~np.isnan(values), axis=-1)


@_quiet
def mean(values: Array) -> Array:
    """Mean, (…)."""
    return np.asarray(np.where(np.isnan(values), 0.0, values).sum(axis=-1) / count(values))


@_quiet
def standard_error(values: Array) -> Array:
    """Standard error of the mean, (…); NaN for fewer than two values."""
    number = count(values)
    residuals = values - mean(values)[..., np.newaxis]
    squares = np.where(np.isnan(values), 0.0, residuals**2).sum(axis=-1)
    return np.where(number > 1, np.sqrt(squares / (number - 1.0) / number), np.nan)


@_quiet
def t_interval(values: Array) -> Interval:
    """Student's interval of the mean, (…) each; NaN for fewer than two values."""
    half = standard_error(values) * scipy.stats.t.isf(_TAIL, count(values) - 1.0)
    middle = mean(values)
    return middle - half, middle + half


def quantiles(values: Array, levels: Sequence[float]) -> Array:
    """Quantiles, interpolated between neighbours (Hyndman and Fan's type 7).

    Parameters
    ----------
    values : array, (…, n)
    levels : sequence of k floats in [0, 1]

    Returns
    -------
    array, (…, k)
    """
    return _interpolated(np.sort(values), np.maximum(count(values)[..., None] - 1.0, 0.0) * levels)


def median_interval(values: Array) -> Interval:
    """Interval of the median between two order statistics.

    Whatever the distribution, it holds the median with a probability of at least 0.95, by the
    binomial distribution of how many values fall below the median.

    Returns
    -------
    low, high : array, (…)
        NaN for fewer than six values, which cannot bound a median with that confidence.
    """
    ordered, number = np.sort(values), count(values)
    rank = scipy.stats.binom.ppf(_TAIL, np.maximum(number, 1), 0.5).astype(int)
    low, high = (
        np.take_along_axis(ordered, np.clip(at, 0, values.shape[-1] - 1)[..., np.newaxis], -1)
        for at in (rank - 1, number - rank)
    )
    known = number >= _FEWEST
    return np.where(known, low[..., 0], np.nan), np.where(known, high[..., 0], np.nan)


@_quiet
def share_interval(hits: Array, number: Array) -> Interval:
    """Interval of a probability, from how many of independent trials had it happen.

    Clopper and Pearson (1934): whatever the probability, at least 0.95. NaN for no trials.
    """
    low = scipy.stats.beta.ppf(_TAIL, hits, number - hits + 1.0)
    high = scipy.stats.beta.isf(_TAIL, hits + 1.0, number - hits)
    low, high = np.where(hits == 0, 0.0, low), np.where(hits == number, 1.0, high)
    return np.where(number > 0, low, np.nan), np.where(number > 0, high, np.nan)


def mean_interval(values: Array) -> Interval:
    """Bootstrap interval of the mean, bias-corrected and accelerated (BCa).

    Returns
    -------
    low, high : array, (…)
        The value itself where all are equal; NaN for fewer than six values, which have too few
        resamples, or with infinite ones.

    Notes
    -----
    Efron (1987). The same as `scipy.stats.bootstrap` but for the resamples: samples with equally
    many values share theirs, so that resampling is one matrix product. The acceleration of a mean
    has a closed form. Samples of more than 2000 values are summed up in 2000 groups first, which
    are independent as the values are, and whose sum varies as the values' sum does.
    """
    rows = values.reshape(-1, values.shape[-1])
    bounds = np.full((len(rows), 2), np.nan)
    number = np.where(np.isinf(rows).any(axis=-1), 0, count(rows))
    at_once = max(1, _RESAMPLED_AT_ONCE // RESAMPLES)
    for size in np.unique(number[number >= _FEWEST]):
        alike = np.flatnonzero(number == size)
        for first in range(0, len(alike), at_once):
            chosen = alike[first : first + at_once]
            sample = rows[chosen]
            bounds[chosen] = _bca(sample[~np.isnan(sample)].reshape(len(chosen), size))
    low, high = bounds.reshape(*values.shape[:-1], 2).transpose(-1, *range(values.ndim - 1))
    return low, high


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
def _interpolated(ordered: Array, at: Array) -> Array:
    """Values at fractional places of sorted samples, (…, k)."""
    below = np.clip(np.floor(at).astype(int), 0, ordered.shape[-1] - 1)
    above = np.minimum(below + 1, ordered.shape[-1] - 1)
    low, high = (np.take_along_axis(ordered, i, -1) for i in (below, above))
    part = at - below
    # Never inf · 0, nor NaN · 0 from beyond the last value.
    return np.where(part == 0.0, low, low * (1.0 - part) + high * part)


@_quiet
def _bca(samples: Array) -> Array:
    """Bounds of the means of samples without gaps, (rows, n) -> (rows, 2)."""
    middle = samples.mean(axis=-1, keepdims=True)
    residuals = samples - middle
    size = samples.shape[-1]
    if size > _GROUPS:
        edges = np.linspace(0, size, _GROUPS, endpoint=False).astype(int)
        residuals = np.add.reduceat(residuals, edges, axis=-1) * (_GROUPS / size)
    spread = np.abs(residuals).max(axis=-1, keepdims=True)
    residuals = residuals / spread  # cubes of very small numbers would vanish
    number = residuals.shape[-1]
    shifts = np.sort(residuals @ (_resamples(number) / number))
    shifts[np.abs(shifts) < 1e-13] = 0.0  # ties are no matter of rounding
    below = ((shifts < 0).mean(axis=-1) + (shifts <= 0).mean(axis=-1)) / 2.0
    bias = scipy.stats.norm.ppf(below)[:, np.newaxis]
    squares, cubes = ((residuals**k).sum(axis=-1, keepdims=True) for k in (2, 3))
    acceleration = cubes / (6.0 * squares**1.5)
    shifted = bias + scipy.stats.norm.ppf([_TAIL, 1.0 - _TAIL])
    levels = scipy.stats.norm.cdf(bias + shifted / (1.0 - acceleration * shifted))
    known = np.where(np.isnan(levels), 0.0, levels)
    bounds = middle + spread * _interpolated(shifts, known * (RESAMPLES - 1))
    bounds = np.clip(bounds, *(f(samples, axis=-1, keepdims=True) for f in (np.min, np.max)))
    return np.where(spread == 0.0, middle, np.where(np.isnan(levels), np.nan, bounds))


@functools.lru_cache(maxsize=64)
def _resamples(size: int) -> NDArray[np.uint8]:
    """Numbers of times that each of `size` values is drawn in each resample, (size, RESAMPLES)."""
    drawn = np.random.default_rng(size).integers(size, size=(RESAMPLES, size))
    drawn = drawn * RESAMPLES + np.arange(RESAMPLES)[:, np.newaxis]
    times = np.bincount(drawn.reshape(-1), minlength=RESAMPLES * size)
    return times.astype(np.uint8).reshape(size, RESAMPLES)
