"""The same problem said otherwise has the same estimate: docs/numbers.md has the table.

The rows of a few batches, which are solved once per solver, serve all relations.
"""

import dataclasses
from functools import cache

import numpy as np
import pytest

import solvers
from solvers import Problem, Status
from tests import libraries
from tests.libraries import CASES, NUMPY, rounding
from tests.problems import REGISTERED, sparse_problem, stacked

ROWS = 8
SHAPE = {"measurements": (4, 5, 4), "dims": (5, 4, 6)}
POWERS = (13, -13, 40, -40, 200, -200)
NORMS = (1e-12, 1e-4, 1e-1, 1.0)

ORDERED = {"pc_sbl", "pc_krosbl"}
"""Neighbours matter to them: atoms may be reversed, but not permuted."""

ONE_FACTOR_AFTER_THE_OTHER = {"ksbl", "pc_krosbl", "pc_sbl", "krf", "bals"}
"""What they find depends on the order of the factors, or the first has a part of its own."""

OPTIONS = {
    "komp": {"stop": "noise"},
    "lasso": {"tolerance": 1e-2},
    "bpdn": {"tolerance": 1e-3},
    "multistage": {"max_iterations": 60},
    "pc_sbl": {"max_iterations": 60},
    "bals": {"max_iterations": 60},
}
"""As published, Kronecker OMP goes on below the noise until sets of atoms span whole factors, where
rounding decides which atom is next. The others are to be quick."""

EXTRA_UP_TO = {"bals": 0.0, "ls": 0.01, "krf": 0.01, "komp": 0.1, "bpdn": 0.1, "uamp_sbl": 0.01}
"""An atom as large as the others competes with them, and Kronecker OMP takes whole slices. UAMP-SBL
has one variance for all messages, in which an atom of another size has its share. Of least squares,
which has more unknowns here than measurements, such an atom takes its part, and leads the bilinear
one elsewhere."""

PATTERNED = {"pc_krosbl", "pc_sbl"}
"""An extra atom is a neighbour, to one atom here and to many once they are flattened."""

RANK_ONE = {"svd_krosbl", "dkrosbl", "domp", "dlasso"}
"""One rank-one approximation is symmetric in the factors, several in a row are not."""

NOISE_PER_MEASUREMENT = {"omp", "komp", "domp", "bpdn", "multistage"}
"""They end where the residual is the noise of so many measurements, or estimate the noise."""

REAL_NOISE = {"lasso", "dlasso"}
"""Their λ is the largest of the noise's correlations, which is larger where these are real."""

NAMES = [name for name in REGISTERED if solvers.create(name).kind != "bound"]
"""Those that have an estimate; tests/test_bounds.py has the others."""

VARIANTS = [
    (name, noise, library)
    for name, library in CASES
    for noise in ("known", "estimate")
    if name in NAMES and (noise == "known" or hasattr(solvers.create(name), "noise"))
]


@pytest.fixture(params=VARIANTS, ids="-".join)
def variant(request):
    return request.param


def create(name, noise, library):
    options = {"noise": noise} if noise == "estimate" else {}
    if library == NUMPY:
        options |= OPTIONS.get(name, {})
    return libraries.create(name, library, **options)


@dataclasses.dataclass(frozen=True)
class Said:
    """One way to say some problems, and the way back from its estimate to theirs."""

    problem: Problem
    back: object = staticmethod(lambda x: x)
    scale: float = 1.0


def parts_of(problem):
    return problem.y, list(problem.factors), problem.noise_var, problem.true_variance


def scaled(problem, s):
    """Y and noise times s."""
    y, factors, noise_var, variance = parts_of(problem)
    return Said(Problem(y * s, factors, noise_var * s**2, variance * s**2), scale=s)


def factor_times(problem, mode, c):
    y, factors, noise_var, variance = parts_of(problem)
    factors[mode] = factors[mode] * c
    return Said(Problem(y, factors, noise_var, variance / abs(c) ** 2), scale=1 / c)


def permuted(problem, orders):
    """Atoms of each factor in another order."""
    y, factors, noise_var, variance = parts_of(problem)
    inverse = [np.argsort(order) for order in orders]
    factors = [a[..., order] for a, order in zip(factors, orders, strict=True)]
    for mode, order in enumerate(orders):
        variance = np.take(variance, order, axis=mode + 1)

    def back(x):
        for mode, order in enumerate(inverse):
            x = np.take(x, order, axis=mode + 1)
        return x

    return Said(Problem(y, factors, noise_var, variance), back)


def rotated(problem, seed):
    """Rows of each factor, and y, rotated by orthogonal or unitary matrices."""
    y, factors, noise_var, variance = parts_of(problem)
    rng = np.random.default_rng(seed)
    for mode, m in enumerate(problem.measurements):
        noise = rng.standard_normal((m, m))
        if np.iscomplexobj(y):
            noise = noise + 1j * rng.standard_normal((m, m))
        q = np.linalg.qr(noise)[0]
        factors[mode] = q @ factors[mode]
        y = np.moveaxis(np.tensordot(y, q, (mode + 1, 1)), -1, mode + 1)
    return Said(Problem(y, factors, noise_var, variance))


