"""The command line: ``kronsbl``."""

from __future__ import annotations

import dataclasses
import json
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.table import Table

from pipeline import tables
from pipeline.errors import ClusterLost, InputError

FAILED, BAD_INPUT, INTERRUPTED, TERMINATED = 1, 2, 130, 143


F = TypeVar("F", bound=Callable[..., Any])


class Terminated(KeyboardInterrupt):
    """Somebody has sent SIGTERM, a batch system at its time limit say."""


def _terminate(*_: Any) -> None:
    raise Terminated


class Commands(click.Group):
    """Ends with one line and an exit status that says what happened."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(ctx)
        except InputError as error:
            _end(str(error), BAD_INPUT)
        except (OSError, ClusterLost) as error:
            _end(f"{error}; what was done is kept, the same command goes on", FAILED)
        except Terminated:
            _end("terminated; the same command goes on where this one was", TERMINATED)
        except KeyboardInterrupt:
            _end("interrupted; the same command goes on where this one was", INTERRUPTED)


def _end(message: str, status: int) -> NoReturn:
    click.echo(f"kronsbl: {' '.join(message.split())}", err=True)
    sys.exit(status)


def _console() -> Console:
    """Standard output; not wrapped where it is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=200, highlight=False)


def _set_up_logging(quiet: bool) -> None:
    """Our own messages as lines; none of Dask's, whose tracebacks tell users nothing."""
    import dask

    # Read when distributed is imported, which is later.
    chatty = ("asyncio", "distributed", "distributed.client", "tornado", "tornado.application")
    dask.config.set({"logging": dict.fromkeys(chatty, "critical")})
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("kronsbl").setLevel(logging.WARNING if quiet else logging.INFO)


def _shard(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:  # noqa: ARG001
    """``I/N`` as two numbers."""
    if value is None:
        return None
    part, slash, parts = value.partition("/")
    if not slash or not (part.isdecimal() and parts.isdecimal()) or int(part) >= int(parts):
        raise InputError(f"--shard {value}: expected I/N with I from 0 to N - 1, as in 0/16")
    return int(part), int(parts)


def _file(name: str) -> Callable[[F], F]:
    return click.argument(name, type=click.Path(path_type=Path))


def _path(*names: str, **options: Any) -> Callable[[F], F]:
    return click.option(*names, type=click.Path(path_type=Path), **options)


STORE_OPTION = _path("--store", help="Folder of the results; default results/NAME.")
WORKERS = click.option(
    "--workers", type=click.IntRange(min=1), help="Worker processes; default one per core."
)
CLUSTER = click.option(
    "--cluster",
    default="local",
    show_default=True,
    help="local, slurm, an address (tls://…, tcp://…) or a scheduler file.",
)
REALIZATIONS = click.option(
    "--realizations",
    type=click.IntRange(min=1),
    help="Instead of the file's; never shrinks a store.",
)


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
@_file("campaign")
@STORE_OPTION
@WORKERS
@CLUSTER
@REALIZATIONS
@click.option("--retry", type=click.Choice(["failed"]), help="Compute failed blocks again.")
@click.option(
    "--shard",
    metavar="I/N",
    callback=_shard,
    help="Compute only part I of N, counted from 0, and publish nothing.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress, no table.")
def run(
    campaign: Path,
    store: Path | None,
    workers: int | None,
    cluster: str,
    realizations: int | None,
    retry: str | None,
    shard: tuple[int, int] | None,
    quiet: bool,
) -> None:
    r"""Compute what the store lacks of CAMPAIGN, and publish the cube.

    Run the same command again after an interruption: it goes on where it was.

    \b
    Examples:
      kronsbl run workflows/quickstart.toml
      kronsbl run workflows/quickstart.toml --realizations 300
      kronsbl run study.toml --store /scratch/study --workers 8
      kronsbl run study.toml --retry failed
      kronsbl run study.toml --cluster slurm
      kronsbl run study.toml --shard 3/16
    """
    from pipeline.campaign import Campaign
    from pipeline.driver import run as run_campaign
    from pipeline.progress import shown

    console = _console()
    _set_up_logging(quiet)
    study = Campaign.load(campaign, realizations=realizations)
    with shown(console, quiet=quiet) as progress:
        result = run_campaign(
            study,
            store,
            workers=workers,
            cluster=cluster,
            progress=progress,
            folder=campaign.resolve().parent,
            retry_failed=retry == "failed",
            shard=shard,
        )
    if result.cube is None:
        if not quiet:
            console.print(f"Once all shards are done: kronsbl publish {result.store}")
    elif not quiet:
        _show_summary(console, result.store, "nmse")
        console.print(
            f"\nCube: {result.cube}\n"
            f'Open: python -c "import pipeline; '
            f'print(pipeline.open_results({str(result.store)!r}))"\n'
            f"Plot: kronsbl plot {result.store} -o {study.campaign.name}.png",
            highlight=False,
            soft_wrap=True,
        )
    for message in result.damaged:
        click.echo(f"kronsbl: damaged block moved aside, run again: {message}", err=True)
    for label, message in result.stopped.items():
        click.echo(
            f"kronsbl: solver {label!r} was stopped, its first blocks failed in every "
            f"realization ({message}); the others went on",
            err=True,
        )
    sys.exit(0 if result.ok else FAILED)


@main.command()
@_file("campaign")
@STORE_OPTION
@WORKERS
@CLUSTER
@REALIZATIONS
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def plan(
    campaign: Path,
    store: Path | None,
    workers: int | None,
    cluster: str,
    realizations: int | None,
    as_json: bool,
) -> None:
    r"""Predict what CAMPAIGN takes: blocks, bytes, memory, core-hours and wall time.

    Nothing is written. Solvers are tried for a few seconds.

    \b
    Example:
      kronsbl plan workflows/paper/snr.toml --workers 64
      kronsbl plan study.toml --cluster slurm
    """
    from pipeline.campaign import Campaign
    from pipeline.planning import plan as plan_campaign

    study = Campaign.load(campaign, realizations=realizations)
    found = plan_campaign(study, store, workers=workers, cluster=cluster)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=2))
        return
    console = _console()
    console.print(tables.plan(found))
    console.print("\n".join(tables.plan_lines(found)), highlight=False, soft_wrap=True)


