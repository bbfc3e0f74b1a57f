"""The log of a run, as a file in its store, for whoever looks the next morning."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import time
from pathlib import Path
from typing import Self

from pipeline.errors import in_one_line


class RunLog(logging.Handler):
    """Lines with their time in ``logs/run-HOST-DATE-PID.txt``, while a with statement lasts.

    What kronsbl logs stands there too. A disk that takes no line ends no run.

    Parameters
    ----------
    store : Path
        Folder of the store.
    """

    def __init__(self, store: Path) -> None:
        super().__init__()
        name = f"run-{platform.node()}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
        self._path = store / "logs" / name

    def __enter__(self) -> Self:
        logging.getLogger("kronsbl").addHandler(self)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.say("done" if error is None else f"ended by {in_one_line(error)}")
        logging.getLogger("kronsbl").removeHandler(self)

    def say(self, text: str) -> None:
        """Write a line that goes nowhere else."""
        self.handle(logging.makeLogRecord({"msg": text}))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; opened for each, so that nothing is held where a disk goes away."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {record.getMessage()}\n")
