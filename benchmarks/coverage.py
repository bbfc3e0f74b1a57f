"""How often the intervals that kronsbl shows hold the true value: docs/uncertainty.md.

    python -m benchmarks.coverage [--trials 4000]

Under a minute. Samples come from distributions whose mean, median and mean level in dB are
known; nominal is 0.95 throughout.
"""

import argparse
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

from pipeline.analysis import intervals
from pipeline.analysis.comparison import speed_ratio

SIZES = (10, 50, 200, 1000, 5000)
BATCH = 50
SPREAD = np.sqrt(2 * np.log(19))  # a mean of 19 medians


class Population(NamedTuple):
    """Where trials come from: `draw` takes a generator and a shape."""

    draw: object
    mean: float
    median: float
    decibels: float


def lognormal():
    """Very heavy-tailed NMSE."""
    return Population(
        lambda rng, shape: rng.lognormal(0, SPREAD, shape), np.exp(SPREAD**2 / 2), 1.0, 0.0
    )


def mixture(share, level=1e-2):
    """NMSE around `level`, but around 1 in a share of trials that miss the support."""
    good, bad = scipy.stats.gamma(9, scale=level / 9), scipy.stats.gamma(4, scale=1 / 4)

    def draw(rng, shape):
        missed = rng.random(shape) < share
        return np.where(missed, rng.gamma(4, 1 / 4, shape), rng.gamma(9, level / 9, shape))

    logarithm = (1 - share) * (scipy.special.digamma(9) + np.log(level / 9))
    logarithm += share * (scipy.special.digamma(4) - np.log(4))
    return Population(
        draw,
        (1 - share) * level + share,
        scipy.optimize.brentq(
            lambda x: (1 - share) * good.cdf(x) + share * bad.cdf(x) - 0.5, 1e-6, 1, xtol=1e-15
        ),
        10 / np.log(10) * logarithm,
    )


POPULATIONS = {
    "light tail": mixture(0.0),
    "1 in 10 trials fails": mixture(0.1),
    "1 in 50 trials fails": mixture(0.02),
    "lognormal": lognormal(),
}


def held(bounds, truth):
    """Share of intervals that hold the truth."""
    low, high = bounds
    return float(((low <= truth) & (truth <= high)).mean())


def simulate(name, size, trials, seed=1):
    """Coverage of each interval, and the share of samples whose mean is flagged as dominated."""
    population = POPULATIONS[name]
    samples = population.draw(np.random.default_rng([seed, size]), (trials, size))
    return {
        "median": held(intervals.median_interval(samples), population.median),
        "mean in dB": held(intervals.t_interval(intervals.to_db(samples)), population.decibels),
        "mean": held(intervals.mean_interval(samples), population.mean),
        "mean flagged": float(intervals.dominated(samples).mean()),
    }


def simulate_pairs(name, size, trials, seed=2):
    """Coverage of the figures of a comparison: two solvers alike, that fail on their own."""
    rng = np.random.default_rng([seed, size])
    difference = np.subtract(
        *(intervals.to_db(POPULATIONS[name].draw(rng, (trials, size))) for _ in range(2))
    )
    return {
        "mean difference": held(intervals.t_interval(difference), 0.0),
        "median difference": held(intervals.median_interval(difference), 0.0),
    }


def simulate_speed(size, trials, seed=3):
    """Coverage of the speed ratio: realizations differ, and batches have good and bad times."""
    rng = np.random.default_rng([seed, size])
    shape = (trials, size // BATCH, BATCH)

    def times():
        batch = rng.normal(0, 0.1, shape[:2])[..., np.newaxis]
        return np.exp(batch + rng.normal(0, 0.3, shape)).reshape(trials, size)

    figures = speed_ratio(times(), times(), size=BATCH)
    alone = speed_ratio(times(), times(), size=1)
    return {
        "from batches": held((figures[..., 1], figures[..., 2]), 1.0),
        "as if independent": held((alone[..., 1], alone[..., 2]), 1.0),
    }


def table(rows):
    """Print a Markdown table of the figures in `rows`, by the words that come first."""
    words, figures = zip(*rows, strict=True)
    titles = [*words[0], *figures[0]]
    print("| " + " | ".join(titles) + " |")
    print("|" + "---|" * len(words[0]) + "---:|" * len(figures[0]))
    for word, figure in rows:
        cells = [*map(str, word.values()), *(f"{value:.3f}" for value in figure.values())]
        print("| " + " | ".join(cells) + " |")
    print()


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=4000)
    trials = parser.parse_args().trials
    table(
        [
            ({"distribution": name, "trials": size}, simulate(name, size, trials))
            for name in POPULATIONS
            for size in SIZES
        ]
    )
    table(
        [
            ({"distribution": name, "pairs": size}, simulate_pairs(name, size, trials))
            for name in POPULATIONS
            for size in SIZES[:4]
        ]
    )
    table(
        [({"realizations": size}, simulate_speed(size, trials)) for size in (100, 200, 500, 1000)]
    )


if __name__ == "__main__":
    main()
