"""Figures of what a wrong assumption costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis import default_measure, describing, is_power, to_db
from pipeline.analysis.mismatch import Crossing, crossing, turned_over
from pipeline.plots.base import FigureData, Map
from pipeline.plots.heat_maps import Heatmap

MOST_SENTENCES = 4


@dataclass(frozen=True)
class Mismatch(Heatmap):
    """NMSE over what is true and what is assumed, with the loss against the matched case."""

    name: ClassVar[str] = "mismatch"
    shows: ClassVar[str] = "what is assumed crossed with what is true, and the loss in dB"

    def applies(self, results: xr.Dataset) -> str | None:
        """Whether an assumption is crossed with a truth, and has the matched case."""
        found = crossing(results)
        if isinstance(found, str):
            return found
        if not is_power(self.measure or default_measure(results)):
            return "only a mean squared error has a loss in dB"
        return super().applies(results)

    def describe(self, results: xr.Dataset) -> FigureData:
        """A map per solver: levels in dB, and how much they are above the matched case's."""
        figure, found = super().describe(results), crossing(results)
        assert isinstance(found, Crossing)
        there = results[found.assumed].values.tolist()
        right = [there.index(value) for value in found.matched.values()]
        upright = describing.free_axes(results)[0] == found.true
        maps = [
            replace(panel, texts=_texts(panel.value if upright else panel.value.T, right))
            for panel in figure.panels
            if isinstance(panel, Map)
        ]
        if not upright:
            maps = [replace(panel, texts=panel.texts.T) for panel in maps]
        lines = turned_over(results, self.measure or default_measure(results))
        more = len(lines) - MOST_SENTENCES
        told = lines[:MOST_SENTENCES] + ([f"and so at {more} more"] if more > 0 else [])
        notes = [*figure.notes, *(told or ["no assumption puts another solver ahead"])]
        legend = figure.legend.split("\n")[0]
        legend += "\nnumbers in dB; loss against the matched case (=)"
        return replace(figure, panels=maps, legend=legend, notes=notes)


def _texts(value: NDArray[np.float64], right: list[int]) -> NDArray[np.object_]:
    """Each level with its loss, (assumed, true), against the row that is right in its column."""
    levels, texts = to_db(value), np.full(value.shape, "", object)
    for row, column in zip(*np.nonzero(np.isfinite(levels)), strict=True):
        loss = levels[row, column] - levels[right[column], column]
        words = "=" if row == right[column] else f"{loss:+.1f}"
        texts[row, column] = f"{levels[row, column]:.1f}\n{words}".replace("-", "−")
    return texts
