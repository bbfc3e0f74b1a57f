"""Scripts without a main guard: worker processes import them, and would start their own."""

from __future__ import annotations

import multiprocessing
import os
import sys
from types import FrameType

GUARD = 'if __name__ == "__main__":'


def leave_if_imported_by_a_worker() -> None:
    """End this process where it is a worker that is still importing the script of its parent.

    Whatever it said would come once per worker; the parent says it once, see `complaint`.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(1)


def complaint() -> str:
    """Say that the main script calls us at its top level, unguarded; nothing where it does not."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if frame.f_globals.get("__name__") == "__main__" and code.co_name == "<module>":
            if "__name__" in code.co_names or not os.path.isfile(code.co_filename):
                return ""
            return (
                f"{code.co_filename}, line {frame.f_lineno}: workers import this script, so it "
                f"must not compute while it is imported; put the call below a line {GUARD}"
            )
        frame = frame.f_back
    return ""
