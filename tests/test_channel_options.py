"""Channels that keep to less than the dictionary assumes: options change what they say, only."""

import dataclasses

import numpy as np
import pytest
from pydantic import ValidationError

import solvers
from pipeline.scenarios import channel_measures
from pipeline.scenarios.irs_mimo import IrsMimo
from pipeline.scenarios.streams import Draws
from pipeline.scenarios.training import dft_rows
from solvers.kron import kron_apply
from tests.problems import assert_close

SEED = 8
DRAWS = Draws(SEED, range(6))
PLAIN = IrsMimo(
    snr_db=20, ue_antennas=3, bs_antennas=4, irs_elements=32, grid=6, spread=2, phases="uniform"
)


PLANAR = {
    "irs_elements": (8, 4),
    "ue_antennas": (2, 2),
    "bs_antennas": (3, 2),
    "grid": (5, 4, 3, 2, 4, 3),
    "spread": (2, 1),
    "pilot_slots": (2, 2),
    "reflection_patterns": (4, 3),
}


def drawn(rows=6, **options):
    return dataclasses.replace(PLAIN, **options).draw(range(rows), SEED)


@pytest.mark.parametrize("rician_db", [None, 4.0])
def test_on_the_grid_the_dictionary_gives_the_channel(rician_db):
    problem, truth = drawn(snr_db=np.inf, rician_db=rician_db)
    assert_close(kron_apply(problem.factors, truth.x), problem.y, 1e-12)
    assert_close(PLAIN.channel(truth.x, problem), truth.channel, 1e-12)
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
        {"rician_db": (-np.inf, -np.inf)},
        {"cluster_shape": "laplacian", "spread": 1},
        {"cluster_shape": "uniform", "spread": 1, "cluster_width": 1e-13},
        {"clusters": (1, 1), "decay_db": 0.0},
        {"direct_db": -np.inf},
        {"direct_db": -300.0},
        {"phase_noise": 1e-12},
        {"spacing": 0.5, "assumed_angles": "cosines"},
        {"ue_antennas": (3,), "bs_antennas": (4,), "pilot_slots": (3,)},
        {"grid": (6, 6, 6)},
        {"assumed_hardware": "true"},
    ],
    ids=str,
)
def test_ends_of_options_are_the_plain_channel(options):
    plain, plain_truth = drawn(spread=options.get("spread", 2))
    problem, truth = drawn(**options)
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
        {"gains": "equal"},
        {"decay_db": 3.0},
        {"phase_noise": 20.0},
        {"spacing": 0.45},
        {"assumed_angles": "angles"},
        {"direct_db": 0.0},
        {"direct_db": 0.0, "direct": "removed"},
    ],
    ids=str,
)
def test_options_change_only_what_they_say(options):
    (problem, truth), (plain, plain_truth) = drawn(**options), drawn()

    # Each has its own streams: pilots, patterns and gains stay.
    varied = dataclasses.replace(PLAIN, **options)
    for hop, plain_hop in zip(varied.hops(DRAWS), PLAIN.hops(DRAWS), strict=True):
        paths = plain_hop.gain.shape[1]
        share = np.abs(hop.gain[:, :paths] / plain_hop.gain)
        if "gains" not in options:
            np.testing.assert_allclose(share, share[:1].repeat(6, axis=0), rtol=1e-12)
        assert np.abs(hop.arrival[:, :paths] - plain_hop.arrival).max() <= 0.25
    if not options.keys() & {"assumed_grid", "assumed_angles"}:
        for factor, plain_factor in zip(problem.factors, plain.factors, strict=True):
            np.testing.assert_array_equal(factor, plain_factor)
    same = np.allclose(truth.channel, plain_truth.channel, rtol=0, atol=1e-12)
    of_the_receiver = {"assumed_grid", "assumed_angles", "noise_error_db", "direct_db"}
    assert same == bool(options.keys() & of_the_receiver)


def test_planar_arrays_are_two_factors_each():
    problem, truth = drawn(snr_db=np.inf, **PLANAR)
    assert problem.measurements == (4, 3, 2, 2, 3, 2)
    assert problem.dims == PLANAR["grid"]
    assert_close(kron_apply(problem.factors, truth.x), problem.y, 1e-12)
    scenario = dataclasses.replace(PLAIN, **PLANAR)
    assert_close(scenario.channel(truth.x, problem), truth.channel, 1e-12)
    assert (truth.x != 0).sum() == 6 * 2**2
    assert truth.gains is None


