"""Accelerated EM finds what plain EM finds: guarded, stationary, in fewer evaluations."""

import numpy as np
import pytest

import solvers
from solvers import Status, Trace
from tests.problems import sparse_problem
from tests.textbook import momentum_sbl

ACCELERATED = ("am_krosbl", "ksbl", "csbl")


def both(name, problem, watch=None, kind="momentum", **options):
    """Estimates by plain EM and by accelerated EM."""
    options = {"max_iterations": 5000} | options
    plain = solvers.create(name, acceleration="none", **options).solve(problem)
    return plain, solvers.create(name, acceleration=kind, **options).solve(problem, watch=watch)


@pytest.mark.parametrize("name", ACCELERATED)
@pytest.mark.parametrize("noise", ["known", "estimate"])
@pytest.mark.parametrize("kind", ["momentum", "squarem"])
@pytest.mark.parametrize("complex_valued", [False, True])
def test_the_cost_never_rises(name, noise, kind, complex_valued):
    problem, x = sparse_problem(8, seed=31, complex_valued=complex_valued)
    trace = Trace(x)
    options = {"prune": 0.0, "max_iterations": 60, "tolerance": 0.0}
    both(name, problem, trace, kind, noise=noise, **options)
    cost = trace.cost
    assert (np.diff(cost, axis=1) <= 1e-8 * np.abs(cost[:, 1:])).all()


@pytest.mark.parametrize("name", ACCELERATED)
@pytest.mark.parametrize("noise", ["known", "estimate"])
@pytest.mark.parametrize("kind", ["momentum", "squarem"])
def test_converged_is_stationary_after_fewer_evaluations(name, noise, kind):
    problem, _ = sparse_problem(20, seed=32, snr_db=20.0)
    plain, fast = both(name, problem, kind=kind, noise=noise, tolerance=1e-5)
    assert (fast.status == Status.CONVERGED).mean() >= 0.9
    evaluations = fast.iterations + fast.diagnostics["refused_leaps"]
    assert evaluations.sum() < 0.7 * plain.iterations.sum()
    one_more = solvers.create(
        name, noise=noise, acceleration="none", tolerance=0.0, max_iterations=1, prune=0.0
    )
    watched = {}

    def watch(_, rows, state):
        watched.update(zip(rows, state.change, strict=True))

    one_more.solve(problem, initial=(fast.gamma, fast.noise_var), watch=watch)
    converged = np.flatnonzero(fast.status == Status.CONVERGED)
    change = np.array([watched[row] for row in converged])
    assert (change <= 3e-5).mean() >= 0.95  # of the step after the last one


@pytest.mark.parametrize("name", ACCELERATED)
def test_minima_are_as_good_as_those_of_plain_em(name):
    problem, _ = sparse_problem(60, seed=33, snr_db=15.0)
    plain, fast = both(name, problem, tolerance=1e-5)
    by_plain, by_fast = (
        solvers.cost(problem, found.gamma, problem.noise_var) for found in (plain, fast)
    )
    worse, better = (by_fast > by_plain + 0.5).sum(), (by_fast < by_plain - 0.5).sum()
    assert worse <= better + 6
    np.testing.assert_allclose(np.median(by_fast), np.median(by_plain), rtol=1e-2)


@pytest.mark.parametrize("noise", ["known", "estimate"])
def test_the_textbook_says_the_same(noise):
    problem, _ = sparse_problem(3, (4, 5), (6, 6), seed=34)
    solver = solvers.create("csbl", noise=noise, scaling="none", max_iterations=41)
    found = solver.solve(problem)
    for row in range(3):
        factors = [a if a.ndim == 2 else a[row] for a in problem.factors]
        x, iterations, leaps = momentum_sbl(
            factors,
            problem.y[row],
            problem.noise_var[row],
            max_iterations=41,
            estimate_noise=noise == "estimate",
        )
        assert found.iterations[row] == iterations
        assert found.diagnostics["leaps"][row] == leaps
        np.testing.assert_allclose(found.x[row], x, atol=1e-7 * np.abs(x).max())


def test_leaps_are_counted():
    problem, _ = sparse_problem(10, seed=35)
    plain, fast = both("am_krosbl", problem)
    leaps, refused = (fast.diagnostics[name] for name in ("leaps", "refused_leaps"))
    assert (leaps > 0).all()
    assert (leaps + refused < fast.iterations).all()
    assert not plain.diagnostics["leaps"].any()


@pytest.mark.parametrize("kind", ["momentum", "squarem"])
@pytest.mark.parametrize("name", ["svd_krosbl", "pc_sbl"])
def test_what_does_not_descend_is_not_accelerated(name, kind):
    with pytest.raises(ValueError, match="needs an M-step that does not raise the SBL cost, and"):
        solvers.create(name, acceleration=kind)
    assert solvers.create(name).acceleration == "none"


@pytest.mark.parametrize("name", [*ACCELERATED, "pc_krosbl", "svd_krosbl", "pc_sbl"])
def test_the_published_way_takes_plain_steps_from_one_to_150(name):
    solver = solvers.create(name, preset="published")
    assert (solver.acceleration, solver.max_iterations) == ("none", 150)
    assert solver.initial_gamma == 1.0
