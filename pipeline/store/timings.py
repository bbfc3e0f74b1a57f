"""Latencies stored beside the blocks: by host, never mixed with the runtimes of a campaign."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pipeline.campaign.blocks import Configuration, canonical, digest
from pipeline.errors import InputError
from pipeline.store.files import entries, read_bytes
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
    for folder in entries(store.path / "timings", "*-*"):
        for path in entries(folder, "[0-9a-f]*.json"):
            try:
                tables = json.loads(read_bytes(path))
                about, timing = tables["about"], Timing(*(tables[n] for n in Timing._fields))
            except (ValueError, LookupError, TypeError) as error:
                raise InputError(f"{path}: cannot be read: {error}; remove it") from None
            found.setdefault(folder.name, HostTimings(about, {})).timings[path.stem] = timing
    return found
