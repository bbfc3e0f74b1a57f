"""UAMP-SBL: approximate message passing in the eigenbasis, with the prior of SBL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from solvers.arrays import wide
from solvers.eigenbasis import Eigenbasis
from solvers.em import initial_gamma
from solvers.estimate import Estimate, IterationState, Watch
from solvers.kron import abs2, adjoint, kron_apply, outer, total
from solvers.noise import NoiseOption, first_noise_var
from solvers.options import option, published
from solvers.problem import Array, Problem
from solvers.rows import keep_rows
from solvers.status import Status
from solvers.units import atom_norms2, data_unit

ABSURD = 100.0
"""‖y − Ax̂‖²/‖y‖² beyond which a row that ends has diverged, without the time to overflow."""

TINY = 1e-300
"""What is put in place of 0 where it is divided by."""

FIRST_SHAPE = 1e-3
"""Shape parameter of the precisions' prior in the first iteration."""


def sum_of_logs(values: Array) -> Array:
    """Sums of logarithms over the rows of positive (b, n) values near 1, (b,).

    They are taken of products of eight, as logarithms would be most of an iteration; values from
    1e-38 to 1e38 will do.
    """
    logs = np.zeros(len(values))
    for _ in range(3):
        half = values.shape[1] // 2
        logs += np.log(values[:, 2 * half :]).sum(axis=1)  # one is left over, or none
        values = values[:, :half] * values[:, half : 2 * half]
    return logs + np.log(values).sum(axis=1)


