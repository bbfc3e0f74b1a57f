"""The fixed tables of a campaign file, each checked key by key."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Realizations = Annotated[int, Field(strict=True, ge=1, le=10**9)]
NAME = r"^\w[\w.+-]*$"
Name = Annotated[str, Field(strict=True, pattern=NAME, max_length=100)]
LABEL = r"^\w[\w.+-]*(\[[\w.+=,-]+\])?$"
Label = Annotated[str, Field(strict=True, pattern=LABEL, max_length=100)]
"""Of a solver: a name, or one with options that were swept, as in ``svd[prune=0.001]``."""
Word = Annotated[str, Field(strict=True, min_length=1)]
DEFAULT_BATCH = 50


SIZE = r"\d{1,15}[A-Za-z]{0,2}"
WALLTIME = r"(\d{1,9}-)?\d{1,9}(:\d{1,9}){0,2}"


def _size(text: str) -> str:
    """Check what all batch systems agree on; the units are their own."""
    if not re.fullmatch(SIZE, text) or not re.search(r"[1-9]", text):
        raise ValueError(f'expected a size above 0, such as "32GB", got {text!r}')
    return text


def _walltime(text: str) -> str:
    """Check what all batch systems agree on; what "90" counts is their own."""
    if not re.fullmatch(WALLTIME, text) or not re.search(r"[1-9]", text):
        raise ValueError(
            "expected a time above 0, [days-]hours:minutes:seconds, such as "
            f'"04:00:00", got {text!r}'
        )
    return text


Size = Annotated[StrictStr, AfterValidator(_size)]
WallTime = Annotated[StrictStr, AfterValidator(_walltime)]


class Table(BaseModel):
    """A table of the file: frozen, and without keys that it does not know."""

    # An SNR of infinity stays a number in tables, too.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class Header(Table):
    """The table ``[campaign]``: what makes a study this one, and how large it is.

    Attributes
    ----------
    name : str
        Letters, digits, dots, dashes and underscores; results go to ``results/NAME``.
    seed : int
        What all random numbers come from, at least 0.
    realizations : int
        Of each solver at each point of the grid. More of them later compute only what is new.
    batch : int
        Realizations that are solved together and stored as one block. Other batches are other
        blocks, so leave it as it is.
    """

    name: Name
    seed: Annotated[int, Field(strict=True, json_schema_extra={"minimum": 0})]
    realizations: Realizations
    batch: Count = DEFAULT_BATCH

    @field_validator("seed")
    @classmethod
    def _not_of_tuning(cls, seed: int, info: ValidationInfo) -> int:
        if seed < 0 and not (info.context or {}).get("tuning"):
            raise ValueError(f"a seed is 0 or more, got {seed}; those below are for tuning")
        return seed


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
    """The table ``[limits]``: when to give a realization up.

    Attributes
    ----------
    seconds_per_realization : float
        A realization that takes longer is stored with the status ``time_limit``.
    """

    seconds_per_realization: Seconds | None = None


class Jobs(Table):
    """How many jobs to keep running: between two numbers, as the work asks for.

    Attributes
    ----------
    minimum, maximum : int
        At least 1.
    """

    minimum: Count
    maximum: Count


class ClusterSettings(Table):
    """The table ``[cluster]``: what a batch system must be told.

    `device` and `start_timeout` are all that other clusters look at. docs/clusters.md has the forms
    of sizes and times that each batch system takes.

    Attributes
    ----------
    queue, account : str
        The queue or partition of the jobs, and whom to charge for them.
    cores : int
        Cores of a job, which runs as many worker processes of one thread each.
    memory : str
        Memory of a job, as in "32GB"; if neither this nor `memory_per_core` is given, the site
        decides.
    memory_per_core : str
        Memory for each core of a job, as in "2GB".
    gpus : int
        GPUs of a job; as many of its worker processes have one. Needed with ``device = "cuda"``.
    resources : list of str
        Directives, without their prefix, that ask for cores, memory and GPUs in place of those that
        would be written.
    walltime : str
        Wall time of a job, [days-]hours:minutes:seconds.
    jobs : int or table of minimum and maximum
        How many jobs to keep running.
    interface : str
        Network interface of driver and workers, as in "ib0".
    prologue : list of str
        Shell lines before the workers start (modules, environment).
    log_directory : str
        Folder of the jobs' output; by default the folder ``logs`` in the store.
    directives : list of str
        Further directives for the batch system, without their prefix.
    device : str
        Where solvers that can are to solve: "cpu" unless it is given, "cuda" for GPUs, or "cuda:1"
        for one of this machine. It changes no number beyond rounding.
    lifetime : float
        Seconds after which a worker takes no further blocks and leaves; by default its wall time
        but for a margin.
    start_timeout : float
        Seconds to wait for the first worker, and for another when all are lost.
    """

    queue: Word | None = None
    account: Word | None = None
    cores: Count | None = None
    memory: Size | None = None
    memory_per_core: Size | None = None
    gpus: Count | None = None
    resources: list[StrictStr] | None = None
    walltime: WallTime | None = None
    jobs: Count | Jobs | None = None
    interface: Word | None = None
    prologue: list[StrictStr] = Field(default_factory=list)
    log_directory: Word | None = None
    directives: list[StrictStr] = Field(default_factory=list)
    device: Word | None = None
    lifetime: Seconds | None = None
    start_timeout: Seconds = 3600.0

    @field_validator("jobs")
    @classmethod
    def _in_order(cls, jobs: int | Jobs | None) -> int | Jobs | None:
        if isinstance(jobs, Jobs) and jobs.minimum > jobs.maximum:
            raise ValueError(f"minimum {jobs.minimum} is more than maximum {jobs.maximum}")
        return jobs

    @model_validator(mode="after")
    def _one_memory(self) -> Self:
        if self.memory is not None and self.memory_per_core is not None:
            raise ValueError("memory and memory_per_core say the same: give one of them")
        return self

    @property
    def seconds(self) -> float | None:
        """Wall time in seconds.

        None if it is not given, or as one or two numbers without days ("90", "90:00"), which each
        batch system reads in its own way: see `pipeline.cluster.description.BatchSystem.seconds`.
        """
        days, dash, clock = (self.walltime or "0").rpartition("-")
        numbers = [int(number) for number in clock.split(":")]
        if not dash and len(numbers) < 3:
            return None
        seconds = sum(a * b for a, b in zip(numbers, (3600, 60, 1), strict=False))
        return float(int(days or 0) * 86400 + seconds)
