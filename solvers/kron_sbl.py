"""Kronecker-structured SBL: three M-steps for the prior x ~ N(0, diag(γ_1 ⊗ … ⊗ γ_I))."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar, Protocol, Self

import numpy as np

from solvers.core import Array, Gamma, Problem, option, per_factor
from solvers.em import EMSolver, MStep, Posterior
from solvers.kron import distance2, leading_vectors, norm2, normalize
from solvers.kron_model import KronModel, KronPosterior


@dataclass(frozen=True)
class KroneckerSBL(EMSolver):
    """What solvers with γ = γ_1 ⊗ … ⊗ γ_I share: the E-step, the start and the pruning."""

    prune: float | tuple[float, ...] = option(
        1e-2,
        "drop atoms below this share of their factor's largest γ",
        per_factor=True,
        at_least=0.0,
        below=1.0,
    )
    prune_absolute: float | tuple[float, ...] = option(
        0.0, "drop atoms whose γ is below this", per_factor=True, at_least=0.0
    )

    def model(self, problem: Problem) -> KronModel:
        """The Kronecker E-step of `solvers.kron`."""
        return KronModel(problem)

    def start(self, problem: Problem) -> Gamma:
        """γ = 1."""
        return tuple(np.ones(n) for n in problem.dims)

    def prune_bounds(self, factors: int) -> tuple[Sequence[float], Sequence[float]]:
        """The options `prune` and `prune_absolute`, spelt out per factor."""
        return per_factor(self.prune, factors), per_factor(self.prune_absolute, factors)


class Coupling(Protocol):
    """A constraint on the factors of γ, applied to each as soon as it is updated."""

    def apply(self, mode: int, gamma: Array) -> Array:
        """The nearest factor that keeps the constraint, for (B, n_i)."""

    def take(self, rows: Array) -> Self:
        """Only some of the rows."""


def _over_last(t: Array, r: Array) -> Array:
    """Contract the last mode of (B, n_1, …, n_k) with (B, n_k)."""
    return (t.reshape(len(t), -1, t.shape[-1]) @ r[:, :, None]).reshape(t.shape[:-1])


def _over_first(t: Array, r: Array) -> Array:
    """Contract the first mode of (B, n_1, …, n_k) with (B, n_1)."""
    return (r[:, None, :] @ t.reshape(*t.shape[:2], -1)).reshape(len(t), *t.shape[2:])


class _Part:
    """One of the terms (W_1 ⊗ … ⊗ W_I) T that Λ is the sum of, and its sums over modes."""

    def __init__(self, tensor: Array, weights: Sequence[Array] | None) -> None:
        self._tensor, self._weights = tensor, weights

    def begin(self, vectors: Sequence[Array]) -> None:
        """Get ready for a sweep with these vectors (B, n_i), one per mode."""
        self._vectors: list[Array] = []
        for mode, vector in enumerate(vectors):
            self._vectors.append(vector)
            self.renew(mode, vector)
        # partial[i] is T with its last i modes summed out. They still have their old values when
        # it is the turn of the mode before, so each is computed once.
        self._partial = [self._tensor]
        for vector in reversed(self._vectors[1:]):
            self._partial.append(_over_last(self._partial[-1], vector))

    def renew(self, mode: int, vector: Array) -> None:
        """Take another vector for a mode."""
        if self._weights is not None:
            vector = (vector[:, None, :] @ self._weights[mode])[:, 0]
        self._vectors[mode] = vector

    def along(self, mode: int) -> Array:
        """Contract all modes but one with their vectors, (B, n)."""
        t = self._partial[-1 - mode]
        for vector in self._vectors[:mode]:
            t = _over_first(t, vector)
        return t if self._weights is None else (self._weights[mode] @ t[:, :, None])[:, :, 0]

    def keep(self, rows: Array) -> None:
        """Go on with some of the rows only."""
        self._tensor = self._tensor[rows]
        self._weights = None if self._weights is None else [w[rows] for w in self._weights]


class Alternation:
    """Alternating minimisation of the M-step's objective Σ log γ + Λ/γ over the factors of γ.

    Parameters
    ----------
    moment : sequence of (tensor, matrices or None)
        Posterior second moments Λ, 0 at atoms out of use, as a sum of terms; see
        `solvers.kron_model.KronPosterior.moment_parts`.
    gamma : sequence of arrays (B, n_i)
        Where to start; 0 at atoms out of use.
    coupling
        A constraint on the factors.

    Attributes
    ----------
    gamma : list of arrays (B, n_i)
        The factors after the last `sweep`. Their scales are free, only the product counts; but
        with a coupling, whose floor is absolute, they are normalised as `solvers.kron.normalize`
        does after each sweep.
    """

    def __init__(
        self,
        moment: Sequence[tuple[Array, Sequence[Array] | None]],
        gamma: Sequence[Array],
        coupling: Coupling | None = None,
    ) -> None:
        self.gamma, self._coupling = list(gamma), coupling
        self._parts = [_Part(tensor, weights) for tensor, weights in moment]
        used = [g > 0 for g in gamma]
        counts = [np.maximum(u.sum(axis=1), 1)[:, None] for u in used]
        atoms = reduce(np.multiply, counts)
        self._shares = [count / atoms for count in counts]
        # Keeps the reciprocals finite where γ is 0; Λ is 0 there, so any value will do.
        self._gaps = [None if u.all() else ~u for u in used]
        self._reciprocals = [self._reciprocal(i) for i in range(len(gamma))]

    def _reciprocal(self, mode: int) -> Array:
        g, gap = self.gamma[mode], self._gaps[mode]
        return np.reciprocal(g if gap is None else g + gap)

    def sweep(self) -> None:
        """Give each factor in turn its exact minimiser, the others held at their newest values.

        γ_i ← (1/Π_{j≠i} n_j) Σ_{other indices} Λ / Π_{j≠i} γ_j, Eq. (16) of docs/numbers.md.
        """
        for part in self._parts:
            part.begin(self._reciprocals)
        for mode, share in enumerate(self._shares):
            g = reduce(np.add, [part.along(mode) for part in self._parts]) * share
            self.gamma[mode] = g if self._coupling is None else self._coupling.apply(mode, g)
            self._reciprocals[mode] = self._reciprocal(mode)
            for part in self._parts:
                part.renew(mode, self._reciprocals[mode])
        if self._coupling is not None:
            self.gamma = list(normalize(self.gamma))
            self._reciprocals = [self._reciprocal(i) for i in range(len(self.gamma))]

    def keep(self, rows: Array) -> None:
        """Go on with some of the rows only."""
        for part in self._parts:
            part.keep(rows)
        self.gamma = [g[rows] for g in self.gamma]
        self._shares = [share[rows] for share in self._shares]
        self._gaps = [gap if gap is None else gap[rows] for gap in self._gaps]
        self._reciprocals = [r[rows] for r in self._reciprocals]
        self._coupling = None if self._coupling is None else self._coupling.take(rows)


def alternate(
    moment: Array,
    gamma: tuple[Array, ...],
    *,
    tolerance: float,
    relative: bool,
    max_iterations: int,
    coupling: Coupling | None = None,
) -> MStep:
    """Sweep over the factors until γ stands still, each row for as long as it needs.

    Parameters
    ----------
    moment : array, (B, n_1, …, n_I)
        Posterior second moments Λ.
    gamma, coupling
        As for `Alternation`.
    tolerance
        Bound on ‖γ' − γ‖, or where `relative` on ‖γ' − γ‖/‖γ‖, of the whole γ: Eq. (17) of
        docs/numbers.md.
    relative
        Which of the two.
    max_iterations
        Cap on the sweeps. (Departure from the authors' code, which has none and may spin.)
    """
    state = Alternation([(moment, None)], gamma, coupling)
    result = [np.empty(g.shape) for g in gamma]
    rows, live = np.arange(len(moment)), np.ones(len(moment), bool)
    spent, capped = np.zeros(len(moment), int), np.zeros(len(moment), bool)
    for sweeps in range(1, max_iterations + 1):
        before = list(state.gamma)
        state.sweep()
        bound2 = tolerance**2 * (norm2(before) if relative else 1.0)
        # Written so that NaN ends a row, for the EM loop to see.
        ends = live & ~(distance2(state.gamma, before) > bound2)
        if sweeps == max_iterations:
            capped[rows], ends = live & ~ends, live
        if ends.any():
            spent[rows[ends]] = sweeps
            for target, g in zip(result, state.gamma, strict=True):
                target[rows[ends]] = g[ends]
            live &= ~ends
            left = np.flatnonzero(live)
            if not left.size:
                break
            if 2 * left.size <= live.size:  # until then rows that have ended are carried along
                rows, live = rows[left], live[left]
                state.keep(left)
    return MStep(normalize(result), spent, capped)


@dataclass(frozen=True)
class AlternatingSBL(KroneckerSBL):
    """What solvers share whose M-step alternates over the factors until γ stands still."""

    inner_tolerance: float = option(1e-5, "stop the inner loop at this change of γ", at_least=0.0)
    inner_criterion: str = option(
        "absolute",
        "what the inner tolerance bounds: ‖Δγ‖ or ‖Δγ‖/‖γ‖",
        choices=("absolute", "relative"),
    )
    inner_max_iterations: int = option(500, "cap on inner iterations", at_least=1)

    def coupling(self, posterior: Posterior) -> Coupling | None:
        """Constraint on the factors of γ: none."""
        return None

    def maximize(self, posterior: Posterior) -> MStep:
        """Alternating minimisation."""
        return alternate(
            posterior.moment,
            posterior.gamma,
            tolerance=self.inner_tolerance,
            relative=self.inner_criterion == "relative",
            max_iterations=self.inner_max_iterations,
            coupling=self.coupling(posterior),
        )


@dataclass(frozen=True)
class AMKroSBL(AlternatingSBL):
    """AM-KroSBL: EM whose M-step is solved by alternating minimisation to convergence.

    Notes
    -----
    Source: He and Joseph, arXiv 2307.14719, the AM-based algorithm; ``am_kroSBL.m`` and
    ``kroSBL_am.m`` of the authors' code. The defaults are those of the synthetic study.
    Departures: eigenvectors come from `eigh`, and the inner loop has a cap.
    """

    source: ClassVar[str] = "He and Joseph, arXiv 2307.14719, AM-KroSBL"


@dataclass(frozen=True)
class KSBL(KroneckerSBL):
    """KSBL: one alternating sweep per EM iteration.

    Notes
    -----
    Source: the earlier Kronecker SBL that He and Joseph compare with; ``sota_kroSBL.m`` of the
    authors' code. That code hands unsymmetric rounding of a rank-deficient matrix to `eig` and
    comes out wrong (NMSE 0.377 in a case where the symmetrised matrix gives 0.0155), so this
    solver was checked against the corrected version.
    """

    source: ClassVar[str] = "the Kronecker SBL that He and Joseph, arXiv 2307.14719, compare with"

    def maximize(self, posterior: Posterior) -> MStep:
        """A single sweep."""
        assert isinstance(posterior, KronPosterior)
        # One sweep does not pay for the tensor of the variances.
        state = Alternation(posterior.moment_parts, posterior.gamma)
        state.sweep()
        return MStep(normalize(state.gamma), inner_iterations=1)


@dataclass(frozen=True)
class SVDKroSBL(KroneckerSBL):
    """SVD-KroSBL: EM whose M-step approximates Λ by a Kronecker product, one SVD per factor.

    Λ, unfolded to (N_1, N_2…N_I), is replaced by its leading singular pair: γ_1 is the left
    vector, and the right one, times the singular value, is unfolded and split again. Eq. (18)
    of docs/numbers.md.

    Notes
    -----
    Source: He and Joseph, arXiv 2307.14719, the SVD-based algorithm; ``svd_kroSBL.m`` of the
    authors' code. The leading vectors of Λ come from the small Gram matrix of its unfolding.
    """

    prune: float | tuple[float, ...] = option(
        1e-3,
        "drop atoms below this share of their factor's largest γ",
        per_factor=True,
        at_least=0.0,
        below=1.0,
    )

    source: ClassVar[str] = "He and Joseph, arXiv 2307.14719, SVD-KroSBL"

    def maximize(self, posterior: Posterior) -> MStep:
        """Successive rank-one approximations."""
        rest = posterior.moment
        gamma: list[Array] = []
        for _ in posterior.gamma[:-1]:
            unfolded = rest.reshape(*rest.shape[:2], -1)
            left = leading_vectors(unfolded @ unfolded.swapaxes(1, 2))
            # Λ ≥ 0, so its leading pair is non-negative (Perron and Frobenius).
            rest = _over_first(rest, left)
            gamma.append(left)
        return MStep((*gamma, rest))
