"""Module that every worker started here loads before its first task."""

from typing import Any

from pipeline.solving import process
from solvers import kernels
from solvers.kernels import caching


def dask_setup(worker: Any) -> None:  # noqa: ARG001
    """Steady the times that solvers take, and load the solvers.

    If they have to be compiled first, that is left to the first task: a worker is not heard of
    before this function has returned, and after a minute without a word it is given up.
    """
    process.steady()
    if caching.is_complete():
        kernels.load()
