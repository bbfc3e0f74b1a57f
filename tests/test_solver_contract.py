"""What every registered solver keeps to, in the arrays of every library that it runs on."""

import dataclasses
import pickle

import numpy as np
import pytest

import solvers
from solvers import Problem, Status
from solvers.kron import outer
from solvers.message_passing import UAMPSBL
from tests.libraries import CASES, NUMPY, OTHER, create
from tests.problems import sparse_problem, stacked

WITH_ESTIMATE = [case for case in CASES if solvers.create(case[0]).kind != "bound"]


OPTIONS = {("multistage", NUMPY): {"max_iterations": 40}, ("csbl", OTHER): {"prune": 1e-3}}
"""The default ones may take long where what is asked holds all along the way; the quick ones of
tests/libraries.py prune atoms of cSBL that matter."""


@pytest.fixture(params=CASES, ids="-".join)
def solver(request):
    return create(*request.param, **OPTIONS.get(request.param, {}))


@pytest.fixture(params=WITH_ESTIMATE, ids="-".join)
def estimator(request):
    return create(*request.param, **OPTIONS.get(request.param, {}))


def answer(estimate):
    """What a solver has found: the estimate, or a bound's value."""
    return estimate.diagnostics["nmse"] if estimate.x is None else estimate.x


def assert_close(one, other, tolerance):
    scale = np.maximum(np.abs(other).max(), 1e-300)
    assert np.abs(one - other).max() <= tolerance * scale


def assert_contract(problem, estimate):
    batch, shape = problem.batch, (problem.batch, *problem.dims)
    assert answer(estimate).shape == (shape if estimate.x is not None else (batch,))
    assert np.isfinite(answer(estimate)).all()
    for counter in (estimate.iterations, estimate.inner_iterations):
        assert counter.shape == (batch,)
        assert counter.dtype.kind == "i"
    assert estimate.inner_capped.shape == (batch,)
    assert np.isin(estimate.status, Status.values("finished")).all()
    if estimate.variance is not None:
        assert estimate.variance.shape == shape
        assert (estimate.variance >= 0).all()
    if isinstance(estimate.gamma, tuple):
        assert [g.shape for g in estimate.gamma] == [(batch, n) for n in problem.dims]
    elif estimate.gamma is not None:
        assert estimate.gamma.shape == shape
    if estimate.gamma is not None:
        whole = outer(estimate.gamma) if isinstance(estimate.gamma, tuple) else estimate.gamma
        assert (estimate.x[whole == 0] == 0).all()


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("measurements", "dims"),
    [((7,), (10,)), ((4, 5), (6, 6)), ((3, 4, 5), (5, 5, 5)), ((2, 3, 3, 2), (3, 3, 3, 3))],
)
def test_a_batch_is_its_rows(solver, measurements, dims, complex_valued, shared):
    problem, _ = sparse_problem(
        4, measurements, dims, seed=21, complex_valued=complex_valued, shared=shared
    )
    whole = solver.solve(problem)
    assert_contract(problem, whole)
    for row in (0, problem.batch - 1):
        alone = solver.solve(problem.take([row]))
        assert_close(answer(alone)[0], answer(whole)[row], 1e-10)
        assert alone.iterations[0] == whole.iterations[row]
        assert alone.status[0] == whole.status[row]


def test_a_large_batch_is_its_rows(solver):
    """Large batches have algebra of their own, `eigh` say."""
    few, _ = sparse_problem(20, sparsity=1, seed=33, unit_gains=True)
    many, _ = sparse_problem(20, sparsity=4, seed=34, unit_gains=True)
    problem = stacked([few, many])
    whole = solver.solve(problem)
    assert_contract(problem, whole)
    for row in range(0, problem.batch, 9):
        alone = solver.solve(problem.take([row]))
        assert_close(answer(alone)[0], answer(whole)[row], 1e-10)
        assert alone.iterations[0] == whole.iterations[row]


def test_order_of_the_rows_does_not_matter(solver):
    problem, _ = sparse_problem(5, seed=22)
    order = np.array([3, 0, 4, 2, 1])
    straight, shuffled = solver.solve(problem), solver.solve(problem.take(order))
    assert_close(answer(shuffled), answer(straight)[order], 1e-10)


def test_same_batch_same_bits(solver):
    problem, _ = sparse_problem(5, seed=23)
    one, other = solver.solve(problem), solver.solve(problem)
    np.testing.assert_equal(vars(one), vars(other))


def test_inputs_are_not_modified(solver):
    problem, _ = sparse_problem(3, seed=24)
    arrays = [problem.y, *problem.factors, problem.noise_var, problem.true_variance]
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    solver.solve(problem)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_pickles_to_an_equal_solver(solver):
    again = pickle.loads(pickle.dumps(solver))
    assert again == solver
    problem, _ = sparse_problem(2, seed=25)
    np.testing.assert_array_equal(answer(again.solve(problem)), answer(solver.solve(problem)))