@main.command()
@_file("store")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(store: Path, as_json: bool) -> None:
    """Count done, failed and pending cells of STORE; tell of runs that work on it."""
    from pipeline.state import state_of
    from pipeline.store import Store

    state = state_of(Store.open(store))
    if as_json:
        click.echo(json.dumps(state.tables(), indent=2))
        return
    console = _console()
    console.print(tables.status(state))
    console.print("\n".join(tables.status_lines(state)), highlight=False, soft_wrap=True)


@main.command()
@_file("store")
@click.option("--measure", default="nmse", show_default=True)
def summary(store: Path, measure: str) -> None:
    r"""Print the figures of STORE: means with confidence, failures, runtime, iterations.

    \b
    Examples:
      kronsbl summary results/quickstart
      kronsbl summary results/quickstart --measure srr
    """
    _show_summary(_console(), store, measure)


def _show_summary(console: Console, store: Path, measure: str) -> None:
    from pipeline.results import open_results

    results = open_results(store)
    console.print(tables.summary(results, measure))
    if not results.attrs.get("complete"):
        console.print("The cube is unfinished: some cells that were asked for are not there yet.")


@main.command()
@_file("store")
@_path("-o", "--output", required=True, help="PNG, PDF or SVG file.")
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
@_file("store")
@click.option(
    "--blocks",
    default=10,
    show_default=True,
    type=click.IntRange(min=0),
    help="How many to solve again.",
)
@click.option("--seed", type=int, help="Of the choice of blocks.")
def verify(store: Path, blocks: int, seed: int | None) -> None:
    r"""Read all blocks of STORE, and solve a random sample of them again.

    Damaged blocks are moved aside; the next run computes them. Exit status 1 where anything is
    damaged or differs.

    \b
    Example:
      kronsbl verify results/quickstart --blocks 20
    """
    from pipeline.store import Store
    from pipeline.verification import verify as verify_store

    verdict = verify_store(Store.open(store), blocks, seed)
    for what, messages in (
        ("damaged, moved aside", verdict.damaged),
        ("differs", verdict.differing),
        ("not solved again", verdict.skipped),
    ):
        for message in messages:
            click.echo(f"{what}: {message}")
    click.echo(
        f"{verdict.read} blocks read, {len(verdict.damaged)} damaged; {verdict.solved} solved "
        f"again, {verdict.exact} held to the last bit, {len(verdict.differing)} numbers differ"
    )
    sys.exit(0 if verdict.ok else FAILED)


@main.command(context_settings={"ignore_unknown_options": True})
@_file("store")
@click.option("--solver", required=True, help="Label of the solver.")
@click.option("--realization", required=True, type=int)
@_path("-o", "--output", help="Draw the trace into this file as well.")
@click.argument("point", nargs=-1, type=click.UNPROCESSED)
def replay(
    store: Path, solver: str, realization: int, output: Path | None, point: tuple[str, ...]
) -> None:
    r"""Solve one cell of STORE again, and show what happened.

    POINT is one option per swept parameter, by its name in the cube.

    \b
    Examples:
      kronsbl replay results/quickstart --solver am --realization 17 --snr_db 20
      kronsbl replay results/quickstart --solver am --realization 17 --snr_db 20 -o trace.png
    """
    from pipeline import plots
    from pipeline.replaying import replay as replay_cell
    from pipeline.replaying import text

    result = replay_cell(store, solver, realization, **_point(point))
    click.echo(text(result))
    if output is not None:
        plots.save(plots.replayed(result), output)
        click.echo(output)


def _point(words: tuple[str, ...]) -> dict[str, Any]:
    """``--name value`` and ``--name=value`` as a dictionary, values as in TOML."""
    import tomllib

    pairs = [
        part for word in words for part in (word.split("=", 1) if word[:2] == "--" else [word])
    ]
    if len(pairs) % 2 or any(not name.startswith("--") for name in pairs[::2]):
        raise InputError(f"{' '.join(words)}: expected one --PARAMETER VALUE per swept parameter")
    point = {}
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        try:
            point[name[2:]] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            point[name[2:]] = value
    return point


@main.command()
def solvers() -> None:
    """List solvers with their options, defaults and sources."""
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
@_file("store")
@click.option("--force", is_flag=True, help="Also where nothing has changed.")
def publish(store: Path, force: bool) -> None:
    """Build the cube of STORE from the blocks that are there."""
    from pipeline.results import publish as publish_cube
    from pipeline.store import Store

    click.echo(publish_cube(Store.open(store), force=force).path)


@main.command()
@_file("store")
def gc(store: Path) -> None:
    """Drop old cubes of STORE and left-over temporary files."""
    from pipeline.results import collect_garbage
    from pipeline.store import Store

    for path in collect_garbage(Store.open(store)):
        click.echo(path)
