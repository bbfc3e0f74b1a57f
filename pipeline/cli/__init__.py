"""The command line: ``kronsbl``."""

from pipeline.cli import drawing, looking, reproducing, running  # noqa: F401  (they add their commands)
from pipeline.cli.base import main

__all__ = ["main"]
