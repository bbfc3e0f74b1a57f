"""Traces of a solve's iterations, and the SBL cost at any point."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import Array, given, host, namespace
from solvers.estimate import IterationState
from solvers.flat_model import FlatModel
from solvers.kron import abs2, total
from solvers.kron_model import KronModel
from solvers.problem import Gamma, Problem, broadcast_gamma


class Trace:
    """A watch that keeps cost, change and NMSE of every iteration.

    Parameters
    ----------
    truth : array, (B, N_1, …, N_I), optional
        The true x, for the NMSE. Solvers never see it.
    nmse : callable, optional
        Another way to the NMSE, for truths that are no x on the dictionary: ``nmse(rows, x)``
        gives it for some realizations, (b,) indices, and their estimates, (b, N_1, …, N_I).
    batch : int, optional
        How many realizations there are. Without it, and without a truth, the tables end with the
        last one that was seen running.

    Attributes
    ----------
    cost, change, nmse : arrays, (B, iterations)
        Column k holds the values after iteration k+1; NaN after a row's last one, and where a
        solver does not tell. `nmse` is None without a way to it.

    Examples
    --------
    ``trace = Trace(x); solver.solve(problem, watch=trace); trace.nmse[0]``
    """

    def __init__(
        self,
        truth: ArrayLike | None = None,
        *,
        nmse: Callable[[Array, Array], Array] | None = None,
        batch: int | None = None,
    ) -> None:
        if truth is not None:
            if nmse is not None:
                raise ValueError("give the truth or a way to the NMSE, not both")
            true = np.asarray(host(truth))
            nmse, batch = partial(_nmse, true), len(true)
        self._nmse, self._batch = nmse, batch
        self._kept: list[tuple[int, Array, dict[str, Array | None]]] = []

    def __call__(self, iteration: int, rows: Array, state: IterationState) -> None:
        """Keep one iteration."""
        x, at = host(state.x) if self._nmse is not None else None, np.array(host(rows))
        kept = {
            "cost": host(state.cost),
            "change": host(state.change),
            "nmse": None if self._nmse is None or x is None else self._nmse(at, x),
        }
        self._kept.append((iteration, at, kept))

    def _table(self, name: str) -> Array:
        batch = self._batch
        if batch is None:
            batch = 1 + max((int(rows.max()) for _, rows, _ in self._kept), default=-1)
        table = np.full((batch, max((kept[0] for kept in self._kept), default=0)), np.nan)
        for iteration, rows, kept in self._kept:
            if kept[name] is not None:
                table[rows, iteration - 1] = kept[name]
        return table

    @property
    def cost(self) -> Array:
        """Value of what the solver minimises; see `Solver.objective`."""
        return self._table("cost")

    @property
    def change(self) -> Array:
        """Relative change that the stopping rule looks at."""
        return self._table("change")

    @property
    def nmse(self) -> Array | None:
        """‖x̂ − x‖²/‖x‖², or the error that the function given for it computes."""
        return None if self._nmse is None else self._table("nmse")


def _nmse(truth: Array, rows: Array, x: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):  # a truth of 0 has no NMSE
        return total(abs2(x - truth[rows])) / total(abs2(truth[rows]))


def cost(problem: Problem, gamma: Gamma, noise_var: ArrayLike) -> Array:
    """SBL cost log|σ²I + AΓAᴴ| + yᴴ(σ²I + AΓAᴴ)⁻¹y, −2 log evidence up to a constant.

    Eq. `eq:cost` of docs/numbers.md; for complex data, −1 times the log evidence.

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
    xp, sigma2 = namespace(problem.y), given(noise_var, problem.y)
    sigma2 = xp.broadcast_to(sigma2, (problem.batch,))
    if not bool(xp.all(sigma2 > 0)):
        raise ValueError("noise_var must be positive")
    model = KronModel(problem) if isinstance(gamma, tuple) else FlatModel(problem)
    return model.posterior(model.gamma_factors(gamma), sigma2).cost
