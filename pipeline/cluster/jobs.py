"""Jobs of a batch system, kept up until the campaign is done: what dask-jobqueue leaves open."""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import shlex
import time
from pathlib import Path
from typing import Any, ClassVar

from distributed import Status
from distributed.deploy.adaptive import Adaptive

from pipeline.cluster.description import BatchSystem
from pipeline.signals import handlers_kept

with handlers_kept():
    from dask_jobqueue import core

SECONDS_BETWEEN_LOOKS = 15.0
"""How often the queue is asked at most; it is only asked while workers are missing."""

SECONDS_TO_BE_LISTED = 10.0
"""A job that was submitted so recently is not missed in the queue: lists may be a bit old."""

SECONDS_FOR_AN_ANSWER = 20.0
"""How long the driver waits for a list of the queue before it goes on without."""

log = logging.getLogger("kronsbl")


class Job(core.Job):
    """One job, with directives of ours, which says it when the batch system refuses it.

    Parameters
    ----------
    *args, **options
        See `dask_jobqueue.core.Job`.
    directives
        The directives of the script, without their prefix. The classes that dask-jobqueue has for
        each batch system write their own, but always ask for an amount of memory, never for
        memory per core, and not for cores everywhere.
    memory
        Bytes of memory of the job; None leaves it to each worker to find out.
    security
        Is not used: workers find their keys by DASK_CONFIG. On their command line dask-jobqueue
        would not quote the paths.
    """

    system: ClassVar[BatchSystem]
    asking: ClassVar[int] = 0
    """Submissions, of any job of the class, that have not been answered yet."""
    accepted: ClassVar[int] = 0
    """Submissions that the batch system took."""
    said: ClassVar[str] = ""
    """The newest refusal."""

    def __init__(
        self,
        *args: Any,
        directives: list[str],
        memory: int | None,
        security: Any = None,
        **options: Any,
    ) -> None:
        self._memory = memory
        self.submitted = 0.0
        # The base class insists on a number, but uses it for `worker_process_memory` only.
        options["memory"] = memory or 1
        super().__init__(*args, **options)
        self.job_header = "\n".join(f"{self.system.prefix} {line}" for line in directives)

    @classmethod
    def refusal(cls) -> str:
        """The words by which the batch system refused every job so far; empty if it took one.

        Empty also where it had said beforehand that it would take such a job: then it is a matter
        of time, as with a limit of jobs per user.
        """
        return "" if cls.system.test or cls.accepted or cls.asking else cls.said

    @property
    def worker_process_memory(self) -> str:
        """Value of the workers' option ``--memory-limit``."""
        return "auto" if self._memory is None else str(super().worker_process_memory)

    async def _submit_job(self, script_filename: str) -> str:
        command, kind = self.system.submit.format(script=shlex.quote(script_filename)), type(self)
        kind.asking += 1
        try:
            printed = str(await self._call([command], shell=True))
        except RuntimeError as error:
            # Else Dask takes it for a job that is still on its way, and never tries again.
            self.status = Status.failed
            words = str(error).rpartition("stderr:\n")[2].split()
            before, kind.said = kind.said, " ".join(words) or "it gives no reason"
            # Where every job is refused, the run ends with these words.
            if kind.said != before and (kind.system.test or kind.accepted):
                log.warning("%s refuses a job: %s", self.system.submit_command, kind.said)
            raise
        finally:
            kind.asking -= 1
        self.submitted = time.monotonic()
        kind.accepted += 1
        return printed

    async def close(self) -> None:
        """Cancel the job."""
        await super().close()
        self.status = Status.closed


def job_class(system: BatchSystem) -> type[Job]:
    """Make the class of jobs of a batch system, one per run: it counts what becomes of them."""
    names = {"system": system, "config_name": system.name, "cancel_command": system.cancel}
    return type("Job", (Job,), names)


class Cluster(core.JobQueueCluster):
    """A Dask cluster whose workers are jobs.

    Parameters
    ----------
    system
        The batch system to submit jobs to.
    **options
        See `dask_jobqueue.core.JobQueueCluster`, and `Job`.
    """

    job_cls: Any

    def __init__(self, system: BatchSystem, **options: Any) -> None:
        self.system = system
        options["job_cls"] = job_class(system)
        super().__init__(**options)

    async def _close(self) -> None:
        """Cancel all jobs and end the scheduler."""
        upkeep = getattr(self, "_adaptive", None)
        if upkeep is not None:
            # A round of it that is under way would submit jobs after all have been cancelled.
            upkeep.stop()
            end = time.monotonic() + SECONDS_FOR_AN_ANSWER
            while upkeep.at_work and time.monotonic() < end:
                await asyncio.sleep(0.02)
        await super()._close()

    async def states(self) -> dict[str, str] | None:
        """Ask for the states of this user's jobs, by number; None if there is no answer."""
        try:
            listing = await self.job_cls._call([self.system.list_command()], shell=True)
        except RuntimeError as error:
            empty = self.system.empty_queue
            return {} if empty and empty in str(error) else None
        return self.system.states(listing)

    def in_words(self) -> str:
        """Say in a few words what the queue says of the jobs of this cluster."""
        try:
            states = self.sync(self.states, callback_timeout=SECONDS_FOR_AN_ANSWER)
        except TimeoutError:
            states = None
        if states is None:
            return f"{self.system.queue.split()[0]} does not answer"
        ours = {job.job_id for job in self.workers.values()}
        counts = collections.Counter(state for job, state in states.items() if job in ours)
        return ", ".join(f"{count} {state}" for state, count in counts.items()) or "none"

    def refusal(self) -> str:
        """The message when the batch system refuses every job; empty as long as there is hope."""
        said = self.job_cls.refusal()
        return self.system.refusal(said) if said else ""


class Upkeep(Adaptive):
    """Submits again the jobs that are not in the queue any more, for whatever reason.

    Parameters
    ----------
    *args, **options
        See `distributed.deploy.adaptive.Adaptive`.
    keys
        Folder with the credentials of the run.

    Notes
    -----
    By itself Dask notices the loss of a job's worker, but only if jobs have one worker each. It
    does not notice jobs that ended before their workers came, or that the batch system refused.
    """

    cluster: Any

    def __init__(self, *args: Any, keys: Path, **options: Any) -> None:
        super().__init__(*args, **options)
        self.keys, self.looked, self.at_work = keys, 0.0, False

    async def adapt(self) -> None:
        """Do one round; called by Dask every few seconds, also while one is under way."""
        if self.at_work:
            return
        self.at_work = True
        try:
            await super().adapt()
        finally:
            self.at_work = False

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
        # Before the queue is asked: a job that is submitted meanwhile would not be in its list.
        jobs = dict(self.cluster.workers)
        states = await self.cluster.states()
        if states is None:
            return  # the batch system is not there at the moment, which says nothing of the jobs
        now = time.monotonic()
        for name, job in jobs.items():
            if job.job_id in states or now - job.submitted < SECONDS_TO_BE_LISTED:
                continue
            if self.cluster.workers.get(name) is job:  # not replaced meanwhile
                del self.cluster.workers[name]
                await job.close()
