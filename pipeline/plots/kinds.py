"""The kinds of figures: the list that command line, plots and report read, and their figures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis import check, describing
from pipeline.analysis.cells import ran
from pipeline.errors import InputError, in_one_line
from pipeline.plots import scales
from pipeline.plots.base import Axis, FigureData, FigureKind, Map, Panel
from pipeline.plots.distributions import Cdf, Convergence
from pipeline.plots.heat_maps import Heatmap
from pipeline.plots.mismatch import Mismatch
from pipeline.plots.sweeps import Curves, Latency, Runtime, Tradeoff
from solvers.registry import Registry, suggest

BUILT_IN = (Curves, Heatmap, Mismatch, Cdf, Runtime, Tradeoff, Convergence, Latency)

REGISTRY = Registry(
    "kind of figure",
    "kronsbl.figures",
    {kind.name: kind for kind in BUILT_IN},
    methods=("applies", "describe", "in_report"),
)

MOST_PANELS = 12
"""A figure has panels for at most so many points of the grid."""


def names() -> list[str]:
    """Names of all kinds: those that come with the package, then those that others register."""
    own = [kind.name for kind in BUILT_IN]
    return [*own, *(name for name in REGISTRY.names() if name not in own)]


def find(name: str) -> type[FigureKind]:
    """The class of a kind.

    Parameters
    ----------
    name
        One of `names`, or ``module:Class``.

    Raises
    ------
    InputError
        There is none, or it cannot be imported.
    """
    if ":" not in name and name not in names():
        raise InputError(f"no kind of figure {name!r}; {suggest(name, names())}")
    try:
        return REGISTRY.find(name)
    except ValueError as error:
        raise InputError(str(error)) from error


def options_of(name: str) -> list[str]:
    """Names of the options of a kind."""
    return [field.name for field in fields(find(name))]


def create(name: str, **options: Any) -> FigureKind:
    """A kind with some of its options set.

    Raises
    ------
    InputError
        No such kind or option, or a value that the option does not take.
    """
    kind, known = find(name), options_of(name)
    for option in options:
        if option not in known:
            raise InputError(f"{name} has no option {option!r}; {suggest(option, known)}")
    try:
        return kind(**options)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error


def kinds_of(results: xr.Dataset) -> list[str]:
    """Names of the kinds that a cube can be drawn as."""
    check(results)
    return [name for name in names() if reason_against(create(name), results) is None]


def in_report(results: xr.Dataset) -> list[FigureKind]:
    """The figures of a cube's report: of each kind that applies, those that the kind chooses."""
    return [
        kind
        for name in names()
        for kind in _asked(name, find(name).in_report, results)
        if reason_against(kind, results) is None
    ]


def reason_against(kind: FigureKind, results: xr.Dataset) -> str | None:
    """Why a cube cannot be drawn as a kind, or None."""
    found: str | None = _asked(kind.name, kind.applies, results)
    return found


def _asked(name: str, method: Any, results: xr.Dataset) -> Any:
    """Call a method of a kind with a cube; any error in it becomes one clear line."""
    try:
        return method(results)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"kind of figure {name!r} broke: {in_one_line(error)}") from error


def panel_points(kind: FigureKind, results: xr.Dataset) -> list[dict[str, Any]]:
    """Points of the swept parameters that are not on a panel's axes: there is a panel for each."""
    axes = describing.free_axes(results)
    drawn = sorted(axes, key=lambda axis: -results.sizes[axis])[: kind.axes]
    over = [axis for axis in axes if axis not in drawn]
    values = itertools.product(*(results[axis].values.tolist() for axis in over))
    return [dict(zip(over, point, strict=True)) for point in values]


