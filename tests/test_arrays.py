"""Arrays of other libraries (tests/libraries.py): what numpy finds is found in them, too.

PyTorch and CuPy are tested where they are installed. What solvers keep to in any library is in
tests/test_solver_contract.py and tests/test_relations.py.
"""

import contextlib
import dataclasses
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import solvers
from solvers import Problem, Trace
from solvers.arrays import gather, host, scatter
from solvers.flat_model import FlatModel
from solvers.kron import outer
from solvers.kron_model import KronModel
from solvers.operations import compiled, standard, standard_systems
from solvers.operations.terms import Spread, Sweeps
from solvers.units import DataUnits
from tests.libraries import ANY_ARRAY, LIBRARIES, quick, strict
from tests.problems import REGISTERED, normal, sparse_problem
from tests.test_golden_solves import EM, recorded
from tests.textbook import Dense, flat, kron_all


@pytest.fixture(params=LIBRARIES.values())
def library(request):
    request.param(np.zeros(1))
    return request.param


def difficult(**options):
    """Rows of all kinds: one without signal, one with an atom of no norm, and others."""
    problem, _ = sparse_problem(4, seed=91, **options)
    y, factors = problem.y.copy(), [a.copy() for a in problem.factors]
    y[1] = 0
    factors[1][2, :, 3] = 0
    return dataclasses.replace(problem, y=y, factors=tuple(factors))


def assert_same(found, expected):
    """The estimates of one solve in two libraries."""
    for name in ("status", "iterations", "inner_iterations", "inner_capped"):
        np.testing.assert_array_equal(host(getattr(found, name)), getattr(expected, name))
    for name, value in expected.diagnostics.items():
        np.testing.assert_allclose(host(found.diagnostics[name]), value, rtol=1e-9)
    parts = [(found.x, expected.x), (found.variance, expected.variance)]
    if isinstance(expected.gamma, tuple):
        parts += [(outer(found.gamma), outer(expected.gamma))]
    for one, other in [*parts, (found.noise_var, expected.noise_var)]:
        if other is not None:
            assert type(one) is type(found.status)
            assert one.device == found.status.device
            np.testing.assert_allclose(host(one), other, atol=1e-10 * np.abs(other).max())


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("name", ANY_ARRAY)
def test_a_solve_is_that_of_numpy(name, complex_valued, library):
    solver = quick(name)
    problem = difficult(complex_valued=complex_valued)
    if solver.kind == "bound":  # of which nothing can be said where the truth is not seen
        problem, _ = sparse_problem(4, seed=91, complex_valued=complex_valued)
    assert_same(solver.solve(problem.moved(library)), solver.solve(problem))


@pytest.mark.parametrize("name", ["svd_krosbl", "ksbl", "csbl"])
@pytest.mark.parametrize(
    "options", [{"noise": "estimate"}, {"preset": "published"}, {"acceleration": "squarem"}]
)
def test_with_options(name, options, library):
    if name == "svd_krosbl" and "acceleration" in options:
        pytest.skip("its steps cannot be extrapolated")
    problem = difficult(measurements=(3, 7), dims=(5, 6), shared=False)
    solver = quick(name, **options)
    assert_same(solver.solve(problem.moved(library)), solver.solve(problem))


def test_other_supports_than_products(library):
    problem, _ = sparse_problem(3, seed=92)
    support = np.random.default_rng(93).random(problem.true_variance.shape) < 0.1
    problem = dataclasses.replace(problem, true_variance=1.0 * support, true_gains=None)
    for name in ("oracle_ls", "crb", "bcrb"):
        solver = solvers.create(name)
        assert_same(solver.solve(problem.moved(library)), solver.solve(problem))


@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize(
    "name", [n for n in EM if solvers.create(n).any_array and n != "am_krosbl"]
)
def test_recorded_solves(name, kind, library):
    """As tests/test_golden_solves.py; some rows only, and without the many sweeps of AM-KroSBL."""
    (y, noise_var, *factors), (x, iterations, inner) = recorded(name, "known", kind, "solves.npz")
    problem = Problem(y, factors, noise_var).take(slice(0, 2))
    found = solvers.create(name, preset="published").solve(problem.moved(library))
    np.testing.assert_array_equal(host(found.iterations), iterations[:2])
    np.testing.assert_array_equal(host(found.inner_iterations), inner[:2])
    np.testing.assert_allclose(host(found.x), x[:2], atol=1e-10 * np.abs(x[:2]).max())


