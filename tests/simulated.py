"""A device that there is everywhere: arrays of `array_api_strict`, and a memory with an end.

It has nothing but the array API standard, keeps its arrays apart from those of numpy, and raises
an error of its own where a batch is too large. `register` adds it to the kinds of devices that
there are; workers of a cluster that is started here get it by the preload (`PRELOAD`).
"""

import os

import numpy as np

from pipeline.cluster import worker_preload
from pipeline.solving import device
from pipeline.solving.device import Device

NAME = "simulated"
PRELOAD = "tests.simulated"

ROWS = "KRONSBL_TEST_ROWS"
"""Environment variable: so many realizations are too many for its memory."""

FREE = "KRONSBL_TEST_FREE"
"""Environment variable: bytes that it says are free."""

MEASUREMENTS = (4, 4, 5)

put_rows = []
"""Realizations of each batch that was brought there, or would have been."""

let_go = []
"""For each time that its library was to give memory back, how many batches there had been."""


class OutOfMemory(RuntimeError):
    """There is no room for a batch."""


def put(array):
    """An array there; measurements are the first, and tell how large the batch is."""
    import array_api_strict as xp

    if np.shape(array)[1:] == MEASUREMENTS:
        put_rows.append(len(array))
        if len(array) >= float(os.environ.get(ROWS, "inf")):
            raise OutOfMemory(f"no room for {len(array)} realizations")
    return xp.asarray(np.ascontiguousarray(array), device=xp.Device("device1"))


def opened(number):
    return Device(
        name=f"{NAME}:{number}",
        title="Simulated GPU",
        versions={"array_api_strict": "2"},
        put=put,
        free_bytes=lambda: float(os.environ.get(FREE, "inf")),
        let_go=lambda: let_go.append(len(put_rows)),
    )


def register():
    device.KINDS[NAME] = lambda: (2, opened)


def dask_setup(worker):
    """As a preload of workers."""
    register()
    worker_preload.dask_setup(worker)
