"""Devices that solve: the processor, and GPUs through a library of arrays that works there.

Solvers run where the arrays of a problem are (`solvers.arrays`). A `Device` brings them there.
Neither CuPy nor PyTorch is imported before somebody asks for a GPU.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.campaign.blocks import SolvableConfiguration
from pipeline.errors import InputError, in_one_line
from solvers import Estimate, Problem
from solvers.arrays import Array, host
from solvers.estimate import Watch

PROCESSOR = "cpu"

SHARED_OUT = "KRONSBL_DEVICES"
"""Environment variable: names of devices, one for each worker of those started together."""

OWN = "KRONSBL_DEVICE"
"""Environment variable: name of the device of this worker, where they were shared out."""

NO_MEMORY = re.compile("out ?of ?memory|alloc_?failed|memory_?allocation", re.IGNORECASE)
"""What errors say that tell of too little memory, by their types or in words: of CUDA itself, of
CuPy and PyTorch, and of cuBLAS, cuSOLVER and the like, which have neither type nor words alike."""


class Declined(Exception):
    """A solver does not apply to the arrays of a device."""


@dataclass(frozen=True)
class Device:
    """Something that solves.

    Attributes
    ----------
    name : str
        As it is asked for: ``cpu``, ``cuda:0``.
    title : str
        What it is, for provenance: the name of the card.
    versions : mapping
        Versions of the libraries that work there, by name.
    put : callable
        Brings an array of numpy there; `solvers.arrays.host` brings arrays back.
    free_bytes : callable
        Gives the memory that arrays may still take.
    at_work : callable
        Gives a context in which everything is done that is done there.
    let_go : callable
        Gives memory back that its library keeps for later, so that other libraries may have it.
    """

    name: str = PROCESSOR
    title: str = PROCESSOR
    versions: Mapping[str, str] = field(default_factory=dict)
    put: Callable[[NDArray[Any]], Array] = np.asarray
    free_bytes: Callable[[], float] = lambda: np.inf
    at_work: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    let_go: Callable[[], object] = lambda: None

    def solve(
        self, configuration: SolvableConfiguration, problem: Problem, watch: Watch | None = None
    ) -> Estimate:
        """Bring a problem there, without what its solver must not see, and the estimate back.

        Raises
        ------
        Declined
            The solver, of third parties, says that it does not apply to arrays from there.
        """
        if self is CPU:
            return configuration.solve(problem, watch)
        with self.at_work():
            there = problem.seen_by(configuration.solver).moved(self.put)
            if reason := getattr(configuration.solver, "applies", lambda _: None)(there):
                raise Declined(reason)
            estimate = configuration.solve(there, watch)
            # Whatever else a solver may return is left to who checks contracts.
            return estimate.moved(host) if isinstance(estimate, Estimate) else estimate


CPU = Device()


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error tells that the memory of a device is too small, or the host's beside it."""
    return isinstance(error, MemoryError) or bool(NO_MEMORY.search(in_one_line(error)))


Kind = tuple[int, Callable[[int], Device]]
"""How many devices of a kind this machine has, and what opens one, by number."""


def _put(library: str, place: Any, array: NDArray[Any]) -> Array:
    xp: Any = importlib.import_module(f"array_api_compat.{library}")
    return cast(Array, xp.asarray(np.ascontiguousarray(array), device=place))


def _of_cupy(cupy: Any) -> Kind:
    runtime = cupy.cuda.runtime

    def open_(number: int) -> Device:
        card, pool = cupy.cuda.Device(number), cupy.get_default_memory_pool()

        def free_bytes() -> float:
            with card:  # pools are of the present device
                return float(card.mem_info[0] + pool.free_bytes())

        title, versions = runtime.getDeviceProperties(number)["name"].decode(), cupy.__version__
        about = (f"cuda:{number}", title, {"cupy": versions}, partial(_put, "cupy", card))
        return Device(*about, free_bytes, lambda: cupy.cuda.Device(number), pool.free_all_blocks)

    try:
        return runtime.getDeviceCount(), open_
    except runtime.CUDARuntimeError:  # no driver, or none that it could work with
        return 0, open_


def _of_torch(torch: Any) -> Kind:
    cuda = torch.cuda

    def open_(number: int) -> Device:
        def free_bytes() -> float:
            kept = cuda.memory_reserved(number) - cuda.memory_allocated(number)
            return float(cuda.mem_get_info(number)[0] + kept)

        name, title = f"cuda:{number}", cuda.get_device_name(number)
        about = (name, title, {"torch": torch.__version__}, partial(_put, "torch", name))
        return Device(*about, free_bytes, lambda: cuda.device(number), cuda.empty_cache)

    return cuda.device_count(), open_


def _cuda() -> Kind:
    """GPUs through the first of the libraries that is there."""
    for name, kind in {"cupy": _of_cupy, "torch": _of_torch}.items():
        with contextlib.suppress(ImportError):
            return kind(importlib.import_module(name))
    raise InputError("no CuPy or PyTorch, by which GPUs are used: pip install 'kronsbl[gpu]'")


KINDS: dict[str, Callable[[], Kind]] = {"cuda": _cuda}


def parsed(name: str) -> tuple[str, int | None]:
    """Kind and number that a name of a device says, ``cuda`` or ``cuda:1``.

    Raises
    ------
    InputError
        It is no such name.
    """
    kind, colon, number = name.partition(":")
    if name == PROCESSOR or (kind in KINDS and number.isdecimal() == bool(colon)):
        return kind, int(number) if number else None
    known = " or ".join((PROCESSOR, *KINDS))
    raise InputError(f"device {name!r}: expected {known}, or one by its number, as in cuda:1")


def names_of(name: str) -> list[str]:
    """Names of all devices of this machine that are asked for; of the processor none.

    Raises
    ------
    InputError
        There is no such device, or no library for it.
    """
    kind, number = parsed(name)
    if kind == PROCESSOR:
        return []
    count, _ = KINDS[kind]()
    if count <= (number or 0):
        there = f"only {count} of that kind" if count else "no GPU"
        raise InputError(f"device {name}: {there} was found on {platform.node()}")
    return [f"{kind}:{i}" for i in range(count) if number in (None, i)]


def device_of(name: str) -> Device:
    """The device of that name, ready for work: this worker's own, or the first of several.

    Raises
    ------
    InputError
        There is no such device, or no library for it.
    """
    return CPU if name == PROCESSOR else _opened(names_of(os.environ.get(OWN) or name)[0])


@cache
def _opened(name: str) -> Device:
    kind, number = parsed(name)
    return KINDS[kind]()[1](number or 0)


def others_at_work() -> bool:
    """Whether this process has had another device than the processor work for it."""
    return _opened.cache_info().currsize > 0


def own_device(worker: str) -> str:
    """The device of the worker of that name, which this process is; empty where it is anybody's.

    Workers that are started together are numbered, at the end of their names.
    """
    names = [name for name in os.environ.get(SHARED_OUT, "").split(",") if name]
    if names:
        number = re.findall(r"\d+$", worker) or [0]
        os.environ[OWN] = names[int(number[0]) % len(names)]
    return os.environ.get(OWN, "")
