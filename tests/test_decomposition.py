"""Solvers that decompose y: against dense textbook versions, and the authors' code."""

import numpy as np
import pytest

import solvers
from solvers import Problem, Status
from solvers.decomposition import decompose
from tests import textbook
from tests.problems import assert_close, normal, reviewers_case, sparse_problem
from tests.textbook import product

SHAPES = [((4, 5, 6), (6, 6, 6)), ((6, 5), (8, 8)), ((8,), (12,)), ((3, 4, 3, 4), (4, 4, 4, 4))]


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("measurements", [measurements for measurements, _ in SHAPES])
def test_decomposition_of_a_product(measurements, complex_valued):
    rng = np.random.default_rng(81)
    parts = [normal(rng, (5, m), complex_valued) for m in measurements]
    y = np.stack([product(row).reshape(measurements) for row in zip(*parts, strict=True)])
    vectors, size, misfit = decompose(y)
    for row in range(5):
        found = size[row] * product([v[row] for v in vectors])
        assert_close(found, y[row], 1e-12)
    assert (misfit < 1e-7).all()
    np.testing.assert_allclose([np.linalg.norm(v, axis=1) for v in vectors], 1.0)


def test_misfit_tells_what_is_no_product():
    rng = np.random.default_rng(82)
    y = normal(rng, (4, 5, 6, 7))
    expected = []
    for row in y:
        _, s, vh = np.linalg.svd(row.reshape(5, -1))
        t = np.linalg.svd((s[0] * vh[0]).reshape(6, 7))[1]
        expected.append(max(s[1] / s[0], t[1] / t[0]))
    np.testing.assert_allclose(decompose(y)[2], expected)
    factors = [np.eye(m) for m in (5, 6, 7)]
    estimate = solvers.create("dkrosbl").solve(Problem(y, factors, np.full(4, 0.01)))
    np.testing.assert_allclose(estimate.diagnostics["misfit"], expected)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(("measurements", "dims"), SHAPES)
@pytest.mark.parametrize("noise", ["known", "spawc", "journal", "numbers"])
def test_dkrosbl(measurements, dims, complex_valued, noise):
    shared = noise in ("known", "journal")
    problem, _ = sparse_problem(
        3, measurements, dims, seed=83, complex_valued=complex_valued, shared=shared
    )
    options = {"noise": "known"} if noise == "known" else {"initial_noise": noise}
    numbers = [0.1 * (i + 1) for i in range(len(dims))]
    if noise == "numbers":
        options = {"initial_noise": numbers}
    estimate = solvers.create("dkrosbl", preset="published", **options).solve(problem)
    for row in range(problem.batch):
        vectors, noise_var = textbook.decomposed(problem.y[row], problem.noise_var[row])
        found = []
        for i, (v, factor) in enumerate(zip(vectors, problem.factors, strict=True)):
            start = {
                "known": None,
                "spawc": 10**-0.33,
                "journal": 0.1 * np.linalg.norm(v) / len(v),
                "numbers": numbers[i],
            }[noise]
            a = factor if shared else factor[row]
            found.append(
                textbook.csbl(
                    [a],
                    v,
                    noise_var[i],
                    prune=1e-4,
                    estimate_noise=noise != "known",
                    first_noise_var=start,
                )
            )
        assert estimate.iterations[row] == max(count for _, count, _ in found)
        assert_close(estimate.x[row], product([x for x, _, _ in found]), 1e-6)
        assert estimate.noise_var[row] == pytest.approx(found[-1][2], rel=1e-5)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(("measurements", "dims"), SHAPES)
@pytest.mark.parametrize("stop", ["noise", "residual"])
def test_domp(measurements, dims, complex_valued, stop):
    problem, _ = sparse_problem(3, measurements, dims, seed=84, complex_valued=complex_valued)
    solver = solvers.create("domp", stop=stop, residual=0.05, scaling="none")
    estimate = solver.solve(problem)
    for row in range(problem.batch):
        vectors, noise_var = textbook.decomposed(problem.y[row], problem.noise_var[row])
        if stop == "residual":
            noise_var = [0.05**2 / len(v) for v in vectors]
        parts = zip(vectors, problem.factors, noise_var, strict=True)
        found = [textbook.omp([factor[row]], v, s) for v, factor, s in parts]
        assert estimate.iterations[row] == max(count for _, count in found)
        assert_close(estimate.x[row], product([x for x, _ in found]), 1e-9)


