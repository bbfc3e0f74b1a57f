"""Small random problems for tests."""

from pathlib import Path

import numpy as np

import solvers

REGISTERED = [
    name
    for name in solvers.names()
    if name != "external" and solvers.create(name).family != "landscape"
]
"""Solvers with an algorithm of their own: a program of somebody's is none without one."""


def normal(rng, shape, complex_valued=False):
    real = rng.standard_normal(shape)
    return (real + 1j * rng.standard_normal(shape)) / np.sqrt(2) if complex_valued else real


def apply_factors(factors, x):
    """(A_1 ⊗ … ⊗ A_I) x, dense, for factors with or without a batch axis."""
    from tests.textbook import kron_all

    rows = []
    for b, row in enumerate(x):
        a = kron_all([f if f.ndim == 2 else f[b] for f in factors])
        rows.append((a @ row.reshape(-1)).reshape([f.shape[-2] for f in factors]))
    return np.stack(rows)


def sparse_problem(
    batch=3,
    measurements=(4, 5, 6),
    dims=(6, 6, 6),
    sparsity=2,
    snr_db=20.0,
    seed=0,
    complex_valued=False,
    shared=False,
    unit_gains=False,
):
    """A Kronecker-sparse problem and its true x."""
    rng = np.random.default_rng(seed)
    lead = () if shared else (batch,)
    factors = [
        normal(rng, (*lead, m, n), complex_valued) for m, n in zip(measurements, dims, strict=True)
    ]
    x = np.zeros((batch, *dims), complex if complex_valued else float)
    gains = []
    for row in x:
        parts = []
        for n in dims:
            part = np.zeros(n, x.dtype)
            part[rng.permutation(n)[:sparsity]] = (
                1.0 if unit_gains else normal(rng, min(sparsity, n), complex_valued)
            )
            parts.append(part)
        gains.append(parts)
        outer = parts[0]
        for part in parts[1:]:
            outer = np.multiply.outer(outer, part)
        row[...] = outer
    clean = apply_factors(factors, x)
    power = (np.abs(clean.reshape(batch, -1)) ** 2).mean(axis=1)
    noise_var = np.maximum(power, 1e-30) / 10 ** (snr_db / 10)
    scale = np.sqrt(noise_var).reshape(-1, *[1] * len(dims))
    y = clean + scale * normal(rng, clean.shape, complex_valued)
    energy = (np.abs(x.reshape(batch, -1)) ** 2).sum(axis=1)
    form = solvers.ErrorForm((None,) * len(dims), 1 / energy)
    gains = [np.stack(of_mode) for of_mode in zip(*gains, strict=True)]
    return solvers.Problem(y, factors, noise_var, (x != 0).astype(float), gains, [form]), x


def stacked(problems):
    """Problems as one batch."""
    parts = [(p.y, *p.factors, p.noise_var, p.true_variance) for p in problems]
    y, *factors, noise_var, variance = map(np.concatenate, zip(*parts, strict=True))
    if any(p.true_gains is None for p in problems):
        return solvers.Problem(y, factors, noise_var, variance)
    gains = map(np.concatenate, zip(*(p.true_gains for p in problems), strict=True))
    weight = np.concatenate([p.error_forms[0].weight for p in problems])
    form = solvers.ErrorForm(problems[0].error_forms[0].factors, weight)
    return solvers.Problem(y, factors, noise_var, variance, list(gains), [form])


def reviewers_case(name):
    """A recorded problem, as a batch of one, and what others have made of it, by name.

    tests/golden/reviewers.npz: inputs drawn for the purpose, outputs (`ref_…`) of the code that He
    and Joseph published with arXiv 2310.07869 and 2412.00310, run in Octave, or (`ours_…`) of
    independent implementations of the formulas in docs/numbers.md.
    """
    path = Path(__file__).parent / "golden" / "reviewers.npz"
    with np.load(path) as golden:
        case = {key.removeprefix(f"{name}_"): golden[key] for key in golden if key.startswith(name)}
    factors = [case[f"A{i}"] for i in (1, 2, 3) if f"A{i}" in case]
    return solvers.Problem(case["y"][None], factors, case["noise_var"].reshape(1)), case


def assert_close(found, expected, tolerance=1e-8):
    """Arrays of one size differ by no more than a share of the norm of what is expected."""
    error = np.linalg.norm(found.reshape(-1) - expected.reshape(-1))
    assert error <= tolerance * np.linalg.norm(expected)
