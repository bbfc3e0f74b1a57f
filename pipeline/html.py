"""What notebooks show of a result: its facts as tables."""

from __future__ import annotations

import dataclasses
from typing import Any


class Shown:
    """Base class of dataclasses that notebooks show as tables, with what ``repr`` shows."""

    def _repr_html_(self) -> str:
        import pandas

        shown: Any = [field.name for field in dataclasses.fields(self) if field.repr]  # type: ignore[arg-type]
        facts: dict[str, Any] = {}
        parts = []
        for name in shown:
            value = getattr(self, name)
            if isinstance(value, list) and any(map(dataclasses.is_dataclass, value)):
                parts.append(pandas.DataFrame(map(vars, value)).to_html(index=False))
            else:
                facts[name] = vars(value) if dataclasses.is_dataclass(value) else value
        top = pandas.json_normalize(facts).T.set_axis([type(self).__name__], axis=1)
        with pandas.option_context("display.max_colwidth", None):
            return "".join([top.to_html(float_format="{:.6g}".format), *parts])
