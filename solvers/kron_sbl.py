"""Kronecker-structured SBL: three M-steps for the prior x ~ N(0, diag(γ_1 ⊗ … ⊗ γ_I))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from solvers import kernels
from solvers.acceleration import acceleration
from solvers.em import EMSolver, initial_gamma
from solvers.kron import join, leading_vectors, sizes, split
from solvers.kron_model import KronModel, KronPosterior
from solvers.options import option, per_factor, published
from solvers.posterior import MStep, Posterior
from solvers.problem import Array, Gamma, Problem


@dataclass(frozen=True)
class KroneckerSBL(EMSolver):
    """Base class of solvers with γ = γ_1 ⊗ … ⊗ γ_I: their E-step, start and pruning."""

    family: ClassVar[str] = "Kronecker SBL"

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

    version: ClassVar[int] = 4

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(
        EMSolver, prune=1e-2, prune_absolute=0.0
    )

    def model(self, problem: Problem) -> KronModel:
        """The Kronecker E-step of `solvers.kron_model`."""
        return KronModel(problem, data_units=self.scaling == "data")

    def start(self, problem: Problem) -> Gamma:
        """γ = 1."""
        return tuple(np.ones(n) for n in problem.dims)

    def prune_bounds(self, factors: int) -> tuple[Sequence[float], Sequence[float]]:
        """The options `prune` and `prune_absolute`, spelt out per factor."""
        return per_factor(self.prune, factors), per_factor(self.prune_absolute, factors)


class Coupling(NamedTuple):
    """Constraint of PC-KroSBL: a coupled factor of γ equals C g + floor with g ≥ 0.

    C is tridiagonal, 1 on the diagonal and β beside it, restricted to the atoms in use, so that
    atoms lend variance to their neighbours.
    """

    positions: tuple[Array, ...]
    """Positions of the atoms along their modes, (B, n_i)."""

    betas: tuple[float, ...]
    """β per factor; NaN for those that are free."""

    floor: float


def alternate(
    moment: Array,
    gamma: tuple[Array, ...],
    *,
    tolerance: float,
    relative: bool,
    max_iterations: int,
    coupling: Coupling | None = None,
    unit: Array | None = None,
) -> MStep:
    """Sweep over the factors until γ stands still, each row for as long as it needs.

    Each factor in turn gets its exact minimiser of Σ log γ + Λ/γ, the others held at their newest
    values: γ_i ← (1/Π_{j≠i} n_j) Σ_{other indices} Λ / Π_{j≠i} γ_j, Eq. `eq:am-step` of
    docs/numbers.md; with a coupling, the vector nearest to that which keeps it.

    Parameters
    ----------
    moment : array, (B, n_1, …, n_I)
        Posterior second moments Λ, 0 at atoms out of use.
    gamma : sequence of arrays (B, n_i)
        Where to start; 0 at atoms out of use.
    tolerance
        Bound on ‖γ' − γ‖, or where `relative` on ‖γ' − γ‖/‖γ‖, of the whole γ: Eq. `eq:am-stop` of
        docs/numbers.md.
    relative
        Whether the tolerance is relative.
    max_iterations
        Cap on the sweeps. (Departure from the authors' code, which has none and may spin.)
    coupling
        A constraint on the factors.
    unit : array, (B,), optional
        What an absolute tolerance, and the floor of a coupled last factor, are multiples of. By
        default 1.
    """
    dims = sizes(gamma)
    if coupling is None:
        positions, betas, floor = np.empty((0, 0), int), np.full(len(dims), np.nan), 0.0
    else:
        positions = join(coupling.positions, int)
        betas, floor = np.array(coupling.betas), coupling.floor
    new, sweeps, capped = kernels.alternate_rows(
        moment.reshape(len(moment), -1),
        join(gamma),
        dims,
        tolerance,
        relative,
        max_iterations,
        positions,
        betas,
        floor,
        np.ones(len(moment)) if unit is None else unit,
    )
    return MStep(split(new, gamma), sweeps, capped)


@dataclass(frozen=True)
class AlternatingSBL(KroneckerSBL):
    """Base class of solvers whose M-step alternates over the factors until γ stands still."""

    inner_tolerance: float = option(1e-5, "stop the inner loop at this change of γ", at_least=0.0)
    inner_criterion: str = option(
        "absolute",
        "what the inner tolerance bounds: ‖Δγ‖ or ‖Δγ‖/‖γ‖",
        choices=("absolute", "relative"),
    )
    inner_max_iterations: int = option(500, "cap on inner iterations", at_least=1)
    acceleration: str = acceleration("momentum")

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(
        KroneckerSBL, inner_tolerance=1e-5, inner_criterion="absolute", inner_max_iterations=500
    )

    def coupling(self, posterior: Posterior) -> Coupling | None:
        """Constraint on the factors of γ; None where they are free."""
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
            unit=posterior.model.unit,
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

    acceleration: str = acceleration("momentum")

    source: ClassVar[str] = "the Kronecker SBL that He and Joseph, arXiv 2307.14719, compare with"

    def maximize(self, posterior: Posterior) -> MStep:
        """A single sweep, which does not pay for the tensor of the variances."""
        assert isinstance(posterior, KronPosterior)
        return MStep(posterior.sweep(), inner_iterations=1)


@dataclass(frozen=True)
class SVDKroSBL(KroneckerSBL):
    """SVD-KroSBL: EM whose M-step approximates Λ by a Kronecker product, one SVD per factor.

    Λ, unfolded to (N_1, N_2…N_I), is replaced by its leading singular pair: γ_1 is the left
    vector, and the right one, times the singular value, is unfolded and split again. Eq.
    `eq:svd-step` of docs/numbers.md.

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

    initial_gamma: float = initial_gamma(100.0)

    no_descent: ClassVar[str] = "a rank-one approximation of the second moments is no such step"
    source: ClassVar[str] = "He and Joseph, arXiv 2307.14719, SVD-KroSBL"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(KroneckerSBL, prune=1e-3)

    def maximize(self, posterior: Posterior) -> MStep:
        """Successive rank-one approximations."""
        rest = posterior.moment
        gamma: list[Array] = []
        for _ in posterior.gamma[:-1]:
            unfolded = rest.reshape(*rest.shape[:2], -1)
            left = leading_vectors(unfolded @ unfolded.swapaxes(1, 2))
            # Λ ≥ 0, so its leading pair is non-negative (Perron and Frobenius).
            rest = (left[:, None, :] @ unfolded).reshape(len(rest), *rest.shape[2:])
            gamma.append(left)
        return MStep((*gamma, rest))
