"""Drawing a cube: from its data to a figure of matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import xarray as xr

from pipeline.analysis import check, describing
from pipeline.analysis.cells import labels_of
from pipeline.plots import kinds, style
from pipeline.plots.appearance import NAMES, Appearance
from pipeline.plots.base import FigureKind
from pipeline.plots.looks import Looks, looks_in, with_bounds

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(
    results: xr.Dataset,
    kind: str | FigureKind | None = None,
    measure: str | None = None,
    *,
    point: Mapping[str, Any] | None = None,
    looks: Looks | None = None,
    **options: Any,
) -> Figure:
    """Draw a cube, finished or not.

    Parameters
    ----------
    results
        A cube, as `pipeline.open_results` gives it.
    kind
        One of `names`, or a kind of one's own; by default curves, or a heat map where two
        parameters vary.
    measure
        By default ``nmse``, or else the first of the cube.
    point
        Values of swept parameters, to draw what the cube has there; a list for several values.
    looks
        Look of each solver; by default by its place in the campaign, whichever are shown.
    **options
        The `Appearance` of the figure (``size``, ``style``, ``solvers``, ``labels``, ``decibels``,
        ``xlim``, ``ylim``, ``title``, ``legend``, ``latex``), and options of the kind: for curves,
        tradeoff and heatmap ``statistic`` ("median", "mean" or "pooled") and ``cells`` ("all", or
        "common": at each point only the realizations that all solvers shown have finished).

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        There is no such kind, option, solver, measure, point or style, or the kind does not apply
        to the cube.

    Examples
    --------
    ``plots.draw(pipeline.open_results("results/quickstart"), "cdf", point={"snr_db": 20})``
    """
    check(results)
    look = Appearance(**{name: options.pop(name) for name in NAMES if name in options})
    describing.subset(results, list(look.labels))  # there are such solvers
    results = describing.subset(describing.fix(results, point or {}), look.solvers)
    if measure is not None:
        options["measure"] = measure
    if kind is None:
        kind = "heatmap" if len(describing.free_axes(results)) == 2 else "curves"
    if isinstance(kind, str):
        kind = kinds.create(kind, **options)
    elif options:
        raise TypeError(f"{kind} has its options already; got {', '.join(options)} besides")
    data = kinds.describe(kind, results)
    from pipeline.plots import static  # matplotlib is loaded for nothing else

    with style.rc(look.style, look.latex):
        looks = looks or looks_in(results, style.colours())
        looks = with_bounds(looks, labels_of(results, "bound"))
        return static.render(look.applied(data), results, looks, look)
