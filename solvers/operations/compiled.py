"""The operations for arrays of numpy: loops compiled by Numba, see `solvers.kernels`.

Kernels expect the factors of γ one after the other in one array (B, Σn).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import DTypeLike

from solvers import kernels
from solvers.arrays import Array, flat
from solvers.kron import outer
from solvers.operations.compiled_systems import solve_systems as solve_systems
from solvers.operations.terms import Sweeps

LARGEST = 32
"""Order above which LAPACK is faster than compiled eigenvectors of many matrices at once.

It is so, too, where there are few matrices, some less than their order.
"""


def eigh(matrices: Array) -> tuple[Array, Array]:
    batch, n = matrices.shape[:2]
    if n > LARGEST or batch < n - 4:
        return _lapack_eigh(matrices)
    compiled = kernels.eigh_symmetric if np.isrealobj(matrices) else kernels.eigh_hermitian
    values, vectors, failed = compiled(np.ascontiguousarray(matrices))
    if failed.any():
        values[failed], vectors[failed] = _lapack_eigh(matrices[failed])
    return values, vectors


def _lapack_eigh(matrices: Array) -> tuple[Array, Array]:
    try:
        values, vectors = np.linalg.eigh(matrices)
    except np.linalg.LinAlgError:
        finite = np.isfinite(matrices).all(axis=(1, 2))
        if finite.all():
            raise
        values = np.full(matrices.shape[:2], np.nan)
        vectors = np.full_like(matrices, np.nan)
        values[finite], vectors[finite] = np.linalg.eigh(matrices[finite])
    return values, vectors


def leading_vectors(matrices: Array) -> Array:
    """Leading eigenvectors by power iterations; see `solvers.operations`.

    Rows that have not settled (leading eigenvalues that all but coincide) get theirs from all
    eigenvectors.
    """
    vectors, settled = kernels.power_iterations(np.ascontiguousarray(matrices))
    rest = np.flatnonzero(~settled)
    if rest.size:
        values, found = eigh(matrices[rest])
        vectors[rest] = np.abs(found[np.arange(rest.size), :, values.argmax(axis=1)])
    return vectors


def shrink(spectra: Sequence[Array], noise_var: Array, data: Array) -> tuple[Array, Array]:
    d, shrunk = kernels.shrink(*_parts(spectra), noise_var, flat(data))
    return d.reshape(data.shape), shrunk.reshape(data.shape)


def second_moments(mean: Array, gamma: Sequence[Array], explained: Array) -> Array:
    moment = kernels.second_moments(flat(mean), *_parts(gamma), flat(explained))
    return moment.reshape(mean.shape)


def _parts(vectors: Sequence[Array]) -> tuple[Array, Array]:
    """An outer product as that of all modes but the last, (B, a), and the last, (B, n)."""
    *lead, last = vectors
    return flat(outer(lead)) if lead else np.ones((len(last), 1)), last


def alternate(
    moment: Array, gamma: Sequence[Array], options: Sweeps
) -> tuple[tuple[Array, ...], Array, Array]:
    *stop, coupling, unit, spread = options
    batch, dims, joined = len(moment), sizes(gamma), join(gamma)
    if spread is not None:
        d, weights, explained = spread
        ranks = _integers(tuple(d.shape[1:]))
        w = join([flat(weight) for weight in weights])
        new = kernels.sweep(flat(moment), flat(d), w, explained, joined, dims, ranks)
        return split(new, gamma), np.ones(batch, int), np.zeros(batch, bool)
    if coupling is None:
        positions, betas, floor = np.empty((0, 0), int), np.full(len(dims), np.nan), 0.0
    else:
        positions = join(coupling.positions, int)
        betas, floor = np.array(coupling.betas), coupling.floor
    unit = np.ones(batch) if unit is None else unit
    found = kernels.alternate_rows(flat(moment), joined, dims, *stop, positions, betas, floor, unit)
    return split(found[0], gamma), found[1], found[2]


def prune(
    gamma: Sequence[Array],
    relative: Sequence[float],
    absolute: Sequence[float],
    where: Array,
    weights: Sequence[Array] | None,
    unit: Array | None,
) -> tuple[tuple[Array, ...], Array]:
    bounds = np.array(relative, float), np.array(absolute, float)
    joined, dims, of_product = join(gamma), sizes(gamma), weights is not None
    w = np.ones_like(joined) if weights is None else join(weights)
    u = np.ones(len(joined)) if unit is None else unit
    kept, removed = kernels.prune_rows(joined, w, dims, *bounds, u, of_product, where)
    return split(kept, gamma), removed


def distance2(new: Sequence[Array], old: Sequence[Array]) -> Array:
    return kernels.row_distances2(join(new), join(old), sizes(new))


def sizes(vectors: Sequence[Array]) -> Array:
    """Lengths n_i of (B, n_i) vectors; not to be written to."""
    return _integers(tuple(v.shape[1] for v in vectors))


@lru_cache(maxsize=4096)  # they change rarely, and in small batches every call counts
def _integers(values: tuple[int, ...]) -> Array:
    return np.array(values)


def join(vectors: Sequence[Array], dtype: DTypeLike = float) -> Array:
    """Vectors (B, n_i) one after the other, (B, Σn), as the kernels expect them."""
    return np.ascontiguousarray(np.concatenate(vectors, axis=1, dtype=dtype))


def split(joined: Array, like: Sequence[Array]) -> tuple[Array, ...]:
    """The inverse of `join`, into vectors of the lengths of these."""
    vectors, start = [], 0
    for vector in like:
        end = start + vector.shape[1]
        vectors.append(joined[:, start:end].copy())
        start = end
    return tuple(vectors)
