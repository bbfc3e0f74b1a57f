"""UAMP-SBL: against a dense version, reference cases, and that it says where it diverges."""

import numpy as np
import pytest

import solvers
from solvers import Problem, Status
from tests import textbook
from tests.problems import assert_close, reviewers_case, sparse_problem

SHAPES = [((4, 5, 6), (6, 6, 6)), ((6, 5), (8, 4)), ((8,), (12,)), ((3, 2, 3, 4), (4, 3, 3, 4))]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(("measurements", "dims"), SHAPES)
@pytest.mark.parametrize("noise", ["known", "estimate"])
@pytest.mark.parametrize("damping", [0.5, 1.0])
def test_uamp_sbl(measurements, dims, complex_valued, shared, noise, damping):
    problem, _ = sparse_problem(
        2, measurements, dims, seed=121, complex_valued=complex_valued, shared=shared
    )
    options = {"max_iterations": 5, "tolerance": 0.0, "scaling": "none", "initial_gamma": 2.0}
    solver = solvers.create("uamp_sbl", noise=noise, damping=damping, **options)
    estimate = solver.solve(problem)
    for row in range(2):
        factors = [a if shared else a[row] for a in problem.factors]
        x, noise_var = textbook.uamp_sbl(
            factors,
            problem.y[row],
            problem.noise_var[row],
            5,
            damping,
            estimate_noise=noise == "estimate",
            start=2.0,
        )
        assert_close(estimate.x[row], x)
        assert estimate.noise_var[row] == pytest.approx(noise_var, rel=1e-8)


@pytest.mark.parametrize("case", ["flat_a", "flat_f"])
@pytest.mark.parametrize("noise", ["known", "unknown"])
def test_reference_cases(case, noise):
    problem, reference = reviewers_case(case)
    for iterations, tolerance in ((10, 1e-9), (300, 1e-4)):
        name = f"ours_uamp_{noise}_{iterations}"
        if name in reference:
            solver = solvers.create(
                "uamp_sbl",
                noise="known" if noise == "known" else "estimate",
                scaling="none",
                initial_gamma=1.0,
                tolerance=0.0,
                max_iterations=iterations,
            )
            assert_close(solver.solve(problem).x, reference[name], tolerance)


def test_whole_steps_diverge_and_damped_ones_do_not():
    from pipeline.scenarios import Synthetic

    problem, _ = Synthetic(snr_db=20).draw(range(10), seed=1)
    whole = solvers.create("uamp_sbl", damping=1.0, max_iterations=300).solve(problem)
    diverged = whole.status == Status.DIVERGED
    assert diverged.sum() > 5
    assert np.isnan(whole.x[diverged]).all()
    assert np.isfinite(whole.x[~diverged]).all()
    damped = solvers.create("uamp_sbl").solve(problem)
    assert not (damped.status == Status.DIVERGED).any()


def test_idle_atoms_do_not_count():
    problem, _ = sparse_problem(2, (5, 6), (6, 6), seed=122)
    first = np.concatenate([problem.factors[0], np.zeros((2, 5, 30))], axis=2)
    padded = Problem(problem.y, [first, problem.factors[1]], problem.noise_var)
    for scaling in ("data", "none"):
        solver = solvers.create("uamp_sbl", scaling=scaling, max_iterations=50)
        one, other = solver.solve(problem), solver.solve(padded)
        assert_close(other.x[:, :6], one.x)
        assert not other.x[:, 6:].any()


def test_precisions_are_told_as_variances():
    problem, _ = sparse_problem(3, (8, 8), (8, 8), snr_db=30, seed=123)
    estimate = solvers.create("uamp_sbl").solve(problem)
    large = np.abs(estimate.x) > 0.3 * np.abs(estimate.x).max(axis=(1, 2), keepdims=True)
    assert np.median(estimate.gamma[large]) > 100 * np.median(estimate.gamma[~large])
    assert (estimate.variance >= 0).all()


def test_damping_is_a_share():
    for damping in (0.0, 1.5):
        with pytest.raises(ValueError, match="damping must be"):
            solvers.create("uamp_sbl", damping=damping)
