"""M-SBL, and recovery of one mode after the other: against dense versions, and reference cases."""

import numpy as np
import pytest

import solvers
from solvers import Problem
from solvers.msbl import MSBL
from tests import textbook
from tests.problems import assert_close, normal, reviewers_case, sparse_problem
from tests.textbook import kron_all

SHAPES = [((4, 5, 6), (6, 6, 6)), ((6, 5), (8, 5)), ((8,), (12,)), ((3, 2, 3, 4), (4, 3, 3, 4))]


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("snapshots", [1, 3, 20])
def test_msbl(snapshots, complex_valued):
    rng = np.random.default_rng(111)
    a, x = normal(rng, (3, 8, 12), complex_valued), np.zeros((3, 12, snapshots))
    x[:, 2:5] = normal(rng, (3, 3, snapshots))
    y = a @ x + 0.1 * normal(rng, (3, 8, snapshots), complex_valued)
    start = 0.1 * np.var(y.reshape(3, -1), axis=1, ddof=1)
    solver = MSBL(noise="estimate", prune=1e-3, scaling="none", max_iterations=150)
    estimate = solver.solve(Problem(y, (a, np.eye(snapshots))), initial=(None, start))
    for row in range(3):
        expected, gamma, iterations = textbook.msbl(a[row], y[row])
        assert estimate.iterations[row] == iterations
        assert_close(estimate.x[row], expected, 1e-7)
        assert_close(estimate.gamma[0][row] * estimate.gamma[1][row, 0], gamma, 1e-7)


def test_msbl_of_one_snapshot_is_classic_sbl():
    given, _ = sparse_problem(3, (8,), (12,), seed=112)
    (a,) = given.factors  # of unit norm: where atoms are not, the two weigh them differently
    unit = a / np.linalg.norm(a, axis=-2, keepdims=True)
    problem = Problem(given.y, (unit,), given.noise_var)
    one, other = MSBL(prune=1e-3).solve(problem), solvers.create("csbl", acceleration="none")
    expected = other.solve(problem)
    np.testing.assert_array_equal(one.iterations, expected.iterations)
    assert_close(one.x, expected.x)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(("measurements", "dims"), SHAPES)
@pytest.mark.parametrize("order", ["given", "determined"])
def test_multistage(measurements, dims, complex_valued, shared, order):
    problem, _ = sparse_problem(
        2, measurements, dims, seed=113, complex_valued=complex_valued, shared=shared
    )
    estimate = solvers.create("multistage", preset="published", order=order).solve(problem)
    modes = list(range(len(dims)))
    if order == "determined":
        modes = [i for _, i in sorted((-m / n, i) for i, (m, n) in
                                      enumerate(zip(measurements, dims, strict=True)))]  # fmt: skip
    for row in range(2):
        factors = [a if shared else a[row] for a in problem.factors]
        x, counts = textbook.multistage(factors, problem.y[row], modes)
        assert estimate.iterations[row] == max(counts)
        assert_close(estimate.x[row], x, 1e-6)


def test_variances_have_the_power_of_x():
    """The mean of their product is what the last stage says of the power of an entry of x."""
    problem, _ = sparse_problem(4, (6, 7, 8), (6, 6, 6), snr_db=30, seed=114)
    estimate = solvers.create("multistage").solve(problem)
    for row in range(4):
        product = kron_all([g[row][:, None] for g in estimate.gamma])
        power = (estimate.x[row] ** 2).mean()
        assert product.mean() == pytest.approx(power, rel=0.05)
        assert ((product.reshape(6, 6, 6) > 0) == (estimate.x[row] != 0)).all()


def test_independent_gains_do_not_fool_it():
    from pipeline.scenarios import Synthetic

    scenario = Synthetic(snr_db=20, gains="independent")
    problem, truth = scenario.draw(range(30), seed=1)
    estimate = solvers.create("multistage").solve(problem)
    assert np.median(scenario.score(truth, problem, estimate)["nmse"]) < 1e-3


@pytest.mark.parametrize("case", ["flat_a", "flat_f"])
def test_reference_cases(case):
    problem, reference = reviewers_case(case)
    estimate = solvers.create("multistage", preset="published").solve(problem)
    assert_close(estimate.x, reference["ours_multistage"])
    assert estimate.iterations[0] == reference["ours_multistage_iterations"].max()
    for i, gamma in enumerate(estimate.gamma):
        expected = reference[f"ours_multistage_gamma{i + 1}"]
        assert_close(gamma / gamma.sum(), expected / expected.sum())
