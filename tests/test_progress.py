"""What is shown of a run while it works."""

import io

import pytest
from rich.console import Console

from pipeline.cli import progress
from pipeline.driver.run import Counts


class Clock:
    """Stands in for the module `time`."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(progress, "time", Clock())
    return progress.time


def test_log_file_gets_a_line_a_minute(clock):
    file = io.StringIO()
    counts = Counts(total=20_000, before=800)
    with progress.shown(Console(file=file, width=200)) as update:
        update(counts)
        clock.now += 600  # in the queue
        counts.workers = 3
        update(counts)
        for _ in range(150):
            clock.now += 1
            counts.done += 100
            counts.seconds_left = (counts.total - counts.before - counts.done) / 20
            counts.failed += counts.done == 5000
            update(counts)
    assert file.getvalue().splitlines() == [
        "800/20000 cells, – cells/s",
        "800/20000 cells, – cells/s, 3 workers",
        "6800/20000 cells, 100 cells/s, 3 workers, 11 min left, 1 failed",
        "12800/20000 cells, 100 cells/s, 3 workers, 6 min left, 1 failed",
        "15800/20000 cells, 100 cells/s, 3 workers, 3.5 min left, 1 failed",
    ]


def test_nothing_to_do_is_one_line():
    file = io.StringIO()
    with progress.shown(Console(file=file, width=200)) as update:
        update(Counts(total=24, before=24))
    assert file.getvalue() == "24/24 cells, – cells/s\n"


def test_terminal_gets_a_bar():
    file = io.StringIO()
    with progress.shown(Console(file=file, force_terminal=True, width=120)) as update:
        update(Counts(total=24, done=12, failed=2, workers=1, seconds_left=40.0))
    for part in ("12/24", "cells", "1 worker", "2 failed", "40 s left"):
        assert part in file.getvalue()


def test_quiet_is_quiet():
    file = io.StringIO()
    with progress.shown(Console(file=file), quiet=True) as update:
        update(Counts(total=24))
    assert file.getvalue() == ""
