"""The look of each solver: a colour, a marker and a dash, the same in all figures of a cube."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import xarray as xr

# Okabe and Ito's palette (told apart with every kind of colour blindness), without its yellow,
# which is hard to see on white. Markers are those that both matplotlib and bokeh have.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "*", "h", "P")
DASHES = ("-", "--", ":")


class Look(NamedTuple):
    """Colour, marker and dashes of a solver, in matplotlib's words."""

    colour: str
    marker: str
    dashes: str

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of `Axes.plot`."""
        from matplotlib import rcParams

        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.dashes,
            "markeredgecolor": "white",
            "markersize": {"*": 1.6, "P": 1.3}.get(self.marker, 1.0) * rcParams["lines.markersize"],
        }


Looks = Mapping[str, Look]
"""Look of each solver, by its label."""


def looks_of(labels: Iterable[Any], colours: Sequence[str] = COLOURS) -> dict[str, Look]:
    """A look for each label, by its place; dashed once the colours are used up."""
    return {str(label): _look(number, colours) for number, label in enumerate(labels)}


def looks_in(results: xr.Dataset, colours: Sequence[str] = COLOURS) -> dict[str, Look]:
    """A look for each solver of a cube, or of a part of it, by its place in the campaign.

    So it has the same look in every part of the cube.
    """
    known = json.loads(results.attrs.get("solvers", "{}"))
    return looks_of(dict.fromkeys([*known, *map(str, results.solver.values)]), colours)


def with_bounds(looks: Looks, bounds: Iterable[str]) -> dict[str, Look]:
    """The looks, those of bounds dashed and without markers."""
    dashed = {label: looks[label]._replace(marker="", dashes="--") for label in bounds}
    return {**looks, **dashed}


def looks_across(studies: Iterable[Iterable[Any]]) -> dict[str, Look]:
    """A look for each label of several cubes, the same in all of them.

    Labels that several cubes have come first; one that a single cube has takes the first look that
    is free there.
    """
    cubes = [list(map(str, labels)) for labels in studies]
    counts = Counter(itertools.chain(*cubes))
    shared = [label for label, count in counts.items() if count > 1]
    numbers = {label: number for number, label in enumerate(shared)}
    for labels in cubes:
        taken = {numbers[label] for label in labels if label in numbers}
        free = (number for number in itertools.count() if number not in taken)
        numbers |= {label: next(free) for label in labels if label not in numbers}
    return {label: _look(number) for label, number in numbers.items()}


def _look(number: int, colours: Sequence[str] = COLOURS) -> Look:
    return Look(
        colours[number % len(colours)],
        MARKERS[number % len(MARKERS)],
        DASHES[number // len(colours) % len(DASHES)],
    )
