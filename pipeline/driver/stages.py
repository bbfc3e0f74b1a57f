"""Stages of a run with ``[stop]``: which blocks are asked for, look after look."""

from __future__ import annotations

import bisect
import dataclasses
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence

from pipeline.campaign.blocks import Block, SolvableConfiguration
from pipeline.campaign.request import Request
from pipeline.solving.deciding import decide
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
    configurations : dict of SolvableConfiguration
        By label.
    decisions : Decisions
    found : list of Decision
        From the first look on.
    undone : dict of sets
        Numbers of the blocks that are not done.
    unasked : dict of deques
        Those of them that are this run's to do and that no worker has been asked for.
    counted : dict of int
        How many blocks have been asked for, ahead of the present look as well.
    asked : int
        Realizations asked for.
    rate : float
        Seconds of one core for each of them, once a budget wants to know.
    open : bool
        Whether it may take more.
    """

    configurations: dict[str, SolvableConfiguration]
    decisions: Decisions
    found: list[Decision]
    undone: dict[str, set[int]]
    unasked: dict[str, deque[int]]
    counted: dict[str, int]
    asked: int = 0
    rate: float = 0.0
    open: bool = True

    def lacks(self, labels: Iterable[str]) -> bool:
        """Whether blocks of some solvers are still to come, up to `asked`."""
        return any(
            index in self.undone[label]
            for label in labels
            for index in range(self.configurations[label].block_count(self.asked))
        )


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
        self._is_shard, number = mine is not None, len(request.record["points"])
        self._points = []
        for i in range(number):
            parts, own = everything[i::number], (mine or everything)[i::number]
            configurations = {part.configuration.label: part.configuration for part in parts}
            decisions = Decisions(store, self._rule, configurations)
            if replace and any(part.todo for part in parts):
                decisions.forget()
            undone = {part.configuration.label: set(part.todo) for part in parts}
            unasked = {part.configuration.label: deque(part.todo) for part in own}
            counted = dict.fromkeys(configurations, 0)
            found = decisions.read()
            self._points.append(_Point(configurations, decisions, found, undone, unasked, counted))
        places = (part.configuration.grid_index[1:] for part in everything)
        self._at = dict(zip(places, self._points, strict=False))

    def begin(self) -> list[Part]:
        """Blocks to begin with, after all that can be decided already."""
        now = zip(self._points, standings(self._rule, [p.found for p in self._points]), strict=True)
        there = [(point, one.decision.realizations) for point, one in now if one.decision]
        settled = [part for point, size in there for part in self._ask(point, size)]
        return [*settled, *self._advance(self._points)]

    def done(self, blocks: Iterable[Block]) -> list[Part]:
        """Take note of blocks that are done; give what is asked for next."""
        touched = {}
        for block in blocks:
            place = block.configuration.grid_index[1:]
            touched[place] = self._at[place]
            touched[place].undone[block.configuration.label].discard(block.index)
        return list(self._advance(touched.values()))

    def refresh(self, names: Collection[str]) -> list[Part]:
        """Take note of what others have done; give what is asked for next."""
        for point in self._points:
            for label, c in point.configurations.items():
                blocks = range(c.block_count(point.asked))
                point.undone[label] -= {index for index in blocks if c.is_done(index, names)}
        return list(self._advance(self._points))

    def stop(self, label: str) -> None:
        """Go on without a solver: what needs it stays undecided."""
        for point in self._points:
            point.open = point.open and label not in self._rule.labels

    def ahead(self) -> tuple[SolvableConfiguration, int] | None:
        """A block that a later look may ask for, for a worker that would wait for decisions."""
        if self._is_shard:  # which others wait for
            return None
        for size in self._rule.looks:
            for point in (point for point in self._points if point.open):
                for label, configuration in point.configurations.items():
                    unasked = point.unasked[label]
                    if unasked and unasked[0] < configuration.block_count(size):
                        point.counted[label] += 1
                        return configuration, unasked.popleft()
        return None

    def progress(self) -> tuple[int, int, str]:
        """Points that take no more, all points, and the one farthest from its targets in words."""
        left = [point for point in self._points if point.open]
        farthest, words = max(left, key=self._distance, default=None), ""
        if farthest is not None and farthest.found:
            pair, half = self._rule.farthest(farthest.found[-1].half_widths)
            at = next(iter(farthest.configurations.values())).describe().partition(" at ")
            words = f"{pair}{at[1]}{at[2]}: ±{half:.3g} of {pair.target.half_width:g}"
        return len(self._points) - len(left), len(self._points), words

    def _distance(self, point: _Point) -> float:
        """How far a point is from its targets, from 0 to 1; 1 before its first look."""
        if not point.found:
            return 1.0
        pair, half = self._rule.farthest(point.found[-1].half_widths)
        return 1.0 - 1.0 / (1.0 + half / pair.target.half_width)

    def _advance(self, points: Iterable[_Point]) -> Iterator[Part]:
        """Decide what can be decided, and ask for what follows, as often as that is possible."""
        together = self._rule.stop.scope == "all"
        for group in [self._points] if together else [[point] for point in points]:
            while True:
                for point in group:
                    self._decide(point)
                now = standings(self._rule, [point.found for point in group])[0]
                if now.decision is not None and now.asked == now.decision.realizations:
                    self._close(group)
                if now.asked == group[0].asked or not self._may_go_on(group, now.asked):
                    break
                for point in group:
                    yield from self._ask(point, now.asked)

    def _close(self, points: Iterable[_Point]) -> None:
        for point in points:
            point.open = False

    def _decide(self, point: _Point) -> None:
        """Decide at the looks that are complete."""
        looks = bisect.bisect_right(self._rule.looks, point.asked)
        while len(point.found) < looks and not point.lacks(self._rule.labels):
            try:
                decision = decide(
                    self._store, self._request, point.configurations, len(point.found)
                )
            except (DamagedBlock, FileNotFoundError):
                self._close([point])  # publishing says so, and the next run computes the block
                return
            point.found.append(point.decisions.record(decision))

    def _may_go_on(self, points: Sequence[_Point], size: int) -> bool:
        """Whether points may be asked for more, and the budget allows it; first looks it does."""
        hours, are_open = self._rule.stop.core_hours, all(point.open for point in points)
        if hours is None or not points[0].found or not are_open:
            return are_open
        for point in self._points:
            if point in points or (point.found and not point.rate):
                point.rate = self._rate(point)
        charged = sum(
            (point.rate or points[0].rate) * (size if point in points else point.asked)
            for point in self._points
        )
        for point in points:
            point.decisions.note_budget(0 if charged <= 3600.0 * hours else point.asked)
        if charged > 3600.0 * hours:
            self._close(points)
        return points[0].open

    def _rate(self, point: _Point) -> float:
        """Seconds of one core for each of the realizations that a point has been asked for."""
        there = [
            (configuration, index)
            for label, configuration in point.configurations.items()
            for index in range(configuration.block_count(point.asked))
            if index not in point.undone[label]
        ]
        return sum(self._store.read(*one).meta["elapsed"] for one in there) / point.asked

    def _ask(self, point: _Point, size: int) -> Iterator[Part]:
        """Ask for all blocks of a point up to so many realizations that are not asked for yet."""
        priority = self._rule.looks.index(size) - self._distance(point)
        point.asked = size
        for label, configuration in point.configurations.items():
            count, unasked, todo = configuration.block_count(size), point.unasked[label], []
            while unasked and unasked[0] < count:
                todo.append(unasked.popleft())
            blocks = len(todo) if self._is_shard else max(count - point.counted[label], 0)
            point.counted[label] += blocks
            yield PendingBlocks(configuration, blocks, todo, priority)
