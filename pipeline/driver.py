"""A run from end to end: what is asked for, minus what is there, computed and published."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pipeline import provenance
from pipeline.blocks import Series, series_of
from pipeline.campaign import Campaign
from pipeline.cluster import connect
from pipeline.errors import InputError
from pipeline.store import Store

Progress = Callable[["Counts"], None]


@dataclasses.dataclass
class Counts:
    """How far a run has come, in cells.

    Attributes
    ----------
    total : int
        Cells asked for.
    before : int
        Of these, there before the run.
    done : int
        Computed by the run.
    failed : int
        Of these, without a result.
    """

    total: int = 0
    before: int = 0
    done: int = 0
    failed: int = 0


@dataclasses.dataclass(frozen=True)
class Run:
    """What came of a run.

    Attributes
    ----------
    store, cube : Path
    counts : Counts
    missing : int
        Cells still not done.
    damaged : list of str
        What was wrong with block files, which were moved aside.
    """

    store: Path
    cube: Path
    counts: Counts
    missing: int
    damaged: list[str]

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for is there and nothing failed."""
        return not (self.missing or self.damaged or self.counts.failed)


def default_store(campaign: Campaign) -> Path:
    """The folder ``results/<name>``."""
    return Path("results", campaign.campaign.name)


def missing_blocks(store: Store, campaign: Campaign) -> list[tuple[Series, list[int]]]:
    """What a campaign still needs: block numbers by series."""
    done = store.keys()
    realizations = campaign.campaign.realizations
    found = []
    for series in series_of(campaign):
        indices = range(series.block_count(realizations))
        found.append((series, [i for i in indices if series.key(i) not in done]))
    return found


def rehearse(campaign: Campaign) -> None:
    """Draw one realization and make sure that every solver has what it needs.

    Raises
    ------
    InputError
        A solver lacks something, or the scenario cannot draw.
    """
    scenario = campaign.scenario_at(next(campaign.points()))
    try:
        problem, _ = scenario.draw([0], campaign.campaign.seed)
    except Exception as error:
        raise InputError(
            f"scenario {campaign.scenario_use}: {type(error).__name__} while drawing "
            f"a realization: {error}"
        ) from error
    for entry in campaign.entries:
        try:
            if hasattr(entry.solver, "check"):
                entry.solver.check(problem)
        except ValueError as error:
            raise InputError(f"solvers.{entry.label}: {error}") from None


def prepare(
    campaign: Campaign, store: str | Path | Store | None = None, folder: Path | None = None
) -> tuple[Store, Campaign]:
    """Check everything that can be checked, make the store, and record what is asked for.

    Parameters
    ----------
    campaign
    store
        Where; by default `default_store`.
    folder
        Of the campaign file, for its provenance.

    Returns
    -------
    Store
    Campaign
        With no fewer realizations than were asked for before.

    Raises
    ------
    InputError
    """
    rehearse(campaign)
    if not isinstance(store, Store):
        store = Store.create(store or default_store(campaign), campaign)
    last = store.last_request()
    if last is not None:
        campaign = extended(last, campaign)
    store.add_request(campaign, provenance.of_request((folder or Path.cwd()).resolve()))
    return store, campaign


def extended(last: Campaign, campaign: Campaign) -> Campaign:
    """A campaign as the next request after `last`: it never asks for fewer realizations.

    Raises
    ------
    InputError
        A constant of the scenario differs that neither of them sweeps.
    """
    old, new = _leaves(last), _leaves(campaign)
    for name in sorted({*old, *new}):
        if name in old and name in new and old[name] != new[name]:
            raise InputError(
                f"scenario.{name}: {old[name]!r} in the store, now {new[name]!r}; "
                f'sweep it ([sweep] "{name}" = [{old[name]!r}, {new[name]!r}]) '
                "or take another --store"
            )
    realizations = max(last.campaign.realizations, campaign.campaign.realizations)
    header = campaign.campaign.model_copy(update={"realizations": realizations})
    return campaign.model_copy(update={"campaign": header})


def _leaves(campaign: Campaign) -> dict[str, Any]:
    """The scenario's constants, lists element by element, without what is swept."""
    parameters = dataclasses.asdict(campaign.scenario_at(next(campaign.points())))  # type: ignore[call-overload]
    flat: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, tuple | list):
            flat |= {f"{name}.{i}": v for i, v in enumerate(value)}
        else:
            flat[name] = value
    swept = {axis.key for axis in campaign.axes}
    return {k: v for k, v in flat.items() if k not in swept and k.partition(".")[0] not in swept}


def run(
    campaign: Campaign | str | Path,
    store: str | Path | Store | None = None,
    client: Any = None,
    *,
    workers: int | None = None,
    cluster: str = "local",
    progress: Progress | None = None,
    folder: Path | None = None,
) -> Run:
    """Compute what a store lacks of a campaign, and publish the cube.

    Parameters
    ----------
    campaign
        A `Campaign`, or the path of its file.
    store
        Where results go; by default the folder ``results/<name>``.
    client : distributed.Client, optional
        To run on; by default one is made for `cluster` and closed afterwards.
    workers
        Worker processes, where we start them; by default one per core.
    cluster
        See `pipeline.cluster.connect`.
    progress
        Called with the `Counts` whenever blocks are done.
    folder
        Of the campaign file, for its provenance.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        The campaign or the store cannot be used; nothing has been computed.
    """
    if not isinstance(campaign, Campaign):
        folder = folder or Path(campaign).resolve().parent
        campaign = Campaign.load(campaign)
    store, campaign = prepare(campaign, store, folder)
    missing = missing_blocks(store, campaign)
    counts = _counts(campaign, missing)
    if progress is not None:
        progress(counts)
    if counts.total > counts.before:
        with nullcontext(client) if client is not None else connect(cluster, workers) as on:
            _compute(on, store, missing, counts, progress)
    from pipeline.results import publish

    cube = publish(store)
    return Run(store.path, cube.path, counts, cube.missing, cube.damaged)


def _counts(campaign: Campaign, missing: Iterable[tuple[Series, list[int]]]) -> Counts:
    counts = Counts()
    for series, indices in missing:
        blocks = series.block_count(campaign.campaign.realizations)
        counts.total += blocks * series.batch
        counts.before += (blocks - len(indices)) * series.batch
    return counts


def _compute(
    client: Any,
    store: Store,
    missing: list[tuple[Series, list[int]]],
    counts: Counts,
    progress: Progress | None,
) -> None:
    from pipeline.graph import Queue, fan_out
    from pipeline.work import Report

    def count(report: Report) -> None:
        counts.done += report.cells
        counts.failed += report.failed
        if progress is not None:
            progress(counts)

    queue = Queue(store.path.resolve(), missing, sum(client.nthreads().values()))
    fan_out(client, queue, count)
