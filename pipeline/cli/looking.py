"""Commands that look at what was computed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from pipeline import tables
from pipeline.cli.base import POINT, file_argument, main, path_option, point_of, terminal


@main.command()
@file_argument("store")
@click.option("--measure", default="nmse", show_default=True)
def summary(store: Path, measure: str) -> None:
    """Print the figures of STORE: means with confidence, failures, runtime, iterations.

    Examples:
      kronsbl summary results/quickstart
      kronsbl summary results/quickstart --measure srr
    """
    show_summary(terminal(), store, measure)


def show_summary(console: Console, store: Path, measure: str) -> None:
    """Print the table of figures."""
    from pipeline.results import open_results

    results = open_results(store)
    console.print(tables.summary(results, measure))
    if not results.attrs.get("complete"):
        console.print("The cube is unfinished: some cells that were asked for are not there yet.")


@main.command(context_settings={"ignore_unknown_options": True})
@file_argument("store")
@click.option("--solver", required=True, help="Label of the solver.")
@click.option("--realization", required=True, type=int)
@path_option("-o", "--output", help="Draw the trace into this file as well.")
@POINT
def replay(
    store: Path, solver: str, realization: int, output: Path | None, point: tuple[str, ...]
) -> None:
    """Solve one cell of STORE again, and show what happened.

    POINT is one option per swept parameter, by its name in the cube.

    Examples:
      kronsbl replay results/quickstart --solver am --realization 17 --snr_db 20
      kronsbl replay results/quickstart --solver am --realization 17 --snr_db 20 -o trace.png
    """
    from pipeline import plots
    from pipeline.replaying import replay as replay_cell
    from pipeline.replaying import text

    result = replay_cell(store, solver, realization, **point_of(point))
    click.echo(text(result))
    if output is not None:
        plots.save(plots.replayed(result), output)
        click.echo(output)


@main.command()
def solvers() -> None:
    """List solvers with their options, defaults and sources."""
    from solvers.registry import REGISTRY

    console = terminal()
    for name in REGISTRY.names():
        kind = REGISTRY.find(name)
        console.print(f"[bold]{name}[/bold]  {getattr(kind, 'source', '')}", highlight=False)
        table = Table("option", "default", "what", box=None, padding=(0, 2))
        for field in dataclasses.fields(kind):
            table.add_row(field.name, repr(field.default), field.metadata.get("doc", ""))
        if table.rows:
            console.print(table)
