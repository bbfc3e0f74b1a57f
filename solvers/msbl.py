"""M-SBL: sparse Bayesian learning from several snapshots that share their support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from solvers.kron_sbl import KroneckerSBL
from solvers.options import per_factor
from solvers.posterior import MStep, Posterior


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
        return MStep((moment.mean(axis=over), *(np.ones_like(g) for g in posterior.gamma[1:])))
