"""The Kronecker algebra and the structured E-step, against dense matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import Problem
from solvers.kron import kron_apply, mode_product, norm2, normalize, outer
from solvers.kron_model import KronModel
from solvers.operations import distance2, prune
from tests.problems import normal
from tests.textbook import Dense, flat, kron_all

DIMENSION = st.integers(1, 5)


@st.composite
def shapes(draw):
    factors = draw(st.integers(1, 4))
    measurements = draw(st.lists(DIMENSION, min_size=factors, max_size=factors))
    dims = draw(st.lists(DIMENSION, min_size=factors, max_size=factors))
    return tuple(measurements), tuple(dims)


@st.composite
def e_steps(draw):
    """A random problem, γ with some zeros, and how deep σ² is below the signal."""
    measurements, dims = draw(shapes())
    batch = draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    complex_valued = draw(st.booleans())
    shared = draw(st.lists(st.booleans(), min_size=len(dims), max_size=len(dims)))
    factors = [
        normal(rng, (m, n) if s else (batch, m, n), complex_valued)
        for m, n, s in zip(measurements, dims, shared, strict=True)
    ]
    gamma = [rng.uniform(0.1, 2.0, (batch, n)) for n in dims]
    for g in gamma:
        g[rng.random(g.shape) < draw(st.sampled_from([0.0, 0.5]))] = 0.0
        g[:, 0] = np.where(g.sum(axis=1) == 0, 1.0, g[:, 0])
    y = normal(rng, (batch, *measurements), complex_valued)
    return Problem(y, factors), tuple(gamma)


def dense_row(problem, gamma, noise_var, row):
    factors = [a if a.ndim == 2 else a[row] for a in problem.factors]
    return Dense.of(
        kron_all(factors), problem.y[row].reshape(-1), flat([g[row] for g in gamma]), noise_var
    )


@settings(max_examples=200, deadline=None)
@given(e_steps(), st.floats(-2, 2), st.booleans())
def test_e_step_agrees_with_the_textbook(case, exponent, compacted):
    problem, gamma = case
    model = KronModel(problem)
    noise_var = np.full(problem.batch, 10.0**exponent)
    used = gamma
    if compacted:
        model, used = model.compact(gamma)
    posterior = model.posterior(used, noise_var)
    mean, variance = model.expand(posterior.mean), model.expand(posterior.variance)
    for row in range(problem.batch):
        dense = dense_row(problem, gamma, noise_var[row], row)
        scale = max(np.abs(dense.mean).max(), 1e-300)
        assert np.abs(mean[row].reshape(-1) - dense.mean).max() <= 1e-9 * scale
        peak = flat([g[row] for g in gamma]).max()
        assert np.abs(variance[row].reshape(-1) - dense.variance).max() <= 1e-9 * peak
        assert posterior.cost[row] == pytest.approx(dense.cost, rel=1e-9, abs=1e-9)
        assert posterior.residual[row] == pytest.approx(dense.residual, rel=1e-8, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(e_steps(), st.floats(-12, -2))
def test_e_step_stays_finite_and_within_bounds(case, exponent):
    problem, gamma = case
    noise_var = np.full(problem.batch, 10.0**exponent)
    posterior = KronModel(problem).posterior(gamma, noise_var)
    assert np.isfinite(posterior.mean).all()
    assert np.isfinite(posterior.cost).all()
    assert (posterior.variance >= 0).all()
    assert (posterior.variance <= outer(gamma) * (1 + 1e-12)).all()
    assert (posterior.residual >= 0).all()


def test_effective_number_of_parameters_is_the_textbook_sum():
    rng = np.random.default_rng(1)
    factors = [rng.standard_normal((m, n)) for m, n in ((3, 4), (4, 3))]
    problem = Problem(rng.standard_normal((1, 3, 4)), factors)
    gamma = tuple(rng.uniform(0.5, 2, (1, n)) for n in problem.dims)
    posterior = KronModel(problem).posterior(gamma, np.array([0.3]))
    dense = dense_row(problem, gamma, 0.3, 0)
    expected = np.sum(1 - dense.variance / flat([g[0] for g in gamma]))
    assert posterior.effective_parameters[0] == pytest.approx(expected, rel=1e-12)


@settings(max_examples=100, deadline=None)
@given(shapes(), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_products_agree_with_the_kronecker_matrix(sizes, shared, complex_valued, seed):
    (rows, columns), rng = sizes, np.random.default_rng(seed)
    lead = () if shared else (2,)
    matrices = [
        normal(rng, (*lead, m, n), complex_valued) for m, n in zip(rows, columns, strict=True)
    ]
    x = normal(rng, (2, *columns), complex_valued)
    product, stepwise = kron_apply(matrices, x), x
    for mode, matrix in enumerate(matrices):
        stepwise = mode_product(stepwise, matrix, mode)
    for b in range(2):
        full = kron_all([m if m.ndim == 2 else m[b] for m in matrices])
        expected = (full @ x[b].reshape(-1)).reshape(rows)
        np.testing.assert_allclose(product[b], expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(stepwise[b], expected, rtol=1e-12, atol=1e-12)


def test_distance_keeps_digits_that_the_scalar_product_loses():
    rng = np.random.default_rng(3)
    old = tuple(rng.uniform(0.5, 1, (1, n)) for n in (4, 5, 6))
    new = tuple(g * (1 + 1e-11 * rng.standard_normal(g.shape)) for g in old)
    # In extended precision the plain difference has digits enough.
    wide = [[g.astype(np.longdouble)[0] for g in pair] for pair in (new, old)]
    expected = np.linalg.norm((flat(wide[0]) - flat(wide[1])).astype(float))
    assert np.sqrt(distance2(new, old)[0]) == pytest.approx(expected, rel=1e-4)
    assert norm2(old)[0] == pytest.approx(np.linalg.norm(flat([g[0] for g in old])) ** 2)


def test_normalize_keeps_the_product():
    rng = np.random.default_rng(4)
    gamma = tuple(rng.uniform(0, 1, (2, n)) for n in (3, 4, 5))
    scaled = normalize(gamma)
    np.testing.assert_allclose(outer(scaled), outer(gamma), rtol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(scaled[0], axis=1), 1)
    np.testing.assert_allclose(np.linalg.norm(scaled[1], axis=1), 1)


def test_prune_tells_exactly_what_it_took():
    rng = np.random.default_rng(5)
    gamma = tuple(rng.uniform(0, 1, (3, n)) for n in (4, 5))
    where = np.array([True, True, False])
    kept, removed = prune(gamma, (0.3, 0.1), (0.0, 0.2), where)
    lost = (outer(gamma) ** 2).sum(axis=(1, 2)) - (outer(kept) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(removed, lost, rtol=1e-12, atol=1e-15)
    assert removed[2] == 0
    assert (kept[0][2] == gamma[0][2]).all()
    assert ((kept[0] == 0) == (gamma[0] < 0.3 * gamma[0].max(axis=1, keepdims=True)))[:2].all()
    _, nothing = prune(gamma, (0.0, 0.0), (0.0, 0.0), np.ones(3, bool))
    assert (nothing == 0).all()
