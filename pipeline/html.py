"""What notebooks show of a result: its facts as a table."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any


def facts(title: str, found: Mapping[str, Any]) -> str:
    """A table of names and values as HTML; lines of a value stay apart, empty ones are left out."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(str(value)).replace(chr(10), '<br>')}</td></tr>"
        for name, value in found.items()
        if value not in ("", None)
    )
    return f"<table><caption>{html.escape(title)}</caption>{rows}</table>"