def describe(kind: FigureKind, results: xr.Dataset) -> FigureData:
    """Compute all that a figure of a cube shows, as data for a renderer.

    Parameters
    ----------
    kind
    results
        A cube, finished or not.

    Raises
    ------
    InputError
        The kind does not apply, there are too many points, or nothing has been run.
    """
    reason = reason_against(kind, results)
    if reason is not None:
        raise InputError(f"{kind.name}: {reason}")
    if not bool(ran(results).any()):
        raise InputError("nothing to draw: no cell of this cube has been run there")
    points = panel_points(kind, results)
    if len(points) > MOST_PANELS:
        name = next(iter(points[0]))
        raise InputError(
            f"{kind.name}: draws a panel per point, and {len(points)} are too many (at most "
            f"{MOST_PANELS}); give parameters a value, as in --{name} {points[0][name]}"
        )
    parts = with_common_limits([describe_at(kind, results, point) for point in points])
    notes: list[str] = []
    for point, data in zip(points, parts, strict=True):
        at = describing.point_text(results, point)
        for note in data.notes:
            everywhere = all(note in other.notes for other in parts)
            notes.append(note if everywhere else f"{at}: {note}")
    panels = [panel for data in parts for panel in data.panels]
    notes = list(dict.fromkeys([*notes, *notes_on(panels)]))
    return replace(parts[0], panels=panels, notes=notes)


def describe_at(kind: FigureKind, results: xr.Dataset, point: Mapping[str, Any]) -> FigureData:
    """The part of a figure for one of its `panel_points`, which the panels' titles name."""
    data = _asked(kind.name, kind.describe, results.sel(dict(point)))
    if not isinstance(data, FigureData):
        what = type(data).__name__
        raise InputError(f"kind of figure {kind.name!r} gives {what}, not FigureData")
    at = describing.point_text(results, point)
    panels = [
        replace(panel, title=", ".join(filter(None, [at, panel.title]))) for panel in data.panels
    ]
    return replace(data, panels=panels, at=describing.named(results, point))


def with_common_limits(parts: Sequence[FigureData]) -> list[FigureData]:
    """The same figures, with the same limits on every axis that their panels share."""
    alike: dict[tuple[str, str], list[Axis]] = {}
    for panel in (panel for data in parts for panel in data.panels):
        for name, axis in _shared_axes(panel):
            alike.setdefault((name, axis.label), []).append(axis)

    def common(name: str, axis: Axis) -> Axis:
        axes = alike[name, axis.label]
        # Where a panel has nothing positive to show, its axis is linear, and has no say.
        logarithmic = [one for one in axes if one.scale == "log"]
        lows, highs = zip(*(one.limits for one in logarithmic or axes), strict=True)
        limits = (None if None in lows else min(lows), None if None in highs else max(highs))
        return replace(axis, limits=limits, scale="log" if logarithmic else axis.scale)

    def widened(panel: Panel | Map) -> Panel | Map:
        changes: Any = {name: common(name, axis) for name, axis in _shared_axes(panel)}
        return replace(panel, **changes)

    return [replace(data, panels=[widened(panel) for panel in data.panels]) for data in parts]


def _shared_axes(panel: Panel | Map) -> list[tuple[str, Axis]]:
    """Axes that other panels may share: the coordinates, and the colours of a map."""
    if isinstance(panel, Map):
        known = [("colour", panel.colour)]
    else:
        known = [("x", panel.x), ("y", panel.y)]
    return [(name, axis) for name, axis in known if axis.shared]


def notes_on(panels: Sequence[Panel | Map]) -> list[str]:
    """Notes on what a reader does not see: points off the axes, points without an interval."""
    curves = [(p, c) for p in panels if isinstance(p, Panel) for c in p.curves]
    said: list[str] = []
    alone = sum(int((np.isfinite(c.value) & np.isnan(c.low)).sum()) for _, c in curves)
    if alone:
        said.append(f"too few realizations for an interval: {alone} points")
    for name in ("x", "value"):
        beyond: dict[tuple[float, float], list[Any]] = {}
        for panel, curve in curves:
            axis = panel.x if name == "x" else panel.y
            low, high = axis.limits
            if axis.scale == "log" and low is not None and high is not None:
                beyond.setdefault((low, high), []).append(getattr(curve, name))
        for limits, values in beyond.items():
            said += scales.off_axis(np.concatenate(values), limits)
    return said
