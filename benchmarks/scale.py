"""A campaign of very many blocks of a solver that costs nothing: what the machinery itself takes.

    python -m benchmarks.scale [--blocks 100000] [--store FOLDER]

Reports blocks per second, the memory of the driver (client and scheduler) and the inodes of the
store as the campaign goes, the processor time of driver and workers, where the driver's threads
were (by samples), and how long listing, status, publishing, opening and summary take.
"""

import argparse
import collections
import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

import pipeline
import pipeline.store.state
from pipeline import Campaign, Store
from pipeline.analysis.summaries import summarize

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
    """Run, report the seconds (and those of this process's threads), return the result."""
    start, before = time.perf_counter(), time.process_time()
    result = call()
    took, used = time.perf_counter() - start, time.process_time() - before
    print(f"{name:12} {took:8.2f} s, {used:8.2f} s of processor time", flush=True)
    return result


def inodes(folder):
    """Files and folders under a folder."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


class Samples(threading.Thread):
    """Where this process's threads are, 50 times a second, unless they wait."""

    WAITING = ("wait", "select", "poll", "acquire", "sleep", "_worker", "get")

    def __init__(self):
        super().__init__(daemon=True)
        self.found, self.over = collections.Counter(), threading.Event()

    def run(self):
        while not self.over.wait(0.02):
            for number, frame in sys._current_frames().items():
                if number != self.ident and frame.f_code.co_name not in self.WAITING:
                    self.found[self.place(frame)] += 1

    @staticmethod
    def place(frame):
        """The package and, of our own, the module that the innermost frames are in."""
        while frame is not None:
            parts = Path(frame.f_code.co_filename).parts
            if "site-packages" in parts:
                return parts[parts.index("site-packages") + 1]
            if "pipeline" in parts:
                return "/".join(parts[parts.index("pipeline") :])
            frame = frame.f_back
        return "Python itself"

    def report(self):
        """Say where most samples were."""
        self.over.set()
        everything = sum(self.found.values()) or 1
        for place, count in self.found.most_common(8):
            print(f"  {count / everything:5.0%} {place}")


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--store", type=Path)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    store = arguments.store or Path(tempfile.mkdtemp()) / "store"
    campaign = Campaign.from_tables(tables(arguments.blocks, arguments.batch))
    process, start, shown = psutil.Process(), time.perf_counter(), -1
    workers = {}

    def progress(counts):
        nonlocal shown
        with contextlib.suppress(psutil.Error):
            for child in process.children():
                workers[child.pid] = sum(child.cpu_times()[:2])
        tenth = 10 * counts.done // counts.total
        if tenth > shown:
            shown, seconds = tenth, time.perf_counter() - start
            print(
                f"{counts.done // arguments.batch:8} blocks {seconds:7.1f} s, "
                f"{counts.done / arguments.batch / seconds:6.0f} blocks/s, "
                f"driver {process.memory_info().rss / 1e6:.0f} MB, {inodes(store)} inodes",
                flush=True,
            )

    samples = Samples()
    samples.start()
    number = arguments.workers
    timed("run", lambda: pipeline.run(campaign, store, progress=progress, workers=number))
    samples.report()
    print(f"workers {sum(workers.values()):.1f} s of processor time")
    opened = Store.open(store)
    print(f"{len(timed('listing', opened.names))} blocks")
    timed("packing", lambda: opened.objects.pack(merge=True))
    print(len(timed("listing", opened.names)), "blocks,", inodes(store), "inodes")
    timed("status", lambda: pipeline.store.state.state_of(opened))
    timed("publishing", lambda: pipeline.publish(opened, force=True))
    cube = timed("opening", lambda: pipeline.open_results(store))
    timed("mean", lambda: cube.nmse.mean("realization").compute())
    timed("summary", lambda: summarize(cube).compute())
    if arguments.store is None:
        shutil.rmtree(store.parent)


if __name__ == "__main__":
    main()
