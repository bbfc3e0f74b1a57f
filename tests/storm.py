"""Campaigns in a storm: processes of every kind are killed at random moments.

    python -m tests.storm --kills 300

Every campaign is hit several times, each time when between a tenth and nine tenths of its blocks
are there, and resumed until it is done; its cube must be that of an undisturbed run. Beside it one
process publishes, one collects garbage (both are killed, too), and readers load cube after cube,
each cell of which must be as in the undisturbed one, or not run yet.
"""

import argparse
import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import tomli_w

from pipeline import InputError, Store, open_results, publish
from pipeline.results.garbage import LEAST_AGE, collect_garbage
from tests.conftest import TINY
from tests.test_mishaps import assert_same_numbers, undisturbed

BIN = Path(sys.executable).parent
VICTIMS = ("worker", "nanny", "scheduler", "driver", "publisher", "gc")
READERS = 2
BLOCKS = 240
QUICK = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"}


class OwnCluster:
    """A scheduler and two workers with nannies, each in a process of its own."""

    def __init__(self, folder):
        self.file = Path(folder) / "scheduler.json"
        self.scheduler, self.nannies = None, []

    def start(self, *command):
        return subprocess.Popen(
            [BIN / "dask", *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **QUICK},
        )

    def repair(self):
        """Start what is not running."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.close()
            self.file.unlink(missing_ok=True)
            self.scheduler = self.start(
                "scheduler",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--dashboard-address",
                "127.0.0.1:0",
                "--scheduler-file",
                str(self.file),
            )
            while not self.file.exists():
                time.sleep(0.05)
        self.nannies = [n for n in self.nannies if n.poll() is None]
        while len(self.nannies) < 2:
            self.nannies.append(
                self.start(
                    "worker",
                    "--nthreads",
                    "1",
                    "--host",
                    "127.0.0.1",
                    "--dashboard-address",
                    "127.0.0.1:0",
                    "--scheduler-file",
                    str(self.file),
                    "--no-dashboard",
                )
            )

    def workers(self):
        """Processes below the nannies that do the work."""
        found = []
        for nanny in self.nannies:
            try:
                children = psutil.Process(nanny.pid).children()
                found += [c.pid for c in children if "spawn_main" in " ".join(c.cmdline())]
            except psutil.Error:
                continue
        return found

    def close(self):
        for process in (self.scheduler, *self.nannies):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.scheduler, self.nannies = None, []

    def pid_of(self, victim, run, rng):
        if victim == "driver":
            return run.pid
        if victim == "scheduler":
            return self.scheduler.pid
        choice = self.workers() if victim == "worker" else [n.pid for n in self.nannies]
        return rng.choice(choice) if choice else None


class Company:
    """The processes that publish, collect garbage and read beside a run."""

    def __init__(self, store, expected):
        self.store, self.expected = store, expected
        self.processes = {}

    def repair(self):
        """Start who is not there. A reader that has ended has seen what no reader must see."""
        for role in ("publisher", "gc", *(f"reader {n}" for n in range(READERS))):
            process = self.processes.get(role)
            if process is not None and process.poll() is None:
                continue
            if process is not None:
                said = process.communicate()[1]
                if process.returncode != -signal.SIGKILL:
                    raise AssertionError(f"{role}: {said}")
            command = [sys.executable, "-m", "tests.storm", "--play", role.split()[0]]
            self.processes[role] = subprocess.Popen(
                [*command, self.store, self.expected],
                stderr=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[1],
            )

    def pid_of(self, victim):
        return self.processes[victim].pid

    def close(self):
        for process in self.processes.values():
            process.kill()
            process.communicate()


def play(role, store, expected):
    """Be one of the company, until killed."""
    part = {"publisher": publish_for_ever, "gc": collect_for_ever, "reader": read_for_ever}[role]
    part(store, expected)


def publish_for_ever(store, _):
    """Cubes seem to be old at once, so that they are removed; what is being written never does."""
    while True:
        path = publish(store, force=True).path
        then = time.time() - 2 * LEAST_AGE
        os.utime(path, (then, then))
        time.sleep(0.5)


def collect_for_ever(store, _):
    while True:
        collect_garbage(Store.open(store))
        time.sleep(0.3)


def read_for_ever(store, expected):
    """Load what is the newest, and what was some cubes ago."""
    whole, held = open_results(expected).load(), collections.deque()
    while True:
        try:
            held.append(open_results(store))
            check_cube(held[-1].copy(deep=False), whole)
            if len(held) > 4:
                check_cube(held.popleft(), whole)
        except FileNotFoundError as error:
            if "the cube is gone" not in str(error):
                raise
        except InputError as error:
            if "no cube published yet" not in str(error):
                raise
        time.sleep(0.2)


def check_cube(cube, whole):
    """Every cell is as it must be, or has not been run and says so."""
    cube = cube.load()
    done = cube.status.values != 0
    assert (~done).sum() == cube.attrs["missing"], "a status is not what was published"
    for name in ("status", "nmse", "srr", "iterations", "inner_capped", "signal_energy"):
        found, right = cube[name].values, whole[name].values
        np.testing.assert_array_equal(found[done], right[done], err_msg=name)


def tables():
    """A campaign of many small blocks."""
    found = {**TINY, "campaign": {**TINY["campaign"], "batch": 1, "realizations": BLOCKS // 4}}
    found["solvers"] = {
        "svd": {"use": "svd_krosbl"},
        "slow": {"use": "tests.troublemakers:Slow", "seconds": 0.02},
    }
    return found


def count(store):
    return len(Store(store).names()) if (store / "blocks").exists() else 0


def weather(folder, cluster, moments, rng, expected):
    """One campaign, hit whenever so many blocks are there; returns who was hit."""
    study, store, errors = folder / "study.toml", folder / "store", folder / "errors"
    study.write_text(tomli_w.dumps(tables()))
    command = [
        BIN / "kronsbl",
        "run",
        study,
        "--store",
        store,
        "--cluster",
        cluster.file,
        "--quiet",
    ]
    company = Company(store, expected)
    try:
        return _weather(store, errors, command, cluster, company, moments, rng)
    finally:
        company.close()


def _weather(store, errors, command, cluster, company, moments, rng):
    hit, run, deadline = [], None, time.monotonic() + 600
    while True:
        assert time.monotonic() < deadline, "the campaign does not end"
        if run is None or run.poll() is not None:
            if run is not None and run.returncode == 0:
                company.repair()
                return hit
            if run is not None and run.returncode > 0:
                said = errors.read_text()
                assert "Traceback" not in said, said
                print(f"  {said.strip()[:150]}", flush=True)
            cluster.repair()
            with errors.open("w") as file:
                run = subprocess.Popen(
                    command,
                    stderr=file,
                    env={**os.environ, **QUICK},
                    cwd=Path(__file__).parents[1],
                )
        if list(store.glob("requests/0*.toml")):
            company.repair()
        if moments and company.processes and count(store) >= moments[0]:
            victim = rng.choice(VICTIMS)
            beside = victim in company.processes
            pid = company.pid_of(victim) if beside else cluster.pid_of(victim, run, rng)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                moments.pop(0)
                hit.append(victim)
        cluster.repair()
        time.sleep(0.01)


def storm(kills, seed, per_campaign=10):
    """Kill so many processes; returns how many of which kind."""
    rng, hits = random.Random(seed), collections.Counter()
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        expected = undisturbed(tables(), Path(folder) / "undisturbed")
        cluster = OwnCluster(folder)
        try:
            number = 0
            while sum(hits.values()) < kills:
                place = Path(folder) / str(number)
                place.mkdir()
                many = min(per_campaign, kills - sum(hits.values()))
                moments = sorted(rng.randint(BLOCKS // 10, 9 * BLOCKS // 10) for _ in range(many))
                hits.update(weather(place, cluster, moments, rng, Path(folder) / "undisturbed"))
                assert_same_numbers(open_results(place / "store").load(), expected)
                number += 1
                print(f"{number} campaigns, {sum(hits.values())} kills: {dict(hits)}", flush=True)
        finally:
            cluster.close()
    return hits


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--play", nargs=3, metavar=("ROLE", "STORE", "EXPECTED"))
    arguments = parser.parse_args()
    if arguments.play:
        play(*arguments.play)
    start = time.monotonic()
    print(dict(storm(arguments.kills, arguments.seed)), f"{time.monotonic() - start:.0f} s")
