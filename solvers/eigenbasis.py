"""The problem in the eigenbasis of AAᴴ, where AAᴴ is diagonal."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from solvers.kron import adjoint, kron_apply, outer
from solvers.operations import eigh
from solvers.problem import Array, Problem


class Eigenbasis(NamedTuple):
    """A batch of y = Ax + n, multiplied by Uᴴ with AAᴴ = U diag(p) Uᴴ, U a Kronecker product.

    Attributes
    ----------
    y : array, (B, M_1, …, M_I)
        Uᴴy, whose noise is as white as that of y.
    factors : list of arrays (M_i, N_i) or (B, M_i, N_i)
        U_iᴴA_i.
    powers : list of arrays (M_i,) or (B, M_i)
        Eigenvalues of A_iA_iᴴ, whose outer product is p.
    """

    y: Array
    factors: list[Array]
    powers: list[Array]

    @classmethod
    def of(cls, problem: Problem) -> Eigenbasis:
        """Rotate a problem: Eq. `eq:rotate` of docs/numbers.md."""
        rotations, powers = [], []
        for factor in problem.factors:
            gram = factor @ adjoint(factor)
            p, u = eigh(gram if gram.ndim == 3 else gram[None])
            p = np.maximum(p, 0.0)
            rotations.append(adjoint(u) if gram.ndim == 3 else adjoint(u[0]))
            powers.append(p if gram.ndim == 3 else p[0])
        factors = [r @ a for r, a in zip(rotations, problem.factors, strict=True)]
        return cls(kron_apply(rotations, problem.y), factors, powers)

    def normalized(self) -> tuple[Eigenbasis, Array]:
        """The same with ‖A‖ = 1, and the norm that A had, (B,)."""
        batch, size, factors, powers = len(self.y), np.ones(len(self.y)), [], []
        for factor, p in zip(self.factors, self.powers, strict=True):
            norm = np.sqrt(p.max(axis=-1, keepdims=True))
            norm = np.where(norm > 0, norm, 1.0)
            factors.append(factor / norm[..., None])
            powers.append(p / norm**2)
            size = size * np.broadcast_to(norm[..., 0], (batch,))
        return Eigenbasis(self.y, factors, powers), size

    @property
    def power(self) -> Array:
        """The eigenvalues p as a tensor like y."""
        batch = len(self.y)
        return outer([np.broadcast_to(p, (batch, p.shape[-1])) for p in self.powers])
