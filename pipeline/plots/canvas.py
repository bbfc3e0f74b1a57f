"""A figure of matplotlib that belongs to no window, and that knows its settings."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
from matplotlib.figure import Figure


class Canvas(Figure):
    """A figure that is saved with the settings that it was drawn with, and that notebooks show.

    It is none of pyplot's, which would keep it and look for a screen.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._settings: Any = {k: v for k, v in matplotlib.rcParams.items() if k != "backend"}

    def savefig(self, *arguments: Any, **options: Any) -> None:
        """Write the figure into a file; see matplotlib."""
        with matplotlib.rc_context(self._settings):
            super().savefig(*arguments, **options)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=110)
        return file.getvalue()
