"""Module that every worker started here loads before its first task."""

import os
from typing import Any

from pipeline.cluster.common import CPU_WORKER, GPU_WORKER
from pipeline.solving import device, process
from solvers import kernels
from solvers.kernels import caching


def dask_setup(worker: Any) -> None:
    """Steady the times that solvers take, tell whose device this worker is, and load the solvers.

    If they have to be compiled first, that is left to the first task: a worker is not heard of
    before this function has returned, and after a minute without a word it is given up.
    """
    process.steady()
    if own := device.own_device(str(worker.name)):
        here = {CPU_WORKER if own == device.PROCESSOR else GPU_WORKER: 1.0}
        if device.PROCESSOR in os.environ.get(device.SHARED_OUT, "").split(","):
            here.setdefault(CPU_WORKER, 0.0)  # there are others for that, or will be
        # The scheduler has not heard of this worker yet, so that there is nobody else to tell.
        for quantities in (worker.state.total_resources, worker.state.available_resources):
            quantities.update(here)
    if caching.is_complete():
        kernels.load()
