"""What is shown of a run while it works."""

import io
import re
import subprocess
import sys

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


@pytest.mark.parametrize("is_terminal", [False, True])
def test_labels_of_swept_options_keep_their_brackets(is_terminal):
    file, farthest = io.StringIO(), "median nmse, am[prune=0.01] - svd: ±0.7 of 0.2"
    with progress.shown(Console(file=file, force_terminal=is_terminal, width=200)) as update:
        update(Counts(total=24, before=24, points=2, farthest=farthest))
    assert farthest in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())


def test_terminal_gets_a_bar():
    file = io.StringIO()
    with progress.shown(Console(file=file, force_terminal=True, width=120)) as update:
        update(Counts(total=24, done=12, failed=2, workers=1, seconds_left=40.0))
    for part in ("12/24", "cells", "1 worker", "2 failed", "40 s left"):
        assert part in file.getvalue()


def test_terminal_shows_each_solver():
    file = io.StringIO()
    of_each = {"svd[prune=0.1]": Counts(total=12, done=9), "[red]": Counts(total=12, failed=2)}
    with progress.shown(Console(file=file, force_terminal=True, width=120)) as update:
        update(Counts(total=24, done=9, failed=2, solvers=of_each))
    lines = file.getvalue().splitlines()
    for label, part in (("svd[prune=0.1]", " 9/12"), ("[red]", "2 failed"), ("all", " 9/24")):
        assert any(label in line and part in line for line in lines)


def test_what_is_logged_stands_above_the_bar():
    script = (
        "import logging, sys\n"
        "from rich.console import Console\n"
        "from pipeline.cli import base, progress\n"
        "from pipeline.driver.run import Counts\n"
        "base.set_up_logging(quiet=False)\n"
        "with progress.shown(Console(force_terminal=True, width=80)) as update:\n"
        "    update(Counts(total=24))\n"
        "    logging.getLogger('kronsbl').info('dashboard: there')\n"
        "    update(Counts(total=24, done=24))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout).replace("\r", "\n").splitlines()
    line = next(line for line in shown if "dashboard" in line)
    assert line == "dashboard: there"
    assert "24/24" in "".join(shown[shown.index(line) :])
    assert done.stderr == ""


def test_quiet_is_quiet():
    file = io.StringIO()
    with progress.shown(Console(file=file), quiet=True) as update:
        update(Counts(total=24))
    assert file.getvalue() == ""
