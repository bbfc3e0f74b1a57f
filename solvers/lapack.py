"""Hermitian positive definite matrices through LAPACK, one at a time and in place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from solvers.arrays import Array


@cache
def _lapack(names: tuple[str, ...], dtype: np.dtype[Any]) -> list[Callable[..., Any]]:
    """LAPACK's functions of these names, for that type."""
    from scipy.linalg import get_lapack_funcs  # takes long to import

    return get_lapack_funcs(names, dtype=dtype)


def invert(matrix: Array) -> float:
    """Replace a Hermitian positive definite matrix by its inverse.

    Parameters
    ----------
    matrix : array (n, n), C order
        Lower triangle, replaced by that of the inverse; by NaN where it is not positive definite.

    Returns
    -------
    float
        Log determinant of the matrix.
    """
    potrf, potri = _lapack(("potrf", "potri"), matrix.dtype)
    # LAPACK reads columns first: it sees the transpose, whose upper triangle is our lower one.
    factor, failed = potrf(matrix.T, lower=False, overwrite_a=True, clean=False)
    if failed:
        matrix[:] = np.nan
        return np.nan
    logdet = 2.0 * float(np.log(np.diagonal(factor).real).sum())
    potri(factor, lower=False, overwrite_c=True)
    return logdet


def times(lower: Array, vector: Array) -> Array:
    """W v for a Hermitian W of which there is the lower triangle."""
    from scipy.linalg import get_blas_funcs

    if np.iscomplexobj(vector) and not np.iscomplexobj(lower):  # real factors, complex data
        return times(lower, vector.real.copy()) + 1j * times(lower, vector.imag.copy())
    [product] = get_blas_funcs(("hemv" if np.iscomplexobj(lower) else "symv",), (lower,))
    return product(1.0, lower.T, vector.conj(), lower=False).conj()  # lower.T is conj(W)


def invert_root(matrix: Array) -> None:
    """Replace a Hermitian positive definite matrix by R with R Rᴴ its inverse.

    Half the work of `invert`, for those who need of the inverse its diagonal and one product.

    Parameters
    ----------
    matrix : array (n, n), C order
        Upper triangle, replaced by that of R; by NaN where it is not positive definite.
    """
    potrf, trtri = _lapack(("potrf", "trtri"), matrix.dtype)
    # LAPACK sees the transpose, L Lᴴ; so the matrix's inverse is (L⁻¹)ᵀ conj(L⁻¹).
    factor, failed = potrf(matrix.T, lower=True, overwrite_a=True, clean=False)
    if failed:
        matrix[:] = np.nan
    else:
        trtri(factor, lower=True, overwrite_c=True)
