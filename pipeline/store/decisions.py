"""Decisions of a campaign with ``[stop]``: one immutable file per point and look.

A decision is a pure function of the campaign and of a complete prefix of realizations, so whoever
makes it writes the same. What depends on more, the most that a point may take and the budget, is
no part of it; `standings` puts that together.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from pipeline.campaign.blocks import Configuration
from pipeline.campaign.request import Request
from pipeline.campaign.stopping import Rule
from pipeline.errors import InputError
from pipeline.store import files
from pipeline.store.folder import Store


class Reason(enum.IntEnum):
    """Why a point takes no more realizations; the numbers are what cubes hold.

    Attributes
    ----------
    sentence : str
    """

    sentence: str

    def __new__(cls, value: int, sentence: str = "") -> Self:
        """Make a member whose value is its number alone."""
        member = int.__new__(cls, value)
        member._value_, member.sentence = value, sentence
        return member

    NONE = (0, "No look is complete yet, so nothing can be said.")
    PRECISE = (1, "All intervals are as narrow as asked for.")
    RESOLVED = (2, "All intervals are as narrow as asked for, or lie on one side of 0.")
    MAXIMUM = (3, "It has taken the most realizations that it may; its intervals hold as they are.")
    BUDGET = (
        4,
        "Another look would have cost more than the core hours, which count the realizations asked "
        "for; its intervals hold as they are, and a larger budget goes on.",
    )
    INTERRUPTED = (
        5,
        "The last complete look asks for more, which are not all there; its intervals hold as they "
        "are, and the next run goes on.",
    )


class Decision(NamedTuple):
    """The intervals of a point at one look, in the order of the rule's pairs.

    Attributes
    ----------
    realizations : int
    low, value, high : tuple of float
        NaN of a pair whose solvers do not both apply at the point.
    reason : Reason
        PRECISE or RESOLVED where that is enough, NONE where not.
    """

    realizations: int
    low: tuple[float, ...]
    value: tuple[float, ...]
    high: tuple[float, ...]
    reason: Reason

    @property
    def half_widths(self) -> tuple[float, ...]:
        """Half the widths of the intervals; infinite where an end is, NaN where there is none."""

        def half(low: float, high: float) -> float:
            infinite = math.isinf(low) or math.isinf(high)  # both may be the same infinity
            return math.inf if infinite else (high - low) / 2.0

        return tuple(map(half, self.low, self.high))

    def to_json(self) -> str:
        """All of it as JSON, in which infinity and NaN are words."""
        ends = {k: list(map(_word, getattr(self, k))) for k in ("low", "value", "high")}
        about = {"realizations": self.realizations, "reason": self.reason.name.lower()}
        return json.dumps(about | ends)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """What `to_json` has written."""
        found = json.loads(text)
        low, value, high = (tuple(map(float, found[name])) for name in ("low", "value", "high"))
        return cls(found["realizations"], low, value, high, Reason[found["reason"].upper()])


def _word(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


class Decisions:
    """The decisions of a store on one point of the grid.

    Parameters
    ----------
    store
    rule
    configurations
        Those of the point, by label.
    """

    def __init__(
        self, store: Store, rule: Rule, configurations: Mapping[str, Configuration]
    ) -> None:
        self._looks, self._key = rule.looks, rule.key(configurations)
        self._folder = store.path / "decisions"

    def path(self, realizations: int) -> Path:
        """The file of one look, which need not be there."""
        return self._folder / f"{self._key}.{realizations:09}.json"

    @property
    def _over(self) -> Path:
        return self._folder / f"{self._key}.budget.json"

    def read(self) -> list[Decision]:
        """The decisions that are there, from the first look on."""
        found: list[Decision] = []
        for size in self._looks:
            path = self.path(size)
            if not path.exists():
                break
            found.append(_decision(path))
        return found

    def record(self, decision: Decision) -> Decision:
        """Write a decision, or give the one that somebody else has written."""
        path = self.path(decision.realizations)
        if files.create_durably(path, decision.to_json().encode()):
            return decision
        return _decision(path)

    def forget(self) -> None:
        """Remove all of the point: its blocks are computed anew, and may say something else."""
        for path in files.entries(self._folder, f"{self._key}.*.json"):
            path.unlink(missing_ok=True)

    def note_budget(self, realizations: int) -> None:
        """Note that the budget allows no look beyond this one, or with 0 that it does."""
        if realizations:
            files.write_durably(self._over, json.dumps(realizations).encode())
        else:
            self._over.unlink(missing_ok=True)

    def ended_at(self) -> int:
        """The look beyond which the budget allowed none when it was last asked for one, or 0."""
        try:
            return int(files.read_bytes(self._over))
        except FileNotFoundError:
            return 0


def _decision(path: Path) -> Decision:
    try:
        return Decision.from_json(files.read_bytes(path))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read: {error}; remove it, and the next run decides again"
        ) from None


class Standing(NamedTuple):
    """How far a point is.

    Attributes
    ----------
    asked : int
        Realizations asked for so far.
    reason : Reason
    decision : Decision or None
        Of the last look that counts; beyond it there may be blocks, and decisions of others.
    """

    asked: int
    reason: Reason
    decision: Decision | None


def standings(
    rule: Rule, found: Sequence[Sequence[Decision]], ended: Sequence[int] = ()
) -> list[Standing]:
    """How far points are that stop for themselves, or all together, as the rule's scope says.

    Parameters
    ----------
    rule
    found
        Decisions of each point, from the first look on.
    ended
        Of each point, the look beyond which the budget allows none, or 0.
    """
    if rule.stop.scope == "all":
        return _together(rule, found, ended)
    return [
        standing
        for number, one in enumerate(found)
        for standing in _together(rule, [one], ended[number : number + 1])
    ]


def _together(
    rule: Rule, found: Sequence[Sequence[Decision]], ended: Sequence[int]
) -> list[Standing]:
    complete = min(map(len, found))
    last = next((k for k in range(complete) if all(one[k].reason for one in found)), None)
    if last is not None or complete == len(rule.looks):
        at = complete - 1 if last is None else last
        return [
            Standing(rule.looks[at], one[at].reason or Reason.MAXIMUM, one[at]) for one in found
        ]
    if complete == 0:
        return [Standing(rule.looks[0], Reason.NONE, None) for _ in found]
    size = rule.looks[complete - 1]
    over = size in ended
    asked, reason = (size, Reason.BUDGET) if over else (rule.looks[complete], Reason.INTERRUPTED)
    return [Standing(asked, reason, one[complete - 1]) for one in found]


def standings_of(store: Store, request: Request) -> list[Standing] | None:
    """How far each point of a request is; None where it has no table ``[stop]``."""
    if (rule := request.rule) is None:
        return None
    points = [Decisions(store, rule, point) for point in request.points]
    return standings(rule, [p.read() for p in points], [p.ended_at() for p in points])
