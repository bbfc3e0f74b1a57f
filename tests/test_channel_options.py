"""Channels that keep to less than the dictionary assumes: options change what they say, only."""

import dataclasses

import numpy as np
import pytest
from pydantic import ValidationError

import solvers
from pipeline.scenarios.irs_mimo import IrsMimo
from solvers.kron import kron_apply
from tests.problems import assert_close

SEED = 8
PLAIN = IrsMimo(
    snr_db=20, ue_antennas=3, bs_antennas=4, irs_elements=32, grid=6, spread=2, phases="uniform"
)


def drawn(rows=6, **options):
    return dataclasses.replace(PLAIN, **options).draw(range(rows), SEED)


@pytest.mark.parametrize("rician_db", [None, 4.0])
def test_on_the_grid_the_dictionary_gives_the_channel(rician_db):
    problem, truth = drawn(snr_db=np.inf, rician_db=rician_db)
    assert_close(kron_apply(problem.factors, truth.x), problem.y, 1e-12)
    assert_close(PLAIN.channel(truth.x, problem.factors[0]), truth.channel, 1e-12)
    assert (truth.gains is None) == (rician_db is not None)


@pytest.mark.parametrize(
    "options",
    [
        {"off_grid": 0.0},
        {"assumed_grid": PLAIN.grid},
        {"rician_db": -np.inf},
        {"rician_db": -400.0},
        {"phase_bits": 50},
        {"least_amplitude": 1.0, "dead_elements": 1e-12},
        {"noise_error_db": 0.0},
    ],
    ids=str,
)
def test_ends_of_options_are_the_plain_channel(options):
    (problem, truth), (plain, plain_truth) = drawn(**options), drawn()
    assert_close(truth.channel, plain_truth.channel, 1e-11)
    assert_close(problem.y, plain.y, 1e-11)
    assert_close(problem.noise_var, plain.noise_var, 1e-11)


@pytest.mark.parametrize(
    "options",
    [
        {"off_grid": 0.5},
        {"assumed_grid": 12},
        {"rician_db": 0.0},
        {"phase_bits": 1},
        {"least_amplitude": 0.2},
        {"dead_elements": 0.3},
        {"noise_error_db": 3.0},
    ],
    ids=str,
)
def test_options_change_only_what_they_say(options):
    (problem, truth), (plain, plain_truth) = drawn(**options), drawn()

    # Each has its own streams: pilots, patterns and gains stay.
    varied = dataclasses.replace(PLAIN, **options)
    for hop, plain_hop in zip(varied.hops(range(6), SEED), PLAIN.hops(range(6), SEED), strict=True):
        paths = plain_hop.gain.shape[1]
        share = np.abs(hop.gain[:, :paths] / plain_hop.gain)
        np.testing.assert_allclose(share, share[0, 0], rtol=1e-12)
        assert np.abs(hop.arrival[:, :paths] - plain_hop.arrival).max() <= 0.25
    if "assumed_grid" not in options:
        for factor, plain_factor in zip(problem.factors, plain.factors, strict=True):
            np.testing.assert_array_equal(factor, plain_factor)
    same = np.allclose(truth.channel, plain_truth.channel, rtol=0, atol=1e-12)
    assert same == bool(options.keys() & {"assumed_grid", "noise_error_db"})


def test_noise_that_solvers_are_told():
    (problem, _), (plain, _) = drawn(noise_error_db=6.0), drawn()
    np.testing.assert_array_equal(problem.y, plain.y)
    np.testing.assert_allclose(problem.noise_var, plain.noise_var * 10**0.6)


def test_a_line_of_sight_takes_its_share_of_the_power():
    many = range(4000)
    for db, share in ((-np.inf, 0.0), (0.0, 0.5), (10.0, 10 / 11)):
        first, _ = dataclasses.replace(PLAIN, rician_db=db).hops(many, SEED)
        power = (np.abs(first.gain) ** 2).mean(axis=0)
        np.testing.assert_allclose(power.sum(), np.prod([3, 32]), rtol=0.05)
        if share:
            np.testing.assert_allclose(power[-1], share * 96, rtol=1e-9)
        np.testing.assert_allclose(power, first.power, rtol=0.1)


def test_dead_elements_are_of_a_realization_and_their_share():
    _, truth = drawn(dead_elements=0.4, rows=400)
    _, plain = drawn(rows=400)
    powers = [np.sum(np.abs(t.channel) ** 2) for t in (truth, plain)]
    assert powers[0] / powers[1] == pytest.approx(0.6, abs=0.15)
    _, alone = dataclasses.replace(PLAIN, dead_elements=0.4).draw([7], SEED)
    assert_close(alone.channel[0], truth.channel[7], 1e-12)


def test_fewer_bits_are_further_from_what_was_asked_for():
    errors = []
    for bits in (4, 3, 2, 1):
        (_, truth), (_, plain) = drawn(phase_bits=bits, rows=50), drawn(rows=50)
        errors.append(np.linalg.norm(truth.channel - plain.channel))
    assert errors == sorted(errors)
    assert errors[0] > 0


@pytest.mark.parametrize("options", [{"off_grid": 1.0}, {"assumed_grid": 9}], ids=str)
def test_off_the_dictionary(options):
    """There is no x to find, but a channel to estimate; oracles and bounds have nothing to say."""
    scenario = dataclasses.replace(PLAIN, **options)
    problem, truth = scenario.draw_with_truth(range(6), SEED)
    assert truth.x is None
    assert problem.true_variance is None
    assert problem.error_forms is None
    estimate = solvers.create("svd_krosbl").solve(problem)
    scores = scenario.score(truth, problem, estimate)
    assert (scores["nmse"] > 0).all()
    assert np.isnan(scores["coverage_on"]).all()
    grid = scenario.assumed_grid or scenario.grid
    assert estimate.x.shape[1:] == (grid,) * 3


def test_an_estimate_is_worse_the_further_angles_are_off_the_grid():
    medians = []
    for off_grid in (0.0, 0.3, 1.0):
        scenario = dataclasses.replace(PLAIN, off_grid=off_grid, reflection_patterns=8)
        problem, truth = scenario.draw(range(100), SEED)
        estimate = solvers.create("svd_krosbl").solve(problem)
        medians.append(np.median(scenario.nmse(truth, problem, estimate.x)))
    assert medians == sorted(medians)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phase_bits": 2, "phases": "binary"}, 'phases = "uniform"'),
        ({"phase_bits": 0}, "greater than or equal to 1"),
        ({"off_grid": 1.5}, "less than or equal to 1"),
        ({"rician_db": float("nan")}, "less than or equal to 300"),
        ({"least_amplitude": 0.0}, "greater than 0"),
        ({"dead_elements": 1.0}, "less than 1"),
        ({"noise_error_db": float("inf")}, "finite"),
    ],
)
def test_misuse(options, message):
    with pytest.raises(ValidationError, match=message):
        drawn(**options)
