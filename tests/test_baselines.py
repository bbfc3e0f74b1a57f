"""The block solver and the baselines, each against its dense textbook version."""

import tracemalloc

import numpy as np
import pytest
import scipy.optimize

import solvers
from solvers import Problem
from solvers.flat_model import FlatModel
from solvers.kernels import least_squares
from solvers.lapack import times
from solvers.operations import compiled_systems
from solvers.operations.compiled_systems import gram, quadratic_forms
from tests import textbook
from tests.problems import normal, sparse_problem
from tests.textbook import Dense, kron_all

SHAPES = [((4, 5, 6), (6, 6, 6)), ((6, 5), (8, 8)), ((12,), (20,))]


def row_factors(problem, row):
    return [a[row] for a in problem.factors]


def assert_same(estimate, row, x, iterations, tolerance=1e-7):
    assert estimate.iterations[row] == iterations
    assert np.linalg.norm(estimate.x[row].reshape(-1) - x) <= tolerance * np.linalg.norm(x)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(("measurements", "dims"), SHAPES)
@pytest.mark.parametrize("noise", ["known", "estimate"])
@pytest.mark.parametrize("name", ["csbl", "pc_sbl"])
def test_unstructured_solvers(name, measurements, dims, complex_valued, noise):
    problem, _ = sparse_problem(3, measurements, dims, seed=41, complex_valued=complex_valued)
    estimate = solvers.create(name, preset="published", noise=noise).solve(problem)
    for row in range(problem.batch):
        x, iterations, noise_var = getattr(textbook, name)(
            row_factors(problem, row),
            problem.y[row],
            problem.noise_var[row],
            estimate_noise=noise == "estimate",
        )
        assert_same(estimate, row, x, iterations)
        assert estimate.noise_var[row] == pytest.approx(noise_var, rel=1e-7)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("noise", ["known", "estimate"])
@pytest.mark.parametrize(
    ("beta", "coupled"), [(0.5, (0, 1, 2)), (0.8, (0, 2)), ((0.3, 0.9), (2, 1)), (0.5, ())]
)
def test_pattern_coupled_krosbl(beta, coupled, complex_valued, noise):
    problem, _ = sparse_problem(3, seed=42, complex_valued=complex_valued)
    options = {"beta": beta, "coupled": list(coupled)} if coupled else {"beta": 0.0}
    if noise == "estimate":
        options["noise"] = noise
    estimate = solvers.create("pc_krosbl", preset="published", **options).solve(problem)
    betas = dict(zip(coupled, beta if isinstance(beta, tuple) else (beta,) * 3, strict=False))
    matrices, start = {}, []
    modes = coupled or (0, 1, 2)
    for mode, n in enumerate(problem.dims):
        b = betas.get(mode, 0.0)
        matrices[mode] = np.eye(n) + b * (np.eye(n, k=1) + np.eye(n, k=-1))
        start.append(matrices[mode] @ np.ones(n) if mode in modes else np.ones(n))
    step = textbook.pc_step(matrices, modes, 1e-5, 1e-4, True, 9)
    for row in range(problem.batch):
        x, iterations, noise_var, inner = textbook.kron_em(
            row_factors(problem, row),
            problem.y[row],
            problem.noise_var[row],
            step,
            start=start,
            prune=1e-2,
            prune_absolute=1e-4,
            with_keep=True,
            estimate_noise=noise == "estimate",
        )
        assert_same(estimate, row, x.reshape(-1), iterations)
        assert estimate.inner_iterations[row] == inner
        assert estimate.noise_var[row] == pytest.approx(noise_var, rel=1e-7)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(("measurements", "dims"), SHAPES)
@pytest.mark.parametrize("max_atoms", [None, 3])
def test_omp(measurements, dims, complex_valued, max_atoms):
    problem, _ = sparse_problem(4, measurements, dims, seed=43, complex_valued=complex_valued)
    options = {} if max_atoms is None else {"max_atoms": max_atoms}
    estimate = solvers.create("omp", **options).solve(problem)
    for row in range(problem.batch):
        x, atoms = textbook.omp(
            row_factors(problem, row), problem.y[row], problem.noise_var[row], max_atoms
        )
        assert_same(estimate, row, x, atoms, 1e-9)


def test_omp_ends_where_atoms_depend_on_each_other():
    factors = [np.ones((3, 4)), np.eye(2)]  # only two different atoms
    y = normal(np.random.default_rng(0), (2, 3, 2))
    estimate = solvers.create("omp").solve(Problem(y, factors, np.full(2, 1e-12)))
    assert (estimate.iterations == 2).all()
    fit = np.einsum("ai,bj,nij->nab", *factors, estimate.x)
    np.testing.assert_allclose(fit, np.broadcast_to(y.mean(axis=1, keepdims=True), y.shape))


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("stop", ["residual", "noise"])
@pytest.mark.parametrize("sparsity", [2, (4, 6, 5)])
def test_komp(sparsity, stop, complex_valued):
    problem, _ = sparse_problem(4, (3, 5, 6), (6, 6, 6), seed=44, complex_valued=complex_valued)
    estimate = solvers.create("komp", sparsity=sparsity, stop=stop).solve(problem)
    caps = (sparsity,) * 3 if isinstance(sparsity, int) else sparsity
    for row in range(problem.batch):
        y = problem.y[row]
        bound2 = (
            y.size * problem.noise_var[row] if stop == "noise" else 1e-4 * np.sum(np.abs(y) ** 2)
        )
        x, iterations = textbook.komp(row_factors(problem, row), y, caps, bound2)
        assert_same(estimate, row, x, iterations, 1e-9)


