"""Whether the workers of a cluster will do."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.work import look_around


def check_workers(client: Any, store: Path, *, limited: bool = False) -> None:
    """Make sure that the workers run this kronsbl, see the store, and may be ended.

    Parameters
    ----------
    client
    store
    limited
        Whether workers that take too long are to be ended.

    Raises
    ------
    InputError
        They do not.
    """
    if client.asynchronous:
        raise InputError("an asynchronous client: make one without asynchronous=True")
    with tempfile.NamedTemporaryFile(prefix=".probe-", dir=store) as probe:
        try:
            found = client.run(look_around, probe.name)
        except (ImportError, AttributeError) as error:
            raise InputError(f"the workers cannot import kronsbl: {error}") from None
        here = look_around(probe.name)
    for address, there in found.items():
        if there.version != here.version:
            raise InputError(
                f"worker {address} runs kronsbl {there.version}, this is {here.version}: use the "
                "same environment on both sides"
            )
        if not there.sees_store:
            raise InputError(
                f"worker {address} cannot see {store.resolve()}: put the store on a file system "
                "that workers share (--store)"
            )
        if there.python != here.python:
            raise InputError(
                f"worker {address} runs Python {there.python}, this is {here.python}: use the "
                "same environment"
            )
        if limited and there.process == here.process:
            raise InputError(
                "limits.seconds_per_realization: a stuck solver can only be ended together with "
                "its process, and this client's workers are in yours; make it with processes=True"
            )
