"""Sparse Bayesian learning for Kronecker-structured dictionaries: arrays in, arrays out.

>>> import numpy as np
>>> import solvers
>>> rng = np.random.default_rng(1)
>>> factors = [rng.standard_normal((m, 15)) for m in (8, 12, 15)]
>>> x = np.zeros((1, 15, 15, 15))
>>> x[0, 2:4, 5:7, 1:3] = 1.0
>>> y = np.einsum("ai,bj,ck,nijk->nabc", *factors, x) + 0.01 * rng.standard_normal((1, 8, 12, 15))
>>> problem = solvers.Problem(y, factors, noise_var=[1e-4])
>>> estimate = solvers.create("svd_krosbl").solve(problem)
>>> bool(np.abs(estimate.x - x).max() < 0.01)
True
"""

from solvers.core import Solver, Start
from solvers.em import EMSolver
from solvers.estimate import Estimate, IterationState, Watch
from solvers.options import option
from solvers.posterior import MStep
from solvers.problem import ErrorForm, Problem
from solvers.registry import create, names
from solvers.status import Status
from solvers.trace import Trace, cost

__all__ = [
    "EMSolver",
    "ErrorForm",
    "Estimate",
    "IterationState",
    "MStep",
    "Problem",
    "Solver",
    "Start",
    "Status",
    "Trace",
    "Watch",
    "cost",
    "create",
    "names",
    "option",
]
