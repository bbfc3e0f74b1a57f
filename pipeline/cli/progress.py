"""Telling how far a run has come."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from pipeline.cli.terminal import span

if TYPE_CHECKING:
    from pipeline.driver.run import Counts
    from pipeline.driver.run import Progress as Callback

SECONDS_BETWEEN_LINES = 60.0
SOLVERS_SHOWN = 20


class _Clock:
    """Seconds of work: the time until workers have come does not count."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, counts: Counts) -> float:
        now = time.monotonic()
        if not counts.done:
            self._start = now
        return now - self._start


def _workers(counts: Counts) -> str:
    if not counts.workers:
        return ""
    return f"{counts.workers} worker{'s' if counts.workers != 1 else ''}"


def _rate(counts: Counts, seconds: float) -> str:
    return f"{counts.done / seconds:.0f} cells/s" if counts.done and seconds > 0 else "– cells/s"


def _left(counts: Counts) -> str:
    return f"{span(math.ceil(counts.seconds_left))} left" if counts.seconds_left else ""


def _failed(counts: Counts) -> str:
    return f"{counts.failed} failed" if counts.failed else ""


def _points(counts: Counts) -> str:
    if not counts.points:
        return ""
    farthest = f", {counts.farthest}" if counts.farthest else ""
    return f"{counts.points_done}/{counts.points} points{farthest}"


def _line(counts: Counts, seconds: float) -> str:
    """One line of plain text."""
    there = counts.before + counts.done
    parts = [
        f"{there}/{counts.total} cells",
        _rate(counts, seconds),
        _workers(counts),
        _left(counts),
        _points(counts),
        _failed(counts),
    ]
    return ", ".join(part for part in parts if part)


@contextmanager
def shown(console: Console, *, quiet: bool = False) -> Iterator[Callback]:
    """A callback for `pipeline.run` that shows its `Counts`.

    On a terminal a bar; elsewhere a line of text at the start, once a minute and at the end.
    """
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        with _bar(console) as callback:
            yield callback
    else:
        with _lines(console) as callback:
            yield callback


@contextmanager
def _bar(console: Console) -> Iterator[Callback]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cells{task.fields[more]}", markup=False),
        TextColumn("[red]{task.fields[failed]}"),
    )
    clock = _Clock()
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, TaskID] = {}

        def show(name: str, counts: Counts, more: str = "") -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=counts.total, more="", failed="")
            done, failed = counts.before + counts.done, _failed(counts)
            bar.update(tasks[name], total=counts.total, completed=done, failed=failed, more=more)

        def update(counts: Counts) -> None:
            if 1 < len(counts.solvers) <= SOLVERS_SHOWN:
                for label, of_solver in counts.solvers.items():
                    show(label, of_solver)
            parts = (_rate(counts, clock(counts)), _workers(counts), _left(counts), _points(counts))
            show("all", counts, "  ".join(["", *filter(None, parts)]))

        yield update


@contextmanager
def _lines(console: Console) -> Iterator[Callback]:
    clock, last, line, shown = _Clock(), -SECONDS_BETWEEN_LINES, "", ""

    def update(counts: Counts) -> None:
        nonlocal last, line, shown
        line = _line(counts, clock(counts))
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last, shown = time.monotonic(), line
            console.out(line, highlight=False)

    yield update
    if line != shown:
        console.out(line, highlight=False)
