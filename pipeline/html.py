"""What notebooks show of a result: its facts as a table."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping
from typing import Any


class Shown:
    """Base class of dataclasses that notebooks show as a table, with what ``repr`` shows."""

    def _repr_html_(self) -> str:
        shown = [field.name for field in dataclasses.fields(self) if field.repr]  # type: ignore[arg-type]
        facts = {name: getattr(self, name) for name in shown}
        return f"<b>{type(self).__name__}</b>{_table(facts)}"


def _table(facts: Mapping[Any, Any]) -> str:
    """Names and values, without those that are empty."""
    rows = (
        f"<tr><th style='text-align:left'>{html.escape(str(name).replace('_', ' '))}</th>"
        f"<td style='text-align:left'>{_value(value)}</td></tr>"
        for name, value in facts.items()
        if value not in ("", None, [], {})
    )
    return f"<table>{''.join(rows)}</table>"


def _value(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return _table(value)
    if isinstance(value, list):
        return "<br>".join(map(_value, value))
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return html.escape(text).replace("\n", "<br>")
