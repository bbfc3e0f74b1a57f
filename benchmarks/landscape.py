"""The tables and the figure of docs/landscape.md, from the stores of `workflows/landscape`.

    python -m benchmarks.landscape [--results results] [-o FILE.png]
    python -m benchmarks.landscape --ranks FILE.png

The figure and the first table take ``landscape-counts``; ``landscape-sparse``, ``landscape-starts``
and ``landscape-restarts`` follow where they are. The second command needs no store: it runs EM
without noise and draws the ranks of its second moments (benchmarks/ranks.py), in a minute or two.
"""

import argparse
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import scipy.stats

import pipeline
from benchmarks import ranks

GROUND = 0.5
"""Costs that differ by less are those of one minimum."""


MEASUREMENTS = 6
"""Of each problem whose minima are counted."""


def counts(cube, figure):
    """Minima by enumeration, against the bounds, and the equality of the two ways to count."""
    kron, flat = (cube.minima.sel(solver=name) for name in ("kronecker", "flat"))
    same = (kron == cube.product_minima.sel(solver="flat")).values
    print(f"{same.sum()} of {same.size}: the Kronecker minima are the flat ones on product sets")
    print("| atoms | Kronecker minima, mean (most) | bound | flat minima | bound |")
    bounds = cube.supports.isel(realization=0)
    for at in range(cube.sizes["shape"]):
        row = [str(cube["shape"].values[at])]
        for name, found in (("kronecker", kron), ("flat", flat)):
            here = found.isel(shape=at)
            row += [f"{here.mean().item():.2f} ({here.max().item():.0f})"]
            row += [f"{bounds.sel(solver=name).isel(shape=at).item():.0f}"]
        print(f"| {' | '.join(row)} |")
    if figure is None:
        return
    panel = plt.figure(figsize=(6.0, 3.6), layout="constrained").subplots()
    atoms = [
        math.prod(map(int, str(name).split("x"))) / MEASUREMENTS for name in cube["shape"].values
    ]
    looks = (("flat", "C0", "any γ"), ("kronecker", "C1", "γ a Kronecker product"))
    for name, colour, label in looks:
        found = cube.minima.sel(solver=name)
        panel.plot(atoms, found.mean("realization"), "o-", color=colour, label=label)
        low, high = (found.quantile(q, "realization") for q in (0.05, 0.95))
        panel.fill_between(atoms, low, high, color=colour, alpha=0.2)
        panel.plot(atoms, bounds.sel(solver=name), ":", color=colour, label=f"{label}, bound")
    panel.set(xlabel="atoms per measurement", ylabel="local minima", yscale="log")
    panel.legend()
    panel.grid(alpha=0.3)
    panel.figure.savefig(figure, dpi=150)


def sparse(cube):
    """Minima beside the truth, which is one."""
    print("| M_1 | K | minima beside the truth, mean (most) | realizations without any |")
    beside = cube.minima.isel(solver=0) - 1
    for rows in cube.measurements_0.values:
        for nonzeros in cube.sparsity.values:
            here = beside.sel(measurements_0=rows, sparsity=nonzeros)
            none = 100 * (here == 0).mean().item()
            most = f"{here.mean().item():.2f} ({here.max().item():.0f})"
            print(f"| {rows} | {nonzeros} | {most} | {none:.0f} % |")


def starts(cube):
    """How many starts reach the lowest cost, flat and as a product over the factors."""
    print("| SNR | lowest reached by, flat | Kronecker | costs, flat | most nonzeros, flat |")
    for snr in cube.snr_db.values:
        here = cube.isel(solver=0).sel(snr_db=snr)
        flat, *factors = (here.isel(shape=k) for k in range(here.sizes["shape"]))
        share = math.prod(one.lowest_share for one in factors)
        row = [
            f"{snr:g} dB",
            *(f"{100 * s.mean().item():.0f} %" for s in (flat.lowest_share, share)),
        ]
        row += [
            f"{flat.different_costs.mean().item():.1f}",
            f"{flat.most_nonzeros.max().item():.0f}",
        ]
        print(f"| {' | '.join(row)} |")


def restarts(cube):
    """Whether a lower cost is a lower error, over starts of the same realization."""
    print("| SNR | solver | own start | lowest cost | lowest error | rank correlation | minima |")
    for snr in cube.snr_db.values:
        for name in ("am", "svd"):
            here = cube.sel(snr_db=snr, solver=[f"{name}[first={k}]" for k in range(10)])
            cost, error = here.lowest_cost.values, 10 * np.log10(here.nmse.values)
            pick = [
                error[0],
                error[cost.argmin(axis=0), np.arange(cost.shape[1])],
                error.min(axis=0),
            ]
            varied = np.flatnonzero(np.ptp(cost, axis=0) > GROUND)
            ranks = [scipy.stats.spearmanr(cost[:, k], error[:, k]).statistic for k in varied]
            minima = (np.diff(np.sort(cost, axis=0), axis=0) > GROUND).sum(axis=0) + 1
            row = [f"{snr:g} dB", name, *(f"{np.median(values):.1f} dB" for values in pick)]
            row += [f"{np.median(ranks):.2f} (n = {len(ranks)})", f"{minima.mean():.1f}"]
            print(f"| {' | '.join(row)} |")


def main():
    """Print what is there, or draw ranks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("-o", "--figure", type=Path)
    parser.add_argument("--ranks", type=Path, help="figure of the ranks without noise")
    options = parser.parse_args()
    if options.ranks is not None:
        return ranks.draw(options.ranks)
    counts(pipeline.open_results(options.results / "landscape-counts").load(), options.figure)
    for table in (sparse, starts, restarts):
        store = options.results / f"landscape-{table.__name__}"
        if store.exists():
            print()
            table(pipeline.open_results(store).load())
    return None


if __name__ == "__main__":
    main()
