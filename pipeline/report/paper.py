"""The page of a paper's studies: own results beside the published ones, each with a verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from pipeline.analysis import describing, ran, remarks
from pipeline.analysis.cells import labels_of
from pipeline.analysis.listings import Field
from pipeline.analysis.published import (
    Sample,
    Verdict,
    compare_published,
    published_table,
    read_published,
)
from pipeline.campaign import Campaign
from pipeline.plots import kinds
from pipeline.plots.base import FigureKind
from pipeline.plots.looks import Looks, looks_across, with_bounds
from pipeline.report import charts
from pipeline.report.page import Paragraph, Part, Section, SortableTable, page
from pipeline.report.summary_tables import tables_of


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
    """The file that holds the published numbers of a campaign file, if there are some."""
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


def looks_of(studies: Sequence[Study]) -> Looks:
    """One look per solver, in all figures of all studies."""
    return looks_across(study.results.solver.values for study in studies)


def agreement(studies: Sequence[Study]) -> list[str]:
    """Lines that say how many of the published numbers agree with ours; none without any."""
    compared = [v for study in studies for v in study.verdicts]
    telling = [v for v in compared if v.telling]
    if not compared:
        return []
    agreeing = sum(v.consistent for v in telling)
    said = f"{agreeing} of {len(telling)} published numbers are consistent with ours"
    found = sorted(v.detectable for v in telling if v.unit and "all" not in v.point.values())
    if found:
        said += f"; half of the tests on NMSE would have shown {found[len(found) // 2]:.1f} dB"
    few = len(compared) - len(telling)
    return [said, *([f"{few} rest on too few trials to tell"] if few else [])]


def overview(studies: Sequence[Study]) -> Section:
    """A table of the studies: cells done, core-hours taken, verdicts that are good."""
    rows: list[list[Field | str]] = []
    for study in studies:
        status, runtime = study.results.status, study.results.runtime
        hours = float(runtime.sum()) / 3600
        done, total = int(ran(study.results).sum()), int(status.size)
        good, all_ = (
            sum(v.consistent for v in study.verdicts),
            sum(v.telling for v in study.verdicts),
        )
        rows.append(
            [
                study.name,
                Field(f"{done} of {total}", done / total),
                Field(f"{hours:.3g}", hours),
                Field(f"{good} of {all_}" if all_ else "–", good / all_ if all_ else 2.0),
            ]
        )
    caption = "Cells that were run, hours that solvers took on one core, and verdicts."
    return Section(
        "Overview", [SortableTable(caption, ["study", "cells", "core-hours", "consistent"], rows)]
    )


def section(study: Study, looks: Looks) -> Section:
    """Figures and verdicts of one study."""
    results = study.results
    looks = {label: looks[label] for label in map(str, results.solver.values)}
    looks = with_bounds(looks, labels_of(results, "bound"))
    parts: list[Part] = [Paragraph(study.about)]
    notes = remarks.notes(results)
    parts += [Paragraph(f"{charts.capital(note)}.", warning=True) for note in notes]
    shown = {"Convergence", *(["Figures"] if describing.free_axes(results) else [])}
    for kind in kinds.in_report(results):
        if kind.section in shown:
            parts += _beside_published(study, kind, looks)
    if study.verdicts:
        parts += [verdict_table(study), Paragraph(f"Published: {study.published.attrs['source']}")]  # type: ignore[union-attr]
    return Section(f"Study: {study.name}", [*parts, *tables_of(results)])


def _beside_published(study: Study, kind: FigureKind, looks: Looks) -> list[Part]:
    """The charts of a figure, each followed by that of the published trials on the same scale."""
    ours, cube = charts.described(kind, study.results), study.published
    if cube is None or not describing.free_axes(cube) or kinds.reason_against(kind, cube):
        return list(charts.charts_of(ours, looks))
    theirs = charts.described(kind, cube)
    both = kinds.with_common_limits([*ours, *theirs])
    published = {chart.title: chart for chart in charts.charts_of(both[len(ours) :], looks)}
    parts: list[Part] = []
    for chart in charts.charts_of(both[: len(ours)], looks):
        parts.append(chart)
        if chart.title in published:
            other = published[chart.title]
            parts.append(dataclasses.replace(other, title=f"Published: {other.title}"))
    return parts


def verdict_table(study: Study) -> SortableTable:
    """A table of what was published, beside ours, with a verdict in each row."""
    axes = list(study.verdicts[0].point)
    heads = [describing.label_of(study.results[axis]) for axis in axes]
    rows: list[list[Field | str]] = [
        [
            v.measure,
            v.solver,
            *(describing.short_text(v.point[axis]) for axis in axes),
            v.text,
            Field(f"{v.detectable:.2g}{v.unit}", v.detectable),
            Field(describing.p_text(v.p_value), v.p_value),
            *(cell for sample in (v.ours, v.theirs) for cell in _sample(sample)),
        ]
        for v in study.verdicts
    ]
    caption = (
        "Ours and the published numbers: median, mean ± standard error, trials. Verdict: by how "
        "much ours lie above the published ones (Hodges and Lehmann, in dB for the NMSE), with its "
        "95 % interval. Detectable: the shift that the test finds with a chance of 80 %. p: rank "
        "test, corrected for all comparisons of the study (Holm); below 0.01 the two are not "
        "consistent. All points: each trial by its mean over the points, of the NMSE in dB."
    )
    statistics = [f"{name} {who}" for who in ("ours", "published") for name in ("median", "mean")]
    columns = ["measure", "solver", *heads, "verdict", "detectable", "p", *statistics]
    return SortableTable(caption, columns, rows)


def _sample(sample: Sample) -> list[Field | str]:
    error = f" ± {sample.error:.1g}" if sample.error > 0 else ""
    return [
        Field(f"{sample.median:.3g}", sample.median),
        Field(f"{sample.mean:.3g}{error} ({sample.trials})", sample.mean),
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
        means = {"statistic": "mean"}  # as the paper draws them
        options = {"kind": "convergence", "measure": "nmse"} if traced else means
        written.append(draw(study.name, study.results, **options))
        if study.published is not None and describing.free_axes(study.published):
            written.append(draw(f"{study.name}-published", study.published, **means))
    return written
