"""Checks that there are workers, and that they are fit for the campaign."""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import InputError
from pipeline.signals import signals_delivered
from pipeline.solving.worker import inspect_worker

SECONDS_BETWEEN_WORDS = 60.0
SECONDS_BETWEEN_LOOKS = 2.0
"""How soon it is noticed, while no worker is there, that no job was taken either."""

log = logging.getLogger("kronsbl")


class WorkerJobs(Protocol):
    """The jobs of a batch system that are to start the workers."""

    def in_words(self) -> str:
        """Say in a few words what has become of them."""

    def refusal(self) -> str:
        """The message to end with if they are all refused, else nothing."""


def wait_for_a_worker(client: Any, seconds: float, jobs: WorkerJobs | None = None) -> None:
    """Wait until there is a worker, with a line a minute.

    Parameters
    ----------
    client : distributed.Client
        A client of the cluster that workers are to join.
    seconds
        How long to wait at most.
    jobs
        The jobs that are to start the workers, where a batch system does.

    Raises
    ------
    InputError
        None has come, or none will, since every job is refused.
    """
    end = time.monotonic() + seconds
    next_word = time.monotonic() + SECONDS_BETWEEN_WORDS
    while not client.nthreads():
        left = end - time.monotonic()
        try:
            with signals_delivered():
                client.wait_for_workers(1, timeout=max(min(left, SECONDS_BETWEEN_LOOKS), 0.1))
        except TimeoutError:
            if jobs and (refusal := jobs.refusal()):
                raise InputError(refusal) from None
            if left > SECONDS_BETWEEN_LOOKS and time.monotonic() < next_word:
                continue
            next_word += SECONDS_BETWEEN_WORDS
            words = f" (jobs: {jobs.in_words()})" if jobs else ""
            if left > SECONDS_BETWEEN_LOOKS:
                log.info("waiting for a first worker%s", words)
                continue
            raise InputError(
                f"no worker came within {seconds:.0f} s{words}; look into the workers' logs, ask "
                "for less, or raise start_timeout in the table [cluster]"
            ) from None


def check_workers(client: Any, store: Path, *, limited: bool = False) -> None:
    """Make sure that the workers run this kronsbl, see the store, and may be ended.

    Logs a line if they will have to compile the solvers before they can begin.

    Parameters
    ----------
    client : distributed.Client
        A client of the cluster whose workers are asked.
    store
        The folder that they are to write to.
    limited
        Whether workers that take too long are to be ended.

    Raises
    ------
    InputError
        They run another kronsbl or Python, do not see the store, or live in this process although
        they may have to be ended.
    """
    if client.asynchronous:
        raise InputError("an asynchronous client: make one without asynchronous=True")
    with tempfile.NamedTemporaryFile(prefix=".probe-", dir=store) as probe:
        try:
            found = client.run(inspect_worker, probe.name)
        except (ImportError, AttributeError) as error:
            raise InputError(f"the workers cannot import kronsbl: {error}") from None
        here = inspect_worker(probe.name)
    for address, there in found.items():
        if there.version != here.version:
            raise InputError(
                f"worker {address} runs kronsbl {there.version}, this is {here.version}: use the "
                "same environment on both sides"
            )
        if not there.sees_store:
            raise InputError(
                f"worker {address} cannot see {store.resolve()}: put the store on a file system "
                "that workers share (--store)"
            )
        if there.python != here.python:
            raise InputError(
                f"worker {address} runs Python {there.python}, this is {here.python}: use the "
                "same environment"
            )
        if limited and there.process == here.process:
            raise InputError(
                "limits.seconds_per_realization: a stuck solver can only be ended together with "
                "its process, and this client's workers are in yours; make it with processes=True"
            )
    if not all(there.compiled for there in found.values()):
        log.info("first run here: compiling the solvers takes half a minute before they start")
