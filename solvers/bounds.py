"""Bounds: how small a mean squared error can be, in closed form and without an estimate.

An error Σ w‖(C_1 ⊗ … ⊗ C_I)(x̂ − x)‖² is bounded factor by factor, from the Gram matrices of A_i and
C_i on the support: O(ΣM_iK_i²) operations for K_i atoms, never a matrix of ΠM rows.
"""

from __future__ import annotations

import math
import operator
import sys
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from solvers import arrays
from solvers.arrays import Array, namespace, take
from solvers.core import Solver
from solvers.estimate import Estimate
from solvers.kron import abs2, outer, total
from solvers.operations import eigh
from solvers.options import option
from solvers.problem import Problem

EPSILON = sys.float_info.epsilon


class Mode(NamedTuple):
    """One factor on the support of each realization, padded with zeros to K atoms.

    Attributes
    ----------
    gram : array, (B, K, K)
        AᴴA.
    error : array, (Q, B, K, K)
        CᴴC of each of the Q terms of the error.
    variance : array, (B, K)
        The true variances are the Kronecker product of these.
    gains : array, (B, K), or None
        The true x is the Kronecker product of these.
    """

    gram: Array
    error: Array
    variance: Array
    gains: Array | None = None


def modes_of(problem: Problem, marginals: list[Array]) -> list[Mode]:
    """The factors of realizations whose true variances are a Kronecker product.

    Parameters
    ----------
    problem
    marginals
        Vectors (B, N_i) whose Kronecker product the true variances are.
    """
    forms, gains, modes = problem.error_forms or (), problem.true_gains, []
    for i, (a, variance) in enumerate(zip(problem.factors, marginals, strict=True)):
        xp, used = namespace(variance), namespace(variance).astype(variance > 0, variance.dtype)
        most = max(int(xp.max(xp.count_nonzero(used, axis=1))), 1)
        index = xp.argsort(-used, axis=1, stable=True)[:, :most]
        used = arrays.gather(used, index, 1)
        mode = Mode(
            _gram(a, index, used),
            xp.stack([_gram(_or_identity(f.factors[i], a), index, used) for f in forms]),
            arrays.gather(variance, index, 1),
            None if gains is None else arrays.gather(gains[i], index, 1) * used,
        )
        modes.append(mode)
    return modes


def flat_mode(problem: Problem) -> Mode:
    """A realization whose true variances are no Kronecker product, as a single factor.

    Entries of the Gram matrix of a Kronecker product are products of entries of Gram matrices.
    """
    assert problem.true_variance is not None
    xp, variance = namespace(problem.y), problem.true_variance[0, ...]
    places, forms = xp.nonzero(variance), problem.error_forms or ()

    def gram(factors: Any) -> Array:
        parts = zip(factors, problem.factors, places, strict=True)
        every = arrays.full(problem.y, (1, 1), 1.0)
        grams = (_gram(_or_identity(c, a), at[None, :], every) for c, a, at in parts)
        return reduce(operator.mul, grams)

    error = xp.stack([gram(form.factors) for form in forms])
    return Mode(gram(problem.factors), error, variance[variance != 0][None, :])


def _or_identity(factor: Array | None, like: Array) -> Array:
    return arrays.eye(like, like.shape[-1]) if factor is None else factor


def _gram(factor: Array, index: Array, used: Array) -> Array:
    """Gram matrices (B, K, K) of columns `index` (B, K), 0 for those that are not `used`."""
    atoms = arrays.columns(factor, index).mT * used[..., None]
    return arrays.conj(atoms) @ atoms.mT


def spectrum(gram: Array, error: Array) -> tuple[Array, Array]:
    """Eigenvalues p (B, K) of Gram matrices V diag(p) Vᴴ, and the diagonals of VᴴEV, (Q, B, K)."""
    p, v = eigh(gram)
    xp = namespace(p)
    d = arrays.real(xp.sum(arrays.conj(v) * xp.matmul(error, v), axis=-2))
    # What rounding leaves of nothing would be divided by nothing.
    p = xp.where(p > p.shape[1] * EPSILON * xp.max(p, axis=1, keepdims=True), p, 0.0)
    return p, xp.where(d > d.shape[-1] * EPSILON * xp.max(d, axis=-1, keepdims=True), d, 0.0)


def inverse_traces(mode: Mode) -> Array:
    """tr(C (AᴴA)⁻¹ Cᴴ), (Q, B); infinite where C sees what A does not."""
    p, d = spectrum(mode.gram, mode.error)
    xp = namespace(d)
    return xp.sum(xp.where(d > 0, d / p, 0.0), axis=-1)


