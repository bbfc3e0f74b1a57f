"""``ds.kronsbl``: statistics and figures of a cube, or of a part of one, from itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from pipeline import analysis
from pipeline.analysis.verdicts import verdict
from pipeline.plots.drawing import draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@xr.register_dataset_accessor("kronsbl")  # type: ignore[no-untyped-call]
class Accessor:
    """What kronsbl makes of a cube; `pipeline.open_results` brings it along.

    Where no measure is given, it is ``nmse``, or else the first of the cube.

    Examples
    --------
    ``cube.sel(solver=["svd", "am"]).kronsbl.compare("svd")``
    """

    def __init__(self, results: xr.Dataset) -> None:
        self._results = results

    def _measure(self, measure: str | None) -> str:
        return measure or analysis.default_measure(self._results)

    def summary(self, measure: str | None = None, *, cells: str = "all") -> xr.Dataset:
        """Statistics per solver and point; see `pipeline.analysis.summarize`."""
        return analysis.summarize(self._results, self._measure(measure), cells=cells)

    def compare(self, reference: str, measure: str | None = None) -> xr.Dataset:
        """Every other solver against one, in pairs; see `pipeline.analysis.compare`."""
        return analysis.compare(self._results, reference, self._measure(measure))

    def worst(
        self, solver: str, against: str | None = None, measure: str | None = None, n: int = 10
    ) -> list[analysis.Worst]:
        """The realizations that went worst for a solver; see `pipeline.analysis.worst`."""
        return analysis.worst(self._results, solver, against, self._measure(measure), n)

    def verdict(self, reference: str, measure: str | None = None) -> str:
        """Where a solver is better than all others, in a sentence; only what is certain."""
        return verdict(self._results, self.compare(reference, measure))

    def plot(self, kind: str | None = None, measure: str | None = None, **options: Any) -> Figure:
        """Draw it; see `pipeline.plots.draw`. The cell of a notebook that ends so shows it."""
        return draw(self._results, kind, measure, **options)
