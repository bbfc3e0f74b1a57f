"""Benchmarks are run by hand; that they can be run at all is tested."""

import subprocess
import sys
from pathlib import Path

IMPORT_ALL = """
import importlib, pkgutil, benchmarks
for module in pkgutil.iter_modules(benchmarks.__path__):
    importlib.import_module(f"benchmarks.{module.name}")
"""


def test_every_benchmark_can_be_imported():
    """In a process of their own, since they set the threads of BLAS for themselves."""
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
