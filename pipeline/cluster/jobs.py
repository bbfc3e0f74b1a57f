"""Jobs of SLURM, kept up until the campaign is done: what dask-jobqueue leaves to its users."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any, ClassVar

from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed import Status
from distributed.deploy.adaptive import Adaptive

SECONDS_BETWEEN_LOOKS = 15.0
"""At the queue, and that only while workers are missing."""

log = logging.getLogger("kronsbl")


class Job(SLURMJob):
    """A job that repeats what sbatch says when it refuses."""

    said: ClassVar[str] = ""

    def __init__(self, *args: Any, security: Any = None, **options: Any) -> None:
        # Workers find their keys by DASK_CONFIG. On their command line dask-jobqueue would not
        # quote the paths.
        super().__init__(*args, **options)

    async def _submit_job(self, script_filename: str) -> str:
        try:
            return str(await super()._submit_job(script_filename))
        except RuntimeError as error:
            self.status = Status.failed
            said = " ".join(str(error).rpartition("stderr:\n")[2].split())
            if said != Job.said:
                log.warning("sbatch refuses a job: %s", said)
            Job.said = said
            raise

    async def close(self) -> None:
        """Cancel it."""
        await super().close()
        self.status = Status.closed


class Cluster(SLURMCluster):
    """A Dask cluster of such jobs."""

    job_cls = Job


class Upkeep(Adaptive):
    """Submits again what is not in the queue any more, for whatever reason.

    Parameters
    ----------
    keys
        Folder with the credentials of the run.

    Notes
    -----
    By itself Dask notices the loss of a job's worker, but only where jobs have one worker each,
    and does not notice jobs that ended before their workers came or that sbatch refused.
    """

    cluster: Any

    def __init__(self, *args: Any, keys: Path, **options: Any) -> None:
        super().__init__(*args, **options)
        self.keys, self.looked = keys, 0.0

    async def target(self) -> Any:
        """How many workers there should be."""
        os.utime(self.keys)  # not abandoned, however old: `kronsbl gc` looks at this
        if (
            time.monotonic() - self.looked > SECONDS_BETWEEN_LOOKS
            and self.requested - self.observed
        ):
            self.looked = time.monotonic()
            await self._forget_ended_jobs()
        return await super().target()

    async def _forget_ended_jobs(self) -> None:
        """Let the cluster find that jobs are missing, upon which it submits them."""
        jobs = dict(self.cluster.workers)
        try:
            queued = set((await Job._call(["squeue", "--me", "--noheader", "--format=%A"])).split())
        except RuntimeError:
            return  # SLURM is not there at the moment
        for name, job in jobs.items():
            if job.job_id not in queued and self.cluster.workers.get(name) is job:
                del self.cluster.workers[name]
                await job.close()
