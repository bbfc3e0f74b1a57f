"""The contract of a solver: a `Problem` in, an `Estimate` out, options checked when it is built."""

from __future__ import annotations

import dataclasses
import enum
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Gamma = tuple[Array, ...] | Array
Watch = Callable[[int, Array, Any], None]


class Status(enum.IntEnum):
    """How a realization ended.

    Solvers report the values below 16. The others are given by whoever ran the solver, for
    realizations that it could not finish.
    """

    NOT_RUN = 0
    CONVERGED = 1
    MAX_ITERATIONS = 2
    DIVERGED = 4
    RAISED = 16
    NOT_FINITE = 17
    BROKE_CONTRACT = 18
    TIME_LIMIT = 19
    KILLED_WORKER = 20

    @property
    def failed(self) -> bool:
        """Whether there is no estimate to speak of."""
        return self >= Status.DIVERGED

    @property
    def crashed(self) -> bool:
        """Whether that is the solver's fault rather than the problem's."""
        return self >= Status.RAISED


def _numeric(name: str, value: ArrayLike) -> Array:
    """`value` as an array of float64 or complex128, or a ValueError that names it."""
    array = np.asarray(value)
    if array.dtype.kind not in "fciu":
        raise ValueError(f"{name} must hold numbers, got dtype {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinite values; drop those realizations first")
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64, copy=False)


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
        otherwise. None where it is unknown.
    true_variance : array, (B, N_1, …, N_I), optional
        True variance of each entry of x, 0 off the support. Only oracles look at it.

    Raises
    ------
    ValueError
        Shapes do not fit together, values are not finite, or a variance is negative (for the
        noise: not positive).

    Notes
    -----
    Everything is kept in double precision. One complex array makes the whole problem complex.
    """

    y: Array
    factors: tuple[Array, ...]
    noise_var: Array | None = None
    true_variance: Array | None = None

    def __post_init__(self) -> None:
        y = _numeric("y", self.y)
        if y.ndim < 2 or 0 in y.shape:
            raise ValueError(
                f"y must have shape (batch, M_1, …, M_I) without empty axes, got {y.shape}; "
                "a single realization needs a leading axis of length 1"
            )
        factors = tuple(_numeric(f"factors[{i}]", a) for i, a in enumerate(self.factors))
        if len(factors) != y.ndim - 1:
            raise ValueError(f"y of shape {y.shape} needs {y.ndim - 1} factors, got {len(factors)}")
        for i, factor in enumerate(factors):
            rows = y.shape[i + 1]
            if factor.shape[:-1] not in ((rows,), (y.shape[0], rows)) or factor.shape[-1] == 0:
                raise ValueError(
                    f"factors[{i}] must have shape ({rows}, N) or ({y.shape[0]}, {rows}, N) "
                    f"to go with y of shape {y.shape}, got {factor.shape}"
                )
        if any(np.iscomplexobj(a) for a in (y, *factors)):
            y = y.astype(np.complex128, copy=False)
        object.__setattr__(self, "y", y)
        object.__setattr__(self, "factors", factors)
        if self.noise_var is not None:
            self._set_variance("noise_var", self.noise_var, y.shape[:1])
            if not (self.noise_var > 0).all():
                raise ValueError("noise_var must be positive; give a small value for noise-free y")
        if self.true_variance is not None:
            self._set_variance("true_variance", self.true_variance, (y.shape[0], *self.dims))

    def _set_variance(self, name: str, value: ArrayLike, shape: tuple[int, ...]) -> None:
        array = _numeric(name, value)
        if array.shape != shape or array.dtype.kind == "c" or (array < 0).any():
            raise ValueError(
                f"{name} must be real, non-negative and of shape {shape}, got {array.dtype} "
                f"of shape {array.shape} with minimum {np.min(array.real, initial=np.inf)}"
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
        return self.y.shape[1:]

    def take(self, rows: Array) -> Problem:
        """The problem of the realizations `rows` (indices, a slice or a mask)."""

        def pick(array: Array | None) -> Array | None:
            return None if array is None else array[rows]

        factors = tuple(a if a.ndim == 2 else a[rows] for a in self.factors)
        return Problem(self.y[rows], factors, pick(self.noise_var), pick(self.true_variance))


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a solver makes of a `Problem`.

    Attributes
    ----------
    x : array, (B, N_1, …, N_I)
        Estimate of x: for Bayesian solvers the posterior mean at the final γ. NaN where the
        status is `Status.DIVERGED`.
    variance : array like x, or None
        Posterior variances.
    gamma : tuple of I arrays (B, N_i), one array (B, N_1, …, N_I), or None
        Prior variances (hyperparameters): the factors of their Kronecker product, or the whole.
    noise_var : array, (B,), or None
        The noise variance that was used, or estimated.
    iterations, inner_iterations : int array, (B,)
        EM (or greedy) iterations, and iterations of the M-step's inner loop in total.
    status : int array, (B,)
        Values of `Status`.
    inner_capped : bool array, (B,)
        Whether an inner loop ever ended at its cap instead of its tolerance.
    """

    x: Array
    status: Array
    iterations: Array
    inner_iterations: Array
    inner_capped: Array
    variance: Array | None = None
    gamma: Gamma | None = None
    noise_var: Array | None = None


