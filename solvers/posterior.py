"""What the EM loop and the M-steps ask of a prior: its E-step, and the atoms in use."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, Self

from solvers.problem import Array, Gamma


class Posterior(Protocol):
    """An E-step as the loop and the M-steps need it, for B rows and the atoms in use.

    The hyperparameters γ are always a tuple of factors (B, n_i): a prior without structure is
    the Kronecker product of one factor of ΠN entries.
    """

    model: Any
    gamma: tuple[Array, ...]
    noise_var: Array

    @property
    def mean(self) -> Array:
        """Posterior mean μ."""

    @property
    def variance(self) -> Array:
        """Posterior variances diag(Σ)."""

    @property
    def moment(self) -> Array:
        """Second moments |μ|² + diag(Σ)."""

    @property
    def residual(self) -> Array:
        """‖y − Aμ‖², (B,)."""

    @property
    def effective_parameters(self) -> Array:
        """Effective number of parameters Σ_n (1 − Σ_nn/γ_n), (B,)."""

    @property
    def cost(self) -> Array:
        """SBL cost, (B,)."""

    @property
    def finite(self) -> Array:
        """Whether the mean is finite, (B,)."""

    def take(self, rows: Array) -> Self:
        """The posterior of some of the rows."""

    def put(self, rows: Array, other: Self) -> None:
        """Replace that of some of the rows, in place, by another over the same atoms."""


class Model(Protocol):
    """A batch of realizations under one kind of prior, reduced to the atoms in use."""

    unit: Array
    """Unit of absolute bounds on γ, (B,): 1 in the published way."""

    atom_weights: tuple[Array, ...] | None
    """What each factor of γ is weighed by where it is pruned, (B, n_i), so that weak atoms with a
    large γ of their own do not matter; None in the published way, which does not."""

    def gamma_factors(self, gamma: Gamma) -> tuple[Array, ...]:
        """Hyperparameters over all atoms, as given by a user, as this model's factors."""

    def compact(self, gamma: tuple[Array, ...], *others: tuple[Array, ...]) -> tuple[Any, ...]:
        """Drop atoms whose γ is 0 in every row, where that pays, from γ and others of its kind."""

    def posterior(self, gamma: tuple[Array, ...], noise_var: Array) -> Posterior:
        """The E-step."""

    def expand(self, x: Array) -> Array:
        """A tensor over the atoms in use as one over all, (B, N_1, …, N_I)."""

    def expand_gamma(self, gamma: tuple[Array, ...]) -> Gamma:
        """Hyperparameters over all atoms, as users see them."""


class MStep(NamedTuple):
    """Result of an M-step: new γ, and per row the inner iterations spent and whether capped."""

    gamma: tuple[Array, ...]
    inner_iterations: Array | int = 0
    inner_capped: Array | bool = False
