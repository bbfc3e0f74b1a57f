"""Getting solvers and scenarios of one's own to workers that could not import them."""

from __future__ import annotations

import functools
import site
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import cloudpickle

from pipeline.campaign.blocks import SolvableConfiguration

OURS = {"pipeline", "solvers"}
"""Packages that every worker has, also where they are installed from a checkout."""


def make_shippable(configuration: SolvableConfiguration) -> None:
    """Make modules travel with the tasks that workers could not import.

    Solvers and scenarios named ``module:Class`` may live in a file beside the campaign, which is
    on this process's import path only; a worker that fails to import a task would be lost. Such
    a module, and what else has been imported from its folder, is pickled by value.
    """
    for use, found in (
        (configuration.spec["scenario"]["use"], configuration.scenario),
        (configuration.spec["solver"]["use"], configuration.solver),
    ):
        if ":" in use:
            pickle_by_value(type(found).__module__)


@functools.cache
def pickle_by_value(name: str) -> None:
    """Have a module travel, and others from its folder, unless workers have it."""
    module = sys.modules[name]
    if is_installed(module):
        return
    for other in list(sys.modules.values()):
        if _folder(other) == _folder(module) and not is_installed(other):
            cloudpickle.register_pickle_by_value(other)


def _folder(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).parent if file else None


def is_installed(module: ModuleType) -> bool:
    """True for modules of Python, of an installed package, or of ours."""
    top, folder = module.__name__.partition(".")[0], _folder(module)
    if top in sys.stdlib_module_names or top in OURS or folder is None:
        return True
    return any(folder.resolve().is_relative_to(place) for place in _site_packages())


@functools.cache
def _site_packages() -> set[Path]:
    # To ask the installed packages which modules are theirs takes seconds, looking at every file.
    places = [*site.getsitepackages(), site.getusersitepackages()]
    places += [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return {Path(place).resolve() for place in places}
