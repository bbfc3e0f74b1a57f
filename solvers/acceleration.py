"""Acceleration of EM: plain steps are extrapolated, and taken as they are where the cost rises.

Eqs. `eq:momentum` to `eq:leap-guard` of docs/numbers.md.
"""

from __future__ import annotations

import functools
import itertools
import operator
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from solvers.arrays import Array, full, namespace, take, zeros
from solvers.kron import normalize
from solvers.options import option

SETTLED = 0.05
"""Relative change of γ from which on steps are extrapolated: which minimum is reached is decided in
the first steps, and leaps among them end in a poorer one more often than in a better one."""

SLACK = 1e-10
"""Share of the cost by which it may rise: near convergence rounding alone must not decide."""

LONGEST = 64.0
"""Cap on the step length of SQUAREM, in units of the plain step."""

LEAPS = MappingProxyType(
    {
        "leaps": ("1", "extrapolated steps of EM that were kept"),
        "refused_leaps": ("1", "extrapolated steps of EM that were replaced by plain ones"),
    }
)
"""Diagnostics of solvers that can be accelerated: units and long names."""


def acceleration(default: str) -> Any:
    """Declare the option `acceleration` with the default of a solver."""
    return option(
        default,
        "take plain EM steps, or extrapolate them where the cost does not rise",
        choices=("none", "momentum", "squarem"),
        kw_only=True,
    )


class Point(NamedTuple):
    """Hyperparameters of B rows: factors of γ (B, n_i), and noise variances (B,)."""

    gamma: tuple[Array, ...]
    noise_var: Array

    def take(self, rows: Array) -> Point:
        """The points of some rows (indices)."""
        return Point(tuple(take(g, rows) for g in self.gamma), take(self.noise_var, rows))


class Memory(NamedTuple):
    """What acceleration remembers of each row.

    Attributes
    ----------
    history : tuple of Points
        Earlier points that the next leap is made from, the oldest first.
    cost : array, (B,)
        SBL cost at the last E-step, which a leap must not exceed.
    age : int array, (B,)
        Iterations since the row settled, or a leap was refused.
    accepted, refused : int arrays, (B,)
        Leaps so far.
    """

    history: tuple[Point, ...]
    cost: Array
    age: Array
    accepted: Array
    refused: Array

    @classmethod
    def of(cls, batch: int, other: Array) -> Memory:
        """The memory of a batch before its first iteration, on the device of another array."""
        count = zeros(other, (batch,), namespace(other).int64)
        return cls((), full(other, (batch,), np.inf), count, count, count)

    def take(self, rows: Array) -> Memory:
        """The memory of some rows (indices)."""
        history = tuple(point.take(rows) for point in self.history)
        return Memory(history, *(take(part, rows) for part in self[1:]))

    def judged(
        self, history: tuple[Point, ...], cost: Array, leapt: Array, settled: Array
    ) -> tuple[Memory, Array]:
        """Update the memory, and say which rows (a mask) must go back to their plain step.

        Parameters
        ----------
        history
            Points to remember.
        cost : array, (B,)
            SBL cost after the iteration.
        leapt, settled : bool arrays, (B,)
            Rows that were extrapolated, and rows that may be from now on.
        """
        xp = namespace(cost)
        refused = leapt & ~(cost <= self.cost + SLACK * xp.abs(self.cost))
        memory = Memory(
            history,
            xp.asarray(cost, copy=True),
            xp.where(settled & ~refused, self.age + 1, 0),
            self.accepted + xp.astype(leapt & ~refused, xp.int64),
            self.refused + xp.astype(refused, xp.int64),
        )
        return memory, refused


def leap(kind: str, points: tuple[Point, ...], age: Array) -> tuple[Point, Array]:
    """Extrapolate from the newest points, the last of which is a plain step.

    Parameters
    ----------
    kind
        "momentum", which needs two points, or "squarem", which needs three.
    points
        Where to leap from.
    age : int array, (B,)
        Age of each row's memory; those of age 0 take the plain step.

    Returns
    -------
    Point
    bool array, (B,)
        Rows that leapt.
    """
    size, further = {"momentum": (2, _momentum), "squarem": (3, _squarem)}[kind]
    step = points[-1]
    xp = namespace(age)
    if len(points) < size or not bool(xp.any(age > 0)):
        return step, zeros(age, age.shape, xp.bool)
    joined = [_joined(point) for point in points[-size:]]
    in_use = functools.reduce(operator.and_, [values > 0 for values in joined])
    logs = [xp.log(xp.where(in_use, values, 1.0)) for values in joined]
    by = further(logs, xp.astype(age, xp.float64))
    leapt = xp.any(by != 0, axis=1)
    far = joined[-1] * xp.exp(by)
    ends = itertools.accumulate((g.shape[1] for g in step.gamma), initial=0)
    gamma = normalize([far[:, begin:end] for begin, end in itertools.pairwise(ends)])
    return Point(gamma, far[:, -1]), leapt


def _momentum(logs: list[Array], age: Array) -> Array:
    """Nesterov's: a growing share of the step just made, once more."""
    return (age / (age + 3.0))[:, None] * (logs[1] - logs[0])


def _squarem(logs: list[Array], age: Array) -> Array:
    """Varadhan and Roland's squared extrapolation, whose bound on the length grows with age."""
    xp, step, bend = namespace(age), logs[1] - logs[0], logs[2] - 2.0 * logs[1] + logs[0]
    step2, bend2 = xp.vecdot(step, step), xp.vecdot(bend, bend)
    length = xp.sqrt(xp.where(bend2 > 0, step2 / xp.where(bend2 > 0, bend2, 1.0), 1.0))
    bound = xp.minimum(4.0 ** xp.minimum(age // 2, 8.0), LONGEST)
    length = xp.where(age > 0, xp.clip(length, 1.0, bound), 1.0)[:, None]
    return 2.0 * (length - 1.0) * step + (length**2 - 1.0) * bend


def remembered(kind: str, points: tuple[Point, ...], now: Point) -> tuple[Point, ...]:
    """Points to leap from next: the plain step, or for SQUAREM those of a cycle of two steps."""
    if kind == "momentum":
        return points[-1:]
    return (*points[:-1], now) if len(points) < 3 else (now,)


def _joined(point: Point) -> Array:
    """Factors of γ, normalised alike, and σ² as one vector for each row, (B, Σn + 1)."""
    parts = [*normalize(point.gamma), point.noise_var[:, None]]
    return namespace(parts[0]).concat(parts, axis=1)
