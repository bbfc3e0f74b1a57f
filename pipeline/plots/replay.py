"""One realization, solved again: its trace and what was found."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.plots import looks, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def replayed(result: Any) -> Figure:
    """Draw cost, change and NMSE of one realization per iteration, and its x.

    If the solver leaves no trace, only x is drawn.

    Parameters
    ----------
    result
        A realization solved again: what `pipeline.replay` gives. Figures stand below what solves.
    """
    with style.rc():
        objective = result.objective or "cost"
        traces = {objective: result.trace.cost, "relative change": result.trace.change}
        if result.trace.nmse is not None:
            traces["NMSE"] = result.trace.nmse
        traces = {name: v for name, v in traces.items() if np.isfinite(v).any()}
        figure, axes = style.canvas(2, 2, (9.0, 6.4)) if traces else style.canvas()
        for ax, (name, values) in zip(axes.flat, traces.items(), strict=False):
            for number, iteration in enumerate(result.pruned):
                label = "atoms are pruned" if number == 0 else None
                ax.axvline(iteration, color="0.6", lw=0.8, ls=":", zorder=0, label=label)
            ax.plot(np.arange(1, values.shape[1] + 1), values[0], color=looks.COLOURS[0])
            if result.pruned.size:
                ax.legend()
            ax.set(xlabel="iteration", ylabel=style.literal(name), xscale="log")
            ax.set_yscale("linear" if name == objective else "log")
        _entries(axes[-1, -1], result.truth.x, result.estimate.x)
        point = [f"{k} = {v}" for k, v in result.point.items()]
        title = ", ".join([result.solver, *point, f"realization {result.realization}"])
        title = textwrap.fill(title, int(13 * figure.get_figwidth()))
        figure.suptitle(style.literal(title), fontsize=10)
    return figure


def _entries(ax: Axes, truth: NDArray[Any] | None, found: NDArray[Any] | None) -> None:
    """Magnitudes of the largest entries of x and its estimate, as far as there are such."""
    known = [np.abs(x[0].reshape(-1)) for x in (truth, found) if x is not None]
    if not known:
        return
    count = max(2 * np.count_nonzero(known[0]), 10) if truth is not None else 40
    at = np.argsort(-known[0], kind="stable")[:count]
    if truth is not None:
        ax.plot(known[0][at], "o", color=looks.COLOURS[6], mfc="none", label="true")
    if found is not None:
        ax.plot(known[-1][at], "x", color=looks.COLOURS[1], label="estimate")
    ax.set(xlabel="entries of x, largest first", ylabel="magnitude")
    ax.legend()
