"""Oracles: estimators that are told a part of the truth, which the others have to find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from solvers.core import Solver
from solvers.estimate import Estimate
from solvers.flat_model import FlatModel
from solvers.kron import kron_apply
from solvers.problem import Array, Problem


@dataclass(frozen=True)
class OracleLS(Solver):
    """Least squares on the true support (where `true_variance` is positive).

    Eq. `eq:oracle-ls` of docs/numbers.md.

    Notes
    -----
    Source: the oracle of He and Joseph, arXiv 2307.14719; ``OLS.m`` of the authors' code. Of
    least-squares solutions that are not unique, the one of least norm is taken. On a Kronecker
    support the pseudo-inverse is a Kronecker product as well. Any other support S costs a dense
    ΠM × |S| matrix, one realization at a time.
    """

    kind = "oracle"
    source: ClassVar[str] = "least squares on the true support"
    family: ClassVar[str] = "oracles"
    requires = ("true_variance",)

    def _solve(self, problem: Problem, **_: Any) -> Estimate:
        assert problem.true_variance is not None
        x = np.zeros((problem.batch, *problem.dims), problem.y.dtype)
        for row, support in enumerate(problem.true_variance > 0):
            factors = [a if a.ndim == 2 else a[row] for a in problem.factors]
            least_squares_on(factors, problem.y[row], support, x[row])
        return Estimate(x, iterations=np.ones(problem.batch, int))


def least_squares_on(factors: list[Array], y: Array, support: Array, out: Array) -> None:
    """Write the least-norm least-squares solution with the given support (N_1, …, N_I) to `out`."""
    if not support.any():
        return
    axes = range(support.ndim)
    marginal = [support.any(axis=tuple(j for j in axes if j != i)) for i in axes]
    chosen = [a[:, m] for a, m in zip(factors, marginal, strict=True)]
    block = np.ix_(*marginal)
    if support[block].all():  # a Kronecker product of supports
        out[block] = kron_apply([np.linalg.pinv(a) for a in chosen], y[None])[0]
        return
    where = np.nonzero(support)
    atoms = np.ones((1, len(where[0])), y.dtype)
    for factor, positions in zip(factors, where, strict=True):
        atoms = (atoms[:, None, :] * factor[None, :, positions]).reshape(-1, len(positions))
    out[where] = np.linalg.lstsq(atoms, y.reshape(-1), rcond=None)[0]


@dataclass(frozen=True)
class OracleLMMSE(Solver):
    """Posterior mean under the true prior variances and noise variance.

    The best that any linear estimator can do on average; with Gaussian gains the best of all.
    Eq. `eq:posterior` of docs/numbers.md.

    Notes
    -----
    Source: the posterior that SBL would have if it knew γ, e.g. Tipping, JMLR 1, 2001.
    """

    kind = "oracle"
    source: ClassVar[str] = "posterior mean under the true prior"
    family: ClassVar[str] = "oracles"
    requires = ("noise_var", "true_variance")

    def _solve(self, problem: Problem, **_: Any) -> Estimate:
        assert problem.true_variance is not None
        assert problem.noise_var is not None
        model = FlatModel(problem)
        gamma = model.gamma_factors(problem.true_variance)
        posterior = model.posterior(gamma, problem.noise_var)
        return Estimate(
            x=model.expand(posterior.mean),
            iterations=np.ones(problem.batch, int),
            variance=model.expand(posterior.variance),
            gamma=problem.true_variance,
        )
