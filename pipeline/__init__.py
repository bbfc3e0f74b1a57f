"""Monte Carlo campaigns over `solvers`: from a campaign file to a labelled result cube.

Names are imported when first used, so that checking a campaign does not wait for the packages
that only running one needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.campaign import Campaign
    from pipeline.driver.planning import plan
    from pipeline.driver.run import run
    from pipeline.errors import InputError
    from pipeline.results.publishing import open_results, publish
    from pipeline.results.studies import open_studies
    from pipeline.solving.replaying import replay
    from pipeline.solving.verification import verify
    from pipeline.store import Store

_HOME = {
    "Campaign": "pipeline.campaign",
    "InputError": "pipeline.errors",
    "Store": "pipeline.store",
    "open_results": "pipeline.results.publishing",
    "open_studies": "pipeline.results.studies",
    "plan": "pipeline.driver.planning",
    "publish": "pipeline.results.publishing",
    "replay": "pipeline.solving.replaying",
    "run": "pipeline.driver.run",
    "verify": "pipeline.solving.verification",
}

__all__ = [
    "Campaign",
    "InputError",
    "Store",
    "open_results",
    "open_studies",
    "plan",
    "publish",
    "replay",
    "run",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
