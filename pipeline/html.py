"""What notebooks show of a result: its facts as tables."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from html import escape
from typing import Any

SECONDS_BETWEEN_UPDATES = 0.3


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


def notebook_progress() -> Callable[[Any], None] | None:
    """What shows the counts of a run as a bar below its cell; None outside of notebooks."""
    found = sys.modules.get("IPython")
    if found is None or not hasattr(found.get_ipython(), "kernel"):
        return None
    from IPython.display import HTML, display

    handle, last = display(HTML(), display_id=True), -SECONDS_BETWEEN_UPDATES

    def show(counts: Any) -> None:
        nonlocal last
        done, now = counts.before + counts.done, time.monotonic()
        if done < counts.total and now - last < SECONDS_BETWEEN_UPDATES:
            return
        last = now
        left = f", {counts.seconds_left:.0f} s left" if counts.seconds_left else ""
        words = escape(f"{counts}, workers: {counts.workers}{left}")
        bar = f'<progress max="{max(counts.total, 1)}" value="{done}"></progress>'
        handle.update(HTML(f"{bar} {words}"))

    return show
