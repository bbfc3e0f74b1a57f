"""Minima: all local minima of the SBL cost without noise, of small problems, by enumeration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from solvers.core import Solver
from solvers.decomposition import decompose
from solvers.estimate import Estimate
from solvers.kron import abs2, kron, outer
from solvers.options import option
from solvers.problem import Array, Problem

MOST_SUPPORTS = 200_000
"""Sets of atoms beyond which a problem is too large to be enumerated."""

SINGULAR = 1e-9
"""Smallest singular value over the largest at which atoms count as dependent."""

LARGEST_MISFIT = 1e-6
"""Second singular value of y over the first, beyond which it is no product of vectors."""

SMALL = 1e-4
"""Share of the largest entry of x below which it is asked whether an entry is 0."""

AT_ONCE = 2000
"""Sets of atoms that are looked at together, so that memory stays small."""


class _Minima(NamedTuple):
    """The local minima of one unstructured problem.

    Attributes
    ----------
    supports : list of tuples of int
        Atoms in use at each of them.
    x : array, (N,)
        At the lowest.
    cost : float
        Of the lowest; −inf where x needs fewer atoms than there are measurements.
    """

    supports: list[tuple[int, ...]]
    x: Array
    cost: float


@dataclass(frozen=True)
class Minima(Solver):
    """All local minima of the SBL cost as σ² → 0, found by looking at every set of M atoms.

    x̂ is that of the lowest. With ``structure="kronecker"`` γ is a Kronecker product: the cost
    is then a sum over the factors, and so its minima are all combinations of theirs. That takes a
    y that is a product of vectors; of any other, the realization ends as diverged.

    Notes
    -----
    Source: Wipf and Rao, IEEE TSP 52(8), 2004, for where minima are; the condition and the sum
    over factors are Eqs. `eq:minima-condition` and `eq:minima-factors` of docs/numbers.md.
    Solutions with fewer than M atoms have a cost of −∞; each counts as one minimum. For real
    problems only: of the conditions that a γ ≥ 0 with M atoms has to meet, complex ones have twice
    as many, and so have minima with more than M atoms.
    """

    structure: str = option(
        "kronecker", "what γ is: a Kronecker product, or anything", choices=("kronecker", "flat")
    )
    zero: float = option(
        1e-8, "share of ‖y‖ up to which what some atoms add to y counts as nothing", above=0.0
    )

    objective: ClassVar[str] = "SBL cost"
    source: ClassVar[str] = "Wipf and Rao, IEEE TSP 52(8), 2004"
    family: ClassVar[str] = "landscape"
    diagnostics: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType(
        {
            "minima": ("1", "local minima of the SBL cost"),
            "product_minima": ("1", "local minima whose support is a product of sets"),
            "supports": ("1", "sets of atoms, the bound on local minima"),
        }
    )

    def applies(self, problem: Problem) -> str | None:
        """Why a problem is not taken: complex, too large, or a factor with more rows than atoms."""
        if np.iscomplexobj(problem.y) or any(map(np.iscomplexobj, problem.factors)):
            return "Minima is for real problems: with complex ones a minimum may have 2M atoms"
        shapes = [factor.shape[-2:] for factor in problem.factors]
        if any(rows > atoms for rows, atoms in shapes):
            return f"Minima needs at least as many atoms as measurements per factor, got {shapes}"
        if any(rows == 1 < atoms for rows, atoms in shapes):
            return "Minima needs two measurements per factor: with one, all its atoms are parallel"
        if (count := max(map(math.comb, *self._sizes(problem)))) > MOST_SUPPORTS:
            return f"Minima looks at {MOST_SUPPORTS} sets of atoms at most, here are {count:.3g}"
        return super().applies(problem)

    def _sizes(self, problem: Problem) -> tuple[Sequence[int], Sequence[int]]:
        """Atoms and measurements of the unstructured problems that are enumerated."""
        rows = problem.y.shape[1:]
        if self.structure == "flat":
            return [math.prod(problem.dims)], [math.prod(rows)]
        return problem.dims, rows

    def _solve(self, problem: Problem, **_: Any) -> Estimate:
        solve = self._flat if self.structure == "flat" else self._kronecker
        supports = math.prod(map(math.comb, *self._sizes(problem)))
        found = [solve(problem.take(np.array([row]))) for row in range(problem.batch)]
        x, minima, products = (np.array(part) for part in zip(*found, strict=True))
        numbers = {"minima": minima, "product_minima": products}
        return Estimate(x, diagnostics=numbers | {"supports": np.full(problem.batch, supports)})

    def _flat(self, problem: Problem) -> tuple[Array, float, float]:
        a = kron([factor.reshape(factor.shape[-2:]) for factor in problem.factors])
        found = enumerated(a, problem.y.reshape(-1), self.zero)
        products = sum(_is_product(support, problem.dims) for support in found.supports)
        return found.x.reshape(problem.dims), len(found.supports), products

    def _kronecker(self, problem: Problem) -> tuple[Array, float, float]:
        vectors, size, misfit = decompose(problem.y)
        if not misfit[0] <= LARGEST_MISFIT:
            return np.full(problem.dims, np.nan), np.nan, np.nan
        parts = [
            enumerated(factor.reshape(factor.shape[-2:]), vector[0], self.zero)
            for factor, vector in zip(problem.factors, vectors, strict=True)
        ]
        count = math.prod(len(part.supports) for part in parts)
        return size[0] * outer([part.x[None] for part in parts])[0], count, count


def enumerated(a: Array, y: Array, zero: float) -> _Minima:
    """The local minima of log|C| + yᴴC⁻¹y, C = A diag(γ) Aᴴ, over γ ≥ 0.

    Parameters
    ----------
    a : array, (M, N)
    y : array, (M,)
        In general position, but that fewer than M atoms may give it.
    zero
        Share of ‖y‖ up to which what some atoms add to y counts as nothing.
    """
    supports: dict[tuple[int, ...], None] = {}  # in order, each once
    best, lowest = np.full(a.shape[1], np.nan, np.result_type(a, y)), np.inf
    for sets in _batches(*a.shape):
        bases = np.moveaxis(a[:, sets], 1, 0)
        values = np.linalg.svd(bases, compute_uv=False)
        regular = values[:, -1] > SINGULAR * values[:, 0]
        sets, bases, values = sets[regular], bases[regular], values[regular]
        solved = np.linalg.solve(
            bases, np.broadcast_to(np.c_[y, a], (len(sets), *np.c_[y, a].shape))
        )
        x, v = solved[:, :, 0], solved[:, :, 1:]
        # Badly conditioned atoms have entries well above rounding that cancel in y.
        small = np.abs(x) < SMALL * np.abs(x).max(axis=1, keepdims=True)
        without = bases @ np.where(small, x, 0.0)[:, :, None]
        explains_nothing = np.linalg.norm(without[:, :, 0], axis=1) <= zero * np.linalg.norm(y)
        degenerate = small.any(axis=1) & explains_nothing
        used = ~small | ~degenerate[:, None]
        ratios = v / np.where(used, x, 1.0)[:, :, None]
        # An atom of the set itself has equality there, so rounding must not decide.
        excess = abs2(ratios.sum(axis=1)) - abs2(ratios).sum(axis=1)
        np.put_along_axis(excess, sets, -np.inf, axis=1)
        minimum = degenerate | (excess <= 0.0).all(axis=1)
        cost = 2.0 * np.log(values).sum(axis=1) + np.log(abs2(np.where(used, x, 1.0))).sum(axis=1)
        cost = np.where(degenerate, -np.inf, cost + len(y))
        for row in np.flatnonzero(minimum):
            supports[tuple(sets[row, used[row]].tolist())] = None
            if cost[row] < lowest or np.isnan(best[0]):
                best, lowest = np.zeros_like(best), cost[row]
                best[sets[row]] = np.where(used[row], x[row], 0.0)
    return _Minima(list(supports), best, lowest)


def _batches(rows: int, atoms: int) -> Iterator[Array]:
    """All sets of as many atoms as there are rows, (b, M) indices each."""
    sets = itertools.combinations(range(atoms), rows)
    while part := list(itertools.islice(sets, AT_ONCE)):
        yield np.array(part)


def _is_product(support: Sequence[int], dims: Sequence[int]) -> bool:
    """Whether a set of entries is the product of sets of each factor's indices."""
    places = np.unravel_index(support, dims)
    return math.prod(len(np.unique(index)) for index in places) == len(support)
