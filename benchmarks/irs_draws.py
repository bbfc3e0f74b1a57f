"""The IRS study over several draws of pilots and patterns, against the authors' trials.

    python -m benchmarks.irs_draws [--draws 6] [--store results/irs-draws]

The authors drew pilots and patterns once for all of their trials, and so does a campaign with
``patterns = "fixed"``, for each seed. Here the study is run with several seeds, and all of its
trials together are compared with the published ones by the rank test of `kronsbl paper`. Prints a
row per solver and SNR; a store per draw is kept, so that running again goes on.
"""

import argparse
from pathlib import Path

import xarray as xr

import pipeline
from pipeline.analysis.published import compare_published, read_published

STUDY = Path(__file__).parent.parent / "workflows" / "paper" / "irs.toml"
PUBLISHED = STUDY.parent / "published" / "irs.csv"


def draws(count, store):
    """Cubes of the study with so many seeds, below each other."""
    tables = pipeline.Campaign.load(STUDY).tables()
    cubes = []
    for number in range(count):
        header = tables["campaign"] | {"seed": tables["campaign"]["seed"] + number}
        campaign = pipeline.Campaign.from_tables(tables | {"campaign": header})
        done = pipeline.run(campaign, store / str(header["seed"]), folder=STUDY.parent)
        cubes.append(pipeline.open_results(done.store).load())
    return xr.concat(cubes, "realization", combine_attrs="override", join="override")


def row(verdict):
    """A line of the table."""
    ours, theirs = verdict.ours, verdict.theirs
    [snr_db] = verdict.point.values()
    return (
        f"{verdict.measure:7} {verdict.solver:8} {snr_db:6} {ours.trials:6} "
        f"{ours.median:10.3g} {theirs.median:10.3g} {ours.mean:10.3g} ± {ours.error:<8.1g} "
        f"{theirs.mean:8.3g} ± {theirs.error:<8.1g} {verdict.p_value:8.2g}  {verdict.text}"
    )


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--store", type=Path, default=Path("results/irs-draws"))
    arguments = parser.parse_args()
    results = draws(arguments.draws, arguments.store)
    verdicts = compare_published(results, read_published(PUBLISHED, results))
    print("                               median                 mean of")
    print("measure solver   snr_db trials   ours  published    ours          published")
    for verdict in verdicts:
        print(row(verdict))
    print(f"{sum(v.consistent for v in verdicts)} of {len(verdicts)} consistent")


if __name__ == "__main__":
    main()
