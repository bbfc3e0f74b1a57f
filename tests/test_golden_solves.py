"""Optimisation changes no results: solves recorded before it are met again.

tests/golden/solves.npz holds two batches of problems and what version 0.1 made of them when its
E-step was written the plain way (commit 1c92b41), which is the published way; and
tests/golden/data_units.npz what version 4 of the solvers made of them in data units, by plain
steps; and tests/golden/defaults.npz what it does unless told otherwise.
"""

from pathlib import Path

import numpy as np
import pytest

import solvers
from solvers import Problem

FOLDER = Path(__file__).parent / "golden"
PLAIN = {"acceleration": "none", "max_iterations": 150, "initial_gamma": 1.0}
EM = ("am_krosbl", "svd_krosbl", "ksbl", "pc_krosbl", "csbl", "pc_sbl")


def recorded(name, noise, kind, file):
    """The arrays of a problem, and what was recorded of its solve."""
    with np.load(FOLDER / "solves.npz") as golden:
        inputs = [golden[f"{kind}_{part}"] for part in ("y", "noise_var")]
        factors = [golden[f"{kind}_factor{i}"] for i in range(3)]
    with np.load(FOLDER / file) as golden:
        found = [golden[f"{kind}_{name}_{noise}_{part}"] for part in ("x", "iterations", "inner")]
    return (*inputs, *factors), found


@pytest.mark.parametrize("name", EM)
@pytest.mark.parametrize("noise", ["known", "estimate"])
@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("copies", [1, 8])  # large batches have eigenvectors from elsewhere
@pytest.mark.parametrize(
    ("file", "options"),
    [("solves.npz", {"preset": "published"}), ("data_units.npz", PLAIN), ("defaults.npz", {})],
)
def test_recorded_solves(name, noise, kind, copies, file, options):
    inputs, (x, iterations, inner) = recorded(name, noise, kind, file)
    y, noise_var, *factors = (np.concatenate([a] * copies) for a in inputs)
    solver = solvers.create(name, noise=noise, **options)
    found = solver.solve(Problem(y, factors, noise_var))
    np.testing.assert_array_equal(found.iterations, np.tile(iterations, copies))
    np.testing.assert_array_equal(found.inner_iterations, np.tile(inner, copies))
    error = np.linalg.norm((found.x - np.concatenate([x] * copies)).reshape(len(y), -1), axis=1)
    size = np.linalg.norm(np.concatenate([x] * copies).reshape(len(y), -1), axis=1)
    assert (error <= 1e-8 * size).all()
