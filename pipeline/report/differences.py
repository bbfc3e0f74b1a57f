"""The sections of a report about two cubes: every solver against itself, in one and the other."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import xarray as xr

from pipeline.analysis import axes_of, compare, default_measure, describing, listings
from pipeline.analysis.cells import labels_of
from pipeline.plots import kinds
from pipeline.plots.base import Axis, FigureData
from pipeline.plots.looks import looks_across, with_bounds
from pipeline.plots.sweeps import Curves, over_sweep
from pipeline.report import charts
from pipeline.report.page import Paragraph, Part, Section
from pipeline.report.summary_tables import table, tables_of


def sections_of_two(before: xr.Dataset, now: xr.Dataset, names: tuple[str, str]) -> list[Section]:
    """What has changed from one cube to another, in pairs where they hold the same problems.

    Parameters
    ----------
    before, now
        Cubes, finished or not; see `pipeline.analysis.compare`.
    names
        Of the two, their stores say.

    Raises
    ------
    InputError
        They have no solver or no point in common.
    """
    found = compare(now, before, default_measure(now))
    cubes, which = (before, now), ("the first", "the second")
    looks = looks_across(one.solver.values for one in cubes)
    looks = with_bounds(looks, [label for one in cubes for label in labels_of(one, "bound")])
    grid = now.sel({axis: found[axis].values for axis in axes_of(now)})
    for axis in {*axes_of(before)} - {*axes_of(now)}:  # a constant in the second
        grid = grid.expand_dims({axis: found[axis].values})
        grid[axis].attrs.update(before[axis].attrs)
    differing = charts.charts_of(_differences(grid, found), looks)
    halves = [charts.described(Curves(), one) for one in cubes]
    alike = kinds.with_common_limits([*halves[0], *halves[1]])
    count = len(halves[0])
    drawn = [
        [dataclasses.replace(chart, title=f"{name}: {chart.title}") for chart in of_one]
        for name, of_one in zip(
            which, (charts.charts_of(a, looks) for a in (alike[:count], alike[count:])), strict=True
        )
    ]
    beside: list[Part] = [c for pair in itertools.zip_longest(*drawn) for c in pair if c]
    about, lines = describing.of_two(before, now, names), listings.reading_comparison(found)
    return [
        Section("In short", list(map(Paragraph, [*about, lines[0]]))),
        Section("Differences", differing),
        Section(
            "Comparison",
            [
                table(grid, found, listings.of_comparison(found), lines[0]),
                *map(Paragraph, lines[1:]),
            ],
        ),
        Section("Figures", beside),
        *(
            Section(charts.capital(name), tables_of(one))
            for name, one in zip(which, cubes, strict=True)
        ),
    ]


def _differences(grid: xr.Dataset, found: xr.Dataset) -> Iterator[FigureData]:
    """Median differences of every solver, with their intervals, a part per further parameter."""
    unit = found.median_difference.attrs["units"]
    y = Axis(f"median difference of {found.attrs['measure']}{f' ({unit})' if unit != '1' else ''}")
    how = "in pairs" if not found.attrs["unpaired"] else "of medians, not in pairs"
    for point in kinds.panel_points(Curves(), grid):
        at, words = found.sel(point), describing.point_text(grid, point)
        bounds = (at.median_difference, at.median_difference_low, at.median_difference_high)
        panel = over_sweep(grid.sel(point), bounds, y, words, at.doubtful)
        legend = f"the second minus the first, {how}, 95 % interval; 0 is no difference"
        yield FigureData([panel], legend, at=describing.named(grid, point))
