"""The E-step of a prior without structure, x ~ N(0, diag(γ)): exact, by structured products.

Eqs. `eq:flat-rows` and `eq:flat-atoms` of docs/numbers.md.

An M×M (or n×n) matrix is factorised for each realization. Nothing of size M × ΠN is formed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from solvers import kernels
from solvers.kron import abs2, adjoint, join, kron_apply, outer, total
from solvers.kron_model import KronModel
from solvers.lapack import invert, invert_root, times
from solvers.problem import Array, Gamma, Problem
from solvers.units import atom_shares, data_unit

PORTION_ENTRIES = 2**20
"""Bound, in entries, on the n×n matrices that are held in memory at once."""

WORTH_COMPACTING = 0.8
"""The working set shrinks when no more than this share of it is in use."""


def _pairs(factor: Array, first: bool) -> Array:
    """Rows A[m, :] conj(A[m', :]), (…, pairs, N): R γ are the entries (m, m') of A diag(γ) Aᴴ.

    All M² of them, or of the first mode those with m ≥ m': the lower triangle, in blocks.
    """
    m = factor.shape[-2]
    row, column = np.tril_indices(m) if first else np.indices((m, m)).reshape(2, -1)
    return factor[..., row, :] * factor[..., column, :].conj()


def _grams(problem: Problem) -> Array:
    grams = [adjoint(a) @ a for a in problem.factors]
    rows = max(1 if g.ndim == 2 else len(g) for g in grams)
    flat = [g.reshape(1 if g.ndim == 2 else len(g), -1) for g in grams]
    wide = [np.broadcast_to(g, (rows, g.shape[1])) for g in flat]
    return join(wide, problem.y.dtype)


def gram(pairs: Sequence[Array], gamma: Array, measurements: Sequence[int]) -> Array:
    """Lower triangle of A diag(γ) Aᴴ for A = A_1 ⊗ … ⊗ A_I.

    Parameters
    ----------
    pairs : sequence of arrays (M_i (M_i + 1) / 2 for the first, M_i² for the others; N_i)
        The `_pairs` of each factor.
    gamma : array (N_1, …, N_I)
    measurements : sequence of M_i

    Returns
    -------
    array, (ΠM, ΠM)
        What is above the diagonal means nothing.
    """
    first, *rest = measurements
    row, column = np.tril_indices(first)
    product = kron_apply(pairs, gamma[None])[0]
    product = product.reshape(row.size, *(m for m in rest for _ in range(2)))
    order = [0, *range(1, 2 * len(rest), 2), *range(2, 2 * len(rest) + 1, 2)]
    size = math.prod(rest)
    matrix = np.empty((first, size, first, size), product.dtype)
    matrix[row, :, column] = product.transpose(order).reshape(row.size, size, size)
    return matrix.reshape(first * size, first * size)


def quadratic_forms(pairs: Sequence[Array], matrix: Array, measurements: Sequence[int]) -> Array:
    """diag(Aᴴ W A) of a Hermitian W, the adjoint of `gram`.

    Parameters
    ----------
    pairs, measurements
        As for `gram`.
    matrix : array (ΠM, ΠM)
        W, of which the lower triangle is read.

    Returns
    -------
    array, (N_1, …, N_I)
    """
    first, *rest = measurements
    row, column = np.tril_indices(first)
    size = math.prod(rest)
    blocks = matrix.reshape(first, size, first, size)[row, :, column]
    # Every entry below the diagonal counts for two, so the diagonal for half.
    middle = np.tril(blocks[row == column])
    np.einsum("kii->ki", middle)[:] *= 0.5
    blocks[row == column] = middle
    blocks = blocks.reshape(row.size, *rest, *rest)
    order = [0, *(axis for i in range(len(rest)) for axis in (1 + i, 1 + len(rest) + i))]
    tensor = blocks.transpose(order).reshape(1, row.size, *(m * m for m in rest))
    return 2.0 * kron_apply([adjoint(r) for r in pairs], tensor)[0].real


class Parts(NamedTuple):
    """Posterior of some realizations, over the atoms of the model."""

    mean: Array  # (b, n)
    variance: Array  # (b, n)
    effective_parameters: Any  # Σ_n (1 − Σ_nn/γ_n)
    logdet: Any  # of σ²I + AΓAᴴ
    penalty: Any  # ‖Γ^-½ μ‖²


def _by_factors(model: FlatModel, gamma: Array, noise_var: Array) -> Parts:
    """Posterior of rows with a constant γ, as at the start, which is a Kronecker product."""
    batch = len(gamma)
    factors = tuple(np.ones((batch, n)) for n in model.dims)
    factors[0][:] = gamma[:, :1]
    found = KronModel(Problem(model.y, tuple(model.factors))).posterior(factors, noise_var)
    penalty = total(abs2(found.mean)) / gamma[:, 0]
    return Parts(
        found.mean.reshape(batch, -1),
        found.variance.reshape(batch, -1),
        found.effective_parameters,
        found.cost - found.residual / noise_var - penalty,
        penalty,
    )


def _over_measurements(model: FlatModel, gamma: Array, noise_var: Array) -> Parts:
    """Posterior of one row by the M×M matrix K = σ²I + AΓAᴴ.

    μ = ΓAᴴK⁻¹y and Σ_nn = γ − γ² (AᴴK⁻¹A)_nn.
    """
    y, m = model.y.reshape(-1), model.y.shape[1:]
    pairs = [p if p.ndim == 2 else p[0] for p in model.pairs]
    matrix = gram(pairs, model.expand(gamma)[0], m)
    matrix[np.diag_indices(y.size)] += noise_var[0]
    logdet = invert(matrix)  # K until here, K⁻¹ from here on
    weighted = times(matrix, y)
    adjoints = [adjoint(a) for a in model.factors]
    correlation = model.select(kron_apply(adjoints, weighted.reshape(1, *m)))
    explained = gamma * model.select(quadratic_forms(pairs, matrix, m)[None])
    return Parts(
        gamma * correlation,
        np.clip(gamma - gamma * explained, 0.0, gamma),
        explained.sum(),
        logdet,
        (gamma * abs2(correlation)).sum(),
    )


def _over_atoms(model: FlatModel, gamma: Array, noise_var: Array) -> Parts:
    """Posterior of rows by the n×n matrix S = σ²I + Γ^½AᴴAΓ^½ of the n atoms that each has in use.

    μ = Γ^½ S⁻¹ Γ^½ Aᴴy and Σ_nn = σ² γ (S⁻¹)_nn.
    """
    row, atom = np.nonzero(gamma)
    counts = np.bincount(row, minlength=len(gamma))
    index = atom if model.index is None else model.index[row, atom]
    positions = np.array(np.unravel_index(index, model.dims))
    root = np.sqrt(gamma[row, atom])
    systems = kernels.assemble(
        model.grams, np.array(model.dims), positions, counts, root, noise_var
    )
    for n, end in zip(counts, np.cumsum(counts**2), strict=True):
        if n:
            invert_root(systems[end - n * n : end].reshape(n, n))
    target = root * model.correlation[row, atom]
    weights, diagonal, logdet = kernels.finish(systems, counts, target)
    freedom = noise_var[row] * diagonal
    mean, variance = np.zeros_like(model.correlation), np.zeros(gamma.shape)
    mean[row, atom], variance[row, atom] = root * weights, root**2 * freedom
    effective_parameters = counts - np.bincount(row, freedom, minlength=len(gamma))
    penalty = np.bincount(row, abs2(weights), minlength=len(gamma))
    logdet += (model.y[0].size - counts) * np.log(noise_var)
    return Parts(mean, variance, effective_parameters, logdet, penalty)


def _portions(counts: Array) -> list[Array]:
    """Rows in portions whose n×n matrices fit into memory together."""
    portion = np.cumsum(counts**2) // PORTION_ENTRIES
    return np.split(np.arange(len(counts)), np.flatnonzero(np.diff(portion)) + 1)


class FlatPosterior:
    """Posterior of a batch; γ is one factor (B, n), over the atoms of the model."""

    _arrays = ("noise_var", "mean", "variance", "effective_parameters", "_logdet", "_penalty")

    def __init__(self, model: FlatModel, gamma: tuple[Array, ...], noise_var: Array) -> None:
        self.model, self.gamma, self.noise_var = model, gamma, noise_var
        [flat] = gamma
        counts = np.count_nonzero(flat, axis=1)
        same = (counts == math.prod(model.dims)) & (flat == flat[:, :1]).all(axis=1)
        few = np.flatnonzero(~same & (counts < model.y[0].size))
        many = np.flatnonzero(~same & (counts >= model.y[0].size))
        self.mean, self.variance = np.empty_like(model.correlation), np.empty(flat.shape)
        self.effective_parameters, self._logdet, self._penalty = np.empty((3, len(flat)))
        self._fill(np.flatnonzero(same), _by_factors)
        for rows in _portions(counts[few]):
            self._fill(few[rows], _over_atoms)
        for b in many:
            self._fill(np.array([b]), _over_measurements)

    def _fill(self, rows: Array, solve: Callable[[FlatModel, Array, Array], Parts]) -> None:
        if rows.size:
            parts = solve(self.model.take(rows), self.gamma[0][rows], self.noise_var[rows])
            self.mean[rows], self.variance[rows] = parts.mean, parts.variance
            self.effective_parameters[rows] = parts.effective_parameters
            self._logdet[rows], self._penalty[rows] = parts.logdet, parts.penalty

    @property
    def moment(self) -> Array:
        """Second moments |μ|² + diag(Σ), (B, n)."""
        return abs2(self.mean) + self.variance

    @property
    def finite(self) -> Array:
        """Whether the mean is finite, (B,)."""
        return np.isfinite(self.mean.sum(axis=1))

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
        for name in self._arrays:
            setattr(new, name, getattr(self, name)[rows])
        return new

    def put(self, rows: Array, other: FlatPosterior) -> None:
        """Replace that of the realizations `rows` (indices), in place."""
        self.gamma[0][rows] = other.gamma[0]
        for name in self._arrays:
            getattr(self, name)[rows] = getattr(other, name)
        for name in ("residual", "cost"):
            vars(self).pop(name, None)


class FlatModel:
    """A batch of realizations with a prior variance for every entry of x.

    Never changed in place: `take` and `compact` return new models.

    Parameters
    ----------
    problem
        The realizations to work on.
    data_units
        Whether bounds on γ are meant in units of the data.

    Attributes
    ----------
    unit, atom_weights
        See `solvers.posterior.Model`.
    pairs : list of arrays, see `gram`, with a leading B where factors are the realizations' own
    grams : array (B or 1, ΣN_i²)
        A_iᴴA_i, one after the other; one row where the realizations share their factors.
    index : array (B, n) or None
        Atoms in the working set, as positions among all ΠN; None for all of them. Rows that use
        fewer are padded with atoms whose γ is 0.
    correlation : array, (B, n)
        Aᴴy of those atoms.
    """

    def __init__(self, problem: Problem, *, data_units: bool = False) -> None:
        self.unit = data_unit(problem) if data_units else np.ones(problem.batch)
        self.atom_weights: tuple[Array, ...] | None = None
        if data_units:
            self.atom_weights = (outer(atom_shares(problem)).reshape(problem.batch, -1),)
        self.y, self.dims, self.factors = problem.y, problem.dims, list(problem.factors)
        self.pairs = [_pairs(a, first=i == 0) for i, a in enumerate(problem.factors)]
        self.grams = _grams(problem)
        self.index: Array | None = None
        adjoints = [adjoint(a) for a in problem.factors]
        self.correlation = kron_apply(adjoints, problem.y).reshape(problem.batch, -1)

    def gamma_factors(self, gamma: Gamma) -> tuple[Array, ...]:
        """Hyperparameters over all atoms as this model's single factor of ΠN entries."""
        if isinstance(gamma, tuple):
            raise ValueError("gamma must be one array over all entries of x, not a tuple")
        return (gamma.reshape(len(gamma), -1),)

    def take(self, rows: Array) -> FlatModel:
        """The model of the realizations `rows` (indices or a mask)."""
        new = copy.copy(self)
        for name in ("factors", "pairs"):
            setattr(new, name, [a if a.ndim == 2 else a[rows] for a in getattr(self, name)])
        new.grams = self.grams if len(self.grams) == 1 else self.grams[rows]
        new.y, new.index = self.y[rows], None if self.index is None else self.index[rows]
        new.correlation, new.unit = self.correlation[rows], self.unit[rows]
        if self.atom_weights is not None:
            new.atom_weights = (self.atom_weights[0][rows],)
        return new

    def compact(self, gamma: tuple[Array, ...], *others: tuple[Array, ...]) -> tuple[Any, ...]:
        """The model without atoms that no realization uses any more, and γ of those that stay.

        Only where a good part of the atoms has gone.
        """
        [flat] = gamma
        width = max(int(np.count_nonzero(flat, axis=1).max()), 1)
        if width > WORTH_COMPACTING * flat.shape[1]:
            return self, gamma, *others
        keep = np.argsort(flat == 0, axis=1, kind="stable")[:, :width]
        new = copy.copy(self)
        new.index = keep if self.index is None else np.take_along_axis(self.index, keep, axis=1)
        new.correlation = np.take_along_axis(self.correlation, keep, axis=1)
        if self.atom_weights is not None:
            new.atom_weights = (np.take_along_axis(self.atom_weights[0], keep, axis=1),)
        return new, *((np.take_along_axis(g, keep, axis=1),) for [g] in (gamma, *others))

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
            full = np.zeros((len(x), math.prod(self.dims)), x.dtype)
            np.put_along_axis(full, self.index, x, axis=1)
            x = full
        return x.reshape(len(x), *self.dims)

    def expand_gamma(self, gamma: tuple[Array, ...]) -> Gamma:
        """(B, n) as (B, N_1, …, N_I), 0 elsewhere."""
        return self.expand(gamma[0])
