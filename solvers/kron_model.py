"""The E-step of a Kronecker prior: the posterior of x for γ = γ_1 ⊗ … ⊗ γ_I, for a batch."""

from __future__ import annotations

import copy
import math
import sys
from functools import cached_property
from typing import Any

from solvers import arrays
from solvers.arrays import Array, namespace, take
from solvers.kron import abs2, adjoint, kron_apply, mode_product, normalize, outer, total
from solvers.operations import alternate, eigh, second_moments, shrink
from solvers.operations.terms import Spread
from solvers.problem import Gamma, Problem
from solvers.units import atom_weights, data_unit

EPSILON = sys.float_info.epsilon


class KronPosterior:
    """Posterior of x for one γ = γ_1 ⊗ … ⊗ γ_I and noise variance, for a batch.

    Everything is computed when first asked for. Shapes are those of the atoms still in the
    working set (see `KronModel`), n_i of them along mode i.

    Notes
    -----
    Per factor an eigendecomposition, either of A diag(γ) Aᴴ = U diag(p) Uᴴ (M×M) or, where no
    more atoms than measurements are left, of Γ^½ AᴴA Γ^½ = V diag(p) Vᴴ (n×n). With W = ΓAᴴU or
    W = Γ^½V and the data rotated to c = (U ⊗ …)ᴴy, or c = (W ⊗ …)ᴴAᴴy,

        mean      μ = (W_1 ⊗ … ⊗ W_I) (D ∘ c),   D = 1 / (σ² + p_1 ∘ … ∘ p_I)
        variance  γ − (|W_1|² ⊗ … ⊗ |W_I|²) D,  with |W|² diag(p) instead of |W|² for n×n modes,

    which for n×n modes alone is σ² (|W_1|² ⊗ …) D, free of cancellation: Eqs. `eq:eigen` to
    `eq:cost-kron` of docs/numbers.md. `eigh` is used throughout: the authors' code calls a general
    `eig` on matrices that rounding has left unsymmetric, whose vectors are not orthonormal where
    eigenvalues coincide.
    """

    def __init__(self, model: KronModel, gamma: tuple[Array, ...], noise_var: Array) -> None:
        self.model, self.gamma, self.noise_var = model, gamma, arrays.copied(noise_var)
        modes = [model.spectrum(i, g) for i, g in enumerate(gamma)]
        self._p = [p for p, _, _ in modes]
        self._w = [w for _, w, _ in modes]
        rotated = kron_apply([left for _, _, left in modes], model.data)
        self._d, self._shrunk = shrink(self._p, self.noise_var, rotated)

    def take(self, rows: Array) -> KronPosterior:
        """The posterior of the realizations `rows` (indices), to be evaluated anew."""
        new = KronPosterior.__new__(KronPosterior)
        new.model, new.noise_var = self.model.take(rows), take(self.noise_var, rows)
        new.gamma = tuple(take(g, rows) for g in self.gamma)
        new._p, new._w = [take(p, rows) for p in self._p], [take(w, rows) for w in self._w]
        new._shrunk, new._d = take(self._shrunk, rows), take(self._d, rows)
        return new

    def put(self, rows: Array, other: KronPosterior) -> None:
        """Replace that of the realizations `rows` (a mask), in place."""
        for mine, theirs in zip(self._arrays(), other._arrays(), strict=True):
            mine[rows] = theirs
        for name in ("_weighted", "variance", "moment", "residual", "effective_parameters", "cost"):
            vars(self).pop(name, None)

    def _arrays(self) -> list[Array]:
        return [*self.gamma, self.noise_var, *self._p, *self._w, self._d, self._shrunk, self.mean]

    @cached_property
    def mean(self) -> Array:
        """Posterior mean μ, (B, n_1, …, n_I)."""
        return kron_apply(self._w, self._shrunk)

    @cached_property
    def _weighted(self) -> Array:
        """(|W_1|² ⊗ … ⊗ |W_I|²) D, or σ² times that where all modes are small."""
        return kron_apply(self._weights(), self._d)

    def _weights(self) -> list[Array]:
        """The |W_i|² that go with D in the variances, with the factors that they need."""
        weights = [abs2(w) for w in self._w]
        if all(self.model.small):
            weights[0] *= self.noise_var[:, None, None]
            return weights
        for weight, p, is_small in zip(weights, self._p, self.model.small, strict=True):
            if is_small:
                weight *= p[:, None, :]
        return weights

    @cached_property
    def variance(self) -> Array:
        """Posterior variances diag(Σ), (B, n_1, …, n_I)."""
        if all(self.model.small):
            return self._weighted
        # Rounding may leave it a little below 0.
        return namespace(self._weighted).abs(outer(self.gamma) - self._weighted)

    @cached_property
    def moment(self) -> Array:
        """Posterior second moments Λ = |μ|² + diag(Σ), (B, n_1, …, n_I)."""
        gamma = [0.0 * g for g in self.gamma] if all(self.model.small) else self.gamma
        return second_moments(self.mean, gamma, self._weighted)

    def sweep(self) -> tuple[Array, ...]:
        """Factors of γ after one sweep of alternating minimisation; see `operations.alternate`."""
        spread = Spread(self._d, self._weights(), explained=not all(self.model.small))
        return alternate(abs2(self.mean), self.gamma, spread=spread)[0]

    @property
    def finite(self) -> Array:
        """Whether the mean is finite, (B,)."""
        return namespace(self.mean).isfinite(total(self.mean))

    @cached_property
    def residual(self) -> Array:
        """‖y − Aμ‖², (B,)."""
        return total(abs2(self.model.y - kron_apply(self.model.factors, self.mean)))

    @cached_property
    def effective_parameters(self) -> Array:
        """Σ_n (1 − Σ_nn/γ_n) = Σ p ∘ D, (B,): how many entries of x the data determine."""
        return total(outer(self._p) * self._d)

    @cached_property
    def cost(self) -> Array:
        """SBL cost log|σ²I + AΓAᴴ| + yᴴ(σ²I + AΓAᴴ)⁻¹y, (B,)."""
        xp, m = namespace(self._d), math.prod(self.model.measurements)
        rest = float(m - math.prod(self._d.shape[1:]))
        logdet = total(-xp.log(self._d)) + rest * xp.log(self.noise_var)
        small = zip(self._p, self.model.small, strict=True)
        # What the prior pays for μ, ‖Γ^-½ μ‖², without a division by γ.
        prior = outer([xp.ones_like(p) if is_small else p for p, is_small in small])
        penalty = total(prior * abs2(self._shrunk))
        return logdet + self.residual / self.noise_var + penalty


