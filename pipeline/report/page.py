"""A page: sections of tables, figures and text, rendered into one HTML file."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np

from pipeline.analysis.listings import Field
from pipeline.plots.looks import Look


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """A paragraph; a `warning` stands out."""

    kind: ClassVar[str] = "text"
    text: str
    warning: bool = False


@dataclasses.dataclass(frozen=True)
class FactList:
    """Names and what they stand for; with `done` between 0 and 1, a bar of progress."""

    kind: ClassVar[str] = "facts"
    facts: Mapping[str, str]
    done: float | None = None


@dataclasses.dataclass(frozen=True)
class SourceText:
    """Paragraph as it stands in a file, folded."""

    kind: ClassVar[str] = "source"
    title: str
    text: str


@dataclasses.dataclass(frozen=True)
class SortableTable:
    """A table that can be sorted by any column.

    Attributes
    ----------
    caption : str
        What the numbers are, with units and kind of uncertainty.
    columns : sequence of str
    rows : sequence of sequences of Field or str
        A plain string is sorted as a word and stands on the left.
    folded : bool
        Whether it is shown only when somebody asks for it.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Field | str]]
    folded: bool = False


@dataclasses.dataclass(frozen=True)
class Chart:
    """An interactive panel of a figure.

    Attributes
    ----------
    title : str
    model : bokeh.models.Plot
        Renderers that belong to a solver have its label as their name.
    looks : mapping of str to Look
        Solvers in its legend.
    caption : str
        What is drawn, and what the bands are.
    alt : str
        What somebody who does not see it should know.
    still : bytes
        The same as a picture (SVG), for printers and where there is no JavaScript.
    at : mapping of str to str
        The values of swept parameters that it is of, by their labels, for the page's selectors.
    """

    kind: ClassVar[str] = "chart"
    title: str
    model: Any
    looks: Mapping[str, Look]
    caption: str
    alt: str
    still: bytes = b""
    at: Mapping[str, str] = dataclasses.field(default_factory=dict)


Part = Paragraph | FactList | SourceText | SortableTable | Chart


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and what stands below it; charts in a row of their own are put side by side."""

    title: str
    parts: Sequence[Part]


def page(title: str, sections: Iterable[Section], subtitle: str = "") -> str:
    """Render sections into a page that needs no network.

    Parameters
    ----------
    title
    sections
        Those that `sections_of` makes of a cube, of several cubes, or one's own.
    subtitle
        A line below the title.

    Returns
    -------
    str
        HTML.
    """
    import jinja2
    from bokeh.embed import components
    from bokeh.resources import Resources

    sections = [section for section in sections if section.parts]
    charts = {
        f"chart-{i}-{j}": part
        for i, section in enumerate(sections)
        for j, part in enumerate(section.parts)
        if isinstance(part, Chart)
    }
    models = {name: chart.model for name, chart in charts.items()}
    script, divs = components(models) if charts else ("", {})
    slices: dict[str, dict[str, None]] = {}
    for name, value in (pair for chart in charts.values() for pair in chart.at.items()):
        slices.setdefault(name, {})[value] = None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report"),
        autoescape=jinja2.select_autoescape(["html", "j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"swatch": swatch, "anchor": anchor, "base64": base64.b64encode}
    return environment.get_template("page.html.j2").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        divs=divs,
        slices={name: list(values) for name, values in slices.items() if len(values) > 1},
        script=script,
        library=Resources(mode="inline", components=["bokeh"]).render() if charts else "",
        version=version("kronsbl"),
    )


def anchor(title: str) -> str:
    """A heading as the name of a place in the page."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def swatch(look: Look) -> str:
    """A piece of a solver's line with its marker, as SVG."""
    from markupsafe import Markup

    dashes = {"--": "5 3", ":": "1.5 2.5"}.get(look.dashes, "none")
    return Markup(
        '<svg width="34" height="14" viewBox="-17 -7 34 14" aria-hidden="true">'
        f'<path d="M-17 0H17" stroke="{look.colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
        f'<path d="{_outline(look.marker)}" fill="{look.colour}" stroke="#fff" stroke-width=".8"/>'
        "</svg>"
    )


def _outline(marker: str) -> str:
    """Matplotlib's marker as an SVG path, y downwards; none of a bound."""
    from matplotlib.markers import MarkerStyle
    from matplotlib.transforms import Affine2D

    style = MarkerStyle(marker or "None")
    shape = style.get_path().transformed(style.get_transform() + Affine2D().scale(9, -9))
    polygons = [np.asarray(polygon) for polygon in shape.to_polygons()]
    return "".join(f"M{'L'.join(f'{x:.2f} {y:.2f}' for x, y in p)}Z" for p in polygons)
