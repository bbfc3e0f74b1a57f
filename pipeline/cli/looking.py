"""Commands that look at what was computed."""

from __future__ import annotations

import itertools
import json
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from pipeline.cli.base import (
    CODE,
    FAILED,
    POINT,
    check_point,
    complete_labels,
    complete_measures,
    file_argument,
    main,
    output_option,
    point_of,
    show,
    tell,
    terminal,
)
from pipeline.errors import InputError, in_one_line

if TYPE_CHECKING:
    import xarray as xr


MEASURE = click.option(
    "--measure",
    shell_complete=complete_measures,
    help="Default nmse, or the first measure of the cube.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="For programs; NaN is null.")
FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "markdown", "latex"]),
    help="The table for a text (latex: booktabs), or all numbers as CSV.",
)


def _labels(_: click.Context, __: click.Parameter, text: str) -> list[str]:
    """Labels between commas, which may have commas in brackets of their own."""
    return [label.strip() for label in re.split(r",(?![^\[]*\])", text) if label.strip()]


SOLVERS = click.option(
    "--solvers",
    default="",
    callback=_labels,
    shell_complete=complete_labels,
    help="Some of the solvers only, in this order, as in a,b.",
)
WITH_POINT = {"ignore_unknown_options": True}


@main.command(context_settings=WITH_POINT)
@file_argument("store")
@MEASURE
@SOLVERS
@click.option("--all", "wide", is_flag=True, help="Linear statistics and quantiles as well.")
@click.option("--statistic", help="One only, solvers side by side: median, mean, db_mean, pooled.")
@FORMAT
@JSON
@POINT
def summary(
    store: Path, wide: bool, statistic: str | None, form: str | None, as_json: bool, **which: Any
) -> None:
    """Print the statistics of STORE: medians and means with confidence, failures, runtimes.

    In a terminal that is too narrow for them, medians with a row per point. POINT is one option
    per swept parameter that is to have one value, by its name in the cube.

    Examples:
      kronsbl summary results/quickstart
      kronsbl summary results/quickstart --measure srr --all
      kronsbl summary results/quickstart --solvers am,svd --snr_db 20
      kronsbl summary results/quickstart --statistic median --format latex
      kronsbl summary results/quickstart --json
    """
    from pipeline.analysis import summarize
    from pipeline.analysis.summaries import MEANS
    from pipeline.cli import formats, tables

    if as_json:
        click.echo(json.dumps(_summary_for_programs(*opened(store, **which))))
    elif form is None and statistic is None:
        show_summary(terminal(), store, wide=wide, **which)
    else:
        results, measure = opened(store, **which)
        found = summarize(results, measure)
        if form is None:
            means = [name for name in MEANS if name == statistic]
            lines = tables.reading_lines(results, [found], means)
            show(terminal(), *tables.pivot(found, statistic or "median"), *lines)
        else:
            click.echo(
                formats.written(form, found, tables.listed(found, statistic, tables.ALL_ROWS))
            )


def show_summary(console: Console, store: Path, *, wide: bool = False, **which: Any) -> None:
    """Print the tables of statistics."""
    from pipeline.cli import tables

    show(console, *tables.summary(*opened(store, **which), wide=wide, width=console.width))


def opened(
    store: Path,
    measure: str | None = None,
    solvers: Sequence[str] = (),
    point: tuple[str, ...] = (),
) -> tuple[xr.Dataset, str]:
    """The part of a cube that was asked for and has something to show, and the measure."""
    from pipeline.analysis import axes_of, check, default_measure
    from pipeline.analysis.cells import ran
    from pipeline.analysis.describing import subset
    from pipeline.results.publishing import open_results

    results, where = open_results(store), point_of(point)
    measure = measure or default_measure(results)
    check(results, measure)
    check_point(where, axes_of(results))
    results = subset(results, solvers, where)
    if not bool(ran(results).any()):
        raise InputError(f"{store}: nothing to show, no cell of its cube has been run there")
    return results, measure


def _summary_for_programs(results: xr.Dataset, measure: str) -> dict[str, Any]:
    from pipeline import analysis
    from pipeline.analysis import records, summarize

    statistics = summarize(results, measure)
    about = {
        **{
            name: statistics.attrs.get(name)
            for name in ("measure", "units", "better", "confidence")
        },
        "complete": not bool(statistics.missing.any()),
        "caveats": [caveat._asdict() for caveat in analysis.caveats(results)],
        "points": records(statistics),
    }
    if analysis.has_gaps(results, measure):
        shared = summarize(results, measure, cells="common")
        about["common"] = records(shared)
        about["changed_rankings"] = [
            r._asdict() for r in analysis.changed_rankings(statistics, shared)
        ]
    more = {"gaps": analysis.gaps(results, measure), "latencies": analysis.latencies(results)}
    more["stopped"] = analysis.stopped(results)
    return about | {name: records(found) for name, found in more.items() if found is not None}


