"""A configuration of a store made solvable: its solver and its scenario built from its spec."""

from __future__ import annotations

import dataclasses

from pydantic import ValidationError

from pipeline.campaign.blocks import Configuration, SolvableConfiguration, scoring_of
from pipeline.campaign.files import runs_code
from pipeline.campaign.messages import first_complaint
from pipeline.scenarios import REGISTRY as SCENARIOS
from solvers.registry import REGISTRY as SOLVERS


def solvable(configuration: Configuration, refused: str = "") -> SolvableConfiguration:
    """A configuration with what its spec names, scored as the scenario scores now.

    Parameters
    ----------
    configuration
    refused
        Why no class named ``module:Class`` and no external program is to run; see
        `Store.allow_code`.

    Raises
    ------
    ValueError
        Its solver or scenario is not to be had or may not run here, or not in that version.
    """
    solver, scenario = configuration.spec["solver"], configuration.spec["scenario"]
    for use in (solver["use"], scenario["use"]):
        if refused and runs_code(use):
            raise ValueError(f"{use}: {refused}")
    solves = SOLVERS.create(solver["use"], solver["options"])
    try:
        draws = SCENARIOS.create(scenario["use"], scenario["parameters"])
    except ValidationError as error:  # a file is gone, or another one
        raise ValueError(first_complaint(error)) from None
    now = (getattr(solves, "version", 1), draws.draw_version)
    for spec, version in zip((solver, scenario), now, strict=True):
        if version != spec["version"]:
            raise ValueError(f"{spec['use']} is now version {version}, not {spec['version']}")
    measures = {name: measure._asdict() for name, measure in draws.measures.items()}
    fields = {f.name: getattr(configuration, f.name) for f in dataclasses.fields(Configuration)}
    fields["scoring"] = scoring_of(draws.score_version, measures)
    return SolvableConfiguration(**fields, scenario=draws, solver=solves)
