"""Dask clusters to run on, each behind one call."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.errors import InputError

WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    # dask sets a small trim threshold, which makes glibc return and fault in again the few
    # megabytes of temporaries of every EM iteration.
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
}
"""Environment of a worker process."""


DEATHS_PER_TASK = 1
"""Workers that a task may lose before the driver hears of it and searches for the culprit."""


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def local_client(workers: int | None = None) -> Iterator[Any]:
    """A cluster of single-threaded processes on this machine.

    Parameters
    ----------
    workers
        How many; by default one per usable core.
    """
    import dask
    from distributed import Client, LocalCluster, Security

    settings = {
        # Before a process starts, not in it: numpy and malloc read these when they are loaded.
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
        "distributed.scheduler.allowed-failures": DEATHS_PER_TASK,
        # Nannies bring lost workers back. The cluster would close a nanny whose worker happens
        # to be on its way back when this time after one of its deaths is over.
        "distributed.deploy.lost-worker-timeout": "1000 days",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers or usable_cores(),
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            protocol="tls://",
            security=Security.temporary(),
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def connect(cluster: str = "local", workers: int | None = None) -> Iterator[Any]:
    """A client of the cluster that is asked for.

    Parameters
    ----------
    cluster
        "local".
    workers
        How many workers, where the cluster is ours to size.

    Raises
    ------
    InputError
        There is no such kind of cluster.
    """
    if cluster != "local":
        raise InputError(f"--cluster {cluster}: known: local")
    with local_client(workers) as client:
        yield client
