"""Fast SBL: against its dense textbook version, reference cases, and what its minima satisfy."""

import numpy as np
import pytest

import solvers
from solvers import Problem, Status, fast_sbl
from tests import textbook
from tests.problems import normal, reviewers_case, sparse_problem
from tests.textbook import kron_all

SHAPES = [((3, 4), (4, 5)), ((8,), (12,)), ((2, 3, 2), (3, 3, 2))]


def alone(problem, gamma, row=0):
    """|q|² and s of every atom by their definition."""
    factors = [a if a.ndim == 2 else a[row] for a in problem.factors]
    a, y, flat = kron_all(factors), problem.y[row].reshape(-1), gamma[row].reshape(-1)
    found = []
    for n in range(len(flat)):
        others = np.where(np.arange(len(flat)) == n, 0.0, flat)
        c = problem.noise_var[row] * np.eye(len(y)) + (a * others) @ a.conj().T
        weighted = np.linalg.solve(c, a[:, n])
        found.append((abs(weighted.conj() @ y) ** 2, (a[:, n].conj() @ weighted).real))
    return np.array(found).T


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(("measurements", "dims"), SHAPES)
@pytest.mark.parametrize("order", ["largest", "cyclic"])
@pytest.mark.parametrize("start", ["nothing", "everything", "factors", "rank one", "a few"])
def test_the_textbook(measurements, dims, complex_valued, order, start, monkeypatch):
    if start in ("rank one", "a few"):
        monkeypatch.setattr(fast_sbl, "SMALL", 0)
    problem, _ = sparse_problem(
        2, measurements, dims, seed=121, complex_valued=complex_valued, shared=order == "cyclic"
    )
    rng = np.random.default_rng(122)
    gamma = {
        "nothing": None,
        "rank one": None,
        "a few": rng.lognormal(size=(2, *dims)) * (rng.random((2, *dims)) < 0.2),
        "everything": rng.lognormal(size=(2, *dims)),
        "factors": tuple(rng.lognormal(size=(2, n)) * (rng.random((2, n)) < 0.7) for n in dims),
    }[start]
    options = {"order": order, "tolerance": 1e-6, "scaling": "none"}
    found = solvers.create("fast_sbl", **options).solve(problem, initial=(gamma, None))
    # Rounding errors of a start far off stay where C⁻¹ is never made anew.
    tolerance = 1e-4 if start == "a few" else 1e-7
    for row in range(2):
        first = gamma
        if start == "factors":
            first = kron_all([g[row][:, None] for g in gamma])
        elif gamma is not None:
            first = gamma[row]
        factors = [a if a.ndim == 2 else a[row] for a in problem.factors]
        expected, x, steps = textbook.fast_sbl(
            factors, problem.y[row], problem.noise_var[row], 1e-6, first, cyclic=order == "cyclic"
        )
        assert found.iterations[row] == steps
        np.testing.assert_allclose(found.gamma[row].reshape(-1), expected, rtol=tolerance)
        np.testing.assert_allclose(found.x[row].reshape(-1), x, atol=tolerance * np.abs(x).max())
        assert (found.status == Status.CONVERGED).all()


@pytest.mark.parametrize(
    ("case", "order"), [("flat_a", "largest"), ("flat_f", "largest"), ("flat_f", "cyclic")]
)
def test_reference_cases(case, order):
    problem, reference = reviewers_case(case)
    options = {"scaling": "none", "tolerance": 1e-9, "order": order}
    found = solvers.create("fast_sbl", **options).solve(problem)
    assert found.status[0] == Status.CONVERGED
    cost, bar = (
        solvers.cost(problem, found.gamma, problem.noise_var)[0],
        reference["ours_fast_sbl_cost"],
    )
    assert cost <= bar + 0.01 * abs(bar)
    if order == "largest":
        assert cost == pytest.approx(bar, rel=1e-10)
    q2, s = alone(problem, found.gamma)
    gamma = found.gamma.reshape(-1)
    on = gamma > 0
    assert (q2[~on] <= s[~on] * (1 + 1e-3)).all()
    np.testing.assert_allclose(gamma[on], ((q2 - s) / s**2)[on], rtol=1e-2, atol=1e-4 * gamma.max())


def test_every_step_lowers_the_cost_by_what_it_says():
    problem, x = sparse_problem(4, seed=123, complex_valued=True)
    trace, costs = solvers.Trace(x), {}

    def watch(iteration, rows, state):
        trace(iteration, rows, state)
        if iteration % 10 == 1:
            part = problem.take(rows)
            costs[iteration] = rows, solvers.cost(part, state.gamma, part.noise_var)

    found = solvers.create("fast_sbl").solve(problem, watch=watch)
    steps = np.diff(trace.cost, axis=1)
    np.testing.assert_allclose(-steps[0], trace.change[0, 1:], rtol=1e-6, atol=1e-9)
    assert np.nanmax(steps) < -1e-2
    for iteration, (rows, expected) in costs.items():
        np.testing.assert_allclose(trace.cost[rows, iteration - 1], expected, rtol=1e-9)
    assert found.iterations.max() == trace.cost.shape[1]
    assert (found.gamma == 0).mean() > 0.8


def test_local_minima_without_noise():
    """From random starts it ends with M entries or fewer, where no single one can be improved."""
    rng = np.random.default_rng(124)
    factors = [normal(rng, (3, 5)), normal(rng, (2, 3))]
    y = np.repeat(normal(rng, (1, 3, 2)), 30, axis=0)
    problem = Problem(y, factors, np.full(30, 1e-7 * np.mean(y**2)))
    start = rng.lognormal(sigma=2.0, size=(30, 5, 3))
    solver = solvers.create("fast_sbl", order="cyclic", tolerance=1e-9, max_iterations=20000)
    found = solver.solve(problem, initial=(start, None))
    assert (found.status == Status.CONVERGED).all()
    costs = np.round(solvers.cost(problem, found.gamma, problem.noise_var), 4)
    assert len(set(costs)) > 1
    for row in range(30):
        gamma = found.gamma[row].reshape(-1)
        assert np.count_nonzero(gamma) <= 6
        q2, s = alone(problem, found.gamma, row)
        assert (q2[gamma == 0] <= s[gamma == 0] * (1 + 1e-4)).all()


def test_a_lower_cost_than_em_and_its_pruning():
    problem, _ = sparse_problem(5, (5, 6, 7), (8, 9, 10), seed=125)
    found, em = (solvers.create(name).solve(problem) for name in ("fast_sbl", "csbl"))
    costs = [solvers.cost(problem, e.gamma, problem.noise_var) for e in (found, em)]
    assert (costs[0] < costs[1]).all()
