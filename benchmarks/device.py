"""What solvers take on arrays of another library, on a GPU say, and whether they agree with numpy.

    python -m benchmarks.device [--library numpy torch cupy …] [--device cuda] [--batch 100 1000 …]
    python -m benchmarks.device --check --library torch --device cuda

The first prints, per study, solver, library and batch, µs per realization and per EM iteration of
one realization, beside two floors: the bytes of the tensors that an iteration reads or writes once,
over the measured copy bandwidth, and the operations of its products and factorisations, over the
measured rate of large matrix products; nothing pruned. numpy is one core, and may be measured in
the same run. Realizations are drawn once and repeated to fill a batch, each with a little noise of
its own.

`--check` compares the estimates of every solver that runs on any array with numpy's (status,
iterations, x̂), then runs the solvers' contract and tests/test_arrays.py there; with a device of
CUDA also a small campaign on it and on processors, whose cubes are compared. It exits with 1 where
something differs, and takes a quarter of an hour on a processor.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import importlib
import math
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import numpy as np

from pipeline import Campaign, open_results, run
from pipeline.solving import process
from solvers import Problem
from solvers.arrays import host

ROOT = Path(__file__).parent.parent
STUDIES = {
    "synthetic": ("workflows/paper/snr.toml", (20,)),
    "irs": ("workflows/paper/irs.toml", (12,)),
}
DRAWN = 100
FLAT = {"csbl": 200, "pc_sbl": 200}
"""Solvers that hold a large matrix for each realization, and their largest batch."""

AGREEING, CLOSE = 0.999, 1e-8

CONTRACT = ("arrays", "solver_contract", "relations", "bounds", "core", "units")
"""Modules with tests that are run in a library of one's choice, which is part of their names."""


class Device:
    """A library of arrays and where it keeps them."""

    def __init__(self, library, device):
        self.library, self.device = library, device
        module = "numpy" if library == "numpy" else f"array_api_compat.{library}"
        self.xp = importlib.import_module(module)
        if library == "cupy":
            self.device = importlib.import_module("cupy").cuda.Device(0)

    @property
    def title(self):
        """What is printed of it."""
        if self.library == "cupy" or "cuda" in str(self.device):
            native = importlib.import_module(self.library)
            if self.library == "torch":
                return f"torch {native.__version__}, {native.cuda.get_device_name()}"
            card = native.cuda.runtime.getDeviceProperties(0)["name"].decode()
            return f"cupy {native.__version__}, {card}"
        return f"{self.library} {importlib.import_module(self.library).__version__}, processor"

    def array(self, values):
        """Values of numpy as an array of the library."""
        if self.library == "numpy":
            return values
        return self.xp.asarray(np.ascontiguousarray(values), device=self.device)

    def wait(self, array):
        """Wait until an array has been computed, by looking at an entry of it."""
        return float(host(self.xp.abs(array.reshape(-1)[-1:]))[0])

    def problem(self, problem):
        """A problem in arrays of the library."""
        return problem.moved(self.array)

    def seconds(self, call, repeats=5):
        """Middle of several times of a call that returns an array, after one that warms up."""
        self.wait(call())
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            self.wait(call())
            times.append(time.perf_counter() - start)
        return sorted(times)[repeats // 2]

    def rates(self):
        """Bytes per second of a copy (read and written), and operations per second of a product."""
        large = self.library == "cupy" or "cuda" in str(self.device)
        size, order = (2**26, 4096) if large else (2**23, 1024)
        x = self.array(np.ones(size))
        a = self.array(np.ones((order, order)))
        return 16 * size / self.seconds(lambda: x + 0.0), 2 * order**3 / self.seconds(lambda: a @ a)


def drawn(study, batch):
    """Realizations of a study's point, repeated to fill a batch."""
    file, point = STUDIES[study]
    campaign = Campaign.load(ROOT / file)
    problem, _ = campaign.scenario_at(point).draw(range(min(batch, DRAWN)), campaign.campaign.seed)
    problem = problem.take(np.arange(batch) % problem.batch)
    noise = np.random.default_rng(1).standard_normal(problem.y.shape)
    y = problem.y + 1e-3 * np.sqrt(problem.noise_var).reshape(-1, *[1] * len(problem.dims)) * noise
    return campaign, Problem(y, problem.factors, problem.noise_var, problem.true_variance)


def work(problem, name):
    """Bytes and operations of an EM iteration of one realization, nothing pruned."""
    m, n = problem.measurements, problem.dims
    size = 2 if np.iscomplexobj(problem.y) else 1
    measured, atoms = math.prod(m), math.prod(n)
    if name in FLAT:  # a factorisation, the triangle's inverse, their product
        return 8 * size * 3 * measured**2, size**2 * measured**3
    orders = [min(a, b) for a, b in zip(m, n, strict=True)]
    products = 0
    for outer_sizes in (m, n, n):  # of the data, the mean and the variances
        left = list(orders)
        for i, d in enumerate(outer_sizes):
            products += 2 * math.prod(left) * d
            left[i] = d
    return 8 * size * (2 * measured + 4 * atoms), size**2 * products


def bench(device, rates, study, batch, names):
    """Print a line for each solver."""
    campaign, problem = drawn(study, batch)
    for entry in campaign.entries:
        runs = entry.solver.any_array and hasattr(entry.solver, "max_iterations")
        if not runs or batch > FLAT.get(entry.use, math.inf) or (names and entry.use not in names):
            continue
        there = device.problem(problem)
        entry.solver.solve(device.problem(problem.take(slice(0, min(batch, 8)))))
        start = time.perf_counter()
        estimate = entry.solver.solve(there)
        device.wait(estimate.x)
        seconds = time.perf_counter() - start
        iterations = int(host(estimate.iterations).sum())
        moved, operations = (w / r for w, r in zip(work(problem, entry.use), rates, strict=True))
        print(
            f"{study:10} {entry.use:11} {device.library:6} {batch:6} {seconds / batch * 1e6:11.1f} "
            f"{seconds / iterations * 1e6:10.2f} {moved * 1e6:10.3f} {operations * 1e6:10.3f}",
            flush=True,
        )


def agrees(device, study):
    """Whether every solver finds what it finds with numpy; prints a line for each."""
    good = True
    campaign, problem = drawn(study, DRAWN)
    for entry in campaign.entries:
        if not entry.solver.any_array or entry.solver.applies(problem):
            continue
        few = problem.take(slice(0, 4)) if entry.use in FLAT and study == "synthetic" else problem
        expected, found = entry.solver.solve(few), entry.solver.solve(device.problem(few))
        same = host(found.status) == expected.status
        same &= host(found.iterations) == expected.iterations
        error = np.linalg.norm((host(found.x) - expected.x).reshape(few.batch, -1), axis=1)
        error /= np.linalg.norm(expected.x.reshape(few.batch, -1), axis=1)
        worst = float(error[same].max(initial=0.0))
        good &= same.mean() >= AGREEING and worst <= CLOSE
        print(
            f"{study:10} {entry.use:11} alike {same.mean():.4f}, x̂ within {worst:.1e}", flush=True
        )
    return good


def keeps_the_contract(library, device):
    """Whether the tests that a library can take pass with it."""
    tests = [f"tests/test_{name}.py" for name in CONTRACT]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "", "-k", library, *tests]
    named = {"KRONSBL_TEST_LIBRARY": library, "KRONSBL_TEST_DEVICE": device}
    return subprocess.run(command, cwd=ROOT, env=os.environ | named, check=False).returncode == 0


