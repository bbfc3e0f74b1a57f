"""The compiled kernels against LAPACK and against what they are defined to be."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import MStep, kernels
from solvers.kron import outer
from solvers.kron_model import KronModel
from solvers.kron_sbl import KSBL
from solvers.operations import alternate, eigh, leading_vectors
from solvers.operations.compiled import join, split
from tests.problems import normal, sparse_problem

KERNELS = Path(kernels.__file__).parent


def hermitian(rng, batch, n, complex_valued):
    """Matrices of all kinds: graded, of low rank, in blocks, diagonal, zero, huge and tiny."""
    columns = normal(rng, (batch, n, n + 2), complex_valued)
    columns *= 10.0 ** -rng.integers(0, 7, (batch, 1, n + 2))
    columns[:3, :, 1:] = 0  # rank one
    columns[3:6, n // 2 :] = 0  # zeros at the end
    columns[6:9, : n // 2] = 0
    matrices = columns @ columns.conj().swapaxes(1, 2)
    half = n // 2
    matrices[9:12, :half, half:] = matrices[9:12, half:, :half] = 0  # two blocks
    matrices[12, :half, half : 2 * half] = matrices[12, half : 2 * half, :half] = 0
    matrices[12, half : 2 * half, half : 2 * half] = matrices[12, :half, :half]  # all twice
    matrices[13], matrices[14], matrices[15] = 0, np.eye(n), np.diag(np.arange(n))
    matrices[16] *= 1e-290
    matrices[17] *= 1e290
    matrices[18] = 1  # one eigenvalue n, the others 0
    return matrices


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 12, 15, 16, 24])
def test_eigenvectors_rebuild_the_matrix(n, complex_valued):
    matrices = hermitian(np.random.default_rng(n), 40, n, complex_valued)
    values, vectors = eigh(matrices)
    size = np.abs(matrices).max(axis=(1, 2))
    size[size == 0] = 1
    rebuilt = vectors * values[:, None, :] @ vectors.conj().swapaxes(1, 2)
    assert (np.abs(rebuilt - matrices).max(axis=(1, 2)) <= 1e-14 * n * size).all()
    gram = vectors.conj().swapaxes(1, 2) @ vectors
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(n), gram.shape), atol=1e-14 * n)
    expected = np.linalg.eigvalsh(matrices)
    assert (np.abs(np.sort(values) - expected).max(axis=1) <= 1e-14 * n * size).all()


@settings(max_examples=200)
@given(st.integers(2, 8), st.booleans(), st.integers(0, 2**32 - 1))
def test_eigenvectors_where_much_is_exactly_zero(n, complex_valued, seed):
    """Few values and many zeros: repeated eigenvalues, and blocks that part in the middle."""
    rng = np.random.default_rng(seed)
    matrices = rng.integers(-2, 3, (20, n, n)) * (rng.random((20, n, n)) < 0.4) * 1.0
    if complex_valued:
        matrices = matrices + 1j * rng.integers(-1, 2, (20, n, n))
    matrices = matrices + matrices.conj().swapaxes(1, 2)
    values, vectors = eigh(matrices)
    rebuilt = vectors * values[:, None, :] @ vectors.conj().swapaxes(1, 2)
    np.testing.assert_allclose(rebuilt, matrices, atol=1e-13)


@pytest.mark.parametrize("complex_valued", [False, True])
def test_a_matrix_does_not_know_its_neighbours(complex_valued):
    matrices = hermitian(np.random.default_rng(1), 70, 9, complex_valued)
    values, vectors = eigh(matrices)
    for rows in (slice(0, 16), slice(16, 40), slice(69, 30, -1)):
        again, vectors_again = eigh(matrices[rows])
        np.testing.assert_array_equal(again, values[rows])
        np.testing.assert_array_equal(vectors_again, vectors[rows])


@pytest.mark.parametrize("batch", [2, 40])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("complex_valued", [False, True])
def test_a_matrix_that_is_not_finite_fails_alone(complex_valued, bad, batch):
    rng = np.random.default_rng(2)
    columns = normal(rng, (batch, 5, 5), complex_valued)
    matrices = columns @ columns.conj().swapaxes(1, 2)
    matrices[1, 3, 2] = matrices[1, 2, 3] = bad
    values, _ = eigh(matrices)
    assert np.isnan(values[1]).any()
    assert np.isfinite(values[0]).all()
    assert np.isfinite(values[2:]).all()


@pytest.mark.parametrize("closeness", [0.0, 0.5, 0.99, 1 - 1e-9])
def test_leading_vectors(closeness):
    """Also where the two leading eigenvalues all but coincide, and of a matrix of zeros."""
    rng = np.random.default_rng(3)
    first = np.concatenate([rng.random((20, 4)), np.zeros((20, 4))], axis=1)
    second = np.roll(first, 4, axis=1)
    first, second = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (first, second))
    products = [v[:, :, None] * v[:, None, :] for v in (first, second)]
    matrices = products[0] + closeness * products[1]
    matrices[7] = 0
    found = leading_vectors(matrices)
    first[7] = 0
    np.testing.assert_allclose(found, first, atol=1e-7 if closeness > 0.999 else 1e-13)


def by_definition(moment, gamma, sweeps):
    """Alternating minimisation as it is defined, for one realization."""
    used = [g > 0 for g in gamma]
    gamma = [g.copy() for g in gamma]
    for _ in range(sweeps):
        for mode in range(len(gamma)):
            others = [1 / np.where(u, g, np.inf) for u, g in zip(used, gamma, strict=True)]
            others[mode] = np.ones(len(gamma[mode]))
            axes = tuple(i for i in range(len(gamma)) if i != mode)
            count = np.prod([used[i].sum() for i in axes])
            weighted = moment * outer([o[None] for o in others])[0]
            gamma[mode] = weighted.sum(axis=axes) / count
    return gamma


@st.composite
def factors_of_gamma(draw):
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    gamma = []
    for n in sizes:
        g = rng.uniform(0.1, 1, (3, n)) * (rng.random((3, n)) < 0.7)
        g[np.arange(3), rng.integers(0, n, 3)] = 0.5  # at least one in use
        gamma.append(g)
    return tuple(gamma), rng


@settings(max_examples=150)
@given(factors_of_gamma(), st.integers(1, 4))
def test_sweeps_are_what_they_are_defined_to_be(case, sweeps):
    gamma, rng = case
    moment = rng.exponential(size=outer(gamma).shape) * (outer(gamma) > 0)
    found, done_sweeps, _ = alternate(moment, gamma, max_iterations=sweeps)
    assert (done_sweeps <= sweeps).all()
    for row in range(3):
        done = done_sweeps[row]
        expected = by_definition(moment[row], [g[row] for g in gamma], done)
        np.testing.assert_allclose(
            outer([g[row, None] for g in found])[0],
            outer([g[None] for g in expected])[0],
            rtol=1e-11,
        )


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(
    ("measurements", "dims"),
    [((3, 4, 2), (5, 4, 3)), ((6, 6, 6), (3, 4, 5)), ((7,), (9,)), ((2, 2, 2, 2), (3, 1, 2, 4))],
)
def test_a_sweep_without_the_variances_is_one_with_them(measurements, dims, complex_valued):
    """In models where no mode, some modes and all modes work on the side of the atoms."""
    problem, _ = sparse_problem(4, measurements, dims, seed=5, complex_valued=complex_valued)
    rng = np.random.default_rng(6)
    for zeros in (0.0, 0.5):
        gamma = tuple(rng.uniform(0.1, 1, (4, n)) * (rng.random((4, n)) >= zeros) for n in dims)
        for g in gamma:
            g[:, 0] = 0.3
        model, compacted = KronModel(problem).compact(gamma)
        posterior = model.posterior(compacted, problem.noise_var)
        expected, _, _ = alternate(posterior.moment, compacted)
        np.testing.assert_allclose(outer(posterior.sweep()), outer(expected), rtol=1e-9, atol=1e-12)


def test_joined_and_split():
    vectors = tuple(np.random.default_rng(7).random((2, n)) for n in (3, 1, 4))
    for before, after in zip(vectors, split(join(vectors), vectors), strict=True):
        np.testing.assert_array_equal(before, after)
        assert after.flags.c_contiguous


def test_kernels_are_loaded_by_those_who_solve_only():
    code = (
        "import sys, solvers, pipeline; solvers.create('am_krosbl'); print('numba' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def python(code, folder, cache):
    """What Python prints that finds the solvers in a folder and keeps compiled code in another."""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.split()


def test_code_is_compiled_anew_when_a_source_changes(tmp_path):
    """Numba itself would not notice a change in another file than that of the function called."""
    package = tmp_path / "solvers"
    shutil.copytree(KERNELS.parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    code = """