class KronModel:
    """A batch of realizations of y = (A_1 ⊗ … ⊗ A_I) x + n, reduced to the atoms still in use.

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
    factors : list of arrays (M_i, n_i) or (B, M_i, n_i)
        Columns of the dictionary factors that are in use.
    index : list of arrays (B, n_i) or None
        Which atoms those are; None for all of them. Rows that use fewer atoms than the batch's
        maximum are padded with atoms whose γ is 0.
    small : list of bool
        Modes with no more atoms than measurements. They work with AᴴA, and their mode of `data`
        holds Aᴴy instead of y.
    """

    def __init__(self, problem: Problem, *, data_units: bool = False) -> None:
        self.dims, self.measurements = problem.dims, problem.measurements
        unit = data_unit(problem) if data_units else arrays.full(problem.y, (problem.batch,), 1.0)
        self.unit = unit
        self.atom_weights = atom_weights(problem) if data_units else None
        self.factors = list(problem.factors)
        self.index: list[Array | None] = [None] * len(self.factors)
        self.data = problem.y
        self.small = [False] * len(self.factors)
        self._grams: list[Array | None] = [None] * len(self.factors)
        self._all_y, self._rows = problem.y, arrays.arange(problem.y, problem.batch)
        for mode in range(len(self.factors)):
            self._choose_side(mode)

    @cached_property
    def y(self) -> Array:
        """Measurements, (B, M_1, …, M_I); gathered only for those who ask."""
        return take(self._all_y, self._rows)

    def gamma_factors(self, gamma: Gamma) -> tuple[Array, ...]:
        """Hyperparameters over all atoms as this model's tuple of factors."""
        if not isinstance(gamma, tuple):
            raise ValueError("gamma must be a tuple with one array per factor")
        return normalize(gamma)

    def take(self, rows: Array) -> KronModel:
        """The model of the realizations `rows` (indices or a mask)."""
        new = self._copy()
        new._rows, new.data = take(self._rows, rows), take(self.data, rows)
        new.factors = [a if a.ndim == 2 else take(a, rows) for a in self.factors]
        new._grams = [g if g is None or g.ndim == 2 else take(g, rows) for g in self._grams]
        new.index = [None if index is None else take(index, rows) for index in self.index]
        new.unit = take(self.unit, rows)
        if self.atom_weights is not None:
            new.atom_weights = tuple(take(weight, rows) for weight in self.atom_weights)
        new.__dict__.pop("y", None)
        return new

    def compact(self, gamma: tuple[Array, ...], *others: tuple[Array, ...]) -> tuple[Any, ...]:
        """The model without atoms that no realization uses any more, and γ of those that stay."""
        new, results = self, [list(g) for g in (gamma, *others)]
        xp = namespace(gamma[0])
        if bool(xp.all(xp.concat(gamma, axis=1) != 0)):
            return self, gamma, *others
        for mode, g in enumerate(gamma):
            count = max(int(xp.max(xp.count_nonzero(g, axis=1))), 1)
            if count < g.shape[1]:
                idle = xp.astype(g == 0, xp.int8)
                keep = xp.argsort(idle, axis=1, stable=True)[:, :count]
                new = self._copy() if new is self else new
                new._select(mode, keep)
                for result in results:
                    result[mode] = xp.take_along_axis(result[mode], keep, axis=1)
        return new, *map(tuple, results)

    def _copy(self) -> KronModel:
        new = copy.copy(self)
        for name in ("factors", "index", "small", "_grams"):
            setattr(new, name, list(getattr(self, name)))
        return new

    def _choose_side(self, mode: int) -> None:
        factor = self.factors[mode]
        if not self.small[mode] and factor.shape[-1] <= factor.shape[-2]:
            self.small[mode] = True
            self._grams[mode] = adjoint(factor) @ factor
            self.data = mode_product(self.data, adjoint(factor), mode)

    def _select(self, mode: int, keep: Array) -> None:
        """Keep the atoms `keep` (B, n) of one mode, positions among the present ones."""
        gram, index = self._grams[mode], self.index[mode]
        self.factors[mode] = arrays.contiguous(arrays.columns(self.factors[mode], keep))
        self.index[mode] = keep if index is None else arrays.gather(index, keep, 1)
        if self.atom_weights is not None:
            weights = list(self.atom_weights)
            weights[mode] = arrays.gather(weights[mode], keep, 1)
            self.atom_weights = tuple(weights)
        if gram is not None:
            self._grams[mode] = arrays.gather(arrays.columns(gram, keep), keep, 1)
            self.data = arrays.gather(self.data, keep, mode + 1)
        self._choose_side(mode)

    def expand(self, x: Array) -> Array:
        """A tensor over the atoms in use, (B, n_1, …, n_I), as one over all, 0 elsewhere."""
        for mode, index in enumerate(self.index):
            if index is not None:
                x = arrays.scatter(x, index, self.dims[mode], mode + 1)
        return x

    def expand_gamma(self, gamma: tuple[Array, ...]) -> Gamma:
        """Factors of γ over all atoms."""
        return tuple(
            arrays.copied(g) if index is None else arrays.scatter(g, index, n, 1)
            for g, index, n in zip(gamma, self.index, self.dims, strict=True)
        )

    def spectrum(self, mode: int, gamma: Array) -> tuple[Array, Array, Array]:
        """Eigenvalues p (B, r), W (B, n, r) and the rotation of the data (B, r, d) of one mode."""
        xp, gram = namespace(gamma), self._grams[mode]
        if gram is None:
            scaled = self.factors[mode] * gamma[:, None, :]
            p, u = eigh(scaled @ adjoint(self.factors[mode]))
            left = adjoint(u)
            w = adjoint(left @ scaled)
            if self.atom_weights is not None:
                # Where p is 0, so is W; what rounding leaves of it would be divided by σ².
                nothing = p <= p.shape[1] * EPSILON * xp.max(p, axis=1, keepdims=True)
                p, w = xp.where(nothing, 0.0, p), xp.where(nothing[:, None, :], 0.0, w)
        else:
            root = xp.sqrt(gamma)
            p, v = eigh(root[:, :, None] * gram * root[:, None, :])
            w = root[:, :, None] * v
            left = adjoint(w)
        # Rounding leaves tiny negative eigenvalues where the matrix is singular.
        return xp.maximum(p, 0.0), w, left

    def posterior(self, gamma: tuple[Array, ...], noise_var: Array) -> KronPosterior:
        """The posterior at γ (factors over the atoms in use) and the noise variance, (B,)."""
        return KronPosterior(self, gamma, noise_var)
