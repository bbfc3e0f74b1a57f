"""The E-step without noise and the ranks of Λ, of the page on the landscape."""

import dataclasses

import numpy as np
import pytest

import solvers
from benchmarks import ranks
from solvers.kron import outer
from solvers.kron_model import KronModel
from tests.problems import normal
from tests.textbook import kron_all

SHAPES = [((3, 4), (5, 4)), ((3, 2, 4), (4, 4, 5)), ((4,), (7,))]


def noiseless(measurements, dims, *, complex_valued=False, seed=0):
    """A batch of three without noise, with γ that differ."""
    rng = np.random.default_rng(seed)
    factors = [
        normal(rng, (3, m, n), complex_valued) for m, n in zip(measurements, dims, strict=True)
    ]
    gamma = tuple(rng.uniform(0.1, 2.0, (3, n)) for n in dims)
    return solvers.Problem(normal(rng, (3, *measurements), complex_valued), factors), gamma


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(("measurements", "dims"), SHAPES)
def test_the_step_without_noise_is_what_is_left_as_noise_goes(measurements, dims, complex_valued):
    problem, gamma = noiseless(measurements, dims, complex_valued=complex_valued)
    found, apart = ranks.NoiselessModel(problem).posterior(gamma).moment, []
    for noise_var in (1e-4, 1e-7, 1e-10):
        noisy = KronModel(problem).posterior(gamma, np.full(3, noise_var)).moment
        apart.append(np.abs(noisy - found).max() / found.max())
    assert apart[2] < 1e-5
    assert apart[1] < apart[0] / 100


@pytest.mark.parametrize(("measurements", "dims"), SHAPES)
def test_the_step_without_noise_is_the_pseudo_inverse(measurements, dims):
    """Also where γ is 0 at most atoms, so that a factor does not reach all measurements."""
    problem, gamma = noiseless(measurements, dims, seed=1)
    gamma[0][0, 2:] = 0.0
    found = ranks.NoiselessModel(problem).posterior(gamma)
    for row in range(3):
        root = np.sqrt([np.ravel(outer([g[row : row + 1] for g in gamma]))])
        a = kron_all([factor[row] for factor in problem.factors])
        t = root.T * np.linalg.pinv(a * root)
        covariance = np.diag(root[0] ** 2) - t @ (a * root**2)
        np.testing.assert_allclose(found.mean[row].ravel(), t @ problem.y[row].ravel(), atol=1e-9)
        np.testing.assert_allclose(found.variance[row].ravel(), np.diag(covariance), atol=1e-12)


@pytest.mark.parametrize("dims", [(6, 5), (4, 5, 6), (3, 3, 2, 4)])
def test_ranks(dims):
    rng = np.random.default_rng(2)
    products = [outer([rng.uniform(0.5, 2.0, (4, n)) for n in dims]) for _ in range(2)]
    np.testing.assert_array_equal(ranks.ranks(products[0]), 1)
    np.testing.assert_array_equal(ranks.ranks(sum(products)), 2)
    # A factor that all terms share hides the others from the first unfolding, not from the next.
    if len(dims) > 2:
        shared = np.ones((4, dims[0], *[1] * (len(dims) - 1)))
        inner = [outer([rng.uniform(0.5, 2.0, (4, n)) for n in dims[1:]]) for _ in range(2)]
        np.testing.assert_array_equal(ranks.ranks(shared * sum(inner)[:, None]), 2)


def test_em_without_noise_ends_at_the_truth_where_moments_are_a_product():
    """Both ways of looking at a problem, with all factors and with one."""
    problem, _ = noiseless((4, 3), (5, 4), seed=4)
    x = np.zeros((3, 5, 4))
    x[:, 1, 2] = 1.5
    y = problem.factors[0] @ x @ problem.factors[1].swapaxes(1, 2)
    problem = dataclasses.replace(problem, y=y)
    for some in (problem, ranks.flattened(problem)):
        found, estimate = ranks.refinement(solvers.create("svd_krosbl"), some, (5, 4))
        assert found.shape == (ranks.ITERATIONS, 3)
        assert (found[0] > 1).all()
        assert (found[-1] == 1).any()  # of matrices so small rounding may be a rank of its own
        np.testing.assert_allclose(estimate, x.reshape(3, -1), atol=1e-8)
