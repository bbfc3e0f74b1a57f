"""Minimisers of ℓ1 norms: against coordinate descent by a dense matrix, and reference cases."""

import numpy as np
import pytest

import solvers
from solvers import Problem, Status
from tests import textbook
from tests.problems import assert_close, reviewers_case, sparse_problem
from tests.textbook import kron_all

SHAPES = [((3, 4), (4, 5)), ((6,), (9,)), ((2, 3, 3), (3, 3, 3)), ((6, 5), (4, 4))]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(("measurements", "dims"), SHAPES)
def test_lasso(measurements, dims, complex_valued, shared):
    problem, _ = sparse_problem(
        3, measurements, dims, seed=91, complex_valued=complex_valued, shared=shared
    )
    solver = solvers.create("lasso", tolerance=1e-8, max_iterations=20000, scale=0.5)
    estimate = solver.solve(problem)
    assert (estimate.status == Status.CONVERGED).all()
    for row in range(3):
        factors = [a if shared else a[row] for a in problem.factors]
        penalty = 0.5 * textbook.universal(factors, problem.noise_var[row], complex_valued)
        assert_close(estimate.x[row], textbook.lasso(factors, problem.y[row], penalty), 1e-6)


@pytest.mark.parametrize("scaling", ["data", "none"])
def test_fixed_penalty(scaling):
    """A share of the least that makes x zero in data units, λ itself otherwise."""
    problem, _ = sparse_problem(2, (3, 4), (4, 5), seed=92)
    unknown = Problem(problem.y, problem.factors)
    options = {"rule": "fixed", "penalty": 0.2, "tolerance": 1e-8, "max_iterations": 20000}
    estimate = solvers.create("lasso", scaling=scaling, **options).solve(unknown)
    for row in range(2):
        factors = [a[row] for a in problem.factors]
        greatest = np.abs(kron_all(factors).T @ problem.y[row].reshape(-1)).max()
        penalty = 0.2 * greatest if scaling == "data" else 0.2
        assert_close(estimate.x[row], textbook.lasso(factors, problem.y[row], penalty), 1e-6)


def test_penalty_that_makes_x_zero():
    problem, _ = sparse_problem(2, (3, 4), (4, 5), seed=93)
    estimate = solvers.create("lasso", scale=1e6).solve(problem)
    assert not estimate.x.any()


def test_idle_atoms_do_not_count():
    problem, _ = sparse_problem(2, (3, 4), (4, 5), seed=94)
    first = np.concatenate([problem.factors[0], np.zeros((2, 3, 50))], axis=2)
    padded = Problem(problem.y, [first, problem.factors[1]], problem.noise_var)
    for scaling in ("data", "none"):
        solver = solvers.create("lasso", scaling=scaling, tolerance=1e-8, max_iterations=20000)
        assert_close(solver.solve(padded).x[:, :4], solver.solve(problem).x, 1e-6)


@pytest.mark.parametrize("complex_valued", [False, True])
def test_objective_falls_and_is_the_minimum(complex_valued):
    problem, _ = sparse_problem(2, (3, 4), (4, 5), seed=95, complex_valued=complex_valued)
    trace = solvers.Trace(batch=2)
    options = {"tolerance": 1e-9, "max_iterations": 20000}
    estimate = solvers.create("lasso", **options).solve(problem, watch=trace)
    for row in range(2):
        factors = [a[row] for a in problem.factors]
        penalty = 0.3 * textbook.universal(factors, problem.noise_var[row], complex_valued)
        residual = problem.y[row].reshape(-1) - kron_all(factors) @ estimate.x[row].reshape(-1)
        value = np.linalg.norm(residual) ** 2 / 2 + penalty * np.abs(estimate.x[row]).sum()
        cost = trace.cost[row][: estimate.iterations[row]]
        assert cost[-1] == pytest.approx(value, rel=1e-9)
        assert (cost >= value * (1 - 1e-9)).all()


@pytest.mark.parametrize("complex_valued", [False, True])
def test_debiased(complex_valued):
    problem, _ = sparse_problem(3, (5, 6), (6, 6), seed=96, complex_valued=complex_valued)
    biased, found = (
        solvers.create("lasso", scale=2.0, debias=debias).solve(problem).x
        for debias in (False, True)
    )
    for row in range(3):
        support = biased[row].reshape(-1) != 0
        assert 0 < support.sum() <= 15
        a = kron_all([f[row] for f in problem.factors])[:, support]
        expected = np.linalg.lstsq(a, problem.y[row].reshape(-1), rcond=None)[0]
        assert_close(found[row].reshape(-1)[support], expected, 1e-6)
        assert not found[row].reshape(-1)[~support].any()


