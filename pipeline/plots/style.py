"""Matplotlib's side of the figures: its settings, an empty canvas, and files."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.plots.looks import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".pdf", ".svg")
"""Formats of figures; some of matplotlib's others need programs that may not be there."""

SHEETS = Path(__file__).parent / "styles"
OWN = ("paper", "talk")
"""Styles that come with kronsbl."""


class Markup(str):
    """Text of the user's own, in which matplotlib may find formulas."""


def rc(name: str | None = None, latex: bool | None = None) -> Any:
    """Matplotlib's settings for the time of drawing, as a context.

    They are ours, except where the caller has others than matplotlib begins with, and then those
    of the style.

    Parameters
    ----------
    name
        ``paper``, ``talk``, one of matplotlib's styles, or the path of a style file.
    latex
        Whether LaTeX sets the text; by default as the caller's settings and the style have it.

    Raises
    ------
    InputError
        There is no such style, or LaTeX is asked for and not installed.
    """
    from matplotlib import rc_context, rcParams, rcParamsDefault

    ours = {k: v for k, v in _sheet("kronsbl").items() if rcParams[k] == rcParamsDefault[k]}
    chosen = {**ours, **(_sheet(name) if name else {})}
    if latex is not None:
        chosen["text.usetex"] = latex
    if chosen.get("text.usetex", rcParams["text.usetex"]) and not shutil.which("latex"):
        raise InputError("text is to be set with LaTeX, but there is no program latex here")
    return rc_context(chosen)


def _sheet(name: str) -> Mapping[Any, Any]:
    from matplotlib import rc_params_from_file
    from matplotlib.style import library

    if name in library:
        found: Mapping[Any, Any] = library[name]
        return found
    path = SHEETS / f"{name}.mplstyle" if name in (*OWN, "kronsbl") else Path(name)
    if not path.is_file():
        known = ", ".join((*OWN, *(style for style in sorted(library) if style[0] != "_")))
        raise InputError(f"{name}: no style; expected the path of a style file, or one of {known}")
    return rc_params_from_file(path, use_default_template=False)


def colours() -> tuple[str, ...]:
    """Colours of solvers: ours, or those of the settings in force if somebody has chosen some."""
    from matplotlib import rcParams, rcParamsDefault

    cycle = rcParams["axes.prop_cycle"]
    chosen = cycle != rcParamsDefault["axes.prop_cycle"] and "color" in cycle.keys
    return tuple(cycle.by_key()["color"]) if chosen else COLOURS


def chosen_size() -> tuple[float, float] | None:
    """Width and height in inches, if the settings in force have others than matplotlib's own."""
    from matplotlib import rcParams, rcParamsDefault

    size = rcParams["figure.figsize"]
    return tuple(size) if size != rcParamsDefault["figure.figsize"] else None


def literal(text: str) -> str:
    """Text that is shown as it is: names and values are no formulas, whatever is in them.

    Every text of a figure goes through here but those that matplotlib makes itself.
    """
    from matplotlib import rcParams

    if rcParams["text.usetex"]:
        return "".join(map(_tex, text))
    return text.replace("$", r"\$")


def worded(text: str, inches: float = 100, points: Any = None, most: int = 1000) -> str:
    """Text in lines of a width at some size of letters; formulas are neither escaped nor broken.

    Parameters
    ----------
    text
    inches
    points
        Size of the letters, as matplotlib takes it; by default that of ordinary text.
    most
        Letters of a line at most.
    """
    if isinstance(text, Markup):
        return text
    width = max(min(int(inches * per_inch(points)), most), 8)
    return "\n".join(literal(textwrap.fill(line, width)) for line in text.splitlines())


def per_inch(points: Any = None) -> float:
    """About how many letters of a size stand on an inch."""
    from matplotlib.font_manager import FontProperties

    return 72 / (0.56 * FontProperties(size=points).get_size_in_points())


def _tex(letter: str) -> str:
    """One letter for LaTeX, whose preamble in matplotlib knows those of western languages."""
    known = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    maths = {"≤": r"$\leq$", "≥": r"$\geq$", "→": r"$\to$", "σ": r"$\sigma$", "γ": r"$\gamma$"}
    return (known | maths).get(letter) or (f"\\{letter}" if letter in "{}$&#_%" else letter)


def canvas(rows: int = 1, columns: int = 1, size: tuple[float, float] = (5.6, 4.3)) -> Any:
    """An empty figure and its axes (an array), without a window."""
    from pipeline.plots.canvas import Canvas

    figure = Canvas(figsize=size, layout="constrained")
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
        figure.savefig(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
