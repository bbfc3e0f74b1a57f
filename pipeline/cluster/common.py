"""What holds for every cluster that we start."""

from __future__ import annotations

LOOPBACK = "127.0.0.1:0"
"""Of dashboards, which have no access control."""

PRELOAD = "pipeline.cluster.worker_preload"

WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
"""Environment of a worker process. In force before it starts: numpy reads it when it is
loaded."""

SETTINGS = {
    # Workers that a task may lose before the driver hears of it and searches for the fault.
    "distributed.scheduler.allowed-failures": 1,
    # Others bring lost workers back: nannies on this machine, `pipeline.cluster.jobs` on SLURM.
    # Dask's cluster would close what is on its way back when this time is over.
    "distributed.deploy.lost-worker-timeout": "1000 days",
}
"""Dask's, of schedulers and clusters."""