import numpy as np
from solvers.kernels import factors
print(factors.row_distances2(np.ones((1, 2)), np.zeros((1, 2)), np.array([2])), factors.__file__)
"""

    def run():
        printed = python(code, tmp_path, tmp_path / "cache")
        assert printed == ["[2.]", str(package / "kernels" / "factors.py")]
        return {p.name for p in (tmp_path / "cache").iterdir()}

    first = run()
    assert first == run()
    with (package / "kernels" / "eigen.py").open("a") as file:
        file.write("# changed\n")
    assert len(run()) == 2


def test_what_is_kept_is_known_for_each_installation(tmp_path):
    def caching(place, call):
        code = f"from solvers.kernels import caching; print(caching.{call}())"
        return python(code, tmp_path / place, tmp_path / "cache")

    for place in ("here", "there"):
        shutil.copytree(KERNELS.parent, tmp_path / place / "solvers")
    assert caching("here", "is_complete") == ["False"]
    caching("here", "mark_complete")
    assert caching("here", "is_complete") == ["True"]
    assert caching("there", "is_complete") == ["False"]


@dataclass(frozen=True)
class Careless(KSBL):
    """An M-step of somebody else's, whose γ is not laid out as kernels want it."""

    def maximize(self, posterior):
        gamma = super().maximize(posterior).gamma
        return MStep(tuple(np.asfortranarray(g.astype(np.float32)) for g in gamma))


