"""A campaign of very many blocks of a solver that costs nothing: what the machinery itself takes.

    python -m benchmarks.scale [--blocks 100000] [--store FOLDER]

Reports blocks per second, the memory of the driver (client and scheduler) as the campaign goes,
and how long listing, publishing and opening take.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil

import pipeline
import pipeline.store.state
from pipeline import Campaign, Store

ROOT = Path(__file__).parent.parent


def tables(blocks, batch):
    """Four points, the cheapest problem and solver there are."""
    return {
        "campaign": {
            "name": "scale",
            "seed": 1,
            "batch": batch,
            "realizations": blocks // 4 * batch,
        },
        "scenario": {"use": "synthetic", "dims": [2], "measurements": [1], "sparsity": 1},
        "sweep": {"snr_db": [0, 10, 20, 30]},
        "solvers": {"nothing": {"use": "tests.troublemakers:Nothing"}},
    }


def timed(name, call):
    """Run, report the seconds, return the result."""
    start = time.perf_counter()
    result = call()
    print(f"{name:12} {time.perf_counter() - start:8.2f} s", flush=True)
    return result


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--store", type=Path)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    store = arguments.store or Path(tempfile.mkdtemp()) / "store"
    campaign = Campaign.from_tables(tables(arguments.blocks, arguments.batch))
    process, start, shown = psutil.Process(), time.perf_counter(), -1

    def progress(counts):
        nonlocal shown
        tenth = 10 * counts.done // counts.total
        if tenth > shown:
            shown, seconds = tenth, time.perf_counter() - start
            print(
                f"{counts.done // arguments.batch:8} blocks {seconds:7.1f} s, "
                f"{counts.done / arguments.batch / seconds:6.0f} blocks/s, "
                f"driver {process.memory_info().rss / 1e6:.0f} MB",
                flush=True,
            )

    timed("run", lambda: pipeline.run(campaign, store, progress=progress))
    opened = Store.open(store)
    print(f"{len(timed('listing', opened.names))} blocks")
    timed("packing", lambda: opened.objects.pack(merge=True))
    print(len(timed("listing", opened.names)), "blocks,", sum(1 for _ in store.rglob("*")), "files")
    timed("status", lambda: pipeline.store.state.state_of(opened))
    timed("publishing", lambda: pipeline.publish(opened, force=True))
    cube = timed("opening", lambda: pipeline.open_results(store))
    timed("mean", lambda: cube.nmse.mean("realization").compute())
    if arguments.store is None:
        shutil.rmtree(store.parent)


if __name__ == "__main__":
    main()
