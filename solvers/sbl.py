"""Classic SBL: EM with one hyperparameter for every entry of x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from solvers.acceleration import acceleration
from solvers.arrays import full
from solvers.em import EMSolver
from solvers.flat_model import FlatModel
from solvers.options import option, published
from solvers.posterior import MStep, Posterior
from solvers.problem import Gamma, Problem


@dataclass(frozen=True)
class FlatSBL(EMSolver):
    """Base class of solvers with an unstructured γ: their E-step and their start."""

    family: ClassVar[str] = "SBL without structure"

    def model(self, problem: Problem) -> FlatModel:
        """The E-step of `solvers.flat_model`."""
        return FlatModel(problem, data_units=self.scaling == "data")

    def start(self, problem: Problem) -> Gamma:
        """γ = 1."""
        return full(problem.y, problem.dims, 1.0)

    def prune_bounds(self, factors: int) -> tuple[Sequence[float], Sequence[float]]:
        """Bounds of 0: nothing is pruned."""
        return (0.0,) * factors, (0.0,) * factors


@dataclass(frozen=True)
class ClassicSBL(FlatSBL):
    """cSBL: the EM algorithm of sparse Bayesian learning, γ_n ← |μ_n|² + Σ_nn.

    Eq. `eq:csbl-step` of docs/numbers.md.

    Notes
    -----
    Source: Tipping, *Sparse Bayesian Learning and the Relevance Vector Machine*, JMLR 1, 2001;
    Wipf and Rao, IEEE TSP 52(8), 2004; ``classicSBL.m`` of the authors' code of arXiv 2307.14719.
    """

    prune: float = option(
        1e-3, "drop atoms below this share of the largest γ", at_least=0.0, below=1.0
    )
    acceleration: str = acceleration("momentum")

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(FlatSBL, prune=1e-3)
    any_array: ClassVar[bool] = True
    source: ClassVar[str] = "Tipping, JMLR 1, 2001; Wipf and Rao, IEEE TSP 52(8), 2004"

    def prune_bounds(self, factors: int) -> tuple[Sequence[float], Sequence[float]]:
        """The option `prune`."""
        return (self.prune,) * factors, (0.0,) * factors

    def maximize(self, posterior: Posterior) -> MStep:
        """γ becomes the second moments."""
        return MStep((posterior.moment,))
