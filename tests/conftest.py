"""Fixtures that several modules use."""

import copy
import os
import shutil
import signal
import subprocess
import sys

import pytest
from hypothesis import settings

from pipeline.solving import process

TINY = {
    "campaign": {"name": "tiny", "seed": 5, "realizations": 6, "batch": 3},
    "scenario": {
        "use": "synthetic",
        "dims": [5, 5, 5],
        "measurements": [4, 4, 5],
        "sparsity": 2,
    },
    "sweep": {"snr_db": [10, 20]},
    "solvers": {"svd": {"use": "svd_krosbl"}, "oracle": {"use": "oracle_ls"}},
}
"""A campaign that takes milliseconds to compute."""


def block_files(store):
    """The loose files of blocks and estimates in a store."""
    return sorted((store.path / "blocks").rglob("*.npz"))


def pytest_configure():
    """As in a worker: threads that wait for each other make small solves a hundred times slower."""
    process.prepare()
    # How long an example takes says nothing where others use the machine.
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    # Shells start background jobs, and all that these start, deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def tiny():
    """Tables of a small campaign, to be changed at will."""
    return copy.deepcopy(TINY)


@pytest.fixture(scope="session")
def client():
    """One cluster of two worker processes for all tests that need one."""
    from pipeline.cluster import connect

    with connect("local", workers=2) as found:
        yield found


@pytest.fixture
def kronsbl(tmp_path):
    """Run the command line in a process and folder of its own."""
    command = shutil.which("kronsbl", path=os.path.dirname(sys.executable)) or "kronsbl"

    def call(*arguments, **options):
        return subprocess.run(
            [command, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            check=False,
            **options,
        )

    return call