def test_debiased_on_half_as_many_atoms_as_measurements():
    problem, _ = sparse_problem(3, (5, 6), (8, 8), seed=97)
    estimate = solvers.create("lasso", scale=0.01, debias=True).solve(problem)
    assert (np.count_nonzero(estimate.x, axis=(1, 2)) <= 15).all()


@pytest.mark.parametrize("case", ["flat_a", "flat_f"])
@pytest.mark.parametrize(("scale", "word"), [(1.0, "1p0"), (0.3, "0p3")])
def test_lasso_reference(case, scale, word):
    problem, reference = reviewers_case(case)
    options = {"tolerance": 1e-8, "max_iterations": 20000, "scaling": "none"}
    estimate = solvers.create("lasso", scale=scale, **options).solve(problem)
    assert_close(estimate.x, reference[f"ours_lasso_{word}"], 1e-6)


EXACT = {"tolerance": 1e-9, "max_iterations": 20000}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(("measurements", "dims"), [((2, 3), (3, 3)), ((6,), (9,))])
def test_bpdn(measurements, dims, complex_valued, shared):
    problem, _ = sparse_problem(
        2, measurements, dims, seed=98, complex_valued=complex_valued, shared=shared
    )
    estimate = solvers.create("bpdn", **EXACT).solve(problem)
    assert (estimate.status == Status.CONVERGED).all()
    for row in range(2):
        factors = [a if shared else a[row] for a in problem.factors]
        epsilon = np.sqrt(problem.y[row].size * problem.noise_var[row])
        assert_close(estimate.x[row], textbook.bpdn(factors, problem.y[row], epsilon), 1e-6)


def test_bound_on_the_residual():
    """A share of the norm of y in data units, in its own units otherwise."""
    problem, _ = sparse_problem(2, (3, 4), (4, 5), seed=99)
    unknown = Problem(problem.y, problem.factors)
    for scaling in ("data", "none"):
        solver = solvers.create("bpdn", epsilon=0.3, scaling=scaling, **EXACT)
        x = solver.solve(unknown).x
        for row in range(2):
            a, y = kron_all([f[row] for f in problem.factors]), problem.y[row].reshape(-1)
            epsilon = 0.3 * np.linalg.norm(y) if scaling == "data" else 0.3
            residual = np.linalg.norm(y - a @ x[row].reshape(-1))
            assert residual == pytest.approx(epsilon, rel=1e-6)
    assert not solvers.create("bpdn", epsilon=1.5).solve(unknown).x.any()


def test_bound_that_no_x_keeps():
    """More measurements than unknowns and less noise than there is: as near as it gets."""
    problem, _ = sparse_problem(2, (8, 7), (3, 2), seed=100)
    estimate = solvers.create("bpdn", epsilon=0.0, **EXACT).solve(problem)
    for row in range(2):
        a = kron_all([f[row] for f in problem.factors])
        expected = np.linalg.lstsq(a, problem.y[row].reshape(-1), rcond=None)[0]
        assert_close(estimate.x[row], expected, 1e-6)


def test_cost_of_bpdn_has_no_units():
    problem, _ = sparse_problem(2, (3, 4), (4, 5), seed=101)
    other = Problem(problem.y * 3.7, [problem.factors[0] * 50, problem.factors[1]])
    traces = []
    for p in (Problem(problem.y, problem.factors), other):
        traces.append(solvers.Trace(batch=2))
        solvers.create("bpdn", epsilon=0.1).solve(p, watch=traces[-1])
    np.testing.assert_allclose(traces[0].cost, traces[1].cost, rtol=1e-6)


@pytest.mark.parametrize("case", ["flat_a", "flat_f"])
def test_bpdn_reference(case):
    problem, reference = reviewers_case(case)
    estimate = solvers.create("bpdn", scaling="none", **EXACT).solve(problem)
    assert_close(estimate.x, reference["ours_bpdn"], 1e-6)


@pytest.mark.parametrize("debias", [1, "yes"])
def test_debias_is_true_or_false(debias):
    with pytest.raises(ValueError, match="debias must be true or false"):
        solvers.create("lasso", debias=debias)
