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


def csbl(
    factors,
    y,
    noise_var,
    *,
    prune=1e-3,
    max_iterations=150,
    tolerance=1e-4,
    estimate_noise=False,
    first_noise_var=None,
):
    """Classic SBL with a full dictionary; returns x, iterations, σ²."""
    a, y = kron_all(factors), y.reshape(-1)
    gamma = np.ones(a.shape[1])
    if estimate_noise:
        noise_var = first_noise_var or 0.1 * np.var(y, ddof=1)
    iteration = 0
    while iteration < max_iterations:
        iteration += 1
        old = gamma
        keep = gamma >= prune * gamma.max()
        post = Dense.of(a[:, keep], y, gamma[keep], noise_var)
        if estimate_noise:
            fitted = post.residual + noise_var * np.sum(1 - post.variance / gamma[keep])
            noise_var = fitted / len(y)
        gamma = np.zeros(len(old))
        gamma[keep] = np.abs(post.mean) ** 2 + post.variance
        if np.linalg.norm(gamma - old) / np.linalg.norm(old) <= tolerance:
            break
    return Dense.of(a, y, gamma, noise_var).mean, iteration, noise_var


def pc_sbl(
    factors,
    y,
    noise_var,
    *,
    a=0.5,
    b=1e-4,
    eta=0.9,
    max_iterations=150,
    tolerance=1e-4,
    estimate_noise=False,
):
    """PC-SBL of Fang et al. with a full dictionary; returns x, iterations, σ²."""
    dictionary, y = kron_all(factors), y.reshape(-1)
    n = dictionary.shape[1]
    neighbours = np.eye(n) + eta * (np.eye(n, k=1) + np.eye(n, k=-1))
    gamma = np.ones(n)
    if estimate_noise:
        noise_var = 0.1 * np.var(y, ddof=1)
    post = Dense.of(dictionary, y, gamma, noise_var)
    iteration = 0
    while iteration < max_iterations:
        iteration += 1
        expected = neighbours @ (np.abs(post.mean) ** 2 + post.variance)
        alpha = (a + 0.5) / (0.5 * expected + b)
        alpha[alpha > 1e3 * alpha.min()] = 1e10
        if estimate_noise:
            fitted = post.residual + noise_var * np.sum(1 - post.variance / gamma)
            noise_var = fitted / len(y)
        gamma = 1 / (neighbours @ alpha)
        old, post = post.mean, Dense.of(dictionary, y, gamma, noise_var)
        if np.linalg.norm(post.mean - old) / np.linalg.norm(old) <= tolerance:
            break
    return post.mean, iteration, noise_var


def omp(factors, y, noise_var, max_atoms=None):
    """Orthogonal matching pursuit with a full dictionary; returns x, iterations."""
    a, y = kron_all(factors), y.reshape(-1)
    chosen, x, residual = [], np.zeros(a.shape[1], a.dtype), y
    while np.linalg.norm(residual) ** 2 > len(y) * noise_var and len(chosen) < min(a.shape):
        if max_atoms is not None and len(chosen) == max_atoms:
            break
        scores = np.abs(a.conj().T @ residual) / np.linalg.norm(a, axis=0)
        scores[chosen] = 0
        chosen.append(int(scores.argmax()))
        x = np.zeros(a.shape[1], np.result_type(a, y))
        x[chosen] = np.linalg.lstsq(a[:, chosen], y, rcond=None)[0]
        residual = y - a @ x
    return x, len(chosen)


def komp(factors, y, caps, bound2):
    """Kronecker OMP with a full dictionary; returns x, iterations."""
    dims = [f.shape[1] for f in factors]
    a, y = kron_all(factors), y.reshape(-1)
    sets: list[list[int]] = [[] for _ in dims]
    residual, iteration = y, 0
    while True:
        iteration += 1
        best = np.unravel_index(np.abs(a.conj().T @ residual).argmax(), dims)
        gained = False
        for chosen, index, cap in zip(sets, best, caps, strict=True):
            if index not in chosen and len(chosen) < cap:
                chosen.append(index)
                gained = True
        block = np.zeros(dims, bool)
        block[np.ix_(*sets)] = True
        block = block.reshape(-1)
        x = np.zeros(a.shape[1], np.result_type(a, y))
        x[block] = np.linalg.pinv(a[:, block]) @ y
        residual = y - a @ x
        full = all(len(s) == c for s, c in zip(sets, caps, strict=True))
        if not gained or full or np.linalg.norm(residual) ** 2 <= bound2:
            return x, iteration


