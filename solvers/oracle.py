"""Oracles: estimators that are told a part of the truth, which the others have to find."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, ClassVar

from solvers import arrays
from solvers.arrays import Array, namespace, take
from solvers.core import Solver
from solvers.estimate import Estimate
from solvers.flat_model import FlatModel
from solvers.kron import kron_apply, outer
from solvers.problem import Problem

CUTOFF = 1e-15
"""Share of the largest singular value up to which others count as 0."""


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
    any_array: ClassVar[bool] = True
    requires = ("true_variance",)

    def _solve(self, problem: Problem, **_: Any) -> Estimate:
        assert problem.true_variance is not None
        support = problem.true_variance > 0
        xp, axes = namespace(support), range(1, support.ndim)
        others = [tuple(j for j in axes if j != i) for i in axes]
        marginals = [xp.any(support, axis=o) if o else support for o in others]
        marginals = [xp.astype(m, xp.float64) for m in marginals]
        is_product = xp.all(arrays.flat((outer(marginals) > 0) == support), axis=1)
        x = arrays.zeros(problem.y, support.shape, problem.y.dtype)
        if bool(xp.any(is_product)):
            rows = arrays.where_true(is_product)
            x[is_product] = _on_products(problem.take(rows), [take(m, rows) for m in marginals])
        others_rows = arrays.where_true(~is_product)
        for i in range(others_rows.shape[0]):
            row = others_rows[i : i + 1]
            x[arrays.arange(x, problem.batch) == row] = _on_any(
                problem.take(row), take(support, row)
            )
        return Estimate(x, iterations=arrays.arange(x, problem.batch) * 0 + 1)


def _on_products(problem: Problem, marginals: list[Array]) -> Array:
    """Least-norm least-squares solutions where the support is a Kronecker product of supports."""
    xp, places, inverses = namespace(problem.y), [], []
    for factor, used in zip(problem.factors, marginals, strict=True):
        most = max(int(xp.max(xp.count_nonzero(used, axis=1))), 1)
        place = xp.argsort(-used, axis=1, stable=True)[:, :most]
        chosen = arrays.columns(factor, place) * arrays.gather(used, place, 1)[:, None, :]
        inverses.append(xp.linalg.pinv(chosen, rtol=CUTOFF))
        places.append(place)
    x = kron_apply(inverses, problem.y)
    for axis, (place, n) in enumerate(zip(places, problem.dims, strict=True), start=1):
        x = arrays.scatter(x, place, n, axis)
    return x


def _on_any(problem: Problem, support: Array) -> Array:
    """The least-norm least-squares solution of one realization, whatever its support."""
    xp, (_, *places) = namespace(problem.y), namespace(problem.y).nonzero(support)
    atoms = arrays.full(problem.y, (1, places[0].shape[0]), 1.0)
    for factor, place in zip(problem.factors, places, strict=True):
        own = arrays.columns(factor, place[None, :])[0, ...]
        atoms = arrays.reshape(atoms[:, None, :] * own[None, :, :], -1, place.shape[0])
    inverse = xp.linalg.pinv(atoms, rtol=max(atoms.shape) * sys.float_info.epsilon)
    x = arrays.zeros(problem.y, support.shape, problem.y.dtype)
    x[support] = xp.matmul(inverse, arrays.reshape(problem.y, -1, 1))[:, 0]
    return x


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
    any_array: ClassVar[bool] = True
    requires = ("noise_var", "true_variance")

    def _solve(self, problem: Problem, **_: Any) -> Estimate:
        assert problem.true_variance is not None
        assert problem.noise_var is not None
        model = FlatModel(problem)
        gamma = model.gamma_factors(problem.true_variance)
        posterior = model.posterior(gamma, problem.noise_var)
        return Estimate(
            x=model.expand(posterior.mean),
            iterations=arrays.arange(problem.y, problem.batch) * 0 + 1,
            variance=model.expand(posterior.variance),
            gamma=problem.true_variance,
        )
