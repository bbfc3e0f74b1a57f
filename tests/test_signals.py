"""Interruptions wait for a safe place, and are never lost."""

# The statements that an interruption ends or spares are what these tests are about.
# ruff: noqa: PT012

import os
import signal
import subprocess
import sys
import threading

import pytest

from pipeline.signals import PATIENCE, handlers_kept, signals_deferred, signals_delivered


@pytest.fixture(autouse=True)
def pythons_own_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_waits_for_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt), signals_deferred():
        interrupt()
        done.append("all of it")
    assert done


def test_waits_for_an_interruptible_part():
    done = []
    with pytest.raises(KeyboardInterrupt), signals_deferred():
        interrupt()
        done.append("before")
        with signals_delivered():
            done.append("within")
    assert done == ["before"]


def test_ends_an_interruptible_part():
    waiting = threading.Event()
    with pytest.raises(KeyboardInterrupt), signals_deferred(), signals_delivered():
        threading.Timer(0.1, interrupt).start()
        waiting.wait(60)
        pytest.fail("not interrupted")


def test_once_delivered_is_over():
    with signals_deferred():
        with pytest.raises(KeyboardInterrupt), signals_delivered():
            interrupt()
        with signals_delivered():
            pass


def test_many_in_vain_break_through():
    with signals_deferred(), pytest.raises(KeyboardInterrupt):
        for _ in range(PATIENCE):
            interrupt()


@pytest.mark.parametrize("ends_in", [None, ValueError])
def test_handlers_are_put_back(ends_in):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    try:
        with signals_deferred():
            assert signal.getsignal(signal.SIGINT) != before[0]
            if ends_in:
                raise ends_in
    except ValueError:
        pass
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_other_threads_are_not_concerned():
    found = []

    def elsewhere():
        with signals_deferred(), signals_delivered():
            found.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [before]


def test_packages_do_not_take_the_handlers():
    before = signal.getsignal(signal.SIGINT)
    with handlers_kept():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) is before


def test_batch_systems_leave_the_handlers_alone(tmp_path):
    program = """
import signal
from pathlib import Path
import pipeline.cluster.jobs
from pipeline.cluster.batch import job_script
from pipeline.cluster.systems import SYSTEMS
from pipeline.campaign.settings import ClusterSettings
settings = ClusterSettings(cores=1, walltime="01:00:00", jobs=1)
for system in SYSTEMS.values():
    job_script(system, settings, Path("."))
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
