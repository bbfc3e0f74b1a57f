"""Pattern-coupled SBL: priors in which neighbouring entries share their variance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from solvers.arrays import namespace, zeros
from solvers.kron_model import KronModel
from solvers.kron_sbl import AlternatingSBL
from solvers.operations.terms import Coupling
from solvers.options import option, published
from solvers.posterior import MStep, Posterior
from solvers.problem import Array, Gamma, Problem
from solvers.sbl import FlatSBL


@dataclass(frozen=True)
class PCKroSBL(AlternatingSBL):
    """PC-KroSBL, the block solver: AM-KroSBL whose coupled factors have variances C γ_i.

    C is tridiagonal, 1 on the diagonal and β beside it, so that an entry's variance leans on
    its neighbours'; where atoms have been pruned, C is restricted to those that are left.
    Eqs. `eq:coupling` and `eq:pc-step` of docs/numbers.md.

    Notes
    -----
    Source: He and Joseph, arXiv 2307.14719, the extension to block sparsity;
    ``kroSBL_am_pc.m`` of the authors' code. The defaults are those of the IRS study, except that
    pruning is the same for all factors (there 1e-1 for the second) and that all are coupled
    (there the first and the third).
    """

    prune_absolute: float | tuple[float, ...] = option(
        1e-4, "drop atoms whose γ is below this", per_factor=True, at_least=0.0
    )
    inner_tolerance: float = option(1e-4, "stop the inner loop at this change of γ", at_least=0.0)
    inner_criterion: str = option(
        "relative",
        "what the inner tolerance bounds: ‖Δγ‖ or ‖Δγ‖/‖γ‖",
        choices=("absolute", "relative"),
    )
    inner_max_iterations: int = option(9, "cap on inner iterations", at_least=1)
    beta: float | tuple[float, ...] = option(
        0.5,
        "weight of a neighbour; one value, or one per coupled factor",
        per_factor=True,
        at_least=0.0,
    )
    coupled: tuple[int, ...] | None = option(
        None,
        "factors with coupling, counted from 0; all by default",
        per_factor=True,
        optional=True,
        type=int,
        at_least=0,
    )
    floor: float = option(1e-5, "least variance of a coupled entry in use", at_least=0.0)

    source: ClassVar[str] = "He and Joseph, arXiv 2307.14719, PC-KroSBL"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(
        AlternatingSBL,
        prune_absolute=1e-4,
        inner_tolerance=1e-4,
        inner_criterion="relative",
        inner_max_iterations=9,
        floor=1e-5,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.coupled, int):
            object.__setattr__(self, "coupled", (self.coupled,))
        if isinstance(self.beta, tuple) and self.coupled and len(self.beta) != len(self.coupled):
            raise ValueError(
                f"beta lists {len(self.beta)} values for {len(self.coupled)} coupled factors"
            )
        if self.coupled is not None and len(set(self.coupled)) < len(self.coupled):
            raise ValueError(f"coupled names a factor twice: {list(self.coupled)}")

    def _check_length(self, name: str, value: tuple[float, ...], factors: int) -> None:
        if name == "coupled":
            if max(value) >= factors:
                raise ValueError(
                    f"coupled names factor {max(value)}, the problem has 0 to {factors - 1}"
                )
        elif name != "beta" or self.coupled is None:
            super()._check_length(name, value, factors)

    def _betas(self, factors: int) -> dict[int, float]:
        """β by coupled factor."""
        coupled = range(factors) if self.coupled is None else self.coupled
        values = self.beta if isinstance(self.beta, tuple) else (self.beta,) * len(coupled)
        return dict(zip(coupled, values, strict=True))

    def start(self, problem: Problem) -> Gamma:
        """γ = C 1 for coupled factors, 1 for the others."""
        gamma = [np.ones(n) for n in problem.dims]
        for mode, beta in self._betas(len(gamma)).items():
            padded = np.pad(gamma[mode], 1)
            gamma[mode] = padded[1:-1] + beta * (padded[:-2] + padded[2:])
        return tuple(gamma)

    def coupling(self, posterior: Posterior) -> Coupling:
        """Coupling restricted to the atoms still in use."""
        model: KronModel = posterior.model
        betas = self._betas(len(posterior.gamma))
        positions = [
            np.broadcast_to(np.arange(g.shape[1]), g.shape) if index is None else index
            for g, index in zip(posterior.gamma, model.index, strict=True)
        ]
        by_factor = tuple(betas.get(mode, np.nan) for mode in range(len(positions)))
        return Coupling(tuple(positions), by_factor, self.floor)


@dataclass(frozen=True)
class PCSBL(FlatSBL):
    """PC-SBL on the flattened x: an entry's precision is α_n + η(α_{n−1} + α_{n+1}).

    Notes
    -----
    Source: Fang, Shen, Li and Wang, *Pattern-Coupled Sparse Bayesian Learning for Recovery of
    Block-Sparse Signals*, IEEE TSP 63(2), 2015; ``PCSBL.m`` of the authors' code of arXiv
    2307.14719, which this follows: α > 1e3 min α is set to 1e10 in each iteration (and may come
    back), the update of α is the one for real data also where data are complex, and the change
    of μ decides when to stop. Eqs. `eq:pcsbl-moment` to `eq:pcsbl-step` of docs/numbers.md.
    """

    a: float = option(0.5, "shape of the Gamma prior of α", at_least=0.0)
    b: float = option(1e-4, "rate of the Gamma prior of α", above=0.0)
    eta: float = option(0.9, "weight of a neighbour", at_least=0.0)

    any_array: ClassVar[bool] = True
    stops_on: ClassVar[str] = "mean"
    no_descent: ClassVar[str] = "precisions that lean on their neighbours' are updated otherwise"
    source: ClassVar[str] = "Fang et al., IEEE TSP 63(2), 2015"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(FlatSBL, b=1e-4)

    def maximize(self, posterior: Posterior) -> MStep:
        """New precisions from the second moments of each entry and its neighbours."""
        unit = posterior.model.unit[:, None]  # of which b and the 1e10 are meant
        expected = self._with_neighbours(posterior.moment / unit)
        alpha, xp = (self.a + 0.5) / (0.5 * expected + self.b), namespace(unit)
        alpha = xp.where(alpha > 1e3 * xp.min(alpha, axis=1, keepdims=True), 1e10, alpha)
        return MStep((unit / self._with_neighbours(alpha),))

    def _with_neighbours(self, v: Array) -> Array:
        """v_n + η (v_{n−1} + v_{n+1}), with nothing beyond the ends."""
        nothing = zeros(v, (v.shape[0], 1))
        padded = namespace(v).concat([nothing, v, nothing], axis=1)
        return v + self.eta * (padded[:, :-2] + padded[:, 2:])
