"""Settings of a process that solves, without which its times would mean little."""

from __future__ import annotations

import contextlib
import ctypes

from solvers import kernels

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def one_blas_thread() -> int:
    """Hold every BLAS in this process to one thread; return the most that any of them uses.

    Workers set the environment variables for this before numpy is imported. This makes sure of
    it where somebody else started the process, and finds out where it does not work.
    """
    import scipy.linalg  # noqa: F401  (only libraries that are loaded can be limited)
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)  # stays in force: the limit is never restored
    return max((pool["num_threads"] for pool in threadpoolctl.threadpool_info()), default=1)


def keep_memory() -> None:
    """Have malloc keep what is freed, up to 256 MB, in arrays of up to 32 MB.

    Otherwise glibc returns and faults in again the few megabytes of temporaries of every EM
    iteration, which costs up to a third of a solve (and Dask's own setting, a low trim threshold,
    makes it worse). Does nothing where there is no glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, 256 * 2**20)
        mallopt(M_MMAP_THRESHOLD, 32 * 2**20)


def steady() -> None:
    """Limit BLAS to one thread and keep freed memory."""
    one_blas_thread()
    keep_memory()


def prepare() -> None:
    """The same as `steady`, and load the compiled kernels."""
    steady()
    kernels.load()
