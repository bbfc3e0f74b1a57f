"""The E-step of a prior without structure, x ~ N(0, diag(γ)): exact, by structured products.

Eqs. `eq:flat-rows` and `eq:flat-atoms` of docs/numbers.md.

An M×M (or n×n) matrix is factorised for each realization. Nothing of size M × ΠN is formed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from solvers import arrays
from solvers.arrays import Array, flat, namespace, reshape, take
from solvers.kron import abs2, adjoint, kron_apply, outer, total
from solvers.kron_model import KronModel
from solvers.operations import solve_systems
from solvers.operations.terms import Parts
from solvers.problem import Gamma, Problem
from solvers.units import atom_shares, data_unit

WORTH_COMPACTING = 0.8
"""The working set shrinks when no more than this share of it is in use."""


def _pairs(factor: Array, first: bool) -> Array:
    """Rows A[m, :] conj(A[m', :]), (…, pairs, N): R γ are the entries (m, m') of A diag(γ) Aᴴ.

    All M² of them, or of the first mode those with m ≥ m': the lower triangle, in blocks.
    """
    m = factor.shape[-2]
    row, column = np.tril_indices(m) if first else np.indices((m, m)).reshape(2, -1)
    axis = factor.ndim - 2
    return take(factor, row, axis) * arrays.conj(take(factor, column, axis))


def _grams(problem: Problem) -> Array:
    grams = [adjoint(a) @ a for a in problem.factors]
    xp, rows = namespace(problem.y), max(1 if g.ndim == 2 else g.shape[0] for g in grams)
    wide = [flat(g[None, ...] if g.ndim == 2 else g) for g in grams]
    wide = [xp.broadcast_to(g, (rows, g.shape[1])) for g in wide]
    return xp.concat([xp.astype(g, problem.y.dtype) for g in wide], axis=1)


def _by_factors(model: FlatModel, gamma: Array, noise_var: Array) -> Parts:
    """Posterior of rows with a constant γ, as at the start, which is a Kronecker product."""
    first, *rest = (arrays.full(gamma, (gamma.shape[0], n), 1.0) for n in model.dims)
    factors = (gamma[:, :1] * first, *rest)
    found = KronModel(Problem(model.y, tuple(model.factors))).posterior(factors, noise_var)
    penalty = total(abs2(found.mean)) / gamma[:, 0]
    return Parts(
        flat(found.mean),
        flat(found.variance),
        found.effective_parameters,
        found.cost - found.residual / noise_var - penalty,
        penalty,
    )


class FlatPosterior:
    """Posterior of a batch; γ is one factor (B, n), over the atoms of the model."""

    _parts = ("mean", "variance", "effective_parameters", "_logdet", "_penalty")
    _arrays = ("noise_var", *_parts)

    def __init__(self, model: FlatModel, gamma: tuple[Array, ...], noise_var: Array) -> None:
        self.model, self.gamma, self.noise_var = model, gamma, noise_var
        [every] = gamma
        xp, batch = namespace(every), every.shape[0]
        counts = xp.count_nonzero(every, axis=1)
        same = (counts == math.prod(model.dims)) & xp.all(every == every[:, :1], axis=1)
        self.mean = arrays.zeros(every, every.shape, model.correlation.dtype)
        self.variance = arrays.zeros(every, every.shape)
        self.effective_parameters, self._logdet, self._penalty = (
            arrays.zeros(every, (batch,)) for _ in range(3)
        )
        self._fill(same, _by_factors)
        self._fill(~same, solve_systems)

    def _fill(self, where: Array, solve: Callable[[FlatModel, Array, Array], Parts]) -> None:
        rows = arrays.where_true(where)
        if rows.shape[0]:
            some = self.model, self.gamma[0], self.noise_var
            if rows.shape[0] < where.shape[0]:
                some = some[0].take(rows), take(some[1], rows), take(some[2], rows)
            for name, part in zip(self._parts, solve(*some), strict=True):
                getattr(self, name)[where] = part

    @property
    def moment(self) -> Array:
        """Second moments |μ|² + diag(Σ), (B, n)."""
        return abs2(self.mean) + self.variance

    @property
    def finite(self) -> Array:
        """Whether the mean is finite, (B,)."""
        return namespace(self.mean).isfinite(total(self.mean))

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
        new.model, new.gamma = self.model.take(rows), (take(self.gamma[0], rows),)
        for name in self._arrays:
            setattr(new, name, take(getattr(self, name), rows))
        return new

    def put(self, rows: Array, other: FlatPosterior) -> None:
        """Replace that of the realizations `rows` (a mask), in place."""
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
        self.unit = (
            data_unit(problem) if data_units else arrays.full(problem.y, (problem.batch,), 1.0)
        )
        self.atom_weights: tuple[Array, ...] | None = None
        if data_units:
            self.atom_weights = (flat(outer(atom_shares(problem))),)
        self.y, self.dims, self.factors = problem.y, problem.dims, list(problem.factors)
        self.pairs = [_pairs(a, first=i == 0) for i, a in enumerate(problem.factors)]
        self.grams = _grams(problem)
        self.index: Array | None = None
        adjoints = [adjoint(a) for a in problem.factors]
        self.correlation = flat(kron_apply(adjoints, problem.y))

    def gamma_factors(self, gamma: Gamma) -> tuple[Array, ...]:
        """Hyperparameters over all atoms as this model's single factor of ΠN entries."""
        if isinstance(gamma, tuple):
            raise ValueError("gamma must be one array over all entries of x, not a tuple")
        return (flat(gamma),)

    def take(self, rows: Array) -> FlatModel:
        """The model of the realizations `rows` (indices or a mask)."""
        new = copy.copy(self)
        for name in ("factors", "pairs"):
            setattr(new, name, [a if a.ndim == 2 else take(a, rows) for a in getattr(self, name)])
        new.grams = self.grams if self.grams.shape[0] == 1 else take(self.grams, rows)
        new.y, new.index = (
            take(self.y, rows),
            None if self.index is None else take(self.index, rows),
        )
        new.correlation, new.unit = take(self.correlation, rows), take(self.unit, rows)
        if self.atom_weights is not None:
            new.atom_weights = (take(self.atom_weights[0], rows),)
        return new

    def compact(self, gamma: tuple[Array, ...], *others: tuple[Array, ...]) -> tuple[Any, ...]:
        """The model without atoms that no realization uses any more, and γ of those that stay.

        Only where a good part of the atoms has gone.
        """
        [every] = gamma
        xp = namespace(every)
        width = max(int(xp.max(xp.count_nonzero(every, axis=1))), 1)
        if width > WORTH_COMPACTING * every.shape[1]:
            return self, gamma, *others
        keep = xp.argsort(xp.astype(every == 0, xp.int8), axis=1, stable=True)[:, :width]
        new = copy.copy(self)
        new.index = keep if self.index is None else arrays.gather(self.index, keep, 1)
        new.correlation = arrays.gather(self.correlation, keep, 1)
        if self.atom_weights is not None:
            new.atom_weights = (arrays.gather(self.atom_weights[0], keep, 1),)
        return new, *((arrays.gather(g, keep, 1),) for [g] in (gamma, *others))

    def posterior(self, gamma: tuple[Array, ...], noise_var: Array) -> FlatPosterior:
        """The E-step."""
        return FlatPosterior(self, gamma, noise_var)

    def select(self, x: Array) -> Array:
        """(B, N_1, …, N_I) as (B, n), only the atoms in use."""
        every = flat(x)
        return every if self.index is None else arrays.gather(every, self.index, 1)

    def expand(self, x: Array) -> Array:
        """(B, n) as (B, N_1, …, N_I), 0 elsewhere."""
        if self.index is not None:
            x = arrays.scatter(x, self.index, math.prod(self.dims), 1)
        return reshape(x, x.shape[0], *self.dims)

    def expand_gamma(self, gamma: tuple[Array, ...]) -> Gamma:
        """(B, n) as (B, N_1, …, N_I), 0 elsewhere."""
        return self.expand(gamma[0])
