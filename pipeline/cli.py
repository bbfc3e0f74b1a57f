"""The command line: ``kronsbl``."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def _console() -> Console:
    """Standard output; not wrapped where it is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=200, highlight=False)


STORE = click.argument("store", type=click.Path(path_type=Path))


class Commands(click.Group):
    """Turns bad input into one line and exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            click.echo(f"kronsbl: {' '.join(str(error).split())}", err=True)
            sys.exit(BAD_INPUT)
        except KeyboardInterrupt:
            click.echo("kronsbl: interrupted", err=True)
            sys.exit(INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kronsbl")
def main() -> None:
    r"""Monte Carlo campaigns for Kronecker-structured sparse Bayesian learning.

    \b
    Examples:
      kronsbl run workflows/quickstart.toml
      kronsbl summary results/quickstart
      kronsbl plot results/quickstart -o nmse.png
    """


@main.command()
@click.argument("campaign", type=click.Path(path_type=Path))
@click.option(
    "--store", type=click.Path(path_type=Path), help="Folder of the results; default results/NAME."
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Worker processes; default one per core."
)
@click.option("--cluster", default="local", show_default=True, help="Where to run.")
@click.option(
    "--realizations",
    type=click.IntRange(min=1),
    help="Instead of the file's; never shrinks a store.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress, no table.")
def run(
    campaign: Path,
    store: Path | None,
    workers: int | None,
    cluster: str,
    realizations: int | None,
    quiet: bool,
) -> None:
    r"""Compute what the store lacks of CAMPAIGN, and publish the cube.

    Run the same command again after an interruption: it goes on where it was.

    \b
    Examples:
      kronsbl run workflows/quickstart.toml
      kronsbl run workflows/quickstart.toml --realizations 300
      kronsbl run study.toml --store /scratch/study --workers 8
    """
    from pipeline.campaign import Campaign
    from pipeline.driver import run as run_campaign
    from pipeline.progress import shown

    console = _console()
    study = Campaign.load(campaign, realizations=realizations)
    with shown(console, quiet=quiet) as progress:
        result = run_campaign(
            study,
            store,
            workers=workers,
            cluster=cluster,
            progress=progress,
            folder=campaign.resolve().parent,
        )
    if not quiet:
        from pipeline.results import open_results

        print_summary(console, open_results(result.store))
        where = f"{result.store}"
        console.print(
            f"\nCube: {result.cube}\n"
            f'Open: python -c "import pipeline; print(pipeline.open_results({where!r}))"\n'
            f"Plot: kronsbl plot {where} -o {study.campaign.name}.png",
            highlight=False,
            soft_wrap=True,
        )
    for message in result.damaged:
        click.echo(f"kronsbl: damaged block moved aside, run again: {message}", err=True)
    sys.exit(0 if result.ok else FAILED)


@main.command()
@STORE
def status(store: Path) -> None:
    """Done and pending cells of STORE, per solver and point."""
    from pipeline.blocks import series_of
    from pipeline.store import Store

    opened = Store.open(store)
    campaign = opened.last_request()
    if campaign is None:
        raise InputError(f"{store}: no run has asked for anything yet")
    done = opened.keys()
    table = Table("solver", *(axis.key for axis in campaign.axes), "done", "pending")
    for series in series_of(campaign):
        wanted = campaign.campaign.realizations
        have = sum(
            min(series.batch, wanted - i * series.batch)
            for i in range(series.block_count(wanted))
            if series.key(i) in done
        )
        table.add_row(series.label, *map(str, series.point.values()), str(have), str(wanted - have))
    _console().print(table)


@main.command()
@STORE
@click.option("--measure", default="nmse", show_default=True)
def summary(store: Path, measure: str) -> None:
    r"""Table of STORE: means with confidence, failures, runtime, iterations.

    \b
    Examples:
      kronsbl summary results/quickstart
      kronsbl summary results/quickstart --measure srr
    """
    from pipeline.results import open_results

    print_summary(_console(), open_results(store), measure)


def print_summary(console: Console, results: xr.Dataset, measure: str = "nmse") -> None:
    """Print the summary table of a cube."""
    from pipeline.analysis import axes_of, measures_of, summarize, to_db

    figures = summarize(results, measure)
    axes = axes_of(results)
    in_db = measure == "nmse"
    others = [
        m for m in measures_of(results) if m != measure and results[m].ndim == results.status.ndim
    ]
    means = (
        results[others]
        .where((results.status > 0) & (results.status < 4))
        .mean("realization")
        .compute()
    )
    unit = f"{measure} (dB)" if in_db else measure
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("solver", *axes):
        table.add_column(title, no_wrap=True)
    titles = (f"mean {unit} [95 %]", "median", *others, "ms each", "iterations", "failed")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)

    def number(value: Any) -> str:
        value = float(to_db(value) if in_db else value)
        return f"{value:.2f}" if in_db else f"{value:.4g}"

    points = itertools.product(*(figures[name].values for name in ("solver", *axes)))
    for point in points:
        at = dict(zip(("solver", *axes), point, strict=True))
        one = figures.sel(at)
        table.add_row(
            *map(str, point),
            f"{number(one['mean'])} [{number(one.low)}, {number(one.high)}]",
            number(one["median"]),
            *(f"{float(means[m].sel(at)):.3f}" for m in others),
            f"{float(one.runtime) * 1e3:.3g}",
            f"{float(one.iterations):.1f}",
            f"{int(one.failed)}/{int(one.cells)}",
            end_section=False,
        )
    console.print(table)
    if not results.attrs.get("complete"):
        console.print("The cube is unfinished: some cells that were asked for are not there yet.")


@main.command()
@STORE
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="PNG, PDF or SVG file."
)
@click.option("--measure", default="nmse", show_default=True)
def plot(store: Path, output: Path, measure: str) -> None:
    r"""Draw a measure of STORE against the swept parameter, with confidence bands.

    \b
    Example:
      kronsbl plot results/quickstart -o nmse.png
    """
    from pipeline import plots
    from pipeline.results import open_results

    plots.save(plots.curves(open_results(store), measure), output)
    click.echo(output)


@main.command()
def solvers() -> None:
    """Names, options, defaults and sources of the solvers."""
    from solvers.registry import REGISTRY

    console = _console()
    for name in REGISTRY.names():
        kind = REGISTRY.find(name)
        console.print(f"[bold]{name}[/bold]  {getattr(kind, 'source', '')}", highlight=False)
        table = Table("option", "default", "what", box=None, padding=(0, 2))
        for field in dataclasses.fields(kind):
            table.add_row(field.name, repr(field.default), field.metadata.get("doc", ""))
        if table.rows:
            console.print(table)


@main.command()
@STORE
@click.option("--force", is_flag=True, help="Also where nothing has changed.")
def publish(store: Path, force: bool) -> None:
    """Build the cube of STORE from the blocks that are there."""
    from pipeline.results import publish as publish_cube
    from pipeline.store import Store

    click.echo(publish_cube(Store.open(store), force=force).path)


@main.command()
@STORE
def gc(store: Path) -> None:
    """Drop old cubes of STORE and left-over temporary files."""
    from pipeline.results import collect_garbage
    from pipeline.store import Store

    for path in collect_garbage(Store.open(store)):
        click.echo(path)
