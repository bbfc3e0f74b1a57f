"""Arrays of any library that keeps to the array API standard: numpy, CuPy, PyTorch and others.

Where the arrays of a problem come from decides where the work is done. What the standard has no
short word for, or has only since lately, is here; numpy's own way is taken where it is faster.
"""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""An array of any library. Its name is numpy's, for want of one that the standard gives."""


_LIBRARIES: dict[type, Any] = {}
"""By type of array: to find one takes long, compared with many a call."""


def namespace(array: Any) -> Any:
    """The functions of the library that an array comes from; numpy's for what is no array.

    `array_api_compat` brings those of other libraries to the standard. It is imported, as they
    are, by those only who use them.
    """
    if isinstance(array, np.ndarray) or not is_array(array):
        return np
    kind = type(array)
    if kind not in _LIBRARIES:
        from array_api_compat import array_namespace

        _LIBRARIES[kind] = array_namespace(array)
    return _LIBRARIES[kind]


def is_array(value: Any) -> bool:
    """Whether something is an array, of any library."""
    return isinstance(value, np.ndarray) or (
        hasattr(value, "device") and not isinstance(value, np.generic)
    )


def is_numeric(value: Any, shape: tuple[int, ...], kind: str = "numeric") -> bool:
    """Whether something is an array of numbers of this shape, of a kind that the standard names."""
    if not is_array(value) or tuple(value.shape) != shape:
        return False
    return bool(namespace(value).isdtype(value.dtype, kind))


def is_complex(array: Array) -> bool:
    """Whether entries are complex."""
    if isinstance(array, np.ndarray):
        return array.dtype.kind == "c"
    return bool(namespace(array).isdtype(array.dtype, "complex floating"))


def conj(array: Array) -> Array:
    """Complex conjugate; of real arrays they themselves."""
    return namespace(array).conj(array) if is_complex(array) else array


def real(array: Array) -> Array:
    """Real part; of real arrays they themselves."""
    return namespace(array).real(array) if is_complex(array) else array


def reshape(array: Array, *shape: int) -> Array:
    """The same entries in another shape."""
    if isinstance(array, np.ndarray):
        return array.reshape(shape)
    return namespace(array).reshape(array, shape)


def flat(array: Array) -> Array:
    """Flatten all axes but the batch: (B, …) to (B, n)."""
    return reshape(array, array.shape[0], -1)


def wide(values: Array, axes: int) -> Array:
    """Append axes of length 1 to (B,), so that it broadcasts with arrays of so many axes."""
    return reshape(values, -1, *[1] * (axes - 1))


def take(array: Array, rows: Any, axis: int = 0) -> Array:
    """Entries along an axis, by indices; along the first also by a slice or a mask."""
    if isinstance(array, np.ndarray):
        return array[rows] if axis == 0 else np.take(array, rows, axis=axis)
    xp = namespace(array)
    if isinstance(rows, slice):
        return array[rows, ...]
    rows = rows if is_array(rows) else np.asarray(rows)
    rows = like(rows, array) if isinstance(rows, np.ndarray) else rows
    if xp.isdtype(rows.dtype, "bool"):
        rows = where_true(rows)
    return xp.take(array, rows, axis=axis)


def where_true(mask: Array) -> Array:
    """Indices at which a vector of truth values is true."""
    return namespace(mask).nonzero(mask)[0]


def full(other: Array, shape: Any, value: float, dtype: Any = None) -> Array:
    """An array of equal entries, double by default, on the device of another array."""
    xp = namespace(other)
    return xp.full(shape, value, dtype=dtype or xp.float64, device=other.device)


def zeros(other: Array, shape: Any, dtype: Any = None) -> Array:
    """An array of zeros, double by default, on the device of another array."""
    xp = namespace(other)
    return xp.zeros(shape, dtype=dtype or xp.float64, device=other.device)


def arange(other: Array, size: int) -> Array:
    """The whole numbers 0, 1, …, on the device of another array."""
    xp = namespace(other)
    return xp.arange(size, dtype=xp.int64, device=other.device)


