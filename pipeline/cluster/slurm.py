"""Jobs of a SLURM cluster."""

from __future__ import annotations

import collections
import functools
import importlib.util
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
from pipeline.cluster.common import LOOPBACK, PRELOAD, SETTINGS, WORKER_ENVIRONMENT
from pipeline.errors import InputError
from pipeline.signals import handlers_kept
from pipeline.store.files import TEMPORARY

NAME = "kronsbl"

EXAMPLE = {
    "cores": "cores = 16",
    "memory": 'memory = "32GB"',
    "walltime": 'walltime = "04:00:00"',
    "jobs": "jobs = 10",
}
"""What SLURM cannot do without, with an example of each."""


def check(settings: ClusterSettings) -> None:
    """Find out what is missing or cannot be meant.

    Raises
    ------
    InputError
    """
    missing = [name for name in EXAMPLE if getattr(settings, name) is None]
    if missing:
        raise InputError(
            f"--cluster slurm needs {', '.join(missing)} in the table [cluster], for example: "
            + "; ".join(EXAMPLE[name] for name in missing)
        )
    if importlib.util.find_spec("dask_jobqueue") is None:
        raise InputError(
            "--cluster slurm needs the package dask-jobqueue: pip install 'kronsbl[slurm]'"
        )
    memory_per_worker(settings)


def memory_per_worker(settings: ClusterSettings) -> float:
    """Bytes of each of a job's workers.

    Raises
    ------
    InputError
        The setting is not a size.
    """
    from dask.utils import parse_bytes

    try:
        return float(parse_bytes(settings.memory or "") / (settings.cores or 1))
    except ValueError:
        raise InputError(
            f'cluster.memory: expected a size such as "32GB", got {settings.memory!r}'
        ) from None


@contextmanager
def jobs(settings: ClusterSettings, store: Path) -> Iterator[Any]:
    """A client of workers in jobs, which are replaced as they end, until the campaign is done."""
    import dask
    from distributed import Client

    if shutil.which("sbatch") is None:
        raise InputError("--cluster slurm: there is no sbatch on this machine")
    wanted = settings.jobs
    minimum, maximum = (
        (wanted.minimum, wanted.maximum) if isinstance(wanted, Jobs) else 2 * (wanted,)
    )
    with (
        private_folder(store) as folder,
        dask.config.set(SETTINGS),
        _cluster(settings, folder, store) as cluster,
    ):
        from pipeline.cluster.jobs import Upkeep

        _try_submitting(cluster.job_script())
        cluster.adapt(
            Adaptive=functools.partial(Upkeep, keys=folder),
            minimum_jobs=minimum,
            maximum_jobs=maximum,
            interval="2s",
            wait_count=5,
        )
        with Client(cluster) as client:
            yield client


