"""Which figures there are, and which of them a cube gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import xarray as xr

from pipeline.analysis import check, default_measure, describing
from pipeline.analysis.cells import ran
from pipeline.errors import InputError
from pipeline.plots import curves, panels, style
from solvers.registry import suggest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS: Mapping[str, str] = {
    "curves": "a measure against a swept parameter, with 95 % intervals",
    "heatmap": "a measure over two swept parameters",
    "cdf": "empirical distribution of a measure",
    "runtime": "runtime and iterations against a swept parameter",
    "tradeoff": "a measure against the runtime",
    "convergence": "a trace (nmse, cost or change) per EM iteration",
    "latency": "latency of single realizations on each host",
}
"""Kinds of figures, and what they show."""


def kinds_of(results: xr.Dataset) -> list[str]:
    """The kinds that a cube gives."""
    axes = len(describing.free_axes(results))
    over_one = {"curves", "runtime", "tradeoff"} if axes <= 1 else set()
    traced = any(str(name).startswith("trace_") for name in results.data_vars)
    given = {
        "cdf",
        *over_one,
        *(["heatmap"] if axes == 2 else []),
        *(["convergence"] if traced else []),
        *(["latency"] if "latency" in results and axes <= 1 else []),
    }
    return [kind for kind in KINDS if kind in given]


def draw(
    results: xr.Dataset,
    kind: str | None = None,
    measure: str | None = None,
    *,
    statistic: str = "mean",
    cells: str = "all",
    point: Mapping[str, Any] | None = None,
    looks: style.Looks | None = None,
) -> Figure:
    """Draw a cube, finished or not.

    Parameters
    ----------
    results
        As `pipeline.open_results` gives it.
    kind
        One of `KINDS`; by default curves, or a heat map where two parameters vary.
    measure
        By default ``nmse``, or else the first of the cube.
    statistic
        "mean" or "median", for curves, tradeoff and heatmap.
    cells
        "all", or "common": at each point only the realizations that all solvers have finished.
    point
        Values of swept parameters, to draw what the cube has there.
    looks
        Look of each solver; by default by place on the solver axis.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        There is no such kind, measure or point, or the cube does not give that kind.

    Examples
    --------
    ``plots.draw(pipeline.open_results("results/quickstart"), "cdf", point={"snr_db": 20})``
    """
    check(results)
    results = describing.fix(results, point or {})
    measure = measure or default_measure(results)
    if kind is None:
        kind = "heatmap" if len(describing.free_axes(results)) == 2 else "curves"
    if kind not in KINDS:
        raise InputError(f"no kind of figure {kind!r}; {suggest(kind, KINDS)}")
    if kind != "convergence":
        check(results, measure)
    if not bool(ran(results).any()):
        raise InputError("nothing to draw: no cell of this cube has been run there")
    of_statistic: dict[str, Any] = {"statistic": statistic, "cells": cells}
    looks = looks or style.looks_of(results.solver.values)
    drawn: dict[str, Callable[[], Figure]] = {
        "curves": lambda: curves.measure_curves(results, measure, **of_statistic, looks=looks),
        "heatmap": lambda: panels.heat_maps(results, measure, **of_statistic),
        "cdf": lambda: panels.cdf(results, measure, looks=looks),
        "runtime": lambda: curves.costs(results, cells=cells, looks=looks),
        "tradeoff": lambda: curves.tradeoff(results, measure, **of_statistic, looks=looks),
        "convergence": lambda: panels.convergence(results, measure, looks=looks),
        "latency": lambda: panels.latency(results, looks=looks),
    }
    return drawn[kind]()
