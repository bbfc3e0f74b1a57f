"""The solvers are the paper's: they meet what its authors' own code makes of the same inputs.

tests/golden/authors.npz holds one problem of each study, drawn for this purpose, and the outputs of
the published MATLAB code of arXiv 2307.14719 (version of 2024-06-13) under GNU Octave, with one
correction: matrices were made symmetric before they were handed to `eig`, without which KSBL, and
AM on coinciding eigenvalues, come out wrong.
"""

from pathlib import Path

import numpy as np
import pytest

import solvers
from pipeline.scenarios.irs_mimo import IrsMimo
from solvers import Problem
from solvers.kron import kron_apply, outer

GOLDEN = Path(__file__).parent / "golden" / "authors.npz"

SYNTHETIC = {
    "am": ("am_krosbl", {}),
    "svd": ("svd_krosbl", {}),
    "ksbl": ("ksbl", {}),
    "komp": ("komp", {}),
    "ols": ("oracle_ls", {}),
    "am_un": ("am_krosbl", {"noise": "estimate", "prune": 5e-3}),
    "svd_un": ("svd_krosbl", {"noise": "estimate", "prune": 5e-4}),
}
COUPLED = {"coupled": [0, 2], "prune": [1e-2, 1e-1, 1e-2], "prune_absolute": 1e-4}
IRS = {
    "am": (
        "am_krosbl",
        {
            "prune": [1e-2, 1e-1, 1e-3],
            "prune_absolute": 1e-4,
            "inner_tolerance": 1e-4,
            "inner_criterion": "relative",
        },
    ),
    "svd": ("svd_krosbl", {"prune": 0.0, "prune_absolute": 1e-4}),
    "pc_0p8": ("pc_krosbl", {"beta": 0.8, **COUPLED}),
    "pc_0p5": ("pc_krosbl", {"beta": 0.5, **COUPLED}),
    "csbl": ("csbl", {"prune": 1e-4}),
    "pcsbl": ("pc_sbl", {}),
}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def problem_of(golden, study, true_variance=None):
    factors = [golden[f"{study}_A{i}"] for i in (1, 2, 3)]
    return Problem(
        golden[f"{study}_y"][None], factors, [golden[f"{study}_noise_var"]], true_variance
    )


def relative(one, other):
    return np.linalg.norm(one - other) / np.linalg.norm(other)


@pytest.mark.parametrize("case", SYNTHETIC)
def test_synthetic_study(golden, case):
    x = outer([golden[f"synthetic_x{i}"].reshape(1, -1) for i in (1, 2, 3)])
    name, options = SYNTHETIC[case]
    problem = problem_of(golden, "synthetic", (x != 0).astype(float))
    estimate = solvers.create(name, preset="published", **options).solve(problem)
    assert relative(estimate.x[0], golden[f"synthetic_{case}"]) <= 1e-6
    assert relative(estimate.x, x) ** 2 == pytest.approx(golden[f"synthetic_{case}_nmse"], rel=1e-6)
    if "noise" in options:
        found = golden[f"synthetic_{case}_nv"]
        assert estimate.noise_var[0] == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("case", IRS)
def test_irs_study(golden, case):
    name, options = IRS[case]
    problem = problem_of(golden, "irs")
    estimate = solvers.create(name, preset="published", **options).solve(problem)
    # Of pattern q, antennas at the BS by antennas at the UE.
    dictionaries = (problem.factors[0], golden["irs_D_ue"].conj(), problem.factors[2])
    channel = kron_apply(dictionaries, estimate.x)[0].swapaxes(1, 2)
    assert relative(channel, golden[f"irs_{case}_H"]) <= 1e-6
    errors = [relative(h, true) ** 2 for h, true in zip(channel, golden["irs_H"], strict=True)]
    assert np.mean(errors) == pytest.approx(golden[f"irs_{case}_nmse"], rel=1e-6)


def test_irs_dictionaries(golden):
    """What the scenario makes of pilots and patterns is what the authors' code makes of them."""
    scenario = IrsMimo(snr_db=12)
    factors = scenario._factors([golden["irs_patterns"].T], [golden["irs_pilots"].T])
    for i, factor in enumerate(factors, 1):
        np.testing.assert_allclose(factor, golden[f"irs_A{i}"], atol=1e-14)
