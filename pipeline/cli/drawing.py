"""Commands that draw: figures and reports."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.base import POINT, file_argument, main, path_option, point_of

KINDS = ("curves", "heatmap", "cdf", "runtime", "tradeoff", "convergence", "latency")


@main.command(context_settings={"ignore_unknown_options": True})
@file_argument("store")
@path_option("-o", "--output", required=True, help="PNG, PDF or SVG file.")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    help="Default: curves, or a heat map where two parameters vary.",
)
@click.option("--measure", help="Of the cube, nmse say; for convergence nmse, cost or change.")
@click.option(
    "--statistic",
    type=click.Choice(["mean", "median"]),
    default="mean",
    show_default=True,
    help="What curves show, with its 95 % interval.",
)
@click.option(
    "--cells",
    type=click.Choice(["all", "common"]),
    default="all",
    show_default=True,
    help="All, or only realizations that every solver has finished.",
)
@POINT
def plot(
    store: Path,
    output: Path,
    kind: str | None,
    measure: str | None,
    statistic: str,
    cells: str,
    point: tuple[str, ...],
) -> None:
    """Draw STORE, finished or not.

    Curves are of a measure against the swept parameter; heatmap, over two of them; runtime, of
    runtime and iterations; latency, of single realizations on each host; tradeoff, of a measure
    against the runtime; cdf is the distribution over realizations; convergence, a trace per EM
    iteration. POINT is one option per swept parameter that is to have
    one value, by its name in the cube.

    Examples:
      kronsbl plot results/quickstart -o nmse.png
      kronsbl plot results/quickstart -o nmse.pdf --statistic median
      kronsbl plot results/quickstart -o cdf.svg --kind cdf --snr_db 20
    """
    from pipeline import plots
    from pipeline.results.publishing import open_results

    figure = plots.draw(
        open_results(store),
        kind,
        measure,
        statistic=statistic,
        cells=cells,
        point=point_of(point),
    )
    plots.save(figure, output)
    click.echo(output)


@main.command()
@file_argument("store")
@path_option("-o", "--output", required=True, help="HTML file.")
def report(store: Path, output: Path) -> None:
    """Write one self-contained page about STORE, finished or not.

    It opens without a network: what was run, the table of figures, interactive figures, failures.

    Example:
      kronsbl report results/quickstart -o quickstart.html
    """
    from pipeline.report import write

    write(store, output)
    click.echo(output)
