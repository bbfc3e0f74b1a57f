"""What share of its workers' time a campaign spends solving, and what a second worker brings.

    python -m benchmarks.efficiency [CAMPAIGN.toml] [--workers 1 2] [--realizations 100]

For each number of workers, in a store of its own: the wall time of the whole command, the wall time
while there were blocks to solve (without starting workers and publishing), and the sum of all
solvers' runtimes over that time and the workers.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pipeline
from pipeline import Campaign

ROOT = Path(__file__).parent.parent


class Watch:
    """Callback of a run that notes when work begins and ends."""

    def __init__(self):
        self.first = self.last = None

    def __call__(self, counts):
        now = time.perf_counter()
        if counts.workers and self.first is None:
            self.first = now
        if counts.done:
            self.last = now


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "campaign", type=Path, nargs="?", default=ROOT / "workflows/quickstart.toml"
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--realizations", type=int)
    arguments = parser.parse_args()
    campaign = Campaign.load(arguments.campaign, realizations=arguments.realizations)
    print("workers  whole (s)  at work (s)  solving (core-s)  efficiency  speed-up")
    base = None
    for workers in arguments.workers:
        with tempfile.TemporaryDirectory() as folder:
            watch, start = Watch(), time.perf_counter()
            pipeline.run(campaign, Path(folder) / "store", workers=workers, progress=watch)
            whole = time.perf_counter() - start
            cube = pipeline.open_results(Path(folder) / "store")
            solving = float(cube.runtime.sum())
        at_work = watch.last - watch.first
        base = base or at_work
        print(
            f"{workers:7} {whole:10.1f} {at_work:12.1f} {solving:17.1f} "
            f"{solving / (at_work * workers):11.3f} {base / at_work:9.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