@pytest.mark.parametrize("off_grid", [0.0, 1.0])
def test_planar_channels_are_physical(off_grid):
    """Against matrices that are put together antenna by antenna."""
    scenario = dataclasses.replace(PLAIN, **PLANAR, off_grid=off_grid, snr_db=np.inf)
    problem, truth = scenario.draw([3], SEED)
    draws = Draws(SEED, [3])

    def wave(sides, grids, cells):
        cosines = [-1 + 2 * k / g for k, g in zip(cells, grids, strict=True)]
        places = np.ndindex(*sides)
        turns = [sum(m * c for m, c in zip(at, cosines, strict=True)) for at in places]
        return np.exp(1j * np.pi * np.array(turns)) / np.sqrt(np.prod(sides))

    irs, ue, bs = ((8, 4), (5, 4)), ((2, 2), (3, 2)), ((3, 2), (4, 3))
    matrices = [
        sum(
            g * np.outer(wave(*end, a), wave(*begin, d).conj())
            for d, a, g in zip(hop.departure[0], hop.arrival[0], hop.gain[0], strict=True)
        )
        for hop, begin, end in zip(scenario.hops(draws), (ue, irs), (irs, bs), strict=True)
    ]
    patterns = [part[0] for part in scenario._patterns.parts(draws)]
    pilots = [part[0] for part in scenario._pilots.parts(draws)]
    for first, second in np.ndindex(4, 3):
        theta = np.kron(patterns[0][first], patterns[1][second])
        cascade = matrices[1] @ np.diag(theta) @ matrices[0]
        assert_close(truth.channel[0, 3 * first + second], cascade, 1e-11)
        for p, q in np.ndindex(2, 2):
            received = cascade @ np.kron(pilots[0][p], pilots[1][q])
            assert_close(problem.y[0, first, second, p, q].reshape(-1), received, 1e-11)


def test_a_side_of_one_antenna_is_a_linear_array():
    planar, truth = drawn(ue_antennas=(3, 1), pilot_slots=(3, 1), grid=(6, 6, 1, 6), snr_db=np.inf)
    plain, plain_truth = drawn(snr_db=np.inf)
    assert_close(truth.channel, plain_truth.channel, 1e-11)
    ratio = planar.y.reshape(plain.y.shape) / plain.y  # the pilot of the other side
    assert_close(ratio, np.broadcast_to(ratio[:, :1, :1, :1], ratio.shape), 1e-9)
    np.testing.assert_allclose(np.abs(ratio), 1, rtol=1e-9)


@pytest.mark.parametrize("shape", ["uniform", "laplacian"])
def test_clusters_have_the_width_that_they_are_told(shape):
    options = {"spread": 40, "grid": 60, "cluster_shape": shape, "cluster_width": 3.0}
    scenario = dataclasses.replace(PLAIN, **options)
    first, _ = scenario.hops(Draws(SEED, range(200)))
    narrow = dataclasses.replace(scenario, cluster_width=0.0)
    middle, _ = narrow.hops(Draws(SEED, range(200)))
    away = (first.arrival - middle.arrival + 30) % 60 - 30
    assert np.sqrt((away**2).mean()) == pytest.approx(3.0, rel=0.05)
    kurtosis = (away**4).mean() / (away**2).mean() ** 2
    assert kurtosis == pytest.approx(1.8 if shape == "uniform" else 6.0, rel=0.2)
    np.testing.assert_array_equal(first.departure, middle.departure)


def test_more_clusters_extend_fewer_and_each_leaves_by_a_direction_of_its_own():
    (few, _), (many, _) = (dataclasses.replace(PLAIN, clusters=k).hops(DRAWS) for k in (1, 3))
    np.testing.assert_array_equal(many.arrival[:, :2], few.arrival)
    np.testing.assert_allclose(np.sqrt(3) * many.gain[:, :2], few.gain)
    assert many.departure.shape == (6, 6, 1)
    np.testing.assert_array_equal(many.departure[:, ::2], many.departure[:, 1::2])
    problem, truth = drawn(clusters=(2, 3), snr_db=np.inf)
    assert_close(kron_apply(problem.factors, truth.x), problem.y, 1e-12)
    assert truth.gains is None


