"""Plan of a campaign before anything runs: counts, bytes, memory, core-hours and wall time."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.campaign import Campaign
from pipeline.campaign.blocks import Configuration, SolvableConfiguration
from pipeline.campaign.request import Request
from pipeline.campaign.settings import ClusterSettings
from pipeline.cluster import SYSTEMS, batch, check_cluster
from pipeline.cluster.common import WORKER_BASE_BYTES, usable
from pipeline.cluster.local import usable_cores
from pipeline.driver.calibration import Calibration, Costs, costs_of
from pipeline.driver.forecast import Forecast, PointPlan, budget_words
from pipeline.driver.preparation import chosen_device, default_store, dry_run, extended
from pipeline.html import Shown
from pipeline.results.layout import CELLS_PER_CHUNK, variables_of
from pipeline.solving import process
from pipeline.solving.device import PROCESSOR, device_of, names_of
from pipeline.store import Store
from pipeline.store.folder import LOOSE_IN_A_RUN
from pipeline.store.packs import PACK_BYTES
from pipeline.store.pending import PendingBlocks, pending_blocks
from solvers import Status, endings

LONG_BLOCK_SECONDS = 30.0
SHELVES = 256
"""Folders that the files of blocks are shared out to."""

START_SECONDS = 5.0
"""Starting workers and publishing, of a small campaign."""

BLOCK_OVERHEAD_BYTES = 1500
"""Spec, facts and structure of a block file."""


@dataclasses.dataclass(frozen=True)
class SolverPlan:
    """Plan of one solver.

    Attributes
    ----------
    label : str
    batch : int
        Realizations per block.
    blocks, blocks_done : int
    seconds : float
        Of one core, or of one device, for what is still to do.
    seconds_per_block : float
    bytes : float
        Memory of one block at work.
    at_most : bool
        The seconds are those of all iterations that the solver may take: one realization took
        too long to be tried to its end.
    trouble : str
        What the solver raised when it was tried; then its times and memory are 0.
    caveat : str
        How many of the realizations that were tried ended at a cap, collapsed or failed; empty
        where they are few.
    device : str
        Where it would be solved.
    """

    label: str
    batch: int
    blocks: int
    blocks_done: int
    seconds: float
    seconds_per_block: float
    bytes: float
    at_most: bool = False
    trouble: str = ""
    caveat: str = ""
    device: str = PROCESSOR


@dataclasses.dataclass(frozen=True)
class Plan(Shown):
    """Plan of a campaign.

    Attributes
    ----------
    solvers : list of SolverPlan
    cells, cells_done : int
    blocks, blocks_done : int
    store_files, store_folders : int
        At most, while a run is at work; what it packs is few files.
    cube_files : int
    files_free : int or None
        How many more the file system takes; None where it does not say.
    store_bytes, cube_bytes : float
        Of everything, what is there already included; the cube's before compression.
    worker_bytes : float
        Memory of a worker.
    core_seconds : float
        Solving what is still to do, on cores.
    workers : int
    wall_seconds : float
        On that many workers.
    jobs : int
        Of a batch system, and 0 without one.
    job_script : str
        What would be submitted.
    warnings : list of str
    points : list of PointPlan
        With ``[stop]``, whose realizations everything else is of.
    budget : str
        What the core hours of ``[stop]`` are enough for.
    device_seconds : float
        Solving what is still to do, on other devices than cores.
    devices : int
        How many of these there are.
    """

    solvers: list[SolverPlan]
    cells: int
    cells_done: int
    blocks: int
    blocks_done: int
    store_files: int
    store_folders: int
    cube_files: int
    files_free: int | None
    store_bytes: float
    cube_bytes: float
    worker_bytes: float
    core_seconds: float
    workers: int
    wall_seconds: float
    jobs: int
    job_script: str
    warnings: list[str]
    points: list[PointPlan] = dataclasses.field(default_factory=list)
    budget: str = ""
    device_seconds: float = 0.0
    devices: int = 0


def plan(
    campaign: Campaign | str | Path,
    store: str | Path | None = None,
    *,
    workers: int | None = None,
    cluster: str = "local",
    device: str | None = None,
) -> Plan:
    """Predict what a campaign will take, from a calibration of a few seconds.

    Parameters
    ----------
    campaign
        A `Campaign`, or the path of its file.
    store
        Where it would go; what is there already counts as done.
    workers
        Single-threaded workers; by default one per core of this machine, or of the jobs.
    cluster
        As for `pipeline.run`; what a job gives is known of batch systems only.
    device
        As for `pipeline.run`; this machine needs one as well, since solvers are tried on it.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        The campaign, the store or the cluster cannot be used.
    """
    if not isinstance(campaign, Campaign):
        campaign = Campaign.load(campaign)
    device = chosen_device(campaign, device)
    check_cluster(cluster, campaign.cluster, device=device)
    solving = device_of(device)
    configurations = dry_run(campaign)
    path = Path(store or default_store(campaign))
    there, last = Store(path), None
    if (path / "campaign.toml").exists():
        there = Store.create(path, campaign)
        last = there.last_request()
        campaign = extended(last, campaign) if last is not None else campaign
    request = Request.of(campaign, {}, configurations)
    names = there.names()
    pending = pending_blocks(configurations, campaign.realizations, names)
    site = _Site.of(campaign.cluster, cluster, workers, device, path)
    process.prepare()
    costs = {
        label: costs_of(
            [p.configuration for p in pending if p.configuration.label == label],
            solving,
            campaign.realizations,
        )
        for label in campaign.solvers
    }
    forecast = _forecast(there, request, names, costs)
    if forecast is not None:
        sizes = forecast.realizations()
        pending = [_cut(part, sizes[number % len(sizes)]) for number, part in enumerate(pending)]
    plans = [
        _solver_plan(label, [p for p in pending if p.configuration.label == label], costs[label])
        for label in campaign.solvers
    ]
    found = _totals(plans, campaign, request, site, path)
    changes = [] if last is None else last.version_changes(request)
    warnings = [f"computed again: {change}" for change in changes]
    warnings += _warnings(found, path, site.worker_memory)
    found = dataclasses.replace(found, warnings=warnings)
    if forecast is None or request.rule is None:
        return found
    hours = request.rule.stop.core_hours
    budget = budget_words(forecast, hours, request.rule.pairs) if hours else ""
    return dataclasses.replace(found, points=forecast.points(), budget=budget)


@dataclasses.dataclass(frozen=True)
class _Site:
    """Workers, devices, memory and jobs that a campaign would run on.

    `worker_memory` is in bytes, infinite where the site decides and nothing is known of it.
    """

    workers: int
    devices: int
    worker_memory: float
    jobs: int = 0
    job_script: str = ""

    @classmethod
    def of(
        cls, settings: ClusterSettings, cluster: str, workers: int | None, device: str, path: Path
    ) -> _Site:
        system, devices = SYSTEMS.get(cluster), len(names_of(device))
        if system is None:
            from distributed.system import MEMORY_LIMIT

            workers = workers or usable_cores()
            return cls(workers, devices, float(MEMORY_LIMIT) / workers)
        script = batch.job_script(system, settings, path)
        memory = batch.memory_per_worker(system, settings) or float("inf")
        _, jobs = batch.jobs_of(settings)
        workers = workers or jobs * (settings.cores or 1)
        return cls(workers, devices and jobs * (settings.gpus or 1), memory, jobs, script)


def _forecast(
    there: Store, request: Request, names: set[str], costs: Mapping[str, Costs]
) -> Forecast | None:
    """What points that stop by themselves will take; None without ``[stop]``."""

    def seconds(c: Configuration, size: int) -> float:
        return c.block_count(size) * costs[c.label].per_block.get(c.grid_index, 0.0)

    return None if request.rule is None else Forecast(there, request, names, seconds)


def _totals(
    plans: list[SolverPlan], campaign: Campaign, request: Request, site: _Site, path: Path
) -> Plan:
    """The plan of a campaign from those of its solvers, without warnings and points."""
    cells = sum(p.blocks * p.batch for p in plans)
    blocks = sum(p.blocks for p in plans)
    cell_bytes = _bytes_per_cell(campaign, request)
    store_bytes = cells * cell_bytes + blocks * BLOCK_OVERHEAD_BYTES
    loose = min(blocks, LOOSE_IN_A_RUN) * (2 if campaign.output.estimates else 1)
    core_seconds = sum(p.seconds for p in plans if p.device == PROCESSOR)
    device_seconds = sum(p.seconds for p in plans) - core_seconds
    wall_seconds = max(core_seconds / site.workers, device_seconds / (site.devices or 1))
    longest = max((p.seconds_per_block for p in plans if p.blocks > p.blocks_done), default=0.0)
    files_of_variable = 2 + cells // CELLS_PER_CHUNK
    return Plan(
        solvers=plans,
        cells=cells,
        cells_done=sum(p.blocks_done * p.batch for p in plans),
        blocks=blocks,
        blocks_done=sum(p.blocks_done for p in plans),
        store_files=loose + int(store_bytes // PACK_BYTES),
        store_folders=min(loose, SHELVES),
        cube_files=len(variables_of(request)) * files_of_variable + 2 * (len(campaign.axes) + 2),
        files_free=_files_free(path),
        store_bytes=store_bytes,
        cube_bytes=cells * cell_bytes,
        worker_bytes=WORKER_BASE_BYTES + max(p.bytes for p in plans),
        core_seconds=core_seconds,
        workers=site.workers,
        wall_seconds=START_SECONDS + max(wall_seconds, longest),
        jobs=site.jobs,
        job_script=site.job_script,
        warnings=[],
        device_seconds=device_seconds,
        devices=site.devices,
    )


def _cut(
    part: PendingBlocks[SolvableConfiguration], realizations: int
) -> PendingBlocks[SolvableConfiguration]:
    """The blocks of fewer realizations."""
    count = part.configuration.block_count(realizations)
    return PendingBlocks(part.configuration, count, [i for i in part.todo if i < count])


def _solver_plan(
    label: str, pending: list[PendingBlocks[SolvableConfiguration]], costs: Costs
) -> SolverPlan:
    seconds = costs.per_block
    blocks, left = sum(p.blocks for p in pending), sum(len(p.todo) for p in pending)
    return SolverPlan(
        label=label,
        batch=pending[0].configuration.batch,
        blocks=blocks,
        blocks_done=blocks - left,
        seconds=sum(len(p.todo) * seconds.get(p.configuration.grid_index, 0.0) for p in pending),
        seconds_per_block=max(seconds.values(), default=0.0),
        bytes=costs.bytes,
        at_most=any(m.at_most for m in costs.measured),
        trouble=costs.trouble,
        caveat=_caveat(costs.measured),
        device=costs.device,
    )


def _caveat(measured: list[Calibration]) -> str:
    status = [number for one in measured for number in one.status]
    iterations = [number for one in measured for number in one.iterations]
    numbers = endings.counted(status)
    if not endings.is_worth_a_word(numbers.total(), len(status)):
        return ""
    capped = [s == Status.MAX_ITERATIONS for s in status]
    return endings.in_words(numbers, len(status), itertools.compress(iterations, capped))


def _bytes_per_cell(campaign: Campaign, request: Request) -> float:
    widths = [getattr(entry.solver, "max_iterations", 1) for entry in campaign.entries]
    return sum(
        np.dtype(v.dtype).itemsize * (max(widths) if v.extra == "iteration" else 1)
        for v in variables_of(request).values()
    )


def _existing(path: Path) -> Path:
    """The folder, or the nearest one around it that is there."""
    return next(p for p in (path.resolve(), *path.resolve().parents) if p.exists())


def _files_free(path: Path) -> int | None:
    about = os.statvfs(_existing(path))
    return about.f_favail if about.f_files else None  # some file systems do not count


def _warnings(found: Plan, path: Path, worker_memory: float) -> list[str]:
    warnings = []
    if found.worker_bytes > usable(worker_memory):
        warnings.append(
            f"a worker needs {found.worker_bytes / 1e9:.2g} GB and may use "
            f"{usable(worker_memory) / 1e9:.2g} GB: use fewer workers, or a smaller batch"
        )
    to_write = found.store_bytes * (1 - found.blocks_done / found.blocks)
    free, need = shutil.disk_usage(_existing(path)).free, to_write + 2 * found.cube_bytes
    if need > free:
        warnings.append(
            f"the disk has {free / 1e9:.1f} GB free, blocks still to come and two cubes may take "
            f"{need / 1e9:.1f} GB"
        )
    files = found.store_files + found.store_folders + 2 * found.cube_files
    if found.files_free is not None and files > found.files_free:
        room = max(found.files_free - 2 * found.cube_files - found.store_folders, 1)
        batch = math.ceil(max(p.batch for p in found.solvers) * found.store_files / room)
        warnings.append(
            f"the file system takes {found.files_free} more files, and a run may need {files}: "
            f"batch = {batch} in [campaign] would make fewer"
        )
    for p in found.solvers:
        if p.trouble:
            warnings.append(f"{p.label} could not be tried, so it is not counted: {p.trouble}")
        if p.caveat:
            warnings.append(
                f"{p.label}: of the realizations that were tried, {p.caveat}; its statistics will "
                "mean little"
            )
        if p.seconds_per_block > LONG_BLOCK_SECONDS and p.blocks > p.blocks_done:
            batch = max(int(LONG_BLOCK_SECONDS / p.seconds_per_block * p.batch), 1)
            smaller = f": put batch = {batch} into [solvers.{p.label}]" if batch < p.batch else ""
            warnings.append(
                f"a block of {p.label} takes {p.seconds_per_block:.0f} s, all of it lost when it "
                f"is interrupted{smaller}"
            )
    return warnings
