"""Data units: every problem is brought to the same size before it is solved, and results back.

In them ‖y‖ and the Frobenius norms of the factors are near 1. The scales are powers of two, so
that nothing is rounded on the way there or back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.estimate import Estimate, IterationState
from solvers.kron import abs2, outer, total
from solvers.problem import Array, Gamma, Problem

RESOLVED = 1e-14
"""Least noise variance that double precision resolves, as a share of the mean power of y."""


def atom_norms2(factor: Array) -> Array:
    """Squared norms of the atoms of a factor, (N,) or (B, N)."""
    return abs2(factor).sum(axis=-2)


ALIKE = 0.25
"""Share of the largest atom's power from which on atoms weigh alike.

Weaker ones tend to keep the large γ that they started from, since the data say little of them. But
weighing those of random dictionaries, too, costs AM-KroSBL 4 dB at high SNR: it prunes the weaker
atoms of the support. Classic SBL, with a γ for each atom of the product, gains 2 dB from it."""


def atom_shares(problem: Problem) -> tuple[Array, ...]:
    """Squared norms of the atoms of each factor relative to the largest, (B, N_i)."""
    shares = []
    for factor in problem.factors:
        norms2 = atom_norms2(factor)
        largest = norms2.max(axis=-1, keepdims=True)
        share = np.divide(norms2, largest, out=np.ones_like(norms2), where=largest > 0)
        shares.append(np.broadcast_to(share, (problem.batch, share.shape[-1])))
    return tuple(shares)


def atom_weights(problem: Problem) -> tuple[Array, ...]:
    """What factors of γ are pruned by, (B, N_i): the power of weak atoms, 1 for the others."""
    return tuple(np.minimum(share / ALIKE, 1.0) for share in atom_shares(problem))


def data_unit(problem: Problem) -> Array:
    """‖y‖² / Π‖A_i‖_F², (B,): the γ of all atoms at which the prior explains the power of y."""
    return _or_one(total(abs2(problem.y)), _frobenius2(problem))


def with_power(gamma: Gamma, problem: Problem, share: float) -> Gamma:
    """Scale hyperparameters so that Σ γ‖a‖² is a share of ‖y‖²: Eq. `eq:start` of docs/numbers.md.

    Parameters
    ----------
    gamma : tuple of arrays (B, N_i), or array (B, N_1, …, N_I)
    problem
    share
    """
    norms2 = [np.broadcast_to(n, (problem.batch, n.shape[-1])) for n in _norms2(problem)]
    target = share * total(abs2(problem.y))
    if not isinstance(gamma, tuple):
        scale = _or_one(target, total(gamma * outer(norms2)))
        return gamma * scale.reshape(-1, *[1] * (gamma.ndim - 1))
    explained = np.prod([np.vecdot(g, n) for g, n in zip(gamma, norms2, strict=True)], axis=0)
    return (*gamma[:-1], gamma[-1] * _or_one(target, explained)[:, None])


def _norms2(problem: Problem) -> list[Array]:
    return [atom_norms2(factor) for factor in problem.factors]


def _frobenius2(problem: Problem) -> Array:
    product = np.ones(problem.batch)
    for norms2 in _norms2(problem):
        product = product * norms2.sum(axis=-1)
    return product


def _or_one(numerator: Array, denominator: Array) -> Array:
    """Their quotient; 1 where there is nothing to be divided by or divided."""
    good = (denominator > 0) & (numerator > 0)
    return np.divide(numerator, denominator, out=np.ones(len(numerator)), where=good)


def _times_power(x: Array, exponent: Array) -> Array:
    """X · 2^exponent, in two steps, since 2^1100 is too large where 2^-1100 · 2^1100 is not."""
    exponent = exponent.reshape(*exponent.shape, *[1] * (x.ndim - exponent.ndim))
    half = exponent // 2
    return x * np.ldexp(1.0, half) * np.ldexp(1.0, exponent - half)


def _normalized(x: Array) -> tuple[Array, Array]:
    """Arrays (B, …) times the power of two that brings their norms nearest to 1; the exponents."""
    axes = tuple(range(1, x.ndim))
    largest = np.abs(x.real).max(axis=axes)
    if np.iscomplexobj(x):
        largest = np.maximum(largest, np.abs(x.imag).max(axis=axes))
    exponent = np.frexp(largest)[1].astype(np.int64)
    x = _times_power(x, -exponent)
    norm2 = total(abs2(x))
    rest = np.rint(0.5 * np.log2(np.where(norm2 > 0, norm2, 1.0))).astype(np.int64)
    return _times_power(x, -rest), exponent + rest


@dataclass(frozen=True, eq=False)
class DataUnits:
    """Some realizations in data units, and the way back from there.

    Realizations whose idle atoms are the same: those with ‖a‖² ≤ ε max ‖a‖², ε the rounding unit,
    which the data say nothing of. They are left out.

    Attributes
    ----------
    problem
        The realizations in data units, without idle atoms.
    dims
        Atoms per factor with them.
    in_use : tuple of index arrays, or None
        Positions of the atoms that are not idle, of each factor; None if that is all of them.
    y_exponent, x_exponent : int arrays, (B,)
        y and x in the caller's units are 2 to these times those in data units.
    given_variance : array, (B, N_1, …, N_I), or None
        What a solver that was told the prior variances was told, in the caller's units.
    unresolved : bool array, (B,)
        Realizations with less noise than double precision resolves. They are solved with the
        least that it does.
    """

    problem: Problem
    dims: tuple[int, ...]
    in_use: tuple[Array, ...] | None
    y_exponent: Array
    x_exponent: Array
    given_variance: Array | None
    unresolved: Array

    @classmethod
    def of(cls, problem: Problem) -> list[tuple[Array, DataUnits]]:
        """Bring a batch into data units.

        Returns
        -------
        list of (rows, DataUnits)
            One for every set of idle atoms, with the indices of the realizations.
        """
        y, y_exponent = _normalized(problem.y)
        factors, x_exponent = [], y_exponent
        for factor in problem.factors:
            scaled, exponent = _normalized(factor[None] if factor.ndim == 2 else factor)
            factors.append(scaled[0] if factor.ndim == 2 else scaled)
            x_exponent = x_exponent - exponent
        scaled_problem, unresolved = _rescaled(problem, y, factors, y_exponent, x_exponent)
        found = []
        for rows, in_use in _by_idle_atoms(scaled_problem):
            part = scaled_problem if len(rows) == problem.batch else scaled_problem.take(rows)
            given = problem.true_variance
            units = cls(
                problem=part if in_use is None else _without_idle(part, in_use),
                dims=problem.dims,
                in_use=in_use,
                y_exponent=y_exponent[rows],
                x_exponent=x_exponent[rows],
                given_variance=None if given is None else given[rows],
                unresolved=unresolved[rows],
            )
            found.append((rows, units))
        return found

    def enter(
        self, gamma: Gamma | None, noise_var: Array | None
    ) -> tuple[Gamma | None, Array | None]:
        """Hyperparameters and noise variance of these realizations, in data units."""
        if noise_var is not None:
            noise_var = _times_power(noise_var, -2 * self.y_exponent)
        if isinstance(gamma, tuple):
            if self.in_use is not None:
                gamma = tuple(g[:, at] for g, at in zip(gamma, self.in_use, strict=True))
            return (*gamma[:-1], _times_power(gamma[-1], -2 * self.x_exponent)), noise_var
        if gamma is not None:
            gamma = _times_power(self._used(gamma), -2 * self.x_exponent)
        return gamma, noise_var

    def leave(self, estimate: Estimate) -> Estimate:
        """An estimate in the caller's units, over all atoms."""
        gamma = self._gamma(estimate.gamma, slice(None))
        variance = self._tensor(estimate.variance, 2, slice(None))
        if self.given_variance is not None:  # what was known of idle atoms is what is known
            gamma = self._with_given(gamma)
            variance = self._with_given(variance)
        return dataclasses.replace(
            estimate,
            x=self._tensor(estimate.x, 1, slice(None)),
            variance=variance,
            gamma=gamma,
            noise_var=self._noise_var(estimate.noise_var, slice(None)),
        )

    def seen(
        self, state: IterationState, rows: Array, cost: Callable[[Array, Array], Array]
    ) -> IterationState:
        """The state of `rows` of these realizations in the caller's units, for a watch.

        Parameters
        ----------
        state
            In data units.
        rows
            Indices.
        cost
            From a cost in data units and the exponent of y to that in the caller's units.
        """

        def own_cost() -> Any:
            found = state.cost
            return None if found is None else cost(found, self.y_exponent[rows])

        def change() -> Any:
            return state.change

        return IterationState(
            x=lambda: self._tensor(state.x, 1, rows),
            gamma=lambda: self._gamma(state.gamma, rows),
            noise_var=lambda: self._noise_var(state.noise_var, rows),
            cost=own_cost,
            change=change,
        )

    def _used(self, x: Array) -> Array:
        """A tensor over all atoms without the idle ones."""
        if self.in_use is None:
            return x
        used: Array = x[np.ix_(np.arange(len(x)), *self.in_use)]
        return used

    # A solver may return anything. What has not the shape or type that it ought to have stays as
    # it is, for whoever checks estimates to find.

    def _tensor(self, x: Any, power: int, rows: Any) -> Any:
        exponent = self.x_exponent[rows]
        if not _is_array(x, (len(exponent), *self.problem.dims)):
            return x
        x = _times_power(x, power * exponent)
        if self.in_use is None:
            return x
        full = np.zeros((len(x), *self.dims), x.dtype)
        full[np.ix_(np.arange(len(x)), *self.in_use)] = x
        return full

    def _gamma(self, gamma: Any, rows: Any) -> Any:
        if not isinstance(gamma, tuple):
            return self._tensor(gamma, 2, rows)
        exponent = self.x_exponent[rows]
        shapes = [(len(exponent), n) for n in self.problem.dims]
        if len(gamma) != len(shapes) or not all(map(_is_array, gamma, shapes)):
            return gamma
        gamma = (*gamma[:-1], _times_power(gamma[-1], 2 * exponent))
        if self.in_use is None:
            return gamma
        full = tuple(np.zeros((len(exponent), n)) for n in self.dims)
        for target, g, at in zip(full, gamma, self.in_use, strict=True):
            target[:, at] = g
        return full

    def _noise_var(self, noise_var: Any, rows: Any) -> Any:
        exponent = self.y_exponent[rows]
        return (
            _times_power(noise_var, 2 * exponent)
            if _is_array(noise_var, exponent.shape)
            else noise_var
        )

    def _with_given(self, value: Any) -> Any:
        given = self.given_variance
        if self.in_use is None or given is None or not _is_array(value, given.shape):
            return value
        full = given.astype(value.dtype)
        used = np.ix_(np.arange(len(full)), *self.in_use)
        full[used] = value[used]
        return full


