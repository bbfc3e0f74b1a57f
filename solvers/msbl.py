"""M-SBL, for snapshots that share their support, and multi-stage recovery, composed of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from solvers.arrays import Array, eye, namespace, reshape
from solvers.core import Solver
from solvers.em import initial_gamma
from solvers.estimate import Estimate, Watch, ticking, told_at_the_end
from solvers.judging import combined
from solvers.kron import adjoint, outer
from solvers.kron_sbl import KroneckerSBL
from solvers.noise import first_noise_var
from solvers.options import option, per_factor, published
from solvers.posterior import MStep, Posterior
from solvers.problem import Problem


@dataclass(frozen=True)
class MSBL(KroneckerSBL):
    """EM for Y = A X + N where γ belongs to the rows of X, all columns (snapshots) alike.

    Snapshots are what further factors of a problem say: the first factor is A, the others are
    identities. Without others it is classic SBL, whose E-step in the eigenbasis of A Γ Aᴴ is that
    of a whole batch. Eq. `eq:msbl-step` of docs/numbers.md.

    Notes
    -----
    Source: Wipf and Rao, IEEE TSP 55(7), 2007. It is what others are composed of, and has no
    name of its own.
    """

    any_array: ClassVar[bool] = True
    source: ClassVar[str] = "Wipf and Rao, IEEE TSP 55(7), 2007"

    def prune_bounds(self, factors: int) -> tuple[Sequence[float], Sequence[float]]:
        """The options `prune` and `prune_absolute` for A; a snapshot is never dropped."""
        relative, absolute = per_factor(self.prune, 1), per_factor(self.prune_absolute, 1)
        others = (0.0,) * (factors - 1)
        return (*relative, *others), (*absolute, *others)

    def maximize(self, posterior: Posterior) -> MStep:
        """γ becomes the second moments, averaged over the snapshots."""
        moment = posterior.moment
        over = tuple(range(2, moment.ndim))
        xp = namespace(moment)
        rows = xp.mean(moment, axis=over) if over else moment
        return MStep((rows, *(xp.ones_like(g) for g in posterior.gamma[1:])))


@dataclass(frozen=True)
class Multistage(Solver):
    """Multi-stage recovery: M-SBL along one mode after the other, for Kronecker supports.

    Stage i finds the atoms of factor i, all other modes of what the stages before have left being
    snapshots, and puts what it makes of them in place of the measurements along mode i. Gains may
    be anything. Noise is estimated, since what a stage leaves of it is not white. `iterations` are
    those of the stage that needs most. Eqs. `eq:msbl-step` and `eq:multistage` of docs/numbers.md.

    Notes
    -----
    Source: He and Joseph, arXiv 2409.08699, of which no code was published: this is a reading of it
    for Kronecker supports. A stage's snapshots are rotated onto as many as there are measurements,
    which changes no second moment, so that its cost does not grow with their number.
    """

    prune: float = option(
        1e-3, "drop atoms below this share of their factor's largest γ", at_least=0.0, below=1.0
    )
    max_iterations: int = option(500, "cap on EM iterations of a stage", at_least=1)
    tolerance: float = option(1e-4, "stop at this relative change of γ_i", at_least=0.0)
    order: str = option(
        "determined",
        "modes with most measurements per atom first, or in the order given",
        choices=("determined", "given"),
    )
    initial_gamma: float = initial_gamma(100.0)

    version: ClassVar[int] = 2

    any_array: ClassVar[bool] = True
    source: ClassVar[str] = "He and Joseph, arXiv 2409.08699"
    family: ClassVar[str] = "Kronecker SBL"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = published(
        prune=1e-3, max_iterations=150, tolerance=1e-4, order="given", initial_gamma=1.0
    )

    def _solve(self, problem: Problem, *, watch: Watch, **_: Any) -> Estimate:
        shared = ("prune", "max_iterations", "tolerance", "initial_gamma", "scaling")
        solver = MSBL(noise="estimate", **{name: getattr(self, name) for name in shared})
        modes = list(range(len(problem.dims)))
        if self.order == "determined":
            modes.sort(key=lambda i: -problem.measurements[i] / problem.dims[i])
        xp = namespace(problem.y)
        x, stages, gamma = problem.y, [], [problem.y] * len(modes)
        for mode in modes:
            x, stage = _stage(solver, problem.factors[mode], x, mode, ticking(watch))
            assert isinstance(stage.gamma, tuple)
            along = stage.gamma[0] * stage.gamma[1][:, :1]
            mean = xp.mean(along, axis=1, keepdims=True)
            # Of all but the last stage the shape is kept: the product has then the power of x.
            gamma[mode] = along if mode == modes[-1] else along / xp.where(mean > 0, mean, 1.0)
            stages.append(stage)
        used = [xp.astype(g > 0, xp.float64) for g in gamma]
        found = Estimate(
            # What a stage has dropped comes back from the rotations of others as rounding.
            xp.where(outer(used) > 0, x, 0.0),
            combined([stage.status for stage in stages]),
            functools.reduce(xp.maximum, [stage.iterations for stage in stages]),
            gamma=tuple(gamma),
        )
        return told_at_the_end(watch, found)


def _stage(
    solver: MSBL, factor: Array, x: Array, mode: int, watch: Watch
) -> tuple[Array, Estimate]:
    """Replace the measurements along one mode of a tensor by the entries that explain them."""
    xp = namespace(x)
    moved = xp.moveaxis(x, mode + 1, 1)
    snapshots = reshape(moved, x.shape[0], moved.shape[1], -1)
    # Y = Rᴴ Qᴴ: EM sees YYᴴ/L only, which is that of as many columns of Rᴴ, suitably scaled.
    q, r = xp.linalg.qr(adjoint(snapshots))
    scale = math.sqrt(r.shape[1] / snapshots.shape[2])
    few = Problem(adjoint(r) * scale, (factor, eye(x, r.shape[1])))
    start = first_noise_var(snapshots, solver.scaling)
    stage = solver.solve(few, initial=(None, start), watch=watch)
    assert stage.x is not None
    found = (stage.x / scale) @ adjoint(q)
    return xp.moveaxis(reshape(found, x.shape[0], -1, *moved.shape[2:]), 1, mode + 1), stage
