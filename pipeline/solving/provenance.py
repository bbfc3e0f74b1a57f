"""Provenance of numbers: versions, hosts, BLAS, and the state of the source tree."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.campaign.blocks import digest
from pipeline.solving import process
from pipeline.solving.device import CPU, Device
from solvers.kernels import caching

PACKAGES = ("kronsbl", "numpy", "scipy", "numba", "xarray", "zarr", "dask", "distributed")

NUMERICS = ("kronsbl", "numpy", "scipy", "numba", "llvmlite")

SAME_MACHINE = ("host", "cpu", "target", "python", "versions", "blas", "blas_threads", "device")
"""Facts of a process that decide the last bits of numbers, and how long they take."""


def package_version(name: str) -> str:
    """Version of an installed distribution."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


@cache
def _of_process() -> dict[str, Any]:
    import threadpoolctl

    threads = process.one_blas_thread()
    blas = sorted(
        {
            f"{pool['internal_api']} {pool['version']} ({pool.get('architecture', 'unknown')})"
            for pool in threadpoolctl.threadpool_info()
            if pool["user_api"] == "blas"
        }
    )
    return {
        "host": platform.node(),
        "cpu": caching.processor(),
        "target": _target(),
        "python": platform.python_version(),
        "versions": {name: package_version(name) for name in NUMERICS},
        "blas": ", ".join(blas) or "unknown",
        "blas_threads": threads,
        "device": CPU.title,
        "commit": code_commit(),
    }


def of_process(device: Device = CPU) -> dict[str, Any]:
    """Facts about this process that stand beside every block it computes, on a device."""
    facts = _of_process()
    return {**facts, "device": device.title, "versions": facts["versions"] | device.versions}


def _target() -> str:
    """What Numba compiles for: the name of a processor says little on a virtual machine."""
    from numba.core.registry import cpu_target

    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    return f"{name} {digest(features)[:8]}"


def code_commit() -> str:
    """Commit of the kronsbl that runs here, with "-dirty" where its tree has changes.

    Of a checkout, git says it; into a wheel it was written when that was built.
    """
    package = Path(__file__).resolve().parents[1]
    if (package.parent / "pyproject.toml").is_file():  # installed editable, or run from its folder
        return git_state(package)
    try:
        return str(importlib.import_module("pipeline.build_info").COMMIT)
    except ImportError:
        return "unknown"


def git_state(folder: Path) -> str:
    """Commit of the work tree that holds `folder`, with "-dirty" where it has changes."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "none"


def of_request(folder: Path) -> dict[str, Any]:
    """Facts about a run: when, where and by what it was asked for."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "folder": str(folder),
        "git": git_state(folder),
        "host": platform.node(),
        "pid": os.getpid(),
        "versions": {name: package_version(name) for name in PACKAGES},
    }
