"""Intervals: the same as the textbook's, right as often as published, quiet about odd samples."""

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks import coverage
from pipeline.analysis import intervals, tails

DOCS = Path(__file__).parent.parent / "docs" / "uncertainty.md"

anything = st.floats(allow_nan=True, allow_infinity=True)
samples = hnp.arrays(float, st.tuples(st.integers(1, 3), st.integers(1, 12)), elements=anything)


@pytest.mark.parametrize(
    "function",
    [
        intervals.mean,
        intervals.standard_error,
        tails.dominated,
        tails.heavy_tailed,
        tails.rests_on_few,
        lambda v: np.stack(intervals.skewed_interval(v), axis=-1),
        lambda v: np.stack(intervals.mean_interval(v, np.full(v.shape, 2.0)), axis=-1),
        lambda v: intervals.quantiles(v, (0.05, 0.5)),
        lambda v: np.stack(intervals.t_interval(v), axis=-1),
        lambda v: np.stack(intervals.median_interval(v), axis=-1),
        lambda v: np.stack(intervals.mean_interval(v), axis=-1),
    ],
)
@given(samples)
def test_odd_samples_never_raise_and_rows_do_not_mix(function, values):
    alone = np.stack([function(row) for row in values])
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    np.testing.assert_allclose(function(values), alone, rtol=1e-9, atol=1e-12 * largest)


@given(samples)
def test_bounds_lie_among_the_values(values):
    for function in (intervals.mean_interval, intervals.median_interval):
        low, high = function(values)
        for a, b, row in zip(low, high, values, strict=True):
            if not np.isnan(a):
                assert np.nanmin(row) <= a <= b <= np.nanmax(row)


@given(samples, st.randoms(use_true_random=False))
def test_gaps_and_order_do_not_matter(values, random):
    row = values[0]
    there = row[~np.isnan(row)]
    shuffled = list(row) + [np.nan] * 3
    random.shuffle(shuffled)
    for function in (intervals.median_interval, lambda v: intervals.quantiles(v, (0.3, 0.9))):
        if there.size:
            np.testing.assert_array_equal(function(np.array(shuffled)), function(there))


def test_quantiles_are_numpys():
    values = np.random.default_rng(1).normal(size=(4, 5, 37))
    levels = (0, 0.05, 0.5, 0.77, 1)
    expected = np.moveaxis(np.quantile(values, levels, axis=-1), 0, -1)
    np.testing.assert_allclose(intervals.quantiles(values, levels), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [6, 7, 20, 53, 400])
def test_median_interval_is_that_of_the_quantile_test(size):
    values = np.random.default_rng(size).lognormal(size=size)
    test = scipy.stats.quantile_test(values, q=0, p=0.5)
    expected = test.confidence_interval(confidence_level=0.95)
    np.testing.assert_array_equal(intervals.median_interval(values), expected)
    assert np.isnan(intervals.median_interval(values[:5])).all()


@pytest.mark.parametrize("size", [6, 50, 300])
def test_mean_interval_is_scipys_bca(size):
    values = np.random.default_rng(size).lognormal(size=size)
    many = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, rng=2)
    width = many.confidence_interval.high - many.confidence_interval.low
    found = intervals.mean_interval(values)
    np.testing.assert_allclose(found, many.confidence_interval, atol=0.15 * width)
    assert np.isnan(intervals.mean_interval(values[:5])).all()


def test_mean_interval_of_a_large_sample_is_students():
    values = np.random.default_rng(1).normal(3, 1, (3, 30_001))
    found, expected = intervals.mean_interval(values), intervals.t_interval(values)
    np.testing.assert_allclose(found, expected, atol=0.15 * 4 / np.sqrt(30_001))


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30])
def test_mean_interval_scales(scale):
    values = np.random.default_rng(1).lognormal(size=40)
    found = np.array(intervals.mean_interval(scale * values)) / scale
    np.testing.assert_allclose(found, intervals.mean_interval(values), rtol=1e-9)


def test_equal_values_are_certain():
    for function in (intervals.mean_interval, intervals.median_interval, intervals.t_interval):
        np.testing.assert_array_equal(function(np.full(20, 0.25)), (0.25, 0.25))


def test_what_dominates():
    rng = np.random.default_rng(1)
    assert not tails.dominated(rng.exponential(size=1000))
    assert not tails.dominated(np.zeros(10))
    assert not tails.dominated(np.full(10, np.nan))
    assert tails.dominated(rng.lognormal(0, 2.5, size=1000))
    assert tails.dominated(np.array([np.inf, 1.0, 1.0]))
    few = np.ones(100)
    few[:5] = 18.9  # five times 18.9 is less than 95 times 1
    assert not tails.dominated(few)
    few[0] = 20
    assert tails.dominated(few)


