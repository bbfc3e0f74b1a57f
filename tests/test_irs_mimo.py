"""The IRS scenario: its channel is the physical one, and its figures are what they claim."""

import dataclasses
import itertools

import numpy as np
import pytest
from pydantic import ValidationError

import solvers
from pipeline.scenarios.arrays import on_cosines
from pipeline.scenarios.arrays import steering as responses
from pipeline.scenarios.irs_mimo import FAINT, IrsMimo
from pipeline.scenarios.metrics import symbol_error_rate
from pipeline.scenarios.streams import Draws, stream
from solvers.kron import kron_apply
from tests.problems import normal
from tests.textbook import kron_all

GOLDEN_Y = [
    (0.19338885814871457 - 0.22780999998780568j),
    (-0.24516359689564476 - 0.1320216018778949j),
]
GOLDEN_X = [4697.702083569942, 5248.759363046582]
PAPER = IrsMimo(snr_db=12)
SMALL = IrsMimo(
    snr_db=10,
    ue_antennas=2,
    bs_antennas=3,
    irs_elements=8,
    grid=5,
    spread=2,
    pilot_slots=2,
    reflection_patterns=3,
)


def steering(antennas, grid):
    """Array responses on the grid, (M, G)."""
    return responses(on_cosines(np.arange(grid), grid), antennas).T


def physical(scenario, realization, seed, patterns, wave):
    """The cascade under each pattern as a product of matrices, from the array responses."""
    arrays = (scenario.ue_antennas, scenario.irs_elements, scenario.bs_antennas)
    matrices = []
    for hop, (begin, end) in zip(
        scenario.hops(Draws(seed, [realization])), itertools.pairwise(arrays), strict=True
    ):
        paths = zip(hop.departure[0, :, 0], hop.arrival[0, :, 0], hop.gain[0], strict=True)
        matrices.append(sum(g * np.outer(wave(end, a), wave(begin, d).conj()) for d, a, g in paths))
    first, second = matrices
    return np.stack([second @ np.diag(q) @ first for q in patterns])


VARIANTS = {
    "paper": PAPER,
    "small": SMALL,
    "spreads": dataclasses.replace(PAPER, spread=(1, 4)),
    "off the grid": dataclasses.replace(SMALL, off_grid=0.7),
    "another grid": dataclasses.replace(SMALL, assumed_grid=7),
    "line of sight": dataclasses.replace(PAPER, rician_db=3.0),
    "all": dataclasses.replace(SMALL, rician_db=0.0, off_grid=1.0, phases="uniform"),
}


@pytest.mark.parametrize("scenario", VARIANTS.values(), ids=VARIANTS)
def test_channel_and_measurements_are_physical(scenario):
    def wave(antennas, direction):
        cosine = -1 + 2 * direction / scenario.grid
        return np.exp(1j * np.pi * cosine * np.arange(antennas)) / np.sqrt(antennas)

    seed = 3
    problem, truth = scenario.draw(range(5), seed)
    quiet, _ = dataclasses.replace(scenario, snr_db=200).draw(range(5), seed)
    for row in range(5):
        patterns = scenario._patterns.one(0, stream(seed, "patterns", row))
        pilots = scenario._pilots.one(0, stream(seed, "pilots", row))
        cascade = physical(scenario, row, seed, patterns, wave)
        if np.linalg.norm(cascade, axis=(1, 2)).min() < FAINT:
            continue
        np.testing.assert_allclose(truth.channel[row], cascade, atol=1e-11)
        received = np.einsum("qmu,pu->qpm", cascade, pilots)
        np.testing.assert_allclose(quiet.y[row], received, atol=1e-8)
        power = (np.abs(received) ** 2).mean()
        assert problem.noise_var[row] == pytest.approx(power / 10 ** (scenario.snr_db / 10))


