"""A cluster that somebody else has started."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.errors import InputError

SECONDS_TO_CONNECT = 10

log = logging.getLogger("kronsbl")


@contextmanager
def scheduler(**where: str) -> Iterator[Any]:
    """A client of the scheduler at an ``address``, or of that of a ``scheduler_file``."""
    from distributed import Client

    [target] = where.values()
    try:
        client = Client(**where, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"--cluster {target}: cannot be reached: {error}") from None
    with client:
        address = str(client.scheduler_info()["address"])
        if address.startswith("tcp://"):
            log.warning(
                "%s is neither encrypted nor authenticated: whoever reaches that port can run "
                "code there as you",
                address,
            )
        yield client
