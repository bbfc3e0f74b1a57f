"""The page of a paper's studies: own figures beside the published ones, each with a verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from pipeline.analysis import default_measure, describing, measures_of, summarize
from pipeline.analysis.cells import ran
from pipeline.analysis.published import (
    Sample,
    Verdict,
    compare_published,
    published_table,
    read_published,
)
from pipeline.campaign import Campaign
from pipeline.plots import style
from pipeline.report import charts, tables
from pipeline.report.page import Cell, Chart, Part, Section, Table, Text, page


@dataclasses.dataclass(frozen=True)
class Study:
    """One campaign of a paper.

    Attributes
    ----------
    name : str
    about : str
        What it shows; the comment that its file begins with.
    results : xarray.Dataset
    published : xarray.Dataset or None
        Published trials, as `pipeline.analysis.published.read_published` gives them.
    verdicts : sequence of Verdict
    """

    name: str
    about: str
    results: xr.Dataset
    published: xr.Dataset | None = None
    verdicts: Sequence[Verdict] = ()

    @classmethod
    def of(cls, file: Path, results: xr.Dataset) -> Study:
        """The study of a campaign file, with ``published/<name>.csv`` beside it if there is one."""
        lines = file.read_text(encoding="utf-8").splitlines()
        first = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
        about = " ".join(line.lstrip("# ") for line in lines[:first])
        source = published_file(file)
        if not source.exists():
            return cls(file.stem, about, results)
        published = read_published(source, results)
        published.attrs["name"] = f"published: {describing.name_of(results)}"
        return cls(file.stem, about, results, published, compare_published(results, published))


def published_file(file: Path) -> Path:
    """Where the published numbers of a campaign file would be."""
    return file.parent / "published" / f"{file.stem}.csv"


def check_published(file: Path, campaign: Campaign) -> None:
    """Raise InputError where published numbers do not fit the campaign that they are for."""
    if published_file(file).exists():
        scenario = campaign.configurations[0].scenario
        axes = [axis.dimension for axis in campaign.axes]
        published_table(published_file(file), axes, list(scenario.measures))


def paper_page(title: str, studies: Sequence[Study]) -> str:
    """One page about all studies, as HTML."""
    subtitle = "; ".join([f"{len(studies)} studies", *agreement(studies)])
    looks = looks_of(studies)
    return page(title, [overview(studies), *(section(s, looks) for s in studies)], subtitle)


def looks_of(studies: Sequence[Study]) -> style.Looks:
    """One look per solver, in all figures of all studies."""
    return style.looks_across(study.results.solver.values for study in studies)


def agreement(studies: Sequence[Study]) -> list[str]:
    """How many of the published figures agree with ours, in words; nothing where there are none."""
    compared = [v for study in studies for v in study.verdicts]
    telling = [v for v in compared if v.telling]
    if not compared:
        return []
    agreeing = sum(v.consistent for v in telling)
    said = f"{agreeing} of {len(telling)} published figures are consistent with ours"
    few = len(compared) - len(telling)
    return [said, *([f"{few} rest on too few trials to tell"] if few else [])]


def overview(studies: Sequence[Study]) -> Section:
    """How far each study is, what it took, and how many verdicts are good."""
    rows: list[list[Cell | str]] = []
    for study in studies:
        hours = float(study.results.runtime.sum()) / 3600
        done, total = int(ran(study.results).sum()), int(study.results.status.size)
        good, all_ = (
            sum(v.consistent for v in study.verdicts),
            sum(v.telling for v in study.verdicts),
        )
        rows.append(
            [
                study.name,
                Cell(f"{done} of {total}", done / total),
                Cell(f"{hours:.3g}", hours),
                Cell(f"{good} of {all_}" if all_ else "–", good / all_ if all_ else 2.0),
            ]
        )
    caption = "Cells that were run, hours that solvers took on one core, and verdicts."
    return Section(
        "Overview", [Table(caption, ["study", "cells", "core-hours", "consistent"], rows)]
    )


def section(study: Study, looks: style.Looks) -> Section:
    """Figures and verdicts of one study."""
    results = study.results
    looks = {label: looks[label] for label in map(str, results.solver.values)}
    parts: list[Part] = [Text(study.about)]
    parts += [Text(f"{n[0].upper()}{n[1:]}.", warning=True) for n in describing.notes(results)]
    names = [m for m in measures_of(results) if results[m].ndim == results.status.ndim]
    names.sort(key=lambda m: m != default_measure(results))
    summaries = {m: summarize(results, m) for m in names}
    if describing.free_axes(results):
        ours = charts.measures(results, summaries, looks)
        theirs = _published_charts(study, looks)
        for part in ours:
            parts.append(part)
            if isinstance(part, Chart) and part.title in theirs:
                parts.append(_beside(part, theirs[part.title]))
    parts += charts.convergence(results, looks)
    if study.verdicts:
        parts += [verdict_table(study), Text(f"Published: {study.published.attrs['source']}")]  # type: ignore[union-attr]
    parts += tables.summary_tables(results, summaries)
    return Section(f"Study: {study.name}", parts)


def _published_charts(study: Study, looks: style.Looks) -> dict[str, Chart]:
    """Charts of what was published, by title."""
    cube = study.published
    if cube is None or not describing.free_axes(cube):
        return {}
    summaries = {m: summarize(cube, m) for m in measures_of(cube)}
    drawn = charts.measures(cube, summaries, looks)
    return {part.title: part for part in drawn if isinstance(part, Chart)}


def _beside(ours: Chart, theirs: Chart) -> Chart:
    """The published chart, on the scale of ours and ours on its own."""
    from bokeh.models import Range1d

    ranges = [chart.model.y_range for chart in (ours, theirs)]
    if all(isinstance(r, Range1d) for r in ranges):
        low, high = min(r.start for r in ranges), max(r.end for r in ranges)
        for r in ranges:
            r.start, r.end = low, high
    return dataclasses.replace(theirs, title=f"Published: {theirs.title}")


def verdict_table(study: Study) -> Table:
    """Every published figure beside ours."""
    axes = list(study.verdicts[0].point)
    heads = [describing.label_of(study.results[axis]) for axis in axes]
    rows: list[list[Cell | str]] = [
        [
            v.measure,
            v.solver,
            *(Cell(tables.plain(v.point[axis]), float(v.point[axis])) for axis in axes),
            v.text,
            _apart(v.apart),
            Cell(f"{v.p_value:.2g}", v.p_value),
            *(cell for sample in (v.ours, v.theirs) for cell in _sample(sample)),
        ]
        for v in study.verdicts
    ]
    caption = (
        "Ours and the published figures: median, mean ± standard error, trials. Apart: difference "
        "of the means (of the NMSE in dB) in standard errors of both. p: rank test, corrected for "
        "all comparisons of the study (Holm); below 0.01 the two are not consistent."
    )
    figures = [f"{name} {who}" for who in ("ours", "published") for name in ("median", "mean")]
    columns = ["measure", "solver", *heads, "verdict", "apart", "p", *figures]
    return Table(caption, columns, rows)


def _apart(errors: float) -> Cell:
    if math.isnan(errors):  # all trials of both are equal
        return Cell("–", 0.0)
    return Cell(f"{errors:+.1f}".replace("-", "−"), errors)


def _sample(sample: Sample) -> list[Cell | str]:
    error = f" ± {sample.error:.1g}" if sample.trials > 1 else ""
    return [
        Cell(f"{sample.median:.3g}", sample.median),
        Cell(f"{sample.mean:.3g}{error} ({sample.trials})", sample.mean),
    ]


def write_figures(studies: Sequence[Study], folder: Path) -> list[Path]:
    """Figures of all studies as PNG files, the published ones too."""
    from pipeline import plots

    looks = looks_of(studies)

    def draw(name: str, cube: xr.Dataset, **options: Any) -> Path:
        path = folder / f"paper-{name}.png"
        plots.save(plots.draw(cube, **options, looks=looks), path)
        return path

    written = []
    for study in studies:
        traced = any(str(name).startswith("trace_") for name in study.results)
        kinds: Mapping[str, Any] = {"kind": "convergence", "measure": "nmse"} if traced else {}
        written.append(draw(study.name, study.results, **kinds))
        if study.published is not None and describing.free_axes(study.published):
            written.append(draw(f"{study.name}-published", study.published))
    return written
