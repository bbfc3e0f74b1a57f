"""Commands that say what there is to choose from, and that begin a campaign."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from pipeline.cli.base import main, path_option, show, terminal
from pipeline.cli.terminal import add_row
from pipeline.errors import InputError


@main.command("list")
@click.argument("what", type=click.Choice(["solvers", "scenarios", "figures"]))
def list_(what: str) -> None:
    """List solvers, scenarios or kinds of figures with what they take, installed ones as well.

    Examples:
      kronsbl list solvers
      kronsbl list scenarios
    """
    from pipeline.campaign.reference import keys_of
    from pipeline.plots import kinds
    from pipeline.scenarios import REGISTRY as SCENARIOS
    from solvers.registry import REGISTRY as SOLVERS

    registry = {"solvers": SOLVERS, "scenarios": SCENARIOS, "figures": kinds.REGISTRY}[what]
    console, found = terminal(), {}
    families: dict[str, list[str]] = {}
    for name in registry.names():
        try:
            found[name] = registry.find(name)
        except ValueError as error:  # of another distribution, and out of order
            show(console, f"{name}  {error}")
    for name, kind in found.items():
        families.setdefault(_family(kind), []).append(name)
    for family, names in families.items():
        console.print(Text(f"\n{family}", "bold underline"))
        for name in names:
            console.print(
                Text.assemble((name, "bold"), f"  {_about(found[name])}"), highlight=False
            )
            table = Table("option", "default", "values", "unit", "what", box=None, padding=(0, 2))
            for key in keys_of(found[name]):
                add_row(table, key.name, key.default_text, key.values, key.unit, key.meaning)
            if table.rows:
                console.print(table)


@main.command()
@click.pass_context
def solvers(context: click.Context) -> None:
    """List solvers with their kinds, sources, needs, options and defaults."""
    context.invoke(list_, what="solvers")


def _family(kind: Any) -> str:
    """What stands together: a solver's family, or else the first words on a class's module."""
    if getattr(kind, "family", "other") != "other":
        return str(kind.family)
    line = (sys.modules[kind.__module__].__doc__ or kind.__module__).splitlines()[0]
    return line.partition(":")[0].rstrip(".")


def _about(kind: Any) -> str:
    """A line on a solver, a scenario or a kind of figure."""
    if hasattr(kind, "shows"):
        return kind.shows
    if not hasattr(kind, "solve"):
        return (kind.__doc__ or "").splitlines()[0]
    needs: tuple[str, ...] = ()
    with contextlib.suppress(Exception):  # somebody else's, who may ask for options
        needs = kind().requires
    said = f"{getattr(kind, 'kind', 'estimator')}: {getattr(kind, 'source', '')}"
    return f"{said}; needs {', '.join(needs)}" if needs else said


@main.command()
@click.argument("name", default="study")
@click.option("--scenario", default="synthetic", show_default=True, help="See kronsbl list.")
@click.option("--solvers", default="svd_krosbl,oracle_ls", show_default=True, help="As in a,b.")
@path_option("-o", "--output", help="File to write; default NAME.toml.")
@click.option("--schema", is_flag=True, help="Print a JSON schema for editors instead.")
def init(name: str, scenario: str, solvers: str, output: Path | None, schema: bool) -> None:
    """Write a campaign file to start from, with everything that may be changed as a comment.

    Editors complete and explain keys by the schema: with a line `#:schema campaign.json` on top of
    a campaign, taplo and VS Code (Even Better TOML) do.

    Examples:
      kronsbl init my-study --scenario irs_mimo --solvers am_krosbl,svd_krosbl
      kronsbl init --schema > campaign.json
    """
    from pipeline.campaign import reference

    if schema:
        click.echo(json.dumps(reference.schema(), indent=2))
        return
    name = name.removesuffix(".toml")
    path = output or Path(f"{name}.toml")
    text = reference.starter(name, scenario, [word.strip() for word in solvers.split(",")])
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; nothing was written") from None
    click.echo(path)