@pytest.mark.parametrize("kind", [KronModel, FlatModel])
@pytest.mark.parametrize("complex_valued", [False, True])
def test_structured_posteriors_are_dense_ones(kind, complex_valued, library):
    """With few atoms in use and with many: on the side of the atoms and of the measurements."""
    problem, _ = sparse_problem(4, (2, 3), (4, 5), seed=95, complex_valued=complex_valued)
    rng = np.random.default_rng(96)
    gamma = [rng.uniform(0.1, 1, (4, n)) for n in (4, 5)]
    gamma[0][:2, 1:] = gamma[1][1, 2:] = 0
    model = kind(problem.moved(library))
    factors = [*map(library, gamma)]
    given = tuple(factors) if kind is KronModel else outer(factors)
    model, factors = model.compact(model.gamma_factors(given))
    posterior = model.posterior(factors, library(problem.noise_var))
    mean, variance = (host(model.expand(v)) for v in (posterior.mean, posterior.variance))
    for row in range(4):
        a = kron_all([f[row] for f in problem.factors])
        prior, y = flat([g[row] for g in gamma]), problem.y[row].reshape(-1)
        dense = Dense.of(a, y, prior, problem.noise_var[row])
        np.testing.assert_allclose(mean[row].reshape(-1), dense.mean, atol=1e-12)
        np.testing.assert_allclose(variance[row].reshape(-1), dense.variance, atol=1e-12)
        assert host(posterior.cost)[row] == pytest.approx(dense.cost, rel=1e-10)
        assert host(posterior.residual)[row] == pytest.approx(dense.residual, rel=1e-9)


def operands():
    """For each operation some arguments, by name: all of them but γ arrays or lists of arrays."""
    rng = np.random.default_rng(97)
    gamma = [rng.uniform(0.1, 1, (6, n)) * (rng.random((6, n)) < 0.8) for n in (3, 4, 5)]
    for g in gamma:
        g[:, 0] = 0.5
    other = [g * rng.uniform(0.5, 1.5, g.shape) for g in gamma]
    columns = rng.random((6, 4, 4))
    moment = rng.exponential(size=(6, 3, 4, 5)) * (outer(gamma) > 0)
    spectra, d = [g + 0.1 for g in gamma], rng.random((6, 2, 3, 2))
    w = [
        rng.random((6, n, r)) * (g > 0)[:, :, None]
        for g, n, r in zip(gamma, (3, 4, 5), (2, 3, 2), strict=True)
    ]
    where, unit = np.array([True, True, False, True, True, True]), rng.uniform(0.5, 2, 6)
    bounds, weights = ([0.4, 0.3, 0.2], [0.3, 0.2, 0.1]), [np.minimum(2 * g, 1) for g in gamma]
    stop = 1e-4, False, 40, None, unit, None
    once = Sweeps(0.0, False, 1, None, None, None)
    complex_data = normal(rng, (6, 3, 4, 5), True)
    return {
        "shrink": (spectra, unit, complex_data),
        "second_moments": (complex_data, gamma, moment),
        "alternate": (moment, gamma, Sweeps(*stop)),
        "alternate, relative and capped": (moment, gamma, Sweeps(1e-12, True, 3, None, None, None)),
        "alternate once": (moment, gamma, once._replace(spread=Spread(d, w, False))),
        "alternate once, explained": (moment, gamma, once._replace(spread=Spread(d, w, True))),
        "prune": (gamma, *bounds, where, None, None),
        "prune, weighed": (gamma, *bounds, where, weights, unit),
        "distance2": (other, gamma),
        "distance2 of what is near": ([g * (1 + 1e-9) for g in gamma], gamma),
        "leading_vectors": (columns @ columns.swapaxes(1, 2),),
    }


def converted(value, to):
    if isinstance(value, Spread | Sweeps):
        return type(value)(*(converted(v, to) for v in value))
    if isinstance(value, np.ndarray):
        return to(value)
    several = isinstance(value, list | tuple) and any(isinstance(v, np.ndarray) for v in value)
    return [converted(v, to) for v in value] if several else value


def leaves(result):
    parts = result if isinstance(result, tuple | list) else [result]
    return [
        leaf for p in parts for leaf in (leaves(p) if isinstance(p, tuple | list) else [host(p)])
    ]


