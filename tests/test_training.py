"""Least squares, its factorization and alternating least squares: references and definitions."""

import numpy as np
import pytest

import solvers
from pipeline.scenarios.irs_training import IrsTraining
from solvers import Problem
from tests.problems import assert_close, normal, reviewers_case, sparse_problem
from tests.textbook import kron_all

EXACT = {"tolerance": 1e-12, "max_iterations": 500}


def trained(measurements, dims, seed, noise=0.1, shared=False):
    """y of slices of rank one and noise, and x."""
    rng, batch = np.random.default_rng(seed), 3
    lead = () if shared else (batch,)
    factors = [normal(rng, (*lead, m, n), True) for m, n in zip(measurements, dims, strict=True)]
    x = normal(rng, (batch, dims[0], *[1] * (len(dims) - 1)), True)
    for i, n in enumerate(dims[1:], 2):
        shape = [batch, dims[0], *[1] * (len(dims) - 1)]
        shape[i] = n
        x = x * normal(rng, shape, True)
    a = [kron_all([f if shared else f[b] for f in factors]) for b in range(batch)]
    y = np.stack([(m @ v.reshape(-1)).reshape(measurements) for m, v in zip(a, x, strict=True)])
    return Problem(y + noise * normal(rng, y.shape, True), factors, np.full(batch, noise**2)), x


@pytest.mark.parametrize("case", ["krf_a", "krf_d"])
@pytest.mark.parametrize(
    ("name", "options", "bar"), [("ls", {}, 1e-10), ("krf", {}, 1e-10), ("bals", EXACT, 1e-5)]
)
def test_reference(case, name, options, bar):
    """BALS starts elsewhere there, and ends at the same point."""
    problem, reference = reviewers_case(case)
    for scaling in ("data", "none"):
        estimate = solvers.create(name, scaling=scaling, **options).solve(problem)
        assert_close(estimate.x, reference[f"ours_{name}"], bar)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dims", [(3,), (3, 2), (4, 2, 3), (2, 3, 2, 2)])
def test_least_squares_is_that_of_the_whole_matrix(dims, shared):
    problem, _ = trained([n + 1 for n in dims], dims, seed=1, shared=shared)
    estimate = solvers.create("ls").solve(problem)
    for row in range(problem.batch):
        a = kron_all([f if shared else f[row] for f in problem.factors])
        expected = np.linalg.lstsq(a, problem.y[row].reshape(-1), rcond=None)[0]
        assert_close(estimate.x[row], expected)


def test_least_norm_with_fewer_rows_than_atoms():
    problem, _ = sparse_problem(2, (3, 4), (4, 6), seed=5)
    estimate = solvers.create("ls").solve(problem)
    for row in range(2):
        a = kron_all([f[row] for f in problem.factors])
        assert_close(estimate.x[row], np.linalg.pinv(a) @ problem.y[row].reshape(-1))


def test_slices_are_the_nearest_of_rank_one():
    problem, _ = trained((5, 3, 4), (4, 3, 4), seed=2, noise=1.0)
    whole, found = (solvers.create(name).solve(problem).x for name in ("ls", "krf"))
    u, s, v = np.linalg.svd(whole)
    assert_close(found, s[..., :1, None] * u[..., :1] @ v[..., :1, :])


@pytest.mark.parametrize("dims", [(4, 2, 3), (3, 2, 2, 3)])
@pytest.mark.parametrize("shared", [False, True])
def test_nothing_is_lost_without_noise(dims, shared):
    problem, x = trained([n + 1 for n in dims], dims, seed=3, noise=0.0, shared=shared)
    for name in ("ls", "krf", "bals"):
        assert_close(solvers.create(name).solve(problem).x, x, 1e-8)


@pytest.mark.parametrize("dims", [(4, 2, 3), (3, 2, 2, 3)])
def test_alternation_ends_where_no_factor_gains(dims):
    """Among factors the residual, behind inverted pilots, has no gradient there."""
    problem, _ = trained([dims[0] + 1, *dims[1:]], dims, seed=4)
    problem = Problem(problem.y, [problem.factors[0], *map(np.eye, dims[1:])], problem.noise_var)
    x = solvers.create("bals", tolerance=0.0, max_iterations=500).solve(problem).x
    first = problem.factors[0]
    left = np.stack(
        [
            y - np.tensordot(s, v, 1)
            for y, s, v in zip(problem.y, problem.factors[0], x, strict=True)
        ]
    )
    pulled = np.stack([np.tensordot(s.conj().T, r, 1) for s, r in zip(first, left, strict=True)])
    for mode in range(2, x.ndim):
        # x[n] is a product of vectors; against those of all modes but one nothing is left.
        axes = [i for i in range(x.ndim) if i not in (0, 1, mode)]
        others = np.take(x.conj(), [0], axis=mode)
        assert np.abs((pulled * others).sum(axis=tuple(axes))).max() < 1e-6 * np.abs(x).max() ** 2


def test_enough_training_beats_none():
    """And structure beats its lack: LS, then KRF, then BALS."""
    problem, truth = IrsTraining(snr_db=15, irs_elements=8, reflection_patterns=10).draw(
        range(20), 1
    )
    medians = [
        np.median(np.sum(np.abs(solvers.create(name).solve(problem).x - truth.x) ** 2, (1, 2, 3)))
        for name in ("ls", "krf", "bals")
    ]
    assert medians[0] > 1.5 * medians[1] > 2.0 * medians[2]