def conjugated(problem):
    y, factors, noise_var, variance = parts_of(problem)
    return Said(
        Problem(y.conj(), [a.conj() for a in factors], noise_var, variance), lambda x: x.conj()
    )


@cache
def base(kind):
    return sparse_problem(ROWS, **SHAPE, snr_db=25, seed=71, complex_valued=kind == "complex")[0]


@cache
def said(kind):
    """All that keeps shapes, by name."""
    problem, rng = base(kind), np.random.default_rng(72)
    found = {"base": Said(problem), "again": Said(problem)}
    found |= {f"y 2^{k}": scaled(problem, 2.0**k) for k in POWERS}
    found["y 3"] = scaled(problem, 3.0)
    found |= {f"factor {i}": factor_times(problem, i, [1e6, -0.3, 7e-5][i]) for i in range(3)}
    found["reversed"] = permuted(problem, [np.arange(n)[::-1] for n in problem.dims])
    found["permuted"] = permuted(problem, [rng.permutation(n) for n in problem.dims])
    found["rotated"] = rotated(problem, 73)
    if kind == "complex":
        found["conjugated"] = conjugated(problem)
    if kind == "real":
        return found
    y, factors, noise_var, variance = parts_of(base("real"))
    found["real"] = Said(Problem(y.astype(complex), factors, noise_var, variance))
    found["other real"] = scaled(found["real"].problem, 2.0**13)
    return found


@cache
def solved(name, noise, library, kind):
    """Estimates of what is said, by name, from a single batch."""
    ways = said(kind)
    whole = create(name, noise, library).solve(stacked([way.problem for way in ways.values()]))
    found = {}
    for number, (word, way) in enumerate(ways.items()):
        rows = slice(number * ROWS, (number + 1) * ROWS)
        x = way.back(whole.x[rows]) / way.scale
        found[word] = x, whole.status[rows], whole.iterations[rows]
    return found


def assert_same(found, expected, tolerance=1e-8):
    x, status, iterations = found
    size = np.linalg.norm(expected[0].reshape(len(x), -1), axis=1)
    error = np.linalg.norm((x - expected[0]).reshape(len(x), -1), axis=1)
    assert (error <= tolerance * size).all(), error / size
    same = (status == expected[1]) & (iterations == expected[2])
    assert same.mean() >= 0.99, (iterations, expected[2], status, expected[1])


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_units_do_not_matter(variant, kind):
    found = solved(*variant, kind)
    for k in POWERS:
        assert_same(found[f"y 2^{k}"], found["base"], rounding(variant[2]))
    for word in (*(f"y 2^{k}" for k in POWERS), "y 3", "factor 0", "factor 1", "factor 2"):
        assert_same(found[word], found["base"])


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_a_realization_repeated_has_the_same_bits(variant, kind):
    found = solved(*variant, kind)
    assert_same(found["again"], found["base"], rounding(variant[2]))


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_the_order_of_atoms_does_not_matter(variant, kind):
    found = solved(*variant, kind)
    assert_same(found["reversed"], found["base"])
    if variant[0] not in ORDERED:
        assert_same(found["permuted"], found["base"])


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_rows_may_be_rotated(variant, kind):
    found = solved(*variant, kind)
    assert_same(found["rotated"], found["base"])


def test_conjugates(variant):
    found = solved(*variant, "complex")
    assert_same(found["conjugated"], found["base"])


def test_real_data_given_as_complex(variant):
    if variant[0] in REAL_NOISE:
        pytest.skip("λ follows whether noise is real or circular complex")
    found = solved(*variant, "complex")
    assert_same(found["real"], solved(*variant, "real")["base"])
    assert_same(found["other real"], found["real"], rounding(variant[2]))


@cache
def solved_otherwise(name, noise, library, word):
    """Estimates of what changes shapes."""
    problem = base("real")
    y, factors, noise_var, variance = parts_of(problem)
    if word == "dead rows":
        y = np.pad(y, [(0, 0), *[(0, 1)] * 3])
        factors = [np.pad(a, [(0, 0), (0, 1), (0, 0)]) for a in factors]
    elif word == "idle atoms":
        for mode, at in enumerate((2, 0, 6)):
            factors[mode] = np.insert(factors[mode], at, 0.0, axis=2)
            variance = np.insert(variance, at, 1.0, axis=mode + 1)  # of which data say nothing
    elif word == "factors permuted":
        y, variance = (np.moveaxis(a, (1, 2, 3), (3, 1, 2)) for a in (y, variance))
        factors = [factors[1], factors[2], factors[0]]
    estimate = create(name, noise, library).solve(Problem(y, factors, noise_var, variance))
    x = estimate.x
    if word == "idle atoms":
        for mode, at in enumerate((2, 0, 6)):
            assert not np.take(x, at, axis=mode + 1).any()
            x = np.delete(x, at, axis=mode + 1)
    elif word == "factors permuted":
        x = np.moveaxis(x, (3, 1, 2), (1, 2, 3))
    return x, estimate.status, estimate.iterations


