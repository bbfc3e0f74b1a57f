"""Compiled loops over the rows of a batch, for work too small or too branched for array calls.

Numba compiles them for the machine at hand the first time, which takes about half a minute, and
keeps the code (see `caching`). Even to load that takes a second and a hundred megabytes, so it
is left to those who solve: it is done where a function is first asked for, or by `load`, before
any clock starts.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
from functools import cache
from typing import Any

from solvers.kernels import caching

_FUNCTIONS = {
    "alternation": ("alternate_rows", "sweep"),
    "eigen": ("eigh_hermitian", "eigh_symmetric"),
    "factors": ("prune_rows", "row_distances2"),
    "leading": ("power_iterations",),
    "posterior": ("second_moments", "shrink"),
    "systems": ("assemble", "finish"),
}
"""By module, what others call."""


@cache
def load() -> None:
    """Make every compiled function ready to be called."""
    if not caching.is_complete():
        _compile_aside()
    for module, names in _FUNCTIONS.items():
        functions = vars(importlib.import_module(f"{__name__}.{module}"))
        globals().update({name: functions[name] for name in names})
    caching.mark_complete()


def _compile_aside() -> None:
    """Have another process compile, so that this one loads what it wrote.

    The process that compiles inlines across functions in other ways than one that loads them, and
    the last bits of complex eigenvectors differ between the two: the first run on a machine would
    give other bits than all that follow. Where that process fails we compile here after all.
    """
    modules = ", ".join(f"{__name__}.{module}" for module in _FUNCTIONS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with contextlib.suppress(OSError):
        subprocess.run(
            [sys.executable, "-c", f"import {modules}"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )


def __getattr__(name: str) -> Any:
    """Load all functions when the first is asked for (PEP 562)."""
    if not any(name in names for names in _FUNCTIONS.values()):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    load()
    return globals()[name]