def momentum_sbl(
    factors, y, noise_var, *, prune=1e-3, max_iterations=500, tolerance=1e-4, estimate_noise=False
):
    """Classic SBL from γ = 1 with guarded momentum; returns x, iterations, leaps."""
    a, y = kron_all(factors), y.reshape(-1)

    def em(gamma, s2):
        use = gamma > 0
        post = Dense.of(a[:, use], y, gamma[use], s2)
        new = np.zeros(len(gamma))
        new[use] = np.abs(post.mean) ** 2 + post.variance
        if estimate_noise:
            s2 = (post.residual + s2 * np.sum(1 - post.variance / gamma[use])) / len(y)
        return new, s2, np.linalg.norm(new - gamma) / np.linalg.norm(gamma)

    gamma = np.ones(a.shape[1])
    s2 = 0.1 * np.var(y, ddof=1) if estimate_noise else noise_var
    before, bound, age, leaps = None, np.inf, 0, 0
    for iteration in range(1, max_iterations + 1):
        step, step_s2, change = em(gamma, s2)
        if change <= tolerance or iteration == max_iterations:
            break
        settled = change <= 0.05
        gamma, s2, leapt = step, step_s2, settled and age > 0
        if leapt:
            use = (step > 0) & (before[0] > 0)
            share = age / (age + 3)
            gamma = step.copy()
            gamma[use] *= (step[use] / before[0][use]) ** share
            s2 = step_s2 * (step_s2 / before[1]) ** share
        plain = np.where(step < prune * step.max(), 0.0, step)
        gamma = np.where(gamma < prune * gamma.max(), plain, gamma)
        cost = Dense.of(a, y, gamma, s2).cost
        refused = leapt and cost > bound + 1e-10 * abs(bound)
        before = step, step_s2
        if refused:
            gamma, s2 = np.where(gamma > 0, step, 0.0), step_s2
            cost = Dense.of(a, y, gamma, s2).cost
        age = age + 1 if settled and not refused else 0
        leaps += leapt and not refused
        bound = cost
    mean = Dense.of(a, y, step, step_s2).mean
    return mean.reshape([f.shape[1] for f in factors]), iteration, leaps


def decomposed(y, noise_var):
    """Vectors whose product is near y, by SVDs, the last with its norm; and their noise."""
    vectors, rest = [], y
    for m in y.shape[:-1]:
        u, s, vh = np.linalg.svd(rest.reshape(m, -1), full_matrices=False)
        vectors.append(u[:, 0])
        rest = s[0] * vh[0]
    size2 = np.linalg.norm(rest) ** 2
    return [*vectors, rest], [noise_var / size2] * len(vectors) + [noise_var]


def product(vectors):
    return kron_all([v[:, None] for v in vectors])[:, 0]


def shrink(x, threshold):
    return x * max(1 - threshold / abs(x), 0) if x != 0 else x


def lasso(factors, y, penalty, sweeps=3000):
    """LASSO by cyclic coordinate descent with a full dictionary."""
    a, y = kron_all(factors), y.reshape(-1)
    x, norms2 = np.zeros(a.shape[1], np.result_type(a, y)), np.sum(np.abs(a) ** 2, axis=0)
    residual = y - a @ x
    for _ in range(sweeps):
        largest = 0.0
        for n, column in enumerate(a.T):
            new = shrink(x[n] + column.conj() @ residual / norms2[n], penalty / norms2[n])
            residual = residual - column * (new - x[n])
            largest, x[n] = max(largest, abs(new - x[n])), new
        if largest <= 1e-12 * np.abs(x).max():
            break
    return x


def universal(factors, noise_var, is_complex):
    a = kron_all(factors)
    size = np.log(a.shape[1]) * (1 if is_complex else 2)
    return np.sqrt(noise_var * size) * np.mean([np.linalg.norm(f, axis=0).mean() for f in [a]])


def bpdn(factors, y, epsilon):
    """Least l1 norm within a residual: the LASSO of the penalty that gives it, by bisection."""
    low, high = 0.0, np.abs(kron_all(factors).conj().T @ y.reshape(-1)).max()
    for _ in range(32):
        middle = (low + high) / 2
        x = lasso(factors, y, middle)
        if np.linalg.norm(y.reshape(-1) - kron_all(factors) @ x) > epsilon:
            high = middle
        else:
            low = middle
    return x


