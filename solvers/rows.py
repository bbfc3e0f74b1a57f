"""Bookkeeping of batches in which fewer and fewer realizations are still running."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvers.problem import Array, Problem


def keep_rows(state: Any, rows: Array) -> None:
    """Reduce an object to some of the realizations that it holds, in place.

    Parameters
    ----------
    state
        Whose arrays (B, …) are reduced, and problems, and lists of matrices (r, c), which all
        realizations share, or (B, r, c).
    rows
        A mask or indices.
    """
    for name, value in vars(state).items():
        if isinstance(value, np.ndarray):
            setattr(state, name, value[rows])
        elif isinstance(value, Problem):
            setattr(state, name, value.take(rows))
        elif isinstance(value, list):
            setattr(state, name, [a if a.ndim == 2 else a[rows] for a in value])