def campaigns_agree(device):
    """Whether a campaign has the cube of processors on a device; prints a line for each solver."""
    tables = tomllib.loads((ROOT / "workflows" / "quickstart.toml").read_text())
    names = ("svd_krosbl", "am_krosbl", "ksbl", "csbl", "pc_krosbl", "oracle_ls", "crb")
    tables["solvers"] = {name: {"use": name} for name in names}
    tables["scenario"] |= {"dims": [8, 8, 8], "measurements": [6, 6, 8]}
    tables["campaign"]["realizations"] = 50
    campaign, cubes, good = Campaign.from_tables(tables), [], True
    with tempfile.TemporaryDirectory() as folder:
        for where in (device, "cpu"):
            start = time.perf_counter()
            good &= run(campaign, Path(folder, where.replace(":", "")), device=where).ok
            print(f"campaign on {where}: {time.perf_counter() - start:.1f} s", flush=True)
            cubes.append(open_results(Path(folder, where.replace(":", ""))).load())
    for name in names:
        one, other = (cube.sel(solver=name) for cube in cubes)
        same = ((one.status == other.status) & (one.iterations == other.iterations)).values
        a, b = one.nmse.values[same], other.nmse.values[same]
        worst = float(np.nanmax(np.abs(a - b) / np.abs(b), initial=0.0))
        good &= same.mean() >= AGREEING and worst <= CLOSE
        card = one.device.attrs["flag_meanings"].split()[int(one.device.max())]
        print(f"{name:11} on {card}: alike {same.mean():.4f}, NMSE within {worst:.1e}", flush=True)
    return good


def main():
    """Print the table, or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--library", nargs="+", default=["numpy"])
    parser.add_argument("--device", default="cpu", help="of PyTorch: cpu, cuda, cuda:1, …")
    parser.add_argument("--batch", type=int, nargs="+", default=[100, 1000, 10000, 30000])
    parser.add_argument("--study", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--solver", nargs="+")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    process.prepare()
    devices = [Device(library, arguments.device) for library in arguments.library]
    if arguments.check:
        good = True
        for device in devices:
            print(device.title, flush=True)
            for study in arguments.study:
                good &= agrees(device, study)
            good &= keeps_the_contract(device.library, arguments.device)
        if arguments.device.startswith("cuda"):
            good &= campaigns_agree(arguments.device)
        sys.exit(not good)
    for device in devices:
        bandwidth, rate = rates = device.rates()
        print(
            f"{device.title}: copies {bandwidth / 1e9:.0f} GB/s, products {rate / 1e9:.0f} Gflop/s"
        )
        print("study      solver      arrays  batch  µs/realiz.  µs/iter.  bytes (µs)  flops (µs)")
        for study in arguments.study:
            for batch in arguments.batch:
                bench(device, rates, study, batch, arguments.solver)


if __name__ == "__main__":
    main()
