"""Time to a converged answer, and whether accelerated EM ends in minima as good as plain EM.

    python -m benchmarks.converging [--study snr irs …] [--solver am …] [--realizations 400]
                                    [--point 5 20 …]

The studies are those of workflows/converged, with other realizations. For each EM solver and SNR
three ways, in turns on the same batches of 100:

    published   start at γ = 1, plain steps, at most 150 iterations
    plain       the default start, plain steps, as many as they take (at most 5000)
    default     what a solver does unless told otherwise

and for each: median NMSE, evaluations of EM (median and 95 %), share that ended at the cap, and
milliseconds per realization. Where the default is accelerated, realizations whose minimum it
leaves worse or better by more than 0.5 in SBL cost, and by more than 1 dB in NMSE, are counted and
compared by the exact sign test.

One core, one BLAS thread, malloc set as in a worker.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

import solvers
from pipeline import Campaign
from pipeline.solving import process
from solvers import EMSolver, Status

FOLDER = Path(__file__).parent.parent / "workflows" / "converged"
SEED = 77  # no campaign's
BATCH = 100


def ways(table, solver):
    """The solver of a campaign's table in the ways that are compared."""
    options = {key: value for key, value in table.items() if key not in ("use", "batch")}
    published = solvers.create(table["use"], **{**options, "preset": "published"})
    plain = dataclasses.replace(solver, acceleration="none", max_iterations=5000)
    return {"published": published, "plain": plain, "default": solver}


def solved(solver, scenario, problem, truth):
    """NMSE, evaluations, status and cost of a batch, and seconds per realization."""
    start = time.perf_counter()
    found = solver.solve(problem)
    seconds = (time.perf_counter() - start) / problem.batch
    nmse = scenario.nmse(truth, problem, found.x)
    cost = solvers.cost(problem, found.gamma, found.noise_var)
    evaluations = found.iterations + found.diagnostics["refused_leaps"]
    return np.stack([nmse, evaluations, found.status, cost, np.full(len(nmse), seconds)])


def measure(configuration, table, realizations):
    """What `solved` gives of all realizations, (5, realizations), by way."""
    found = {}
    for begin in range(0, realizations, BATCH):
        rows = range(begin, min(begin + BATCH, realizations))
        problem, truth = configuration.scenario.draw(rows, SEED)
        problem = problem.seen_by(configuration.solver)
        for way, solver in ways(table, configuration.solver).items():
            part = solved(solver, configuration.scenario, problem, truth)
            found.setdefault(way, []).append(part)
    return {way: np.concatenate(parts, axis=1) for way, parts in found.items()}


def signs(difference, margin):
    """Worse against better by a margin, with the exact sign test."""
    worse, better = int((difference > margin).sum()), int((difference < -margin).sum())
    p = binomtest(worse, worse + better).pvalue if worse + better else 1.0
    return f"{worse} : {better} (p = {p:.2g})"


def report(label, point, found):
    """Print the lines of one solver at one point."""
    for way, (nmse, evaluations, status, _, seconds) in found.items():
        capped = (status == Status.MAX_ITERATIONS).mean()
        print(
            f"{label:12} {point:4g} dB  {way:9}  {10 * np.log10(np.median(nmse)):7.2f} dB  "
            f"{np.median(evaluations):5.0f} {np.quantile(evaluations, 0.95):5.0f}  "
            f"{capped:6.1%}  {1e3 * seconds.mean():8.2f} ms",
            flush=True,
        )
    plain, default = found["plain"], found["default"]
    cost = signs(default[3] - plain[3], 0.5)
    nmse = signs(10 * np.log10(default[0] / plain[0]), 1.0)
    print(f"{'':19} default against plain, worse : better  cost {cost}  NMSE {nmse}", flush=True)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    studies = [path.stem for path in sorted(FOLDER.glob("*.toml"))]
    parser.add_argument("--study", nargs="+", default=studies, choices=studies)
    parser.add_argument("--solver", nargs="+", help="labels; all by default")
    parser.add_argument("--point", nargs="+", type=float, help="SNRs; all by default")
    parser.add_argument("--realizations", type=int, default=400)
    arguments = parser.parse_args()
    process.prepare()
    for study in arguments.study:
        campaign = Campaign.load(FOLDER / f"{study}.toml")
        print(f"\n{study}: {arguments.realizations} realizations")
        for entry in campaign.entries:
            table = campaign.solvers[entry.label]
            if not isinstance(entry.solver, EMSolver) or "preset" in table:
                continue
            if arguments.solver and entry.label not in arguments.solver:
                continue
            for configuration in campaign.configurations:
                point = configuration.scenario.snr_db
                if configuration.label != entry.label:
                    continue
                if arguments.point and point not in arguments.point:
                    continue
                report(entry.label, point, measure(configuration, table, arguments.realizations))


if __name__ == "__main__":
    main()