@dataclass(frozen=True)
class Bound(Solver):
    """Base class of the bounds: they have no x̂, and the ``nmse`` that they find is a diagnostic.

    A bound holds for the mean of the error, not in each realization.
    """

    family: ClassVar[str] = "bounds"
    any_array: ClassVar[bool] = True
    kind = "bound"
    requires = ("noise_var", "true_variance", "error_forms")
    diagnostics: ClassVar = MappingProxyType({"nmse": ("1", "bound on the mean squared error")})

    scaling: str = option(
        "none", "none: bounds are the same in all units", choices=("none",), kw_only=True
    )

    def _solve(self, problem: Problem, **_: Any) -> Estimate:
        xp, found = namespace(problem.y), []
        for rows, modes in self._parts(problem):
            assert problem.noise_var is not None
            errors = self._errors(modes, take(problem.noise_var, rows))
            weights = xp.stack([take(form.weight, rows) for form in problem.error_forms or ()])
            nmse = xp.sum(weights * errors, axis=0)
            found.append((rows, Estimate(None, diagnostics={"nmse": nmse})))
        return Estimate.joined(found)

    def _parts(self, problem: Problem) -> Iterator[tuple[Array, list[Mode]]]:
        """Indices of realizations, and their factors."""
        assert problem.true_variance is not None
        sums = _marginals(problem.true_variance)
        xp, true = namespace(problem.y), problem.true_variance
        is_product = xp.all(arrays.flat(xp.abs(outer(sums) - true) <= 1e-10 * true), axis=1)
        rows = arrays.where_true(is_product)
        if rows.shape[0]:
            yield rows, modes_of(problem.take(rows), [take(s, rows) for s in sums])
        others = arrays.where_true(~is_product)
        for i in range(others.shape[0]):
            yield others[i : i + 1], [flat_mode(problem.take(others[i : i + 1]))]

    @abstractmethod
    def _errors(self, modes: list[Mode], noise_var: Array) -> Array:
        """Bounds on E‖C(x̂ − x)‖² for each term of the error, (Q, B)."""


def _marginals(variance: Array) -> list[Array]:
    """Vectors (B, N_i) whose Kronecker product a tensor (B, N_1, …, N_I) is, if it is one."""
    xp, axes = namespace(variance), range(1, variance.ndim)
    others = [tuple(j for j in axes if j != i) for i in axes]
    sums = [xp.sum(variance, axis=o) if o else variance for o in others]
    whole = total(variance)
    share = xp.where(whole > 0, whole, 1.0) ** (1 / len(sums) - 1)
    return [s * share[:, None] for s in sums]


@dataclass(frozen=True)
class CRB(Bound):
    """Cramér–Rao bound of estimators that know the support: the mean error of `OracleLS`.

    Eq. `eq:crb` of docs/numbers.md. It bounds unbiased estimators; SBL is biased towards 0, and may
    be better.

    Notes
    -----
    Source: Kay, Fundamentals of Statistical Signal Processing: Estimation Theory, 1993, ch. 3; for
    sparse x, Ben-Haim and Eldar, IEEE Trans. Signal Processing 58(6), 2010.
    """

    source: ClassVar[str] = "Cramér–Rao bound, true support"

    def _errors(self, modes: list[Mode], noise_var: Array) -> Array:
        return noise_var * math.prod(inverse_traces(mode) for mode in modes)


@dataclass(frozen=True)
class BayesianCRB(Bound):
    """Bayesian Cramér–Rao bound, for independent Gaussian gains of the true variances.

    Eq. `eq:bcrb` of docs/numbers.md. With other gains it is no bound.

    Notes
    -----
    Source: Van Trees, Detection, Estimation, and Modulation Theory I, 1968, sec. 2.4; for SBL,
    Prasad and Murthy, arXiv 1202.1119.
    """

    source: ClassVar[str] = "Bayesian Cramér–Rao bound, true prior variances"

    def _errors(self, modes: list[Mode], noise_var: Array) -> Array:
        xp = namespace(noise_var)
        roots = [xp.sqrt(mode.variance) for mode in modes]
        weights = [root[:, :, None] * root[:, None, :] for root in roots]
        spectra = [
            spectrum(weight * mode.gram, weight * mode.error)
            for weight, mode in zip(weights, modes, strict=True)
        ]
        seen = outer([p for p, _ in spectra])
        noise = arrays.wide(noise_var, seen.ndim)
        unsure = xp.where(noise + seen > 0, noise / (noise + seen), 1.0)
        terms = range(spectra[0][1].shape[0])
        return xp.stack([total(outer([d[q, ...] for _, d in spectra]) * unsure) for q in terms])


@dataclass(frozen=True)
class ProductCRB(Bound):
    """Cramér–Rao bound of estimators that know the support and that x is a Kronecker product.

    Eq. `eq:crb-product` of docs/numbers.md: with ΣK_i − I + 1 unknowns instead of ΠK_i.

    Notes
    -----
    Source: the Cramér–Rao bound under parametric constraints, Gorman and Hero, IEEE Trans.
    Information Theory 36(6), 1990. The tangent space of the products falls into 1 + I parts
    that are orthogonal to each other after A, so that no matrix of them has to be inverted.
    """

    requires = ("noise_var", "true_gains", "error_forms")
    source: ClassVar[str] = "Cramér–Rao bound, true support, gains a Kronecker product"

    def _parts(self, problem: Problem) -> Iterator[tuple[Array, list[Mode]]]:
        gains = problem.true_gains or ()
        yield arrays.arange(problem.y, problem.batch), modes_of(problem, [abs2(g) for g in gains])

    def _errors(self, modes: list[Mode], noise_var: Array) -> Array:
        radial, tangent = 1.0 + 0.0 * noise_var, 0.0 * noise_var
        for mode in modes:
            assert mode.gains is not None
            # What the error is where only the length of x_i is free.
            along = quadratic(mode.error, mode.gains) / quadratic(mode.gram, mode.gains)
            tangent = tangent * along + radial * (inverse_traces(mode) - along)
            radial = radial * along
        return noise_var * (radial + tangent)


def quadratic(matrices: Array, x: Array) -> Array:
    """XᴴEx of matrices (…, B, K, K) and vectors (B, K), (…, B)."""
    xp = namespace(x)
    image = xp.matmul(matrices, x[..., None])[..., 0]
    return arrays.real(xp.sum(arrays.conj(x) * image, axis=-1))
