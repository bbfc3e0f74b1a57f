"""How time and memory of every solver grow with the problem, as a figure and a table.

    python -m benchmarks.growth [-o docs/figures/growth.png] [--seconds 2]

Complex problems with i.i.d. dictionaries. Time is that of one iteration of one realization (of
a whole solve for solvers that cap no iterations), nothing pruned; memory is the peak of the
arrays that a solve allocates. Four sweeps: N atoms per factor (I = 3, N/2 rows each), M rows per
factor (I = 3, N = 16), I factors (8 atoms, 4 rows each), and the batch (I = 3, N = 16, M = 8;
time and memory per realization). Sizes at which an iteration would take longer than --seconds
are left out. Dotted: the theoretical order, through the last point.

CPU time of one core, one BLAS thread, malloc set as in a worker.
"""

import argparse
import dataclasses
import time
import tracemalloc
from pathlib import Path

import numpy as np

import solvers
from pipeline.plots import style
from pipeline.plots.looks import looks_of
from pipeline.solving import process
from solvers.kron import kron_apply

ITERATIONS = 4
KRONECKER = ("am_krosbl", "svd_krosbl", "ksbl", "pc_krosbl")
FLAT = ("csbl", "pc_sbl")
OTHERS = ("omp", "komp", "oracle_ls")
BASELINES = ("dkrosbl", "domp", "dlasso", "lasso", "bpdn", "multistage", "uamp_sbl", "fast_sbl")
UNSTRUCTURED = ("ls", "krf", "bals")
ALL = (*KRONECKER, *FLAT, *OTHERS, *BASELINES, *UNSTRUCTURED)
SWEEPS = {
    "N": ("atoms per factor N", [8, 12, 16, 24, 32, 48, 64]),
    "M": ("rows per factor M", [4, 6, 8, 12, 16]),
    "I": ("factors I", [1, 2, 3, 4, 5]),
    "batch": ("batch", [1, 3, 10, 30, 100]),
}


def sizes(sweep, value):
    """Rows, atoms, factors and batch at one point of a sweep."""
    return {
        "N": (value // 2, value, 3, 1),
        "M": (value, 16, 3, 1),
        "I": (4, 8, value, 1),
        "batch": (8, 16, 3, value),
    }[sweep]


def operations(name, m, n, factors):
    """Order of the operations of one iteration, up to a constant; docs/numbers.md, costs."""
    k = min(m, n)
    if name in FLAT:
        return float(m**factors) ** 3
    if name in KRONECKER:  # the mode products, and the eigenproblems
        return factors * float(n**factors) * k + factors * k**3
    if name in (
        "dkrosbl",
        "domp",
        "dlasso",
    ):  # the rank-one approximation, and problems of one factor
        return m * float(m**factors) + factors * m * m * n
    if name == "bals":  # pseudo-inverses of the known, each of n columns
        return factors * float(m * n ** max(factors - 2, 0)) * n * n
    return factors * float(n**factors) * k


def problem_of(m, n, factors, batch):
    """A random problem with a 2 × 2 × … support."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    x = np.zeros((batch, *[n] * factors), complex)
    x[(slice(None), *[slice(2)] * factors)] = normal(batch, *[2] * factors)
    dictionary = tuple(normal(m, n) for _ in range(factors))
    y = kron_apply(dictionary, x)
    noise_var = (np.abs(y) ** 2).reshape(batch, -1).mean(axis=1) / 100
    y = y + np.sqrt(noise_var / 2).reshape(-1, *[1] * factors) * normal(*y.shape)
    return solvers.Problem(y, dictionary, noise_var, (x != 0).astype(float))


def solver_of(name):
    """The solver, kept from pruning and from stopping early."""
    wanted = {"max_iterations": ITERATIONS, "tolerance": 0.0, "prune": 0.0, "prune_absolute": 0.0}
    wanted |= {"max_atoms": 8, "sparsity": 2}
    known = {field.name for field in dataclasses.fields(type(solvers.create(name)))}
    return solvers.create(name, **{o: value for o, value in wanted.items() if o in known})


def cost(name, problem):
    """Seconds per iteration and realization, and bytes per realization."""
    solver = solver_of(name)
    rounds = getattr(solver, "max_iterations", 1)
    spent = []
    for _ in range(3):
        start = time.process_time()
        solver.solve(problem)
        spent.append(time.process_time() - start)
    tracemalloc.start()
    solver.solve(problem)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return min(spent) / rounds / problem.batch, peak / problem.batch


def measure(name, sweep, longest):
    """Values of a sweep, with seconds, bytes and the order of the operations at each."""
    found = []
    for value in SWEEPS[sweep][1]:
        m, n, factors, batch = sizes(sweep, value)
        order = operations(name, m, n, factors)
        if found and found[-1][1] * order / found[-1][3] > longest:
            break
        seconds, memory = cost(name, problem_of(m, n, factors, batch))
        found.append((value, seconds, memory, order))
        print(f"{name:11} {sweep} = {value:3}  {seconds * 1e3:10.4g} ms {memory / 1e6:10.4g} MB")
    return np.array(found).T


def draw(measured):
    """Time above, memory below, a column per sweep."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    looks = looks_of(ALL)
    with style.rc():
        figure = pyplot.figure(figsize=(14, 7), layout="constrained")
        axes = figure.subplots(2, len(SWEEPS), sharex="col", sharey="row")
        for column, (sweep, (label, values)) in zip(axes.T, SWEEPS.items(), strict=True):
            for name, look in looks.items():
                at, seconds, memory, order = measured[name, sweep]
                column[0].plot(at, seconds, label=name, **look.line)
                column[1].plot(at, memory, **look.line)
                if sweep != "batch" and name in ("csbl", "svd_krosbl"):
                    bound = seconds[-1] * order / order[-1]
                    column[0].plot(at, bound, ":", color=look.colour, linewidth=1)
            scale = "linear" if sweep == "I" else "log"
            column[0].set(xscale=scale, yscale="log", ylim=(1e-5, 1))
            column[1].set(xscale=scale, yscale="log", xlabel=label)
            column[1].set_xticks(values, [str(v) for v in values])
            column[1].minorticks_off()
        axes[0, 0].set_ylabel("s per iteration and realization")
        axes[1, 0].set_ylabel("bytes per realization")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def main():
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/figures/growth.png"))
    parser.add_argument("--seconds", type=float, default=2.0, help="longest iteration")
    arguments = parser.parse_args()
    process.prepare()
    measured = {
        (name, sweep): measure(name, sweep, arguments.seconds) for name in ALL for sweep in SWEEPS
    }
    draw(measured).savefig(arguments.output)


if __name__ == "__main__":
    main()