def test_gamma_of_other_types_and_orders_will_do():
    problem, _ = sparse_problem(4, seed=8)
    careless, usual = (s(max_iterations=5).solve(problem) for s in (Careless, KSBL))
    np.testing.assert_allclose(careless.x, usual.x, atol=1e-4 * np.abs(usual.x).max())


@pytest.mark.slow
def test_the_first_process_computes_the_bits_of_those_that_follow(tmp_path):
    """The one that compiles must not differ from those that load what was compiled."""
    code = """
import hashlib
import numpy as np
import solvers
rng = np.random.default_rng(1)
factors = [rng.standard_normal((4, 6)) + 1j * rng.standard_normal((4, 6)) for _ in range(3)]
y = rng.standard_normal((20, 4, 4, 4)) + 1j * rng.standard_normal((20, 4, 4, 4))
problem = solvers.Problem(y, factors, np.full(20, 0.1))
for name in ("am_krosbl", "svd_krosbl", "pc_krosbl"):
    options = {"beta": 0.5} if name == "pc_krosbl" else {}
    x = solvers.create(name, max_iterations=20, **options).solve(problem).x
    print(hashlib.sha256(x.tobytes()).hexdigest())
"""
    first = python(code, KERNELS.parents[1], tmp_path)
    assert len(first) == 3
    assert python(code, KERNELS.parents[1], tmp_path) == first
