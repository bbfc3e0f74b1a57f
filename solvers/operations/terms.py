"""What operations are told, and what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

from solvers.arrays import Array


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


class Spread(NamedTuple):
    """Posterior variances as sums: (W_1 ⊗ … ⊗ W_I) d, or where `explained` γ minus that."""

    d: Array
    """(B, r_1, …, r_I)"""

    weights: Sequence[Array]
    """W_i, (B, n_i, r_i)"""

    explained: bool


class Sweeps(NamedTuple):
    """How, and for how long, to sweep; see `alternate`."""

    tolerance: float
    relative: bool
    most: int
    coupling: Coupling | None
    unit: Array | None
    spread: Spread | None


class Systems(Protocol):
    """What `solve_systems` is asked to solve: a batch with the atoms that are in use."""

    y: Array
    dims: tuple[int, ...]
    factors: list[Array]
    pairs: list[Array]
    grams: Array
    correlation: Array
    index: Array | None

    def take(self, rows: Array) -> Self:
        """Some of the realizations."""

    def select(self, x: Array) -> Array:
        """(B, N_1, …, N_I) as (B, n), only the atoms in use."""

    def expand(self, x: Array) -> Array:
        """(B, n) as (B, N_1, …, N_I), 0 elsewhere."""


class Parts(NamedTuple):
    """Posterior of some realizations under an unstructured prior, over the atoms of the model."""

    mean: Array  # (b, n)
    variance: Array  # (b, n)
    effective_parameters: Any  # Σ_n (1 − Σ_nn/γ_n)
    logdet: Any  # of σ²I + AΓAᴴ
    penalty: Any  # ‖Γ^-½ μ‖²