def msbl(a, y, *, prune=1e-3, max_iterations=150, tolerance=1e-4):
    """M-SBL of the columns of y with estimated noise; returns x, γ, iterations."""
    m, r = len(a), y @ y.conj().T / y.shape[1]
    gamma, noise_var = np.ones(a.shape[1]), 0.1 * np.var(y, ddof=1)
    iteration = 0
    while iteration < max_iterations:
        iteration += 1
        old, gamma = gamma, np.where(gamma < prune * gamma.max(), 0.0, gamma)
        inverse = np.linalg.inv(noise_var * np.eye(m) + (a * gamma) @ a.conj().T)
        power = np.einsum("mn,mk,kn->n", a.conj(), inverse @ r @ inverse, a).real
        known = gamma * np.einsum("mn,mk,kn->n", a.conj(), inverse, a).real
        gamma = gamma**2 * power + gamma - gamma * known
        left = noise_var**2 * np.trace(inverse @ r @ inverse).real
        noise_var = (left + noise_var * known.sum()) / m
        if np.linalg.norm(gamma - old) <= tolerance * np.linalg.norm(old):
            break
    covariance = noise_var * np.eye(m) + (a * gamma) @ a.conj().T
    return gamma[:, None] * (a.conj().T @ np.linalg.solve(covariance, y)), gamma, iteration


def multistage(factors, y, modes):
    """M-SBL along one mode after the other; returns x and the iterations of each."""
    counts = []
    for mode in modes:
        moved = np.moveaxis(y, mode, 0)
        x, _, count = msbl(factors[mode], moved.reshape(len(moved), -1))
        y = np.moveaxis(x.reshape(-1, *moved.shape[1:]), 0, mode)
        counts.append(count)
    return y, counts


def uamp_sbl(factors, y, noise_var, iterations, damping, *, estimate_noise=False, start=1.0):
    """UAMP-SBL with a full dictionary, rotated by its singular vectors; returns x, σ²."""
    a = kron_all(factors)
    u, values, _ = np.linalg.svd(a)
    spectrum = np.zeros(len(a))
    spectrum[: len(values)] = values**2
    r, phi = u.conj().T @ y.reshape(-1), u.conj().T @ a
    m, n = phi.shape
    tau_x, x, s = start, np.zeros(n, a.dtype), np.zeros(m, a.dtype)
    gamma, beta = np.full(n, 1 / start), 1.0 if estimate_noise else 1 / noise_var
    epsilon = 1e-3
    for _ in range(iterations):
        tau_p = tau_x * spectrum
        p = phi @ x - tau_p * s
        if estimate_noise:
            h = (beta * tau_p * r + p) / (1 + beta * tau_p)
            v = tau_p / (1 + beta * tau_p)
            beta = m / (np.linalg.norm(r - h) ** 2 + v.sum())
        tau_s = 1 / (tau_p + 1 / beta)
        s = (1 - damping) * s + damping * tau_s * (r - p)
        tau_q = n / np.sum(spectrum * tau_s)
        q = x + tau_q * phi.conj().T @ s
        d = 1 / (1 + tau_q * gamma)
        tau_x = (1 - damping) * tau_x + damping * tau_q * d.mean()
        x = (1 - damping) * x + damping * q * d
        gamma = (2 * epsilon + 1) / (np.abs(x) ** 2 + tau_x)
        epsilon = 0.5 * np.sqrt(np.log(gamma.mean()) - np.log(gamma).mean())
    return x, 1 / beta


def fast_sbl(factors, y, noise_var, tolerance, gamma=None, *, cyclic=False):
    """One γ_n after the other to the minimum of the cost, by explicit inverses; γ, x, steps."""
    a, y = kron_all(factors), y.reshape(-1)
    gamma = np.zeros(a.shape[1]) if gamma is None else gamma.reshape(-1).copy()
    steps, last = 0, -1
    while True:
        lower, best = np.zeros(len(gamma)), np.zeros(len(gamma))
        for n in range(len(gamma)):
            others = np.where(np.arange(len(gamma)) == n, 0.0, gamma)
            inverse = np.linalg.inv(noise_var * np.eye(len(y)) + (a * others) @ a.conj().T)
            s = (a[:, n].conj() @ inverse @ a[:, n]).real
            q2 = abs(a[:, n].conj() @ inverse @ y) ** 2
            best[n] = max(q2 - s, 0.0) / s**2

            def below(g, s=s, q2=q2):
                return q2 * g / (1 + g * s) - np.log(1 + g * s)

            lower[n] = below(best[n]) - below(gamma[n])
        if lower.max() <= tolerance:
            return gamma, Dense.of(a, y, gamma, noise_var).mean, steps
        order = np.roll(np.arange(len(gamma)), -last - 1)
        last = order[lower[order] > tolerance][0] if cyclic else lower.argmax()
        gamma[last], steps = best[last], steps + 1
