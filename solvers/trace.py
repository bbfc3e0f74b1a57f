"""Looking at a solve: traces of its iterations, and the cost at any point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from solvers.core import Array, Gamma, Problem
from solvers.em import broadcast_gamma
from solvers.flat_model import FlatModel
from solvers.kron import abs2, total
from solvers.kron_model import KronModel


class Trace:
    """A watch that keeps cost, change and NMSE of every iteration.

    Parameters
    ----------
    truth : array, (B, N_1, …, N_I), optional
        The true x, for the NMSE. Solvers never see it.

    Attributes
    ----------
    cost, change, nmse : arrays, (B, iterations)
        Column k holds the values after iteration k+1; NaN after a row's last one. `nmse` is
        None without a truth.

    Examples
    --------
    ``trace = Trace(x); solver.solve(problem, watch=trace); trace.nmse[0]``
    """

    def __init__(self, truth: ArrayLike | None = None) -> None:
        self._truth = None if truth is None else np.asarray(truth)
        self._kept: list[tuple[int, Array, Array, Array, Array | None]] = []

    def __call__(self, iteration: int, rows: Array, state: Any) -> None:
        """Keep one iteration."""
        nmse = None
        if self._truth is not None:
            truth = self._truth[rows]
            with np.errstate(divide="ignore", invalid="ignore"):  # a truth of 0 has no NMSE
                nmse = total(abs2(state.x - truth)) / total(abs2(truth))
        self._kept.append((iteration, rows, np.array(state.cost), np.array(state.change), nmse))

    def _table(self, column: int) -> Array:
        batch = 1 + max((int(kept[1].max()) for kept in self._kept), default=-1)
        if self._truth is not None:
            batch = len(self._truth)
        table = np.full((batch, max((kept[0] for kept in self._kept), default=0)), np.nan)
        for kept in self._kept:
            table[kept[1], kept[0] - 1] = kept[column]
        return table

    @property
    def cost(self) -> Array:
        """SBL cost."""
        return self._table(2)

    @property
    def change(self) -> Array:
        """Relative change that the stopping rule looks at."""
        return self._table(3)

    @property
    def nmse(self) -> Array | None:
        """‖x̂ − x‖²/‖x‖²."""
        return None if self._truth is None else self._table(4)


def cost(problem: Problem, gamma: Gamma, noise_var: ArrayLike) -> Array:
    """SBL cost log|σ²I + AΓAᴴ| + yᴴ(σ²I + AΓAᴴ)⁻¹y, −2 log evidence up to a constant.

    Eq. (4) of docs/numbers.md; for complex data, −1 times the log evidence.

    Parameters
    ----------
    problem
        Measurements and factors.
    gamma
        Tuple of I factors (B, N_i) of the prior variance, or one array (B, N_1, …, N_I); the
        batch axis may be left out.
    noise_var
        Positive, (B,) or a number.

    Returns
    -------
    array, (B,)

    Raises
    ------
    ValueError
        Shapes do not fit, or a variance is negative.
    """
    gamma = broadcast_gamma(gamma, problem)
    sigma2 = np.broadcast_to(np.asarray(noise_var, float), (problem.batch,))
    if not (sigma2 > 0).all():
        raise ValueError("noise_var must be positive")
    model = KronModel(problem) if isinstance(gamma, tuple) else FlatModel(problem)
    return model.posterior(model.gamma_factors(gamma), sigma2).cost
