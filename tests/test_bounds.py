"""Bounds against dense algebra, against those who attain them, and against each other."""

import dataclasses
from functools import cache

import numpy as np
import pytest

import solvers
from pipeline.scenarios import IrsMimo, Synthetic
from solvers import ErrorForm, Estimate, Problem, Solver, Status
from solvers.kron import outer
from tests.libraries import NUMPY, OTHER, create
from tests.problems import normal, sparse_problem
from tests.textbook import kron_all

BOUNDS = ("crb", "bcrb", "crb_product")
SHAPES = [((5,), (7,)), ((4, 5), (6, 5)), ((4, 3, 5), (5, 4, 6)), ((3, 3, 2, 4), (3, 4, 3, 4))]

kinds = pytest.mark.parametrize("complex_valued", [False, True], ids=["real", "complex"])
libraries = pytest.mark.parametrize("library", [NUMPY, OTHER])
ownership = pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])


def value(name, problem, library=NUMPY):
    estimate = create(name, library).solve(problem)
    assert estimate.x is None
    assert (estimate.status == Status.BOUND).all()
    return estimate.diagnostics["nmse"]


def problem_with_forms(measurements, dims, complex_valued, shared, seed=5):
    """Product gains of unequal variances, and an error of two terms that see x through maps."""
    problem, _ = sparse_problem(
        4, measurements, dims, seed=seed, complex_valued=complex_valued, shared=shared
    )
    rng = np.random.default_rng(seed)
    lead = () if shared else (problem.batch,)
    maps = [normal(rng, (*lead, 3, n), complex_valued) for n in dims]
    forms = [
        ErrorForm((None, *maps[1:]), rng.random(problem.batch)),
        ErrorForm((*maps[:-1], None), rng.random(problem.batch)),
    ]
    scales = [0.1 + rng.random((problem.batch, n)) for n in dims]
    variance = problem.true_variance * outer(scales)
    return dataclasses.replace(problem, true_variance=variance, error_forms=forms)


def dense(name, problem, row):
    """The same bound by matrices of all measurements and all atoms."""

    def whole(factors):
        sized = zip(factors, problem.dims, strict=True)
        own = [np.eye(n) if f is None else f if f.ndim == 2 else f[row] for f, n in sized]
        return kron_all(own)[:, support]

    support = problem.true_variance[row].reshape(-1) > 0
    a, noise_var = whole(problem.factors), problem.noise_var[row]
    information = a.conj().T @ a / noise_var
    if name == "bcrb":
        information = information + np.diag(1 / problem.true_variance[row].reshape(-1)[support])
    covariance = np.linalg.pinv(information, hermitian=True)
    if name == "crb_product":
        columns = []
        for mode, n in enumerate(problem.dims):
            for at in np.flatnonzero(problem.true_gains[mode][row]):
                gains = [g[row][:, None] for g in problem.true_gains]
                gains[mode] = np.eye(n)[:, [at]]
                columns.append(kron_all(gains)[support])
        jacobian = np.concatenate(columns, axis=1)
        middle = jacobian.conj().T @ information @ jacobian
        pinv = np.linalg.pinv(middle, rcond=1e-10, hermitian=True)
        covariance = jacobian @ pinv @ jacobian.conj().T
    errors = [whole(form.factors) for form in problem.error_forms]
    traces = [np.trace(c @ covariance @ c.conj().T).real for c in errors]
    return sum(f.weight[row] * t for f, t in zip(problem.error_forms, traces, strict=True))


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize(("measurements", "dims"), SHAPES)
@kinds
@ownership
@libraries
def test_closed_forms_are_those_of_dense_algebra(
    name, measurements, dims, complex_valued, shared, library
):
    problem = problem_with_forms(measurements, dims, complex_valued, shared)
    expected = [dense(name, problem, row) for row in range(problem.batch)]
    np.testing.assert_allclose(value(name, problem, library), expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["crb", "bcrb"])
@kinds
@ownership
@libraries
def test_any_support_and_any_variances(name, complex_valued, shared, library):
    problem = problem_with_forms((4, 3, 5), (5, 4, 6), complex_valued, shared)
    variance = problem.true_variance * np.random.default_rng(1).random(problem.true_variance.shape)
    variance[0], variance[2] = problem.true_variance[0], np.where(variance[2] > 0.1, 1.0, 0.0)
    odd = dataclasses.replace(problem, true_variance=variance)
    expected = [dense(name, odd, row) for row in range(odd.batch)]
    np.testing.assert_allclose(value(name, odd, library), expected, rtol=1e-9)


