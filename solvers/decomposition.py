"""Decomposition: y is taken for a product of vectors, and each of them is a problem of its own.

Where x = x_1 ⊗ … ⊗ x_I, so is y = (A_1 x_1) ⊗ … ⊗ (A_I x_I) but for the noise. Where x is no such
product, none of this means anything.
"""

from __future__ import annotations

import dataclasses
import functools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from solvers.arrays import Array, conj, flat, full, namespace, reshape, wide, zeros
from solvers.core import Solver
from solvers.em import initial_gamma
from solvers.estimate import Estimate, Watch, ticking, told_at_the_end
from solvers.greedy import OMP
from solvers.judging import combined
from solvers.kron import abs2, adjoint, outer, total
from solvers.l1 import Lasso
from solvers.msbl import MSBL
from solvers.noise import NoiseOption
from solvers.operations import eigh
from solvers.options import option, published
from solvers.problem import Problem

SPAWC = 10**-0.33
"""Noise variance that the authors' first code starts from, whatever the factor."""


def decompose(y: Array) -> tuple[list[Array], Array, Array]:
    """Approximate tensors by products of vectors, one leading singular pair after the other.

    Parameters
    ----------
    y : array, (B, M_1, …, M_I)
        None of them 0.

    Returns
    -------
    list of I arrays (B, M_i)
        Vectors of unit norm: Eq. `eq:decompose` of docs/numbers.md.
    array, (B,)
        Norm of the product.
    array, (B,)
        Largest ratio of a second singular value to its first: 0 where y is such a product.
    """
    xp, batch = namespace(y), y.shape[0]
    largest_entry = xp.max(flat(xp.abs(y)), axis=1)  # so that no square overflows
    rest = y / wide(largest_entry, y.ndim)
    vectors, misfit = [], zeros(y, (batch,))
    for mode in range(1, y.ndim - 1):
        unfolded = reshape(rest, batch, y.shape[mode], -1)
        values, found = eigh(unfolded @ adjoint(unfolded))
        order = xp.argsort(values, axis=1)
        first = xp.take_along_axis(found, order[:, None, -1:], axis=2)[:, :, 0]
        rest = (conj(first)[:, None, :] @ unfolded)[:, 0, :]
        if values.shape[1] > 1:
            largest = xp.take_along_axis(values, order[:, -2:], axis=1)
            ratio = xp.maximum(largest[:, 0], 0.0) / largest[:, 1]
            misfit = xp.maximum(misfit, xp.sqrt(ratio))
        vectors.append(first)
    last = flat(rest)
    size = xp.sqrt(total(abs2(last)))
    return [*vectors, last / size[:, None]], size * largest_entry, misfit


@dataclass(frozen=True)
class Decomposed(Solver):
    """Base class of solvers that take y for a product of vectors, and solve for each by itself.

    Notes
    -----
    Source: He and Joseph, arXiv 2310.07869 (SPAWC 2024), and the authors' code of it. The vectors
    have unit norm and ‖y‖ goes into the last, which with `scaling` "none" is handed to its solver
    as it is and otherwise at unit norm as well. To first order the error of y_i is white, of
    variance σ²/‖y_1 ⊗ … ⊗ y_I‖² at unit norm: Eq. `eq:decompose-noise` of docs/numbers.md.
    Departure from the authors' code: vectors come from the eigenvectors of small Gram matrices.
    """

    diagnostics: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType(
        {"misfit": ("1", "largest second singular value over the first; 0 where y is a product")}
    )
    source: ClassVar[str] = "He and Joseph, arXiv 2310.07869"
    family: ClassVar[str] = "decomposition"

    @abstractmethod
    def of_factor(self, problem: Problem, factor: int, watch: Watch) -> Estimate:
        """The estimate of one vector x_i.

        Parameters
        ----------
        problem
            y_i and A_i, and the noise variance of y_i where that of y is known.
        factor
            Which one, from 0.
        watch
            To be handed on.
        """

    def _solve(self, problem: Problem, *, watch: Watch, **_: Any) -> Estimate:
        vectors, size, misfit = decompose(problem.y)
        left_over = size  # of the scale, to be put into x
        noise_var = problem.noise_var
        shares = [None if noise_var is None else noise_var / size / size] * len(vectors)
        if self.scaling == "none":
            vectors[-1], shares[-1] = vectors[-1] * size[:, None], noise_var
            left_over = 0.0 * size + 1.0
        parts = [
            self.of_factor(Problem(y, (a,), s), i, ticking(watch))
            for i, (y, a, s) in enumerate(zip(vectors, problem.factors, shares, strict=True))
        ]
        return told_at_the_end(watch, _product(parts, left_over, misfit))


def _product(parts: list[Estimate], size: Array, misfit: Array) -> Estimate:
    """The estimate of x = size · x_1 ⊗ … ⊗ x_I from those of its vectors, taken as independent."""
    xp, means = namespace(size), [part.x for part in parts if part.x is not None]
    means[-1] = means[-1] * size[:, None]
    found = Estimate(
        outer(means),
        combined([part.status for part in parts]),
        functools.reduce(xp.maximum, [part.iterations for part in parts]),
        diagnostics={"misfit": misfit},
    )
    variances = [part.variance for part in parts if part.variance is not None]
    if len(variances) < len(parts):
        return found
    variances[-1] = variances[-1] * size[:, None] ** 2
    squares = [abs2(mean) for mean in means]
    moments = [s + v for s, v in zip(squares, variances, strict=True)]
    gamma = [part.gamma[0] for part in parts if isinstance(part.gamma, tuple)]
    gamma[-1] = gamma[-1] * size[:, None] ** 2
    variance = xp.maximum(outer(moments) - outer(squares), 0.0)
    noise_var = parts[-1].noise_var
    return dataclasses.replace(
        found,
        variance=variance,
        gamma=tuple(gamma),
        noise_var=None if noise_var is None else noise_var * size**2,
    )


