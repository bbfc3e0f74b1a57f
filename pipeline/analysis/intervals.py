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
def mean(values: Array, weights: Array | None = None) -> Array:
    """Mean, (…), weighted where there are weights (as many as values, each at least 0)."""
    there = ~np.isnan(values)
    heavy = there if weights is None else np.where(there, weights, 0.0)
    return np.asarray(np.where(there, values * heavy, 0.0).sum(axis=-1) / heavy.sum(axis=-1))


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


@_quiet
def skewed_interval(values: Array) -> Interval:
    """Interval of the mean of a skewed sample, (…) each; NaN for fewer than two values.

    The hull of Student's interval and of Hall's, which transforms Student's statistic so that its
    skewness is gone (Hall 1992, J. R. Statist. Soc. B 54, 221).
    """
    number, middle = count(values), mean(values)
    low, high = t_interval(values)
    residuals = np.where(np.isnan(values), 0.0, values - middle[..., np.newaxis])
    variance = (residuals**2).sum(axis=-1) / number
    skewness = (residuals**3).sum(axis=-1) / number / variance**1.5
    shift = np.where(variance > 0, skewness, 0.0) / np.sqrt(number)
    error = standard_error(values)

    def untransformed(end: Array) -> Array:
        root = np.cbrt(1.0 + shift * ((middle - end) / error - shift / 6.0)) - 1.0
        return np.where(np.abs(shift) > 1e-6, middle - error * 3.0 * root / shift, end)

    return np.minimum(low, untransformed(low)), np.maximum(high, untransformed(high))


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


def mean_interval(values: Array, weights: Array | None = None) -> Interval:
    """Bootstrap interval of a mean or of a ratio of sums, bias-corrected and accelerated (BCa).

    Parameters
    ----------
    values : array, (…, n)
    weights : array, (…, n), optional
        At least 0. The weighted mean of ratios t/b with weights b is the ratio Σt/Σb; trials are
        drawn in pairs (t, b).

    Returns
    -------
    low, high : array, (…)
        The value itself where all are equal; NaN for fewer than six values, which have too few
        resamples, or with infinite ones.

    Notes
    -----
    Efron (1987). The same as `scipy.stats.bootstrap` but for the resamples: samples with equally
    many values share theirs, so that resampling is one matrix product. The acceleration is that of
    the mean's influence values. Samples of more than 2000 values are summed up in 2000 groups
    first, which are independent as the values are, and whose sum varies as the values' sum does.
    """
    rows = values.reshape(-1, values.shape[-1])
    heavy = None if weights is None else np.broadcast_to(weights, values.shape).reshape(rows.shape)
    bounds = np.full((len(rows), 2), np.nan)
    number = np.where(np.isinf(rows).any(axis=-1), 0, count(rows))
    at_once = max(1, _RESAMPLED_AT_ONCE // RESAMPLES)
    for size in np.unique(number[number >= _FEWEST]):
        alike = np.flatnonzero(number == size)
        for first in range(0, len(alike), at_once):
            chosen = alike[first : first + at_once]
            there, shape = ~np.isnan(rows[chosen]), (len(chosen), size)
            weight = None if heavy is None else heavy[chosen][there].reshape(shape)
            bounds[chosen] = _bca(rows[chosen][there].reshape(shape), weight)
    low, high = bounds.reshape(*values.shape[:-1], 2).transpose(-1, *range(values.ndim - 1))
    return low, high


def sign_test(better: Array, worse: Array, tied: Array) -> Array:
    """P-value of the exact sign test that the median of paired differences is 0, (…).

    Ties speak for neither side. So it is below 0.05 exactly where the interval of the median
    (`median_interval`) leaves out 0, and where one side's share (`share_interval`) is above ½.
    NaN for no pairs.
    """
    number = better + worse + tied
    fewer = number - np.maximum(better, worse)
    p = np.minimum(2.0 * scipy.stats.binom.cdf(fewer, number, 0.5), 1.0)
    return np.where(number > 0, p, np.nan)


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
def _bca(samples: Array, weights: Array | None) -> Array:
    """Bounds of the (weighted) means of samples without gaps, (rows, n) -> (rows, 2)."""
    size = samples.shape[-1]
    middle = mean(samples, weights)[:, np.newaxis]
    residuals = samples - middle
    if weights is not None:
        weights = weights / weights.mean(axis=-1, keepdims=True)
        residuals = residuals * weights
    if size > _GROUPS:
        residuals, weights = _grouped(residuals), None if weights is None else _grouped(weights)
    spread = np.abs(residuals).max(axis=-1, keepdims=True)
    residuals = residuals / spread  # cubes of very small numbers would vanish
    number = residuals.shape[-1]
    drawn = _resamples(number) / number
    shifts = residuals @ drawn
    shifts = np.sort(shifts if weights is None else shifts / (weights @ drawn))
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


def _grouped(values: Array) -> Array:
    size = values.shape[-1]
    edges = np.linspace(0, size, _GROUPS, endpoint=False).astype(int)
    return np.add.reduceat(values, edges, axis=-1) * (_GROUPS / size)


@functools.lru_cache(maxsize=64)
def _resamples(size: int) -> NDArray[np.uint8]:
    """Numbers of times that each of `size` values is drawn in each resample, (size, RESAMPLES)."""
    drawn = np.random.default_rng(size).integers(size, size=(RESAMPLES, size))
    drawn = drawn * RESAMPLES + np.arange(RESAMPLES)[:, np.newaxis]
    times = np.bincount(drawn.reshape(-1), minlength=RESAMPLES * size)
    return times.astype(np.uint8).reshape(size, RESAMPLES)
