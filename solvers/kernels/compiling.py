"""The decorator by which the loops of this package are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

from solvers.kernels.caching import folder

F = TypeVar("F", bound=Callable[..., Any])

config: Any = numba.config


def compiled(*signatures: str) -> Callable[[F], F]:
    """Compile for these types on import, or load what an earlier import left in the cache.

    Functions without types are parts of others, and compiled with them. Sums may be taken in any
    order and products be fused with them, as BLAS does too; NaN and infinities keep their meaning.
    """

    def decorate(function: F) -> F:
        chosen, config.CACHE_DIR = config.CACHE_DIR, str(folder())
        try:
            dispatcher: Any = numba.njit(
                list(signatures) or None,
                cache=bool(signatures),
                nogil=True,
                error_model="numpy",
                fastmath={"contract", "nsz", "reassoc"},
            )(function)
        finally:
            config.CACHE_DIR = chosen
        return dispatcher

    return decorate
