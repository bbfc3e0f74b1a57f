"""The fixed tables of a campaign file, each checked key by key."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    field_validator,
)

Whole = Annotated[int, Field(strict=True, ge=0)]
Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Realizations = Annotated[int, Field(strict=True, ge=1, le=10**9)]
NAME = r"^\w[\w.+-]*$"
Name = Annotated[str, Field(strict=True, pattern=NAME, max_length=100)]
Word = Annotated[str, Field(strict=True, min_length=1)]
DEFAULT_BATCH = 50


def _seconds(walltime: str) -> float:
    """Of ``[days-]hours:minutes:seconds``."""
    days, _, clock = walltime.rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    return float(((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds)


def _meant(walltime: str) -> str:
    if not re.fullmatch(r"(\d+-)?\d{1,2}:\d{2}:\d{2}", walltime) or not _seconds(walltime):
        raise ValueError('expected [days-]hours:minutes:seconds, as in "04:00:00"')
    return walltime


WallTime = Annotated[StrictStr, AfterValidator(_meant)]


class Table(BaseModel):
    """A table of the file: frozen, and without keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Header(Table):
    """The table ``[campaign]``."""

    name: Name
    seed: Whole
    realizations: Realizations
    batch: Count = DEFAULT_BATCH


class Output(Table):
    """The table ``[output]``: what to store beside the measures.

    Attributes
    ----------
    trace : bool
        Cost, change and NMSE after each iteration.
    estimates : bool
        x̂, its variances and hyperparameters, so that a new measure needs no new solve.
    """

    trace: StrictBool = False
    estimates: StrictBool = False


class Limits(Table):
    """The table ``[limits]``: when to give a realization up."""

    seconds_per_realization: Seconds | None = None


class Jobs(Table):
    """How many jobs to keep running: between two numbers, as the work asks for."""

    minimum: Count
    maximum: Count


class ClusterSettings(Table):
    """The table ``[cluster]``: what a batch system must be told. Only SLURM looks at most of it.

    Attributes
    ----------
    queue, account : str
        Partition, and whom to charge.
    cores : int
        Per job; each runs a worker process of one thread.
    memory : str
        Per job, as in "8GB".
    walltime : str
        Of a job, [days-]hours:minutes:seconds.
    jobs : int or table of minimum and maximum
    interface : str
        Network interface of driver and workers, as in "ib0".
    prologue : list of str
        Shell lines before the workers start (modules, environment).
    log_directory : str
        Of the jobs' output; by default the folder ``logs`` in the store.
    directives : list of str
        Further options for ``#SBATCH`` lines.
    lifetime : float
        Seconds after which a worker takes no further blocks and leaves; by default its wall time
        but for a margin.
    start_timeout : float
        Seconds to wait for the first worker, and for another when all are lost.
    """

    queue: Word | None = None
    account: Word | None = None
    cores: Count | None = None
    memory: Word | None = None
    walltime: WallTime | None = None
    jobs: Count | Jobs | None = None
    interface: Word | None = None
    prologue: list[StrictStr] = Field(default_factory=list)
    log_directory: Word | None = None
    directives: list[StrictStr] = Field(default_factory=list)
    lifetime: Seconds | None = None
    start_timeout: Seconds = 3600.0

    @field_validator("jobs")
    @classmethod
    def _in_order(cls, jobs: int | Jobs | None) -> int | Jobs | None:
        if isinstance(jobs, Jobs) and jobs.minimum > jobs.maximum:
            raise ValueError(f"minimum {jobs.minimum} is more than maximum {jobs.maximum}")
        return jobs

    @property
    def seconds(self) -> float:
        """Wall time in seconds."""
        return _seconds(self.walltime or "0:00:00")
