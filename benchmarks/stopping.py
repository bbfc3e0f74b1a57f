"""How often the intervals of [stop] hold, and what they cost: docs/precise.md.

    python -m benchmarks.stopping [--trials 1000]

A minute. A campaign is a sequence drawn with replacement from a pool of real NMSE (see
benchmarks/coverage.py), and the pool's own figure is the truth. It looks at 100 realizations, 150,
250, … (a mean from 400 on), and stops once its interval is as narrow as that of a fixed number n*
of realizations is on average, with the plain interval of 95 %. Beside it stands the same with plain
intervals at every look.
"""

import argparse
from functools import partial

import numpy as np
import scipy.stats

from benchmarks.coverage import columns, table
from pipeline.analysis import sequential
from pipeline.analysis.sequential import Look, plan_of_looks
from pipeline.campaign.stopping import Rule, Stop
from pipeline.scenarios.synthetic import Synthetic

MOST = 20_000
BATCH = 50
FIXED = (300, 1000)
POOLS = {"am − svd": ("am", "svd"), "svd − oracle": ("svd", "oracle"), "svd": ("svd", None)}
MARGIN = 3.0


def sizes(minimum):
    """Numbers of realizations at which a campaign looks."""
    stop = Stop(minimum=minimum, target=[{"half_width": 1.0}])
    return Rule.of(stop, MOST, {"a": (BATCH, "estimator")}, Synthetic.measures).looks


def plain(number):
    """A look that is taken for the only one."""
    rank = int(scipy.stats.binom.ppf(0.025, number, 0.5))
    return Look(number, rank, 0.05, 0.05, 0.05)


def share(sample, look):
    return sequential.share(sample >= MARGIN, look)


STATISTICS = {
    "median": (sequential.median, np.median, 100),
    "mean of dB": (sequential.mean, np.mean, 400),
    "share": (share, lambda pool: (pool >= MARGIN).mean(), 100),
}


def ends_of(interval, samples, looks):
    """Low and high at each look of each campaign, (campaigns, looks) twice."""
    found = [[interval(x[: look.realizations], look)[::2] for look in looks] for x in samples]
    return np.moveaxis(np.array(found), -1, 0)


def simulate(pool, statistic, fixed, trials, seed=1):
    """Coverage at stopping and at all looks, and mean length over the fixed one; plain beside."""
    interval, figure, minimum = STATISTICS[statistic]
    rng, truth = np.random.default_rng([seed, fixed]), figure(pool)
    numbers = np.array(sizes(minimum))
    samples = pool[rng.integers(len(pool), size=(trials, numbers[-1]))]
    low, high = ends_of(interval, samples[: min(trials, 300), :fixed], [plain(fixed)])
    wanted = ((high - low) / 2).mean()
    rows = {}
    plans = {"": plan_of_looks(tuple(numbers.tolist()), 0.05), "plain ": map(plain, numbers)}
    for name, looks in plans.items():
        low, high = ends_of(interval, samples, list(looks))
        holds, narrow = (low <= truth) & (truth <= high), (high - low) / 2 <= wanted
        at = np.where(narrow.any(axis=1), narrow.argmax(axis=1), len(numbers) - 1)
        rows[f"{name}at stopping"] = float(holds[np.arange(trials), at].mean())
        rows[f"{name}at all looks"] = float(holds.all(axis=1).mean())
        rows[f"{name}E[n]/n*"] = float(numbers[at].mean() / fixed)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    rows = []
    for name, (one, other) in POOLS.items():
        values = columns()[one], None if other is None else columns()[other]
        pool = sequential.differences(*values, in_db=True)
        for statistic in STATISTICS:
            if statistic == "share" and other is None:
                continue
            found = partial(simulate, pool, statistic)
            rows += [
                ({"pool": name, "statistic": statistic, "n*": fixed}, found(fixed, trials))
                for fixed in FIXED
            ]
    table(rows)


if __name__ == "__main__":
    main()
