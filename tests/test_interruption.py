"""Interruptions wait for a safe place, and are never lost."""

# The statements that an interruption ends or spares are what these tests are about.
# ruff: noqa: PT012

import os
import signal
import threading

import pytest

from pipeline.interruption import PATIENCE, held_back, interruptible


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_waits_for_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():
        interrupt()
        done.append("all of it")
    assert done


def test_waits_for_an_interruptible_part():
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():
        interrupt()
        done.append("before")
        with interruptible():
            done.append("within")
    assert done == ["before"]


def test_ends_an_interruptible_part():
    waiting = threading.Event()
    with pytest.raises(KeyboardInterrupt), held_back(), interruptible():
        threading.Timer(0.1, interrupt).start()
        waiting.wait(60)
        pytest.fail("not interrupted")


def test_once_delivered_is_over():
    with held_back():
        with pytest.raises(KeyboardInterrupt), interruptible():
            interrupt()
        with interruptible():
            pass


def test_many_in_vain_break_through():
    with held_back(), pytest.raises(KeyboardInterrupt):
        for _ in range(PATIENCE):
            interrupt()


@pytest.mark.parametrize("ends_in", [None, ValueError])
def test_handlers_are_put_back(ends_in):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    try:
        with held_back():
            assert signal.getsignal(signal.SIGINT) != before[0]
            if ends_in:
                raise ends_in
    except ValueError:
        pass
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_other_threads_are_not_concerned():
    found = []

    def elsewhere():
        with held_back(), interruptible():
            found.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [before]
