"""Layout of a cube: its variables, their attributes, and how they lie on the disk."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from zarr.codecs import ZstdCodec

from pipeline.campaign.request import Request
from pipeline.scenarios import Measure
from solvers import Status

CELLS_PER_CHUNK = 500_000

STORAGE: Mapping[str, Any] = {
    "compressors": ZstdCodec(level=3, checksum=True),  # zarr's default has no checksum
    "config": {"write_empty_chunks": True},  # so that a missing file is always damage
}


class Variable(NamedTuple):
    """A variable of the cube, over solvers, grid and realizations.

    Attributes
    ----------
    dtype : str
    fill : object
        Value of cells that have not been run.
    attributes : dict
    extra : str or None
        Name of a dimension after ``realization``.
    """

    dtype: str
    fill: Any
    attributes: Mapping[str, Any]
    extra: str | None = None


STATUS_FLAGS: Mapping[str, Any] = {
    "units": "1",
    "long_name": "how the realization ended",
    "flag_values": [int(s) for s in Status],
    "flag_meanings": " ".join(s.name.lower() for s in Status),
}


def variables_of(request: Request) -> dict[str, Variable]:
    """The variables of a request's cube, by name.

    Their names, types and attributes are part of the cube's fingerprint.
    """
    found = {name: _measure(measure) for name, measure in request.measures.items()}
    for solver in request.solvers.values():
        for name, (units, long_name) in solver["diagnostics"].items():
            found.setdefault(name, _plain("f8", np.nan, units, long_name))
    found |= {
        "runtime": _plain("f8", np.nan, "s", "share of the time of the batch it was solved in"),
        "iterations": _plain("i4", 0, "1", "iterations of the solver"),
        "inner_iterations": _plain("i4", 0, "1", "iterations of the M-step's inner loop, in total"),
        "noise_var": _plain("f8", np.nan, "1", "noise variance used or estimated by the solver"),
        "signal_energy": _plain("f8", np.nan, "1", "energy that the normalised error refers to"),
        "inner_capped": _plain("?", False, "1", "whether an inner loop ended at its cap"),
        "status": Variable("u1", 0, STATUS_FLAGS),
        "host": _plain("u2", 0, "1", "host that computed it"),
        "device": _plain("u2", 0, "1", "kind of device that computed it"),
    }
    if request.traced:
        objectives = {s["objective"] for s in request.solvers.values() if s["objective"]}
        cost = " or ".join(sorted(objectives)) or "cost"
        traced = {"cost": cost, "change": "relative change", "nmse": "NMSE"}
        found |= {
            f"trace_{name}": _plain("f4", np.nan, "1", f"{text} after each iteration", "iteration")
            for name, text in traced.items()
        }
    return found


def _plain(dtype: str, fill: Any, units: str, long_name: str, extra: str | None = None) -> Variable:
    return Variable(dtype, fill, {"units": units, "long_name": long_name}, extra)


def _measure(measure: Measure) -> Variable:
    attributes = {
        "units": measure.units,
        "long_name": measure.long_name,
        "better": measure.better,
        "valid_min": measure.bounds[0],
        "valid_max": measure.bounds[1],
        "zero_estimate": measure.zero,
        "detail": int(measure.detail) or None,
    }
    known = {name: value for name, value in attributes.items() if value is not None}
    return Variable("f8", np.nan, known, measure.dimension)


def chunks_for(shape: Sequence[int], budget: int = CELLS_PER_CHUNK) -> tuple[int, ...]:
    """Chunk shape of at most about `budget` cells: whole trailing dimensions first."""
    chunks: list[int] = []
    for length in reversed(shape):
        chunks.append(max(min(length, budget), 1))
        budget = max(budget // chunks[-1], 1)
    return tuple(reversed(chunks))


def slabs(shape: Sequence[int], chunks: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Regions that cover an array, each a union of whole chunks."""
    edges = [range(0, n, c) for n, c in zip(shape, chunks, strict=True)]
    for corner in itertools.product(*edges):
        ends = (min(a + c, n) for a, c, n in zip(corner, chunks, shape, strict=True))
        yield tuple(slice(a, b) for a, b in zip(corner, ends, strict=True))
