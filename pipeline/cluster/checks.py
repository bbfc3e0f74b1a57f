"""Checks that there are workers, and that they are fit for the campaign."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from pipeline.cluster.common import CPU_WORKER, GPU_WORKER, check_memory
from pipeline.errors import ClusterLost, InputError
from pipeline.signals import signals_delivered
from pipeline.solving.device import PROCESSOR
from pipeline.solving.worker import inspect_worker
from pipeline.store.files import TEMPORARY

SECONDS_BETWEEN_WORDS = 50.0
"""Whoever waits in vain is told so within a minute."""

SECONDS_BETWEEN_LOOKS = 2.0
"""How soon it is noticed, while no worker is there, that no job was taken either."""

log = logging.getLogger("kronsbl")


@contextmanager
def speaking_meanwhile(words: str) -> Iterator[None]:
    """Say something about once a minute for as long as the context lasts."""
    over = threading.Event()

    def speak() -> None:
        while not over.wait(SECONDS_BETWEEN_WORDS):
            log.warning(words)

    threading.Thread(target=speak, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def workers_at_work(
    client: Any, resources: Mapping[str, Mapping[str, float]]
) -> tuple[int, dict[str, int], str]:
    """Who has work or would take some, and what is with the others.

    Parameters
    ----------
    client : distributed.Client
    resources
        What tasks ask of workers, by kind of device; see `resources_for`.

    Returns
    -------
    workers : int
    threads : dict
        Of those that take tasks for each kind of device, by kind.
    others : str
        In words, for people.
    """
    workers, others = 0, dict[str, list[str]]()
    threads = dict.fromkeys((PROCESSOR, *resources), 0)
    for worker in client.sync(client.scheduler.identity)["workers"].values():
        metrics, limit = worker["metrics"], worker["memory_limit"] or 0
        if worker["status"] == "running" or metrics.get("task_counts", {}).get("executing"):
            workers, offered = workers + 1, worker["resources"]
            for place in threads:
                asked = resources.get(place, {}).items()
                times = [int(offered.get(name, 0) // quantity) for name, quantity in asked]
                threads[place] += min([worker["nthreads"], *times])
        else:
            used = f"{metrics.get('memory', 0) / 1e6:.0f} of {limit / 1e6:.0f} MB in use"
            others.setdefault(worker["status"], []).append(f"{worker['host']}: {used}")
    words = [f"{len(where)} {status}, as on {where[0]}" for status, where in others.items()]
    return workers, threads, "; ".join(words) or "none there"


def resources_for(client: Any, device: str, patience: float = 0.0) -> dict[str, dict[str, float]]:
    """What tasks ask of workers, by kind of device; nothing where all is for processors.

    Parameters
    ----------
    client : distributed.Client
    device
        Where solvers that can are to solve.
    patience
        Seconds to wait for a first worker that has it, where those beside it are there already.

    Raises
    ------
    InputError
        No worker has such a device.
    """
    if device == PROCESSOR:
        return {}
    end = time.monotonic() + patience
    with speaking_meanwhile("waiting for a first worker with a GPU"):
        while True:
            workers = client.sync(client.scheduler.identity)["workers"].values()
            offered = {name for worker in workers for name in worker["resources"]}
            # Who offers CPU has somebody with a GPU beside it; those of a job come one by one.
            if GPU_WORKER in offered or CPU_WORKER not in offered or time.monotonic() > end:
                break
            with signals_delivered():
                time.sleep(SECONDS_BETWEEN_LOOKS)
    if GPU_WORKER not in offered:
        raise InputError(
            f"device {device}: no worker has the resource {GPU_WORKER}; start those with a GPU "
            f'with --resources "{GPU_WORKER}=1"'
        )
    others = {PROCESSOR: {CPU_WORKER: 1.0}} if CPU_WORKER in offered else {}
    return {device: {GPU_WORKER: 1.0}} | others


class WorkerJobs(Protocol):
    """The jobs of a batch system that are to start the workers."""

    def in_words(self) -> str:
        """Say in a few words what has become of them."""

    def refusal(self) -> str:
        """The message to end with if they are all refused, else nothing."""


def wait_for_a_worker(client: Any, seconds: float, jobs: WorkerJobs | None = None) -> None:
    """Wait until there is a worker, with a line a minute.

    Parameters
    ----------
    client : distributed.Client
        A client of the cluster that workers are to join.
    seconds
        How long to wait at most.
    jobs
        The jobs that are to start the workers, where a batch system does.

    Raises
    ------
    InputError
        None will, since every job is refused.
    ClusterLost
        None has come.
    """
    end = time.monotonic() + seconds
    next_word = time.monotonic() + SECONDS_BETWEEN_WORDS
    while not client.nthreads():
        left = end - time.monotonic()
        try:
            with signals_delivered():
                client.wait_for_workers(1, timeout=max(min(left, SECONDS_BETWEEN_LOOKS), 0.1))
        except TimeoutError:
            if jobs and (refusal := jobs.refusal()):
                raise InputError(refusal) from None
            if left > SECONDS_BETWEEN_LOOKS and time.monotonic() < next_word:
                continue
            next_word += SECONDS_BETWEEN_WORDS
            words = f" (jobs: {jobs.in_words()})" if jobs else ""
            if left > SECONDS_BETWEEN_LOOKS:
                log.warning("waiting for a first worker%s", words)
                continue
            raise ClusterLost(
                f"no worker came within {seconds:.0f} s{words}; look into the workers' logs (one "
                "whose clock is off by more than a day is kept out by its certificate), ask for "
                "less, or raise start_timeout in the table [cluster]"
            ) from None


def check_workers(
    client: Any, store: Path, patience: float = 60.0, *, limited: bool = False
) -> None:
    """Make sure that the workers run this kronsbl, see the store, and may work and be ended.

    Logs a line if they will have to compile the solvers before they can begin.

    Parameters
    ----------
    client : distributed.Client
        A client of the cluster whose workers are asked.
    store
        The folder that they are to write to.
    patience
        Seconds that a first one may take to come.
    limited
        Whether workers that take too long are to be ended.

    Raises
    ------
    InputError
        They run another kronsbl or Python, do not see the store, have too little memory to begin,
        or live in this process although they may have to be ended.
    ClusterLost
        There are none.
    """
    wait_for_a_worker(client, patience)
    limits = [
        w["memory_limit"] or 0 for w in client.sync(client.scheduler.identity)["workers"].values()
    ]
    check_memory(max(limits, default=0) if all(limits) else 0)
    with tempfile.NamedTemporaryFile(prefix=".probe-", suffix=TEMPORARY, dir=store) as probe:
        try:
            found = client.run(inspect_worker, probe.name)
        except (ImportError, AttributeError) as error:
            raise InputError(f"the workers cannot import kronsbl: {error}") from None
        here = inspect_worker(probe.name)
    for address, there in found.items():
        if there.version != here.version:
            raise InputError(
                f"worker {address} runs kronsbl {there.version}, this is {here.version}: use the "
                "same environment on both sides"
            )
        if not there.sees_store:
            raise InputError(
                f"worker {address} cannot see {store.resolve()}: put the store on a file system "
                "that workers share (--store)"
            )
        if there.python != here.python:
            raise InputError(
                f"worker {address} runs Python {there.python}, this is {here.python}: use the "
                "same environment"
            )
        if limited and there.process == here.process:
            raise InputError(
                "limits.seconds_per_realization: a stuck solver can only be ended together with "
                "its process, and this client's workers are in yours; make it with processes=True"
            )
    if not all(there.compiled for there in found.values()):
        log.info("first run here: compiling the solvers takes half a minute before they start")
