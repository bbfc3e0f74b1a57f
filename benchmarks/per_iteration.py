"""Time of one EM iteration per realization, and how it compares with a dense implementation.

    python -m benchmarks.per_iteration [--batch 100]

One core, one BLAS thread, the problem of workflows/quickstart.toml at 20 dB.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import time
from pathlib import Path

import numpy as np

import solvers
from benchmarks.dense import iterate
from pipeline import Campaign
from solvers.kron_sbl import alternate

DENSE_ITERATIONS = 3


def fastest(call, repeats=3):
    """Result and shortest time of several calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return result, min(times)


def am_step(moment, gamma):
    """The AM M-step for one realization."""
    options = {"tolerance": 1e-5, "relative": False, "max_iterations": 500}
    step = alternate(moment[None], tuple(g[None] for g in gamma), **options)
    return [g[0] for g in step.gamma]


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=100)
    batch = parser.parse_args().batch
    campaign = Campaign.load(Path(__file__).parent.parent / "workflows" / "quickstart.toml")
    scenario = campaign.scenario_at((20,))
    problem, _ = scenario.draw(range(batch), campaign.campaign.seed)
    factors = [a[0] for a in problem.factors]
    _, dense = fastest(
        lambda: iterate(
            factors, problem.y[0], problem.noise_var[0], DENSE_ITERATIONS, am_step, prune=1e-2
        ),
        repeats=2,
    )
    dense /= DENSE_ITERATIONS
    print(f"dense numpy: {dense * 1e3:.0f} ms per EM iteration (no atom pruned yet)")
    for name in ("am_krosbl", "svd_krosbl", "ksbl"):
        solver = solvers.create(name)
        estimate, seconds = fastest(lambda solver=solver: solver.solve(problem))
        per_iteration = seconds / estimate.iterations.sum()
        print(
            f"{name:12} {per_iteration * 1e3:.3f} ms per EM iteration, "
            f"{seconds / batch * 1e3:.2f} ms and {np.mean(estimate.iterations):.0f} iterations "
            f"per realization at batch {batch}; dense takes {dense / per_iteration:.0f} times that"
        )


if __name__ == "__main__":
    main()
