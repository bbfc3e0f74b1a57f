"""Intervals at several looks: ranks and levels to the digit, coverage, what no estimate does."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from pipeline.analysis import sequential
from pipeline.analysis.sequential import plan_of_looks
from pipeline.campaign.stopping import Rule, Stop

SIZES = (100, 150, 250, 400, 600, 900, 1350, 2050, 3100, 4650, 7000)
RANKS = (37, 59, 105, 174, 268, 410, 624, 961, 1470, 2225, 3375)
SPENT = (0.00664, 0.01120, 0.01787, 0.02274, 0.02731, 0.03110, 0.03373, 0.03614)
SPENT += (0.03828, 0.04006, 0.04159)
QUANTILES = (2.71, 2.70, 2.60, 2.65, 2.66, 2.70, 2.80, 2.85, 2.89, 2.95, 3.00)


def rule(realizations, batch=50, **stop):
    table = Stop.model_validate({"target": [{"half_width": 1.0}], **stop})
    return Rule.of(table, realizations, {"a": (batch, "estimator")}, {"nmse": NMSE})


class NMSE:
    dimension = None


def test_ranks_levels_and_spent_probability():
    assert rule(10_000).looks == SIZES
    looks = plan_of_looks(SIZES, 0.05)
    assert tuple(look.rank for look in looks) == RANKS
    assert tuple(round(look.spent, 5) for look in looks) == SPENT
    levels = [scipy.stats.norm.isf(look.level / 2) for look in looks]
    np.testing.assert_allclose(levels, QUANTILES, atol=0.005)
    assert sum(look.share for look in looks) < 0.05


def test_more_looks_change_no_earlier_one():
    longer = rule(100_000).looks
    assert longer[: len(SIZES)] == SIZES
    looks = plan_of_looks(longer, 0.05)
    assert looks[: len(SIZES)] == plan_of_looks(SIZES, 0.05)
    assert looks[-1].spent < 0.05


@pytest.mark.parametrize(
    ("ranks", "held"),
    [
        ([*RANKS, 4848], 0.95718),
        ([int(scipy.stats.binom.ppf(0.025, n, 0.5)) for n in (*SIZES, 10_000)], 0.7370),
    ],
)
def test_coverage_of_fair_walks_at_all_looks(ranks, held):
    sizes = np.array([*SIZES, 10_000])
    looks = plan_of_looks(tuple(sizes.tolist()), 0.05)
    assert (looks[-1].rank, round(looks[-1].spent, 5)) == (4848, 0.04282)
    steps = np.random.default_rng(0).binomial(np.diff([0, *sizes]), 0.5, (40_000, len(sizes)))
    walks = steps.cumsum(axis=1)
    inside = ((walks >= ranks) & (walks <= sizes - ranks)).all(axis=1)
    assert abs(inside.mean() - held) < 4 * np.sqrt(held * (1 - held) / 40_000)


def test_an_atom_at_the_median_is_always_held():
    looks = plan_of_looks(SIZES[:6], 0.05)
    rng = np.random.default_rng(1)
    for _ in range(200):
        sample = rng.choice([-1.0, 0.0, 1.0], p=[0.3, 0.4, 0.3], size=900)
        ends = [sequential.median(sample[: look.realizations], look) for look in looks]
        assert all(low <= 0.0 <= high for low, _, high in ends)


@given(
    first=st.integers(8, 60),
    growth=st.floats(1.1, 3.0),
    alpha=st.floats(0.001, 0.4),
    number=st.integers(1, 6),
)
def test_ranks_are_the_largest_that_their_share_allows(first, growth, alpha, number):
    sizes = tuple(itertools.accumulate([first] * number, lambda n, _: int(growth * n) + 1))
    spent = 0.0
    for k, look in enumerate(plan_of_looks(sizes, alpha), 1):
        assert spent <= look.spent <= alpha * (1 - 0.85**k) + 1e-12
        assert 0 <= look.rank <= look.realizations // 2
        spent = look.spent


@pytest.mark.parametrize("batch", [1, 30, 50, 64])
def test_looks_are_whole_batches_and_know_nothing_of_the_maximum(batch):
    looks = rule(9000, batch).looks
    assert all(n % batch == 0 for n in looks)
    assert looks[0] == batch * -(-100 // batch)
    assert all(rule(most, batch).looks == looks[: len(rule(most, batch).looks)] for most in looks)


def test_no_estimate_ranks_last_and_ends_may_be_infinite():
    look = plan_of_looks((100,), 0.05)[0]
    sample = np.arange(100.0)
    assert sequential.median(sample, look) == (36.0, 49.5, 63.0)
    for failed, end in ((30, 63.0), (40, np.inf)):
        values = np.where(sample >= 100 - failed, np.inf, sample)
        assert sequential.median(values, look) == (36.0, 49.5, end)
    values = np.where(sample < 60, np.inf, sample)
    assert sequential.median(values, look)[1:] == (np.inf, np.inf)
    assert sequential.mean(values, look)[0] == -np.inf
    assert sequential.median(sample[:4], plan_of_looks((4,), 0.05)[0])[::2] == (-np.inf, np.inf)


def test_differences_of_failures():
    a = np.array([1.0, np.inf, 1.0, np.inf, 0.0, 10.0])
    b = np.array([1.0, 1.0, np.inf, np.inf, 0.0, 1.0])
    found = sequential.differences(a, b, in_db=True)
    np.testing.assert_array_equal(found, [0.0, np.inf, -np.inf, 0.0, 0.0, 10.0])
    np.testing.assert_array_equal(sequential.differences(a, None, in_db=False), a)


def test_mean_and_share_at_a_single_look_are_textbook():
    look = plan_of_looks((400,), 0.05)[0]
    sample = np.random.default_rng(2).normal(size=400)
    level = scipy.stats.t.interval(1 - look.level, 399, sample.mean(), scipy.stats.sem(sample))
    np.testing.assert_allclose(sequential.mean(sample, look)[::2], level)
    hits = sample > 1.0
    exact = scipy.stats.binomtest(int(hits.sum()), 400).proportion_ci(1 - look.share)
    np.testing.assert_allclose(sequential.share(hits, look)[::2], (exact.low, exact.high))
    for value, ends in ((True, 1.0), (False, 0.0)):
        found = sequential.share(np.full(400, value), look)
        assert found.value == ends
        assert ends in (found.low, found.high)
        assert 0.9 < found.high - found.low + 0.95 < 1.0