def test_oracle_least_squares_on_any_support():
    rng = np.random.default_rng(45)
    problem, _ = sparse_problem(4, (3, 5, 6), (6, 6, 6), sparsity=4, seed=45)
    support = problem.true_variance.copy()
    support[1] = rng.random(support[1].shape) < 0.1  # no Kronecker product
    support[2] = 0
    loose = Problem(problem.y, problem.factors, problem.noise_var, support)
    estimate = solvers.create("oracle_ls").solve(loose)
    assert (estimate.x[support == 0] == 0).all()
    for row in range(4):
        inside = support[row].reshape(-1) > 0
        a = kron_all(row_factors(loose, row))[:, inside]
        expected = np.linalg.pinv(a) @ loose.y[row].reshape(-1)
        np.testing.assert_allclose(estimate.x[row].reshape(-1)[inside], expected, atol=1e-9)


def test_oracle_lmmse_is_the_posterior_mean():
    problem, _ = sparse_problem(3, seed=46)
    estimate = solvers.create("oracle_lmmse").solve(problem)
    for row in range(3):
        prior = problem.true_variance[row].reshape(-1)
        dense = Dense.of(
            kron_all(row_factors(problem, row)),
            problem.y[row].reshape(-1),
            prior,
            problem.noise_var[row],
        )
        np.testing.assert_allclose(estimate.x[row].reshape(-1), dense.mean, atol=1e-10)
        np.testing.assert_allclose(estimate.variance[row].reshape(-1), dense.variance, atol=1e-10)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("used", [1.0, 0.4, 0.1])
def test_unstructured_e_step(complex_valued, used):
    """By the M×M matrix where most atoms are in use, by the n×n one where few are."""
    rng = np.random.default_rng(47)
    problem, _ = sparse_problem(2, (3, 4, 4), (5, 4, 6), seed=47, complex_valued=complex_valued)
    gamma = rng.uniform(0.1, 2, (2, 120)) * (rng.random((2, 120)) < used)
    noise_var = np.array([0.5, 0.01])
    posterior = FlatModel(problem).posterior((gamma,), noise_var)
    for row in range(2):
        dense = Dense.of(
            kron_all(row_factors(problem, row)),
            problem.y[row].reshape(-1),
            gamma[row],
            noise_var[row],
        )
        np.testing.assert_allclose(posterior.mean[row], dense.mean, atol=1e-10)
        np.testing.assert_allclose(posterior.variance[row], dense.variance, atol=1e-10)
        assert posterior.cost[row] == pytest.approx(dense.cost, rel=1e-9)
        assert posterior.residual[row] == pytest.approx(dense.residual, rel=1e-9)
        active = gamma[row] > 0
        determined = np.sum(1 - dense.variance[active] / gamma[row][active])
        assert posterior.effective_parameters[row] == pytest.approx(determined, rel=1e-9)


@pytest.mark.parametrize("rows", [(3, 2), (4, 2, 3), (5,)])
def test_structured_gram_and_its_adjoint(rows):
    rng = np.random.default_rng(48)
    dims = [m + 1 for m in rows]
    factors = [normal(rng, shape, True) for shape in zip(rows, dims, strict=True)]
    model = FlatModel(Problem(normal(rng, (1, *rows), True), factors, np.ones(1)))
    gamma, a = rng.uniform(size=dims), kron_all(factors)
    found = gram(model.pairs, gamma, rows)
    np.testing.assert_allclose(np.tril(found), np.tril((a * gamma.reshape(-1)) @ a.conj().T))
    w = normal(rng, found.shape, True)
    w = w + w.conj().T
    expected = np.einsum("mn,mk,kn->n", a.conj(), w, a).real
    lower = np.where(np.tri(len(w)), w, np.nan)  # what is above may be anything
    forms = quadratic_forms(model.pairs, lower, rows)
    np.testing.assert_allclose(forms.reshape(-1), expected)
    np.testing.assert_allclose(times(lower, w[0]), w @ w[0])


def peak_memory(name, dims, batch, **options):
    """Bytes that a solver holds at most, on a problem of M = 2520 measurements."""
    rng = np.random.default_rng(49)
    rows = (14, 12, 15)
    factors = [rng.standard_normal((a, b)) for a, b in zip(rows, dims, strict=True)]
    problem = Problem(rng.standard_normal((batch, *rows)), factors, np.full(batch, 0.1))
    solver = solvers.create(name, **options)
    tracemalloc.start()
    solver.solve(problem)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("dims", [(15, 15, 15), (40, 30, 20)])
