"""The command that tunes a solver's options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline.cli.base import (
    CLUSTER,
    STORE_OPTION,
    WORKERS,
    F,
    file_argument,
    main,
    set_up_logging,
    tell,
)


def _count(name: str, default: int, words: str) -> Callable[[F], F]:
    count = click.IntRange(min=1)
    return click.option(name, default=default, show_default=True, type=count, help=words)


@main.command()
@file_argument("campaign")
@click.option("--solver", "label", required=True, metavar="LABEL", help="Whose options.")
@click.option("--over", multiple=True, required=True, metavar="RANGE", help="As in the examples.")
@_count("--trials", 30, "Options to try, besides the campaign's own and neighbours of the best.")
@_count("--realizations", 100, "Of each trial at each point; never shrinks a store.")
@click.option("--measure", help="Default nmse, or the first measure of the scenario.")
@click.option(
    "--statistic", type=click.Choice(["median", "mean"]), default="median", show_default=True
)
@STORE_OPTION
@WORKERS
@CLUSTER
@click.option("--quiet", "-q", is_flag=True, help="Nothing but the table, no dashboard.")
def tune(campaign: Path, quiet: bool, **options: Any) -> None:
    """Choose options of a solver of CAMPAIGN on realizations that no campaign sees.

    What counts is the statistic of the measure at each point, in its mean over all points.

    Prints the solver's table with the best options and the record of how they were found, ready to
    be put into the campaign. The default store is results/NAME-tuning-LABEL. Run the same command
    again after an interruption: it goes on where it was.

    Examples:
      kronsbl tune study.toml --solver svd --over "prune=log(1e-4, 1e-1)"
      kronsbl tune study.toml --solver lasso --over "scale=linear(0.1, 1)" --trials 50
      kronsbl tune study.toml --solver komp --over "sparsity=integer(1, 9)"
      kronsbl tune study.toml --solver omp --over "max_atoms=[10, 30, 100]" --cluster slurm
    """
    from pipeline.driver.tuning import tune as tune_solver

    set_up_logging(quiet)
    found = tune_solver(campaign, dashboard=not quiet, **options)
    click.echo(str(found), nl=False)
    if found.own_are_best:
        tell("the campaign's own options are the best that were tried; no need to change it")
    for option in found.at_end:
        tell(f"the best {option} lies at an end of its range; a wider one may hold a better")