@pytest.mark.parametrize("case", operands())
@pytest.mark.parametrize("library", [np.asarray, *LIBRARIES.values()])
def test_both_implementations_of_an_operation_are_equal(case, library):
    arguments, name = operands()[case], case.split(",")[0].split(" ")[0]
    expected = leaves(getattr(compiled, name)(*arguments))
    found = leaves(getattr(standard, name)(*(converted(a, library) for a in arguments)))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("implementation", [compiled, standard])
@pytest.mark.parametrize("library", [np.asarray, *LIBRARIES.values()])
def test_atoms_that_are_gone_stay_so(implementation, library):
    if implementation is compiled and library is not np.asarray:
        pytest.skip("compiled for numpy's arrays")
    columns = np.random.default_rng(107).random((20, 8, 9))
    columns[:, [1, 4, 6]] = 0
    found = host(implementation.leading_vectors(library(columns @ columns.swapaxes(1, 2))))
    assert (found[:, [1, 4, 6]] == 0).all()
    assert (found[:, [0, 2, 3, 5, 7]] > 0).all()


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("library", [np.asarray, *LIBRARIES.values()])
def test_both_give_eigenvectors(complex_valued, library, monkeypatch):
    monkeypatch.setattr(standard, "MOST_AT_ONCE", 100)  # in portions
    rng = np.random.default_rng(98)
    columns = normal(rng, (12, 5, 7), complex_valued)
    matrices = columns @ columns.conj().swapaxes(1, 2)
    matrices[3, 0, 0] = np.nan
    for values, vectors in (standard.eigh(library(matrices)), compiled.eigh(matrices)):
        values, vectors = host(values), host(vectors)
        assert np.isnan(values[3]).any()
        rebuilt = vectors * values[:, None, :] @ vectors.conj().swapaxes(1, 2)
        np.testing.assert_allclose(rebuilt[4:], matrices[4:], atol=1e-12)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("library", LIBRARIES.values())
@pytest.mark.parametrize("leaf", [3, 96])
def test_both_solve_systems(complex_valued, library, leaf, monkeypatch):
    """Rows with many and with few atoms in use, and a working set that has been reduced."""
    monkeypatch.setattr(standard_systems, "LEAF", leaf)
    monkeypatch.setattr(standard_systems, "ENTRIES", 2 * 12**2)  # in portions
    problem, _ = sparse_problem(6, (3, 4), (5, 6), seed=99, complex_valued=complex_valued)
    rng = np.random.default_rng(100)
    gamma = rng.uniform(0.1, 1, (6, 30)) * (
        rng.random((6, 30)) < np.linspace(0.05, 0.75, 6)[:, None]
    )
    results = []
    for move in (np.asarray, library):
        model, (g,) = FlatModel(problem.moved(move)).compact((move(gamma),))
        implementation = compiled if move is np.asarray else standard
        results.append(implementation.solve_systems(model, g, move(problem.noise_var)))
    for one, other in zip(*map(leaves, results), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-11)


def test_a_matrix_that_is_not_positive_definite_fails_alone(library):
    matrices = np.stack([np.eye(3), -np.eye(3), 4 * np.eye(3)])
    found = host(standard_systems.inverse_root(library(matrices)))
    assert np.isnan(found[1]).any()
    np.testing.assert_allclose(found[[0, 2]], [np.eye(3), np.eye(3) / 2])


def test_a_library_that_passes_over_what_fails_is_told_not_to(monkeypatch):
    """As CuPy does, whose Cholesky factors of such a matrix are finite."""
    import array_api_compat
    import array_api_strict

    cholesky, aloud = array_api_strict.linalg.cholesky, []

    def quiet(matrices):
        return cholesky(matrices if aloud else strict(np.broadcast_to(np.eye(3), matrices.shape)))

    @contextlib.contextmanager
    def errstate(*, linalg):
        aloud.append(linalg)
        try:
            yield
        finally:
            aloud.clear()

    monkeypatch.setattr(array_api_strict.linalg, "cholesky", quiet)
    monkeypatch.setattr(array_api_compat, "is_cupy_array", lambda _: True)
    monkeypatch.setitem(sys.modules, "cupyx", SimpleNamespace(errstate=errstate))
    matrices = np.stack([np.eye(3), -np.eye(3), 4 * np.eye(3)])
    found = standard_systems.inverse_root(strict(matrices))
    monkeypatch.undo()
    found = host(found)
    assert np.isnan(found[1]).any()
    np.testing.assert_allclose(found[[0, 2]], [np.eye(3), np.eye(3) / 2])


