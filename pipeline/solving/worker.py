"""A worker process as the driver sees it: its versions, and whether it sees the store."""

from __future__ import annotations

import os
import platform
import sys
from typing import NamedTuple

from pipeline.solving import provenance
from solvers.kernels import caching

VERSION = provenance.package_version("kronsbl")
"""Version of kronsbl in this process; driver and workers must have the same."""


class WorkerInfo(NamedTuple):
    """A worker's version, Python, process, and what it sees."""

    version: str
    sees_store: bool
    python: str
    process: tuple[str, int]
    compiled: bool


def inspect_worker(probe: str) -> WorkerInfo:
    """Inspect the process this runs in: its version, and whether it sees the file `probe`."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return WorkerInfo(
        version=VERSION,
        sees_store=os.path.exists(probe),
        python=python,
        process=(platform.node(), os.getpid()),
        compiled=caching.is_complete(),
    )
