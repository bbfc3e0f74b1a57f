"""Dask clusters to run on, each behind one call.

Every cluster that is started here speaks TLS with credentials made for the run, since a Dask
scheduler runs any code that it is sent.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, in_one_line
from pipeline.interruption import blocked_in_children, handlers_kept, interruptible
from pipeline.settings import ClusterSettings, Jobs

log = logging.getLogger("kronsbl")

LOOPBACK = "127.0.0.1:0"

WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
"""Environment of a worker process. In force before it starts: numpy reads it when it is
loaded."""

DEATHS_PER_TASK = 1
"""Workers that a task may lose before the driver hears of it and searches for the culprit."""

SLURM_EXAMPLE = {
    "cores": "cores = 16",
    "memory": 'memory = "32GB"',
    "walltime": 'walltime = "04:00:00"',
    "jobs": "jobs = 10",
}
"""What SLURM cannot do without, with an example of each."""


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def connect(
    cluster: str = "local",
    *,
    workers: int | None = None,
    settings: ClusterSettings | None = None,
    store: Path | None = None,
) -> Iterator[Any]:
    """A client of the cluster that is asked for, with at least one worker.

    Parameters
    ----------
    cluster
        "local", "slurm", an address (``tls://host:port``, ``tcp://host:port``), or the path of a
        scheduler file. Credentials for the last two come from Dask's own configuration,
        ``distributed.comm.tls``.
    workers
        Worker processes of a local cluster; by default one per core.
    settings
        The campaign's table ``[cluster]``.
    store
        Where results go; jobs' logs and credentials go there as well.

    Raises
    ------
    InputError
        There is no such cluster, it cannot be reached, or no worker came.
    """
    settings = settings or ClusterSettings()
    check_cluster(cluster, settings)
    if cluster == "local":
        manager = _local(workers)
    elif cluster == "slurm":
        manager = _slurm(settings, store or Path.cwd())
    else:
        manager = _existing(cluster)
    with manager as client:
        _wait_for_a_worker(client, settings.start_timeout)
        log.info("dashboard: %s", client.dashboard_link)
        yield client


def check_cluster(cluster: str, settings: ClusterSettings) -> None:
    """Find out what can be known to be wrong before anything is written or started.

    Raises
    ------
    InputError
        No such kind of cluster, or its settings are missing.
    """
    if cluster == "slurm":
        job_options(settings, Path(), Path())
    elif cluster != "local" and "://" not in cluster and not Path(cluster).is_file():
        raise InputError(
            f"--cluster {cluster}: neither local, slurm, an address (tls://…, tcp://…) nor the "
            "path of a scheduler file"
        )


@contextmanager
def _local(workers: int | None) -> Iterator[Any]:
    """Single-threaded processes on this machine, reachable from this machine only."""
    import dask
    from distributed import Client, LocalCluster, Security

    settings = {
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
        "distributed.scheduler.allowed-failures": DEATHS_PER_TASK,
        # Nannies bring lost workers back. The cluster would close a nanny whose worker happens
        # to be on its way back when this time after one of its deaths is over.
        "distributed.deploy.lost-worker-timeout": "1000 days",
    }
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
                silence_logs=logging.CRITICAL,
                preload=["pipeline.worker_preload"],
            )
        with started as cluster, Client(cluster) as client:
            yield client


@contextmanager
def _existing(target: str) -> Iterator[Any]:
    """A cluster that somebody else has started: its address, or its scheduler file."""
    from distributed import Client

    address = target if "://" in target else _address_in(target)
    if target.startswith("tcp://"):
        log.warning(
            "%s is neither encrypted nor authenticated: whoever reaches that port can run code "
            "there as you",
            target,
        )
    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"--cluster {target}: cannot be reached: {error}") from None
    with client:
        yield client


def _address_in(scheduler_file: str) -> str:
    """Read by us: Dask would wait for a file that has gone for ever."""
    try:
        address: str = json.loads(Path(scheduler_file).read_text())["address"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--cluster {scheduler_file}: not the file of a scheduler: {in_one_line(error)}"
        ) from None
    return address


@contextmanager
def _slurm(settings: ClusterSettings, store: Path) -> Iterator[Any]:
    """Jobs of a SLURM cluster, replaced as they end, until the campaign is done."""
    import dask
    from distributed import Client

    jobs = settings.jobs
    minimum, maximum = (jobs.minimum, jobs.maximum) if isinstance(jobs, Jobs) else (jobs, jobs)
    with (
        private_folder(store) as folder,
        dask.config.set(
            {
                "distributed.scheduler.allowed-failures": DEATHS_PER_TASK,
                "distributed.deploy.lost-worker-timeout": "5s",  # then its job is replaced
            }
        ),
        slurm_cluster(settings, folder, store) as cluster,
    ):
        _try_submitting(cluster.job_script())
        # Unlike scale(), which submits once, this replaces jobs that end.
        cluster.adapt(minimum_jobs=minimum, maximum_jobs=maximum, interval="2s", wait_count=5)
        with Client(cluster) as client:
            yield client


@contextmanager
def private_folder(store: Path) -> Iterator[Path]:
    """A folder in the store that only this user may enter, gone afterwards."""
    store.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".private-", dir=store.resolve()))  # mode 0700
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def slurm_cluster(settings: ClusterSettings, folder: Path, store: Path) -> Any:
    """A `dask_jobqueue.SLURMCluster` without jobs yet.

    Parameters
    ----------
    settings
    folder
        For credentials and configuration that workers read; visible on the nodes.
    store
        For the jobs' logs.

    Raises
    ------
    InputError
        dask-jobqueue is not installed, or settings are missing.
    """
    import yaml

    options = job_options(settings, folder, store)
    with handlers_kept():
        from dask_jobqueue.slurm import SLURMCluster

    # Read by the nannies, whose defaults would otherwise overwrite the environment.
    worker_config = {"distributed": {"nanny": {"pre-spawn-environ": WORKER_ENVIRONMENT}}}
    (folder / "dask.yaml").write_text(yaml.safe_dump(worker_config))
    Path(options["log_directory"]).mkdir(parents=True, exist_ok=True)
    return SLURMCluster(
        **options,
        interface=settings.interface,
        security=_credentials(folder),
        scheduler_options={"dashboard_address": LOOPBACK},
    )


def _credentials(folder: Path) -> Any:
    """TLS keys and certificates made for this run, as files that workers can read."""
    from distributed import Security

    made = Security.temporary()
    names = ["tls_ca_file"]
    names += [
        f"tls_{role}_{part}"
        for role in ("scheduler", "worker", "client")
        for part in ("cert", "key")
    ]
    paths = {name: folder / f"{name}.pem" for name in names}
    for name, path in paths.items():
        path.write_text(getattr(made, name))
        path.chmod(0o600)
    return Security(require_encryption=True, **{name: str(path) for name, path in paths.items()})


def job_options(settings: ClusterSettings, folder: Path, store: Path) -> dict[str, Any]:
    """What dask-jobqueue must know of a job; see `slurm_cluster`."""
    missing = [name for name in SLURM_EXAMPLE if getattr(settings, name) is None]
    if missing:
        raise InputError(
            f"--cluster slurm needs {', '.join(missing)} in the table [cluster], for example: "
            + "; ".join(SLURM_EXAMPLE[name] for name in missing)
        )
    if importlib.util.find_spec("dask_jobqueue") is None:
        raise InputError(
            "--cluster slurm needs the package dask-jobqueue: pip install 'kronsbl[slurm]'"
        )
    return {
        "queue": settings.queue,
        "account": settings.account,
        "cores": settings.cores,
        "processes": settings.cores,
        "memory": settings.memory,
        "walltime": settings.walltime,
        "job_name": "kronsbl",
        "job_script_prologue": [f"export DASK_CONFIG={folder}", *settings.prologue],
        "job_extra_directives": settings.directives,
        "log_directory": str(Path(settings.log_directory or store / "logs").resolve()),
        "local_directory": tempfile.gettempdir(),
        "protocol": "tls://",
        "worker_extra_args": [
            *("--dashboard-address", LOOPBACK),
            *("--preload", "pipeline.worker_preload"),
            # Spread over the last tenth of the lifetime, so that not all leave at once.
            *("--lifetime", f"{0.95 * lifetime(settings):.0f}s"),
            *("--lifetime-stagger", f"{0.05 * lifetime(settings):.0f}s"),
        ],
    }


def job_script(settings: ClusterSettings, store: Path) -> str:
    """The sbatch script that a run would submit, without credentials."""
    options = job_options(settings, store.resolve() / ".private-…", store)
    with handlers_kept():
        from dask_jobqueue.slurm import SLURMJob

    job = SLURMJob(scheduler="tls://driver:port", name="kronsbl", **options)
    return str(job.job_script())


def lifetime(settings: ClusterSettings) -> float:
    """Seconds after which workers leave at the latest: in time to finish their block."""
    if settings.lifetime is not None:
        return settings.lifetime
    return settings.seconds - min(max(60.0, 0.05 * settings.seconds), settings.seconds / 3)


def _try_submitting(script: str) -> None:
    """Ask sbatch whether it would take the job.

    dask-jobqueue only logs what a failed sbatch says, and waits for workers that never come.
    """
    if shutil.which("sbatch") is None:
        raise InputError("--cluster slurm: there is no sbatch on this machine")
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        done = subprocess.run(
            ["sbatch", "--test-only", file.name], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise InputError(f"--cluster slurm: sbatch refuses the job: {done.stderr.strip()}")


def _wait_for_a_worker(client: Any, seconds: float) -> None:
    try:
        with interruptible():
            client.wait_for_workers(1, timeout=seconds)
    except TimeoutError:
        raise InputError(
            f"no worker came within {seconds:.0f} s{_queue()}; look into the jobs' logs, ask for "
            "less, or raise start_timeout in the table [cluster]"
        ) from None


def _queue() -> str:
    """What SLURM says of our jobs."""
    if shutil.which("squeue") is None:
        return ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            ["squeue", "--me", "--noheader", "--name=kronsbl", "--format=%i %T %r"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return f" (jobs: {'; '.join(done.stdout.splitlines()) or 'none'})"
    return ""
