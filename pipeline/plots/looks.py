"""The look of each solver: a colour, a marker and a dash, the same in all figures of a cube."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

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
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.dashes,
            "markeredgecolor": "white",
            "markersize": {"*": 9.0, "P": 7.0}.get(self.marker, 5.5),
        }


Looks = Mapping[str, Look]
"""Look of each solver, by its label."""


def looks_of(labels: Iterable[Any]) -> dict[str, Look]:
    """A look for each label, by its place; dashed once the colours are used up."""
    return {str(label): _look(number) for number, label in enumerate(labels)}


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


def _look(number: int) -> Look:
    return Look(
        COLOURS[number % len(COLOURS)],
        MARKERS[number % len(MARKERS)],
        DASHES[number // len(COLOURS) % len(DASHES)],
    )
