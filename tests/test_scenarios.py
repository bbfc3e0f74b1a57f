"""Scenarios: what is drawn stays what it is, whatever else is asked for."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import solvers
from pipeline.campaign.messages import first_complaint
from pipeline.scenarios import REGISTRY, metrics, stream, streams
from pipeline.scenarios.synthetic import Synthetic
from solvers import Estimate
from solvers.kron import kron_apply

SMALL = Synthetic(snr_db=20, dims=(6, 7, 5), measurements=(4, 5, 6), sparsity=2)

GOLDEN_STREAM = [-1.3443670242905672, -1.1758505055894812, 1.1664380276564505]
GOLDEN_Y = [0.08562239413581849, 7.57450004413387e-05, 0.08725803561047359]
GOLDEN_X = [6.166126190140174, 0.7902659724804839]


def test_golden_draws():
    # numpy promises no stable streams: a change of these numbers is a new version of the draw.
    assert stream(1, "noise", 2).standard_normal(3).tolist() == GOLDEN_STREAM
    problem, truth = SMALL.draw([0, 7], seed=3)
    assert problem.y[1, 0, 0, :3].tolist() == pytest.approx(GOLDEN_Y, rel=1e-12)
    assert truth.x.sum(axis=(1, 2, 3)).tolist() == pytest.approx(GOLDEN_X, rel=1e-12)


def test_streams_differ_by_seed_ingredient_and_realization():
    seen = {
        stream(seed, ingredient, realization).integers(2**62)
        for seed in (0, 1)
        for ingredient in ("noise", "gains")
        for realization in (0, 1, 2)
    }
    assert len(seen) == 12


def test_streams_in_turn_are_the_streams_alone():
    in_turn = [rng.standard_normal(5).tolist() for rng in streams(4, "noise", [3, 1, 2])]
    alone = [stream(4, "noise", r).standard_normal(5).tolist() for r in [3, 1, 2]]
    assert in_turn == alone


def test_a_realization_is_the_same_in_any_batch():
    whole, truth = SMALL.draw(range(5), seed=1)
    alone, its_truth = SMALL.draw([3], seed=1)
    np.testing.assert_allclose(alone.y[0], whole.y[3], rtol=1e-13)
    np.testing.assert_array_equal(its_truth.x[0], truth.x[3])
    for a, b in zip(alone.factors, whole.factors, strict=True):
        np.testing.assert_array_equal(a[0], b[3])


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("gains", ["product", "independent"])
def test_snr_is_relative_to_the_realised_power(complex_valued, gains):
    scenario = dataclasses.replace(SMALL, complex_valued=complex_valued, gains=gains)
    problem, truth = scenario.draw(range(4), seed=2)
    clean = kron_apply(problem.factors, truth.x)
    power = (np.abs(clean) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(problem.noise_var, power / 100, rtol=1e-12)
    noise = problem.y - clean
    assert np.iscomplexobj(problem.y) == complex_valued
    realised = (np.abs(noise) ** 2).mean(axis=(1, 2, 3)) / problem.noise_var
    np.testing.assert_allclose(realised, 1, atol=0.4)
    assert ((truth.x != 0) == (problem.true_variance > 0)).all()


def test_gain_variance_is_the_true_variance():
    scenario = Synthetic(
        snr_db=20,
        dims=(4, 4),
        measurements=(3, 3),
        sparsity=4,
        gains="independent",
        gain_variance=0.05,
    )
    problem, truth = scenario.draw(range(400), seed=2)
    assert np.unique(problem.true_variance).tolist() == pytest.approx([0.05])
    assert (truth.x**2).mean() == pytest.approx(0.05, rel=0.1)
    product = dataclasses.replace(scenario, gains="product")
    problem, truth = product.draw(range(2000), seed=2)
    assert np.unique(problem.true_variance).tolist() == pytest.approx([0.05**2])
    assert (truth.x**2).mean() == pytest.approx(0.05**2, rel=0.2)


def test_snr_sweep_reuses_channel_and_unit_noise():
    low, low_truth = SMALL.draw([4], seed=1)
    high, high_truth = dataclasses.replace(SMALL, snr_db=40).draw([4], seed=1)
    np.testing.assert_array_equal(low_truth.x, high_truth.x)
    np.testing.assert_array_equal(low.factors[0], high.factors[0])
    clean = kron_apply(low.factors, low_truth.x)
    np.testing.assert_allclose((low.y - clean), 10 * (high.y - clean), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("measurements", [(6, 5, 6), (4, 7, 6), (6, 7, 8)])
def test_more_measurements_extend_fewer(measurements):
    fixed = {"snr_reference": (6, 7, 8)}
    few, _ = dataclasses.replace(SMALL, **fixed).draw([4], seed=1)
    many, _ = dataclasses.replace(SMALL, measurements=measurements, **fixed).draw([4], seed=1)
    np.testing.assert_array_equal(many.noise_var, few.noise_var)
    np.testing.assert_allclose(many.y[:, :4, :5, :6], few.y, rtol=1e-12)
    for rows, more, fewer in zip(SMALL.measurements, many.factors, few.factors, strict=True):
        np.testing.assert_array_equal(more[:, :rows], fewer)


def test_more_measurements_of_the_first_factor_extend_the_noise():
    few, few_truth = SMALL.draw([4], seed=1)
    many, many_truth = dataclasses.replace(SMALL, measurements=(6, 5, 6)).draw([4], seed=1)
    unit = [
        (p.y - kron_apply(p.factors, t.x)) / np.sqrt(p.noise_var[0])
        for p, t in ((few, few_truth), (many, many_truth))
    ]
    np.testing.assert_allclose(unit[1][:, :4], unit[0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("gains", ["product", "independent"])
def test_a_sparser_support_is_a_part_of_a_denser_one(gains):
    _, sparse = dataclasses.replace(SMALL, gains=gains).draw(range(3), seed=1)
    _, dense = dataclasses.replace(SMALL, gains=gains, sparsity=4).draw(range(3), seed=1)
    there = sparse.x != 0
    assert there.sum() == 3 * 2**3
    np.testing.assert_array_equal(dense.x[there], sparse.x[there])


def test_scores():
    problem, truth = SMALL.draw(range(3), seed=1)
    estimate = solvers.create("oracle_ls").solve(problem)
    scores = SMALL.score(truth, problem, estimate)
    assert set(scores) == set(SMALL.measures)
    assert (scores["nmse"] < 0.1).all()
    assert (scores["srr"] > 0.9).all()
    exact = dataclasses.replace(estimate, x=truth.x)
    assert (SMALL.score(truth, problem, exact)["nmse"] == 0).all()
    assert (SMALL.score(truth, problem, exact)["srr"] == 1).all()
    nothing = dataclasses.replace(estimate, x=0 * truth.x)
    assert (SMALL.score(truth, problem, nothing)["nmse"] == 1).all()
    assert (SMALL.score(truth, problem, nothing)["srr"] == 0).all()
    broken = dataclasses.replace(estimate, x=np.nan * truth.x)
    assert np.isnan(SMALL.score(truth, problem, broken)["nmse"]).all()
    assert np.isnan(SMALL.score(truth, problem, broken)["srr"]).all()


SCORES = ("precision", "recall", "f1")


@pytest.mark.parametrize("complex_valued", [False, True])
def test_a_perfect_estimate_scores_one_in_every_measure_of_the_support(complex_valued):
    rng = np.random.default_rng(3)
    truth = np.zeros((50, 4, 5)) * (1j if complex_valued else 1)
    small = 10.0 ** rng.uniform(-6, 0, (50, 2, 3))  # some are below the threshold
    truth[:, :2, :3] = small * rng.choice([-1, 1], small.shape)
    assert min(metrics.support_recovery(truth, truth)) < 1  # the paper's has a ceiling
    for scale in (1.0, 1e-200):
        found = metrics.support_scores(scale * truth, truth)
        assert all((found[name] == 1).all() for name in SCORES)


@pytest.mark.parametrize(
    ("estimate", "truth", "scores"),
    [
        ([1, 0, 0, 0], [1, 1, 0, 0], (1, 1 / 2, 2 / 3)),  # missed
        ([1, 1, 1, 0], [1, 0, 0, 0], (1 / 3, 1, 1 / 2)),  # spurious
        ([1, 1, 0, 0], [1, 1e-6, 0, 0], (1, 1, 1)),  # right, though not worth finding
        ([1, 0, 0, 0], [1, 1e-6, 0, 0], (1, 1, 1)),  # not worth finding
        ([0, 0, 0, 0], [1, 0, 0, 0], (0, 0, 0)),
        ([0, 0, 1, 0], [1, 1, 0, 0], (0, 0, 0)),
        ([0, 0, 0, 0], [0, 0, 0, 0], (1, 1, 1)),
        ([1, 0, 0, 0], [0, 0, 0, 0], (0, 1, 0)),
        ([np.nan, 0, 0, 0], [1, 0, 0, 0], (np.nan,) * 3),
    ],
)
def test_precision_and_recall_of_the_support(estimate, truth, scores):
    found = metrics.support_scores(np.array([estimate]), np.array([truth]))
    assert [float(found[name][0]) for name in SCORES] == pytest.approx(scores, nan_ok=True)


def test_oracles_have_no_spurious_entries():
    problem, truth = SMALL.draw(range(20), 1)
    scores = SMALL.score(truth, problem, solvers.create("oracle_ls").solve(problem))
    assert (scores["precision"] == 1).all()
    assert (scores["f1"] > scores["srr"] - 1e-12).all()


@pytest.mark.parametrize(
    ("estimate", "rate"),
    [
        ([0.5, -3.0, 0.0, 0.0, 0.0], 1.0),
        ([0.0, 3.0, 0.0, 0.0, 0.0], 1 / 2),  # one missed
        ([1.0, 3.0, 0.1, 0.0, 0.0], 2 / 3),  # one too many
        ([0.0, 3.0, 0.1, 0.1, 0.0], 1 / 4),  # both
        ([1.0, 2.0, 0.0021, 0.0019, -0.0021], 2 / 4),  # above 1e-3 of the largest
        ([0.0, 0.0, 1.0, 0.0, 0.0], 0.0),
    ],
)
def test_support_recovery_counts_what_is_missed_and_what_is_spurious(estimate, rate):
    truth = np.array([[1.0, 2.0, 0.0, 0.0, 0.0]])
    assert metrics.support_recovery(np.array([estimate]), truth).tolist() == [pytest.approx(rate)]


def test_nothing_found_where_nothing_is_there():
    nothing = np.zeros((1, 5))
    assert metrics.support_recovery(nothing, nothing).tolist() == [1]
    assert metrics.nmse(nothing, nothing).tolist() == [0]
    assert metrics.nmse(nothing + 1, nothing).tolist() == [np.inf]


@given(seed=st.integers(0, 2**32), exponent=st.integers(-1020, 1020), is_complex=st.booleans())
def test_nmse_has_no_units(seed, exponent, is_complex):
    rng = np.random.default_rng(seed)
    shape = (3, 2, 4)
    truth, error = rng.standard_normal((2, *shape))
    if is_complex:
        truth, error = truth + 1j * error, error * 1j
    estimate = truth + 0.1 * error
    power, wrong = ((np.abs(x) ** 2).sum(axis=(1, 2)) for x in (truth, estimate - truth))
    expected = metrics.nmse(estimate, truth)
    np.testing.assert_allclose(expected, wrong / power, rtol=1e-14)
    scale = 2.0**exponent
    assert metrics.nmse(estimate * scale, truth * scale) == pytest.approx(expected, rel=1e-3)
    if abs(exponent) < 1000:
        assert (metrics.nmse(estimate * scale, truth * scale) == expected).all()


def test_nmse_of_the_smallest_and_largest_numbers():
    tiny, huge = np.full((1, 2), 5e-324), np.full((1, 2), 1.7e308)
    assert metrics.nmse(2 * tiny, tiny).tolist() == [1]
    assert metrics.nmse(-huge, huge).tolist() == [4]
    assert metrics.nmse(huge, tiny).tolist() == [np.inf]
    assert metrics.nmse(tiny, huge).tolist() == [1]
    assert metrics.nmse(tiny, 0 * tiny).tolist() == [np.inf]
    assert np.isnan(metrics.nmse(np.full((1, 2), np.nan), huge)).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sparsity": 9}, "sparsity 9 is larger than the dimension 6"),
        ({"dims": (6, 7)}, "measurements has 3 entries but dims has 2"),
        ({"snr_reference": (3, 5, 6)}, "snr_reference 3 is smaller than the 4 measurements"),
        ({"dims": (0, 7, 5)}, "greater than or equal to 1"),
        ({"snr_db": float("nan")}, "greater than or equal to -300"),
        ({"snr_db": "20"}, "valid number"),
        ({"snr_db": 1e4}, "at most 300, or inf where there is no noise"),
        ({"snr_db": -1e4}, "greater than or equal to -300"),
        ({"gains": "unit"}, "'product' or 'independent'"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValidationError, match=message):
        dataclasses.replace(SMALL, **parameters)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("clusters", [0, 1], "clusters.0: input should be greater than or equal to 1, got 0"),
        ("clusters", [1, "x"], "clusters.1: input should be a valid integer, got 'x'"),
        ("clusters", [1, 2, 3], "clusters: list should have at most 2 items, not 3, got [1, 2, 3]"),
        ("clusters", [1], "clusters.1: missing, got [1]"),
        ("clusters", 0, "clusters: input should be greater than or equal to 1, got 0"),
        ("clusters", "x", "clusters: input should be a valid integer or a list, got 'x'"),
        ("rician_db", [400.0, 1.0], "rician_db.0: input should be less than or equal to 300, got"),
        ("irs_elements", [0, 2, 2], "irs_elements.0: input should be greater than or equal to 1"),
        ("direct_db", "x", "direct_db: input should be a valid number, got 'x'"),
    ],
)
def test_a_number_or_a_list_is_complained_of_as_what_was_given(key, value, message):
    with pytest.raises(ValidationError) as caught:
        REGISTRY.create("irs_mimo", {"snr_db": 10.0, key: value})
    assert first_complaint(caught.value).startswith(message)


def test_registry_suggests():
    with pytest.raises(ValueError, match="did you mean 'synthetic'"):
        REGISTRY.find("syntetic")


def calibration(x, truth, variance):
    arrays = (np.array([value]) for value in (x, variance, truth))
    x, variance, truth = arrays
    found = metrics.calibration(Estimate(x, variance=variance), truth)
    return {name: float(value[0]) for name, value in found.items()}


def test_calibration_of_known_errors():
    found = calibration(
        x=[1.0, 2.0, 0.0, 0.5, 0.0], truth=[1.1, 2.3, 4.0, 0.0, 0.0], variance=[0.01, 0.01, 0, 1, 0]
    )
    assert found["coverage_on"] == pytest.approx(1 / 3)  # errors of 1, of 3 and of ∞ deviations
    assert found["error_ratio_on"] == pytest.approx((0.01 + 0.09 + 16) / 0.02)
    assert found["coverage_off"] == 1.0
    assert found["error_ratio_off"] == pytest.approx(0.25)


def test_calibration_of_pruned_entries_off_the_support_is_as_they_say():
    found = calibration(x=[1.0, 0.0], truth=[1.0, 0.0], variance=[1.0, 0.0])
    assert (found["coverage_off"], found["error_ratio_off"]) == (1.0, 1.0)
    missed = calibration(x=[0.0, 0.0], truth=[1.0, 0.0], variance=[0.0, 0.0])
    assert (missed["coverage_on"], missed["error_ratio_on"]) == (0.0, np.inf)


@pytest.mark.parametrize("exponent", [-600, 600])
def test_calibration_far_from_one(exponent):
    near = calibration(x=[1.0, 0.1], truth=[1.2, 0.0], variance=[0.01, 0.01])
    scale = 2.0 ** (exponent / 2)
    far = calibration([scale, 0.1 * scale], [1.2 * scale, 0.0], np.array([0.01, 0.01]) * scale**2)
    assert far == pytest.approx(near)


@pytest.mark.parametrize("complex_valued", [False, True])
def test_the_posterior_under_the_true_prior_is_calibrated(complex_valued):
    scenario = Synthetic(5.0, (8, 8), (6, 6), 3, gains="independent", complex_valued=complex_valued)
    problem, truth = scenario.draw(range(600), 3)
    estimate = solvers.create("oracle_lmmse").solve(problem)
    scores = scenario.score(truth, problem, estimate)
    for name, goal in (("coverage_on", 0.95), ("error_ratio_on", 1.0)):
        error = scores[name].std() / np.sqrt(600)
        assert abs(scores[name].mean() - goal) < 3 * error
    tight = dataclasses.replace(estimate, variance=estimate.variance / 4)
    assert scenario.score(truth, problem, tight)["coverage_on"].mean() < 0.75
    assert (scores["coverage_off"] == 1).all()


def test_without_variances_nothing_is_said_of_calibration():
    problem, truth = SMALL.draw(range(3), seed=1)
    scores = SMALL.score(truth, problem, solvers.create("oracle_ls").solve(problem))
    assert all(np.isnan(scores[name]).all() for name in metrics.CALIBRATION)
