"""How often the intervals that kronsbl shows hold the true value: docs/uncertainty.md.

    python -m benchmarks.coverage [--trials 1000]

A few minutes. Samples come from distributions whose mean, median and mean level in dB are known,
and from pools of real NMSE; nominal is 0.95 throughout. A sample is a point of a cube, so that
what is tested is what `summarize` and `compare` show, marks included.

``pools.npz`` holds 2000 realizations in each column: ``svd``, ``am`` and ``oracle`` (with
``energy``, their ‖x‖²) of workflows/quickstart.toml at 20 dB; ``pc``, PC-KroSBL with β = 0.8 of the
IRS study at 20 dB with random patterns; ``easy``, oracle least squares at 20 dB where nothing is
difficult: complex, 14×15×15 measurements, independent gains (with ``easy_energy``). Samples of a
pool are drawn with replacement, and its own figures are the truth.
"""

import argparse
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats
import xarray as xr

from pipeline.analysis import compare, gaps, summarize
from pipeline.analysis.comparison import speed_ratio
from pipeline.analysis.intervals import to_db

SIZES = (20, 50, 200, 1000)
BATCH = 50
SPREAD = np.sqrt(2 * np.log(19))  # a mean of 19 medians
GOAL = 0.93
MOST_MARKED = 0.2
ENERGIES = {**dict.fromkeys(("svd", "am", "oracle"), "energy"), "easy": "easy_energy"}


class Population(NamedTuple):
    """Where trials come from.

    `draw` takes a generator and a shape, and gives values and energies. `benign` ones have no
    business being marked at 200 trials and more; those without a `variance` always have.
    """

    draw: Any
    median: float
    mean: float
    decibels: float
    pooled: float
    kind: str = "estimator"
    benign: bool = False
    variance: bool = True


def law(draw, median, mean, decibels, **more):
    """A population with energies that tell nothing of the values."""

    def both(rng, shape):
        return draw(rng, shape), rng.gamma(27, size=shape)  # 27 complex Gaussian entries

    return Population(both, median, mean, decibels, mean, **more)


def lognormal():
    """Very heavy-tailed NMSE."""
    return law(lambda rng, shape: rng.lognormal(0, SPREAD, shape), 1.0, np.exp(SPREAD**2 / 2), 0.0)


def pareto(index=1.5, least=1e-3):
    """NMSE of infinite variance, of a solver of which no failures are expected."""
    return law(
        lambda rng, shape: least * (1 + rng.pareto(index, shape)),
        least * 2 ** (1 / index),
        least * index / (index - 1),
        to_db(least) + 10 / np.log(10) / index,
        kind="oracle",
        variance=False,
    )


def mixture(share, level=1e-2, **more):
    """NMSE around `level`, but around 1 in a share of trials that miss the support."""
    good, bad = scipy.stats.gamma(9, scale=level / 9), scipy.stats.gamma(4, scale=1 / 4)

    def draw(rng, shape):
        missed = rng.random(shape) < share
        return np.where(missed, rng.gamma(4, 1 / 4, shape), rng.gamma(9, level / 9, shape))

    logarithm = (1 - share) * (scipy.special.digamma(9) + np.log(level / 9))
    logarithm += share * (scipy.special.digamma(4) - np.log(4))
    median = scipy.optimize.brentq(
        lambda x: (1 - share) * good.cdf(x) + share * bad.cdf(x) - 0.5, 1e-6, 1, xtol=1e-15
    )
    mean = (1 - share) * level + share
    return law(draw, median, mean, 10 / np.log(10) * logarithm, **more)


@lru_cache
def columns():
    """The pools."""
    with np.load(Path(__file__).with_name("pools.npz")) as file:
        return {name: file[name].astype(float) for name in file.files}


def pool(name, **more):
    """A population of real NMSE."""
    values = columns()[name]
    energy = columns()[ENERGIES[name]] if name in ENERGIES else np.ones(len(values))

    def draw(rng, shape):
        at = rng.integers(len(values), size=shape)
        return values[at], energy[at]

    pooled = float((values * energy).sum() / energy.sum())
    truth = (np.median(values), values.mean(), to_db(values).mean(), pooled)
    return Population(draw, *truth, **more)


POPULATIONS = {
    "light tail": mixture(0.0, kind="oracle", benign=True),
    "1 in 10 trials fails": mixture(0.1),
    "1 in 50 trials fails": mixture(0.02),
    "lognormal": lognormal(),
    "no variance": pareto(),
    "pool svd": pool("svd"),
    "pool am": pool("am"),
    "pool pc": pool("pc"),
    "pool oracle": pool("oracle", kind="oracle"),
    "pool easy": pool("easy", kind="oracle", benign=True),
}


def cube(kinds, values, energy=None, **about):
    """A cube of samples: solvers of some kinds, with values (solver, sample, trial)."""
    dims = ("solver", "sample", "realization")
    about = {"better": "lower", "zero_estimate": 1.0, "valid_min": 0.0, **about}
    nothing = np.zeros(values.shape, "f4")
    variables = {"nmse": (dims, values, about), "status": (dims, np.ones(values.shape, "u1"))}
    variables |= dict.fromkeys(("runtime", "iterations"), (dims, nothing))
    if energy is not None:
        variables["signal_energy"] = (dims, np.broadcast_to(energy, values.shape))
    solvers = {f"s{i}": {"kind": kind} for i, kind in enumerate(kinds)}
    attributes = {"solvers": json.dumps(solvers)}
    return xr.Dataset(variables, coords={"solver": list(solvers)}, attrs=attributes)


