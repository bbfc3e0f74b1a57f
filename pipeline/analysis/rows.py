"""A dataset of statistics as rows: one per solver and grid point, for tables and programs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis.cells import json_scalar

FIRST = {"timing_host": 0, "bound": 0, "stop_target": 0, "solver": 1}
"""Places of dimensions in a row; all others come last."""


def row_dimensions(statistics: xr.Dataset) -> list[str]:
    """Dimensions that tell rows of a table apart: hosts or bounds, solvers, then the others."""
    dims = [str(d) for d in statistics.dims if d != "quantile"]
    return sorted(dims, key=lambda d: FIRST.get(d, 2))


def rows_of(statistics: xr.Dataset) -> Iterator[dict[str, Any]]:
    """One dictionary per row: where it stands, and its statistics; quantiles are arrays."""
    dimensions = row_dimensions(statistics)
    columns: dict[str, Any] = {}
    for name, variable in statistics.data_vars.items():
        last = [d for d in ("quantile",) if d in variable.dims]
        full = variable.broadcast_like(statistics[dimensions]).transpose(*dimensions, *last).values
        columns[str(name)] = full.reshape(-1, *full.shape[len(dimensions) :])
    points = itertools.product(*(statistics[d].values for d in dimensions))
    for number, point in enumerate(points):
        yield {
            **dict(zip(dimensions, point, strict=True)),
            **{name: column[number] for name, column in columns.items()},
        }


def records(statistics: xr.Dataset) -> list[dict[str, Any]]:
    """One dictionary per solver and point, as JSON takes them.

    Parameters
    ----------
    statistics
        As `summarize`, `compare` or `latencies` give them.

    Returns
    -------
    list of dict
        Quantiles are dictionaries by level; NaN is None, infinities are ``inf`` and ``-inf``.
    """
    levels = (
        [str(q) for q in statistics["quantile"].values] if "quantile" in statistics.dims else []
    )
    return [
        {
            name: dict(zip(levels, map(json_scalar, value), strict=True))
            if np.ndim(value)
            else json_scalar(value)
            for name, value in row.items()
        }
        for row in rows_of(statistics)
    ]
