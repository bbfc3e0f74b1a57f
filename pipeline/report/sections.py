"""The sections of a report about one cube."""

from __future__ import annotations

import json
import math

import xarray as xr

from pipeline.analysis import axes_of, check, describing, finished, ran, remarks
from pipeline.analysis.cells import asked_for, labels_of, not_run
from pipeline.analysis.listings import Field
from pipeline.analysis.verdicts import verdict
from pipeline.errors import InputError
from pipeline.plots import kinds
from pipeline.plots.looks import Looks, looks_in, with_bounds
from pipeline.report import charts, summary_tables
from pipeline.report.page import (
    FactList,
    Paragraph,
    Part,
    Section,
    SortableTable,
    SourceText,
)


def sections_of(results: xr.Dataset, *, looks: Looks | None = None) -> list[Section]:
    """All there is to say of a cube, finished or not.

    Parameters
    ----------
    results
        As `pipeline.open_results` gives it.
    looks
        Look of each solver; by default by its place in the campaign.

    Raises
    ------
    InputError
        No cube, or no cell of it has been run.
    """
    check(results)
    if not bool(ran(results).any()):
        raise InputError("nothing to report: no cell of this cube has been run")
    labels = [str(label) for label in results.solver.values]
    looks = looks or looks_in(results)
    looks = {label: looks[label] for label in labels}
    looks = with_bounds(looks, labels_of(results, "bound"))
    found = summary_tables.compared(results)
    said = [Paragraph(verdict(results, found))] if found is not None else []
    return [
        Section("In short", [*(line for line in said if line.text), *_notes(results)]),
        *figures(results, looks),
        Section("Comparison", summary_tables.comparisons_of(results, found)),
        Section("Worst realizations", summary_tables.worst_of(results, found)),
        Section("Summary", summary_tables.tables_of(results)),
        Section("How realizations ended", endings(results)),
        Section("What was run", about(results)),
        Section("Campaign", settings(results)),
    ]


def figures(results: xr.Dataset, looks: Looks) -> list[Section]:
    """All figures that the cube gives, in the sections that their kinds name."""
    parts: dict[str, list[Part]] = {}
    for kind in kinds.in_report(results):
        drawn = charts.charts_of(charts.described(kind, results), looks)
        parts.setdefault(kind.section, []).extend(drawn)
    return [Section(title, drawn) for title, drawn in parts.items()]


def about(results: xr.Dataset) -> list[Part]:
    """FactList: what, from which seed, where, with what; progress if unfinished."""
    attributes = results.attrs
    cells = int(asked_for(results).sum())
    missing = int(attributes.get("missing", int(not_run(results).sum())))
    computed = {
        name.removeprefix("computed_with_").replace("_", " "): str(value)
        for name, value in attributes.items()
        if str(name).startswith("computed_with_")
    }
    machine = {name: computed.pop(name, "") for name in ("cpu", "blas", "blas threads")}
    facts = {
        "scenario": describing.setting(results),
        "swept": "; ".join(
            f"{describing.label_of(results[axis])}: "
            + ", ".join(map(describing.short_text, results[axis].values))
            for axis in axes_of(results)
        ),
        "solvers": ", ".join(
            describing.solver_text(results, str(s)) for s in results.solver.values
        ),
        "realizations": remarks.asked_of(results),
        "cells": f"{cells - missing} of {cells}",
        "seed": str(attributes.get("seed", "")),
        "batch": ", ".join(
            f"{label} {size}" for label, size in json.loads(attributes.get("batch", "{}")).items()
        ),
        "hosts": attributes.get("hosts", ""),
        "CPU": machine["cpu"],
        "BLAS": f"{machine['blas']}, threads: {machine['blas threads']}",
        "versions": ", ".join(f"{name} {value}" for name, value in computed.items()),
        "git": attributes.get("git", ""),
        "requested": attributes.get("requested", ""),
    }
    shown = {name: text for name, text in facts.items() if text}
    return [FactList(shown, done=(cells - missing) / cells if missing else None)]


def _notes(results: xr.Dataset) -> list[Part]:
    said = [*remarks.notes(results), *remarks.device_notes(results)]
    if not bool(finished(results).any()):
        said.append("no realization has an estimate, so the tables are empty")
    points = math.prod(results.sizes[axis] for axis in axes_of(results))
    if points > charts.PANELS:
        said.append(
            f"where a figure is of one point, {charts.PANELS} of the {points} are shown, evenly "
            "spread; `kronsbl plot` draws any of them"
        )
    return [Paragraph(f"{charts.capital(note)}.", warning=True) for note in said]


def endings(results: xr.Dataset) -> list[Part]:
    """Tables of how realizations ended, and of the messages of those that failed."""
    flags = results.status.attrs
    meanings = flags.get("flag_meanings", "").split()
    over = [d for d in results.status.dims if d != "solver"]
    columns, numbers = [], []
    for value, meaning in zip(flags.get("flag_values", []), meanings, strict=True):
        number = (results.status == value).sum(over).values
        if number.any():
            columns.append(meaning.replace("_", " "))
            numbers.append(number)
    rows: list[list[Field | str]] = [
        [str(solver), *(summary_tables.count(n[i]) for n in numbers)]
        for i, solver in enumerate(results.solver.values)
    ]
    caption = "Realizations by how they ended, over all points."
    parts: list[Part] = [SortableTable(caption, ["solver", *columns], rows)]
    messages = remarks.failures_of(results)
    if messages:
        rows = [
            [solver, message, summary_tables.count(count)]
            for solver, found in messages.items()
            for message, count in sorted(found.items(), key=lambda pair: -pair[1])
        ]
        parts.append(SortableTable("What went wrong.", ["solver", "message", "cells"], rows))
    return parts


def settings(results: xr.Dataset) -> list[Part]:
    """Options of every solver, and the campaign's text."""
    rows: list[list[Field | str]] = []
    for label, spec in json.loads(results.attrs.get("solvers", "{}")).items():
        options = {k: v for k, v in spec.items() if not isinstance(v, dict)}
        options |= spec.get("options", {})
        text = ", ".join(f"{name} = {value}" for name, value in options.items())
        rows.append([label, text])
    parts: list[Part] = [SortableTable("Options of the solvers.", ["solver", "options"], rows)]
    parts += [Paragraph(f"{charts.capital(line)}.") for line in remarks.tuned(results)]
    return [*parts, SourceText("Campaign file", results.attrs.get("campaign", ""))]
