"""Stages of a run with ``[stop]``: which blocks are asked for, look after look."""

from __future__ import annotations

import bisect
import dataclasses
import statistics
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence

from pipeline.campaign.blocks import Block, SolvableConfiguration
from pipeline.campaign.request import Request
from pipeline.campaign.stopping import Pair
from pipeline.solving.deciding import Prefix, decide, prefixes_of
from pipeline.store import Store
from pipeline.store.block_file import DamagedBlock
from pipeline.store.decisions import Decision, Decisions, standings
from pipeline.store.pending import PendingBlocks

Part = PendingBlocks[SolvableConfiguration]


@dataclasses.dataclass(eq=False)
class _Point:
    """A point of the grid, and how far it is.

    Attributes
    ----------
    configurations : list of SolvableConfiguration
    undone : list of sets
        Of each configuration, numbers of the blocks that are not done.
    unasked : list of deques
        Those of them that are this run's to do and that no worker has been asked for.
    counted : list of int
        How many blocks have been asked for, of those before the present look and ahead of it.
    seconds : list of float
        Mean cost of a block, once a budget has asked for it.
    asked : int
        Realizations asked for.
    open : bool
        Whether it may take more.
    """

    decisions: Decisions
    prefixes: dict[str, Prefix]
    found: list[Decision]
    configurations: list[SolvableConfiguration]
    undone: list[set[int]]
    unasked: list[deque[int]]
    counted: list[int]
    seconds: list[float]
    asked: int = 0
    open: bool = True

    def is_complete(self) -> bool:
        """Whether all blocks are there that a decision at `asked` reads."""
        return not any(
            index in undone
            for configuration, undone in zip(self.configurations, self.undone, strict=True)
            if configuration.label in self.prefixes
            for index in range(configuration.block_count(self.asked))
        )

    def cost(self, size: int, like: Sequence[float] = ()) -> float:
        """Seconds of one core for so many realizations; unless they are known, of blocks `like`."""
        blocks = (c.block_count(size) for c in self.configurations)
        seconds = self.seconds if any(self.seconds) else like
        return sum(n * s for n, s in zip(blocks, seconds, strict=True))

    def close(self) -> None:
        """Take no more."""
        self.open = False
        for prefix in self.prefixes.values():
            prefix.forget()


