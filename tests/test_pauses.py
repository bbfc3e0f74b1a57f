"""A pause is not a solver's fault: Ctrl-Z, a laptop's lid, a virtual machine that moves."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pytest

from pipeline import Campaign
from pipeline.campaign.blocks import Block
from pipeline.fanout.rescue import Rescue
from pipeline.fanout.task import Task
from pipeline.solving import clock
from pipeline.solving.outcome import ATTEMPTS, solve_block
from solvers import Status
from tests.troublemakers import plain_estimate

WALL, CPU = "time.perf_counter", "time.process_time"


@pytest.mark.parametrize(
    ("gaps", "paused"),
    [
        pytest.param([(0.2, 0.2)] * 10, 0, id="at work"),
        pytest.param([(0.2, 0.0)] * 50, 0, id="a solver that sleeps or waits: the thread ticks"),
        pytest.param([(30.0, 30.0)], 0, id="one that never lets go of the interpreter"),
        pytest.param([(2.0, 0.6)], 0, id="a machine with three times too much to do"),
        pytest.param([(0.2, 0.2), (60.0, 0.1), (0.2, 0.2)], 59.9, id="stopped"),
        pytest.param([(70.0, 10.0)], 60, id="stopped within a long call"),
        pytest.param([(5.0, 0.0), (0.2, 0.2), (7.0, 0.0)], 12, id="stopped twice"),
    ],
)
def test_the_clock_stands_still_while_the_process_is_stopped(monkeypatch, gaps, paused):
    now = [100.0, 10.0]
    monkeypatch.setattr(WALL, lambda: now[0])
    monkeypatch.setattr(CPU, lambda: now[1])
    ticking = clock.Clock()
    start = ticking()
    for wall, cpu in gaps:
        now[0], now[1] = now[0] + wall, now[1] + cpu
        ticking()
    assert ticking() - start == pytest.approx(sum(wall for wall, _ in gaps) - paused)
    assert ticking.paused == pytest.approx(paused)


def test_who_waits_for_another_device_is_not_taken_for_stopped(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(WALL, lambda: now[0])
    monkeypatch.setattr(CPU, lambda: 0.0)
    monkeypatch.setattr("pipeline.solving.device.others_at_work", lambda: True)
    ticking = clock.Clock()
    now[0] += 60
    assert (ticking(), ticking.paused) == (160, 0)


STOPPED = """
import json, sys
from dataclasses import dataclass
from pipeline import Campaign
from pipeline.solving import process
from pipeline.solving.outcome import solve_block
from tests.conftest import TINY
process.prepare()
tables = {**TINY, "solvers": {"slow": {"use": "tests.troublemakers:Sluggish"}}}
block = next(Campaign.from_tables(tables).blocks())
print("ready", flush=True)
data = solve_block(block, limit=1.0)
print(json.dumps([data.cells["runtime"].tolist(), data.cells["status"].tolist(), data.meta]))
"""


def test_no_pause_is_stored_as_a_solvers_time():
    """Three rows of half a second in all, a limit of one second each, stopped for four."""
    import json

    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True, cwd=os.getcwd()
    )
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        process.send_signal(signal.SIGCONT)
        runtime, status, meta = json.loads(process.stdout.readline())
    process.wait()
    assert status == 3 * [Status.CONVERGED]
    assert sum(runtime) < 2.5
    assert 3 < meta["paused"] < 5


@dataclass(frozen=True)
class OverTimeOnce:
    """Takes too long the first time that it is given a realization alone."""

    folder: str
    always: bool = False

    def solve(self, problem, *, initial=None, watch=None):
        path = os.path.join(self.folder, str(problem.y[0].flat[0]))
        first = not os.path.exists(path)
        open(path, "a").close()
        if first or self.always:
            time.sleep(0.03 * problem.batch)
        watch(1, np.arange(problem.batch), None)
        return plain_estimate(problem)


@pytest.mark.parametrize("always", [False, True])
def test_a_row_over_its_time_gets_one_more_try(tiny, tmp_path, always):
    tiny["campaign"]["batch"] = 1
    use = {"use": f"{__name__}:OverTimeOnce", "folder": str(tmp_path), "always": always}
    tiny["solvers"] = {"once": use}
    data = solve_block(next(Campaign.from_tables(tiny).blocks()), limit=0.01)
    expected = Status.TIME_LIMIT if always else Status.CONVERGED
    assert data.cells["status"].tolist() == [expected]


def test_a_row_that_is_stuck_twice_is_given_up(tiny, tmp_path):
    """Whose worker the watchdog has ended: a deadlock, or a worker that was stopped for long."""
    tiny["campaign"]["batch"] = 1
    block = Block(Campaign.from_tables(tiny).configurations[0], 0)
    task = Task(tmp_path, (block,), limit=1.0)
    (tmp_path / "in_progress").mkdir()
    rescue, [probe] = Rescue(print), [task]
    for _ in range(1 + ATTEMPTS):
        assert not probe.excluded
        (tmp_path / probe.marker(block)).write_text('  File "stuck.py", line 3 in wait')
        [probe] = rescue.killed(probe, "dead")
    [(row, failure)] = probe.excluded
    assert (row, failure.status) == (0, Status.TIME_LIMIT)
    assert "stuck for more than 1 s each; File" in failure.message


def test_what_a_killed_run_left_is_no_reason_where_there_is_no_limit_now(tiny, tmp_path):
    tiny["campaign"]["batch"] = 1
    block = Block(Campaign.from_tables(tiny).configurations[0], 0)
    task = Task(tmp_path, (block,))
    (tmp_path / "in_progress").mkdir()
    (tmp_path / task.marker(block)).write_text('  File "stuck.py", line 3 in wait')
    assert Rescue(print).killed(task, "dead") != [task]
