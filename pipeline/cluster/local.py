"""Workers that are processes of this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.cluster.common import LOOPBACK, PRELOAD, SETTINGS, WORKER_ENVIRONMENT
from pipeline.signals import blocked_in_children


def usable_cores() -> int:
    """Number of cores that this process may use: in containers and batch jobs not all there are."""
    from dask.system import cpu_count

    return cpu_count()


@contextmanager
def processes(workers: int | None) -> Iterator[Any]:
    """Give a client of single-threaded worker processes, reachable from this machine only.

    Parameters
    ----------
    workers
        How many; by default one per core.

    Yields
    ------
    distributed.Client
        Leaving the context ends the processes.
    """
    import dask
    from distributed import Client, LocalCluster, Security

    settings = {**SETTINGS, "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT}
    with dask.config.set(settings):
        with blocked_in_children():
            started = LocalCluster(
                n_workers=workers or usable_cores(),
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                protocol="tls://",
                security=Security.temporary(),
                dashboard_address=LOOPBACK,
                worker_dashboard_address=LOOPBACK,
                silence_logs=logging.CRITICAL,  # what matters is told by the run itself
                preload=[PRELOAD],
            )
        with started as cluster, Client(cluster) as client:
            yield client
