"""Whether there are workers, and whether they are fit for the campaign."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.interruption import interruptible

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
            with interruptible():
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


def check_workers(client: Any, store: Path) -> None:
    """Make sure that the workers run this kronsbl, and see the store.

    Raises
    ------
    InputError
        They do not.
    """
    from pipeline.work import VERSION, look_around

    with tempfile.NamedTemporaryFile(prefix=".probe-", dir=store) as probe:
        try:
            found = client.run(look_around, probe.name)
        except (ImportError, AttributeError) as error:
            raise InputError(f"the workers cannot import kronsbl: {error}") from None
    for address, (version, sees, python) in found.items():
        if version != VERSION:
            raise InputError(
                f"worker {address} runs kronsbl {version}, this is {VERSION}: use the same "
                "environment on both sides"
            )
        if not sees:
            raise InputError(
                f"worker {address} cannot see {store.resolve()}: put the store on a file system "
                "that workers share (--store)"
            )
        if python[:2] != sys.version_info[:2]:
            raise InputError(
                f"worker {address} runs Python {python[0]}.{python[1]}, this is "
                f"{sys.version_info[0]}.{sys.version_info[1]}: use the same environment"
            )