def option(default: Any, doc: str, **rule: Any) -> Any:
    """Declare one option of a solver.

    Parameters
    ----------
    default
        Default value; its type is the type that is asked for.
    doc
        One line for people.
    **rule
        Any of `at_least`, `above`, `below` (bounds of a number), `choices` (of a string),
        ``per_factor=True`` (one value or a list of them, one per factor), ``optional=True``
        (None is allowed; needs `type`), `type`.
    """
    return dataclasses.field(default=default, metadata={"doc": doc, **rule})


def _scalar_option(name: str, value: Any, kind: type, rule: Any) -> Any:
    """`value` as a `kind` within the bounds of `rule`, or a ValueError that names the option."""
    number = numbers.Integral if kind is int else numbers.Real
    accepted = str if kind is str else number
    if not isinstance(value, accepted) or isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be of type {kind.__name__}, got {value!r}")
    value = kind(value)
    if kind is float and not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")
    choices = rule.get("choices")
    if choices and value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    if "at_least" in rule and value < rule["at_least"]:
        raise ValueError(f"{name} must be at least {rule['at_least']}, got {value!r}")
    if "above" in rule and not value > rule["above"]:
        raise ValueError(f"{name} must be greater than {rule['above']}, got {value!r}")
    if "below" in rule and not value < rule["below"]:
        raise ValueError(f"{name} must be less than {rule['below']}, got {value!r}")
    return value


def per_factor(value: Any, count: int) -> tuple[Any, ...]:
    """A per-factor option spelt out: one value for each of `count` factors."""
    return value if isinstance(value, tuple) else (value,) * count


@dataclass(frozen=True)
class Solver(ABC):
    """Base class of the solvers: a frozen dataclass whose fields are its options.

    A solver keeps no state between calls, so one object may be shared and pickled freely.
    """

    version: ClassVar[int] = 1
    """Of the numerics. Raised when results change beyond rounding, so that stored results of the
    version before are computed again."""

    source: ClassVar[str] = ""
    """Where the algorithm comes from."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            rule, value = field.metadata, getattr(self, field.name)
            if value is None and rule.get("optional"):
                continue
            kind = rule.get("type", type(field.default))
            if (
                rule.get("per_factor")
                and isinstance(value, Sequence)
                and not isinstance(value, str)
            ):
                if len(value) == 0:
                    raise ValueError(f"{field.name} must not be an empty list")
                value = tuple(_scalar_option(field.name, v, kind, rule) for v in value)
            else:
                value = _scalar_option(field.name, value, kind, rule)
            object.__setattr__(self, field.name, value)

    @property
    def requires(self) -> tuple[str, ...]:
        """Names of the optional parts of a `Problem` that this solver cannot do without."""
        return ()

    def check(self, problem: Problem) -> None:
        """Raise ValueError where `problem` lacks what this solver needs.

        Parameters
        ----------
        problem
            The problem that would be handed to `solve`.
        """
        for name in self.requires:
            if getattr(problem, name) is None:
                raise ValueError(f"{type(self).__name__} requires a problem with {name}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata.get("per_factor") and isinstance(value, tuple):
                self._check_length(field.name, value, len(problem.dims))

    def _check_length(self, name: str, value: tuple[Any, ...], factors: int) -> None:
        if len(value) != factors:
            raise ValueError(
                f"{name} lists {len(value)} values for a problem of {factors} factors; "
                "give one per factor, or a single number for all"
            )

    @abstractmethod
    def solve(
        self,
        problem: Problem,
        *,
        initial: tuple[Gamma, ArrayLike | None] | None = None,
        watch: Watch | None = None,
    ) -> Estimate:
        """Estimate x for every realization of `problem`.

        Parameters
        ----------
        problem
            The batch. It is not modified.
        initial
            Hyperparameters γ (shaped like `Estimate.gamma`) and noise variance to start from;
            either may be None for the default. Solvers without hyperparameters ignore it.
        watch
            Called as ``watch(iteration, rows, state)`` at the end of each iteration, with the
            indices of the realizations that were still running and a state that has ``x``,
            ``gamma``, ``noise_var``, ``cost`` and ``change`` of those rows.

        Returns
        -------
        Estimate

        Raises
        ------
        ValueError
            The problem lacks what the solver `requires`, or `initial` does not fit it.
        """
