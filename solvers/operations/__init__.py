"""The operations that have two implementations: compiled for numpy, and in the array API standard.

These eight are where array calls alone would cost the processor most: eigenvectors of many small
matrices, inner loops, entrywise work in one pass, systems. For arrays of numpy they come from
`solvers.operations.compiled`, for those of other libraries, GPUs' say, from
`solvers.operations.standard`. No algorithm knows which, and tests hold them equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from solvers.arrays import Array
from solvers.operations import compiled, standard
from solvers.operations.terms import Coupling, Parts, Spread, Sweeps, Systems


def _of(array: Array) -> Any:
    """The implementation for arrays of this kind."""
    return compiled if isinstance(array, np.ndarray) else standard


def eigh(matrices: Array) -> tuple[Array, Array]:
    """Eigenvalues (B, n), in no order, and eigenvectors (B, n, n) of Hermitian matrices.

    Matrices that are not finite get NaN: one of them would otherwise fail the whole batch, and
    this way its row ends as diverged.
    """
    return _of(matrices).eigh(matrices)


def leading_vectors(matrices: Array) -> Array:
    """Leading eigenvectors of symmetric non-negative matrices, (B, n, n) to (B, n).

    They are not negative, and 0 for a matrix of zeros.
    """
    return _of(matrices).leading_vectors(matrices)


def shrink(spectra: Sequence[Array], noise_var: Array, data: Array) -> tuple[Array, Array]:
    """D = 1 / (σ² + p) and D ∘ data, for p = p_1 ∘ … ∘ p_I, (B, r_1, …, r_I) each.

    Parameters
    ----------
    spectra : sequence of arrays (B, r_i)
        The p_i.
    noise_var : array, (B,)
    data : array, (B, r_1, …, r_I)
    """
    return _of(data).shrink(spectra, noise_var, data)


def second_moments(mean: Array, gamma: Sequence[Array], explained: Array) -> Array:
    """|μ|² + |γ − explained| for γ = γ_1 ∘ … ∘ γ_I, like the mean.

    The modulus, since rounding may leave a variance a little below 0.
    """
    return _of(mean).second_moments(mean, gamma, explained)


def alternate(
    moment: Array,
    gamma: Sequence[Array],
    *,
    tolerance: float = 0.0,
    relative: bool = False,
    max_iterations: int = 1,
    coupling: Coupling | None = None,
    unit: Array | None = None,
    spread: Spread | None = None,
) -> tuple[tuple[Array, ...], Array, Array]:
    """Sweep over the factors of γ until it stands still, each row for as long as it needs.

    Each factor in turn gets its exact minimiser of Σ log γ + Λ/γ, the others held at their newest
    values: γ_i ← (1/Π_{j≠i} n_j) Σ_{other indices} Λ / Π_{j≠i} γ_j, Eq. `eq:am-step` of
    docs/numbers.md; with a coupling, the vector nearest to that which keeps it.

    Parameters
    ----------
    moment : array, (B, n_1, …, n_I)
        Posterior second moments Λ, 0 at atoms out of use; with `spread` those of the mean.
    gamma : sequence of arrays (B, n_i)
        Where to start; 0 at atoms out of use.
    tolerance
        Bound on ‖γ' − γ‖, or where `relative` on ‖γ' − γ‖/‖γ‖, of the whole γ: Eq. `eq:am-stop` of
        docs/numbers.md.
    relative
        Whether the tolerance is relative.
    max_iterations
        Cap on the sweeps. (Departure from the authors' code, which has none and may spin.)
    coupling
        A constraint on the factors.
    unit : array, (B,), optional
        What an absolute tolerance, and the floor of a coupled last factor, are multiples of. By
        default 1.
    spread
        What is missing from `moment`. There is one sweep then, which needs sums over Λ only, so
        that the tensor of the variances need not be formed.

    Returns
    -------
    gamma : tuple of arrays (B, n_i)
        All but the last of norm 1.
    sweeps : int array, (B,)
    capped : bool array, (B,)
        Whether the cap ended them.
    """
    sweeps = Sweeps(tolerance, relative, max_iterations, coupling, unit, spread)
    return _of(moment).alternate(moment, gamma, sweeps)


def prune(
    gamma: Sequence[Array],
    relative: Sequence[float],
    absolute: Sequence[float],
    where: Array,
    weights: Sequence[Array] | None = None,
    unit: Array | None = None,
) -> tuple[tuple[Array, ...], Array]:
    """Set small entries of each factor of γ to 0.

    Parameters
    ----------
    gamma : sequence of arrays (B, n_i)
    relative, absolute : sequences of numbers, one per factor
        Bound relative to the factor's own largest entry, and bound as it stands.
    where : bool array, (B,)
        Rows to prune.
    weights : sequence of arrays (B, n_i), optional
        What entries are weighed by. With them absolute bounds are those of the product γ in terms
        of `unit`, (B,); without, those of its factors as they stand.

    Returns
    -------
    gamma : tuple of arrays (B, n_i)
    removed : array, (B,)
        Squared norm of what was taken out of the Kronecker product. Summed from the parts that
        went, so that it is exactly 0 where nothing did.
    """
    return _of(where).prune(gamma, relative, absolute, where, weights, unit)


def distance2(new: Sequence[Array], old: Sequence[Array]) -> Array:
    """Squared distance between two Kronecker products of non-negative (B, n_i) vectors, (B,).

    It is exact to rounding, however small: differences are telescoped.
    """
    return _of(new[0]).distance2(new, old)


def solve_systems(model: Systems, gamma: Array, noise_var: Array) -> Parts:
    """Posterior for an unstructured γ, (B, n) over the atoms of a model, by one system per row.

    Where at least as many atoms as measurements are in use it is the M×M matrix K = σ²I + AΓAᴴ,
    with μ = ΓAᴴK⁻¹y and Σ_nn = γ − γ² (AᴴK⁻¹A)_nn: Eq. `eq:flat-rows` of docs/numbers.md; otherwise
    the n×n matrix S = σ²I + Γ^½AᴴAΓ^½ of the atoms in use, with μ = Γ^½ S⁻¹ Γ^½ Aᴴy and
    Σ_nn = σ² γ (S⁻¹)_nn: Eq. `eq:flat-atoms`.
    """
    return _of(gamma).solve_systems(model, gamma, noise_var)
