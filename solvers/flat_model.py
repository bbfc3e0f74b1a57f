"""The E-step of a prior without structure, x ~ N(0, diag(γ)): exact, by structured products.

Eqs. (13) and (14) of docs/numbers.md.

An M×M (or n×n) matrix is factorised for each realization. Nothing of size M × ΠN is formed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cached_property, reduce
from typing import Any, NamedTuple

import numpy as np

from solvers.core import Array, Gamma, Problem
from solvers.kron import abs2, adjoint, kron_apply, total
from solvers.kron_model import KronModel

GROUP_ENTRIES = 2**20
"""Of the n×n matrices of rows that are worked on together."""

WORTH_COMPACTING = 0.8
"""The working set shrinks when no more than this share of it is in use."""


def _pairs(factor: Array) -> Array:
    """R of shape (…, M², N) with rows A[m, :] conj(A[m', :]), so that A diag(γ) Aᴴ is R γ."""
    *batch, _, n = factor.shape
    return (factor[..., :, None, :] * factor.conj()[..., None, :, :]).reshape(*batch, -1, n)


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


def _lapack(names: Sequence[str], matrix: Array) -> list[Callable[..., Any]]:
    """LAPACK's functions of these names, for the type of that matrix."""
    from scipy.linalg import get_lapack_funcs  # takes long to import

    return get_lapack_funcs(names, (matrix,))


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
    potrf, potri = _lapack(("potrf", "potri"), matrix)
    # LAPACK reads columns first: it sees the transpose, whose upper triangle is our lower one.
    factor, failed = potrf(matrix.T, lower=False, overwrite_a=True, clean=False)
    if failed:
        return np.full_like(matrix, np.nan), np.nan
    logdet = 2.0 * float(np.log(np.diagonal(factor).real).sum())
    inverse, _ = potri(factor, lower=False, overwrite_c=True)
    return np.tril(inverse.T), logdet


def invert_root(matrix: Array) -> tuple[Array, float]:
    """R with R Rᴴ the inverse of a Hermitian positive definite matrix, and log determinant.

    Half the work of `invert`, for those who need of the inverse its diagonal and one product.

    Parameters
    ----------
    matrix : array (n, n), C order
        Overwritten.

    Returns
    -------
    root : array (n, n)
        Upper triangle.
    logdet : float
        NaN, like the triangle, where the matrix is not positive definite.
    """
    potrf, trtri = _lapack(("potrf", "trtri"), matrix)
    # LAPACK sees the transpose, L Lᴴ; so the matrix's inverse is (L⁻¹)ᵀ conj(L⁻¹).
    factor, failed = potrf(matrix.T, lower=True, overwrite_a=True, clean=True)
    if failed:
        return np.full_like(matrix, np.nan), np.nan
    logdet = 2.0 * float(np.log(np.diagonal(factor).real).sum())
    inverse, _ = trtri(factor, lower=True, overwrite_c=True)
    return inverse.T, logdet


class Parts(NamedTuple):
    """What is known of some realizations' posterior, over the atoms of the model."""

    mean: Array  # (b, n)
    variance: Array  # (b, n)
    determined: Any  # Σ_n (1 − Σ_nn/γ_n)
    logdet: Any  # of σ²I + AΓAᴴ
    penalty: Any  # ‖Γ^-½ μ‖²


def _by_factors(model: FlatModel, gamma: Array, noise_var: Array) -> Parts:
    """Where each row's γ is constant, as it is to begin with, it is a Kronecker product."""
    batch = len(gamma)
    factors = tuple(np.ones((batch, n)) for n in model.dims)
    factors[0][:] = gamma[:, :1]
    found = KronModel(Problem(model.y, tuple(model.factors))).posterior(factors, noise_var)
    penalty = total(abs2(found.mean)) / gamma[:, 0]
    return Parts(
        found.mean.reshape(batch, -1),
        found.variance.reshape(batch, -1),
        found.determined,
        found.cost - found.residual / noise_var - penalty,
        penalty,
    )


def _over_measurements(model: FlatModel, gamma: Array, noise_var: Array) -> Parts:
    """One row by the M×M matrix K = σ²I + AΓAᴴ: μ = ΓAᴴK⁻¹y, Σ_nn = γ − γ² (AᴴK⁻¹A)_nn."""
    y, m = model.y.reshape(-1), model.y.shape[1:]
    pairs = [p if p.ndim == 2 else p[0] for p in model.pairs]
    covariance = gram(pairs, model.expand(gamma)[0], m)
    covariance[np.diag_indices(y.size)] += noise_var[0]
    inverse, logdet = invert(covariance)
    np.einsum("ii->i", inverse)[:] *= 0.5
    weighted = inverse @ y + adjoint(inverse) @ y
    adjoints = [adjoint(a) for a in model.factors]
    correlation = model.select(kron_apply(adjoints, weighted.reshape(1, *m)))
    explained = gamma * 2.0 * model.select(quadratic_forms(pairs, inverse, m)[None])
    return Parts(
        gamma * correlation,
        np.clip(gamma - gamma * explained, 0.0, gamma),
        explained.sum(),
        logdet,
        (gamma * abs2(correlation)).sum(),
    )


def _over_atoms(model: FlatModel, gamma: Array, noise_var: Array) -> Parts:
    """Rows by the n×n matrix S = σ²I + Γ^½AᴴAΓ^½ of the n atoms that each has in use.

    μ = Γ^½ S⁻¹ Γ^½ Aᴴy and Σ_nn = σ² γ (S⁻¹)_nn. Rows with fewer atoms are padded by zeros.
    """
    row, atom = np.nonzero(gamma)
    counts = np.bincount(row, minlength=len(gamma))
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (len(gamma), max(counts.max(), 1))
    used, root = np.zeros(shape, int), np.zeros(shape)
    used[row, place], root[row, place] = atom, np.sqrt(gamma[row, atom])
    systems = _gram_of(model, used)
    systems *= root[:, :, None] * root[:, None, :]
    inverse, logdet = np.zeros_like(systems), np.empty(len(gamma))
    for b, n in enumerate(np.maximum(counts, 1)):
        system = np.ascontiguousarray(systems[b, :n, :n])
        system[np.diag_indices(n)] += noise_var[b]
        inverse[b, :n, :n], logdet[b] = invert_root(system)
        logdet[b] += (model.y[0].size - n) * np.log(noise_var[b])
    target = root * np.take_along_axis(model.correlation, used, axis=1)
    weights = (inverse @ (adjoint(inverse) @ target[:, :, None]))[:, :, 0]
    freedom = noise_var[:, None] * abs2(inverse).sum(axis=2)
    mean, variance = np.zeros_like(model.correlation), np.zeros(gamma.shape)
    mean[row, atom] = (root * weights)[row, place]
    variance[row, atom] = gamma[row, atom] * freedom[row, place]
    return Parts(
        mean, variance, np.maximum(counts, 1) - total(freedom), logdet, total(abs2(weights))
    )


def _gram_of(model: FlatModel, used: Array) -> Array:
    """AᴴA of some atoms of each row, (b, n) to (b, n, n).

    Its entries are products of entries of the factors' Gram matrices.
    """
    index = used if model.index is None else np.take_along_axis(model.index, used, axis=1)
    rows = np.arange(len(used))[:, None, None]
    entries = []
    for g, at in zip(model.grams, np.unravel_index(index, model.dims), strict=True):
        n = g.shape[-1]
        flat = at[:, :, None] * n + at[:, None, :]
        # One index instead of two or three: less than half the time.
        entries.append(g.reshape(-1).take(flat if g.ndim == 2 else flat + rows * n * n))
    return reduce(np.multiply, entries)


def _alike(counts: Array) -> list[list[int]]:
    """Rows grouped by how many atoms they have, so that little is padded and memory is bounded."""
    groups: list[list[int]] = []
    for b in np.argsort(counts, kind="stable").tolist():
        near = groups and counts[b] <= 1.3 * counts[groups[-1][0]] + 8
        if near and (len(groups[-1]) + 1) * counts[b] ** 2 <= GROUP_ENTRIES:
            groups[-1].append(b)
        else:
            groups.append([b])
    return groups


class FlatPosterior:
    """Posterior of a batch; γ is one factor (B, n), over the atoms of the model."""

    def __init__(self, model: FlatModel, gamma: tuple[Array, ...], noise_var: Array) -> None:
        self.model, self.gamma, self.noise_var = model, gamma, noise_var
        [flat] = gamma
        counts = np.count_nonzero(flat, axis=1)
        same = (counts == np.prod(model.dims)) & (flat == flat[:, :1]).all(axis=1)
        few = np.flatnonzero(~same & (counts < model.y[0].size))
        many = np.flatnonzero(~same & (counts >= model.y[0].size))
        self.mean, self.variance = np.empty_like(model.correlation), np.empty(flat.shape)
        self.determined, self._logdet, self._penalty = np.empty((3, len(flat)))
        self._fill(np.flatnonzero(same), _by_factors)
        for group in _alike(counts[few]):
            self._fill(few[group], _over_atoms)
        for b in many:
            self._fill(np.array([b]), _over_measurements)

    def _fill(self, rows: Array, solve: Callable[[FlatModel, Array, Array], Parts]) -> None:
        if rows.size:
            parts = solve(self.model.take(rows), self.gamma[0][rows], self.noise_var[rows])
            self.mean[rows], self.variance[rows] = parts.mean, parts.variance
            self.determined[rows] = parts.determined
            self._logdet[rows], self._penalty[rows] = parts.logdet, parts.penalty

    @property
    def moment(self) -> Array:
        """Second moments |μ|² + diag(Σ), (B, n)."""
        return abs2(self.mean) + self.variance

    @cached_property
    def residual(self) -> Array:
        """‖y − Aμ‖², (B,)."""
        fitted = kron_apply(self.model.factors, self.model.expand(self.mean))
        return total(abs2(self.model.y - fitted))

    @cached_property
    def cost(self) -> Array:
        """SBL cost log|σ²I + AΓAᴴ| + yᴴ(σ²I + AΓAᴴ)⁻¹y, (B,)."""
        return self._logdet + self.residual / self.noise_var + self._penalty

    def take(self, rows: Array) -> FlatPosterior:
        """The posterior of the realizations `rows` (indices or a mask)."""
        new = FlatPosterior.__new__(FlatPosterior)
        new.model, new.gamma = self.model.take(rows), (self.gamma[0][rows],)
        for name in ("noise_var", "mean", "variance", "determined", "_logdet", "_penalty"):
            setattr(new, name, getattr(self, name)[rows])
        return new


class FlatModel:
    """A batch of realizations with a prior variance for every entry of x.

    Never changed in place: `take` and `compact` return new models.

    Parameters
    ----------
    problem
        The realizations to work on.

    Attributes
    ----------
    pairs : list of arrays (M_i², N_i), or (B, M_i², N_i) where factors are the realizations' own
    grams : list of arrays (N_i, N_i) or (B, N_i, N_i)
        A_iᴴA_i.
    index : array (B, n) or None
        Atoms in the working set, as positions among all ΠN; None for all of them. Rows that use
        fewer are padded with atoms whose γ is 0.
    correlation : array, (B, n)
        Aᴴy of those atoms.
    """

    def __init__(self, problem: Problem) -> None:
        self.y, self.dims, self.factors = problem.y, problem.dims, list(problem.factors)
        self.pairs = [_pairs(a) for a in problem.factors]
        self.grams = [adjoint(a) @ a for a in problem.factors]
        self.index: Array | None = None
        adjoints = [adjoint(a) for a in problem.factors]
        self.correlation = kron_apply(adjoints, problem.y).reshape(problem.batch, -1)

    def gamma_factors(self, gamma: Gamma) -> tuple[Array, ...]:
        """One factor of ΠN entries; a tuple of I factors is multiplied out."""
        if isinstance(gamma, tuple):
            raise ValueError("gamma must be one array over all entries of x, not a tuple")
        return (gamma.reshape(len(gamma), -1),)

    def take(self, rows: Array) -> FlatModel:
        """Only the realizations `rows` (indices or a mask)."""
        new = copy.copy(self)
        for name in ("factors", "pairs", "grams"):
            setattr(new, name, [a if a.ndim == 2 else a[rows] for a in getattr(self, name)])
        new.y, new.index = self.y[rows], None if self.index is None else self.index[rows]
        new.correlation = self.correlation[rows]
        return new

    def compact(self, gamma: tuple[Array, ...]) -> tuple[FlatModel, tuple[Array, ...]]:
        """The model without atoms that no realization uses any more, and γ of those that stay.

        Only where a good part of the atoms has gone.
        """
        [flat] = gamma
        width = max(int(np.count_nonzero(flat, axis=1).max()), 1)
        if width > WORTH_COMPACTING * flat.shape[1]:
            return self, gamma
        keep = np.argsort(flat == 0, axis=1, kind="stable")[:, :width]
        new = copy.copy(self)
        new.index = keep if self.index is None else np.take_along_axis(self.index, keep, axis=1)
        new.correlation = np.take_along_axis(self.correlation, keep, axis=1)
        return new, (np.take_along_axis(flat, keep, axis=1),)

    def split(self, gamma: tuple[Array, ...]) -> Array | None:
        """Never: rows of like size are worked on together anyway."""
        return None

    def posterior(self, gamma: tuple[Array, ...], noise_var: Array) -> FlatPosterior:
        """The E-step."""
        return FlatPosterior(self, gamma, noise_var)

    def select(self, x: Array) -> Array:
        """(B, N_1, …, N_I) as (B, n), only the atoms in use."""
        flat = x.reshape(len(x), -1)
        return flat if self.index is None else np.take_along_axis(flat, self.index, axis=1)

    def expand(self, x: Array) -> Array:
        """(B, n) as (B, N_1, …, N_I), 0 elsewhere."""
        if self.index is not None:
            full = np.zeros((len(x), int(np.prod(self.dims))), x.dtype)
            np.put_along_axis(full, self.index, x, axis=1)
            x = full
        return x.reshape(len(x), *self.dims)

    def expand_gamma(self, gamma: tuple[Array, ...]) -> Gamma:
        """(B, n) as (B, N_1, …, N_I), 0 elsewhere."""
        return self.expand(gamma[0])