class Stages:
    """Blocks that are asked for while a run goes on, since each look decides on the next.

    Parameters
    ----------
    store
    request
        With a rule.
    everything
        Blocks up to the most realizations, configuration by configuration.
    mine
        Those of this shard, by default all.
    replace
        Whether blocks are computed anew, so that decisions are taken anew.
    """

    def __init__(
        self,
        store: Store,
        request: Request,
        everything: Sequence[Part],
        mine: Sequence[Part] | None = None,
        *,
        replace: bool = False,
    ) -> None:
        assert request.rule is not None
        self._store, self._request, self._rule = store, request, request.rule
        self._is_shard = mine is not None
        number = len(request.record["points"])
        self._points = [
            self._point(everything[i::number], (mine or everything)[i::number], replace)
            for i in range(number)
        ]
        self._at = {p.configurations[0].grid_index[1:]: p for p in self._points}

    def _point(self, parts: Sequence[Part], mine: Sequence[Part], replace: bool) -> _Point:
        configurations = [part.configuration for part in parts]
        by_label = {c.label: c for c in configurations}
        decisions = Decisions(self._store, self._rule, by_label)
        if replace and any(part.todo for part in parts):
            decisions.forget()
        return _Point(
            decisions,
            prefixes_of(self._store, self._request, by_label),
            decisions.read(),
            configurations,
            undone=[set(part.todo) for part in parts],
            unasked=[deque(part.todo) for part in mine],
            counted=[0] * len(parts),
            seconds=[0.0] * len(parts),
        )

    def begin(self) -> list[Part]:
        """Blocks to begin with, after all that can be decided already."""
        now = standings(self._rule, [point.found for point in self._points])
        settled = [
            part
            for point, standing in zip(self._points, now, strict=True)
            if standing.decision is not None
            for part in self._ask(point, standing.decision.realizations)
        ]
        return [*settled, *self._advance(self._points)]

    def done(self, blocks: Iterable[Block]) -> list[Part]:
        """Take note of blocks that are done; give what is asked for next."""
        touched = {}
        for block in blocks:
            grid_index = block.configuration.grid_index
            point = touched[grid_index] = self._at[grid_index[1:]]
            point.undone[grid_index[0]].discard(block.index)
        return list(self._advance(touched.values()))

    def refresh(self, names: Collection[str]) -> list[Part]:
        """Take note of what others have done; give what is asked for next."""
        for point in self._points:
            for c, undone in zip(point.configurations, point.undone, strict=True):
                undone -= {i for i in range(c.block_count(point.asked)) if c.is_done(i, names)}
        return list(self._advance(self._points))

    def progress(self) -> tuple[int, int, str]:
        """Points that take no more, all points, and the one farthest from its targets in words."""
        open_ = [point for point in self._points if point.open]
        farthest = max(open_, key=self._urgency, default=None)
        words = ""
        if farthest is not None and farthest.found:
            pair, width = self._widest(farthest)
            at = farthest.configurations[0].describe().partition(" at ")
            words = f"{pair}{at[1]}{at[2]}: ±{width:.3g} of {pair.target.half_width:g}"
        return len(self._points) - len(open_), len(self._points), words

    def _widest(self, point: _Point) -> tuple[Pair, float]:
        """The pair that is farthest from its target, and half the width of its interval."""
        pairs = zip(self._rule.pairs, point.found[-1].half_widths, strict=True)
        there = [(pair, width) for pair, width in pairs if width == width]
        return max(there, key=lambda found: found[1] / found[0].target.half_width)

    def _urgency(self, point: _Point) -> float:
        """How far a point is from its targets, from 0 to 1; 1 before its first look."""
        if not point.found:
            return 1.0
        pair, width = self._widest(point)
        return 1.0 - 1.0 / (1.0 + width / pair.target.half_width)

    def stop(self, label: str) -> None:
        """Go on without a solver: what needs it stays undecided."""
        for point in self._points:
            point.open = point.open and label not in point.prefixes

    def ahead(self) -> tuple[SolvableConfiguration, int] | None:
        """A block that a later look may ask for, for a worker that would wait for decisions."""
        for size in () if self._is_shard else self._rule.looks:  # others would wait for a shard's
            for point in (p for p in self._points if p.open):
                for at, configuration in enumerate(point.configurations):
                    unasked = point.unasked[at]
                    if unasked and unasked[0] < configuration.block_count(size):
                        point.counted[at] += 1
                        return configuration, unasked.popleft()
        return None

    def _advance(self, points: Iterable[_Point]) -> Iterator[Part]:
        """Decide what can be decided, and ask for what follows, as often as that is possible."""
        if self._rule.stop.scope == "all":
            yield from self._advance_together(self._points)
        else:
            for point in list(points):
                yield from self._advance_together([point])

    def _advance_together(self, points: Sequence[_Point]) -> Iterator[Part]:
        while True:
            for point in points:
                self._decide(point)
            now = standings(self._rule, [point.found for point in points])[0]
            if now.decision is not None and now.asked == now.decision.realizations:
                for point in points:
                    point.close()
            if now.asked == points[0].asked or not self._may_go_on(points, now.asked):
                return
            for point in points:
                yield from self._ask(point, now.asked)

    def _may_go_on(self, points: Sequence[_Point], size: int) -> bool:
        """Whether points may be asked for more, and the budget allows it; first looks it does."""
        hours = self._rule.stop.core_hours
        if hours is None or not points[0].found or not all(point.open for point in points):
            return all(point.open for point in points)
        others = [point for point in self._points if point not in points]
        for point in (*points, *(p for p in others if p.found and not any(p.seconds))):
            point.seconds = [self._seconds(point, at) for at in range(len(point.seconds))]
        charged = sum(p.cost(p.asked, points[0].seconds) for p in others)
        affordable = charged + sum(p.cost(size) for p in points) <= 3600.0 * hours
        for point in points:
            if affordable:
                point.decisions.go_on()
            else:
                point.decisions.end_at(point.asked)
                point.close()
        return affordable

    def _seconds(self, point: _Point, at: int) -> float:
        """Mean cost of the blocks of a configuration that are there, of those asked for."""
        configuration, undone = point.configurations[at], point.undone[at]
        there = [i for i in range(configuration.block_count(point.asked)) if i not in undone]
        costs = (self._store.read(configuration, index).meta["elapsed"] for index in there)
        return statistics.fmean(costs) if there else 0.0

    def _decide(self, point: _Point) -> None:
        """Decide at the looks that are complete."""
        looks = self._rule.looks
        while len(point.found) < bisect.bisect_right(looks, point.asked) and point.is_complete():
            try:
                decision = decide(self._request, point.prefixes, len(point.found))
            except (DamagedBlock, FileNotFoundError):
                point.open = False  # publishing says so, and the next run computes the block
                return
            point.found.append(point.decisions.record(decision))

    def _ask(self, point: _Point, size: int) -> Iterator[Part]:
        """Ask for all blocks of a point up to so many realizations, and not yet asked for."""
        priority = float(self._rule.looks.index(size)) - self._urgency(point)
        point.asked = size
        for at, configuration in enumerate(point.configurations):
            count, unasked, todo = configuration.block_count(size), point.unasked[at], []
            while unasked and unasked[0] < count:
                todo.append(unasked.popleft())
            blocks = len(todo) if self._is_shard else max(count - point.counted[at], 0)
            point.counted[at] += blocks
            yield PendingBlocks(configuration, blocks, todo, priority)
