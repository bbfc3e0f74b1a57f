"""What the reader of a figure chooses of its looks: size, style, names, units, limits, words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from pipeline.analysis import to_db
from pipeline.errors import InputError
from pipeline.plots.base import Axis, Curve, FigureData, Map, Panel
from pipeline.plots.style import Markup

Limits = tuple[float | None, float | None]

OUTSIDE = {
    "right": "outside right center",
    "top": "outside upper center",
    "bottom": "outside lower center",
}
"""Places of a legend that are not on a panel, in matplotlib's words."""


@dataclass(frozen=True)
class Appearance:
    """How a figure is drawn; what is shown is said by its kind.

    Attributes
    ----------
    size : (float, float), optional
        Width and height of the figure in inches.
    style : str, optional
        ``paper`` (a column of a journal), ``talk``, one of matplotlib's styles, or the path of a
        style file. The caller's ``matplotlib.rcParams`` hold as well, where the style says nothing.
    solvers : sequence of str
        Which are shown, in this order; by default all.
    labels : mapping of str to str
        Their names in the figure; matplotlib finds formulas in them.
    decibels : bool, optional
        Whether mean squared errors are in dB; by default those of heat maps.
    xlim, ylim : (float or None, float or None)
        Limits of all panels, in the units that are drawn; `ylim` is of the colours in heat maps.
    xlabel, ylabel : str, optional
        Labels of the axes, instead of name and unit; `ylabel` is of the colours in heat maps.
        matplotlib finds formulas in them, and in the title.
    title : str, optional
        Above the figure, instead of the study's name and setting; "" for none.
    legend : str, optional
        ``right``, ``top`` or ``bottom`` of the panels, ``none``, or a place in the first panel in
        matplotlib's words (``upper left``, ``best``).
    latex : bool, optional
        Whether LaTeX sets the text; by default as `style` and the caller's settings have it.

    Notes
    -----
    Where a title or a style is given, the figure holds nothing else but axes and legend: the words
    that would stand around it are its caption then, ``figure.get_label()``.
    """

    size: tuple[float, float] | None = None
    style: str | None = None
    solvers: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    decibels: bool | None = None
    xlim: Limits = (None, None)
    ylim: Limits = (None, None)
    xlabel: str | None = None
    ylabel: str | None = None
    title: str | None = None
    legend: str | None = None
    latex: bool | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not all(1 <= side <= 100 for side in self.size):
            raise InputError(f"size {self.size}: expected a width and a height of 1 to 100 inches")
        for name in ("xlim", "ylim"):
            low, high = getattr(self, name)
            if low is not None and high is not None and not low < high:
                raise InputError(f"{name} {low}, {high}: the first must be below the second")
        if self.legend not in (None, "none", *OUTSIDE, *_places()):
            raise InputError(
                f"legend {self.legend!r}: expected one of {', '.join(['none', *OUTSIDE])}, or a "
                f"place in the panel: {', '.join(_places())}"
            )

    @property
    def alone(self) -> bool:
        """Whether the words around the figure are left to its caption."""
        return self.title is not None or self.style is not None

    def applied(self, data: FigureData) -> FigureData:
        """The figure in dB, if so wished, and within the limits."""
        panels = [
            in_decibels(panel)
            if (isinstance(panel, Map) if self.decibels is None else self.decibels)
            else panel
            for panel in data.panels
        ]
        return replace(data, panels=list(map(self._limited, panels)))

    def _limited(self, panel: Panel | Map) -> Panel | Map:
        is_map = isinstance(panel, Map)
        x, y = (panel.x, panel.colour) if isinstance(panel, Map) else (panel.x, panel.y)
        x = _named(x if is_map else _within(x, self.xlim), self.xlabel)
        y = _named(_within(y, self.ylim), self.ylabel)
        changes: Any = {"x": x, "colour" if is_map else "y": y}
        return replace(panel, **changes)


NAMES = [one.name for one in fields(Appearance)]


def _places() -> list[str]:
    from matplotlib.legend import Legend

    return list(Legend.codes)


def _within(axis: Axis, limits: Limits) -> Axis:
    pairs = zip(limits, axis.limits, strict=True)
    low, high = (own if given is None else given for given, own in pairs)
    if axis.scale == "log" and low is not None and low <= 0:
        raise InputError(f"limit {low:g}: a logarithmic axis has positive limits")
    return replace(axis, limits=(low, high))


def _named(axis: Axis, label: str | None) -> Axis:
    return axis if label is None else replace(axis, label=Markup(label))


def in_decibels(panel: Panel | Map) -> Panel | Map:
    """The panel with its mean squared errors in dB, on linear axes."""
    if isinstance(panel, Map):
        if not panel.colour.power:
            return panel
        return replace(panel, value=_levels(panel.value), colour=_axis_in_decibels(panel.colour))
    changes: dict[str, Any] = {}
    curves = list(panel.curves)
    if panel.y.power:
        names = ("value", "low", "high")
        curves = [_curve_in_decibels(c, names, panel.y.limits[0]) for c in curves]
        changes["y"] = _axis_in_decibels(panel.y)
    if panel.x.power:
        curves = [_curve_in_decibels(c, ("x",), None) for c in curves]
        changes["x"] = _axis_in_decibels(panel.x)
    return replace(panel, curves=curves, **changes)


def _axis_in_decibels(axis: Axis) -> Axis:
    limits: Any = tuple(None if end is None else float(_levels(end)) for end in axis.limits)
    label = f"{axis.label} (dB)"
    return replace(axis, scale="linear", limits=limits, label=label, power=False)


def _curve_in_decibels(curve: Curve, names: Sequence[str], floor: float | None) -> Curve:
    values = {name: getattr(curve, name) for name in names}
    if floor is not None:  # a band that reaches down to 0 is drawn to below the axis
        values["low"] = np.maximum(curve.low, floor / 10)
    changes: Any = {name: _levels(value) for name, value in values.items()}
    return replace(curve, **changes)


def _levels(values: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return to_db(values)