def test_factors_are_the_distinct_columns_of_the_khatri_rao_dictionary():
    scenario, grid = SMALL, SMALL.grid
    problem, _ = scenario.draw([0], 1)
    patterns = scenario._patterns.one(0, stream(1, "patterns", 0))
    pilots = scenario._pilots.one(0, stream(1, "pilots", 0))
    irs = steering(scenario.irs_elements, grid)
    # All grid² cascades a(arrival) ∘ conj a(departure), seen through the patterns.
    full = np.einsum("qm,mk,ml->qkl", patterns, irs, irs.conj()).reshape(len(patterns), -1)
    dictionary = np.kron(
        full,
        np.kron(
            pilots @ steering(scenario.ue_antennas, grid).conj(),
            steering(scenario.bs_antennas, grid),
        ),
    )
    reduced = kron_all([a if a.ndim == 2 else a[0] for a in problem.factors])
    columns = np.unique(np.round(dictionary, 9), axis=1)
    assert columns.shape[1] == np.unique(np.round(reduced, 9), axis=1).shape[1] <= grid**3
    for column in reduced.T:
        assert np.abs(columns - column[:, None]).max(axis=0).min() < 1e-8


def test_truth_is_sparse_on_the_grid():
    problem, truth = PAPER.draw(range(20), 2)
    assert ((truth.x != 0).sum(axis=(1, 2, 3)) == 3 * 1 * 3).all()
    np.testing.assert_array_equal(truth.x != 0, problem.true_variance > 0)
    expected = problem.true_variance.max()
    drawn, _ = dataclasses.replace(PAPER, patterns="fixed").draw(range(2), 2)
    assert drawn.true_variance.max() == expected
    _, many = SMALL.draw(range(3000), 2)
    power = np.abs(many.x[many.x != 0]) ** 2
    assert power.mean() == pytest.approx(np.prod([2 * 8 / 2, 3 * 8 / 2]), rel=0.1)


def test_spreads_do_not_wrap_around_the_end_of_the_grid():
    for hop, width in zip(SMALL.hops(Draws(4, range(200))), (2, 2), strict=True):
        assert (np.diff(hop.arrival, axis=1) == 1).all()
        # Every place where they fit, and no other.
        assert set(hop.arrival[:, 0, 0]) == set(range(SMALL.grid - width + 1))
        assert (hop.departure == hop.departure[:, :1]).all()
        assert set(hop.departure[:, 0, 0]) == set(range(SMALL.grid))


def test_patterns_fixed_for_the_campaign():
    fixed = dataclasses.replace(PAPER, patterns="fixed")
    problem, _ = fixed.draw(range(4), 7)
    assert [a.ndim for a in problem.factors] == [2, 2, 2]
    later, _ = fixed.draw([100], 7)
    np.testing.assert_array_equal(problem.factors[0], later.factors[0])
    other, _ = fixed.draw(range(4), 8)
    assert np.abs(problem.factors[0] - other.factors[0]).max() > 1e-3
    random, _ = PAPER.draw(range(2), 7)
    assert np.abs(random.factors[0][0] - random.factors[0][1]).max() > 1e-3


def test_pattern_without_a_channel_is_replaced_for_that_realization():
    # One path and few elements: every other pattern cancels where the angles coincide.
    scenario = dataclasses.replace(SMALL, spread=1, patterns="fixed", irs_elements=2, grid=4)
    for seed in range(5):
        problem, truth = scenario.draw(range(30), seed)
        assert (np.linalg.norm(truth.channel, axis=(2, 3)) >= FAINT).all()
        assert np.isfinite(problem.y).all()
        alone, _ = scenario.draw([7], seed)
        np.testing.assert_allclose(alone.y[0], problem.y[7], rtol=1e-12)
    assert problem.factors[0].ndim == 3


def test_more_pilots_and_patterns_extend_fewer():
    fewer, _ = SMALL.draw([3], 1)
    more, _ = dataclasses.replace(SMALL, pilot_slots=4, reflection_patterns=5).draw([3], 1)
    np.testing.assert_array_equal(more.factors[0][:, :3], fewer.factors[0])
    np.testing.assert_array_equal(more.factors[1][:, :2], fewer.factors[1])


def test_golden_draw():
    # numpy promises no stable streams: a change of these numbers is a new version of the draw.
    problem, truth = PAPER.draw([0, 5], seed=3)
    assert problem.y[1, 0, 0, :2].tolist() == pytest.approx(GOLDEN_Y, rel=1e-9)
    assert np.abs(truth.x).sum(axis=(1, 2, 3)).tolist() == pytest.approx(GOLDEN_X, rel=1e-9)


