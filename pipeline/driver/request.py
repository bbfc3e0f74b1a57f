"""What is asked for: checked, compared with what was asked before, and recorded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.campaign.blocks import SweepValue, canonical
from pipeline.campaign.definition import Campaign
from pipeline.errors import InputError
from pipeline.solving import provenance
from pipeline.store import Store


def default_store(campaign: Campaign) -> Path:
    """The folder ``results/<name>``."""
    return Path("results", campaign.campaign.name)


def dry_run(campaign: Campaign) -> None:
    """Draw one realization and make sure that every solver has what it needs.

    Raises
    ------
    InputError
        A solver lacks something, the scenario cannot draw, or one of them has parameters that
        cannot be written down.
    """
    for configuration in campaign.configurations:
        try:
            configuration.key(0)
        except TypeError as error:
            raise InputError(
                f"{configuration.describe()}: parameters must be numbers, strings, booleans, "
                f"or lists and tables of them: {error}"
            ) from None
    scenario = campaign.configurations[0].scenario
    try:
        with np.errstate(all="ignore"):  # a problem that is not finite says so itself
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
    dry_run(campaign)
    if not isinstance(store, Store):
        store = Store.create(store or default_store(campaign), campaign)
    last = store.last_request()
    if last is not None:
        campaign = extended(last, campaign)
    try:
        store.add_request(campaign, provenance.of_request((folder or Path.cwd()).resolve()))
    except OSError as error:
        raise InputError(f"{store.path}: cannot be written: {error.strerror}") from None
    return store, campaign


def extended(last: Campaign, campaign: Campaign) -> Campaign:
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
    realizations = max(last.campaign.realizations, campaign.realizations)
    header = campaign.campaign.model_copy(update={"realizations": realizations})
    return campaign.model_copy(update={"campaign": header})


def _changed_constants(last: Campaign, campaign: Campaign) -> Iterator[tuple[str, Any, Any]]:
    """Names and values of what differs without being swept, lists element by element."""
    swept = {axis.key for axis in (*last.axes, *campaign.axes)}
    before, now = (
        dataclasses.asdict(c.scenario_at(next(c.points())))  # type: ignore[call-overload]
        for c in (last, campaign)
    )
    for name in sorted(before.keys() - swept):
        old, new = before[name], now[name]
        if isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new):
            values = [(f"{name}.{i}", a, b) for i, (a, b) in enumerate(zip(old, new, strict=True))]
        else:
            values = [(name, old, new)]
        for key, a, b in values:
            if key not in swept and canonical(a) != canonical(b):
                yield key, a, b