@contextmanager
def private_folder(store: Path) -> Iterator[Path]:
    """A folder in the store that only this user may enter, gone afterwards.

    Should it be left behind after all, it is of no use to anybody, and `kronsbl gc` sweeps it out.
    """
    store.mkdir(parents=True, exist_ok=True)
    # mode 0700
    folder = Path(tempfile.mkdtemp(prefix=".private-", suffix=TEMPORARY, dir=store.resolve()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _cluster(settings: ClusterSettings, folder: Path, store: Path) -> Any:
    """A Dask cluster without jobs yet."""
    with handlers_kept():
        from pipeline.cluster.jobs import Cluster

    _write_credentials(folder)
    try:
        logs(settings, store).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cluster.log_directory: {error}") from None
    try:
        return Cluster(
            **job_options(settings, folder, store),
            security=_security(folder),
            scheduler_options={"dashboard_address": LOOPBACK},
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(f"--cluster slurm: {error}") from None


def _security(folder: Path) -> Any:
    """The credentials in that folder."""
    from distributed import Security

    return Security(
        require_encryption=True, **{name: str(path) for name, path in _key_files(folder).items()}
    )


def _key_files(folder: Path) -> dict[str, Path]:
    roles = [
        f"{role}_{part}" for role in ("scheduler", "worker", "client") for part in ("cert", "key")
    ]
    return {f"tls_{name}": folder / f"{name}.pem" for name in ("ca_file", *roles)}


def _write_credentials(folder: Path) -> None:
    """Make keys and certificates for this run, and a configuration that workers find them by."""
    import yaml
    from distributed import Security

    made = Security.temporary()
    files = _key_files(folder)
    for name, path in files.items():
        path.touch(mode=0o600)
        path.write_text(getattr(made, name))
    worker = {"cert": str(files["tls_worker_cert"]), "key": str(files["tls_worker_key"])}
    config = {
        "comm": {
            "require-encryption": True,
            "tls": {"ca-file": str(files["tls_ca_file"]), "worker": worker},
        },
        # Nannies overwrite what a job's script would say.
        "nanny": {"pre-spawn-environ": WORKER_ENVIRONMENT},
    }
    (folder / "dask.yaml").write_text(yaml.safe_dump({"distributed": config}))


def logs(settings: ClusterSettings, store: Path) -> Path:
    """Folder of the jobs' output."""
    return Path(settings.log_directory or store / "logs").resolve()


def job_options(settings: ClusterSettings, folder: Path, store: Path) -> dict[str, Any]:
    """What dask-jobqueue must know of a job.

    Parameters
    ----------
    settings
    folder
        With credentials and configuration of the workers; visible on the nodes.
    store
        For the jobs' logs.
    """
    return {
        "queue": settings.queue,
        "account": settings.account,
        "cores": settings.cores,
        "processes": settings.cores,
        "memory": settings.memory,
        "walltime": settings.walltime,
        "interface": settings.interface,
        "job_name": NAME,
        "job_script_prologue": [
            f"export DASK_CONFIG={shlex.quote(str(folder))}",
            *settings.prologue,
        ],
        "job_extra_directives": [
            f'--output="{logs(settings, store)}/{NAME}-%j.log"',
            *settings.directives,
        ],
        "python": shlex.quote(sys.executable),
        "local_directory": tempfile.gettempdir(),
        "protocol": "tls://",
        "worker_extra_args": [
            *("--dashboard-address", LOOPBACK),
            *("--preload", PRELOAD),
            # Spread over the last tenth of the lifetime, so that not all leave at once.
            *("--lifetime", f"{0.95 * lifetime(settings):.0f}s"),
            *("--lifetime-stagger", f"{0.05 * lifetime(settings):.0f}s"),
        ],
    }


def job_script(settings: ClusterSettings, store: Path) -> str:
    """The sbatch script that a run would submit, but for the names that are made up then."""
    check(settings)
    with handlers_kept():
        from pipeline.cluster.jobs import Job

    options = job_options(settings, store.resolve() / f".private-XXXXXXXX{TEMPORARY}", store)
    job: Any = Job(scheduler="tls://DRIVER:PORT", name=f"{NAME}-0", **options)
    return str(job.job_script())


def lifetime(settings: ClusterSettings) -> float:
    """Seconds after which workers leave at the latest: in time to finish their block."""
    if settings.lifetime is not None:
        return settings.lifetime
    return settings.seconds - min(max(60.0, 0.05 * settings.seconds), settings.seconds / 3)


def _try_submitting(script: str) -> None:
    """Ask sbatch whether it would take the job."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        done = subprocess.run(
            ["sbatch", "--test-only", file.name], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise InputError(f"--cluster slurm: sbatch refuses the job: {done.stderr.strip()}")


def queue() -> str:
    """What SLURM says of our jobs, in a few words."""
    command = ["squeue", "--me", "--noheader", f"--name={NAME}", "--format=%T %r"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "squeue does not answer"
    counts = collections.Counter(done.stdout.splitlines())
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "none"
