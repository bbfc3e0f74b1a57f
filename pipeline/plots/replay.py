"""One realization, solved again: its trace and what was found."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from pipeline.plots import looks, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipeline.solving.replaying import Replay


def replayed(result: Replay) -> Figure:
    """Draw cost, change and NMSE of one realization per iteration, and its x.

    If the solver leaves no trace, only x is drawn.

    Parameters
    ----------
    result
        A realization solved again, as `pipeline.replay` gives it.
    """
    with style.rc():
        traces = {"SBL cost": result.trace.cost, "relative change": result.trace.change}
        if result.trace.nmse is not None:
            traces["NMSE of x"] = result.trace.nmse
        traces = {name: values for name, values in traces.items() if values.size}
        figure, axes = style.canvas(2, 2, (9.0, 6.4)) if traces else style.canvas()
        for ax, (name, values) in zip(axes.flat, traces.items(), strict=False):
            ax.plot(np.arange(1, values.shape[1] + 1), values[0], color=looks.COLOURS[0])
            ax.set(xlabel="iteration", ylabel=name, xscale="log")
            ax.set_yscale("linear" if name == "SBL cost" else "log")
        truth, found = (np.abs(x.reshape(-1)) for x in (result.truth.x[0], result.estimate.x[0]))
        at = np.argsort(-truth, kind="stable")[: max(2 * np.count_nonzero(truth), 10)]
        last = axes[-1, -1]
        last.plot(truth[at], "o", color=looks.COLOURS[6], mfc="none", label="true")
        last.plot(found[at], "x", color=looks.COLOURS[1], label="estimate")
        last.set(xlabel="entries of x, largest first", ylabel="magnitude")
        last.legend()
        point = [f"{k} = {v}" for k, v in result.point.items()]
        title = ", ".join([result.solver, *point, f"realization {result.realization}"])
        figure.suptitle(textwrap.fill(title, int(13 * figure.get_figwidth())), fontsize=10)
    return figure
