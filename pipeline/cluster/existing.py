"""A cluster that somebody else has started."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

SECONDS_TO_CONNECT = 10

log = logging.getLogger("kronsbl")


def address_in(file: str) -> str:
    """Read the address of a scheduler from the scheduler file that Dask has written.

    Raises
    ------
    InputError
        The file cannot be read or has no address in it.
    """
    try:
        return str(json.loads(Path(file).read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"--cluster {file}: no scheduler file, as dask scheduler --scheduler-file writes them"
        ) from None


@contextmanager
def scheduler(address: str) -> Iterator[Any]:
    """Give a client of a scheduler that is running already.

    Parameters
    ----------
    address
        Where it listens, ``tls://host:port`` or ``tcp://host:port``. The latter is neither
        encrypted nor authenticated and gets a warning.

    Yields
    ------
    distributed.Client
        Leaving the context closes the client only.

    Raises
    ------
    InputError
        It cannot be reached, or there are no credentials for it.
    """
    from distributed import Client

    if address.startswith("tcp://"):
        log.warning(
            "%s is neither encrypted nor authenticated: whoever reaches that port can run code "
            "there as you",
            address,
        )
    credentials = _credentials(address)
    try:
        # A client that fails to connect would leave half of itself behind, which complains.
        # In a thread, since a notebook's own event loop is running in this one.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _knock(address, credentials)).result()
        client = Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"--cluster {address}: cannot be reached: {error}") from None
    with client:
        yield client


def _credentials(address: str) -> dict[str, Any]:
    """Read the credentials of a client from Dask's own configuration."""
    from distributed import Security

    found: dict[str, Any] = Security().get_connection_args("client")
    if address.startswith("tls://") and found["ssl_context"] is None:
        raise InputError(
            f"--cluster {address}: no credentials; name them in Dask's configuration, "
            "distributed.comm.tls (ca-file, client.cert and client.key)"
        )
    return found


async def _knock(address: str, credentials: dict[str, Any]) -> None:
    """Connect once and hang up, to find out whether that is possible."""
    from distributed.comm.core import connect

    comm = await connect(address, timeout=SECONDS_TO_CONNECT, **credentials)
    await comm.close()
