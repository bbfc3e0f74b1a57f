"""SQUAREM: EM in long steps, extrapolated from two plain ones, taken back where the cost rises.

Eqs. `eq:squarem` and `eq:squarem-guard` of docs/numbers.md.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from solvers.kron import normalize, split
from solvers.options import option
from solvers.problem import Array

LONGEST = 64.0
"""Cap on the step length, in units of the plain step."""

GROWTH = 4.0
"""Factor by which a row's bound on the step length grows or shrinks."""

MOST = 200
"""Leaps of a realization, after which it goes on as plain EM: where steps keep to a constraint that
leaps do not know, as those of PC-KroSBL, the two may undo each other for ever."""

SETTLED = 0.05
"""Relative change of γ from which on steps are extrapolated. (Departure from Varadhan and Roland,
who do so from the start: which minimum is reached is decided in the first steps, and leaps among
them end in a poorer one more often than in a better one.)"""

SLACK = 1e-10
"""Share of the cost by which it may rise: near convergence rounding alone must not decide."""

LEAPS = MappingProxyType(
    {
        "leaps": ("1", "extrapolated steps of EM that were kept"),
        "refused_leaps": ("1", "extrapolated steps of EM that were taken back"),
    }
)
"""Diagnostics of solvers that can be accelerated: units and long names."""


def acceleration(default: str) -> Any:
    """The option of that name, with a solver's own default."""
    return option(
        default,
        "take plain EM steps, or extrapolate from pairs of them where the cost does not rise",
        choices=("none", "squarem"),
        kw_only=True,
    )


class Point(NamedTuple):
    """Hyperparameters of B rows: factors of γ (B, n_i), and noise variances (B,)."""

    gamma: tuple[Array, ...]
    noise_var: Array

    def take(self, rows: Array) -> Point:
        """Those of some rows (indices)."""
        return Point(tuple(g[rows] for g in self.gamma), self.noise_var[rows])

    def where(self, rows: Array, other: Point) -> Point:
        """Take `rows` (a mask) from this point, the others from the other one."""
        gamma = zip(self.gamma, other.gamma, strict=True)
        return Point(
            tuple(np.where(rows[:, None], mine, theirs) for mine, theirs in gamma),
            np.where(rows, self.noise_var, other.noise_var),
        )


class Squarem(NamedTuple):
    """Rows of a batch in their cycle of a plain step, another one, and a leap from the two.

    Attributes
    ----------
    begin : Point or None
        Where the cycle began; None before its first step.
    cost : array, (B,)
        SBL cost there, which a leap must not exceed.
    longest : array, (B,)
        Bound on the step length: it grows when it was reached, and shrinks when a leap was refused.
    accepted, refused : int arrays, (B,)
        Leaps so far.
    """

    begin: Point | None
    cost: Array
    longest: Array
    accepted: Array
    refused: Array

    @classmethod
    def of(cls, batch: int) -> Squarem:
        """Before the first step."""
        count = np.zeros(batch, int)
        return cls(None, np.full(batch, np.inf), np.ones(batch), count, count)

    def take(self, rows: Array) -> Squarem:
        """The cycles of some rows (indices)."""
        begin = None if self.begin is None else self.begin.take(rows)
        return Squarem(begin, *(part[rows] for part in self[1:]))

    def leap(self, first: Point, second: Point, allowed: Array) -> tuple[Point, Array]:
        """Extrapolate from the two plain steps of a cycle.

        Parameters
        ----------
        first, second
            Where they led.
        allowed : bool array, (B,)
            Rows that may leap. The others are given the second step.

        Returns
        -------
        Point
        array, (B,)
            Step length; 1 is the second step itself.
        """
        assert self.begin is not None
        begin, *steps = (_joined(point) for point in (self.begin, first, second))
        in_use = (begin > 0) & (steps[0] > 0) & (steps[1] > 0)
        logs = [np.log(np.where(in_use, values, 1.0)) for values in (begin, *steps)]
        step, bend = logs[1] - logs[0], logs[2] - 2.0 * logs[1] + logs[0]
        step2, bend2 = np.vecdot(step, step), np.vecdot(bend, bend)
        length = np.sqrt(np.divide(step2, bend2, out=np.ones(len(step)), where=bend2 > 0))
        length = np.where(allowed, np.clip(length, 1.0, self.longest), 1.0)
        by = length[:, None]
        leapt = np.where(in_use, begin * np.exp(2.0 * by * step + by**2 * bend), steps[1])
        point = Point(normalize(split(leapt[:, :-1], second.gamma)), leapt[:, -1])
        return point.where(length > 1.0, second), length

    def judged(self, length: Array, cost: Array) -> tuple[Squarem, Array]:
        """The cycle to come, and which rows (a mask) have to take their leap back.

        Parameters
        ----------
        length : array, (B,)
            Step lengths.
        cost : array, (B,)
            SBL cost where they led.

        Notes
        -----
        A step of length 1 is a plain one and stays: EM does not raise the cost, but pruning may.
        """
        leapt = length > 1.0
        refused = leapt & ~(cost <= self.cost + SLACK * np.abs(self.cost))
        longer = np.where(length >= self.longest, self.longest * GROWTH, self.longest)
        bound = np.where(refused, length / GROWTH, longer)
        bound[self.accepted + self.refused >= MOST] = 1.0
        cycle = Squarem(
            begin=None,
            cost=cost,
            longest=np.clip(bound, 1.0, LONGEST),
            accepted=self.accepted + (leapt & ~refused),
            refused=self.refused + refused,
        )
        return cycle, refused


def _joined(point: Point) -> Array:
    """Factors of γ, normalised alike, and σ² as one vector for each row, (B, Σn + 1)."""
    return np.concatenate([*normalize(point.gamma), point.noise_var[:, None]], axis=1)
