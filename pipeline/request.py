"""What is asked for: checked, compared with what was asked before, and recorded."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import provenance
from pipeline.campaign import Campaign
from pipeline.errors import InputError
from pipeline.store import Store


def default_store(campaign: Campaign) -> Path:
    """The folder ``results/<name>``."""
    return Path("results", campaign.campaign.name)


def rehearse(campaign: Campaign) -> None:
    """Draw one realization and make sure that every solver has what it needs.

    Raises
    ------
    InputError
        A solver lacks something, or the scenario cannot draw.
    """
    scenario = campaign.scenario_at(next(campaign.points()))
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
    rehearse(campaign)
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