@pytest.mark.parametrize("complex_valued", [False, True])
def test_dlasso(complex_valued):
    problem, _ = sparse_problem(2, (4, 5), (5, 6), seed=87, complex_valued=complex_valued)
    solver = solvers.create("dlasso", scaling="none", tolerance=1e-9, max_iterations=20000)
    estimate = solver.solve(problem)
    for row in range(problem.batch):
        vectors, noise_var = textbook.decomposed(problem.y[row], problem.noise_var[row])
        found = []
        for v, factor, s in zip(vectors, problem.factors, noise_var, strict=True):
            penalty = 0.3 * textbook.universal([factor[row]], s, complex_valued)
            found.append(textbook.lasso([factor[row]], v, penalty))
        assert_close(estimate.x[row], product(found), 1e-6)


def test_units_of_data_change_no_option():
    """Numbers to start from are for y_i of norm 1, whatever the units of y."""
    problem, _ = sparse_problem(3, seed=85)
    large = Problem(problem.y * 2.0**30, problem.factors, problem.noise_var * 4.0**30)
    for initial in ("journal", 0.01, [0.1, 0.01, 0.2]):
        solver = solvers.create("dkrosbl", noise="estimate", initial_noise=initial)
        one, other = solver.solve(problem), solver.solve(large)
        np.testing.assert_array_equal(one.x * 2.0**30, other.x)
        np.testing.assert_allclose(one.noise_var * 4.0**30, other.noise_var)


def test_posterior_of_a_product():
    """Of independent factors, the product's second moments are the product of theirs."""
    problem, _ = sparse_problem(2, (5, 6), (7, 7), seed=86)
    estimate = solvers.create("dkrosbl").solve(problem)
    assert (estimate.variance >= 0).all()
    off = estimate.variance.reshape(2, -1)[np.abs(estimate.x.reshape(2, -1)) == 0]
    assert (off == 0).all()
    whole = estimate.gamma[0][:, :, None] * estimate.gamma[1][:, None, :]
    assert ((whole > 0) == (estimate.x != 0)).all()


@pytest.mark.parametrize("gains", ["product", "independent"])
def test_products_only(gains):
    """40 dB below the signal where x is a product, and next to nothing where it is not."""
    from pipeline.scenarios import Synthetic

    scenario = Synthetic(snr_db=20, gains=gains)
    problem, truth = scenario.draw(range(30), seed=1)
    found = {
        name: np.median(scenario.score(truth, problem, solvers.create(name).solve(problem))["nmse"])
        for name in ("dkrosbl", "domp", "svd_krosbl")
    }
    if gains == "product":
        assert found["dkrosbl"] < found["svd_krosbl"] / 3
    else:
        assert min(found["dkrosbl"], found["domp"]) > 100 * found["svd_krosbl"]


@pytest.mark.parametrize("case", ["deco_syn_a", "deco_irs_a"])
def test_reference_cases(case):
    problem, reference = reviewers_case(case)
    irs = case == "deco_irs_a"
    published = {"preset": "published", "prune": 1e-3 if irs else 1e-4}
    journal = {"prune": 5e-4, "tolerance": 1e-5, "max_iterations": 200}
    ways = [
        ("ref_dkrosbl_spawc", "dkrosbl", published, 1e-5),
        ("ours_dkrosbl_known", "dkrosbl", published | {"prune": 1e-3, "noise": "known"}, 1e-10),
        ("ref_domp", "domp", {"preset": "published", "residual": 0.1 if irs else 1e-3}, 1e-10),
        ("ours_domp_noise", "domp", {"scaling": "none"}, 1e-10),
    ]
    if not irs:
        options = {"preset": "published", "initial_noise": "journal", **journal}
        ways.append(("ref_dkrosbl_journal", "dkrosbl", options, 1e-5))
    for name, use, options, tolerance in ways:
        estimate = solvers.create(use, **options).solve(problem)
        assert_close(estimate.x, reference[name], tolerance)
        assert estimate.status[0] == Status.CONVERGED
        if f"{name}_iterations" in reference:
            assert estimate.iterations[0] == reference[f"{name}_iterations"].max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial_noise": "paper"}, "initial_noise must be a number or one of"),
        ({"initial_noise": 0.0}, "initial_noise must be greater than 0"),
        ({"noise": "guess"}, "noise must be one of"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        solvers.create("dkrosbl", **options)


def test_numbers_per_factor_must_fit():
    problem, _ = sparse_problem(1, (4, 5), (6, 6))
    with pytest.raises(ValueError, match="initial_noise lists 3 values for a problem of 2"):
        solvers.create("dkrosbl", initial_noise=[0.1, 0.2, 0.3]).solve(problem)
