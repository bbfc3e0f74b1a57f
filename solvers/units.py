"""Data units: problems are scaled to the same size before a solve, and results scaled back.

In them ‖y‖ and the Frobenius norms of the factors are near 1. The scales are powers of two, so
that nothing is rounded on the way there or back.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers import arrays
from solvers.arrays import namespace, take
from solvers.estimate import Estimate, IterationState
from solvers.kron import abs2, outer, total
from solvers.problem import Array, Gamma, Problem

RESOLVED = 1e-14
"""Least noise variance that double precision resolves, as a share of the mean power of y."""


def atom_norms2(factor: Array) -> Array:
    """Squared norms of the atoms of a factor, (N,) or (B, N)."""
    return namespace(factor).sum(abs2(factor), axis=-2)


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
        xp = namespace(norms2)
        largest = xp.max(norms2, axis=-1, keepdims=True)
        share = xp.where(largest > 0, norms2 / xp.where(largest > 0, largest, 1.0), 1.0)
        shares.append(xp.broadcast_to(share, (problem.batch, share.shape[-1])))
    return tuple(shares)


def atom_weights(problem: Problem) -> tuple[Array, ...]:
    """Weights of γ_i where it is pruned, (B, N_i): the power of weak atoms, 1 for the others."""
    return tuple(namespace(share).minimum(share / ALIKE, 1.0) for share in atom_shares(problem))


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
    xp = namespace(problem.y)
    norms2 = [xp.broadcast_to(n, (problem.batch, n.shape[-1])) for n in _norms2(problem)]
    target = share * total(abs2(problem.y))
    if not isinstance(gamma, tuple):
        scale = _or_one(target, total(gamma * outer(norms2)))
        return gamma * arrays.wide(scale, gamma.ndim)
    explained = math.prod(xp.vecdot(g, n) for g, n in zip(gamma, norms2, strict=True))
    return (*gamma[:-1], gamma[-1] * _or_one(target, explained)[:, None])


def _norms2(problem: Problem) -> list[Array]:
    return [atom_norms2(factor) for factor in problem.factors]


def _frobenius2(problem: Problem) -> Array:
    product = arrays.full(problem.y, (problem.batch,), 1.0)
    for norms2 in _norms2(problem):
        product = product * namespace(norms2).sum(norms2, axis=-1)
    return product


def _or_one(numerator: Array, denominator: Array) -> Array:
    """Their quotient; 1 where there is nothing to be divided by or divided."""
    xp, good = namespace(numerator), (denominator > 0) & (numerator > 0)
    return xp.where(good, numerator / xp.where(good, denominator, 1.0), 1.0)


def _times_power(x: Array, exponent: Array) -> Array:
    """X · 2^exponent, in two steps, since 2^1100 is too large where 2^-1100 · 2^1100 is not.

    Exponents are always numpy's: the standard has no way to take a number apart.
    """
    exponent = exponent.reshape(*exponent.shape, *[1] * (x.ndim - exponent.ndim))
    half = exponent // 2
    return x * arrays.like(np.ldexp(1.0, half), x) * arrays.like(np.ldexp(1.0, exponent - half), x)


def _normalized(x: Array) -> tuple[Array, Array]:
    """Arrays (B, …) times the power of two that brings their norms nearest to 1; the exponents."""
    xp, axes = namespace(x), tuple(range(1, x.ndim))
    largest = xp.max(xp.abs(arrays.real(x)), axis=axes)
    if arrays.is_complex(x):
        largest = xp.maximum(largest, xp.max(xp.abs(xp.imag(x)), axis=axes))
    exponent = np.frexp(arrays.host(largest))[1].astype(np.int64)
    x = _times_power(x, -exponent)
    norm2 = arrays.host(total(abs2(x)))
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
    y_exponent, x_exponent : int arrays of numpy, (B,)
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
            scaled, exponent = _normalized(factor[None, ...] if factor.ndim == 2 else factor)
            factors.append(scaled[0, ...] if factor.ndim == 2 else scaled)
            x_exponent = x_exponent - exponent
        scaled_problem, unresolved = _rescaled(problem, y, factors, y_exponent, x_exponent)
        found = []
        for rows, in_use in _by_idle_atoms(scaled_problem):
            whole = rows.shape[0] == problem.batch
            part = scaled_problem if whole else scaled_problem.take(rows)
            given, at = problem.true_variance, arrays.host(rows)
            units = cls(
                problem=part if in_use is None else _without_idle(part, in_use),
                dims=problem.dims,
                in_use=in_use,
                y_exponent=y_exponent[at],
                x_exponent=x_exponent[at],
                given_variance=None if given is None else take(given, rows),
                unresolved=take(unresolved, rows),
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
                gamma = tuple(take(g, at, 1) for g, at in zip(gamma, self.in_use, strict=True))
            return (*gamma[:-1], _times_power(gamma[-1], -2 * self.x_exponent)), noise_var
        if gamma is not None:
            gamma = _times_power(_block(gamma, self.in_use or ()), -2 * self.x_exponent)
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
            return None if found is None else cost(found, self.y_exponent[arrays.host(rows)])

        def change() -> Any:
            return state.change

        return IterationState(
            x=lambda: self._tensor(state.x, 1, rows),
            gamma=lambda: self._gamma(state.gamma, rows),
            noise_var=lambda: self._noise_var(state.noise_var, rows),
            cost=own_cost,
            change=change,
        )

    def _all(self, x: Array) -> Array:
        """A tensor over the atoms in use as one over all, 0 elsewhere."""
        for axis, at in enumerate(self.in_use or (), start=1):
            x = _widened(x, at, self.dims[axis - 1], axis)
        return x

    # A solver may return anything. What has not the shape or type that it ought to have stays as
    # it is, for whoever checks estimates to find.

    def _tensor(self, x: Any, power: int, rows: Any) -> Any:
        exponent = self.x_exponent[arrays.host(rows)]
        if not arrays.is_numeric(x, (len(exponent), *self.problem.dims)):
            return x
        return self._all(_times_power(x, power * exponent))

    def _gamma(self, gamma: Any, rows: Any) -> Any:
        if not isinstance(gamma, tuple):
            return self._tensor(gamma, 2, rows)
        exponent = self.x_exponent[arrays.host(rows)]
        shapes = [(len(exponent), n) for n in self.problem.dims]
        if len(gamma) != len(shapes) or not all(map(arrays.is_numeric, gamma, shapes)):
            return gamma
        gamma = (*gamma[:-1], _times_power(gamma[-1], 2 * exponent))
        if self.in_use is None:
            return gamma
        parts = zip(gamma, self.in_use, self.dims, strict=True)
        return tuple(_widened(g, at, n, 1) for g, at, n in parts)

    def _noise_var(self, noise_var: Any, rows: Any) -> Any:
        exponent = self.y_exponent[arrays.host(rows)]
        fits = arrays.is_numeric(noise_var, exponent.shape)
        return _times_power(noise_var, 2 * exponent) if fits else noise_var

    def _with_given(self, value: Any) -> Any:
        given = self.given_variance
        if self.in_use is None or given is None or not arrays.is_numeric(value, tuple(given.shape)):
            return value
        used = self._all(arrays.full(given, (given.shape[0], *self.problem.dims), 1.0)) > 0
        return namespace(value).where(used, value, given)


def _block(x: Array, in_use: Sequence[Array]) -> Array:
    """A tensor over all atoms without the idle ones."""
    for axis, at in enumerate(in_use, start=1):
        x = take(x, at, axis)
    return x


def _widened(x: Array, at: Array, size: int, axis: int) -> Array:
    """A tensor whose entries along an axis go to these places among so many, 0 elsewhere."""
    nothing = arrays.zeros(x, (*x.shape[:axis], 1, *x.shape[axis + 1 :]), x.dtype)
    place = np.full(size, len(at))
    place[at] = np.arange(len(at))
    return take(namespace(x).concat([x, nothing], axis=axis), place, axis)


def _rescaled(
    problem: Problem, y: Array, factors: list[Array], y_exponent: Array, x_exponent: Array
) -> tuple[Problem, Array]:
    """The problem in data units, and where its noise is less than double precision resolves."""
    noise_var, true_variance = problem.noise_var, problem.true_variance
    xp = namespace(y)
    unresolved = arrays.zeros(y, (problem.batch,), xp.bool)
    if noise_var is not None:
        # More noise than a float holds is infinitely more than the signal in any case.
        noise_var = xp.minimum(_times_power(noise_var, -2 * y_exponent), sys.float_info.max)
        power = total(abs2(y)) / math.prod(problem.measurements)
        least = RESOLVED * xp.where(power > 0, power, 1.0)
        unresolved = noise_var < least
        noise_var = xp.maximum(noise_var, least)
    if true_variance is not None:
        true_variance = _times_power(true_variance, -2 * x_exponent)
        true_variance = xp.minimum(true_variance, sys.float_info.max)
    gains, forms = problem.true_gains, problem.error_forms
    if gains is not None:
        gains = [*gains[:-1], _times_power(gains[-1], -x_exponent)]
    if forms is not None:
        forms = [f._replace(weight=_times_power(f.weight, 2 * x_exponent)) for f in forms]
    return Problem(y, tuple(factors), noise_var, true_variance, gains, forms), unresolved


def _by_idle_atoms(problem: Problem) -> list[tuple[Array, tuple[Array, ...] | None]]:
    """Realizations whose idle atoms are the same, and which atoms they have in use."""
    rows = arrays.arange(problem.y, problem.batch)
    in_use = [share > sys.float_info.epsilon for share in atom_shares(problem)]
    if all(bool(namespace(used).all(used)) for used in in_use):
        return [(rows, None)]
    in_use = list(map(arrays.host, in_use))
    patterns, which = np.unique(np.concatenate(in_use, axis=1), axis=0, return_inverse=True)
    ends = np.cumsum(problem.dims)[:-1]
    found: list[tuple[Array, tuple[Array, ...] | None]] = []
    for number, pattern in enumerate(patterns):
        kept = None if pattern.all() else tuple(map(np.flatnonzero, np.split(pattern, ends)))
        alike = np.flatnonzero(which.reshape(-1) == number)
        found.append((arrays.like(alike, problem.y), kept))
    return found


def _without_idle(problem: Problem, in_use: tuple[Array, ...]) -> Problem:
    def cut(arrays: Sequence[Any]) -> tuple[Any, ...]:
        pairs = zip(arrays, in_use, strict=True)
        return tuple(a if a is None else take(a, used, a.ndim - 1) for a, used in pairs)

    variance, gains, forms = problem.true_variance, problem.true_gains, problem.error_forms
    return dataclasses.replace(
        problem,
        factors=cut(problem.factors),
        true_variance=None if variance is None else _block(variance, in_use),
        true_gains=None if gains is None else cut(gains),
        error_forms=None if forms is None else [f._replace(factors=cut(f.factors)) for f in forms],
    )
