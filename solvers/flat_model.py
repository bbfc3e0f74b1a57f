"""The E-step of a prior without structure, x ~ N(0, diag(γ)): exact, by structured products.

Eqs. (13) and (14) of docs/numbers.md.

One realization at a time, because an M×M (or n×n) matrix has to be factorised for each. Nothing
of size M × ΠN is formed.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.linalg import get_lapack_funcs

from solvers.core import Array, Gamma, Problem
from solvers.kron import abs2, adjoint, kron_apply
from solvers.kron_model import KronModel


def _pairs(factor: Array) -> Array:
    """R of shape (M², N) with rows A[m, :] conj(A[m', :]), so that A diag(γ) Aᴴ is R γ."""
    return (factor[:, None, :] * factor.conj()[None, :, :]).reshape(-1, factor.shape[1])


def gram(pairs: Sequence[Array], gamma: Array, measurements: Sequence[int]) -> Array:
    """A diag(γ) Aᴴ for A = A_1 ⊗ … ⊗ A_I.

    Parameters
    ----------
    pairs : sequence of arrays (M_i², N_i)
        The `_pairs` of each factor.
    gamma : array (N_1, …, N_I)
    measurements : sequence of M_i

    Returns
    -------
    array, (ΠM, ΠM)
    """
    modes = len(measurements)
    split = [m for m in measurements for _ in range(2)]
    product = kron_apply(pairs, gamma[None])[0].reshape(split)
    order = [*range(0, 2 * modes, 2), *range(1, 2 * modes, 2)]
    size = int(np.prod(measurements))
    return product.transpose(order).reshape(size, size)


def quadratic_forms(pairs: Sequence[Array], matrix: Array, measurements: Sequence[int]) -> Array:
    """Re diag(Aᴴ W A), the adjoint of `gram`.

    Parameters
    ----------
    pairs, measurements
        As for `gram`.
    matrix : array (ΠM, ΠM)
        W. Need not be Hermitian: the lower triangle with its diagonal halved gives half of what
        the Hermitian matrix would.

    Returns
    -------
    array, (N_1, …, N_I)
    """
    modes = len(measurements)
    split = matrix.reshape(*measurements, *measurements)
    order = [axis for i in range(modes) for axis in (i, modes + i)]
    tensor = split.transpose(order).reshape(1, *(m * m for m in measurements))
    return kron_apply([adjoint(r) for r in pairs], tensor)[0].real


def invert(matrix: Array) -> tuple[Array, float]:
    """Inverse of a Hermitian positive definite matrix, as its lower triangle, and log determinant.

    Parameters
    ----------
    matrix : array (n, n), C order
        Overwritten.

    Returns
    -------
    lower : array (n, n)
        Lower triangle of the inverse; zeros above.
    logdet : float
        NaN, like the triangle, where the matrix is not positive definite.
    """
    potrf, potri = get_lapack_funcs(("potrf", "potri"), (matrix,))
    # LAPACK reads columns first: it sees the transpose, whose upper triangle is our lower one.
    factor, failed = potrf(matrix.T, lower=False, overwrite_a=True, clean=False)
    if failed:
        return np.full_like(matrix, np.nan), np.nan
    logdet = 2.0 * float(np.log(np.diagonal(factor).real).sum())
    inverse, _ = potri(factor, lower=False, overwrite_c=True)
    return np.tril(inverse.T), logdet


class RowPosterior(NamedTuple):
    """Posterior of one realization; arrays are (N_1, …, N_I)."""

    mean: Array
    variance: Array
    residual: float
    determined: float
    cost: float


@dataclass
class Row:
    """One realization: its data, and what of the factors every E-step needs."""

    y: Array
    factors: list[Array]
    pairs: list[Array]
    grams: list[Array]
    correlation: Array = field(init=False)

    def __post_init__(self) -> None:
        self.correlation = kron_apply([adjoint(a) for a in self.factors], self.y[None])[0]

    def posterior(self, gamma: Array, noise_var: float) -> RowPosterior:
        """Exact posterior at prior variances γ, (N_1, …, N_I)."""
        if gamma.min() == gamma.max() > 0:
            return self._by_factors(gamma, noise_var)
        atoms = np.nonzero(gamma)
        if len(atoms[0]) < self.y.size:
            return self._over_atoms(gamma, noise_var, atoms)
        return self._over_measurements(gamma, noise_var)

    def _by_factors(self, gamma: Array, noise_var: float) -> RowPosterior:
        """Where γ is constant, as it is to begin with, it is a Kronecker product."""
        model = KronModel(Problem(self.y[None], tuple(self.factors)))
        factors = tuple(np.ones((1, n)) for n in gamma.shape)
        factors[0][:] = gamma.max()
        found = model.posterior(factors, np.array([noise_var]))
        return RowPosterior(
            found.mean[0],
            found.variance[0],
            float(found.residual[0]),
            float(found.determined[0]),
            float(found.cost[0]),
        )

    def _over_measurements(self, gamma: Array, noise_var: float) -> RowPosterior:
        """By the M×M matrix K = σ²I + AΓAᴴ: μ = ΓAᴴK⁻¹y, Σ_nn = γ − γ² (AᴴK⁻¹A)_nn."""
        m = self.y.shape
        covariance = gram(self.pairs, gamma, m)
        covariance[np.diag_indices(self.y.size)] += noise_var
        inverse, logdet = invert(covariance)
        np.einsum("ii->i", inverse)[:] *= 0.5
        flat = self.y.reshape(-1)
        weighted = inverse @ flat + adjoint(inverse) @ flat
        explained = gamma * 2.0 * quadratic_forms(self.pairs, inverse, m)
        mean = gamma * kron_apply([adjoint(a) for a in self.factors], weighted.reshape(1, *m))[0]
        return RowPosterior(
            mean,
            np.clip(gamma - gamma * explained, 0.0, gamma),
            float(noise_var**2 * abs2(weighted).sum()),
            float(explained.sum()),
            logdet + float((flat.conj() @ weighted).real),
        )

    def _over_atoms(self, gamma: Array, noise_var: float, atoms: tuple[Array, ...]) -> RowPosterior:
        """By the n×n matrix S = σ²I + Γ^½AᴴAΓ^½ of the n atoms in use.

        μ = Γ^½ S⁻¹ Γ^½ Aᴴy and Σ_nn = σ² γ (S⁻¹)_nn; entries of AᴴA are products of entries of
        the factors' Gram matrices.
        """
        n, root = len(atoms[0]), np.sqrt(gamma[atoms])
        system = root[:, None] * root[None, :]
        for g, index in zip(self.grams, atoms, strict=True):
            system = system * g[index[:, None], index[None, :]]
        system[np.diag_indices(n)] += noise_var
        inverse, logdet = invert(system)
        diagonal = np.einsum("ii->i", inverse)
        freedom = noise_var * diagonal.real
        diagonal *= 0.5
        target = root * self.correlation[atoms]
        weights = inverse @ target + adjoint(inverse) @ target
        mean = np.zeros_like(self.correlation)
        variance = np.zeros(gamma.shape)
        mean[atoms] = root * weights
        variance[atoms] = gamma[atoms] * freedom
        residual = float(abs2(self.y - kron_apply(self.factors, mean[None])[0]).sum())
        return RowPosterior(
            mean,
            variance,
            residual,
            float(n - freedom.sum()),
            logdet
            + (self.y.size - n) * np.log(noise_var)
            + residual / noise_var
            + float(abs2(weights).sum()),
        )


class FlatPosterior:
    """Posterior of a batch; γ is one factor (B, ΠN)."""

    def __init__(self, model: FlatModel, gamma: tuple[Array, ...], noise_var: Array) -> None:
        self.model, self.gamma, self.noise_var = model, gamma, noise_var
        rows = [
            row.posterior(g.reshape(model.dims), float(sigma2))
            for row, g, sigma2 in zip(model.rows, gamma[0], noise_var, strict=True)
        ]
        batch = len(rows)
        self.mean = np.stack([r.mean for r in rows]).reshape(batch, -1)
        self.variance = np.stack([r.variance for r in rows]).reshape(batch, -1)
        self.residual = np.array([r.residual for r in rows])
        self.determined = np.array([r.determined for r in rows])
        self.cost = np.array([r.cost for r in rows])

    @property
    def moment(self) -> Array:
        """Second moments |μ|² + diag(Σ), (B, ΠN)."""
        return abs2(self.mean) + self.variance

    def take(self, rows: Array) -> FlatPosterior:
        """The posterior of the realizations `rows` (indices or a mask)."""
        new = copy.copy(self)
        new.model, new.gamma = self.model.take(rows), (self.gamma[0][rows],)
        for name in ("noise_var", "mean", "variance", "residual", "determined", "cost"):
            setattr(new, name, getattr(self, name)[rows])
        return new


class FlatModel:
    """A batch of realizations with a prior variance for every entry of x.

    Parameters
    ----------
    problem
        The realizations to work on. What depends on the factors alone is shared between rows
        that share them.
    """

    def __init__(self, problem: Problem) -> None:
        self.dims = problem.dims
        shared = [(a, _pairs(a), adjoint(a) @ a) if a.ndim == 2 else None for a in problem.factors]
        self.rows = []
        for b in range(problem.batch):
            parts = [
                known if known is not None else (a[b], _pairs(a[b]), adjoint(a[b]) @ a[b])
                for known, a in zip(shared, problem.factors, strict=True)
            ]
            self.rows.append(Row(problem.y[b], *(list(part) for part in zip(*parts, strict=True))))

    def gamma_factors(self, gamma: Gamma) -> tuple[Array, ...]:
        """One factor of ΠN entries; a tuple of I factors is multiplied out."""
        if isinstance(gamma, tuple):
            raise ValueError("gamma must be one array over all entries of x, not a tuple")
        return (gamma.reshape(len(gamma), -1),)

    def take(self, rows: Array) -> FlatModel:
        """Only the realizations `rows` (indices or a mask)."""
        new = copy.copy(self)
        new.rows = [self.rows[b] for b in np.arange(len(self.rows))[rows]]
        return new

    def compact(self, gamma: tuple[Array, ...]) -> tuple[FlatModel, tuple[Array, ...]]:
        """Nothing to drop: each row leaves out its own unused atoms."""
        return self, gamma

    def split(self, gamma: tuple[Array, ...]) -> Array | None:
        """Never: rows are worked on one at a time anyway."""
        return None

    def posterior(self, gamma: tuple[Array, ...], noise_var: Array) -> FlatPosterior:
        """The E-step."""
        return FlatPosterior(self, gamma, noise_var)

    def expand(self, x: Array) -> Array:
        """(B, ΠN) as (B, N_1, …, N_I)."""
        return x.reshape(len(x), *self.dims)

    def expand_gamma(self, gamma: tuple[Array, ...]) -> Gamma:
        """(B, ΠN) as (B, N_1, …, N_I)."""
        return gamma[0].reshape(-1, *self.dims)