def eye(other: Array, size: int) -> Array:
    """The identity matrix, on the device of another array."""
    xp = namespace(other)
    return xp.eye(size, dtype=xp.float64, device=other.device)


def like(values: Any, other: Array) -> Array:
    """Values that numpy holds as an array of the library, and on the device, of another."""
    if isinstance(other, np.ndarray):
        return values
    return namespace(other).asarray(values, device=other.device)


def failing_aloud(array: Array) -> Any:
    """A context in which whatever linear algebra cannot do is an exception in every library.

    CuPy gives factors that are none without a word, unless it is told otherwise.
    """
    from array_api_compat import is_cupy_array

    quiet = is_cupy_array(array)
    return import_module("cupyx").errstate(linalg="raise") if quiet else nullcontext()


def scatter(x: Array, index: Array, size: int, axis: int) -> Array:
    """Entries along an axis put in the places `index` (B, n), all different, of so many; else 0."""
    if isinstance(x, np.ndarray):
        whole = np.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
        np.put_along_axis(whole, _along(index, axis, x.ndim), x, axis=axis)
        return whole
    # The standard can only gather: from entry n, which is 0, where nothing goes.
    xp, (batch, n) = namespace(x), index.shape
    order = xp.argsort(index, axis=1)
    places = xp.take_along_axis(index, order, axis=1) + size * arange(x, batch)[:, None]
    every = arange(x, batch * size)
    at = xp.minimum(xp.searchsorted(reshape(places, -1), every), batch * n - 1)
    source = xp.where(xp.take(reshape(places, -1), at) == every, xp.take(reshape(order, -1), at), n)
    nothing = zeros(x, (*x.shape[:axis], 1, *x.shape[axis + 1 :]), x.dtype)
    source = _along(reshape(source, batch, size), axis, x.ndim)
    return xp.take_along_axis(xp.concat([x, nothing], axis=axis), source, axis=axis)


def gather(x: Array, index: Array, axis: int) -> Array:
    """Entries of each realization at its places `index` (B, n) along an axis."""
    if isinstance(x, np.ndarray) and axis == 1:
        return x[np.arange(len(x))[:, None], index]
    return namespace(x).take_along_axis(x, _along(index, axis, x.ndim), axis=axis)


def columns(factor: Array, index: Array) -> Array:
    """Columns `index` (B, n) of a matrix (m, N) or matrices (B, m, N), as (B, m, n)."""
    batch, n = index.shape
    if factor.ndim == 3:
        return gather(factor.mT, index, 1).mT
    return reshape(take(factor.mT, reshape(index, -1)), batch, n, factor.shape[0]).mT


def _along(index: Array, axis: int, ndim: int) -> Array:
    """Positions (B, n) along an axis, shaped to broadcast against a tensor of `ndim` axes."""
    return reshape(index, index.shape[0], *[1] * (axis - 1), -1, *[1] * (ndim - axis - 1))


def copied(x: Array) -> Array:
    """A copy, in C order where the library tells."""
    return x.copy() if isinstance(x, np.ndarray) else namespace(x).asarray(x, copy=True)


def contiguous(x: Array) -> Array:
    """The same array, in C order where the library tells."""
    return np.ascontiguousarray(x) if isinstance(x, np.ndarray) else x


def given(values: Any, other: Array) -> Array:
    """Real numbers of any form as doubles, on the device of another array."""
    if not is_array(values) or isinstance(values, np.ndarray):
        return like(np.asarray(values, float), other)
    xp = namespace(values)
    return xp.astype(values, xp.float64, copy=False)


def host(array: Any) -> Any:
    """An array as one of numpy, in the memory of the host; anything else as it is."""
    if isinstance(array, np.ndarray) or not is_array(array):
        return array
    from array_api_compat import is_cupy_array, is_torch_array, to_device

    if is_torch_array(array) or is_cupy_array(array):
        return np.asarray(to_device(array, "cpu"))
    return np.asarray(
        to_device(array, namespace(array).__array_namespace_info__().default_device())
    )