@pytest.mark.parametrize("complex_valued", [False, True])
def test_matrices_that_are_nearly_singular(complex_valued, library, monkeypatch):
    """Of atoms that depend on each other, without noise but for what double precision resolves."""
    monkeypatch.setattr(standard_systems, "LEAF", 5)
    a = normal(np.random.default_rng(108), (20, 40, 8), complex_valued)
    matrices = a @ a.conj().swapaxes(1, 2) + 1e-12 * np.eye(40)
    factors = np.linalg.cholesky(matrices)
    found = host(standard_systems.inverse_root(library(matrices)))
    diagonal, expected = (np.einsum("bii->bi", root).real for root in (found, factors))
    np.testing.assert_allclose(1 / diagonal, expected, rtol=0.05)


@pytest.mark.parametrize("axis", [1, 2])
def test_scatter_and_gather(axis, library):
    rng = np.random.default_rng(101)
    x, size = rng.random((3, 4, 4)), 7
    index = np.stack([rng.permutation(size)[:4] for _ in range(3)])
    expected = scatter(x, index, size, axis)
    found = scatter(library(x), library(index), size, axis)
    np.testing.assert_array_equal(host(found), expected)
    np.testing.assert_array_equal(host(gather(found, library(index), axis)), x)


def test_data_units_are_the_same_numbers(library):
    problem, _ = sparse_problem(3, seed=102)
    problem = dataclasses.replace(problem, y=problem.y * 1e-100, noise_var=problem.noise_var * 0)
    [(_, one)], [(_, other)] = (DataUnits.of(p) for p in (problem, problem.moved(library)))
    np.testing.assert_array_equal(host(other.problem.y), one.problem.y)
    np.testing.assert_array_equal(host(other.problem.noise_var), one.problem.noise_var)
    np.testing.assert_array_equal(other.x_exponent, one.x_exponent)


def test_a_trace_is_kept_by_numpy(library):
    problem, x = sparse_problem(3, seed=103)
    traces = Trace(x), Trace(library(x))
    for trace, p in zip(traces, (problem, problem.moved(library)), strict=True):
        quick("ksbl").solve(p, watch=trace)
    for name in ("cost", "change", "nmse"):
        one, other = (getattr(trace, name) for trace in traces)
        np.testing.assert_allclose(other, one, rtol=1e-9)


def test_a_start_may_be_given_in_any_form(library):
    problem, _ = sparse_problem(2, seed=104)
    gamma = tuple(np.full(n, 0.5) for n in problem.dims)
    expected = quick("ksbl", noise="estimate").solve(problem, initial=(gamma, 0.1))
    for start in ((gamma, 0.1), (tuple(map(library, gamma)), library(np.full(2, 0.1)))):
        found = quick("ksbl", noise="estimate").solve(problem.moved(library), initial=start)
        assert_same(found, expected)


@pytest.mark.parametrize("name", sorted({*REGISTERED} - {*ANY_ARRAY}))
def test_others_decline(name, library):
    problem = sparse_problem(2, seed=105)[0].moved(library)
    with pytest.raises(ValueError, match="runs on numpy's arrays only"):
        solvers.create(name).solve(problem)


def test_arrays_of_one_problem_come_from_one_library(library):
    problem, _ = sparse_problem(2, seed=106)
    y, factors = library(problem.y), [library(a) for a in problem.factors]
    with pytest.raises(ValueError, match=r"factors\[0\] must come from the library .* got numpy"):
        Problem(y, problem.factors)
    assert host(Problem(y, factors, [0.1, 0.2]).noise_var).tolist() == [0.1, 0.2]
    with pytest.raises(ValueError, match="must be real, non-negative"):
        Problem(y, factors, library(-problem.noise_var))
    with pytest.raises(ValueError, match="NaN or infinite"):
        Problem(y * np.nan, factors)


def test_no_library_is_imported_unless_asked_for():
    code = """
import sys, numpy as np, solvers
problem = solvers.Problem(np.ones((1, 2, 2)), [np.eye(2), np.eye(2)], np.ones(1))
solvers.create("svd_krosbl").solve(problem)
print({"array_api_compat", "array_api_strict", "torch", "cupy"} & {*sys.modules})
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
