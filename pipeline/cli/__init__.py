"""The command line: ``kronsbl``."""

from pipeline.cli import (  # noqa: F401  (they add their commands)
    drawing,
    listing,
    looking,
    reproducing,
    running,
    tuning,
)
from pipeline.cli.base import main

__all__ = ["main"]
