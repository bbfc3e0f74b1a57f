"""A batch of realizations of y = (A_1 ⊗ … ⊗ A_I) x + n, checked when it is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from solvers import arrays
from solvers.arrays import Array as Array
from solvers.arrays import is_array, is_complex, namespace, take

Gamma = tuple[Array, ...] | Array
"""Hyperparameters: the factors of a Kronecker product, or the whole."""

TRUTH = ("true_variance", "true_gains", "error_forms")
"""Parts of a problem that belong to the truth: solvers get those that they require."""


Change = Callable[[Array], Array]


class ErrorForm(NamedTuple):
    """One term w‖(C_1 ⊗ … ⊗ C_I)(x̂ − x)‖² of a squared error.

    Attributes
    ----------
    factors : tuple of I arrays, each (L_i, N_i) or (B, L_i, N_i)
        C_i; None stands for the identity.
    weight : array, (B,)
        w of each realization.
    """

    factors: tuple[Array | None, ...]
    weight: Array

    def each(self, change: Change, of_factor: Change) -> ErrorForm:
        """The term with other arrays in the places of its own; see `Problem.moved`."""
        factors = (c if c is None else of_factor(c) for c in self.factors)
        return ErrorForm(tuple(factors), change(self.weight))


def _numeric(name: str, value: ArrayLike, beside: Array | None = None) -> Array:
    """`value` as an array of float64 or complex128, or a ValueError that names it.

    Of the library and on the device of the array `beside`, which numbers without a library are
    brought to.
    """
    if np.ma.is_masked(value):
        raise ValueError(f"{name} is masked in places: a masked entry is no measurement")
    foreign: Any = value
    array = foreign if is_array(value) and namespace(value) is not np else np.asarray(value)
    if beside is not None and not is_array(value):
        array = arrays.like(array, beside)
    xp = namespace(array)
    if beside is not None and (xp is not namespace(beside) or array.device != beside.device):
        raise ValueError(
            f"{name} must come from the library and lie on the device of y: "
            f"expected {type(beside).__module__} on {beside.device}, "
            f"got {type(array).__module__} on {array.device}"
        )
    if not xp.isdtype(array.dtype, "numeric"):
        raise ValueError(f"{name} must hold numbers, got dtype {array.dtype}")
    if not bool(xp.all(xp.isfinite(array))):
        raise ValueError(f"{name} holds NaN or infinite values; drop those realizations first")
    return xp.astype(array, xp.complex128 if is_complex(array) else xp.float64, copy=False)


@dataclass(frozen=True, eq=False)
class Problem:
    """A batch of B realizations of y = (A_1 ⊗ … ⊗ A_I) x + n.

    Parameters
    ----------
    y : array, (B, M_1, …, M_I)
        Measurements, real or complex. ``y[b].reshape(-1)`` is the vector y of the model.
    factors : sequence of I arrays, each (M_i, N_i) or (B, M_i, N_i)
        Dictionary factors, shared by the batch or one per realization.
    noise_var : array, (B,), optional
        Variance of one noise entry: real N(0, σ²) where y is real, circular complex CN(0, σ²)
        otherwise; 0 where there is no noise. None where it is unknown.
    true_variance : array, (B, N_1, …, N_I), optional
        True variance of each entry of x, 0 off the support. It is part of the truth, as what
        follows, and handed to those solvers only that require it (see `seen_by`).
    true_gains : sequence of I arrays (B, N_i), optional
        The vectors whose Kronecker product the true x is, where it is one.
    error_forms : sequence of `ErrorForm`, optional
        The squared error that is to be bounded, as the sum of these terms.

    Raises
    ------
    ValueError
        Shapes do not fit together, values are not finite or masked, or a variance is negative.

    Notes
    -----
    Everything is kept in double precision. One complex array makes the whole problem complex.
    Arrays may come from any library that keeps to the array API standard, all from one: it does
    the work, where they are, and estimates are arrays of it.
    """

    y: Array
    factors: tuple[Array, ...]
    noise_var: Array | None = None
    true_variance: Array | None = None
    true_gains: Sequence[Array] | None = None
    error_forms: Sequence[ErrorForm] | None = None

    def __post_init__(self) -> None:
        y = _numeric("y", self.y)
        if y.ndim < 2 or 0 in y.shape:
            raise ValueError(
                f"y must have shape (batch, M_1, …, M_I) without empty axes, got {tuple(y.shape)}; "
                "a single realization needs a leading axis of length 1"
            )
        factors = tuple(_numeric(f"factors[{i}]", a, y) for i, a in enumerate(self.factors))
        if len(factors) != y.ndim - 1:
            raise ValueError(
                f"y of shape {tuple(y.shape)} needs {y.ndim - 1} factors, got {len(factors)}"
            )
        for i, factor in enumerate(factors):
            rows = y.shape[i + 1]
            shape = tuple(factor.shape)
            if shape[:-1] not in ((rows,), (y.shape[0], rows)) or shape[-1] == 0:
                raise ValueError(
                    f"factors[{i}] must have shape ({rows}, N) or ({y.shape[0]}, {rows}, N) "
                    f"to go with y of shape {tuple(y.shape)}, got {shape}"
                )
        if any(is_complex(a) for a in (y, *factors)):
            y = namespace(y).astype(y, namespace(y).complex128, copy=False)
        object.__setattr__(self, "y", y)
        object.__setattr__(self, "factors", factors)
        if self.noise_var is not None:
            self._set_variance("noise_var", self.noise_var, tuple(y.shape[:1]))
        if self.true_variance is not None:
            self._set_variance("true_variance", self.true_variance, (y.shape[0], *self.dims))
        self._check_truth()

    def _check_truth(self) -> None:
        """Raise a ValueError where gains or error forms do not fit the dictionary."""
        batch, dims = self.batch, self.dims
        if self.true_gains is not None:
            shapes, wanted = [tuple(g.shape) for g in self.true_gains], [(batch, n) for n in dims]
            if shapes != wanted:
                raise ValueError(f"true_gains must have shapes {wanted}, got {shapes}")
        for form in self.error_forms or ():
            given = [None if c is None else tuple(c.shape) for c in form.factors]
            fits = tuple(form.weight.shape) == (batch,) and len(given) == len(dims)
            if not fits or not all(
                s is None or (len(s) > 1 and s in ((s[-2], n), (batch, s[-2], n)))
                for s, n in zip(given, dims, strict=True)
            ):
                raise ValueError(
                    f"an error form needs a weight of shape {(batch,)} and {len(dims)} factors "
                    f"(L, N) or (B, L, N), or None, for N of {dims}; got a weight of shape "
                    f"{form.weight.shape} and factors of shapes {given}"
                )

    def _set_variance(self, name: str, value: ArrayLike, shape: tuple[int, ...]) -> None:
        array = _numeric(name, value, self.y)
        xp = namespace(array)
        if tuple(array.shape) != shape or is_complex(array) or bool(xp.any(array < 0)):
            least = np.min(arrays.host(arrays.real(array)), initial=np.inf)
            raise ValueError(
                f"{name} must be real, non-negative and of shape {shape}, got {array.dtype} "
                f"of shape {tuple(array.shape)} with minimum {least}"
            )
        object.__setattr__(self, name, array)

    @property
    def batch(self) -> int:
        """Number of realizations B."""
        return self.y.shape[0]

    @property
    def dims(self) -> tuple[int, ...]:
        """Atoms per factor, (N_1, …, N_I)."""
        return tuple(a.shape[-1] for a in self.factors)

    @property
    def measurements(self) -> tuple[int, ...]:
        """Measurements per factor, (M_1, …, M_I)."""
        return tuple(self.y.shape[1:])

    def take(self, rows: Array) -> Problem:
        """The problem of the realizations `rows` (indices, a slice or a mask)."""
        return self._each(
            lambda array: take(array, rows),
            lambda factor: factor if factor.ndim == 2 else take(factor, rows),
        )

    def moved(self, move: Change) -> Problem:
        """The same problem elsewhere.

        Parameters
        ----------
        move
            Gives an array of another library, or on another device, for one of the problem's.
        """
        return self._each(move, move)

    def _each(self, change: Change, of_factor: Change) -> Problem:
        def pick(array: Array | None) -> Array | None:
            return None if array is None else change(array)

        gains, forms = self.true_gains, self.error_forms
        return Problem(
            change(self.y),
            tuple(map(of_factor, self.factors)),
            pick(self.noise_var),
            pick(self.true_variance),
            None if gains is None else [change(g) for g in gains],
            None if forms is None else [form.each(change, of_factor) for form in forms],
        )

    def seen_by(self, solver: object) -> Problem:
        """The problem as a solver is given it: without the truth, unless the solver requires it.

        Parameters
        ----------
        solver
            Anything that may have `requires`, as `Solver` has.
        """
        required = getattr(solver, "requires", ())
        told = [name for name in TRUTH if getattr(self, name) is not None]
        hidden: dict[str, Any] = {name: None for name in told if name not in required}
        return dataclasses.replace(self, **hidden) if hidden else self


def broadcast_gamma(gamma: Gamma, problem: Problem) -> Gamma:
    """Hyperparameters for every realization of a problem.

    Parameters
    ----------
    gamma
        Factors (N_i,) or (B, N_i), or one array (N_1, …, N_I) or (B, N_1, …, N_I).
    problem
        What they have to fit.

    Returns
    -------
    tuple of arrays (B, N_i), or array (B, N_1, …, N_I)

    Raises
    ------
    ValueError
        Shapes do not fit, or values are negative or not finite.
    """

    def one(value: ArrayLike, shape: tuple[int, ...], name: str) -> Array:
        array = arrays.given(value, problem.y)
        if tuple(array.shape) not in (shape, (problem.batch, *shape)):
            raise ValueError(
                f"{name} must have shape {shape} or {(problem.batch, *shape)}, "
                f"got {tuple(array.shape)}"
            )
        xp = namespace(array)
        if not bool(xp.all(xp.isfinite(array) & (array >= 0))):
            raise ValueError(f"{name} must be finite and non-negative")
        return arrays.copied(xp.broadcast_to(array, (problem.batch, *shape)))

    if isinstance(gamma, tuple | list):
        if len(gamma) != len(problem.dims):
            raise ValueError(f"gamma needs {len(problem.dims)} factors, got {len(gamma)}")
        return tuple(
            one(g, (n,), f"gamma[{i}]")
            for i, (g, n) in enumerate(zip(gamma, problem.dims, strict=True))
        )
    return one(gamma, problem.dims, "gamma")
