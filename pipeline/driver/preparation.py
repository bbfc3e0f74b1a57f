"""From a campaign to a request: checked, compared with what was asked before, and recorded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.campaign.blocks import SolvableConfiguration, SweepValue, canonical, plain
from pipeline.campaign.definition import Campaign
from pipeline.campaign.request import Request
from pipeline.errors import InputError
from pipeline.scenarios import Scenario
from pipeline.solving import provenance
from pipeline.solving.device import PROCESSOR, parsed
from pipeline.store import Store
from solvers import Problem


class Prepared(NamedTuple):
    """All that a run needs.

    Attributes
    ----------
    store : Store
    campaign : Campaign
        With no fewer realizations than were asked for before.
    configurations : tuple of SolvableConfiguration
        The campaign's, with the reasons of those that do not apply.
    changes : list of str
        Versions that are others than those in the store.
    """

    store: Store
    campaign: Campaign
    configurations: tuple[SolvableConfiguration, ...]
    changes: list[str]


def default_store(campaign: Campaign) -> Path:
    """The folder ``results/<name>``."""
    return Path("results", campaign.campaign.name)


def dry_run(campaign: Campaign) -> tuple[SolvableConfiguration, ...]:
    """Draw a realization at each grid point, and ask every solver whether it applies there.

    Parameters
    ----------
    campaign

    Returns
    -------
    tuple of SolvableConfiguration
        Those of the campaign, with the reasons of those that do not apply.

    Raises
    ------
    InputError
        The scenario cannot draw, options do not fit the problem, parameters cannot be written
        down, or no solver applies anywhere.
    """
    problems = [_first_problem(campaign, scenario) for scenario in campaign.scenarios]
    asked = []
    for number, configuration in enumerate(campaign.configurations):
        try:
            configuration.key(0)
        except TypeError as error:
            raise InputError(
                f"{configuration.describe()}: parameters must be numbers, strings, booleans, "
                f"or lists and tables of them: {error}"
            ) from None
        problem = problems[number % len(problems)]
        asked.append(dataclasses.replace(configuration, declined=_declined(configuration, problem)))
    if all(configuration.declined for configuration in asked):
        reasons = dict.fromkeys(f"{c.label}: {c.declined}" for c in asked)
        raise InputError(f"no solver applies to this scenario ({'; '.join(reasons)})")
    return tuple(asked)


def chosen_device(campaign: Campaign, device: str | None) -> str:
    """Where the solvers of a campaign that can are to solve: as is asked for, or by its file.

    Raises
    ------
    InputError
        No solver can, or it is no name of a device.
    """
    device = device or campaign.cluster.device or PROCESSOR
    parsed(device)
    if device != PROCESSOR and not any(c.any_array for c in campaign.configurations):
        uses = ", ".join(dict.fromkeys(entry.use for entry in campaign.entries))
        raise InputError(f"device {device}: no solver of this campaign runs there ({uses})")
    return device


def _first_problem(campaign: Campaign, scenario: Scenario[Any]) -> Problem:
    try:
        with np.errstate(all="ignore"):  # a problem that is not finite says so itself
            return scenario.draw_with_truth([0], campaign.campaign.seed)[0]
    except Exception as error:
        raise InputError(
            f"scenario {campaign.scenario_use}: {type(error).__name__} while drawing "
            f"a realization: {error}"
        ) from error


def _declined(configuration: SolvableConfiguration, problem: Problem) -> str:
    """Why a solver does not apply to a problem, or nothing; third parties' may have no opinion."""
    solver = configuration.solver
    try:
        reason = solver.applies(problem) if hasattr(solver, "applies") else None
        if reason is None and hasattr(solver, "check"):
            solver.check(problem)
    except ValueError as error:
        raise InputError(f"solvers.{configuration.label}: {error}") from None
    return " ".join(str(reason).split()) if reason else ""


def prepare(
    campaign: Campaign, store: str | Path | Store | None = None, folder: Path | None = None
) -> Prepared:
    """Check everything that can be checked, make the store, and record what is asked for.

    Parameters
    ----------
    campaign
    store
        Where; by default `default_store`.
    folder
        Of the campaign file, for its provenance.

    Raises
    ------
    InputError
    """
    configurations = dry_run(campaign)
    if not isinstance(store, Store):
        store = Store.create(store or default_store(campaign), campaign)
    last = store.last_request()
    if last is not None:
        campaign = extended(last, campaign)
    facts = provenance.of_request((folder or Path.cwd()).resolve())
    request = Request.of(campaign, facts, configurations)
    changes = [] if last is None else list(last.version_changes(request))
    try:
        store.add_request(request)
    except OSError as error:
        raise InputError(f"{store.path}: cannot be written: {error.strerror}") from None
    return Prepared(store, campaign, configurations, changes)


def extended(last: Request, campaign: Campaign) -> Campaign:
    """A campaign as the next request after `last`: it never asks for fewer realizations.

    Raises
    ------
    InputError
        A constant of the scenario differs that neither of them sweeps.
    """
    for name, old, new in _changed_constants(last, campaign):
        sweep = f'sweep it ([sweep] "{name}" = [{json.dumps(old)}, {json.dumps(new)}]) or '
        sweepable = isinstance(old, SweepValue) and isinstance(new, SweepValue)
        raise InputError(
            f"scenario.{name}: {old!r} in the store, now {new!r}; "
            f"{sweep if sweepable else ''}take another --store"
        )
    realizations = max(last.realizations, campaign.realizations)
    header = campaign.campaign.model_copy(update={"realizations": realizations})
    return campaign.model_copy(update={"campaign": header})


def _changed_constants(last: Request, campaign: Campaign) -> Iterator[tuple[str, Any, Any]]:
    """Names and values of what differs without being swept, lists element by element."""
    swept = {key for axis in (*last.axes, *campaign.axes) for key in axis.settings}
    before = last.record["points"][0]
    now = plain(dataclasses.asdict(campaign.scenarios[0]))  # type: ignore[call-overload]
    # A parameter that the scenario has got since is no constant that anybody has changed.
    for name in sorted((before.keys() & now.keys()) - swept):
        old, new = before[name], now[name]
        if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            values = [(f"{name}.{i}", a, b) for i, (a, b) in enumerate(zip(old, new, strict=True))]
        else:
            values = [(name, old, new)]
        for key, a, b in values:
            if key not in swept and canonical(a) != canonical(b):
                yield key, a, b
