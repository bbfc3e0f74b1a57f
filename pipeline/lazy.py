"""Names of a package that are imported when somebody first asks for them.

As Scientific Python's SPEC 1 has it, the names stand in the stub beside the package's
``__init__.py``, once, where type checkers and editors look for them, and this module as well.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def attach(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make what a package needs so that its names are imported on demand (PEP 562).

    Parameters
    ----------
    package
        Its ``__name__``.
    file
        Its ``__file__``. The stub beside it has lines ``from MODULE import NAME as NAME``.

    Returns
    -------
    tuple
        The package's ``__getattr__``, ``__dir__`` and ``__all__``.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text("utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: str(node.module) for node in imports for alias in node.names}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name]), name)

    return get, lambda: sorted(homes), sorted(homes)
