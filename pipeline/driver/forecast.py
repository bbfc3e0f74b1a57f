"""Forecast of a campaign with ``[stop]``: how many realizations its points will take."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import scipy.stats

from pipeline.analysis.sequential import plan_of_looks
from pipeline.campaign.blocks import Configuration
from pipeline.campaign.request import Request
from pipeline.campaign.stopping import Pair
from pipeline.solving.deciding import decide
from pipeline.store import Store
from pipeline.store.decisions import Decision

WIDEST = 1000.0
"""Times the half widths asked for, beyond which no budget is of use."""


@dataclasses.dataclass(frozen=True)
class PointPlan:
    """Plan of a point of the grid.

    Attributes
    ----------
    point : dict
    pilot : int
        Realizations that it is reckoned from; none where 0, and then it is the most.
    realizations : int
        Expected.
    precise : bool
        Whether that is expected to be enough.
    core_seconds : float
        Of all that many realizations, done or not.
    """

    point: dict[str, Any]
    pilot: int
    realizations: int
    precise: bool
    core_seconds: float


class Forecast:
    """How many realizations the points of a campaign will take, by what is there already.

    Widths of intervals shrink with the square root of the number, and grow with the level of a
    look; that is all it knows.

    Parameters
    ----------
    store
    request
        With a rule.
    names
        Of the store's files.
    cost
        Seconds of one core for a number of realizations of a configuration.
    """

    def __init__(
        self,
        store: Store,
        request: Request,
        names: Collection[str],
        cost: Callable[[Configuration, int], float],
    ) -> None:
        assert request.rule is not None
        self._rule, self._points, self._cost = request.rule, request.points, cost
        self._looks = plan_of_looks(self._rule.looks, 1.0 - self._rule.stop.confidence)
        self._pilots = [_pilot(store, request, point, names) for point in self._points]

    def realizations(self, factor: float = 1.0) -> list[int]:
        """Expected at each point, were all half widths asked for `factor` times as wide."""
        ends = [self._end(pilot, factor) for pilot in self._pilots]
        if self._rule.stop.scope == "all":
            ends = [max(ends)] * len(ends)
        return [self._rule.looks[end] for end in ends]

    def seconds(self, sizes: Sequence[int]) -> list[float]:
        """Of one core, at each point, for so many realizations of all solvers."""
        return [
            sum(self._cost(configuration, size) for configuration in point.values())
            for point, size in zip(self._points, sizes, strict=True)
        ]

    def points(self) -> list[PointPlan]:
        """The plan of each point."""
        sizes, found = self.realizations(), []
        rows = zip(self._points, self._pilots, sizes, self.seconds(sizes), strict=True)
        for point, pilot, size, seconds in rows:
            at, where = self._rule.looks.index(size), next(iter(point.values())).point
            there = pilot.realizations if pilot else 0
            precise = pilot is not None and self._is_enough(pilot, at, 1.0)
            found.append(PointPlan(dict(where), there, size, precise, seconds))
        return found

    def factor_within(self, seconds: float) -> float:
        """By what factor half widths must be wider for a budget to be enough; infinite for none."""
        low, high = 1.0 / WIDEST, WIDEST
        if sum(self.seconds(self.realizations(high))) > seconds:
            return math.inf
        while high / low > 1.001:
            middle = math.sqrt(low * high)
            enough = sum(self.seconds(self.realizations(middle))) <= seconds
            low, high = (low, middle) if enough else (middle, high)
        return high

    def _end(self, pilot: Decision | None, factor: float) -> int:
        """Number of the look at which a point is expected to stop."""
        last = len(self._looks) - 1
        if pilot is None:
            return last
        first = self._rule.looks.index(pilot.realizations)
        ends = (at for at in range(first, last) if self._is_enough(pilot, at, factor))
        return next(ends, last)

    def _is_enough(self, pilot: Decision, at: int, factor: float) -> bool:
        for number, (target, _) in enumerate(self._rule.pairs):
            half = self._half(pilot, number, at)
            known = target.or_sign_known and half < abs(pilot.value[number])
            if half > factor * target.half_width and not known:
                return False
        return True

    def _half(self, pilot: Decision, number: int, at: int) -> float:
        """Half the width that a pair's interval is expected to have at a look."""
        then, now = self._looks[at], self._looks[self._rule.looks.index(pilot.realizations)]
        share = self._rule.pairs[number].target.statistic == "share"
        levels = [look.share if share else look.level for look in (then, now)]
        wide, was = (float(scipy.stats.norm.isf(level / 2.0)) for level in levels)
        half, shrunk = pilot.half_widths[number], math.sqrt(now.realizations / then.realizations)
        return half if math.isinf(half) else half * shrunk * wide / was


def _pilot(
    store: Store, request: Request, point: Mapping[str, Configuration], names: Collection[str]
) -> Decision | None:
    """The decision at the first look that is enough, or at the last that is complete."""
    assert request.rule is not None
    needed, decision = [point[label] for label in request.rule.labels], None
    if all(configuration.declined for configuration in needed):
        return None
    for number, size in enumerate(request.rule.looks):
        if not all(c.is_done(i, names) for c in needed for i in range(c.block_count(size))):
            break
        decision = decide(store, request, point, number)
        if decision.reason:
            break
    return decision


def budget_words(forecast: Forecast, hours: float, pairs: Sequence[Pair]) -> str:
    """What a budget is enough for, in words."""
    factor = forecast.factor_within(3600.0 * hours)
    if math.isinf(factor):
        return f"{hours:g} core-hours are not enough for the first looks"
    widths = dict.fromkeys(
        f"±{factor * pair.target.half_width:.2g}{pair.unit} ({pair.target.statistic})"
        for pair in pairs
    )
    return f"{hours:g} core-hours are enough for {', '.join(widths)}"
