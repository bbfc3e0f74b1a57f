"""Dask clusters to run on, each behind one call.

Every cluster that is started here speaks TLS with credentials made for the run, since a Dask
scheduler runs any code that it is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.campaign.settings import ClusterSettings
from pipeline.cluster import batch, existing, local
from pipeline.cluster.checks import check_workers, wait_for_a_worker, workers_at_work
from pipeline.cluster.systems import SYSTEMS
from pipeline.errors import InputError
from pipeline.solving.device import PROCESSOR, names_of

__all__ = ["SYSTEMS", "check_cluster", "check_workers", "connect", "workers_at_work"]

log = logging.getLogger("kronsbl")


@contextmanager
def connect(
    cluster: str = "local",
    workers: int | None = None,
    settings: ClusterSettings | None = None,
    store: Path | None = None,
    *,
    device: str = PROCESSOR,
    dashboard: bool = True,
) -> Iterator[Any]:
    """Give a client of the cluster that is asked for, with at least one worker.

    Parameters
    ----------
    cluster
        "local", the name of a batch system (the keys of `SYSTEMS`), an address
        (``tls://host:port``, ``tcp://host:port``), the path of a scheduler file, or
        ``module:function``, which returns a client or a cluster of Dask's. Credentials for
        addresses and files come from Dask's own configuration, ``distributed.comm.tls``.
    workers
        Worker processes of a local cluster; by default one per core.
    settings
        The campaign's table ``[cluster]``.
    store
        Where results go; jobs' logs and credentials go there as well.
    device
        Where solvers that can are to solve; a local cluster has a worker more for each.
    dashboard
        Whether what is started here has Dask's pages, which need no password.

    Yields
    ------
    distributed.Client
        Leaving the context ends whatever was started for it.

    Raises
    ------
    InputError
        There is no such cluster, it cannot be reached, it refuses its jobs, or workers have
        too little memory.
    ClusterLost
        No worker came.
    """
    settings = settings or ClusterSettings()
    check_cluster(cluster, settings, device=device)
    system = SYSTEMS.get(cluster)
    if system is not None:
        manager = batch.jobs(system, settings, store or Path.cwd(), dashboard=dashboard)
    elif cluster == "local":
        devices, patience = names_of(device), settings.start_timeout
        manager = local.processes(workers, devices=devices, patience=patience, dashboard=dashboard)
    elif existing.names_a_function(cluster):
        manager = existing.made_by(cluster)
    else:
        manager = existing.scheduler(cluster if "://" in cluster else existing.address_in(cluster))
    with manager as client:
        jobs = client.cluster if system is not None else None
        wait_for_a_worker(client, settings.start_timeout, jobs)
        if dashboard:
            log.info("dashboard: %s", client.dashboard_link)
        yield client


def check_cluster(
    cluster: str, settings: ClusterSettings, client: Any = None, device: str = PROCESSOR
) -> None:
    """Find out what can be known to be wrong before anything is written or started.

    Parameters
    ----------
    cluster, settings
        See `connect`.
    client
        What is to be worked with instead.
    device
        See `connect`.

    Raises
    ------
    InputError
        No such kind of cluster, no such device here, or settings are missing or wrong.
    """
    system = SYSTEMS.get(cluster)
    if client is not None:
        existing.check_client(client, "client")
    elif system is not None:
        batch.check(system, settings, device)
    elif existing.names_a_function(cluster):
        existing.function(cluster)
    elif cluster == "local":
        names_of(device)
    elif "://" not in cluster and not Path(cluster).is_file():
        raise InputError(
            f"--cluster {cluster}: neither local, a batch system ({', '.join(SYSTEMS)}), an "
            "address (tls://…, tcp://…), the path of a scheduler file nor module:function"
        )
