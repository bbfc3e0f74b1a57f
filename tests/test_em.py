"""Whole solves: against textbook EM, and what the theory promises."""

import numpy as np
import pytest

import solvers
from solvers import Problem, Status, Trace
from solvers.kron import outer
from solvers.kron_model import KronModel
from tests.problems import sparse_problem
from tests.textbook import am_step, kron_em, ksbl_step, svd_step

KRONECKER = {
    "am_krosbl": (am_step, 1e-2),
    "svd_krosbl": (svd_step, 1e-3),
    "ksbl": (ksbl_step, 1e-2),
}


@pytest.mark.parametrize("name", KRONECKER)
@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(("measurements", "dims"), [((4, 5, 6), (6, 6, 6)), ((7, 8), (9, 9))])
@pytest.mark.parametrize("noise", ["known", "estimate"])
def test_solve_agrees_with_textbook_em(name, complex_valued, measurements, dims, noise):
    step, prune = KRONECKER[name]
    problem, _ = sparse_problem(4, measurements, dims, seed=11, complex_valued=complex_valued)
    estimate = solvers.create(name, preset="published", noise=noise).solve(problem)
    for row in range(problem.batch):
        x, iterations, noise_var, inner = kron_em(
            [a[row] for a in problem.factors],
            problem.y[row],
            problem.noise_var[row],
            step,
            prune=prune,
            estimate_noise=noise == "estimate",
        )
        assert estimate.iterations[row] == iterations
        assert np.linalg.norm(estimate.x[row] - x) <= 1e-7 * np.linalg.norm(x)
        assert estimate.noise_var[row] == pytest.approx(noise_var, rel=1e-7)
        if name == "am_krosbl":
            assert estimate.inner_iterations[row] == inner


def test_am_never_raises_the_cost():
    problem, _ = sparse_problem(5, seed=2)
    trace = Trace()
    solvers.create("am_krosbl", prune=0.0, tolerance=0.0, max_iterations=200).solve(
        problem, watch=trace
    )
    rise = np.diff(trace.cost, axis=1)
    assert (rise <= 1e-10 * np.abs(trace.cost[:, 1:])).all()


def test_am_converges_to_a_stationary_point_of_the_cost():
    problem, _ = sparse_problem(3, seed=3)
    seen = {}

    def watch(iteration, rows, state):
        if iteration in (50, 1500):
            assert len(rows) == problem.batch
            posterior = KronModel(problem).posterior(state.gamma, state.noise_var)
            slope = 1 - posterior.moment / outer(state.gamma)  # γ ∂cost/∂γ, entry by entry
            others = [tuple(1 + j for j in range(3) if j != i) for i in range(3)]
            seen[iteration] = np.max(
                [np.abs(slope.sum(axis=o)).max(axis=1) for o in others], axis=0
            )

    solver = solvers.create(
        "am_krosbl", prune=0.0, tolerance=0.0, max_iterations=1500, inner_tolerance=1e-10
    )
    solver.solve(problem, watch=watch)
    assert (seen[1500] <= seen[50] / 10).all()


@pytest.mark.parametrize("name", KRONECKER)
def test_noise_variance_is_found_on_an_easy_problem(name):
    problem, _ = sparse_problem(3, (14, 14, 14), (8, 8, 8), seed=5, unit_gains=True)
    estimate = solvers.create(name, noise="estimate").solve(Problem(problem.y, problem.factors))
    np.testing.assert_allclose(estimate.noise_var, problem.noise_var, rtol=0.1)


@pytest.mark.parametrize("name", KRONECKER)
def test_rows_without_a_signal_leave_the_others_alone(name):
    problem, _ = sparse_problem(3, (7, 8), (9, 9), seed=8)
    silent = Problem(problem.y * np.array([0.0, 1.0, 1.0])[:, None, None], problem.factors)
    alone = solvers.create(name, noise="estimate").solve(problem.take([1, 2]))
    found = solvers.create(name, noise="estimate").solve(silent)
    assert not found.x[0].any()
    np.testing.assert_allclose(found.x[1:], alone.x, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.noise_var[1:], alone.noise_var, rtol=1e-10)


@pytest.mark.parametrize("name", ["am_krosbl", "svd_krosbl"])
def test_accurate_when_there_is_little_noise(name):
    problem, x = sparse_problem(6, (6, 6, 6), (8, 8, 8), snr_db=60, seed=6)
    estimate = solvers.create(name, prune=1e-6, max_iterations=500).solve(problem)
    nmse = np.sum((estimate.x - x) ** 2, axis=(1, 2, 3)) / np.sum(x**2, axis=(1, 2, 3))
    assert np.median(nmse) < 1e-5


