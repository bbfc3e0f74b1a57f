"""Workers in jobs of a batch system, which are replaced as they end until the campaign is done."""

from __future__ import annotations

import functools
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.campaign.settings import ClusterSettings, Jobs
from pipeline.cluster import common
from pipeline.cluster.common import LOOPBACK, PRELOAD
from pipeline.cluster.credentials import private_folder, security, write_credentials
from pipeline.cluster.description import JOB_NAME, BatchSystem
from pipeline.errors import InputError
from pipeline.solving.device import PROCESSOR
from pipeline.store.files import TEMPORARY

EXAMPLE = {
    "cores": "cores = 16",
    "walltime": 'walltime = "04:00:00"',
    "jobs": "jobs = 10",
}
"""The settings that no batch system can do without, with an example of each."""

SECONDS_BETWEEN_ROUNDS = 2.0
"""How often the number of jobs is compared with what the work asks for."""

ROUNDS_BEFORE_LEAVING = 5
"""So many rounds in a row must agree before a worker is sent home: a campaign has moments with
little to do, and a new job may wait in the queue for hours."""


def check(system: BatchSystem, settings: ClusterSettings, device: str = PROCESSOR) -> None:
    """Find out which settings are missing or cannot be meant.

    Raises
    ------
    InputError
        There are such settings, or dask-jobqueue is not installed.
    """
    needed = EXAMPLE if device == PROCESSOR else {**EXAMPLE, "gpus": "gpus = 1"}
    missing = [name for name in needed if getattr(settings, name) is None]
    if missing:
        raise InputError(
            f"--cluster {system.name} needs {', '.join(missing)} in the table [cluster], for "
            "example: " + "; ".join(needed[name] for name in missing)
        )
    if importlib.util.find_spec("dask_jobqueue") is None:
        raise InputError(
            f"--cluster {system.name} needs the package dask-jobqueue: pip install dask-jobqueue, "
            "or install kronsbl with its extra [batch]"
        )
    system.directives(settings, Path())


def memory_per_worker(system: BatchSystem, settings: ClusterSettings) -> float | None:
    """Bytes of memory of each of a job's workers, or None if the site decides that.

    Raises
    ------
    InputError
        The setting is no size.
    """
    memory = system.memory(settings)
    return None if memory is None else memory / (settings.cores or 1)


def jobs_of(settings: ClusterSettings) -> tuple[int, int]:
    """How many jobs to keep running at least, and at most."""
    wanted = settings.jobs or 1
    return (wanted.minimum, wanted.maximum) if isinstance(wanted, Jobs) else (wanted, wanted)


@contextmanager
def jobs(
    system: BatchSystem, settings: ClusterSettings, store: Path, *, dashboard: bool = True
) -> Iterator[Any]:
    """Give a client of workers in jobs; leaving the context cancels the jobs.

    Parameters
    ----------
    system
        The batch system to submit jobs to.
    settings
        The table ``[cluster]`` of the campaign.
    store
        Folder for the run's credentials and, by default, the jobs' logs; visible on the nodes.
    dashboard
        Whether to have Dask's pages, which all users of this machine can look at.

    Yields
    ------
    distributed.Client
        Its `cluster` is a `pipeline.cluster.jobs.Cluster`.

    Raises
    ------
    InputError
        The batch system is not there or refuses such a job.
    """
    import dask
    from distributed import Client

    if shutil.which(system.submit_command) is None:
        raise InputError(
            f"--cluster {system.name}: there is no {system.submit_command} on this machine"
        )
    minimum, maximum = jobs_of(settings)
    with (
        private_folder(store) as folder,
        # Around the cluster, whose scheduler reads them as it starts and as workers are lost.
        dask.config.set(common.settings(dashboard)),
        _cluster(system, settings, folder, store, dashboard) as cluster,
    ):
        from pipeline.cluster.jobs import Upkeep

        _try_submitting(system, cluster.job_script())
        cluster.adapt(
            Adaptive=functools.partial(Upkeep, keys=folder),
            minimum_jobs=minimum,
            maximum_jobs=maximum,
            interval=SECONDS_BETWEEN_ROUNDS,
            wait_count=ROUNDS_BEFORE_LEAVING,
        )
        with Client(cluster) as client:
            yield client