def _is_array(value: Any, shape: tuple[int, ...]) -> bool:
    return isinstance(value, np.ndarray) and value.shape == shape and value.dtype.kind in "fciu"


def _rescaled(
    problem: Problem, y: Array, factors: list[Array], y_exponent: Array, x_exponent: Array
) -> tuple[Problem, Array]:
    """The problem in data units, and where its noise is less than double precision resolves."""
    noise_var, true_variance = problem.noise_var, problem.true_variance
    unresolved = np.zeros(problem.batch, bool)
    if noise_var is not None:
        # More noise than a float holds is infinitely more than the signal in any case.
        noise_var = np.minimum(_times_power(noise_var, -2 * y_exponent), np.finfo(float).max)
        power = total(abs2(y)) / y[0].size
        least = RESOLVED * np.where(power > 0, power, 1.0)
        unresolved = noise_var < least
        noise_var = np.maximum(noise_var, least)
    if true_variance is not None:
        true_variance = _times_power(true_variance, -2 * x_exponent)
        true_variance = np.minimum(true_variance, np.finfo(float).max)
    gains, forms = problem.true_gains, problem.error_forms
    if gains is not None:
        gains = [*gains[:-1], _times_power(gains[-1], -x_exponent)]
    if forms is not None:
        forms = [f._replace(weight=_times_power(f.weight, 2 * x_exponent)) for f in forms]
    return Problem(y, tuple(factors), noise_var, true_variance, gains, forms), unresolved


