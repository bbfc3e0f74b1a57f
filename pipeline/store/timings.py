"""Latencies stored beside the blocks: by host, never mixed with the runtimes of a campaign."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pipeline.campaign.blocks import Configuration, canonical, digest
from pipeline.store.folder import Store


class Timing(NamedTuple):
    """Latencies of one solver at one point on one host.

    Attributes
    ----------
    realizations : list of int, (n,)
        Their numbers.
    latency : list of float, (n,)
        Seconds, the median over the repeats; NaN where the solver failed.
    peak_memory : float
        Bytes that a solve allocates at most; numpy's arrays, without workspace inside LAPACK.
    """

    realizations: list[int]
    latency: list[float]
    peak_memory: float


class HostTimings(NamedTuple):
    """Timings of one host with one set of libraries.

    Attributes
    ----------
    about : dict
        What is known about it.
    timings : dict
        By `timing_key`.
    """

    about: dict[str, Any]
    timings: dict[str, Timing]


def timing_key(configuration: Configuration) -> str:
    """Hash of all that determines a latency except the host; batch size is irrelevant."""
    spec = {k: v for k, v in configuration.spec.items() if k not in ("batch", "trace")}
    return digest(canonical(spec))


def timings_of(store: Store) -> dict[str, HostTimings]:
    """Timings of a store by host.

    A host is named once per set of libraries that it was measured with.
    """
    found: dict[str, HostTimings] = {}
    for path in sorted((store.path / "timings").glob("*/*.json")):
        tables = json.loads(path.read_text())
        host = found.setdefault(path.parent.name, HostTimings(tables["about"], {}))
        host.timings[path.stem] = Timing(
            tables["realizations"], tables["latency"], tables["peak_memory"]
        )
    return found
