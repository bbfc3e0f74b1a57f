"""Commands that compute, and that look after stores."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.base import (
    CLUSTER,
    CODE,
    DEVICE,
    FAILED,
    REALIZATIONS,
    STORE_OPTION,
    WORKERS,
    file_argument,
    main,
    set_up_logging,
    show,
    tell,
    terminal,
)
from pipeline.cli.looking import show_summary
from pipeline.cli.terminal import (
    grid_lines,
    plan_lines,
    plan_table,
    size,
    status_lines,
    status_table,
)
from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.driver.run import Run


def _shard(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:  # noqa: ARG001
    """``I/N`` as two numbers."""
    if value is None:
        return None
    part, slash, parts = value.partition("/")
    if not slash or not (part.isdecimal() and parts.isdecimal()) or int(part) >= int(parts):
        raise InputError(f"--shard {value}: expected I/N with I from 0 to N - 1, as in 0/16")
    return int(part), int(parts)


@main.command()
@file_argument("campaign")
@STORE_OPTION
@WORKERS
@CLUSTER
@DEVICE
@REALIZATIONS
@click.option("--retry", type=click.Choice(["failed"]), help="Compute failed blocks again.")
@click.option(
    "--shard",
    metavar="I/N",
    callback=_shard,
    help="Compute only part I of N, counted from 0, and publish nothing.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress, no table, no dashboard.")
@click.option(
    "--dashboard/--no-dashboard", default=True, help="Dask's; all users of this machine see it."
)
def run(
    campaign: Path, realizations: int | None, retry: str, quiet: bool, dashboard: bool, **where: Any
) -> None:
    """Compute what the store lacks of CAMPAIGN, and publish the cube.

    Run the same command again after an interruption: it goes on where it was.

    Examples:
      kronsbl run workflows/quickstart.toml
      kronsbl run workflows/quickstart.toml --realizations 300
      kronsbl run study.toml --store /scratch/study --workers 8
      kronsbl run study.toml --retry failed
      kronsbl run study.toml --cluster slurm
      kronsbl run study.toml --device cuda
      kronsbl run study.toml --shard 3/16
    """
    from pipeline.campaign import Campaign
    from pipeline.cli.progress import shown
    from pipeline.driver.run import run as run_campaign

    console = terminal()
    set_up_logging(quiet)
    study = Campaign.load(campaign, realizations=realizations)
    with shown(console, quiet=quiet) as progress:
        result = run_campaign(
            study,
            progress=progress,
            folder=campaign.resolve().parent,
            retry_failed=retry == "failed",
            dashboard=dashboard and not quiet,
            **where,
        )
    if result.cube is None:
        if not quiet:
            show(console, f"Once all shards are done: kronsbl publish {result.store}")
    elif not quiet:
        show_summary(console, result.store)
        show(
            console,
            f"\nCube: {result.cube}\n"
            f'Open: python -c "import pipeline; '
            f'print(pipeline.open_results({str(result.store)!r}))"\n'
            f"Plot: kronsbl plot {shlex.quote(str(result.store))} -o {study.campaign.name}.png",
        )
    for line in _troubles(result):
        tell(line)
    sys.exit(0 if result.ok else FAILED)


def _troubles(result: Run) -> Iterator[str]:
    """Say what did not go well in a run, and what to do next."""
    from pipeline.analysis.describing import point_words
    from pipeline.store import Store
    from pipeline.store.failures import common_failures

    for message in result.damaged:
        yield f"damaged: {message}"
    if result.waiting:
        yield (
            f"waiting for others: the next looks at {result.waiting} points need blocks of other "
            "shards; run all shards once more"
        )
    for label, message in result.stopped.items():
        yield (
            f"solver {label!r} was stopped, its first blocks failed in every realization "
            f"({message}); the others went on"
        )
    for failure in common_failures(Store.open(result.store)) if result.counts.failed else ():
        words = ["replay", str(result.store), "--solver", failure.solver]
        words += ["--realization", str(failure.realization), *point_words(failure.point)]
        see = f"; see one: kronsbl {shlex.join(words)}" if failure.realization is not None else ""
        yield f"{failure.solver} failed, most often with {failure.message}{see}"
    if result.cube is not None and result.missing and not (result.damaged or result.stopped):
        yield (
            f"{result.missing} cells of the store's newest request are not done yet: another run "
            "asked for more meanwhile"
        )


@main.command()
@file_argument("campaign")
@STORE_OPTION
@WORKERS
@CLUSTER
@DEVICE
@REALIZATIONS
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def plan(campaign: Path, realizations: int | None, as_json: bool, **where: Any) -> None:
    """Predict what CAMPAIGN takes: blocks, bytes, memory, core-hours and wall time.

    Nothing is written. Each solver is tried for a few seconds. How many realizations a campaign
    with [stop] needs is reckoned from those that are there: a pilot is a run with --realizations.

    Examples:
      kronsbl plan workflows/paper/snr.toml --workers 64
      kronsbl plan study.toml --cluster slurm
    """
    from pipeline.campaign import Campaign
    from pipeline.driver.planning import plan as plan_campaign

    study = Campaign.load(campaign, realizations=realizations)
    if not as_json:
        show(terminal(), *grid_lines(study))
    found = plan_campaign(study, **where)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=2))
        return
    show(terminal(), plan_table(found), *plan_lines(found))


@main.command("time")
@file_argument("campaign")
@STORE_OPTION
@click.option(
    "--realizations",
    default=20,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many, chosen at random.",
)
@click.option(
    "--repeats",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help="How often each; the median counts.",
)
def time_(campaign: Path, store: Path | None, realizations: int, repeats: int) -> None:
    """Measure the latency of each solver: one realization at a time, here, on one core.

    The runtimes of a run are shares of batches on a busy machine, good for comparing solvers
    with each other. Latencies belong to the host they were measured on; leave it alone
    meanwhile.

    Example:
      kronsbl time workflows/quickstart.toml --realizations 10
    """
    from pipeline.analysis import latencies
    from pipeline.campaign import Campaign
    from pipeline.cli.tables import latency_table
    from pipeline.driver.preparation import prepare
    from pipeline.results.publishing import open_results
    from pipeline.results.publishing import publish as publish_cube
    from pipeline.solving.latency import measure

    prepared = prepare(Campaign.load(campaign), store, campaign.resolve().parent)
    with click.progressbar(length=1000, label="timing", file=sys.stderr) as bar:
        measure(
            prepared.configurations,
            prepared.store,
            of=prepared.campaign.realizations,
            realizations=realizations,
            repeats=repeats,
            progress=lambda done, total: bar.update(1000 * done // total - bar.pos),
        )
    publish_cube(prepared.store)
    timed = latencies(open_results(prepared.store))
    if timed is not None:
        show(terminal(), latency_table(timed))


@main.command()
@file_argument("store")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(store: Path, as_json: bool) -> None:
    """Count done, failed and pending cells of STORE; tell of runs that work on it."""
    from pipeline.store import Store
    from pipeline.store.state import state_of

    state = state_of(Store.open(store))
    if as_json:
        click.echo(json.dumps(state.tables(), indent=2))
        return
    show(terminal(), status_table(state), *status_lines(state))


@main.command()
@file_argument("store")
@click.option(
    "--blocks",
    default=10,
    show_default=True,
    type=click.IntRange(min=0),
    help="How many to solve again.",
)
@click.option("--seed", type=int, help="Of the choice of blocks.")
@CODE
@click.option("--restore", is_flag=True, help="Put back what was moved aside and reads well now.")
@click.option("--move-all", is_flag=True, help="Move aside also where it is more than 1 %.")
def verify(store: Path, **options: Any) -> None:
    """Read all blocks of STORE, and solve a random sample of them again.

    Damaged blocks are moved aside; the next run computes them. Where they are more than 1 % of
    all, that takes --move-all. Of an archive (.zip), every file is held against its digest first.
    Exit status 1 where anything is damaged or differs.

    Examples:
      kronsbl verify results/quickstart --blocks 20
      kronsbl verify quickstart.zip
    """
    from pipeline.solving.verification import verify as verify_store

    verdict = verify_store(store, **options)
    for what, messages in (
        ("put back", verdict.restored),
        ("damaged", verdict.damaged),
        ("differs", verdict.differing),
        ("not solved again", verdict.skipped),
    ):
        for message in messages:
            click.echo(f"{what}: {message}")
    if verdict.members:
        click.echo(f"{verdict.members} files of the archive are as they were written")
    click.echo(
        f"{verdict.read} blocks read, {len(verdict.damaged)} damaged; {verdict.solved} solved "
        f"again, {verdict.exact} held to the last bit, {len(verdict.differing)} numbers differ"
    )
    sys.exit(0 if verdict.ok else FAILED)


@main.command()
@file_argument("store")
@click.option("--force", is_flag=True, help="Also where nothing has changed.")
def publish(store: Path, force: bool) -> None:
    """Build the cube of STORE from the blocks that are there."""
    from pipeline.results.publishing import publish as publish_cube
    from pipeline.store import Store

    published = publish_cube(Store.open(store), force=force)
    click.echo(published.path)
    for message in published.damaged:
        tell(f"damaged: {message}")
    sys.exit(FAILED if published.damaged else 0)


@main.command()
@file_argument("store")
@CODE
def rescore(store: Path, code: Path | None) -> None:
    """Compute the measures of STORE anew from the estimates that it keeps, without solving.

    For a scenario whose score has changed. Estimates are kept by campaigns with
    `estimates = true` in [output]; blocks without them are solved again by the next run.

    Example:
      kronsbl rescore results/study
    """
    from pipeline.driver.rescore import rescore as rescore_store
    from pipeline.results.publishing import publish as publish_cube

    set_up_logging(quiet=False)
    with click.progressbar(length=1000, label="scoring", file=sys.stderr) as bar:
        done = rescore_store(store, lambda n, of: bar.update(1000 * n // of - bar.pos), code=code)
    click.echo(f"{done.scored} blocks scored anew; {done.unsolved} must be solved again by a run")
    if done.scored:
        click.echo(publish_cube(store).path)
    sys.exit(FAILED if done.unsolved else 0)


@main.command()
@file_argument("store")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def gc(store: Path, dry_run: bool) -> None:
    """Remove old cubes of STORE, and what killed processes have left behind.

    The two newest cubes stay, and all that is younger than a day.
    """
    from pipeline.results.garbage import collect_garbage
    from pipeline.store import Store

    removed = collect_garbage(Store.open(store), dry_run=dry_run)
    for path, count in removed.items():
        click.echo(f"{path}  {size(count)}")
    click.echo(f"{size(sum(removed.values()))} {'would be' if dry_run else 'were'} freed")
