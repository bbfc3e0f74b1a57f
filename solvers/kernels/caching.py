"""The cache of compiled code: its folder, and whether it is complete. Needs no Numba."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path


@cache
def folder() -> Path:
    """The folder for code compiled from these sources, in NUMBA_CACHE_DIR or the user's cache.

    One for every state of the sources: Numba itself looks at the file of a function only, and
    would go on using it when another one that it calls has changed. One for every place that they
    are installed in, since Numba keeps those apart, too. And one for every kind of processor, so
    that nodes which share it do not take each other's code for theirs.
    """
    here = Path(__file__).absolute().parent  # links are not followed, as Numba does not
    digest = hashlib.sha256(f"{here} {processor()}".encode())
    for source in sorted(here.glob("*.py")):
        digest.update(source.read_bytes())
    return _base() / f"kernels-{digest.hexdigest()[:16]}"


def is_complete() -> bool:
    """Whether the code of every function is in the cache."""
    return _mark().exists()


def mark_complete() -> None:
    """Note that the cache is complete; a cache that cannot be written to does no harm."""
    with contextlib.suppress(OSError):
        _mark().parent.mkdir(parents=True, exist_ok=True)
        _mark().touch()


def _mark() -> Path:
    # Numba's own version decides whether it can use what is there.
    return folder() / f"complete-numba-{version('numba')}-python-{platform.python_version()}"


@cache
def processor() -> str:
    """The processor that is compiled for: Numba's own setting, or the model of this machine's."""
    if chosen := os.environ.get("NUMBA_CPU_NAME"):
        return chosen
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _base() -> Path:
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen)
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home
        home = Path(tempfile.gettempdir())
    return home / "kronsbl"
