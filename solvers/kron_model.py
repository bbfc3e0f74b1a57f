"""The E-step of a Kronecker prior: the posterior of x for γ = γ_1 ⊗ … ⊗ γ_I, for a batch."""

from __future__ import annotations

import copy
from functools import cached_property

import numpy as np

from solvers.core import Array, Gamma, Problem
from solvers.kron import abs2, adjoint, eigh, kron_apply, mode_product, normalize, outer, total

LEAST_ROWS = 16
"""Fewer rows are not worth a batch of their own."""

WORK_OF_A_BATCH = 300.0
"""What an iteration of a batch costs besides the work on its rows, in units of `_work`."""


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

    which for n×n modes alone is σ² (|W_1|² ⊗ …) D, free of cancellation: Eqs. (5) to (12) of
    docs/numbers.md. `eigh` is used throughout: the authors' code calls a general `eig` on
    matrices that rounding has left unsymmetric, whose vectors are not orthonormal where
    eigenvalues coincide.
    """

    def __init__(self, model: KronModel, gamma: tuple[Array, ...], noise_var: Array) -> None:
        self.model, self.gamma, self.noise_var = model, gamma, noise_var
        modes = [model.spectrum(i, g) for i, g in enumerate(gamma)]
        self._p = [p for p, _, _ in modes]
        self._w = [w for _, w, _ in modes]
        self._rotated = kron_apply([left for _, _, left in modes], model.data)
        d = outer(self._p)
        d += noise_var.reshape(-1, *[1] * len(gamma))
        self._d = np.divide(1.0, d, out=d)

    def take(self, rows: Array) -> KronPosterior:
        """The posterior of the realizations `rows` (indices), to be evaluated anew."""
        new = KronPosterior.__new__(KronPosterior)
        new.model, new.noise_var = self.model.take(rows), self.noise_var[rows]
        new.gamma = tuple(g[rows] for g in self.gamma)
        new._p, new._w = [p[rows] for p in self._p], [w[rows] for w in self._w]
        new._rotated, new._d = self._rotated[rows], self._d[rows]
        return new

    @cached_property
    def mean(self) -> Array:
        """Posterior mean μ, (B, n_1, …, n_I)."""
        return kron_apply(self._w, self._d * self._rotated)

    @cached_property
    def variance(self) -> Array:
        """Posterior variances diag(Σ), (B, n_1, …, n_I)."""
        weights = [abs2(w) for w in self._w]
        if all(self.model.small):
            weights[0] *= self.noise_var[:, None, None]
            return kron_apply(weights, self._d)
        for weight, p, is_small in zip(weights, self._p, self.model.small, strict=True):
            if is_small:
                weight *= p[:, None, :]
        explained = kron_apply(weights, self._d)
        variance = np.subtract(outer(self.gamma), explained, out=explained)
        # Rounding may leave it a little below 0. (`maximum` takes five times as long as `abs`.)
        return np.abs(variance, out=variance)

    @cached_property
    def moment_parts(self) -> list[tuple[Array, list[Array] | None]]:
        """Λ as a sum of (W_1 ⊗ … ⊗ W_I) T: tensors T and matrices W_i (B, n_i, r_i), or none.

        For those who only need sums over Λ: the tensor of the variances is then never formed.
        """
        weights = [abs2(w) for w in self._w]
        parts: list[tuple[Array, list[Array] | None]] = [(abs2(self.mean), None)]
        if all(self.model.small):
            weights[0] *= self.noise_var[:, None, None]
            return [*parts, (self._d, weights)]
        for weight, p, is_small in zip(weights, self._p, self.model.small, strict=True):
            if is_small:
                weight *= p[:, None, :]
        one = np.ones((len(self._d), *[1] * len(weights)))
        return [*parts, (one, [g[:, :, None] for g in self.gamma]), (-self._d, weights)]

    @cached_property
    def moment(self) -> Array:
        """Posterior second moments Λ = |μ|² + diag(Σ), (B, n_1, …, n_I)."""
        moment = abs2(self.mean)
        moment += self.variance
        return moment

    @cached_property
    def residual(self) -> Array:
        """‖y − Aμ‖², (B,)."""
        return total(abs2(self.model.y - kron_apply(self.model.factors, self.mean)))

    @cached_property
    def determined(self) -> Array:
        """Σ_n (1 − Σ_nn/γ_n) = Σ p ∘ D, (B,): how many entries of x the data determine."""
        return total(outer(self._p) * self._d)

    @cached_property
    def cost(self) -> Array:
        """SBL cost log|σ²I + AΓAᴴ| + yᴴ(σ²I + AΓAᴴ)⁻¹y, (B,)."""
        m = float(np.prod(self.model.measurements))
        logdet = total(-np.log(self._d)) + (m - self._d[0].size) * np.log(self.noise_var)
        small = zip(self._p, self.model.small, strict=True)
        # What the prior pays for μ, ‖Γ^-½ μ‖², without a division by γ.
        prior = outer([np.ones_like(p) if is_small else p for p, is_small in small])
        penalty = total(prior * abs2(self._d * self._rotated))
        return logdet + self.residual / self.noise_var + penalty


class KronModel:
    """A batch of realizations of y = (A_1 ⊗ … ⊗ A_I) x + n, reduced to the atoms still in use.

    Never changed in place: `take` and `compact` return new models.

    Parameters
    ----------
    problem
        The realizations to work on.

    Attributes
    ----------
    factors : list of arrays (M_i, n_i) or (B, M_i, n_i)
        Columns of the dictionary factors that are in use.
    index : list of arrays (B, n_i) or None
        Which atoms those are; None for all of them. Rows that use fewer atoms than the batch's
        maximum are padded with atoms whose γ is 0.
    small : list of bool
        Modes with no more atoms than measurements. They work with AᴴA, and their mode of `data`
        holds Aᴴy instead of y.
    """

    def __init__(self, problem: Problem) -> None:
        self.dims, self.measurements = problem.dims, problem.measurements
        self.factors = list(problem.factors)
        self.index: list[Array | None] = [None] * len(self.factors)
        self.data = problem.y
        self.small = [False] * len(self.factors)
        self._grams: list[Array | None] = [None] * len(self.factors)
        self._all_y, self._rows = problem.y, np.arange(problem.batch)
        for mode in range(len(self.factors)):
            self._choose_side(mode)

    @cached_property
    def y(self) -> Array:
        """Measurements, (B, M_1, …, M_I); gathered only for those who ask."""
        return self._all_y[self._rows]

    def gamma_factors(self, gamma: Gamma) -> tuple[Array, ...]:
        """Hyperparameters over all atoms as this model's tuple of factors."""
        if not isinstance(gamma, tuple):
            raise ValueError("gamma must be a tuple with one array per factor")
        return normalize(gamma)

    def take(self, rows: Array) -> KronModel:
        """Only the realizations `rows` (indices or a mask)."""
        new = self._copy()
        new._rows, new.data = self._rows[rows], self.data[rows]
        new.factors = [a if a.ndim == 2 else a[rows] for a in self.factors]
        new._grams = [g if g is None or g.ndim == 2 else g[rows] for g in self._grams]
        new.index = [None if index is None else index[rows] for index in self.index]
        new.__dict__.pop("y", None)
        return new

    def compact(self, gamma: tuple[Array, ...]) -> tuple[KronModel, tuple[Array, ...]]:
        """The model without atoms that no realization uses any more, and γ of those that stay."""
        new, result = self, list(gamma)
        for mode, g in enumerate(gamma):
            used = g > 0
            count = max(int(used.sum(axis=1).max()), 1)
            if count < g.shape[1]:
                keep = np.argsort(~used, axis=1, kind="stable")[:, :count]
                new = self._copy() if new is self else new
                new._select(mode, keep)
                result[mode] = np.take_along_axis(g, keep, axis=1)
        return new, tuple(result)

    def split(self, gamma: tuple[Array, ...]) -> Array | None:
        """Rows to go on without the others, where padding costs more than a second batch would.

        Rows are padded to the atoms of the largest. Where many need far fewer, two batches are
        cheaper than one.

        Returns
        -------
        array of indices, or None
        """
        if len(gamma[0]) < 2 * LEAST_ROWS:
            return None
        counts = np.stack([(g > 0).sum(axis=1) for g in gamma], axis=1)
        order = np.argsort(_work(counts, self.measurements), kind="stable")
        counts = counts[order]
        # The dearest row that a batch of the first k would be padded to, mode by mode.
        padded = _work(np.maximum.accumulate(counts, axis=0), self.measurements)
        sizes = np.arange(LEAST_ROWS, len(order) - LEAST_ROWS + 1)
        saved = sizes * (padded[-1] - padded[sizes - 1])
        best = int(np.argmax(saved))
        return order[: sizes[best]] if saved[best] > WORK_OF_A_BATCH else None

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
        rows = np.arange(len(keep))[:, None]
        factor, gram, index = self.factors[mode], self._grams[mode], self.index[mode]
        columns = factor.T[keep] if factor.ndim == 2 else factor.swapaxes(1, 2)[rows, keep]
        self.factors[mode] = np.ascontiguousarray(columns.swapaxes(1, 2))
        self.index[mode] = keep if index is None else index[rows, keep]
        if gram is not None:
            pair = (keep[:, :, None], keep[:, None, :])
            self._grams[mode] = gram[pair] if gram.ndim == 2 else gram[rows[:, :, None], *pair]
            along = _along(keep, mode, self.data.ndim)
            self.data = np.take_along_axis(self.data, along, axis=mode + 1)
        self._choose_side(mode)

    def expand(self, x: Array) -> Array:
        """A tensor over the atoms in use, (B, n_1, …, n_I), as one over all, 0 elsewhere."""
        for mode, index in enumerate(self.index):
            if index is not None:
                shape = (*x.shape[: mode + 1], self.dims[mode], *x.shape[mode + 2 :])
                full = np.zeros(shape, x.dtype)
                np.put_along_axis(full, _along(index, mode, x.ndim), x, axis=mode + 1)
                x = full
        return x

    def expand_gamma(self, gamma: tuple[Array, ...]) -> Gamma:
        """Factors of γ over all atoms."""
        full = [np.zeros((len(g), n)) for g, n in zip(gamma, self.dims, strict=True)]
        for target, g, index in zip(full, gamma, self.index, strict=True):
            if index is None:
                target[:] = g
            else:
                np.put_along_axis(target, index, g, axis=1)
        return tuple(full)

    def spectrum(self, mode: int, gamma: Array) -> tuple[Array, Array, Array]:
        """Eigenvalues p (B, r), W (B, n, r) and the rotation of the data (B, r, d) of one mode."""
        gram = self._grams[mode]
        if gram is None:
            scaled = self.factors[mode] * gamma[:, None, :]
            p, u = eigh(scaled @ adjoint(self.factors[mode]))
            left = adjoint(u)
            w = adjoint(left @ scaled)
        else:
            root = np.sqrt(gamma)
            p, v = eigh(root[:, :, None] * gram * root[:, None, :])
            w = root[:, :, None] * v
            left = adjoint(w)
        # Rounding leaves tiny negative eigenvalues where the matrix is singular.
        return np.maximum(p, 0.0), w, left

    def posterior(self, gamma: tuple[Array, ...], noise_var: Array) -> KronPosterior:
        """The posterior at γ (factors over the atoms in use) and the noise variance, (B,)."""
        return KronPosterior(self, gamma, noise_var)


def _work(counts: Array, measurements: tuple[int, ...]) -> Array:
    """Relative cost of an iteration by the atoms per mode, (…, I): eigenproblems and tensors.

    Constants are microseconds of one machine; only their ratio matters.
    """
    order = np.minimum(counts, measurements)
    return 0.06 * (order**2).sum(axis=-1) + 0.008 * counts.prod(axis=-1)


def _along(index: Array, mode: int, ndim: int) -> Array:
    """Positions (B, n) along one mode, shaped to broadcast against a tensor of `ndim` axes."""
    return index.reshape(len(index), *[1] * mode, -1, *[1] * (ndim - mode - 2))
