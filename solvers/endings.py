"""Endings of realizations that make a statistic mean little, counted and put into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from solvers.status import Status

MOST = 0.05
"""A larger share of such endings is worth a word."""

HARMLESS = frozenset({Status.CONVERGED, Status.PRECISION_LIMIT, Status.BOUND})
"""Endings at which a solver has got as far as its criterion or double precision let it."""

PHRASES: Mapping[Status, str] = {
    Status.COLLAPSED: "collapsed",
    Status.DIVERGED: "diverged",
    Status.RAISED: "raised an exception",
    Status.NOT_FINITE: "gave entries that are not finite",
    Status.BROKE_CONTRACT: "gave no estimate of their problem",
    Status.TIME_LIMIT: "ran into the time limit",
    Status.KILLED_WORKER: "killed their worker",
}


def telling() -> list[Status]:
    """Statuses after which a statistic needs care: at a cap, collapsed, failed."""
    return [status for status in Status if status.ran and status not in HARMLESS]


def counted(statuses: Iterable[int]) -> Counter[Status]:
    """Number of realizations that ended with each of the statuses that need care."""
    worth = telling()
    found = Counter(Status(status) for status in statuses)
    return Counter({status: found[status] for status in worth if found[status]})


def is_worth_a_word(number: Any, of: Any) -> Any:
    """Whether the share of such realizations is large enough to be mentioned."""
    return number > MOST * of


def in_words(numbers: Mapping[Status, int], of: int, caps: Iterable[int] = ()) -> str:
    """A clause such as ``643 of 720 ended at 150 iterations, 3 diverged``, the commonest first.

    Parameters
    ----------
    numbers
        Realizations by how they ended.
    of
        Realizations that were run.
    caps
        Iterations of those that ended at the maximum.
    """
    caps = sorted(set(caps))
    at = "the cap on iterations"
    if caps:
        at = f"{caps[0]}{f' to {caps[-1]}' if len(caps) > 1 else ''} iterations"
    phrases = {**PHRASES, Status.MAX_ITERATIONS: f"ended at {at}"}
    parts = [
        (number, phrases.get(status, status.name.lower().replace("_", " ")))
        for status, number in sorted(numbers.items(), key=lambda item: -item[1])
        if number
    ]
    first, *others = parts
    return ", ".join([f"{first[0]} of {of} {first[1]}", *(f"{n} {words}" for n, words in others)])
