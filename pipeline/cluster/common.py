"""Settings of every cluster that is started here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.errors import InputError
from pipeline.solving.device import PROCESSOR, SHARED_OUT

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


GPU_WORKER, CPU_WORKER = "GPU", "CPU"
"""Resources, in Dask's words, of workers with a device and of those beside them."""


def shared_out(names: Sequence[str], workers: int) -> dict[str, str]:
    """Environment of workers, so many, of which the first have the devices of these names."""
    return {SHARED_OUT: ",".join([*names, *[PROCESSOR] * (workers - len(names))])} if names else {}


SETTINGS: dict[str, Any] = {
    # How many workers a task may lose before the driver hears of it and searches for the fault.
    "distributed.scheduler.allowed-failures": 1,
    # Others bring lost workers back: nannies on this machine, `pipeline.cluster.jobs` in a batch
    # system. Dask's cluster would close what is on its way back when this time is over.
    "distributed.deploy.lost-worker-timeout": "1000 days",
    "distributed.worker.http.routes": [],  # nobody looks at workers' own pages
}
"""Settings of Dask for schedulers and clusters."""

WORKER_BASE_BYTES = 250e6
"""Memory of a worker that has loaded everything and has nothing to do."""


def settings(dashboard: bool) -> dict[str, Any]:
    """Settings of Dask, with the scheduler's pages or without."""
    return SETTINGS if dashboard else SETTINGS | {"distributed.scheduler.http.routes": []}


def usable(limit: float) -> float:
    """What a worker may use of its memory limit: with more, Dask gives it nothing more to do."""
    import dask
    import distributed  # noqa: F401  (has the default)

    return limit * (dask.config.get("distributed.worker.memory.pause") or 1.0)


def check_memory(limit: float) -> None:
    """Raise InputError where workers with that memory limit would never begin; 0 is no limit."""
    if 0 < usable(limit) < WORKER_BASE_BYTES:
        raise InputError(
            f"a worker needs {WORKER_BASE_BYTES / 1e6:.0f} MB with nothing to do, and may use "
            f"{usable(limit) / 1e6:.0f} of its {limit / 1e6:.0f} MB: use fewer, or more memory"
        )