def _by_idle_atoms(problem: Problem) -> list[tuple[Array, tuple[Array, ...] | None]]:
    """Realizations whose idle atoms are the same, and which atoms they have in use."""
    rows = np.arange(problem.batch)
    in_use = [share > np.finfo(float).eps for share in atom_shares(problem)]
    if all(used.all() for used in in_use):
        return [(rows, None)]
    patterns, which = np.unique(np.concatenate(in_use, axis=1), axis=0, return_inverse=True)
    ends = np.cumsum(problem.dims)[:-1]
    found: list[tuple[Array, tuple[Array, ...] | None]] = []
    for number, pattern in enumerate(patterns):
        kept = None if pattern.all() else tuple(map(np.flatnonzero, np.split(pattern, ends)))
        found.append((np.flatnonzero(which.reshape(-1) == number), kept))
    return found


def _without_idle(problem: Problem, in_use: tuple[Array, ...]) -> Problem:
    def cut(arrays: Sequence[Any]) -> tuple[Any, ...]:
        pairs = zip(arrays, in_use, strict=True)
        return tuple(a if a is None else np.ascontiguousarray(a[..., used]) for a, used in pairs)

    variance, gains, forms = problem.true_variance, problem.true_gains, problem.error_forms
    return dataclasses.replace(
        problem,
        factors=cut(problem.factors),
        true_variance=(
            None if variance is None else variance[np.ix_(np.arange(problem.batch), *in_use)]
        ),
        true_gains=None if gains is None else cut(gains),
        error_forms=None if forms is None else [f._replace(factors=cut(f.factors)) for f in forms],
    )
