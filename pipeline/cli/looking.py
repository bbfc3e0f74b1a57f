"""Commands that look at what was computed."""

from __future__ import annotations

import dataclasses
import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.base import (
    CODE,
    FAILED,
    POINT,
    check_point,
    file_argument,
    main,
    output_option,
    point_of,
    show,
    tell,
    terminal,
)
from pipeline.cli.terminal import add_row
from pipeline.errors import InputError, in_one_line

if TYPE_CHECKING:
    import xarray as xr


MEASURE = click.option("--measure", help="Default nmse, or the first measure of the cube.")
JSON = click.option("--json", "as_json", is_flag=True, help="For programs; NaN is null.")


@main.command()
@file_argument("store")
@MEASURE
@click.option("--all", "wide", is_flag=True, help="Linear statistics and quantiles as well.")
@JSON
def summary(store: Path, measure: str | None, wide: bool, as_json: bool) -> None:
    """Print the statistics of STORE: medians and means with confidence, failures, runtimes.

    Examples:
      kronsbl summary results/quickstart
      kronsbl summary results/quickstart --measure srr --all
      kronsbl summary results/quickstart --json
    """
    if as_json:
        click.echo(json.dumps(_summary_for_programs(store, measure)))
    else:
        show_summary(terminal(), store, measure, wide=wide)


def show_summary(
    console: Console, store: Path, measure: str | None = None, *, wide: bool = False
) -> None:
    """Print the tables of statistics."""
    from pipeline.cli import tables

    results, measure = _opened(store, measure)
    show(console, *tables.summary(results, measure, wide=wide))


def _opened(store: Path, measure: str | None) -> tuple[xr.Dataset, str]:
    """A cube that has something to show, and the measure to look at."""
    from pipeline.analysis import check, default_measure
    from pipeline.analysis.cells import ran
    from pipeline.results.publishing import open_results

    results = open_results(store)
    measure = measure or default_measure(results)
    check(results, measure)
    if not bool(ran(results).any()):
        raise InputError(f"{store}: nothing to show, no cell of its cube has been run")
    return results, measure


def _summary_for_programs(store: Path, measure: str | None) -> dict[str, Any]:
    from pipeline import analysis
    from pipeline.analysis import records, summarize

    results, measure = _opened(store, measure)
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


@main.command()
@file_argument("store")
@click.option("--reference", help="Label of the solver that the others are compared with.")
@MEASURE
@JSON
def compare(store: Path, reference: str | None, measure: str | None, as_json: bool) -> None:
    """Compare the solvers of STORE with one of them, realization by realization.

    Differences of the same realization, their confidence, who won how often, the exact sign test,
    and the ratio of runtimes. A failed realization is lost to any estimate. With a bound as the
    reference, the gaps of the solvers' means. An unfinished cube is compared where both are done.

    Examples:
      kronsbl compare results/quickstart --reference svd
      kronsbl compare results/quickstart --reference svd --measure srr --json
    """
    from pipeline.analysis import caveats, gaps, records
    from pipeline.analysis import compare as compare_solvers
    from pipeline.analysis.cells import labels_of
    from pipeline.cli import tables

    results, measure = _opened(store, measure)
    if reference is None:
        labels = ", ".join(map(str, results.solver.values))
        raise InputError(f"--reference is missing: one of the solvers {labels}")
    to_bounds = gaps(results, measure) if reference in labels_of(results, "bound") else None
    if to_bounds is None:
        statistics = compare_solvers(results, reference, measure)
    else:
        statistics = to_bounds.sel(bound=[reference]).assign_attrs(reference=reference)
    if as_json:
        about = {
            k: statistics.attrs.get(k) for k in ("measure", "reference", "better", "confidence")
        }
        about["caveats"] = [caveat._asdict() for caveat in caveats(results)]
        click.echo(json.dumps(about | {"points": records(statistics)}))
    else:
        is_bound = to_bounds is not None
        parts = tables.gap_parts(statistics) if is_bound else tables.comparison(results, statistics)
        show(terminal(), *parts)


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


@main.command(context_settings={"ignore_unknown_options": True})
@file_argument("store")
@click.option("--solver", required=True, help="Label of the solver.")
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


@main.command()
def solvers() -> None:
    """List solvers with their kinds, sources, options and defaults."""
    from solvers.registry import REGISTRY

    console = terminal()
    for name in REGISTRY.names():
        try:
            found = REGISTRY.find(name)
        except ValueError as error:  # of another distribution, and out of order
            show(console, f"{name}  {error}")
            continue
        about = f"  {getattr(found, 'kind', 'estimator')}: {getattr(found, 'source', '')}"
        console.print(Text.assemble((name, "bold"), about), highlight=False)
        table = Table("option", "default", "what", box=None, padding=(0, 2))
        for field in dataclasses.fields(found):
            add_row(table, field.name, repr(field.default), field.metadata.get("doc", ""))
        if table.rows:
            console.print(table)
