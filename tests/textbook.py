"""Dense textbook versions of everything in `solvers`: full Kronecker matrix, full covariance,
explicit inverse, one realization at a time. Slow, and easy to believe."""

from dataclasses import dataclass

import numpy as np


def kron_all(factors):
    result = np.ones((1, 1))
    for factor in factors:
        result = np.kron(result, factor)
    return result


@dataclass
class Dense:
    """Posterior of x in y = A x + n for x ~ N(0, diag(gamma)), n ~ N(0, noise_var)."""

    mean: np.ndarray
    variance: np.ndarray
    cost: float
    residual: float

    @classmethod
    def of(cls, a, y, gamma, noise_var):
        covariance = noise_var * np.eye(len(a)) + (a * gamma) @ a.conj().T
        inverse = np.linalg.inv(covariance)
        gain = np.diag(gamma) @ a.conj().T @ inverse
        sigma = np.diag(gamma) - gain @ a @ np.diag(gamma)
        mean = gain @ y
        _, logdet = np.linalg.slogdet(covariance)
        cost = logdet + (y.conj() @ inverse @ y).real
        return cls(mean, np.diag(sigma).real, cost, np.linalg.norm(y - a @ mean) ** 2)


def am_update(moment, gamma, mode):
    """Minimiser of Σ log γ + Λ/γ over one factor, by summing over all other indices."""
    ones = [np.ones_like(g) if j == mode else 1 / g for j, g in enumerate(gamma)]
    weights = kron_all([w[:, None] for w in ones]).reshape(moment.shape)
    others = tuple(j for j in range(len(gamma)) if j != mode)
    return (moment * weights).sum(axis=others) * len(gamma[mode]) / moment.size


def normalized(gamma):
    *leading, last = gamma
    for i, g in enumerate(leading):
        scale = np.linalg.norm(g)
        leading[i], last = g / scale, last * scale
    return [*leading, last]


def flat(gamma):
    return kron_all([g[:, None] for g in gamma])[:, 0]


def am_step(moment, gamma, tolerance=1e-5, relative=False, cap=500):
    for count in range(1, cap + 1):
        old = flat(gamma)
        gamma = list(gamma)
        for mode in range(len(gamma)):
            gamma[mode] = am_update(moment, gamma, mode)
        gamma = normalized(gamma)
        change = np.linalg.norm(flat(gamma) - old) / (np.linalg.norm(old) if relative else 1)
        if change <= tolerance:
            return gamma, count
    return gamma, cap


def ksbl_step(moment, gamma):
    return am_step(moment, gamma, tolerance=np.inf)


def svd_step(moment, gamma):
    rest, result = moment, []
    for g in gamma[:-1]:
        u, s, vh = np.linalg.svd(rest.reshape(len(g), -1), full_matrices=False)
        result.append(np.abs(u[:, 0]))
        rest = np.abs(s[0] * vh[0])
    return [*result, rest], 0


def pc_step(c, coupled, floor, tolerance, relative, cap):
    """The pattern-coupled M-step; `c` are the coupling matrices of the coupled factors."""
    from scipy.optimize import nnls

    def step(moment, gamma, keep):
        for count in range(1, cap + 1):
            old = flat(gamma)
            gamma = list(gamma)
            for mode in range(len(gamma)):
                new = am_update(moment, gamma, mode)
                if mode in coupled:
                    matrix = c[mode][np.ix_(keep[mode], keep[mode])]
                    new = matrix @ nnls(matrix, new)[0] + floor
                gamma[mode] = new
            gamma = normalized(gamma)
            change = np.linalg.norm(flat(gamma) - old) / (np.linalg.norm(old) if relative else 1)
            if change <= tolerance:
                return gamma, count
        return gamma, cap

    return step


def kron_em(
    factors,
    y,
    noise_var,
    m_step,
    *,
    start=None,
    prune=0.0,
    prune_absolute=0.0,
    max_iterations=150,
    tolerance=1e-4,
    estimate_noise=False,
    with_keep=False,
):
    """EM for γ = γ_1 ⊗ … ⊗ γ_I as the authors' scripts do it; returns x, iterations, σ², inner."""
    dims = [a.shape[1] for a in factors]
    gamma = normalized([np.ones(n) for n in dims] if start is None else list(start))
    keep = [np.arange(n) for n in dims]
    y = y.reshape(-1)
    if estimate_noise:
        noise_var = 0.1 * np.var(y, ddof=1)
    whole = flat(gamma).reshape(dims)
    inner = iteration = 0
    while iteration < max_iterations:
        iteration += 1
        old = whole
        stay = [~((g < prune * g.max()) | (g < prune_absolute)) for g in gamma]
        gamma = [g[s] for g, s in zip(gamma, stay, strict=True)]
        keep = [k[s] for k, s in zip(keep, stay, strict=True)]
        a = kron_all([f[:, k] for f, k in zip(factors, keep, strict=True)])
        post = Dense.of(a, y, flat(gamma), noise_var)
        moment = (np.abs(post.mean) ** 2 + post.variance).reshape([len(k) for k in keep])
        prior = flat(gamma)
        gamma, count = m_step(moment, gamma, keep) if with_keep else m_step(moment, gamma)
        inner += count
        if estimate_noise:
            fitted = post.residual + noise_var * np.sum(1 - post.variance / prior)
            noise_var = fitted / len(y)
        whole = np.zeros(dims)
        whole[np.ix_(*keep)] = flat(gamma).reshape([len(k) for k in keep])
        if np.linalg.norm(whole - old) / np.linalg.norm(old) <= tolerance:
            break
    post = Dense.of(kron_all(factors), y, whole.reshape(-1), noise_var)
    return post.mean.reshape(dims), iteration, noise_var, inner
