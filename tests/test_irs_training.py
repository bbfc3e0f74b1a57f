"""The training-rich scenario: its model, what a sweep leaves as it was, and golden draws."""

import numpy as np
import pytest

from pipeline.scenarios import REGISTRY
from solvers.kron import kron_apply


def drawn(realizations=range(3), **parameters):
    scenario = REGISTRY.create("irs_training", {"snr_db": 10.0, **parameters})
    return (scenario, *scenario.draw(realizations, 7))


@pytest.mark.parametrize("patterns", ["random", "dft"])
@pytest.mark.parametrize("paths", [0, 3])
def test_model(patterns, paths):
    _, problem, truth = drawn(patterns=patterns, paths=paths)
    assert problem.dims == (16, 2, 6)
    assert problem.measurements == (20, 4, 6)
    s, x, eye = problem.factors
    np.testing.assert_allclose(np.abs(s), 1.0)
    np.testing.assert_allclose(np.abs(x), 1.0 / np.sqrt(2.0))
    np.testing.assert_array_equal(eye, np.eye(6))
    if patterns == "dft":
        np.testing.assert_allclose(s.conj().T @ s, 20 * np.eye(16), atol=1e-12)
        np.testing.assert_allclose(x.conj().T @ x, 2 * np.eye(2), atol=1e-12)
    singular = np.linalg.svd(truth.x, compute_uv=False)
    assert (singular[..., 1] < 1e-12 * singular[..., 0]).all()
    clean = kron_apply(problem.factors, truth.x)
    power = (np.abs(clean) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(problem.noise_var, power / 10.0)
    noise = (np.abs(problem.y - clean) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(noise, problem.noise_var, rtol=0.25)


@pytest.mark.parametrize("paths", [0, 2])
def test_channels_have_unit_power(paths):
    _, _, truth = drawn(range(400), paths=paths)
    assert (np.abs(truth.x) ** 2).mean() == pytest.approx(1.0, abs=0.1)


def test_few_paths_make_channels_of_low_rank():
    """Across elements: G has as many directions as paths."""
    _, _, truth = drawn(paths=1, bs_antennas=1)
    channel = truth.x[..., 0]
    singular = np.linalg.svd(channel, compute_uv=False)
    assert (singular[:, 1] < 1e-10 * singular[:, 0]).all()


def test_a_sweep_leaves_the_rest_as_it_was():
    _, few, truth = drawn(irs_elements=8)
    _, more, other = drawn(irs_elements=8, reflection_patterns=40, pilot_slots=6)
    np.testing.assert_array_equal(truth.x, other.x)
    np.testing.assert_array_equal(few.factors[0], more.factors[0][:, :20])
    np.testing.assert_array_equal(few.factors[1], more.factors[1][:, :4])
    _, loud, _ = drawn(irs_elements=8, snr_db=30.0)
    clean = kron_apply(few.factors, truth.x)
    np.testing.assert_allclose(few.y - clean, 10.0 * (loud.y - clean))


def test_golden_draw():
    _, problem, truth = drawn([5], irs_elements=3, reflection_patterns=4, paths=2)
    found = [truth.x[0, 0, 0, 0], truth.x[0, 2, 1, 5], problem.factors[0][0, 3, 2]]
    found += [problem.factors[1][0, 3, 1], problem.y[0, 0, 0, 0], problem.noise_var[0]]
    np.testing.assert_allclose(found, GOLDEN, rtol=1e-10)


def test_error_form_is_the_nmse():
    scenario, problem, truth = drawn()
    [form] = scenario.error_forms(problem, truth)
    x = 0.9 * truth.x
    error = form.weight * (np.abs(x - truth.x) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(scenario.nmse(truth, problem, x), error)
    np.testing.assert_allclose(error, 0.01)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"irs_elements": 21}, "reflection_patterns 20 is less than irs_elements"),
        ({"ue_antennas": 5}, "pilot_slots 4 is less than ue_antennas"),
    ],
)
def test_too_little_training(given, message):
    with pytest.raises(ValueError, match=message):
        drawn(**given)


GOLDEN = [
    (0.30300942328556135 + 0.6760955606450543j),
    (-0.7520732508394984 - 0.4169802451199659j),
    (-0.008215892887243599 + 0.9999662489824671j),
    (-0.7071067811865475 + 8.659560562354932e-17j),
    (0.391082463543592 + 0.5027831600681382j),
    (0.18314980921999197 + 0j),
]
