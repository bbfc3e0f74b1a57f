"""Loaded by every worker that we start, before its first task."""

from typing import Any

from pipeline.solving import process


def dask_setup(worker: Any) -> None:  # noqa: ARG001
    """Steady times."""
    process.prepare()