@pytest.mark.parametrize(("name", "prune"), [("csbl", 0.0), ("csbl", 0.5), ("pc_sbl", None)])
def test_unstructured_priors_go_without_the_dense_dictionary(name, prune, dims):
    """A few M×M matrices are held, with less to spare than one of M×ΠN would take."""
    m, options = 14 * 12 * 15, {} if prune is None else {"prune": prune}
    bound = 4 * 8 * m**2 + 100 * 8 * np.prod(dims)
    assert bound < 3 * 8 * m**2 + 8 * m * np.prod(dims)
    assert peak_memory(name, dims, 1, max_iterations=2, **options) < bound


@pytest.mark.parametrize("dims", [(15, 15, 15), (40, 30, 20)])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {"max_iterations": 3}) for name in ("am_krosbl", "svd_krosbl", "ksbl")),
        ("pc_krosbl", {"max_iterations": 3}),
        ("omp", {"max_atoms": 5}),
        ("komp", {"sparsity": 5}),
    ],
)
def test_kronecker_solvers_hold_a_few_tensors_of_the_batch(name, options, dims):
    batch, m = 10, 14 * 12 * 15
    peak = peak_memory(name, dims, batch, **options)
    assert peak < 16 * 8 * batch * (m + np.prod(dims))


def test_rows_of_csbl_may_be_taken_in_portions(monkeypatch):
    problem, _ = sparse_problem(5, seed=52)
    whole = solvers.create("csbl").solve(problem)
    monkeypatch.setattr(compiled_systems, "PORTION_ENTRIES", 500)  # one to three rows
    parts = solvers.create("csbl").solve(problem)
    np.testing.assert_array_equal(parts.x, whole.x)
    np.testing.assert_array_equal(parts.iterations, whole.iterations)


def nnls(matrix, targets, band):
    """One after the other, each from where the one before ended."""
    transposed = np.ascontiguousarray(matrix.T)
    normal = least_squares.normal_matrix(transposed, band)
    free, solutions = np.ones(len(matrix), bool), np.empty(targets.shape)
    for target, x in zip(targets, solutions, strict=True):
        least_squares.minimize(matrix, transposed, normal, band, target, free, x)
    return solutions


@pytest.mark.parametrize("banded", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.8, 1.0, 3.0])
@pytest.mark.parametrize("n", [1, 2, 5, 18])
def test_nnls_agrees_with_scipy(n, beta, banded):
    rng = np.random.default_rng(50)
    matrix = np.eye(n) + beta * (np.eye(n, k=1) + np.eye(n, k=-1))
    targets = rng.exponential(size=(50, n)) ** 3 * (rng.random((50, n)) < 0.9)
    found = nnls(matrix, targets, band=1 if banded else n)
    expected = np.stack([scipy.optimize.nnls(matrix, t)[0] for t in targets])
    assert (found >= 0).all()
    # The fit is unique even where the matrix is singular and the minimiser is not.
    np.testing.assert_allclose(found @ matrix, expected @ matrix, atol=1e-11 * targets.max())


def test_nnls_with_unused_entries():
    matrix = np.array([[1.0, 0.5, 0], [0.5, 1, 0], [0, 0, 0]])
    x = nnls(matrix, np.array([[1.0, 0.1, 5.0]]), band=3)
    assert x[0, 2] == 0
    np.testing.assert_allclose(x[0, :2], scipy.optimize.nnls(matrix[:2, :2], [1.0, 0.1])[0])


def test_nnls_of_any_matrix():
    rng = np.random.default_rng(51)
    matrix, targets = rng.standard_normal((7, 7)), rng.standard_normal((50, 7))
    found = nnls(matrix, targets, band=7)
    expected = np.stack([scipy.optimize.nnls(matrix, t)[0] for t in targets])
    np.testing.assert_allclose(found @ matrix.T, expected @ matrix.T, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": [0.5, 0.5], "coupled": [0]}, "beta lists 2 values for 1 coupled"),
        ({"coupled": [0, 0]}, "names a factor twice"),
        ({"coupled": []}, "coupled must not be an empty list"),
        ({"coupled": [-1]}, "coupled must be at least 0"),
        ({"beta": -0.5}, "beta must be at least 0"),
    ],
)
def test_bad_coupling(options, message):
    with pytest.raises(ValueError, match=message):
        solvers.create("pc_krosbl", **options)


def test_coupled_factor_must_exist():
    problem, _ = sparse_problem(1, (4, 5), (6, 6))
    with pytest.raises(ValueError, match="coupled names factor 2, the problem has 0 to 1"):
        solvers.create("pc_krosbl", coupled=[0, 2]).solve(problem)
    with pytest.raises(ValueError, match="beta lists 3 values for a problem of 2"):
        solvers.create("pc_krosbl", beta=[0.5, 0.5, 0.5]).solve(problem)
