"""Oracles: estimators that are told what the others must find, the floor of every figure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from solvers.core import Array, Estimate, Gamma, Problem, Solver, Status, Watch
from solvers.flat_model import FlatModel
from solvers.kron import kron_apply


def direct_estimate(problem: Problem, x: Array, iterations: Array | int = 1) -> Estimate:
    """An `Estimate` of a solver without hyperparameters or inner loop."""
    batch = problem.batch
    finite = np.isfinite(x).reshape(batch, -1).all(axis=1)
    return Estimate(
        x=x,
        status=np.where(finite, Status.CONVERGED, Status.DIVERGED),
        iterations=np.broadcast_to(iterations, (batch,)).astype(int),
        inner_iterations=np.zeros(batch, int),
        inner_capped=np.zeros(batch, bool),
        noise_var=problem.noise_var,
    )


@dataclass(frozen=True)
class OracleLS(Solver):
    """Least squares on the true support (where `true_variance` is positive).

    Eq. (33) of docs/numbers.md.

    Notes
    -----
    Source: the oracle of He and Joseph, arXiv 2307.14719; ``OLS.m`` of the authors' code. Of
    least-squares solutions that are not unique, the one of least norm is taken. On a Kronecker
    support the pseudo-inverse is a Kronecker product as well. Any other support S costs a dense
    ΠM × |S| matrix, one realization at a time.
    """

    source: ClassVar[str] = "least squares on the true support"

    @property
    def requires(self) -> tuple[str, ...]:
        """The truth."""
        return ("true_variance",)

    def solve(
        self,
        problem: Problem,
        *,
        initial: tuple[Gamma, ArrayLike | None] | None = None,
        watch: Watch | None = None,
    ) -> Estimate:
        """Solve each realization on its own support; see `Solver.solve`."""
        self.check(problem)
        assert problem.true_variance is not None
        x = np.zeros((problem.batch, *problem.dims), problem.y.dtype)
        for row, support in enumerate(problem.true_variance > 0):
            factors = [a if a.ndim == 2 else a[row] for a in problem.factors]
            least_squares_on(factors, problem.y[row], support, x[row])
        return direct_estimate(problem, x)


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
    Eq. (3) of docs/numbers.md.

    Notes
    -----
    Source: the posterior that SBL would have if it knew γ, e.g. Tipping, JMLR 1, 2001.
    """

    source: ClassVar[str] = "posterior mean under the true prior"

    @property
    def requires(self) -> tuple[str, ...]:
        """The truth, and how noisy the measurements are."""
        return ("noise_var", "true_variance")

    def solve(
        self,
        problem: Problem,
        *,
        initial: tuple[Gamma, ArrayLike | None] | None = None,
        watch: Watch | None = None,
    ) -> Estimate:
        """One E-step; see `Solver.solve`."""
        self.check(problem)
        assert problem.true_variance is not None
        assert problem.noise_var is not None
        model = FlatModel(problem)
        gamma = model.gamma_factors(problem.true_variance)
        posterior = model.posterior(gamma, problem.noise_var)
        return dataclasses.replace(
            direct_estimate(problem, model.expand(posterior.mean)),
            variance=model.expand(posterior.variance),
            gamma=problem.true_variance,
        )
