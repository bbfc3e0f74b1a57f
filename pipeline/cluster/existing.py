"""A cluster that somebody else has started, or a function of the user's starts."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, in_one_line

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


def names_a_function(cluster: str) -> bool:
    """Whether it has the form ``module:function``."""
    module, colon, function = cluster.partition(":")
    return bool(colon) and all(map(str.isidentifier, (*module.split("."), function)))


def function(cluster: str) -> Callable[[], Any]:
    """The function that ``module:function`` names.

    Raises
    ------
    InputError
        There is none. Modules are looked for where Python does, and beside the campaign file.
    """
    module, _, name = cluster.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # it is the user's code that is imported
        raise InputError(f"--cluster {cluster}: {in_one_line(error)}") from None
    if not callable(found):
        raise InputError(f"--cluster {cluster}: is a {type(found).__name__}, not a function")
    return found


@contextmanager
def made_by(cluster: str) -> Iterator[Any]:
    """Give the client, or a client of the cluster of Dask's, that a function returns.

    Parameters
    ----------
    cluster
        The function as ``module:function``; it is called without arguments.

    Yields
    ------
    distributed.Client
        Leaving the context closes it, and the cluster where that was returned.

    Raises
    ------
    InputError
        The function raises something, or returns something else.
    """
    with ExitStack() as stack:
        try:
            found = function(cluster)()
            if hasattr(found, "get_client"):
                found = stack.enter_context(found).get_client()
        except (Exception, SystemExit) as error:
            raise InputError(f"--cluster {cluster}: {in_one_line(error)}") from None
        check_client(found, f"--cluster {cluster}")
        yield stack.enter_context(found)


def check_client(client: Any, whose: str) -> None:
    """Raise InputError where that is no client that can be worked with."""
    from distributed import Client

    if not isinstance(client, Client):
        raise InputError(
            f"{whose}: expected a client or a cluster of Dask's, got {type(client).__name__}"
        )
    if client.asynchronous:  # its methods give nothing but promises
        raise InputError(f"{whose}: an asynchronous client: make one without asynchronous=True")
    if client.status == "closed":
        raise InputError(f"{whose}: a client that is closed; leave it open")


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