def test_powers_of_paths():
    hop, _ = dataclasses.replace(PLAIN, decay_db=6.0, gains="equal").hops(DRAWS)
    np.testing.assert_allclose(np.abs(hop.gain) ** 2, np.broadcast_to(hop.power, (6, 2)))
    assert hop.power.sum() == pytest.approx(3 * 32)
    assert hop.power[0] / hop.power[1] == pytest.approx(10**0.6)


def test_each_hop_has_its_k_factor():
    first, second = dataclasses.replace(PLAIN, rician_db=(-np.inf, 3.0)).hops(DRAWS)
    assert (first.gain.shape[1], second.gain.shape[1]) == (2, 3)


def test_a_direct_link_interferes_with_its_power_or_is_removed_at_the_price_of_noise():
    (plain, truth), (disturbed, same) = drawn(rows=800), drawn(rows=800, direct_db=-6.0)
    np.testing.assert_array_equal(same.channel, truth.channel)
    np.testing.assert_array_equal(disturbed.noise_var, plain.noise_var)
    link = disturbed.y - plain.y
    assert_close(link, np.broadcast_to(link[:, :1], link.shape), 1e-12)
    clean = drawn(rows=800, snr_db=np.inf)[0].y
    ratio = (np.abs(link) ** 2).mean() / (np.abs(clean) ** 2).mean()
    assert 10 * np.log10(ratio) == pytest.approx(-6.0, abs=1.0)
    removed, _ = drawn(rows=800, direct_db=-6.0, direct="removed")
    np.testing.assert_allclose(removed.noise_var, 2 * plain.noise_var)
    noise = removed.y - clean
    realised = (np.abs(noise) ** 2).mean(axis=(1, 2, 3)) / removed.noise_var
    assert realised.mean() == pytest.approx(1.0, rel=0.03)
    scenario = dataclasses.replace(PLAIN, direct="removed")
    assert scenario.draw_with_truth([1], SEED)[0].error_forms is None


@pytest.mark.parametrize(("rows", "columns"), [(3, 8), (8, 8), (9, 4), (1, 5), (6, 256)])
def test_dft_rows_are_orthogonal_the_shorter_way(rows, columns):
    found = dft_rows(rows, columns)
    np.testing.assert_allclose(np.abs(found), 1 / np.sqrt(columns))
    gram = found @ found.conj().T if rows <= columns else found.conj().T @ found * columns / rows
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_sequences_that_are_not_random_are_shared_by_the_batch():
    degrees = np.random.default_rng(1).uniform(0, 360, (6, 32)).tolist()
    problem, truth = drawn(
        pilots="orthogonal", phases="given", given_degrees=degrees, snr_db=np.inf
    )
    assert [factor.ndim for factor in problem.factors] == [2, 2, 2]
    assert_close(kron_apply(problem.factors, truth.x), problem.y, 1e-12)
    dft, _ = drawn(phases="dft")
    assert dft.factors[0].ndim == 2


def test_patterns_that_show_nothing_count_for_nothing():
    """Such as DFT patterns that look past a single path; those that are random are replaced."""
    scenario = dataclasses.replace(
        PLAIN, phases="dft", spread=1, irs_elements=6, reflection_patterns=6, snr_db=np.inf
    )
    _, truth = scenario.draw_with_truth(range(6), SEED)
    seen = np.linalg.norm(truth.channel, axis=(2, 3)) > 1e-9
    assert (seen.sum(axis=1) == 1).all()
    exact = np.where(seen[..., None, None], truth.channel, 0)
    np.testing.assert_allclose(channel_measures.channel_nmse(exact, exact), 0, atol=1e-20)
    np.testing.assert_allclose(channel_measures.channel_nmse(0 * exact, exact), 1)


def test_a_dictionary_that_knows_the_hardware_gives_the_channel():
    options = {"phase_bits": 1, "dead_elements": 0.3, "phase_noise": 10.0, "snr_db": np.inf}
    problem, truth = drawn(**options, assumed_hardware="true")
    assert_close(kron_apply(problem.factors, truth.x), problem.y, 1e-12)
    ideal, _ = drawn(**options)
    assert np.linalg.norm(kron_apply(ideal.factors, truth.x) - ideal.y) > 0.1


def estimate_of(x):
    return solvers.Estimate(x=x, status=np.ones(len(x), int))