def test_dead_rows(variant):
    if variant[0] in NOISE_PER_MEASUREMENT or variant[1] == "estimate":
        pytest.skip("a measurement more is more noise to be explained")
    found = solved_otherwise(*variant, "dead rows")
    assert_same(found, solved(*variant, "real")["base"])


def test_idle_atoms(variant):
    found = solved_otherwise(*variant, "idle atoms")
    assert_same(found, solved(*variant, "real")["base"], 1e-12)


def test_the_order_of_factors(variant):
    name = variant[0]
    if name in ONE_FACTOR_AFTER_THE_OTHER:
        pytest.skip("what it finds depends on the order of the factors")
    if name in RANK_ONE:
        problem, _ = sparse_problem(ROWS, (5, 6), (6, 7), seed=74)
        y, factors, noise_var, _ = parts_of(problem)
        swapped = Problem(y.swapaxes(1, 2), factors[::-1], noise_var)
        one, other = (create(*variant).solve(p) for p in (problem, swapped))
        found = other.x.swapaxes(1, 2), other.status, other.iterations
        assert_same(found, (one.x, one.status, one.iterations))
        return
    found = solved_otherwise(*variant, "factors permuted")
    if name == "am_krosbl":  # to its inner tolerance
        x, expected = found[0], solved(*variant, "real")["base"][0]
        assert np.linalg.norm(x - expected) <= 1e-3 * np.linalg.norm(expected)
        return
    assert_same(found, solved(*variant, "real")["base"])


@cache
def with_extra_atoms(mode):
    """Problems with a further atom, of each of several norms, and how many there are of each."""
    rows = 40
    problem, x = sparse_problem(rows, (8, 8, 8), (8, 8, 8), snr_db=25, seed=75, unit_gains=True)
    rng = np.random.default_rng(76)
    found = []
    for norm in NORMS:
        y, factors, noise_var, variance = parts_of(problem)
        atom = rng.standard_normal((rows, problem.measurements[mode], 1))
        size = np.sqrt((factors[mode] ** 2).sum(axis=1).mean(axis=1))[:, None, None]
        atom *= norm * size / np.linalg.norm(atom, axis=1, keepdims=True)
        factors[mode] = np.concatenate([factors[mode], atom], axis=2)
        pad = [(0, 0)] * 4
        pad[mode + 1] = (0, 1)
        found.append(Problem(y, factors, noise_var, np.pad(variance, pad)))
    return problem, x, stacked(found)


def median_db(estimates, x):
    error = np.linalg.norm((estimates - x).reshape(len(x), -1), axis=1)
    size = np.linalg.norm(x.reshape(len(x), -1), axis=1)
    return np.median(20 * np.log10(error / size))


@pytest.mark.parametrize("mode", [0, 2])
def test_an_extra_atom(mode):
    """Errors are those of the other atoms: an atom of norm 1e-6 has an x of 1e6 in any noise."""
    for name in sorted(set(NAMES) - PATTERNED):
        problem, x, more = with_extra_atoms(mode)
        solver = create(name, "known", NUMPY)
        without = median_db(solver.solve(problem).x, x)
        estimate = np.delete(solver.solve(more).x, -1, axis=mode + 1)
        for norm, part in zip(NORMS, np.split(estimate, len(NORMS)), strict=True):
            if norm <= EXTRA_UP_TO.get(name, 1.0):
                assert abs(median_db(part, x) - without) < 1.0, (name, norm)


def test_the_published_way_keeps_to_none_of_this():
    problem = base("real")
    small = scaled(problem, 2.0**-40).problem
    solver = solvers.create("svd_krosbl", preset="published")
    one, other = (solver.solve(p) for p in (problem, small))
    assert np.abs(other.x * 2.0**40 - one.x).max() > 1e-2 * np.abs(one.x).max()


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v[1] == "known"], ids="-".join)
@pytest.mark.parametrize("exponent", [-100, 100])
def test_numbers_far_from_one(variant, exponent):
    problem = base("real")
    y, factors, noise_var, variance = parts_of(problem)
    far = 10.0**exponent
    lifted = Problem(y * far, factors, noise_var * far**2, variance * far**2)
    estimate, expected = (create(*variant).solve(p) for p in (lifted, problem))
    assert np.isin(estimate.status, Status.values("finished")).all()
    np.testing.assert_allclose(estimate.x / far, expected.x, rtol=1e-6, atol=1e-9)
