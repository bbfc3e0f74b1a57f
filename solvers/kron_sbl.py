"""Kronecker-structured SBL: three M-steps for the prior x ~ N(0, diag(γ_1 ⊗ … ⊗ γ_I))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from solvers.acceleration import acceleration
from solvers.arrays import Array, full, reshape
from solvers.em import EMSolver, initial_gamma
from solvers.kron_model import KronModel, KronPosterior
from solvers.operations import alternate, leading_vectors
from solvers.operations.terms import Coupling
from solvers.options import option, per_factor, published
from solvers.posterior import MStep, Posterior
from solvers.problem import Gamma, Problem


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
        return tuple(full(problem.y, (n,), 1.0) for n in problem.dims)

    def prune_bounds(self, factors: int) -> tuple[Sequence[float], Sequence[float]]:
        """The options `prune` and `prune_absolute`, spelt out per factor."""
        return per_factor(self.prune, factors), per_factor(self.prune_absolute, factors)


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
        found = alternate(
            posterior.moment,
            posterior.gamma,
            tolerance=self.inner_tolerance,
            relative=self.inner_criterion == "relative",
            max_iterations=self.inner_max_iterations,
            coupling=self.coupling(posterior),
            unit=posterior.model.unit,
        )
        return MStep(*found)


@dataclass(frozen=True)
class AMKroSBL(AlternatingSBL):
    """AM-KroSBL: EM whose M-step is solved by alternating minimisation to convergence.

    Notes
    -----
    Source: He and Joseph, arXiv 2307.14719, the AM-based algorithm; ``am_kroSBL.m`` and
    ``kroSBL_am.m`` of the authors' code. The defaults are those of the synthetic study.
    Departures: eigenvectors come from `eigh`, and the inner loop has a cap.
    """

    any_array: ClassVar[bool] = True
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

    any_array: ClassVar[bool] = True
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
    any_array: ClassVar[bool] = True
    source: ClassVar[str] = "He and Joseph, arXiv 2307.14719, SVD-KroSBL"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(KroneckerSBL, prune=1e-3)

    def maximize(self, posterior: Posterior) -> MStep:
        """Successive rank-one approximations."""
        rest = posterior.moment
        gamma: list[Array] = []
        for _ in posterior.gamma[:-1]:
            unfolded = reshape(rest, *rest.shape[:2], -1)
            left = leading_vectors(unfolded @ unfolded.mT)
            # Λ ≥ 0, so its leading pair is non-negative (Perron and Frobenius).
            rest = reshape(left[:, None, :] @ unfolded, rest.shape[0], *rest.shape[2:])
            gamma.append(left)
        return MStep((*gamma, rest))