def _cluster(
    system: BatchSystem, settings: ClusterSettings, folder: Path, store: Path, dashboard: bool
) -> Any:
    """Start a Dask cluster that has no jobs yet."""
    from pipeline.cluster.jobs import Cluster

    write_credentials(folder)
    try:
        logs(settings, store).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cluster.log_directory: {error}") from None
    try:
        return Cluster(
            system,
            **job_options(system, settings, folder, store),
            security=security(folder),
            scheduler_options={"dashboard_address": LOOPBACK, "dashboard": dashboard},
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(f"--cluster {system.name}: {error}") from None


def logs(settings: ClusterSettings, store: Path) -> Path:
    """Folder of the jobs' output."""
    return Path(settings.log_directory or store / "logs").resolve()


def job_options(
    system: BatchSystem, settings: ClusterSettings, folder: Path, store: Path
) -> dict[str, Any]:
    """Options of `pipeline.cluster.jobs.Job` that follow from the settings.

    Parameters
    ----------
    system
        The batch system of the job.
    settings
        The table ``[cluster]`` of the campaign.
    folder
        The folder with credentials and configuration of the workers; visible on the nodes.
    store
        Folder for the jobs' logs if the settings name no other.

    Raises
    ------
    InputError
        Memory or wall time are written in a form that the batch system does not take.
    """
    seconds = lifetime(system, settings)
    # The first processes of a job have a GPU each. A job sees its own GPUs only, and counts them.
    names = [f"cuda:{number}" for number in range(settings.gpus or 0)]
    devices = common.shared_out(names, settings.cores or 1)
    return {
        "directives": system.directives(settings, logs(settings, store)),
        "memory": system.memory(settings),
        "cores": settings.cores,
        "processes": settings.cores,
        "interface": settings.interface,
        "job_name": JOB_NAME,
        "job_script_prologue": [
            f"export DASK_CONFIG={shlex.quote(str(folder))}",
            *(f"export {name}={value}" for name, value in devices.items()),
            # Some batch systems start jobs in the home folder, where a prologue's relative paths
            # would lead nowhere.
            f"cd {shlex.quote(os.getcwd())}",
            *settings.prologue,
        ],
        "python": shlex.quote(sys.executable),
        "local_directory": tempfile.gettempdir(),
        "protocol": "tls://",
        "worker_extra_args": [
            *("--no-dashboard", "--dashboard-address", LOOPBACK),
            *("--preload", PRELOAD),
            # Spread over the last tenth of the lifetime, so that not all leave at once.
            *("--lifetime", f"{0.95 * seconds:.0f}s"),
            *("--lifetime-stagger", f"{0.05 * seconds:.0f}s"),
        ],
    }


def job_script(system: BatchSystem, settings: ClusterSettings, store: Path) -> str:
    """The script that a run would submit, but for the names that are made up then.

    Raises
    ------
    InputError
        Settings are missing or cannot be meant.
    """
    check(system, settings)
    from pipeline.cluster.jobs import job_class

    options = job_options(
        system, settings, store.resolve() / f".private-XXXXXXXX{TEMPORARY}", store
    )
    job: Any = job_class(system)(scheduler="tls://DRIVER:PORT", name=f"{JOB_NAME}-0", **options)
    return str(job.job_script())


def lifetime(system: BatchSystem, settings: ClusterSettings) -> float:
    """Seconds after which workers leave at the latest: in time to finish their block."""
    if settings.lifetime is not None:
        return settings.lifetime
    seconds = system.seconds(settings)
    return seconds - min(max(60.0, 0.05 * seconds), seconds / 3)


def _try_submitting(system: BatchSystem, script: str) -> None:
    """Ask the batch system whether it would take the job, if it can be asked."""
    if not system.test:
        return
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        command = system.test.format(script=shlex.quote(file.name))
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(system.refusal(done.stderr))
