"""Figures in one style: a colour and a marker per solver, bands for uncertainty."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from pipeline.analysis import axes_of, summarize
from pipeline.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pipeline.replaying import Replay

# Okabe and Ito's palette (told apart with every kind of colour blindness), without its yellow,
# which is hard to see on white; with a marker each, for print and for more solvers than colours.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")

STYLE: dict[Any, Any] = {
    "figure.figsize": (6.4, 4.4),
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "svg.fonttype": "none",
}


def look(number: int) -> dict[str, Any]:
    """Colour and marker of the solver at that place of the solver axis."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def axis_label(variable: xr.DataArray) -> str:
    """Long name and unit."""
    name, unit = variable.attrs.get("long_name", variable.name), variable.attrs.get("units", "1")
    return f"{name} ({unit})" if unit not in ("1", "") else str(name)


def curves(results: xr.Dataset, measure: str = "nmse") -> Figure:
    """Mean of a measure against the swept parameter, with its 95 % confidence band.

    Parameters
    ----------
    results
        A cube with one swept dimension of more than one value.
    measure
        Name of one of its measures.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        There is no such measure, or not exactly one swept dimension.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    axes = [a for a in axes_of(results) if results.sizes[a] > 1]
    if len(axes) != 1:
        have = ", ".join(axes) or "none"
        raise InputError(
            f"curves need one swept parameter with several values, this cube has: {have}"
        )
    figures = summarize(results, measure).squeeze()
    with pyplot.rc_context(STYLE):
        figure, ax = pyplot.subplots()
        for number, label in enumerate(results.solver.values):
            one = figures.sel(solver=label) if "solver" in figures.dims else figures
            _curve(ax, one, axes[0], str(label), number)
        ax.set_xlabel(axis_label(results[axes[0]]))
        ax.set_ylabel(axis_label(results[measure]))
        if results[measure].attrs["better"] == "lower" and float(figures["mean"].min()) > 0:
            ax.set_yscale("log")
        ax.set_title(
            f"{results.attrs['title']}, {results.sizes['realization']} realizations",
            fontsize=10,
            loc="left",
        )
        ax.legend(title="mean, 95 % confidence", title_fontsize=8)
    return figure


def _curve(ax: Axes, figures: xr.Dataset, x: str, label: str, number: int) -> None:
    at, style = figures[x].values, look(number)
    ax.plot(at, figures["mean"], label=label, **style)
    low = np.maximum(figures["mean_low"], np.finfo(float).tiny)
    ax.fill_between(at, low, figures["mean_high"], color=style["color"], alpha=0.18, linewidth=0)


def replayed(result: Replay) -> Figure:
    """Cost, change and NMSE of one realization per iteration, and its x.

    Parameters
    ----------
    result
        Of `pipeline.replay`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(2, 2, figsize=(9.0, 6.4))
        traces = {"SBL cost": result.trace.cost, "relative change": result.trace.change}
        if result.trace.nmse is not None:
            traces["NMSE of x"] = result.trace.nmse
        for ax, (name, values) in zip(axes.flat, traces.items(), strict=False):
            ax.plot(np.arange(1, values.shape[1] + 1), values[0], color=COLOURS[0])
            ax.set(xlabel="iteration", ylabel=name, xscale="log")
            ax.set_yscale("linear" if name == "SBL cost" else "log")
        truth, found = (np.abs(x.reshape(-1)) for x in (result.truth.x[0], result.estimate.x[0]))
        at = np.argsort(-truth, kind="stable")[: max(2 * np.count_nonzero(truth), 10)]
        axes[1, 1].plot(truth[at], "o", color=COLOURS[6], mfc="none", label="true")
        axes[1, 1].plot(found[at], "x", color=COLOURS[1], label="estimate")
        axes[1, 1].set(xlabel="entries of x, largest first", ylabel="magnitude")
        axes[1, 1].legend()
        at_point = ", ".join(f"{k} = {v}" for k, v in result.point.items())
        figure.suptitle(
            f"{result.solver}, {at_point}, realization {result.realization}", fontsize=10
        )
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the file's suffix.

    Raises
    ------
    InputError
        Not a suffix that matplotlib writes, or the file cannot be written.
    """
    try:
        figure.savefig(path)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
