"""The landscape of the SBL cost: minima by enumeration, and where random starts end."""

import pickle

import numpy as np
import pytest

import solvers
from solvers import Problem, Status, minima
from tests.problems import normal, sparse_problem
from tests.textbook import kron_all

SHAPES = [((3, 2), (4, 4)), ((2, 2), (4, 2)), ((2, 2, 2), (3, 2, 2)), ((3,), (6,))]


def in_general_position(batch, measurements, dims, *, complex_valued=False, seed=0, noise=1e-7):
    """Problems with y a product of vectors, each of which takes as many atoms as it has entries."""
    rng = np.random.default_rng(seed)
    factors = [
        normal(rng, (batch, m, n), complex_valued) for m, n in zip(measurements, dims, strict=True)
    ]
    y = np.ones((batch, *[1] * len(dims)))
    for axis, m in enumerate(measurements):
        part = normal(rng, (batch, m), complex_valued)
        y = y * part.reshape(batch, *[m if i == axis else 1 for i in range(len(dims))])
    power = (np.abs(y.reshape(batch, -1)) ** 2).mean(axis=1)
    return Problem(y, factors, noise_var=noise * power)


@pytest.mark.parametrize(("measurements", "dims"), SHAPES)
def test_kronecker_minima_are_the_flat_ones_on_products_of_sets(measurements, dims):
    problem = in_general_position(6, measurements, dims, seed=1)
    kron = solvers.create("minima").solve(problem)
    flat = solvers.create("minima", structure="flat").solve(problem)
    np.testing.assert_array_equal(kron.diagnostics["minima"], flat.diagnostics["product_minima"])
    assert (flat.diagnostics["minima"] <= flat.diagnostics["supports"]).all()
    assert (kron.diagnostics["minima"] >= 1).all()
    for estimate in (kron, flat):
        assert (estimate.status == Status.CONVERGED).all()
        for row in range(problem.batch):
            a = kron_all([factor[row] for factor in problem.factors])
            np.testing.assert_allclose(a @ estimate.x[row].reshape(-1), problem.y[row].reshape(-1))
            assert np.count_nonzero(estimate.x[row]) == a.shape[0]


def test_a_step_from_a_minimum_leads_back_and_from_another_solution_away():
    problem = in_general_position(1, (3,), (6,), seed=3, noise=1e-12)
    a, y = problem.factors[0][0], problem.y[0]
    supports = set(minima.enumerated(a, y, 1e-6).supports)
    descent = solvers.create("fast_sbl", order="cyclic", tolerance=1e-9)
    assert 0 < len(supports) < 20
    for sets in minima._batches(*a.shape):
        for support in map(tuple, sets.tolist()):
            gamma = np.full((1, 6), 1e-9)
            gamma[0, list(support)] = np.abs(np.linalg.solve(a[:, support], y)) ** 2
            end = descent.solve(problem, initial=(gamma, None))
            assert (set(np.flatnonzero(end.gamma[0])) == set(support)) == (support in supports)


def test_random_starts_end_in_the_minima_and_the_best_is_the_lowest():
    problem = in_general_position(3, (3,), (7,), seed=4, noise=1e-9)
    options = ("order = 'cyclic'", "tolerance = 1e-9")
    starts = solvers.create("restarts", options=options, starts=40, alike=1e-3).solve(problem)
    every = solvers.create("minima").solve(problem)
    np.testing.assert_allclose(starts.x, every.x, atol=1e-3 * np.abs(every.x).max())
    assert (starts.diagnostics["different_costs"] <= every.diagnostics["minima"]).all()
    assert (starts.diagnostics["most_nonzeros"] <= 3).all()
    assert (starts.diagnostics["lowest_share"] > 0).all()


def test_complex_minima_may_have_more_atoms_than_measurements():
    """So the enumeration would miss them."""
    problem = in_general_position(20, (3,), (8,), complex_valued=True, seed=1, noise=1e-9)
    assert "2M atoms" in solvers.create("minima").applies(problem)
    options = ("order = 'cyclic'", "tolerance = 1e-10")
    found = solvers.create("restarts", options=options, starts=20).solve(problem)
    assert 3 < np.count_nonzero(found.gamma, axis=1).max() <= 6


def test_a_sparse_truth_is_the_lowest_minimum():
    rng = np.random.default_rng(5)
    x = np.zeros((4, 7, 6))
    x[:, 1:3, 4:6] = rng.standard_normal((4, 2, 1)) * rng.standard_normal((4, 1, 2))
    factors = [rng.standard_normal((4, 4, 7)), rng.standard_normal((4, 3, 6))]
    problem = Problem(factors[0] @ x @ factors[1].swapaxes(1, 2), factors)
    found = solvers.create("minima").solve(problem)
    np.testing.assert_allclose(found.x, x, atol=1e-9)


def test_what_minima_does_not_take():
    noisy, _ = sparse_problem(2, (2, 3), (3, 4), seed=6)
    assert (solvers.create("minima").solve(noisy).status == Status.DIVERGED).all()
    assert (solvers.create("minima", structure="flat").solve(noisy).status == 1).all()
    large, _ = sparse_problem(1, (8, 12), (15, 15), seed=7)
    assert "200000 sets of atoms at most" in solvers.create("minima", structure="flat").applies(
        large
    )
    thin = Problem(np.ones((1, 1)), [np.ones((1, 2))])
    assert "parallel" in solvers.create("minima").applies(thin)
    high = Problem(np.ones((1, 3)), [np.ones((3, 2))])
    assert "at least as many atoms" in solvers.create("minima").applies(high)


@pytest.mark.parametrize("use", ["am_krosbl", "csbl", "fast_sbl", "pc_krosbl"])
def test_restarts_are_no_worse_than_the_solver(use):
    problem, _ = sparse_problem(4, seed=8)
    own = solvers.create(use).solve(problem)
    first = solvers.create("restarts", solver=use, starts=1).solve(problem)
    np.testing.assert_array_equal(first.x, own.x)
    many = solvers.create("restarts", solver=use, starts=4)
    found = many.solve(problem)
    assert (found.diagnostics["lowest_cost"] <= first.diagnostics["lowest_cost"]).all()
    assert (found.diagnostics["different_costs"] >= 1).all()
    alone = many.solve(problem.take([2]))
    np.testing.assert_allclose(alone.x[0], found.x[2], atol=1e-8 * np.abs(found.x).max())
    assert pickle.loads(pickle.dumps(many)) == many


def test_restarts_of_one_start_each_are_those_of_many():
    problem, _ = sparse_problem(3, seed=9)
    each = [
        solvers.create("restarts", solver="ksbl", starts=1, first=k).solve(problem)
        for k in range(3)
    ]
    together = solvers.create("restarts", solver="ksbl", starts=3).solve(problem)
    costs = [one.diagnostics["lowest_cost"] for one in each]
    np.testing.assert_array_equal(together.diagnostics["lowest_cost"], np.min(costs, axis=0))
    assert len(np.unique(costs)) > 3, "starts are different ones"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"solver": "lasso"}, "lowers the SBL cost from a given start, got 'lasso'"),
        ({"solver": "minima"}, "from a given start, got 'minima'"),
        ({"solver": "restarts"}, "from a given start, got 'restarts'"),
        ({"solver": "am"}, "unknown solver"),
        ({"options": ["order ="]}, "lines of TOML"),
        ({"options": ["sort = 1"]}, "no option 'sort'"),
        ({"solver_version": 99}, "fast_sbl has version"),
    ],
)
def test_misuse_is_said(options, said):
    with pytest.raises(ValueError, match=said):
        solvers.create("restarts", **options)