@main.command(context_settings=WITH_POINT)
@file_argument("store")
@click.option(
    "--reference",
    shell_complete=complete_labels,
    help="Label of the solver that the others are compared with.",
)
@MEASURE
@SOLVERS
@FORMAT
@JSON
@POINT
def compare(
    store: Path,
    reference: str | None,
    form: str | None,
    as_json: bool,
    point: tuple[str, ...],
    **which: Any,
) -> None:
    """Compare the solvers of STORE with one of them, realization by realization.

    Differences of the same realization, their confidence, who won how often, the exact sign test,
    and the ratio of runtimes. A failed realization is lost to any estimate. With a bound as the
    reference, the gaps of the solvers' means. An unfinished cube is compared where both are done.
    POINT is one option per swept parameter that is to have one value.

    With two stores, every solver of the second with itself in the first: in pairs where scenario,
    point and seed agree.

    Examples:
      kronsbl compare results/quickstart --reference svd
      kronsbl compare results/quickstart --reference svd --solvers am --snr_db 20
      kronsbl compare results/before results/after --snr_db 20
    """
    from pipeline import analysis
    from pipeline.analysis import describing, listings
    from pipeline.analysis.cells import labels_of
    from pipeline.cli import formats, tables

    others = list(itertools.takewhile(lambda word: not word.startswith("--"), point))
    which["point"] = point[len(others) :]
    if len(others) + (reference is not None) != 1:
        labels = ", ".join(map(str, opened(store)[0].solver.values))
        raise InputError(f"give either a second store, or as --reference one of {labels}")
    if reference is not None and which["solvers"]:
        which["solvers"].append(reference)
    results, measure = opened(store, **which)
    parts: list[Any] = []
    if reference is None:
        before, results = results, opened(Path(others[0]), **which)[0]
        statistics = analysis.compare(results, before, measure)
        parts += describing.of_two(before, results, (store, others[0]))
        parts += tables.comparison(results, statistics)
    elif reference in labels_of(results, "bound") and (gaps := analysis.gaps(results, measure)):
        statistics = gaps.sel(bound=[reference]).assign_attrs(reference=reference)
        parts += tables.gap_parts(statistics)
    else:
        statistics = analysis.compare(results, reference, measure)
        parts += tables.comparison(results, statistics)
    if as_json:
        names = ("measure", "reference", "better", "confidence", "unpaired")
        about = {name: statistics.attrs.get(name) for name in names}
        about["caveats"] = [caveat._asdict() for caveat in analysis.caveats(results)]
        click.echo(json.dumps(about | {"points": analysis.records(statistics)}))
    elif form is not None:
        columns = listings.of_gaps if "gap" in statistics else listings.of_comparison
        found = listings.listing(statistics, columns(statistics), tables.ALL_ROWS)
        click.echo(formats.written(form, statistics, found))
    else:
        show(terminal(), *parts)


@main.command(context_settings=WITH_POINT)
@file_argument("store")
@click.option("--solver", required=True, help="Label of the solver.")
@click.option("--against", help="Label of another: where is the solver furthest behind it?")
@MEASURE
@click.option("-n", default=10, show_default=True, type=click.IntRange(min=1), help="How many.")
@JSON
@POINT
def worst(
    store: Path, solver: str, against: str | None, n: int, as_json: bool, **which: Any
) -> None:
    """List the realizations of STORE on which a solver did worst, and how to see them again.

    POINT is one option per swept parameter that is to have one value.

    Examples:
      kronsbl worst results/quickstart --solver svd --against oracle
      kronsbl worst results/quickstart --solver am -n 3 --snr_db 20
    """
    from pipeline import analysis
    from pipeline.cli import tables

    results, measure = opened(store, **which)
    found = analysis.worst(results, solver, against, measure, n)
    if as_json:
        click.echo(json.dumps([one.record() for one in found]))
    else:
        show(terminal(), *tables.worst(found, measure, against, store))


@main.command()
@file_argument("store")
@output_option("A .nc, .csv or .parquet file.", ".nc", ".csv", ".parquet")
def export(store: Path, output: Path) -> None:
    """Write the cube of STORE into one file for other programs.

    netCDF holds everything; CSV and Parquet are tables of one row per cell.

    Examples:
      kronsbl export results/quickstart -o quickstart.nc
      kronsbl export results/quickstart -o quickstart.csv
    """
    from pipeline.results.export import export as export_cube
    from pipeline.results.publishing import open_results

    left_out = export_cube(open_results(store), output)
    if left_out:
        click.echo(f"left out, not one value per cell: {', '.join(left_out)}; a .nc file has them")
    click.echo(output)


@main.command(context_settings=WITH_POINT)
@file_argument("store")
@click.option(
    "--solver", required=True, shell_complete=complete_labels, help="Label of the solver."
)
@click.option("--realization", required=True, type=int)
@CODE
@output_option("Draw the trace into this file as well.", ".png", ".pdf", ".svg", required=False)
@POINT
def replay(store: Path, output: Path | None, point: tuple[str, ...], **cell: Any) -> None:
    """Solve one cell of STORE again, and show what happened.

    POINT is one option per swept parameter, by its name in the cube.

    Examples:
      kronsbl replay results/quickstart --solver am --realization 17 --snr_db 20
      kronsbl replay results/quickstart --solver am --realization 17 --snr_db 20 -o trace.png
    """
    from pipeline import plots
    from pipeline.cli.replay_text import replay_text
    from pipeline.solving.replaying import replay as replay_cell
    from pipeline.store import Store

    where = point_of(point)
    check_point(where, [axis.dimension for axis in Store.open(store).asked().axes])
    try:
        result = replay_cell(store, **cell, **where)
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:  # the solver's own; where it was raised is what one wants to see
        click.echo(_frames_below(error, replay_cell.__code__.co_filename), err=True, nl=False)
        reason = in_one_line(error)
        tell(f"{cell['solver']}, realization {cell['realization']}: {reason}")
        sys.exit(FAILED)
    click.echo(replay_text(result))
    if output is not None:
        plots.save(plots.replayed(result), output)
        click.echo(output)


def _frames_below(error: Exception, file: str) -> str:
    """The part of a traceback that lies below the last frame of a file."""
    frames = traceback.extract_tb(error.__traceback__)
    last = max(number for number, frame in enumerate(frames) if frame.filename == file)
    return "".join(traceback.format_list(frames[last + 1 :]))
