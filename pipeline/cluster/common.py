"""Settings of every cluster that is started here."""

from __future__ import annotations

LOOPBACK = "127.0.0.1:0"
"""Address of dashboards: they have no access control, so nobody else may reach them."""

PRELOAD = "pipeline.cluster.worker_preload"
"""Module that every worker loads before its first task."""

WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
"""Environment variables of a worker process.

They must be there before the process starts, since numpy reads them when it is loaded. Workers
have one thread each and there are as many as cores, so that further threads would only wait for
each other.
"""

SETTINGS = {
    # How many workers a task may lose before the driver hears of it and searches for the fault.
    "distributed.scheduler.allowed-failures": 1,
    # Others bring lost workers back: nannies on this machine, `pipeline.cluster.jobs` in a batch
    # system. Dask's cluster would close what is on its way back when this time is over.
    "distributed.deploy.lost-worker-timeout": "1000 days",
}
"""Settings of Dask for schedulers and clusters."""
