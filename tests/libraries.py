"""Arrays of other libraries, and solvers that work in them although numpy's go in and come out.

What holds for numpy's arrays holds for those of any library. `array_api_strict` has nothing but the
standard, and keeps arrays on a device that no other array may be mixed with. PyTorch and CuPy take
its place in the contract where KRONSBL_TEST_LIBRARY names them, PyTorch on the device that
KRONSBL_TEST_DEVICE names: `python -m benchmarks.device --check`.
"""

import dataclasses
import importlib
import os
from functools import cache

import numpy as np
import pytest

import solvers
from solvers.arrays import host
from solvers.estimate import IterationState
from tests.problems import REGISTERED

ANY_ARRAY = [name for name in REGISTERED if solvers.create(name).any_array]

NUMPY, OTHER = "numpy", os.environ.get("KRONSBL_TEST_LIBRARY", "strict")

CASES = [(name, NUMPY) for name in REGISTERED] + [(name, OTHER) for name in ANY_ARRAY]
"""Solvers, and the library that they are to work in."""

QUICK = {
    "max_iterations": 4,
    "inner_max_iterations": 6,
    "tolerance": 0.25,
    "inner_tolerance": 0.05,
    "prune": 0.1,
}
"""Calls of `array_api_strict` cost a hundred of numpy's. Rows end one by one, and atoms go."""


def strict(array):
    xp = importlib.import_module("array_api_strict")
    return xp.asarray(np.array(array, order="C"), device=xp.Device("device1"))


def torch(array):
    device = os.environ.get("KRONSBL_TEST_DEVICE", "cpu")
    return pytest.importorskip("torch").asarray(np.array(array, order="C"), device=device)


def cupy(array):
    return pytest.importorskip("cupy").asarray(np.array(array, order="C"))


LIBRARIES = {"strict": strict, "torch": torch, "cupy": cupy}


def quick(name, **options):
    """A solver that ends after a few iterations, unless it is told otherwise."""
    known = {f.name for f in dataclasses.fields(solvers.create(name))}
    return solvers.create(name, **{k: v for k, v in QUICK.items() if k in known} | options)


def create(name, library, **options):
    """A solver, which works in that library."""
    if library == NUMPY:
        return solvers.create(name, **options)
    solver = quick(name, **options)
    return _again(library, type(solver), _values(solver))


def _values(solver):
    return {f.name: getattr(solver, f.name) for f in dataclasses.fields(solver)}


def _again(library, kind, values):
    return _working_in(library, kind)(**values)


def rounding(library):
    """The share by which what is to be equal may differ: GPUs sum in an order of their own."""
    return 0.0 if library in (NUMPY, "strict") else 1e-10


@cache
def _working_in(library, kind):
    """A class of solvers that bring problems there, and estimates and what a watch sees back."""
    move, seen = LIBRARIES[library], ("x", "noise_var", "cost", "change")

    class There(kind):
        def __reduce__(self):
            return _again, (library, kind, _values(self))

        def solve(self, problem, *, initial=None, watch=None):
            def tell(iteration, rows, state):
                parts = {name: host(getattr(state, name)) for name in seen}
                watch(iteration, host(rows), IterationState(**parts))

            there = problem.moved(move)
            told = None if watch is None else tell
            estimate = super().solve(there, initial=initial, watch=told)
            for one, other in zip(_arrays(there), _arrays(problem), strict=True):
                np.testing.assert_array_equal(host(one), other)  # inputs are not modified
            assert type(estimate.status) is type(there.y)
            return estimate.moved(host)

    return There


def _arrays(problem):
    found = [problem.y, *problem.factors, problem.noise_var, problem.true_variance]
    return [array for array in found if array is not None]
