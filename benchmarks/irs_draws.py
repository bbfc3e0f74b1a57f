"""The IRS study over several draws of pilots and patterns, against the authors' trials.

    python -m benchmarks.irs_draws [--draws 8] [--workers 1] [--store results/irs-draws]

The authors drew pilots and patterns once for all of their trials, and so does a campaign with
``patterns = "fixed"``, for each seed. Here the study is run with several seeds, 50 realizations
each, and all of its trials together are compared with the published ones as `kronsbl paper` does,
but with intervals that are as wide as draws make them. Prints a table in Markdown; a store per draw
is kept, so that running again goes on.
"""

import argparse
from pathlib import Path

import xarray as xr

import pipeline
from pipeline.analysis.published import compare_published, read_published

STUDY = Path(__file__).parent.parent / "workflows" / "paper" / "irs.toml"
PUBLISHED = STUDY.parent / "published" / "irs.csv"


def draws(count, store, workers):
    """Cubes of the study with so many seeds, below each other; ``draw`` tells them apart."""
    tables = pipeline.Campaign.load(STUDY).tables()
    cubes = []
    for number in range(count):
        header = tables["campaign"] | {"seed": tables["campaign"]["seed"] + number}
        campaign = pipeline.Campaign.from_tables(tables | {"campaign": header})
        place = store / str(header["seed"])
        done = pipeline.run(campaign, place, folder=STUDY.parent, workers=workers)
        cube = pipeline.open_results(done.store).load()
        cubes.append(cube.assign_coords(draw=("realization", [number] * cube.realization.size)))
    return xr.concat(cubes, "realization", combine_attrs="override", join="override")


def row(verdict):
    """A line of the table."""
    ours, theirs = verdict.ours, verdict.theirs
    [snr_db] = verdict.point.values()
    cells = [verdict.solver, snr_db, f"{ours.median:.3g}", f"{theirs.median:.3g}", verdict.text]
    return f"| {' | '.join(map(str, cells))} | {verdict.detectable:.2g}{verdict.unit} |"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--store", type=Path, default=Path("results/irs-draws"))
    arguments = parser.parse_args()
    results = draws(arguments.draws, arguments.store, arguments.workers)
    verdicts = compare_published(results, read_published(PUBLISHED, results))
    for measure in ("nmse", "ser"):
        print(f"\n| {measure} of | SNR (dB) | median, ours | published | verdict | detectable |")
        print("|---|---:|---:|---:|---|---:|")
        for verdict in verdicts:
            if verdict.measure == measure:
                print(row(verdict))
    print(f"\n{sum(v.consistent for v in verdicts)} of {len(verdicts)} consistent")


if __name__ == "__main__":
    main()
