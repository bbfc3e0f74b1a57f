"""Matplotlib's side of the figures: its settings, an empty canvas, and files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")
"""Formats of figures; some of matplotlib's others need programs that may not be there."""

STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.09,
    "figure.constrained_layout.h_pad": 0.07,
    "font.size": 10,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "grid.color": "#e2e2e2",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.title_fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "lines.markeredgewidth": 0.6,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def rc() -> Any:
    """Matplotlib's settings for the time of drawing."""
    import matplotlib

    return matplotlib.rc_context(STYLE)


def canvas(rows: int = 1, columns: int = 1, size: tuple[float, float] = (5.6, 4.3)) -> Any:
    """An empty figure and its axes (an array), without a window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)  # not pyplot's, which would keep it and look for a screen
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the file's suffix.

    Raises
    ------
    InputError
        Another suffix, or the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: expected a file ending in {', '.join(SUFFIXES)}")
    try:
        with rc():
            figure.savefig(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