@pytest.mark.parametrize("size", [50, 300])
def test_a_weighted_mean_is_a_ratio_of_sums_with_scipys_bca(size):
    rng = np.random.default_rng(size)
    top, bottom = rng.lognormal(size=size), rng.gamma(3, size=size)
    found = intervals.mean_interval(top / bottom, bottom)
    many = scipy.stats.bootstrap(
        (top, bottom),
        lambda t, b, axis: t.sum(axis) / b.sum(axis),
        paired=True,
        n_resamples=20_000,
        rng=2,
    ).confidence_interval
    np.testing.assert_allclose(found, many, atol=0.15 * (many.high - many.low))
    assert intervals.mean(top / bottom, bottom) == pytest.approx(top.sum() / bottom.sum())


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40))
def test_the_sign_test_says_what_the_median_and_the_share_say(values):
    values = np.array(values, float)
    counts = [(values < 0).sum(), (values > 0).sum(), (values == 0).sum()]
    p = float(intervals.sign_test(*map(np.asarray, counts)))
    low, high = intervals.median_interval(values)
    assert (p < 0.05) == bool(low > 0 or high < 0)
    shares = [intervals.share_interval(np.asarray(n), np.asarray(len(values))) for n in counts[:2]]
    assert (p < 0.05) == any(float(low) > 0.5 for low, _ in shares)
    if not counts[2]:
        assert p == pytest.approx(scipy.stats.binomtest(counts[0], len(values)).pvalue)


def test_tails_without_a_variance_are_heavy():
    rng = np.random.default_rng(3)
    for size in (100, 1000):
        assert tails.heavy_tailed(1 + rng.pareto(1.5, (300, size))).mean() > 0.98
        assert tails.heavy_tailed(np.abs(rng.standard_t(2, (300, size)))).mean() > 0.98
    assert tails.heavy_tailed(rng.gamma(9, size=(300, 200))).mean() < 0.05
    assert not tails.rests_on_few(np.full(100, 0.5))
    assert tails.rests_on_few(np.full(99, 0.5))


def published():
    """Lines of the first table in the docs."""
    row = re.compile(r"^\| ([a-z0-9 ]+) \| (\d+) \|" + r" ([\d.]+|–) \|" * 6 + "$")
    lines = [row.match(line) for line in DOCS.read_text(encoding="utf-8").splitlines()]
    return [
        (m[1], int(m[2]), [float(v.replace("–", "nan")) for v in m.groups()[2:]])
        for m in lines
        if m
    ]


def test_coverage_is_as_published():
    rows = published()
    assert len(rows) == len(coverage.POPULATIONS) * len(coverage.SIZES)
    trials = 100
    for name, size, figures in rows:
        if size > 200:
            continue
        found = coverage.simulate(name, size, trials, seed=99).values()
        for promised, seen in zip(figures, found, strict=True):
            error = np.sqrt(max(promised * (1 - promised), 0.01) / trials)
            assert not abs(promised - seen) > 4.5 * error, (name, size, promised, seen)


def test_published_coverage_meets_the_goal():
    """Of unmarked intervals at least 0.93 hold, unless hardly one in fifty goes unmarked."""
    for name, size, figures in published():
        population = coverage.POPULATIONS[name]
        median, decibels, *means = figures
        assert min(median, decibels) >= coverage.GOAL
        for cover, marked in zip(means[::2], means[1::2], strict=True):
            assert marked > 0.98 or cover >= coverage.GOAL, (name, size)
            assert marked == 1 or population.variance, (name, size)
            assert marked <= coverage.MOST_MARKED or not population.benign or size < 200


def test_median_and_comparison_keep_their_promise():
    for name in coverage.POPULATIONS:
        assert coverage.simulate(name, 50, 200)["median"] > 0.89
    for name in coverage.PAIRS:
        assert coverage.simulate_pairs(name, 200, 100)["median difference"] > 0.87
    for share in (0.02, 0.5):
        assert coverage.simulate_rates(share, 50, 200)["mean"] > 0.89
    speed = coverage.simulate_speed(200, 400)
    assert speed["from batches"] > 0.91
    assert speed["as if independent"] < 0.75


@pytest.mark.parametrize("number", [1, 6, 40])
def test_shares_keep_their_promise_whatever_the_probability(number):
    hits = np.arange(number + 1)
    low, high = intervals.share_interval(hits, np.full(number + 1, number))
    for p in np.linspace(0, 1, 101):
        chances = scipy.stats.binom.pmf(hits, number, p)
        assert chances[(low <= p) & (p <= high)].sum() >= 0.95
    share = hits / number
    assert np.all((low <= share) & (share <= high))
    np.testing.assert_allclose(low, 1 - high[::-1])  # winning and losing mirror each other
    assert np.isnan(intervals.share_interval(np.zeros(1), np.zeros(1))).all()
