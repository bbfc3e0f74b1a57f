"""A good dense numpy implementation of Kronecker SBL, to measure against.

Good means: the M×M form of the posterior, one Cholesky factorisation per iteration, no diagonal
matrix formed, pruned columns left out. What it lacks is the Kronecker structure.
"""

from functools import reduce

import numpy as np
import scipy.linalg


def e_step(a, y, gamma, noise_var):
    """Posterior mean and second moments with a full dictionary a, (M, N)."""
    covariance = (a * gamma) @ a.conj().T
    covariance[np.diag_indices(len(a))] += noise_var
    factor = scipy.linalg.cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    half = scipy.linalg.solve_triangular(factor, a, lower=True, check_finite=False)
    rotated = scipy.linalg.solve_triangular(factor, y, lower=True, check_finite=False)
    mean = gamma * (half.conj().T @ rotated)
    variance = gamma - gamma**2 * (np.abs(half) ** 2).sum(axis=0)
    return mean, np.abs(mean) ** 2 + variance


def iterate(factors, y, noise_var, iterations, m_step, prune):
    """Run some EM iterations on one realization; returns the last posterior mean."""
    gamma = [np.ones(a.shape[1]) for a in factors]
    y = y.reshape(-1)
    for _ in range(iterations):
        stay = [g >= prune * g.max() for g in gamma]
        factors = [a[:, s] for a, s in zip(factors, stay, strict=True)]
        gamma = [g[s] for g, s in zip(gamma, stay, strict=True)]
        a = reduce(np.kron, factors)
        mean, moment = e_step(a, y, reduce(np.kron, gamma), noise_var)
        gamma = m_step(moment.reshape([len(g) for g in gamma]), gamma)
    return mean