def test_watching_changes_nothing(estimator):
    """And a watch learns of every iteration, of the last one with the estimate."""
    problem, x = sparse_problem(3, seed=26)
    trace, told = solvers.Trace(x), []

    def watch(iteration, rows, state):
        told.extend(rows)
        trace(iteration, rows, state)

    watched = estimator.solve(problem, watch=watch)
    np.testing.assert_array_equal(watched.x, estimator.solve(problem).x)
    if estimator.kind == "oracle":
        return
    assert trace.nmse.shape[1] == watched.iterations.max()
    for row, last in enumerate(watched.iterations):
        assert told.count(row) >= last
        error = np.linalg.norm(watched.x[row] - x[row]) ** 2 / np.linalg.norm(x[row]) ** 2
        assert last == 0 or trace.nmse[row, last - 1] == pytest.approx(error, rel=1e-9)


def test_a_watch_may_end_it(estimator):
    """As the clock does, at the first iteration that it hears of."""

    def watch(*_):
        raise TimeoutError

    try:
        estimate = estimator.solve(sparse_problem(2, seed=38)[0], watch=watch)
    except TimeoutError:
        return
    assert estimator.kind == "oracle" or not estimate.iterations.any()


def test_zero_measurements_give_zero(estimator):
    problem, _ = sparse_problem(3, seed=27)
    y = problem.y.copy()
    y[1] = 0
    zeroed = Problem(y, problem.factors, problem.noise_var, problem.true_variance)
    estimate = estimator.solve(zeroed)
    assert_contract(zeroed, estimate)
    assert (estimate.x[1] == 0).all()
    assert_close(estimate.x[[0, 2]], estimator.solve(problem).x[[0, 2]], 1e-10)


def test_zero_column_is_never_selected(estimator):
    problem, _ = sparse_problem(3, seed=28)
    factors = [a.copy() for a in problem.factors]
    factors[1][:, :, 2] = 0
    estimate = estimator.solve(
        Problem(problem.y, factors, problem.noise_var, problem.true_variance)
    )
    assert_contract(problem, estimate)
    assert np.abs(estimate.x[:, :, 2]).max() <= 1e-12 * np.abs(estimate.x).max()


@pytest.mark.parametrize("noise_var", [1e-12, 1e12])
def test_extreme_noise_variance(solver, noise_var):
    if isinstance(solver, UAMPSBL):
        pytest.skip("message passing may diverge, and says so: tests/test_message_passing.py")
    problem, _ = sparse_problem(3, seed=29)
    extreme = dataclasses.replace(problem, noise_var=np.full(3, noise_var))
    assert_contract(extreme, solver.solve(extreme))


def test_more_measurements_than_unknowns(estimator):
    problem, x = sparse_problem(3, (7, 8, 6), (4, 5, 4), snr_db=40, seed=30, unit_gains=True)
    estimate = estimator.solve(problem)
    assert_contract(problem, estimate)
    assert np.linalg.norm(estimate.x - x) < 0.2 * np.linalg.norm(x)


def test_only_the_first_iteration(solver):
    if "max_iterations" not in {f.name for f in dataclasses.fields(solver)}:
        pytest.skip("not an EM solver")
    problem, _ = sparse_problem(3, seed=31)
    once = dataclasses.replace(solver, max_iterations=1)
    estimate = once.solve(problem)
    assert (estimate.iterations == 1).all()
    # A first step may be so small that it explains next to nothing.
    assert np.isin(estimate.status, (Status.MAX_ITERATIONS, Status.COLLAPSED)).all()
    assert_contract(problem, estimate)


def test_truth_is_for_those_who_require_it(solver):
    problem, _ = sparse_problem(2, seed=35)
    other = dataclasses.replace(problem, true_variance=1.0 - problem.true_variance)
    one, two = (answer(solver.solve(p)) for p in (problem, other))
    assert np.array_equal(one, two) == ("true_variance" not in solver.requires)


def test_applies_to_every_problem_that_has_what_it_requires(solver):
    assert solver.kind in ("estimator", "oracle", "bound")
    for dims in ((6,), (6, 6), (6, 6, 6)):
        problem, _ = sparse_problem(2, (4, 5, 6)[: len(dims)], dims, seed=36)
        assert solver.applies(problem) is None


def test_says_what_it_requires(solver):
    problem, _ = sparse_problem(2, seed=32)
    names = ("noise_var", "true_variance", "true_gains", "error_forms")
    optional = {name: getattr(problem, name) for name in names}
    for name in solver.requires:
        lacking = Problem(problem.y, problem.factors, **{**optional, name: None})
        with pytest.raises(ValueError, match=f"requires a problem with {name}"):
            solver.solve(lacking)
    needed = {name: optional[name] for name in solver.requires}
    assert_contract(problem, solver.solve(Problem(problem.y, problem.factors, **needed)))


def test_options_are_documented_and_sourced(solver):
    assert solver.source
    for field in dataclasses.fields(solver):
        assert field.metadata["doc"]
