"""A SLURM cluster for the tests that need one."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NOT_HERE = 3


@pytest.fixture(scope="session")
def slurm():
    """The cluster that SLURM_CONF names, or one of our own."""
    if "SLURM_CONF" in os.environ:
        yield os.environ["SLURM_CONF"]
        return
    folder = tempfile.mkdtemp(prefix="slurm-", dir="/tmp")
    try:
        done = subprocess.run(
            [HERE / "start", folder], stdout=subprocess.PIPE, text=True, check=False, timeout=280
        )
        if done.returncode == NOT_HERE:
            pytest.skip("SLURM is not installed and cannot be, or the host is not on loopback")
        done.check_returncode()
        conf = done.stdout.strip().partition("=")[2]
        os.environ["SLURM_CONF"] = conf
        yield conf
    finally:
        os.environ.pop("SLURM_CONF", None)
        subprocess.run([HERE / "stop", folder], check=False, timeout=100)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_jobs_left():
    """Every test ends with an empty queue."""
    yield
    if "SLURM_CONF" not in os.environ:  # skipped
        return
    queue = ["squeue", "--me", "--noheader"]
    for _ in range(100):
        subprocess.run(["scancel", "--me"], check=False)
        if not subprocess.run(queue, stdout=subprocess.PIPE, check=False).stdout:
            return
        time.sleep(0.3)
    pytest.fail("jobs do not go away when they are cancelled")
