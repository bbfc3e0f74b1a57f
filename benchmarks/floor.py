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
    dKroSBL, dOMP,      the eigenproblems and products that take y apart, and of each factor the
    dLASSO              E-steps, or the products with it and its adjoint
    multistage          the E-steps of its stages, and the QR decompositions of their snapshots
    ls, krf, bals       the pseudo-inverses and the products with them; what takes slices apart

An iteration of dKroSBL, dLASSO and multistage is one of the factor, or stage, that needs most; ls,
krf and dOMP are one iteration.

CPU time of one core, one BLAS thread, malloc set as in a worker.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import contextlib
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import scipy.linalg.lapack

import solvers
from benchmarks.dense import e_step, iterate
from pipeline import Campaign
from pipeline.solving import process
from solvers import (
    decomposition,
    flat_model,
    greedy,
    kron_model,
    kron_sbl,
    l1,
    message_passing,
    msbl,
    training,
)
from solvers.kron import adjoint, kron_apply

ROOT = Path(__file__).parent.parent
ROUNDS = 3
STUDIES = {  # campaign file, point, and the largest batch of the solvers in FLAT
    "synthetic": ("workflows/paper/snr.toml", (20,), 10),
    "irs": ("workflows/paper/irs.toml", (12,), 100),
    "baselines": ("workflows/baselines/snr.toml", ("product", 20), 0),
    "training": ("", (20,), 0),
}
TRAINING = {  # the study of that name, which is no file
    "campaign": {"name": "training", "seed": 1, "realizations": 500},
    "scenario": {"use": "irs_training"},
    "sweep": {"snr_db": [20]},
    "solvers": {name: {"use": name} for name in ("ls", "krf", "bals")},
}
TAKEN_APART = ("dkrosbl", "domp", "dlasso")
BASELINES = (*TAKEN_APART, "multistage", "lasso", "bpdn", "uamp_sbl", "ls", "krf", "bals")
FLAT = ("csbl", "pc_sbl")  # so slow in the first study that larger batches take too long


def seconds_per_call(call, repeats=3):
    """Mean over several calls, after one that warms up.

    Not the shortest: a solve of seconds has the machine's good and bad moments, too.
    """
    call()
    start = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - start) / repeats


@contextlib.contextmanager
def recorded():
    """Shapes of every E-step, and the seconds spent in inner loops."""
    log, inner = Counter(), [0.0]
    build, alternate = kron_model.KronPosterior.__init__, kron_sbl.alternate
    build_flat = flat_model.FlatPosterior.__init__

    def noted_build(self, model, gamma, noise_var):
        sizes = tuple(g.shape[1] for g in gamma)
        log[len(noise_var), sizes, model.measurements, tuple(model.small), model.data.dtype] += 1
        build(self, model, gamma, noise_var)

    def noted_flat(self, model, gamma, noise_var):
        for row in gamma[0]:
            if row.min() != row.max():  # the first E-step is one of a Kronecker prior
                log[int(np.count_nonzero(row))] += 1
        build_flat(self, model, gamma, noise_var)

    def timed_alternate(*arguments, **options):
        start = time.process_time()
        result = alternate(*arguments, **options)
        inner[0] += time.process_time() - start
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


def taken_apart(y):
    """The eigenproblems and products that split tensors into products of vectors."""
    for _ in range(y.ndim - 2):
        unfolded = y.reshape(len(y), y.shape[1], -1)
        vectors = np.linalg.eigh(unfolded @ adjoint(unfolded))[1]
        y = (vectors[:, None, :, -1] @ unfolded).reshape(len(y), *y.shape[2:])


def snapshots(*arguments):
    """What a stage of multistage works on: the other modes of x side by side."""
    _, _, x, mode, _ = arguments
    moved = np.moveaxis(x, mode + 1, 1)
    return (np.ascontiguousarray(moved).reshape(len(x), moved.shape[1], -1),)


def rotated(found):
    """The QR decomposition of snapshots, and the way back."""
    q, r = np.linalg.qr(adjoint(found))
    r @ adjoint(q)


def product(*matrices_and_x):
    """A Kronecker product."""
    *matrices, x = matrices_and_x
    return kron_apply(matrices, x)


CALLS = [  # where calls are noted, which arrays they take, and what of them is the floor
    *(
        (module, "kron_apply", lambda matrices, x: (*matrices, x), product)
        for module in (l1, message_passing, greedy, training)
    ),
    *((module, "decompose", lambda y: (y,), taken_apart) for module in (decomposition, training)),
    (msbl, "_stage", snapshots, rotated),
    (np.linalg, "pinv", lambda a: (a,), np.linalg.pinv),
]


@contextlib.contextmanager
def recorded_calls():
    """Shapes of the arrays that `CALLS` take, and how often."""
    log = Counter()

    def noting(call, taken, floor):
        def noted(*arguments):
            arrays = taken(*arguments)
            log[floor, tuple(a.shape for a in arrays), np.result_type(*arrays)] += 1
            return call(*arguments)

        return noted

    with contextlib.ExitStack() as stack:
        for module, name, taken, floor in CALLS:
            call = getattr(module, name)
            stack.enter_context(mock.patch.object(module, name, noting(call, taken, floor)))
        yield log


def calls_floor(log, rng):
    """Seconds of those calls alone."""
    found = 0.0
    for (floor, shapes, dtype), times in log.items():
        arrays = [normal(rng, shape, dtype) for shape in shapes]
        found += times * seconds_per_call(lambda f=floor, a=arrays: f(*a))
    return found


def normal(rng, shape, dtype):
    """Random numbers of a type."""
    values = rng.standard_normal(shape)
    return (
        (values + 1j * rng.standard_normal(shape)).astype(dtype)
        if np.dtype(dtype).kind == "c"
        else values
    )


def kron_floor(key, name, rng):
    """Seconds of the unavoidable calls of one EM iteration of that shape."""
    batch, sizes, measurements, small, dtype = key
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
    if name in TAKEN_APART or name == "multistage":
        return np.nan  # their own dense way is to form none of it
    if name in BASELINES:
        a = np.kron(factors[0], np.kron(factors[1], factors[2]))
        x = np.ones(a.shape[1])
        if name in TRAINING["solvers"]:
            return seconds_per_call(lambda: np.linalg.lstsq(a, y.ravel(), rcond=None))
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
    with recorded() as (log, _), recorded_calls() as calls:
        estimate = solver.solve(problem)
    rounds = []
    for _ in range(ROUNDS):  # in turns, since the machine's speed changes while we measure
        with recorded() as (_, inner):
            start = time.process_time()
            solver.solve(problem)
            seconds = time.process_time() - start
        floor = inner[0] if name in ("am_krosbl", "pc_krosbl") else calls_floor(calls, rng)
        for key, times in log.items():
            if isinstance(key, tuple):
                floor += times * kron_floor(key, name, rng)
            else:
                floor += times * flat_floor(key, problem, rng, repeats=max(3, times // 10))
        rounds.append((seconds / floor, seconds, floor))
    ratio, seconds, floor = sorted(rounds)[ROUNDS // 2]
    iterations = np.maximum(estimate.iterations, 1).sum()
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
        campaign = Campaign.load(ROOT / file) if file else Campaign.from_tables(TRAINING)
        for entry in campaign.entries:
            if entry.use not in BASELINES and not hasattr(entry.solver, "max_iterations"):
                continue
            if (study in ("baselines", "training")) != (entry.use in BASELINES):
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
