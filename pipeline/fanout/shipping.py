"""Getting solvers and scenarios of one's own to workers that could not import them."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType

import cloudpickle

from pipeline.campaign.blocks import Series


def make_shippable(series: Series) -> None:
    """Make modules travel with the tasks that workers could not import.

    Solvers and scenarios named ``module:Class`` may live in a file beside the campaign, which is
    on this process's import path only; a worker that fails to import a task would be lost. Such
    a module, and what else has been imported from its folder, is pickled by value.
    """
    for use, found in (
        (series.scenario_use, series.scenario),
        (series.solver_use, series.solver),
    ):
        if ":" in use:
            _by_value(type(found).__module__)


@functools.cache
def _by_value(name: str) -> None:
    if _is_installed(name):
        return
    folder = _folder(sys.modules[name])
    for other in list(sys.modules.values()):
        if _folder(other) == folder and not _is_installed(other.__name__):
            cloudpickle.register_pickle_by_value(other)


def _folder(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).parent if file else None


@functools.cache
def _is_installed(module: str) -> bool:
    """Whether a module belongs to an installed distribution, or to Python."""
    top = module.partition(".")[0]
    return top in sys.stdlib_module_names or top in importlib.metadata.packages_distributions()