SCENARIOS = {
    "own real": Synthetic(snr_db=10, dims=(8, 8), measurements=(4, 5), sparsity=(2, 3)),
    "own complex": Synthetic(
        snr_db=10, dims=(8, 8), measurements=(4, 5), sparsity=2, complex_valued=True
    ),
    "shared": IrsMimo(snr_db=10, irs_elements=32, patterns="fixed"),
    "maps": IrsMimo(snr_db=10, irs_elements=32),
    "fewer rows than atoms": IrsMimo(snr_db=10, irs_elements=32, reflection_patterns=2),
}


@cache
def drawn(word, realizations=400):
    return SCENARIOS[word].draw_with_truth(range(realizations), 1)


def assert_mean_one(ratio, errors=3.0):
    assert abs(ratio.mean() - 1.0) < errors * ratio.std(ddof=1) / np.sqrt(len(ratio))


@pytest.mark.parametrize("word", SCENARIOS)
def test_least_squares_on_the_support_attains_crb(word):
    problem, truth = drawn(word)
    estimate = solvers.create("oracle_ls").solve(problem)
    assert_mean_one(SCENARIOS[word].nmse(truth, problem, estimate.x) / value("crb", problem))


@kinds
def test_the_posterior_mean_attains_bcrb_where_gains_are_gaussian(complex_valued):
    """With noise that the gains say nothing of, and an error that is not normalised by them."""
    problem, _ = sparse_problem(600, (3, 4), (6, 6), seed=8, complex_valued=complex_valued)
    rng = np.random.default_rng(9)
    scales = [0.1 + rng.random((problem.batch, n)) for n in problem.dims]
    variance = problem.true_variance * outer(scales)
    x = np.sqrt(variance) * normal(rng, variance.shape, complex_valued)
    noise = np.sqrt(0.5) * normal(rng, problem.y.shape, complex_valued)
    y = np.einsum("bmk,bnl,bkl->bmn", *problem.factors, x) + noise
    ones, form = np.full(len(y), 0.5), ErrorForm((None, None), np.ones(len(y)))
    told = Problem(y, problem.factors, ones, variance, error_forms=[form])
    error = np.abs(solvers.create("oracle_lmmse").solve(told).x - x) ** 2
    assert_mean_one(error.sum(axis=(1, 2)) / value("bcrb", told))


@kinds
def test_rank_one_least_squares_attains_crb_product(complex_valued):
    """Alternating least squares over the vectors of x, where noise is small, from the truth on."""
    problem, x = sparse_problem(
        300, (4, 5, 4), (6, 6, 6), snr_db=70, seed=10, complex_valued=complex_valued
    )
    ratio = np.empty(problem.batch)
    bound = value("crb_product", problem)
    for row in range(problem.batch):
        factors = [a[row] for a in problem.factors]
        gains = [g[row].copy() for g in problem.true_gains]
        for _ in range(6):
            for mode in range(3):
                seen = [a @ g for a, g in zip(factors, gains, strict=True)]
                weights = [s.conj() / np.vdot(s, s).real for s in seen]
                rest = np.moveaxis(problem.y[row], mode, 0)
                for weight in (w for j, w in enumerate(weights) if j != mode):
                    rest = np.tensordot(rest, weight, (1, 0))
                at = np.flatnonzero(gains[mode])
                gains[mode][at] = np.linalg.lstsq(factors[mode][:, at], rest, rcond=None)[0]
        found = outer([g[None] for g in gains])[0]
        error = np.linalg.norm(found - x[row]) ** 2 * problem.error_forms[0].weight[row]
        ratio[row] = error / bound[row]
    assert_mean_one(ratio)


@pytest.mark.parametrize("word", SCENARIOS)
def test_who_knows_more_may_err_less(word):
    problem, _ = drawn(word)
    crb, bayesian, product = (value(name, problem) for name in BOUNDS)
    assert (product <= crb * (1 + 1e-9)).all()
    assert (bayesian <= crb * (1 + 1e-9)).all()
    assert (product > 0).all()
    larger = problem.true_variance + np.roll(problem.true_variance, 3, axis=-1)
    unsure = dataclasses.replace(problem, true_variance=larger)
    assert (value("crb", unsure) >= crb * (1 - 1e-9)).all()


def test_one_vector_is_a_product_of_itself():
    problem, _ = sparse_problem(5, (5,), (8,), sparsity=3, seed=11)
    np.testing.assert_allclose(value("crb_product", problem), value("crb", problem), rtol=1e-10)


@pytest.mark.parametrize("name", BOUNDS)
def test_without_noise_there_is_no_error(name):
    problem, _ = sparse_problem(3, seed=12)
    assert (value(name, dataclasses.replace(problem, noise_var=np.zeros(3))) == 0).all()


