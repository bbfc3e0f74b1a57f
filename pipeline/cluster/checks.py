"""Whether there are workers, and whether they are fit for the campaign."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.signals import signals_delivered
from pipeline.solving.worker import inspect_worker

SECONDS_BETWEEN_WORDS = 60.0

log = logging.getLogger("kronsbl")


def wait_for_a_worker(client: Any, seconds: float, queue: Callable[[], str] | None = None) -> None:
    """Wait, with a word every minute.

    Parameters
    ----------
    client : distributed.Client
    seconds
        How long at most.
    queue
        Tells about the jobs that are to start the workers.

    Raises
    ------
    InputError
        None has come.
    """
    end = time.monotonic() + seconds
    while not client.nthreads():
        left = end - time.monotonic()
        try:
            with signals_delivered():
                client.wait_for_workers(1, timeout=max(min(left, SECONDS_BETWEEN_WORDS), 0.1))
        except TimeoutError:
            jobs = f" (jobs: {queue()})" if queue else ""
            if left > SECONDS_BETWEEN_WORDS:
                log.info("waiting for a first worker%s", jobs)
                continue
            raise InputError(
                f"no worker came within {seconds:.0f} s{jobs}; look into the workers' logs, ask "
                "for less, or raise start_timeout in the table [cluster]"
            ) from None


def check_workers(client: Any, store: Path, *, limited: bool = False) -> None:
    """Make sure that the workers run this kronsbl, see the store, and may be ended.

    Says so where they will have to compile the solvers before they can begin.

    Parameters
    ----------
    client
    store
    limited
        Whether workers that take too long are to be ended.

    Raises
    ------
    InputError
        They do not.
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
