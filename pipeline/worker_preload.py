"""Loaded by every worker that we start, before its first task."""

import signal
from typing import Any

from pipeline import process


def dask_setup(worker: Any) -> None:  # noqa: ARG001
    """Leave Ctrl-C to the driver, which lets running blocks finish; steady times."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.prepare()
