"""Misuse of solvers raises at once, and says what was expected."""

import numpy as np
import pytest

import solvers
from solvers import Problem, Status


def good():
    return {
        "y": np.ones((2, 3, 4)),
        "factors": [np.ones((3, 5)), np.ones((2, 4, 6))],
        "noise_var": np.ones(2),
        "true_variance": np.ones((2, 5, 6)),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.ones(3)}, r"y must have shape"),
        ({"y": np.ones((0, 3, 4))}, r"without empty axes"),
        ({"y": np.full((2, 3, 4), np.nan)}, r"y holds NaN"),
        ({"y": np.full((2, 3, 4), np.inf)}, r"y holds NaN or infinite"),
        ({"y": np.full((2, 3, 4), "a")}, r"y must hold numbers"),
        ({"factors": [np.ones((3, 5))]}, r"needs 2 factors, got 1"),
        ({"factors": [np.ones((4, 5)), np.ones((4, 6))]}, r"factors\[0\] must have shape \(3, N\)"),
        ({"factors": [np.ones((3, 5)), np.ones((3, 4, 6))]}, r"factors\[1\] must have shape"),
        ({"factors": [np.ones((3, 0)), np.ones((4, 6))]}, r"factors\[0\] must have shape"),
        ({"noise_var": [1.0, -1.0]}, r"noise_var must be real, non-negative"),
        ({"noise_var": [1.0, 0.0]}, r"noise_var must be positive"),
        ({"noise_var": 1.0}, r"noise_var must be real, non-negative and of shape \(2,\)"),
        ({"noise_var": [1.0, np.nan]}, r"noise_var holds NaN"),
        ({"true_variance": np.ones((2, 6, 5))}, r"true_variance must be"),
    ],
)
def test_bad_problem(change, message):
    with pytest.raises(ValueError, match=message):
        Problem(**{**good(), **change})


def test_one_complex_array_makes_the_problem_complex():
    arguments = good()
    arguments["factors"][1] = arguments["factors"][1] * 1j
    problem = Problem(**arguments)
    assert problem.y.dtype == complex
    assert problem.dims == (5, 6)
    assert problem.measurements == (3, 4)
    assert problem.take([1]).batch == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("am_krosb", {}, r"unknown solver 'am_krosb'; did you mean 'am_krosbl'\?"),
        ("lasso", {}, r"unknown solver 'lasso'; "),
        ("no.such.module:Solver", {}, r"cannot import solver"),
        ("math:pi", {}, r"is no solver"),
        ("am_krosbl", {"tolerence": 1}, r"no option 'tolerence'; did you mean 'tolerance'\?"),
        ("am_krosbl", {"tolerance": -1.0}, r"tolerance must be at least 0"),
        ("am_krosbl", {"tolerance": "small"}, r"tolerance must be of type float, got 'small'"),
        ("am_krosbl", {"tolerance": float("nan")}, r"tolerance must be finite"),
        ("am_krosbl", {"max_iterations": 0}, r"max_iterations must be at least 1"),
        ("am_krosbl", {"max_iterations": 1.5}, r"max_iterations must be of type int"),
        ("am_krosbl", {"max_iterations": True}, r"max_iterations must be of type int"),
        ("am_krosbl", {"noise": "guess"}, r"noise must be one of 'known', 'estimate'"),
        ("am_krosbl", {"prune": 1.0}, r"prune must be less than 1"),
        ("am_krosbl", {"prune": []}, r"prune must not be an empty list"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        solvers.create(name, **options)


def test_per_factor_options_must_fit_the_problem():
    solver = solvers.create("svd_krosbl", prune=[1e-3, 1e-2])
    assert solver.prune == (1e-3, 1e-2)
    problem = Problem(np.ones((1, 2, 2, 2)), [np.ones((2, 3))] * 3, [1.0])
    with pytest.raises(ValueError, match="prune lists 2 values for a problem of 3 factors"):
        solver.solve(problem)


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        (((np.ones(3), np.ones(3)), None), r"gamma needs 3 factors, got 2"),
        (((np.ones(3), np.ones(3), np.ones(4)), None), r"gamma\[2\] must have shape"),
        (((np.ones(3), np.ones(3), -np.ones(3)), None), r"gamma\[2\] must be finite and non-neg"),
        ((np.ones((3, 3, 3)), None), r"gamma must be a tuple"),
        ((None, -1.0), r"initial noise variance must be positive"),
    ],
)
def test_bad_start(initial, message):
    problem = Problem(np.ones((1, 2, 2, 2)), [np.ones((2, 3))] * 3, [1.0])
    with pytest.raises(ValueError, match=message):
        solvers.create("am_krosbl", noise="estimate").solve(problem, initial=initial)


def test_failed_statuses():
    assert [s for s in Status if not s.failed] == [
        Status.NOT_RUN,
        Status.CONVERGED,
        Status.MAX_ITERATIONS,
    ]


def test_divergence_is_a_status_and_costs_no_other_row():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((3, 3, 3))
    y[1] *= 1e200  # its square overflows
    problem = Problem(y, [np.eye(3), np.eye(3)], np.ones(3))
    estimate = solvers.create("svd_krosbl", prune=0.0).solve(problem)
    assert estimate.status[1] == Status.DIVERGED
    assert np.isnan(estimate.x[1]).all()
    alone = solvers.create("svd_krosbl", prune=0.0).solve(problem.take([0, 2]))
    np.testing.assert_allclose(estimate.x[[0, 2]], alone.x, rtol=1e-10)
