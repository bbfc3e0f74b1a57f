"""Loaded by every worker that we start, before its first task."""

from typing import Any

from pipeline.solving import process
from solvers import kernels
from solvers.kernels import caching


def dask_setup(worker: Any) -> None:  # noqa: ARG001
    """Steady times, and the solvers loaded.

    Where they have to be compiled first, that is left to the first task: until we are here, nobody
    hears of us, and a minute without a word is taken for a worker that does not come.
    """
    process.steady()
    if caching.is_complete():
        kernels.load()