@dataclass(frozen=True)
class DKroSBL(Decomposed, NoiseOption):
    """dKroSBL: decompose y, and find every factor of x by classic SBL.

    `iterations` are those of the factor that needs most. Eqs. `eq:decompose` and `eq:csbl-step` of
    docs/numbers.md; only for x that are products of vectors.

    Notes
    -----
    Source: He and Joseph, arXiv 2310.07869 (SPAWC 2024), who always estimate the noise variance,
    of each factor for itself, starting from 10^-0.33 ("spawc") or, in their code of arXiv
    2412.00310, from 0.1 ‖y_i‖/M_i ("journal"). With ``noise="known"`` it is that of Eq.
    `eq:decompose-noise`.
    """

    prune: float = option(
        1e-3, "drop atoms below this share of their factor's largest γ", at_least=0.0, below=1.0
    )
    max_iterations: int = option(500, "cap on EM iterations of a factor", at_least=1)
    tolerance: float = option(1e-4, "stop at this relative change of γ_i", at_least=0.0)
    initial_noise: str | float | tuple[str | float, ...] = option(
        "spawc",
        "estimates of noise variances to start from: spawc, journal or numbers, for y_i of norm 1",
        words=("spawc", "journal"),
        per_factor=True,
        type=float,
        above=0.0,
    )
    initial_gamma: float = initial_gamma(100.0)

    version: ClassVar[int] = 2
    any_array: ClassVar[bool] = True

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(
        prune=1e-4,
        max_iterations=150,
        tolerance=1e-4,
        noise="estimate",
        initial_noise="spawc",
        initial_gamma=1.0,
    )

    def of_factor(self, problem: Problem, factor: int, watch: Watch) -> Estimate:
        """Classic SBL."""
        shared = ("prune", "max_iterations", "tolerance", "noise", "initial_gamma", "scaling")
        solver = MSBL(**{name: getattr(self, name) for name in shared})
        if self.noise == "known":
            return solver.solve(problem, watch=watch)
        start = self._first_noise_var(problem.y, factor)
        unknown = Problem(problem.y, problem.factors)
        return solver.solve(unknown, initial=(None, start), watch=watch)

    def _first_noise_var(self, y: Array, factor: int) -> Array:
        asked = self.initial_noise
        value = asked[factor] if isinstance(asked, tuple) else asked
        if value == "journal":
            return 0.1 * namespace(y).sqrt(total(abs2(y))) / y.shape[1]
        return full(y, y.shape[:1], SPAWC if value == "spawc" else float(value))


@dataclass(frozen=True)
class DOMP(Decomposed):
    """dOMP: decompose y, and find every factor of x by orthogonal matching pursuit.

    Notes
    -----
    Source: He and Joseph, arXiv 2310.07869 (SPAWC 2024), whose code stops at a residual of 1e-3 or,
    in the IRS study, 0.1, below the noise: it takes as many atoms as there are measurements. With
    ``stop="noise"`` a factor ends at ‖r_i‖² ≤ M_i σ_i², Eq. `eq:decompose-noise` of
    docs/numbers.md.
    """

    stop: str = option(
        "noise", "stop at the noise level, or at `residual`", choices=("noise", "residual")
    )
    residual: float = option(1e-3, "stop at this ‖r_i‖, for y_i of norm 1", above=0.0)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(stop="residual", residual=1e-3)

    @property
    def requires(self) -> tuple[str, ...]:
        """The noise variance, where it decides when to stop."""
        return ("noise_var",) if self.stop == "noise" else ()

    def of_factor(self, problem: Problem, factor: int, watch: Watch) -> Estimate:
        """Orthogonal matching pursuit."""
        if self.stop == "residual":
            rows = problem.y.shape[1]
            bound = np.full(problem.batch, self.residual**2 / rows)
            problem = dataclasses.replace(problem, noise_var=bound)
        return OMP(scaling=self.scaling).solve(problem, watch=watch)


@dataclass(frozen=True)
class DLasso(Decomposed, Lasso):
    """dLASSO: decompose y, and find every factor of x by the LASSO, with its options.

    The universal λ of a factor follows from the noise variance of Eq. `eq:decompose-noise` of
    docs/numbers.md.

    Notes
    -----
    Source: He and Joseph, arXiv 2310.07869 (SPAWC 2024). Departure from the authors' code: there
    λ is 1 or 0.01, and the gradient is taken at x while the step begins at the point ahead, so that
    it diverges; its figures are no reference.
    """

    objective: ClassVar[str] = ""  # each factor has its own

    def of_factor(self, problem: Problem, factor: int, watch: Watch) -> Estimate:
        """The LASSO."""
        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(Lasso)}
        return Lasso(**options).solve(problem, watch=watch)