def test_watch_sees_what_the_estimate_reports():
    problem, x = sparse_problem(4, seed=7)
    trace, last = Trace(x), {}

    def watch(iteration, rows, state):
        trace(iteration, rows, state)
        for k, row in enumerate(rows):
            last[row] = (iteration, state.x[k], [g[k] for g in state.gamma], state.change[k])

    solver = solvers.create("am_krosbl")
    estimate = solver.solve(problem, watch=watch)
    for row, (iteration, mean, gamma, change) in last.items():
        assert estimate.iterations[row] == iteration
        np.testing.assert_array_equal(estimate.x[row], mean)
        for whole, g in zip(estimate.gamma, gamma, strict=True):
            np.testing.assert_array_equal(whole[row], g)
        assert (change <= solver.tolerance) == (estimate.status[row] == Status.CONVERGED)
    nmse = np.sum((estimate.x - x) ** 2, axis=(1, 2, 3)) / np.sum(x**2, axis=(1, 2, 3))
    ends = trace.nmse[np.arange(4), estimate.iterations - 1]
    np.testing.assert_allclose(ends, nmse, rtol=1e-12)
    assert np.isnan(trace.nmse).sum() == (trace.nmse.shape[1] - estimate.iterations).sum()
    costs = solvers.cost(problem, estimate.gamma, estimate.noise_var)
    np.testing.assert_allclose(trace.cost[np.arange(4), estimate.iterations - 1], costs, rtol=1e-9)


@pytest.mark.parametrize("name", KRONECKER)
def test_change_is_measured_against_gamma_before_pruning(name):
    """A solve that ends after iteration k has γ as it is before the pruning that would follow."""
    problem, _ = sparse_problem(3, seed=13)
    options = {"preset": "published", "prune": 0.05, "tolerance": 0.0}
    trace, pruned = Trace(), False
    solvers.create(name, max_iterations=20, **options).solve(problem, watch=trace)
    gamma = [np.ones((3, *problem.dims))]
    for k in range(1, 21):
        estimate = solvers.create(name, max_iterations=k, **options).solve(problem)
        gamma.append(outer(estimate.gamma))
        moved = np.linalg.norm((gamma[k] - gamma[k - 1]).reshape(3, -1), axis=1)
        change = moved / np.linalg.norm(gamma[k - 1].reshape(3, -1), axis=1)
        np.testing.assert_allclose(trace.change[:, k - 1], change, rtol=1e-6, atol=1e-13)
        shares = [g / g.max(axis=1, keepdims=True) for g in estimate.gamma]
        pruned |= any(((share > 0) & (share < 0.05)).any() for share in shares)
    assert pruned


def test_going_on_from_an_estimate_is_one_long_solve():
    problem, _ = sparse_problem(3, seed=8)
    options = {"prune": 0.0, "tolerance": 0.0}
    whole = solvers.create("svd_krosbl", max_iterations=30, **options).solve(problem)
    half = solvers.create("svd_krosbl", max_iterations=15, **options)
    first = half.solve(problem)
    second = half.solve(problem, initial=(first.gamma, first.noise_var))
    np.testing.assert_allclose(second.x, whole.x, rtol=1e-10, atol=1e-12)


def test_inner_cap_is_reported():
    problem, _ = sparse_problem(3, seed=9)
    free = solvers.create("am_krosbl").solve(problem)
    capped = solvers.create("am_krosbl", inner_max_iterations=1).solve(problem)
    assert not free.inner_capped.any()
    assert capped.inner_capped.all()
    assert (capped.inner_iterations == capped.iterations).all()


def test_cost_refuses_what_is_no_variance():
    problem, _ = sparse_problem(2, seed=10)
    gamma = tuple(np.ones(n) for n in problem.dims)
    with pytest.raises(ValueError, match="noise_var must be positive"):
        solvers.cost(problem, gamma, 0.0)
    with pytest.raises(ValueError, match=r"gamma\[0\] must have shape"):
        solvers.cost(problem, (np.ones(3), *gamma[1:]), 0.1)
    with pytest.raises(ValueError, match="non-negative"):
        solvers.cost(problem, (-gamma[0], *gamma[1:]), 0.1)
