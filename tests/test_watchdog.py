"""A process that is stuck ends, whichever of its threads it is stuck in, and no other does."""

import subprocess
import sys
import time

import pytest

PROGRAM = """
import ctypes, sys, threading, time
from pipeline.fanout.watchdog import deadline

def watched(name, seconds, work):
    with open(name, "w") as file, deadline(seconds, file):
        work()

def other():
    watched("other", 60, lambda: time.sleep({other}))

thread = threading.Thread(target=other)
thread.start()
time.sleep(0.2)
watched("this", {limit}, lambda: {work})
thread.join()
print("alive")
"""

HOLDING_THE_LOCK = "ctypes.PyDLL(None).sleep(100)"  # PyDLL does not let go of it


def run(folder, **values):
    start = time.monotonic()
    program = PROGRAM.format(**values)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    return done, time.monotonic() - start


@pytest.mark.parametrize("other", [0.0, 0.4, 50.0], ids=["over", "ends meanwhile", "goes on"])
@pytest.mark.parametrize("work", [HOLDING_THE_LOCK, "time.sleep(100)"])
def test_stuck(tmp_path, other, work):
    done, seconds = run(tmp_path, other=other, limit=1, work=work)
    assert done.returncode == 1
    assert "alive" not in done.stdout
    assert seconds < 45  # the sleeps are longer
    assert "File" in (tmp_path / "this").read_text()
    assert (tmp_path / "other").read_text() == ""


def test_in_time(tmp_path):
    done, _ = run(tmp_path, other=1.5, limit=1, work="time.sleep(0.1)")
    assert (done.returncode, done.stdout) == (0, "alive\n")
    assert (tmp_path / "this").read_text() == ""