@dataclass(frozen=True)
class UAMPSBL(NoiseOption):
    """UAMP-SBL: message passing with scalar variances, two matrix products in each iteration.

    It has no cost that would fall, and may diverge: such rows end as diverged, with NaN, where
    numbers overflow or ‖y − Ax̂‖² exceeds 100 ‖y‖² at the end. Eqs.
    `eq:rotate` and `eq:uamp-out` to `eq:uamp-prior` of docs/numbers.md.

    Notes
    -----
    Source: Luo, Guo, Jin, Eldar, Huang and Meng, arXiv 2101.09954, whose steps are whole ones
    (``damping=1.0``): on Kronecker products, whose eigenvalues spread over orders of magnitude,
    these diverge more often than not.
    """

    max_iterations: int = option(500, "cap on iterations", at_least=1)
    tolerance: float = option(
        1e-4, "stop when the relative change of x over the damping is at most this", at_least=0.0
    )
    damping: float = option(0.5, "share of a step that is taken: 1 is all of it", above=0.0)
    initial_gamma: float = initial_gamma(100.0)

    source: ClassVar[str] = "Luo et al., arXiv 2101.09954"
    family: ClassVar[str] = "message passing"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(
        max_iterations=300, tolerance=1e-4, damping=1.0, initial_gamma=1.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.damping > 1.0:
            raise ValueError(f"damping must be at most 1, got {self.damping!r}")

    def _solve(self, problem: Problem, *, watch: Watch, **_: Any) -> Estimate:
        batch = problem.batch
        messages, rows = _Messages(self, problem), np.arange(batch)
        iterations, status = np.zeros(batch, int), np.full(batch, Status.MAX_ITERATIONS)
        x = np.zeros((batch, *problem.dims), problem.y.dtype)
        variance, gamma = np.zeros(x.shape), np.zeros(x.shape)
        noise_var = np.zeros(batch)
        for iteration in range(1, self.max_iterations + 1):
            messages.step(self.damping, estimate_noise=self.noise == "estimate")
            iterations[rows] = iteration
            watch(iteration, rows, messages.seen())
            broken, done = ~np.isfinite(messages.change), messages.change <= self.tolerance
            ends = broken | done | (iteration == self.max_iterations)
            if ends.any():
                broken |= ends & (messages.misfit > ABSURD)
            status[rows[done]], status[rows[broken]] = Status.CONVERGED, Status.DIVERGED
            at = rows[ends]
            x[at], variance[at] = messages.x[ends], messages.variance[ends]
            gamma[at], noise_var[at] = 1.0 / messages.precision[ends], 1.0 / messages.beta[ends]
            if ends.all():
                break
            if ends.any():
                keep_rows(messages, ~ends)
                rows = rows[~ends]
        for found in (x, variance, gamma, noise_var):
            found[status == Status.DIVERGED] = np.nan
        return Estimate(
            x,
            status,
            iterations,
            variance=variance,
            gamma=gamma,
            noise_var=noise_var if self.noise == "estimate" else None,
        )


class _Messages:
    """Rows that are still running, in the eigenbasis."""

    def __init__(self, solver: UAMPSBL, problem: Problem) -> None:
        basis, batch = Eigenbasis.of(problem), problem.batch
        self.y, self.factors, self.power = basis.y, basis.factors, basis.power
        self.adjoints = [adjoint(a) for a in basis.factors]
        unit = data_unit(problem) if solver.scaling == "data" else np.ones(batch)
        norms2 = [np.broadcast_to(n, (batch, n.shape[-1])) for n in map(atom_norms2, basis.factors)]
        self.atoms = np.prod([(n > 0).sum(axis=1) for n in norms2], axis=0, dtype=float)
        self.live: Array | None = None
        if self.atoms.min() < np.prod(problem.dims):
            self.live = outer([(n > 0).astype(float) for n in norms2])
        if solver.noise == "known":
            assert problem.noise_var is not None
            self.beta = 1.0 / np.maximum(problem.noise_var, TINY)
        elif solver.scaling == "data":
            self.beta = 1.0 / first_noise_var(problem.y, solver.scaling)
        else:
            self.beta = np.ones(batch)
        self.spread = solver.initial_gamma * unit
        self.x = np.zeros((batch, *problem.dims), problem.y.dtype)
        self.inverse, self.scale = np.ones(self.x.shape), 1.0 / self.spread
        self.shrink, self.tau_q = np.zeros(self.x.shape), np.zeros(batch)
        self.s, self.change = np.zeros_like(self.y), np.full(batch, np.inf)
        self.shape = np.full(batch, FIRST_SHAPE)

    @property
    def precision(self) -> Array:
        """1/γ, (b, N_1, …, N_I)."""
        return self.inverse * self._wide(self.scale)

    @property
    def variance(self) -> Array:
        """Posterior variances, (b, N_1, …, N_I)."""
        return self.shrink * self._wide(self.tau_q)

    def _wide(self, values: Array) -> Array:
        """(b,) to (b, 1, …, 1)."""
        return wide(values, self.y.ndim)

    def _mean(self, values: Array) -> Array:
        """Mean over the atoms that are not 0, (b,)."""
        return total(values if self.live is None else values * self.live) / self.atoms

    def step(self, damping: float, *, estimate_noise: bool) -> None:
        """One iteration, of which a share `damping` is taken.

        Arrays as large as x are written over where they can be: this is bound by memory.
        """
        tau_p = self._wide(self.spread) * self.power
        p = kron_apply(self.factors, self.x) - tau_p * self.s
        if estimate_noise:
            weight = self._wide(self.beta) * tau_p
            h = (weight * self.y + p) / (1.0 + weight)
            left = total(abs2(self.y - h)) + total(tau_p / (1.0 + weight))
            self.beta = self.y[0].size / left
        tau_s = 1.0 / (tau_p + self._wide(1.0 / self.beta))
        self.s = (1.0 - damping) * self.s + damping * tau_s * (self.y - p)
        self.tau_q = self.atoms / np.maximum(total(self.power * tau_s), TINY)
        shrink = self.inverse * self._wide(self.tau_q * self.scale)
        shrink += 1.0
        self.shrink = np.reciprocal(shrink, out=shrink)
        move = kron_apply(self.adjoints, self.s)
        move *= self._wide(self.tau_q)
        move += self.x
        move *= shrink
        move -= self.x
        move *= damping
        self.x = self.x + move
        self.spread = self.spread + damping * (self.tau_q * self._mean(shrink) - self.spread)
        second = abs2(self.x)
        power = np.maximum(total(second), TINY)
        second += self._wide(self.spread)
        self.inverse, self.scale = 1.0 / second, 2.0 * self.shape + 1.0
        size = power / self.atoms + self.spread
        second /= self._wide(size)
        if self.live is not None:
            second[self.live == 0] = 1.0
        logs = sum_of_logs(second.reshape(len(second), -1)) / self.atoms
        gap = np.log(self._mean(self.inverse) * size) + logs
        self.shape = 0.5 * np.sqrt(np.maximum(gap, 0.0))
        self.change = np.sqrt(total(abs2(move)) / power) / damping

    @property
    def misfit(self) -> Array:
        """‖y − Ax‖²/‖y‖², (b,)."""
        fitted = kron_apply(self.factors, self.x)
        return total(abs2(self.y - fitted)) / total(abs2(self.y))

    def seen(self) -> IterationState:
        """The state of the rows as a watch sees it."""
        return IterationState(
            x=self.x,
            gamma=lambda: 1.0 / self.precision,
            noise_var=lambda: 1.0 / self.beta,
            change=self.change,
        )
