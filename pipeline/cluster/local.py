"""Workers that are processes of this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.cluster import common, main_guard
from pipeline.cluster.checks import speaking_meanwhile
from pipeline.cluster.credentials import temporary
from pipeline.errors import ClusterLost, InputError, in_one_line
from pipeline.signals import blocked_in_children


def usable_cores() -> int:
    """Number of cores that this process may use: in containers and batch jobs not all there are."""
    from dask.system import cpu_count

    return cpu_count()


@contextmanager
def processes(
    workers: int | None,
    *,
    devices: Sequence[str] = (),
    patience: float | None = None,
    dashboard: bool = True,
) -> Iterator[Any]:
    """Give a client of single-threaded worker processes, reachable from this machine only.

    Parameters
    ----------
    workers
        How many; by default one per core.
    devices
        Names of devices that have a worker each, beside these.
    patience
        Seconds that they may take to start.
    dashboard
        Whether to have Dask's pages, which all users of this machine can look at.

    Yields
    ------
    distributed.Client
        Leaving the context ends the processes.

    Raises
    ------
    InputError
        They would have too little memory, or the script that asks for them has no main guard.
    ClusterLost
        They do not start.
    """
    import dask
    from distributed import Client, LocalCluster
    from distributed.system import MEMORY_LIMIT

    workers = (workers or usable_cores()) + len(devices)
    common.check_memory(MEMORY_LIMIT / workers)
    settings = {"distributed.nanny.pre-spawn-environ": common.WORKER_ENVIRONMENT}
    with dask.config.set(common.settings(dashboard) | settings):
        try:
            with blocked_in_children(), speaking_meanwhile("waiting for the workers to start"):
                started = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    env=common.shared_out(devices, workers),
                    processes=True,
                    host="127.0.0.1",
                    protocol="tls://",
                    security=temporary(),
                    dashboard_address=common.LOOPBACK,
                    scheduler_kwargs={"dashboard": dashboard},
                    death_timeout=patience,
                    silence_logs=logging.CRITICAL,  # what matters is told by the run itself
                    preload=[common.PRELOAD],
                )
        except (RuntimeError, TimeoutError, AssertionError) as error:  # the last, of a hasty nanny
            if reason := main_guard.complaint():
                raise InputError(reason) from None
            why = in_one_line(error.__cause__ or error.__context__ or error)
            raise ClusterLost(f"the workers of this machine did not start: {why}") from None
        with started as cluster, Client(cluster) as client:
            yield client