@pytest.mark.parametrize("options", [{}, PLANAR, {"rician_db": 3.0}], ids=str)
def test_the_truth_scores_best(options):
    scenario = dataclasses.replace(PLAIN, **options)
    problem, truth = scenario.draw(range(6), SEED)
    scores = scenario.score(truth, problem, estimate_of(truth.x))
    np.testing.assert_allclose(scores["beam_error"], 0, atol=1e-20)
    if options != {"rician_db": 3.0}:  # where two paths may share an entry
        np.testing.assert_allclose(scores["detection"], 1)
        np.testing.assert_allclose(scores["angle_error"], 0, atol=1e-12)
    nothing = scenario.score(truth, problem, estimate_of(0 * truth.x))
    np.testing.assert_allclose(nothing["beam_error"], 1)
    assert (nothing["detection"] == 0).all()
    assert np.isnan(nothing["angle_error"]).all()


def test_the_nearest_entries_of_a_grid_are_off_by_less_than_half_a_cell():
    scenario = dataclasses.replace(PLAIN, off_grid=1.0, grid=40, spread=1, clusters=3)
    _, truth = scenario.draw(range(20), SEED)
    x = np.zeros((20, 40, 40, 40))
    places = np.round((truth.cosines / 2.0 % 1.0 + np.array([0.0, 0.5, 0.5])) * 40).astype(int) % 40
    for row in range(20):
        x[row][tuple(places[row].T)] = 1.0
    scores = channel_measures.angle_scores(x, scenario.assumed_cosines, truth.cosines)
    assert (scores["detection"] > 0.85).all()  # where two share an entry, one has none
    assert (scores["angle_error"] <= 1 / 40).all()
    assert (scores["angle_error"] > 1 / 400).all()


def test_pairing_is_by_assignment_around_the_end_of_the_grid():
    grid = [np.array([-1.0, -0.5, 0.0, 0.5])]
    x = np.array([[1.0, 0.5, 0.1, 0.0]])
    scores = channel_measures.angle_scores(x, grid, np.array([[[0.9], [-0.6]]]))
    assert scores["detection"].tolist() == [1.0]
    assert scores["angle_error"] == pytest.approx([0.1])
    far = channel_measures.angle_scores(x, grid, np.array([[[0.2], [-0.6]]]))
    assert far["detection"].tolist() == [0.5]


def test_beams_do_not_depend_on_the_phase_of_a_channel():
    _, truth = drawn()
    turned = truth.channel * np.exp(1j)
    np.testing.assert_allclose(
        channel_measures.beam_error(turned, truth.channel, (4,)), 0, atol=1e-20
    )
    np.testing.assert_allclose(
        channel_measures.beam_error(2 * truth.channel, truth.channel, (2, 2)), 9
    )


def test_noise_that_solvers_are_told():
    (problem, _), (plain, _) = drawn(noise_error_db=6.0), drawn()
    np.testing.assert_array_equal(problem.y, plain.y)
    np.testing.assert_allclose(problem.noise_var, plain.noise_var * 10**0.6)


def test_a_line_of_sight_takes_its_share_of_the_power():
    many = range(4000)
    for db, share in ((-np.inf, 0.0), (0.0, 0.5), (10.0, 10 / 11)):
        first, _ = dataclasses.replace(PLAIN, rician_db=db).hops(Draws(SEED, many))
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
        ({"spread": 7}, "spread 7 is larger than the grid of 6"),
        ({"grid": (6, 6, 1)}, "larger than the grid of 1"),
        ({"grid": (6, 6)}, "error, grid has 2 entries but the arrays have 3 axes"),
        ({"assumed_grid": (6,)}, "assumed_grid has 1 entries"),
        ({"cluster_width": 1.0}, "set cluster_shape"),
        ({"cluster_width": 2.0, "cluster_shape": "uniform"}, "wider than the grid of 6"),
        ({"irs_elements": (8, 4)}, "reflection_patterns has 1 entries but irs_elements has 2"),
        ({"ue_antennas": (2, 2)}, "pilot_slots has 1 entries but ue_antennas has 2"),
        ({"bs_antennas": (2, 2, 2)}, "at most 2 items"),
        ({"phases": "given"}, "go together"),
        ({"given_degrees": [[0.0] * 32] * 6}, "go together"),
        ({"phases": "given", "given_degrees": [[0.0] * 31] * 6}, "6 rows of 32 phases"),
        ({"phases": "given", "given_degrees": []}, "6 rows of 32 phases"),
        ({**PLANAR, "assumed_hardware": "true"}, "needs a linear IRS"),
    ],
)
def test_misuse(options, message):
    with pytest.raises(ValidationError, match=message):
        drawn(**options)
