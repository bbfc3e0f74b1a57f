"""Commands that draw: figures and reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.base import (
    POINT,
    Command,
    check_point,
    complete_measures,
    file_argument,
    main,
    output_option,
    point_of,
)
from pipeline.cli.looking import SOLVERS
from pipeline.errors import InputError


class _Plot(Command):
    """Lists the kinds of figures in its help, those of other distributions too."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print a line per kind."""
        from pipeline.plots import kinds

        lines = []
        for name in kinds.names():
            try:
                options = ", ".join(f"--{option}" for option in kinds.options_of(name))
                lines.append((name, f"{kinds.find(name).shows} ({options or 'no options'})"))
            except InputError as error:
                lines.append((name, str(error)))
        with formatter.section("Kinds"):
            formatter.write_dl(lines)
        super().format_epilog(ctx, formatter)


def _kinds_that_begin(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Names of kinds, for the shell's completion."""
    from pipeline.plots import names

    return [name for name in names() if name.startswith(incomplete)]


@main.command(cls=_Plot, context_settings={"ignore_unknown_options": True})
@file_argument("store")
@output_option("PNG, PDF or SVG file.", ".png", ".pdf", ".svg")
@click.option(
    "--kind",
    help="Default: curves, or a heat map where two parameters vary.",
    shell_complete=_kinds_that_begin,
)
@click.option(
    "--measure",
    shell_complete=complete_measures,
    help="Of the cube, nmse say; for convergence nmse, cost or change.",
)
@click.option("--statistic", help="median (the default), mean or pooled, with its 95 % interval.")
@click.option("--cells", help="all (the default), or common: those that all solvers have finished.")
@SOLVERS
@click.option("--label", "labels", type=(str, str), multiple=True, help="Name it: svd SVD-KroSBL.")
@click.option("--style", help="paper, talk, a style of matplotlib, or a style file.")
@click.option("--size", type=float, nargs=2, help="Width and height in inches: 3.5 2.6.")
@click.option("--db/--no-db", "decibels", default=None, help="Mean squared errors in dB, or not.")
@click.option("--xlim", type=float, nargs=2, help="Limits of the horizontal axis: 5 30.")
@click.option("--ylim", type=float, nargs=2, help="Limits of the measure, as drawn: -50 0.")
@click.option("--xlabel", help="Instead of the parameter's name and unit.")
@click.option("--ylabel", help="Instead of the measure's name and unit.")
@click.option("--title", help='Instead of study and setting; "" for none.')
@click.option("--legend", help='right, top, bottom, none, or in the panel: "lower left", best.')
@click.option("--latex", is_flag=True, default=None, help="Have LaTeX set the text.")
@POINT
def plot(
    store: Path, output: Path, kind: str | None, point: tuple[str, ...], **options: Any
) -> None:
    """Draw STORE, finished or not.

    POINT is one option per swept parameter that is to have one value, by its name in the cube,
    given again for several values, as --at.NAME where NAME is an option of this command; a kind
    may have further options of its own. With a style or a title, what else would stand around the
    figure is printed as its caption.

    Examples:
      kronsbl plot results/quickstart -o nmse.png
      kronsbl plot results/quickstart -o nmse.pdf --statistic mean
      kronsbl plot results/quickstart -o cdf.svg --kind cdf --snr_db 20
      kronsbl plot results/quickstart -o fig3.pdf --style paper --db --solvers svd,am
    """
    from pipeline import plots
    from pipeline.analysis import axes_of
    from pipeline.campaign.files import make_importable
    from pipeline.results.publishing import open_results

    if kind is not None and ":" in kind:  # a module in the current folder
        make_importable(Path.cwd(), {"scenario": {"use": kind}})
    results = open_results(store)
    where = point_of(point)
    options["labels"] = dict(options["labels"])
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    own = plots.options_of(kind) if kind is not None else []
    for name in [name for name in where if name in own and name not in axes_of(results)]:
        given[name] = where.pop(name)
    check_point(where, axes_of(results))
    figure = plots.draw(results, kind, point=where, **given)
    plots.save(figure, output)
    click.echo(output)
    if given.keys() & {"style", "title"}:
        click.echo(figure.get_label())


@main.command()
@file_argument("store")
@click.argument("after", type=click.Path(path_type=Path), required=False)
@output_option("HTML file.", ".html", ".htm")
def report(store: Path, after: Path | None, output: Path) -> None:
    """Write one self-contained page about STORE, finished or not.

    It opens without a network: what was run, tables of statistics, interactive figures, failures.
    With two stores, every solver of the second with itself in the first, as `compare` does.

    Examples:
      kronsbl report results/quickstart -o quickstart.html
      kronsbl report results/before results/after -o change.html
    """
    from pipeline.report import write

    write(store, output, after)
    click.echo(output)
