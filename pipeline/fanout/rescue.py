"""Rescue of blocks that kill their workers: finds the realizations at fault, saves the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from pipeline.campaign.blocks import Block
from pipeline.fanout.task import Task
from pipeline.solving.device import PROCESSOR
from pipeline.solving.outcome import ATTEMPTS, Failure
from pipeline.store import Store
from solvers import Status

SAMPLE = 8
"""Realizations tried alone of the first block that kills its workers, where nothing of its solver
has come back alive. If all of them die, the solver is given up: a search would take hundreds of
workers to say so, block by block."""

ROUNDS = 2
"""Searches of a block that exclude nothing before the whole block is given up."""


@dataclasses.dataclass
class _Case:
    """A block under suspicion, and how its worker died."""

    failure: Failure
    probes: int = 0
    sampled: bool = False
    rounds: int = 0
    attempts: dict[int, int] = dataclasses.field(default_factory=dict)
    excluded: dict[int, Failure] = dataclasses.field(default_factory=dict)


class Rescue:
    """Turns tasks whose worker died into tasks that get to the bottom of it.

    Of a task's blocks, those that a worker was at when it died are searched by trying halves of
    their realizations, and then solved without those at fault, which are stored as failed.

    Parameters
    ----------
    give_up
        Called with the label of a solver that kills whatever it is tried on, and how it does.
    """

    def __init__(self, give_up: Callable[[str, str], None]) -> None:
        self._give_up = give_up
        self._cases: dict[str, _Case] = {}
        self._survivors: set[str] = set()
        self._held: dict[str, list[Task]] = {}

    def killed(self, task: Task, why: str) -> list[Task]:
        """Tasks to submit after workers have died that had `task`.

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
        looked_at = [(block, self._failure(task, block, why)) for block in task.blocks]
        others = tuple(block for block, failure in looked_at if not failure)
        if others == task.blocks:
            return [task]
        again = [dataclasses.replace(task, blocks=others)] if others else []
        suspects = tuple(block for block, failure in looked_at if failure)
        if len(suspects) > 1 and task.device != PROCESSOR:  # were solved as one batch
            half = len(suspects) // 2
            parts = (suspects[:half], suspects[half:])
            return [*again, *(dataclasses.replace(task, blocks=part) for part in parts)]
        for block, failure in looked_at:
            if failure:
                again += self._suspect(dataclasses.replace(task, blocks=(block,)), failure)
        return again

    def _suspect(self, task: Task, failure: Failure) -> list[Task]:
        """Tasks that look into a single block, or part of one, that a worker died of."""
        case, label = self._cases.setdefault(_key(task), _Case(failure)), task.label
        if not task.probe:
            if label in self._survivors or task.batch < 2 * SAMPLE:
                return self._search(task, case)
            if label in self._held:
                self._held[label].append(task)
                return []
            self._held[label] = []
            return self._sample(task, case)
        case.probes -= 1
        if case.sampled:
            return self._after_sampling(task, case)
        if len(task.probe) > 1:
            return self._halves(task, case, task.probe)
        [row] = task.probe
        case.attempts[row] = case.attempts.get(row, 0) + 1
        if case.attempts[row] < ATTEMPTS:
            case.probes += 1
            return [task]
        case.excluded[row] = failure
        return self._closed(task, case)

    def completed(self, task: Task) -> list[Task]:
        """Tasks to submit after `task` has come back alive."""
        again: list[Task] = []
        if not task.excluded:
            self._survivors.add(task.label)
            for suspect in self._held.pop(task.label, []):
                again += self._search(suspect, self._cases[_key(suspect)])
        if task.probe:
            case = self._cases[_key(task)]
            case.probes -= 1
            again += self._after_sampling(task, case) if case.sampled else self._closed(task, case)
        return again

    def _sample(self, task: Task, case: _Case) -> list[Task]:
        rows = task.blocks[0].realizations
        chosen = rows[:: len(rows) // SAMPLE][:SAMPLE]
        case.sampled, case.probes = True, len(chosen)
        return [dataclasses.replace(task, probe=(row,)) for row in chosen]

    def _after_sampling(self, task: Task, case: _Case) -> list[Task]:
        """Search the block once the whole sample is back, or give up a solver that kills all."""
        if case.probes:
            return []
        case.sampled = False
        if task.label in self._survivors:
            return self._search(task, case)
        why = f"{case.failure.message}, with each of {SAMPLE} realizations tried alone"
        self._give_up(task.label, why)
        return []

    def _search(self, task: Task, case: _Case) -> list[Task]:
        rows = tuple(task.blocks[0].realizations)
        case.rounds += 1
        if case.rounds > ROUNDS:  # no row kills a worker alone, but the block does
            return [dataclasses.replace(task, excluded=tuple((row, case.failure) for row in rows))]
        left = tuple(row for row in rows if row not in case.excluded)
        return self._halves(task, case, left)

    def _halves(self, task: Task, case: _Case, rows: tuple[int, ...]) -> list[Task]:
        middle = (len(rows) + 1) // 2
        parts = [part for part in (rows[:middle], rows[middle:]) if part]
        case.probes += len(parts)
        return [dataclasses.replace(task, probe=part, excluded=()) for part in parts]

    def _closed(self, task: Task, case: _Case) -> list[Task]:
        """The block without what was excluded, once every probe has come back."""
        if case.probes:
            return []
        return [dataclasses.replace(task, probe=(), excluded=tuple(case.excluded.items()))]

    @staticmethod
    def _failure(task: Task, block: Block, why: str) -> Failure | None:
        """The way in which a worker died that was at that block; None where none was."""
        name, objects = task.marker(block), Store(task.store).objects
        try:
            text = objects.get(name).decode(errors="replace")
        except FileNotFoundError:
            return None
        objects.delete(name)
        if not text or task.limit is None:  # the text may be of a run that had a limit
            return Failure(Status.KILLED_WORKER, why)
        where = next((line.strip() for line in text.splitlines() if "File" in line), "")
        return Failure(Status.TIME_LIMIT, f"stuck for more than {task.limit:g} s each; {where}")


def _key(task: Task) -> str:
    """Key of the only block of a task under suspicion."""
    return task.blocks[0].key