def test_what_the_data_do_not_show_is_unbounded_or_as_uncertain_as_before():
    problem, _ = sparse_problem(3, (2, 5), (6, 6), sparsity=3, seed=13)
    assert np.isinf(value("crb", problem)).all()
    assert np.isinf(value("crb_product", problem)).all()
    silent = dataclasses.replace(problem, noise_var=np.full(3, 1e30))
    prior = silent.true_variance.sum(axis=(1, 2)) * silent.error_forms[0].weight
    np.testing.assert_allclose(value("bcrb", silent), prior, rtol=1e-10)


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_do_not_look_at_the_data(name):
    problem, _ = sparse_problem(3, seed=14)
    other = dataclasses.replace(problem, y=problem.y[::-1] ** 2)
    np.testing.assert_array_equal(value(name, other), value(name, problem))


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("c", [-0.3, 2.0**40, 2.0**-200])
def test_units_do_not_matter(name, c):
    """A factor times c goes with an x over c, and so with variances and weights."""
    problem, _ = sparse_problem(3, seed=15)
    weight = problem.error_forms[0].weight * c**2
    said = dataclasses.replace(
        problem,
        factors=[problem.factors[0], problem.factors[1] * c, problem.factors[2]],
        true_variance=problem.true_variance / c**2,
        true_gains=[*problem.true_gains[:2], problem.true_gains[2] / c],
        error_forms=[ErrorForm((None, None, None), weight)],
    )
    np.testing.assert_allclose(value(name, said), value(name, problem), rtol=1e-9)


@dataclasses.dataclass(frozen=True)
class TakesTheTruth(Solver):
    """An oracle that answers with the true x, and says how far it takes the zero estimate to be."""

    kind = "oracle"
    requires = ("true_gains", "error_forms")
    diagnostics = {"nmse_of_nothing": ("1", "its error form of x")}  # noqa: RUF012

    def _solve(self, problem, **_):
        [form] = problem.error_forms
        x = outer(problem.true_gains)
        seen = x if form.factors[0] is None else np.einsum("kn,bn...->bk...", form.factors[0], x)
        nmse = form.weight * (np.abs(seen) ** 2).reshape(problem.batch, -1).sum(axis=1)
        return Estimate(x, diagnostics={"nmse_of_nothing": nmse})


@pytest.mark.parametrize("scaling", ["data", "none"])
def test_the_truth_is_in_the_units_of_the_data_where_they_are(scaling):
    problem, x = sparse_problem(4, seed=16, shared=True)
    factors = [a.copy() * 1e3 for a in problem.factors]
    idle = np.flatnonzero(~problem.true_variance.any(axis=(0, 2, 3)))
    assert idle.size
    factors[0][:, idle] = 0
    maps = ErrorForm((np.eye(6)[::2], None, None), problem.error_forms[0].weight)
    told = dataclasses.replace(problem, y=problem.y * 1e5, factors=factors, error_forms=[maps])
    estimate = TakesTheTruth(scaling=scaling).solve(told)
    np.testing.assert_allclose(estimate.x, x, rtol=1e-12)
    expected = maps.weight * (x[:, ::2] ** 2).reshape(4, -1).sum(axis=1)
    np.testing.assert_allclose(estimate.diagnostics["nmse_of_nothing"], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"true_gains": [np.ones((3, 6))] * 2}, "true_gains must have shapes"),
        ({"error_forms": [ErrorForm((None, None), np.ones(3))]}, "3 factors"),
        ({"error_forms": [ErrorForm((None,) * 3, np.ones(2))]}, r"weight of shape \(3,\)"),
        ({"error_forms": [ErrorForm((None, None, np.eye(5)), np.ones(3))]}, "an error form needs"),
        ({"error_forms": [ErrorForm((None, None, np.ones(6)), np.ones(3))]}, "an error form needs"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(changes, message):
    problem, _ = sparse_problem(3, seed=17)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(problem, **changes)


def test_a_bound_without_what_it_rests_on_declines():
    problem, _ = sparse_problem(3, seed=18)
    for name in BOUNDS:
        for part in solvers.create(name).requires:
            lacking = dataclasses.replace(problem, **{part: None})
            assert solvers.create(name).applies(lacking).endswith(f"requires a problem with {part}")
    independent = Synthetic(snr_db=10, gains="independent").draw_with_truth([0], 1)[0]
    assert solvers.create("crb").applies(independent) is None
    assert "true_gains" in solvers.create("crb_product").applies(independent)


def test_scaling_is_no_choice():
    assert solvers.create("crb", preset="published") == solvers.create(
        "crb", preset="published", scaling="none"
    )
    with pytest.raises(ValueError, match="must be one of 'none'"):
        solvers.create("crb", scaling="data")
