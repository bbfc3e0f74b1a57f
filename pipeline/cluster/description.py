"""Descriptions of batch systems, and what follows from them: directives, sizes, wall times."""

from __future__ import annotations

import getpass
import math
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.campaign.settings import ClusterSettings
from pipeline.errors import InputError

JOB_NAME = "kronsbl"

LETTERS = "KMGT"
POWERS = {letter: 1024 ** (power + 1) for power, letter in enumerate("KMGTPEZ")}
"""Bytes that the letter of a unit stands for, in every batch system."""

NAMES_OF_COUNTS = {3600: "hours", 60: "minutes", 1: "seconds"}


@dataclass(frozen=True)
class BatchSystem:
    """Everything in which batch systems differ.

    Commands are lines for a shell in which ``{script}`` stands for the path of a job script and
    ``{user}`` for the name of the user.

    Attributes
    ----------
    name : str
        The value of ``--cluster`` that asks for it, and its section of Dask's configuration.
    submit : str
        Command that submits a job. The first number that it prints is the job's.
    cancel : str
        Command that ends the job whose number follows it.
    queue : str
        Command that lists the user's jobs that have not ended.
    queue_line : str
        Regular expression for a line of that list, with the groups ``job``, the number of a job,
        and ``state``.
    prefix : str
        Beginning of those lines of a job script that are directives, meant for the batch system.
    header, resources : tuple
        Directives of every job; `resources` are those that ask for cores and memory, which the
        setting of that name replaces. `directives` lists the values that may stand in them. A
        directive with a value that is not known is left out; of a tuple of directives, the first
        remains whose values are known.
    clocks : tuple of tuple of int
        Forms in which a wall time is read: how many seconds a one in each of its numbers lasts.
        Wall times are written in the last form.
    units : mapping
        Bytes that each unit of a size stands for, beside those of `POWERS` with or without a B: in
        capitals, except where the case of the letters matters. ``""`` is a number without a unit.
    size_ending : str
        What is written after the letter of a unit.
    gpus : str
        Directive that asks for a job's GPUs, ``{gpus}`` of them; beginning with a colon, what ends
        the last of `resources`.
    log : str
        Name of the file with a job's output; empty where the batch system makes one up.
    test : str
        Command that only asks whether a job would be taken; empty where there is none, so that the
        first submission is what tells.
    empty_queue : str
        What `queue` says as it fails because there is no job at all.
    ended : frozenset of str
        States of jobs that `queue` goes on listing for a while after they have ended.
    """

    name: str
    submit: str
    cancel: str
    queue: str
    queue_line: str
    prefix: str
    header: tuple[str, ...]
    resources: tuple[str | tuple[str, ...], ...]
    clocks: tuple[tuple[int, ...], ...]
    units: Mapping[str, int] = field(default_factory=dict)
    size_ending: str = ""
    gpus: str = ""
    log: str = ""
    test: str = ""
    empty_queue: str = ""
    ended: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        """The name in messages."""
        return self.name.upper()

    @property
    def submit_command(self) -> str:
        """The program that submits jobs."""
        return self.submit.split()[0]

    def refusal(self, said: str) -> str:
        """The message when a job is refused, with what the batch system said, in one line."""
        words = " ".join(said.split())
        return f"--cluster {self.name}: {self.submit_command} refuses the job: {words}"

    def list_command(self) -> str:
        """The shell command that lists this user's jobs."""
        if "{user}" not in self.queue:
            return self.queue
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # in a container that has no names of users
            user = str(os.getuid())
        return self.queue.format(user=shlex.quote(user))

    def states(self, listing: str) -> dict[str, str]:
        """Read what the command `queue` has printed.

        Returns
        -------
        dict
            The state of each job that has not ended, by its number.
        """
        found = (re.match(self.queue_line, line) for line in listing.splitlines())
        states = {match["job"]: match["state"].strip() for match in found if match}
        return {job: state for job, state in states.items() if state not in self.ended}

    def seconds(self, settings: ClusterSettings) -> float:
        """Wall time of a job in seconds, as this batch system reads it.

        Raises
        ------
        InputError
            It is written in a form that this batch system does not take.
        """
        if settings.seconds is not None:
            return settings.seconds
        numbers = [int(number) for number in (settings.walltime or "").split(":")]
        for clock in self.clocks:
            if len(clock) == len(numbers):
                return float(sum(a * b for a, b in zip(numbers, clock, strict=True)))
        forms = " or ".join(":".join(NAMES_OF_COUNTS[c] for c in clock) for clock in self.clocks)
        raise InputError(f"cluster.walltime: {self.title} takes {forms}, got {settings.walltime!r}")

    def memory(self, settings: ClusterSettings) -> int | None:
        """Bytes of memory of a job, or None if the settings leave that to the site.

        Raises
        ------
        InputError
            The setting is no size in this batch system.
        """
        if settings.memory is not None:
            return self._bytes("memory", settings.memory)
        if settings.memory_per_core is not None:
            return self._bytes("memory_per_core", settings.memory_per_core) * (settings.cores or 1)
        return None

    def directives(self, settings: ClusterSettings, logs: Path) -> list[str]:
        """The directives of a job script, without their prefix.

        Parameters
        ----------
        settings
            The table ``[cluster]`` of a campaign.
        logs
            Folder of the jobs' output.

        Raises
        ------
        InputError
            Memory or wall time are written in a form that this batch system does not take.

        Notes
        -----
        Values that may stand in directives: ``name`` of the job, ``queue``, ``account``, ``log``
        (path of its output), ``walltime``, ``cores``, ``slots`` (the same where there are
        several), ``memory`` and ``per_core`` (known only if the setting `memory`, or
        `memory_per_core`, was given), ``job_memory`` and ``core_memory`` (known if either of them
        was).
        """
        cores, memory = settings.cores or 1, self.memory(settings)
        log = f"{logs}/{self.log}"
        values: dict[str, Any] = {
            "name": JOB_NAME,
            "queue": settings.queue,
            "account": settings.account,
            "log": f'"{log}"' if re.search(r"\s", log) else log,
            "walltime": self._time(self.seconds(settings)),
            "cores": cores,
            "slots": cores if cores > 1 else None,
        }
        if memory is not None:
            values |= {"job_memory": self._size(memory), "core_memory": self._size(memory / cores)}
            if settings.memory is not None:
                values["memory"] = values["job_memory"]
            else:
                values["per_core"] = values["core_memory"]
        known = {key: value for key, value in values.items() if value is not None}
        resources = self.resources if settings.resources is None else ()
        written = [_first_known(entry, known) for entry in (*self.header, *resources)]
        if settings.gpus and resources:
            asked = self.gpus.format(gpus=settings.gpus)
            written[-1:] = [f"{written[-1]}{asked}"] if asked[0] == ":" else [written[-1], asked]
        return [*filter(None, written), *(settings.resources or ()), *settings.directives]

    def _bytes(self, key: str, text: str) -> int:
        """Read a size; `key` is the setting that it comes from."""
        number, unit = re.fullmatch(r"(\d*)(.*)", text).groups()  # type: ignore[union-attr]
        capitals = unit.upper()
        for units, spelt in (
            (self.units, unit),  # first, since to some k is not K
            (self.units, capitals),
            (POWERS, capitals.removesuffix("B")),
        ):
            if spelt in units:
                return int(number) * units[spelt]
        why = "" if unit else " (what a number alone means is up to the site)"
        raise InputError(
            f'cluster.{key}: {self.title} takes a size with a unit, as in "32GB"{why}, got {text!r}'
        )

    def _size(self, size: float) -> str:
        """Write bytes in the largest unit in which they are a whole number; KiB are rounded up."""
        whole, power = math.ceil(size / 1024), 0
        while whole % 1024 == 0 and power < len(LETTERS) - 1:
            whole, power = whole // 1024, power + 1
        return f"{whole}{LETTERS[power]}{self.size_ending}"

    def _time(self, seconds: float) -> str:
        """Write a wall time, rounded up."""
        clock, words = self.clocks[-1], []
        left = math.ceil(seconds / clock[-1]) * clock[-1]
        for count in clock:
            words.append(f"{left // count:02d}")
            left %= count
        return ":".join(words)


def _first_known(entry: str | tuple[str, ...], values: Mapping[str, Any]) -> str | None:
    """The first of the directives whose values are all known, or None."""
    for directive in (entry,) if isinstance(entry, str) else entry:
        try:
            return directive.format_map(values)
        except KeyError:
            continue
    return None