class TestSymbolErrorRate:
    @staticmethod
    def simulated(channel, estimate, snr_db, symbols):
        """Symbol by symbol, as the authors' script does it."""
        rng = np.random.default_rng(1)
        u, _, vh = np.linalg.svd(estimate)
        receive, transmit = u[:, 0].conj(), vh[0].conj()
        gain, assumed = receive @ channel @ transmit, receive @ estimate @ transmit
        alphabet = 1j ** np.arange(4)
        sent = rng.integers(4, size=symbols)
        clean = gain * alphabet[sent]
        noise_var = np.mean(np.abs(clean) ** 2) / 10 ** (snr_db / 10)
        received = clean + np.sqrt(noise_var) * normal(rng, symbols, True)
        found = np.abs(received[:, None] - assumed * alphabet).argmin(axis=1)
        return np.mean(found != sent)

    @pytest.mark.parametrize("snr_db", [0.0, 6.0])
    @pytest.mark.parametrize("error", [0.0, 0.5, 2.0])
    def test_agrees_with_simulated_symbols(self, snr_db, error):
        rng = np.random.default_rng(5)
        channel = normal(rng, (4, 3), True)
        estimate = channel + error * normal(rng, (4, 3), True)
        symbols = 1_000_000
        expected = symbol_error_rate(channel, estimate, snr_db)
        deviation = np.sqrt(expected * (1 - expected) / symbols)
        found = self.simulated(channel, estimate, snr_db, symbols)
        assert found == pytest.approx(expected, abs=4 * deviation)

    def test_without_a_gain_three_of_four_are_wrong(self):
        channel = normal(np.random.default_rng(0), (2, 4, 3), True)
        assert symbol_error_rate(channel, 0 * channel, 10.0).tolist() == [0.75, 0.75]
        assert symbol_error_rate(0 * channel, channel, 10.0).tolist() == [0.75, 0.75]
        assert np.isnan(symbol_error_rate(channel, np.nan * channel, 10.0)).all()

    def test_scale_of_the_estimate_does_not_matter(self):
        channel = normal(np.random.default_rng(0), (4, 3), True)
        exact = symbol_error_rate(channel, channel, 8.0)
        assert symbol_error_rate(channel, 3 * channel, 8.0) == pytest.approx(exact)
        turned = symbol_error_rate(channel, np.exp(1j * np.pi / 2) * channel, 20.0)
        assert turned == pytest.approx(1.0, abs=1e-6)


def test_scores():
    problem, truth = PAPER.draw(range(3), 1)
    estimate = solvers.create("oracle_lmmse").solve(problem)
    scores = PAPER.score(truth, problem, estimate)
    assert set(scores) == set(PAPER.measures)
    assert (scores["nmse"] < 0.1).all()
    exact = dataclasses.replace(estimate, x=truth.x)
    assert (PAPER.score(truth, problem, exact)["nmse"] < 1e-25).all()
    nothing = dataclasses.replace(estimate, x=0 * truth.x)
    np.testing.assert_allclose(PAPER.score(truth, problem, nothing)["nmse"], 1)
    np.testing.assert_allclose(PAPER.score(truth, problem, nothing)["ser"], 0.75)
    channel = kron_apply(
        (problem.factors[0], steering(6, 18).conj(), problem.factors[2]), estimate.x
    ).swapaxes(2, 3)
    ratio = np.linalg.norm(channel - truth.channel, axis=(2, 3)) ** 2
    ratio /= np.linalg.norm(truth.channel, axis=(2, 3)) ** 2
    np.testing.assert_allclose(scores["nmse"], ratio.mean(axis=1))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"spread": 19}, "spread 19 is larger than the grid of 18"),
        ({"spread": 0}, "greater than or equal to 1"),
        ({"patterns": "sometimes"}, "'random' or 'fixed'"),
        ({"grid": 0}, "greater than or equal to 1"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValidationError, match=message):
        dataclasses.replace(PAPER, **parameters)
