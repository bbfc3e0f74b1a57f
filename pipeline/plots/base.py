"""The parts of a figure as data, and the base class of the kinds that describe it.

Nothing is drawn here. A kind gives panels of curves or of colours, with their axes and words;
`pipeline.plots.static` draws any of it with matplotlib, `pipeline.report.interactive` with bokeh.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pipeline.plots import scales
from solvers.options import check_options

Marks = Literal["points", "line", "step", "path", "dots"]


@dataclass(frozen=True)
class Axis:
    """An axis of a panel, or the colour scale of a map.

    Attributes
    ----------
    label : str
    scale : {"linear", "log", "categorical"}
        On a categorical axis the values are 0, 1, …, and `ticks` name them.
    unit : str
        "s" has the ticks written in s, ms or µs.
    ticks : sequence of (float, str)
        Places and texts of the ticks; if there are none, the renderer chooses them.
    limits : (float or None, float or None)
        None leaves that end to the renderer.
    shared : bool
        Whether all panels whose axis has this label get the same limits.
    power : bool
        Whether values are ratios of powers, which may be shown in dB.
    """

    label: str
    scale: Literal["linear", "log", "categorical"] = "linear"
    unit: str = ""
    ticks: Sequence[tuple[float, str]] = ()
    limits: tuple[float | None, float | None] = (None, None)
    shared: bool = True
    power: bool = False

    @classmethod
    def log(cls, label: str, values: ArrayLike, **more: Any) -> Axis:
        """A logarithmic axis for some values; a linear one where none of them is positive."""
        limits = scales.log_limits(values)
        return cls(label, **more) if limits is None else cls(label, "log", limits=limits, **more)


@dataclass(frozen=True)
class Curve:
    """The values of one solver in a panel.

    Attributes
    ----------
    solver : str
    x, value, low, high : array, (n,)
        Values at x, with the ends of the band or interval, NaN where there are none.
    at : sequence of n str
        A text per point, shown under the pointer; empty if x says it all.
    doubtful : bool array, (n,), or None
        True where too many realizations ended at a cap or not well for the value to mean much
        (see `pipeline.analysis.caveats`); drawn with an open marker.
    """

    solver: str
    x: NDArray[Any]
    value: NDArray[Any]
    low: NDArray[Any]
    high: NDArray[Any]
    at: Sequence[str] = ()
    doubtful: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Panel:
    """Curves over the same axes.

    Attributes
    ----------
    x, y : Axis
    curves : sequence of Curve
        Those of solvers that have something to show.
    marks : {"points", "line", "step", "path", "dots"}
        How curves are drawn: with a marker at each point, and a band; the same with few markers;
        as steps; as a path from an open marker, with an interval at each point; or, where nothing
        is swept, as one dot per solver: then x runs downwards and values to the right.
    title : str
        Words that tell the panel from the others of the figure.
    """

    x: Axis
    y: Axis
    curves: Sequence[Curve]
    marks: Marks = "points"
    title: str = ""


@dataclass(frozen=True)
class Map:
    """Values of one solver over two parameters, as colours.

    Attributes
    ----------
    x, y : Axis
        Both categorical.
    colour : Axis
    value : array, (rows, columns)
        Rows upwards along y, columns along x.
    texts, at : array of str, (rows, columns)
        Texts that are written into the fields, and those that are shown under the pointer.
    solver : str
    title : str
    """

    x: Axis
    y: Axis
    colour: Axis
    value: NDArray[Any]
    texts: NDArray[Any]
    at: NDArray[Any]
    solver: str
    title: str = ""


@dataclass(frozen=True)
class FigureData:
    """All that a renderer needs to draw a figure.

    Attributes
    ----------
    panels : sequence of Panel or Map
    legend : str
        The statistic that curves show, and the uncertainty that bands show.
    title : str
        The subject in a few words; by default the label of the panel's y axis.
    notes : sequence of str
        Further lines for the reader.
    failed : str
        Words that say what became of failed realizations, to follow "they"; by default they are
        left out.
    at : mapping of str to str
        The values of further swept parameters that it is of, by their labels.
    """

    panels: Sequence[Panel | Map]
    legend: str
    title: str = ""
    notes: Sequence[str] = ()
    failed: str = ""
    at: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FigureKind(ABC):
    """Base class of the kinds of figures: a frozen dataclass whose fields are its options.

    Fields are declared with `solvers.option`; each has a default. A kind computes what a figure
    shows, and leaves the drawing to the renderers, so that it appears in ``kronsbl plot`` and in
    the report alike.
    """

    name: ClassVar[str]
    """Its short name, as in ``--kind NAME``."""

    shows: ClassVar[str]
    """The content of the figure, in one sentence without a full stop."""

    section: ClassVar[str] = "Figures"
    """Heading of the report's section that it stands in."""

    axes: ClassVar[int] = 1
    """How many swept parameters a panel can show; there is a panel per value of the others."""

    def __post_init__(self) -> None:
        check_options(self)

    def applies(self, results: xr.Dataset) -> str | None:
        """Why a cube cannot be drawn so, as the end of an error message; None where it can.

        Parameters
        ----------
        results
            A cube, as `pipeline.open_results` gives it, or a part of one.
        """
        return None

    @abstractmethod
    def describe(self, results: xr.Dataset) -> FigureData:
        """Compute the data of the figure.

        Parameters
        ----------
        results
            A cube that the kind applies to, in which at most `axes` swept parameters vary.
        """

    @classmethod
    def in_report(cls, results: xr.Dataset) -> Sequence[Self]:
        """The figures of this kind in the report of a cube; by default one, with no options."""
        return [cls()]
