"""How far each solver is from the LAPACK and BLAS calls that numpy would spend on it.

    python -m benchmarks.floor [--batch 1 10 50 …] [--study synthetic irs] [--solver am_krosbl …]

For each EM solver and batch: time per EM iteration per realization, the floor, and the ratio; and
how many times as long a good dense implementation takes (benchmarks/dense.py). The floor is timed
alone, in turns with the solve (three times; the middle ratio is shown), on matrices and tensors of
the shapes and batches that the solve itself had in each of its iterations:

    Kronecker solvers   the eigenproblems of the E-step, its mode products (data, mean, variance)
                        and the products of the M-step; for SVD-KroSBL its leading pairs; for
                        AM-KroSBL and PC-KroSBL the inner loop counts as its own floor
    cSBL, PC-SBL        one Cholesky factorisation, one inverse and the structured products; with
                        fewer atoms than measurements, the inverse of the triangle alone
    LASSO, BPDN, UAMP   the products with the factors and their adjoints, and nothing of the passes
                        over tensors as large as x

One core, one BLAS thread, malloc set as in a worker.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import contextlib
import time
from collections import Counter
from pathlib import Path

import numpy as np
import scipy.linalg.lapack

import solvers
from benchmarks.dense import e_step, iterate
from pipeline import Campaign
from pipeline.solving import process
from solvers import flat_model, kron_model, kron_sbl, l1, message_passing
from solvers.kron import kron_apply

ROOT = Path(__file__).parent.parent
ROUNDS = 3
STUDIES = {  # campaign file, point, and the largest batch of the solvers in FLAT
    "synthetic": ("workflows/paper/snr.toml", (20,), 10),
    "irs": ("workflows/paper/irs.toml", (12,), 100),
    "baselines": ("workflows/baselines/snr.toml", ("product", 20), 0),
}
BASELINES = ("lasso", "bpdn", "uamp_sbl")
FLAT = ("csbl", "pc_sbl")  # so slow in the first study that larger batches take too long


def seconds_per_call(call, repeats=3):
    """Mean over several calls, after one that warms up.

    Not the shortest: a solve of seconds has the machine's good and bad moments, too.
    """
    call()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


@contextlib.contextmanager
def recorded():
    """Shapes of every E-step, and the seconds spent in inner loops."""
    log, inner = Counter(), [0.0]
    build, alternate = kron_model.KronPosterior.__init__, kron_sbl.alternate
    build_flat = flat_model.FlatPosterior.__init__

    def noted_build(self, model, gamma, noise_var):
        sizes = tuple(g.shape[1] for g in gamma)
        log[len(noise_var), sizes, tuple(model.small), model.data.dtype] += 1
        build(self, model, gamma, noise_var)

    def noted_flat(self, model, gamma, noise_var):
        for row in gamma[0]:
            if row.min() != row.max():  # the first E-step is one of a Kronecker prior
                log[int(np.count_nonzero(row))] += 1
        build_flat(self, model, gamma, noise_var)

    def timed_alternate(*arguments, **options):
        start = time.perf_counter()
        result = alternate(*arguments, **options)
        inner[0] += time.perf_counter() - start
        return result

    kron_model.KronPosterior.__init__ = noted_build
    flat_model.FlatPosterior.__init__ = noted_flat
    kron_sbl.alternate = timed_alternate
    try:
        yield log, inner
    finally:
        kron_model.KronPosterior.__init__ = build
        flat_model.FlatPosterior.__init__ = build_flat
        kron_sbl.alternate = alternate


@contextlib.contextmanager
def recorded_products():
    """Shapes of every Kronecker product that the baselines take."""
    log = Counter()

    def noted(matrices, x):
        log[tuple(m.shape for m in matrices), x.shape, x.dtype] += 1
        return kron_apply(matrices, x)

    l1.kron_apply = message_passing.kron_apply = noted
    try:
        yield log
    finally:
        l1.kron_apply = message_passing.kron_apply = kron_apply


def products_floor(log, rng):
    """Seconds of the products alone."""
    found = 0.0
    for (shapes, shape, dtype), times in log.items():
        matrices = [normal(rng, s, dtype) for s in shapes]
        x = normal(rng, shape, dtype)
        found += times * seconds_per_call(lambda m=matrices, x=x: kron_apply(m, x))
    return found


def normal(rng, shape, dtype):
    """Random numbers of a type."""
    values = rng.standard_normal(shape)
    return (
        (values + 1j * rng.standard_normal(shape)).astype(dtype)
        if np.dtype(dtype).kind == "c"
        else values
    )


def kron_floor(key, measurements, name, rng):
    """Seconds of the unavoidable calls of one EM iteration of that shape."""
    batch, sizes, small, dtype = key
    orders = [n if s else m for n, m, s in zip(sizes, measurements, small, strict=True)]
    stacks = [normal(rng, (batch, r, r), dtype) for r in orders]
    stacks = [s @ s.conj().swapaxes(1, 2) for s in stacks]
    data = normal(rng, (batch, *orders), dtype)
    w = [normal(rng, (batch, n, r), dtype) for n, r in zip(sizes, orders, strict=True)]
    weights, d = [np.abs(a) for a in w], np.abs(data)
    moment = np.abs(normal(rng, (batch, *sizes), float))

    def e_step_calls():
        for stack in stacks:
            np.linalg.eigh(stack)
        kron_apply(stacks, data)
        kron_apply(w, data)
        if name != "ksbl":  # needs sums over the variances only
            kron_apply(weights, d)

    def m_step_calls():
        if name == "svd_krosbl":
            rest = moment
            for _ in sizes[:-1]:
                unfolded = rest.reshape(*rest.shape[:2], -1)
                np.linalg.eigh(unfolded @ unfolded.swapaxes(1, 2))
                rest = rest[:, 0]
        elif name == "ksbl":
            for tensor in (moment, d):  # of the means, and of the variances
                first, last = tensor.shape[1], tensor.shape[-1]
                tensor.reshape(batch, -1, last) @ np.ones((batch, last, 1))
                np.ones((batch, 1, first)) @ tensor.reshape(batch, first, -1)

    return seconds_per_call(lambda: (e_step_calls(), m_step_calls()))


def flat_floor(atoms, problem, rng, repeats):
    """Seconds of the unavoidable calls for one realization with so many atoms."""
    size = problem.y[0].size
    n = min(atoms, size)
    pairs = flat_model.FlatModel(problem.take([0])).pairs
    pairs = [p if p.ndim == 2 else p[0] for p in pairs]
    matrix = normal(rng, (n, n), problem.y.dtype)
    matrix = matrix @ matrix.conj().T + n * np.eye(n)
    potrf, potri, trtri = scipy.linalg.lapack.get_lapack_funcs(
        ("potrf", "potri", "trtri"), (matrix,)
    )
    gamma = rng.random(problem.dims)

    def calls():
        factor, _ = potrf(np.asfortranarray(matrix), overwrite_a=True, clean=False)
        if atoms < size:  # of the inverse the diagonal is enough
            trtri(factor, overwrite_c=True)
        else:
            potri(factor, overwrite_c=True)
            product = kron_apply(pairs, gamma[None])
            kron_apply([r.conj().T for r in pairs], product)

    return seconds_per_call(calls, repeats)


def dense_seconds(problem, name):
    """Seconds of one EM iteration of a dense implementation, before anything is pruned."""
    factors = [a if a.ndim == 2 else a[0] for a in problem.factors]
    y, noise_var = problem.y[0], problem.noise_var[0]
    if name in BASELINES:
        a = np.kron(factors[0], np.kron(factors[1], factors[2]))
        x = np.ones(a.shape[1])
        return seconds_per_call(lambda: a.conj().T @ (a @ x))
    if name in FLAT:
        a = np.kron(factors[0], np.kron(factors[1], factors[2]))
        return seconds_per_call(lambda: e_step(a, y.reshape(-1), np.ones(a.shape[1]), noise_var), 1)
    return seconds_per_call(
        lambda: iterate(factors, y, noise_var, 1, lambda _, gamma: gamma, 0.0), 1
    )


def measure(study, name, options, batch, campaign, point):
    """Print one line."""
    rng = np.random.default_rng(0)
    problem, _ = campaign.scenario_at(point).draw(range(batch), campaign.campaign.seed)
    solver = solvers.create(name, **options)
    with recorded() as (log, _), recorded_products() as products:
        estimate = solver.solve(problem)
    rounds = []
    for _ in range(ROUNDS):  # in turns, since the machine's speed changes while we measure
        with recorded() as (_, inner):
            start = time.perf_counter()
            solver.solve(problem)
            seconds = time.perf_counter() - start
        floor = inner[0] if name in ("am_krosbl", "pc_krosbl") else products_floor(products, rng)
        for key, times in log.items():
            if isinstance(key, tuple):
                floor += times * kron_floor(key, problem.measurements, name, rng)
            else:
                floor += times * flat_floor(key, problem, rng, repeats=max(3, times // 10))
        rounds.append((seconds / floor, seconds, floor))
    ratio, seconds, floor = sorted(rounds)[ROUNDS // 2]
    iterations = estimate.iterations.sum()
    dense = dense_seconds(problem, name)
    print(
        f"{study:10} {name:11} {batch:5} {seconds / iterations * 1e3:9.4f} "
        f"{floor / iterations * 1e3:9.4f} "
        f"{ratio:6.2f} {seconds / batch * 1e3:10.3f} {iterations / batch:7.1f} "
        f"{dense / (seconds / iterations):9.0f}",
        flush=True,
    )


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 10, 50, 100, 500])
    parser.add_argument("--study", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--solver", nargs="+")
    arguments = parser.parse_args()
    process.prepare()
    print("                              ms per iteration          ms per             × longer,")
    print("study      solver      batch      now     floor  ratio realization  iter.     dense")
    for study in arguments.study:
        file, point, largest = STUDIES[study]
        campaign = Campaign.load(ROOT / file)
        for entry in campaign.entries:
            if not hasattr(entry.solver, "max_iterations"):
                continue
            if (study == "baselines") != (entry.use in BASELINES):
                continue
            if arguments.solver and entry.use not in arguments.solver:
                continue
            options = {
                k: v for k, v in campaign.solvers[entry.label].items() if k not in ("use", "batch")
            }
            for batch in arguments.batch:
                if entry.use not in FLAT or batch <= largest:
                    measure(study, entry.use, options, batch, campaign, point)


if __name__ == "__main__":
    main()