def held(found, name, truth):
    """Share of the unmarked intervals that hold the truth, and the share that is marked."""
    low, high = found[f"{name}_low"].values, found[f"{name}_high"].values
    marked = found.get(f"{name}_marked")
    shown = np.ones(low.shape, bool) if marked is None else ~marked.values
    good = (low <= truth) & (truth <= high)
    return (float(good[shown].mean()) if shown.any() else np.nan), float(1 - shown.mean())


def simulate(name, size, trials, seed=1):
    """Coverage of unmarked intervals, and the share of samples that are marked."""
    population = POPULATIONS[name]
    values, energy = population.draw(np.random.default_rng([seed, size]), (1, trials, size))
    found = summarize(cube([population.kind], values, energy))
    rows = {
        "median": held(found, "median", population.median)[0],
        "mean in dB": held(found, "db_mean", population.decibels)[0],
    }
    for statistic, truth in (("mean", population.mean), ("pooled", population.pooled)):
        rows[statistic], rows[f"{statistic}, marked"] = held(found, statistic, truth)
    return rows


PAIRS = {
    "light tail": None,
    "1 in 10 trials fails": None,
    "1 in 50 trials fails": None,
    "lognormal": None,
    "pool am − svd": ("am", "svd"),
    "pool svd − oracle": ("svd", "oracle"),
}


def simulate_pairs(name, size, trials, seed=2):
    """Coverage of the figures of a comparison, and of the gap that the reference as a bound has."""
    rng, shape = np.random.default_rng([seed, size]), (trials, size)
    kind = "estimator"
    if PAIRS[name] is None:  # two solvers alike, that fail on their own
        kind = POPULATIONS[name].kind
        solver, base = (POPULATIONS[name].draw(rng, shape)[0] for _ in range(2))
        truth, ratio = (0.0, 0.0), 0.0
    else:
        one, other = (columns()[part] for part in PAIRS[name])
        at = rng.integers(len(one), size=shape)
        solver, base = one[at], other[at]
        difference = to_db(one) - to_db(other)
        truth, ratio = (np.median(difference), difference.mean()), to_db(one.mean() / other.mean())
    values = np.stack([solver, base])
    found = compare(cube([kind, kind], values), "s1")
    gap = gaps(cube([kind, "bound"], values))
    rows = {"median difference": held(found, "median_difference", truth[0])[0]}
    for title, dataset, statistic, value in (
        ("mean difference", found, "difference", truth[1]),
        ("gap", gap, "gap", ratio),
    ):
        rows[title], rows[f"{title}, marked"] = held(dataset, statistic, value)
    return rows


def simulate_rates(share, size, trials, seed=4):
    """Coverage of the mean of a rate that is 1, but between 0.2 and 0.9 in a share of trials."""
    rng, shape = np.random.default_rng([seed, size]), (1, trials, size)
    values = np.where(rng.random(shape) < share, rng.uniform(0.2, 0.9, shape), 1.0)
    found = summarize(cube(["oracle"], values, better="higher", zero_estimate=0.0, valid_max=1.0))
    return {"mean": held(found, "mean", 1 - 0.45 * share)[0]}


def simulate_speed(size, trials, seed=3):
    """Coverage of the speed ratio: realizations differ, and batches have good and bad times."""
    rng = np.random.default_rng([seed, size])
    shape = (trials, size // BATCH, BATCH)

    def times():
        batch = rng.normal(0, 0.1, shape[:2])[..., np.newaxis]
        return np.exp(batch + rng.normal(0, 0.3, shape)).reshape(trials, size)

    found = {}
    for title, batch in (("from batches", BATCH), ("as if independent", 1)):
        _, low, high = np.moveaxis(speed_ratio(times(), times(), size=batch), -1, 0)
        found[title] = float(((low <= 1.0) & (high >= 1.0)).mean())
    return found


def table(rows):
    """Print a Markdown table of the figures in `rows`, by the words that come first."""
    words, figures = zip(*rows, strict=True)
    titles = [*words[0], *figures[0]]
    print("| " + " | ".join(titles) + " |")
    print("|" + "---|" * len(words[0]) + "---:|" * len(figures[0]))
    for word, figure in rows:
        shown = ("–" if value != value else f"{value:.3f}" for value in figure.values())
        print("| " + " | ".join([*map(str, word.values()), *shown]) + " |", flush=True)
    print()


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    for title, names, function in (
        ("distribution", POPULATIONS, simulate),
        ("pairs from", PAIRS, simulate_pairs),
        ("share below 1", (0.005, 0.02, 0.1, 0.5), simulate_rates),
    ):
        table(
            [
                ({title: name, "trials": size}, function(name, size, trials))
                for name in names
                for size in SIZES
            ]
        )
    table([({"realizations": size}, simulate_speed(size, trials)) for size in (200, 500, 1000)])


if __name__ == "__main__":
    main()
