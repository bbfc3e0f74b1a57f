"""Blocks that kill their workers: find the realizations that do it, and save the others."""

from __future__ import annotations

import dataclasses

from pipeline.outcome import Failure
from pipeline.work import Task
from solvers import Status

STRIKES = 2
"""Submissions of a single realization that must fail before it counts as a culprit. Each is tried
on as many workers as the scheduler allows, so chance kills do not condemn anything. A realization
that left a traceback at the time limit needs no second try."""

ROUNDS = 2
"""Searches of a block without a culprit before the whole block is given up."""


@dataclasses.dataclass
class _Case:
    """A block under suspicion."""

    probes: int = 0
    rounds: int = 0
    strikes: dict[int, int] = dataclasses.field(default_factory=dict)
    condemned: dict[int, Failure] = dataclasses.field(default_factory=dict)


class Rescue:
    """Turns tasks whose worker died into tasks that get to the bottom of it.

    Of a task's blocks, those that a worker was at when it died are searched by trying halves of
    their realizations, and then solved without the culprits, which are stored as failed.
    """

    def __init__(self) -> None:
        self._cases: dict[str, _Case] = {}

    def killed(self, task: Task, why: str) -> list[Task]:
        """What to do after workers have died that had `task`.

        Parameters
        ----------
        task
        why
            What the scheduler says of it.

        Returns
        -------
        list of Task
            The same task, where it only waited on those workers.
        """
        failures = {i: failure for i in task.indices if (failure := self._failure(task, i, why))}
        if not failures:
            return [task]
        others = tuple(i for i in task.indices if i not in failures)
        again = [dataclasses.replace(task, indices=others)] if others else []
        for index, failure in failures.items():
            again += self._suspect(dataclasses.replace(task, indices=(index,)), failure)
        return again

    def _suspect(self, task: Task, failure: Failure) -> list[Task]:
        """What to do about a single block, or part of one, that a worker died of."""
        case = self._cases.setdefault(task.series.key(task.indices[0]), _Case())
        if not task.probe:
            return self._search(task, case, failure)
        case.probes -= 1
        if len(task.probe) > 1:
            return self._halves(task, case, task.probe)
        [row] = task.probe
        case.strikes[row] = case.strikes.get(row, 0) + 1
        if failure.status != Status.TIME_LIMIT and case.strikes[row] < STRIKES:
            case.probes += 1
            return [task]
        case.condemned[row] = failure
        return self._closed(task, case)

    def passed(self, task: Task) -> list[Task]:
        """What to do after a probe has come back alive."""
        case = self._cases[task.series.key(task.indices[0])]
        case.probes -= 1
        return self._closed(task, case)

    def _search(self, task: Task, case: _Case, failure: Failure) -> list[Task]:
        rows = tuple(task.series.realizations(task.indices[0]))
        case.rounds += 1
        if case.rounds > ROUNDS:  # innocent one by one, deadly together
            return [dataclasses.replace(task, condemned=tuple((row, failure) for row in rows))]
        sound = tuple(row for row in rows if row not in case.condemned)
        return self._halves(task, case, sound)

    def _halves(self, task: Task, case: _Case, rows: tuple[int, ...]) -> list[Task]:
        middle = (len(rows) + 1) // 2
        parts = [part for part in (rows[:middle], rows[middle:]) if part]
        case.probes += len(parts)
        return [dataclasses.replace(task, probe=part, condemned=()) for part in parts]

    def _closed(self, task: Task, case: _Case) -> list[Task]:
        """The block without its culprits, once every probe has come back."""
        if case.probes:
            return []
        return [dataclasses.replace(task, probe=(), condemned=tuple(case.condemned.items()))]

    @staticmethod
    def _failure(task: Task, index: int, why: str) -> Failure | None:
        """How a worker died that was at that block; None where none was."""
        path = task.tombstone(index)
        try:
            text = path.read_text()
        except OSError:
            return None
        path.unlink(missing_ok=True)
        if not text:
            return Failure(Status.KILLED_WORKER, why)
        where = next((line.strip() for line in text.splitlines() if "File" in line), "")
        return Failure(Status.TIME_LIMIT, f"stuck for more than {task.limit:g} s each; {where}")
