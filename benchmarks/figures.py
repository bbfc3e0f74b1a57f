"""What figures of a large cube take: seconds and memory of summary, comparison and export.

    python -m benchmarks.figures [--solvers 5] [--points 200] [--realizations 1000]

Default is a million cells, 2 % of them failed, so that every solver has cells of its own.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
from rich.console import Console

from pipeline.analysis import compare, summarize
from pipeline.cli import tables
from pipeline.results.cube import chunks_for
from pipeline.results.export import export


def build(path, shape):
    """Write a cube with the chunks that a store's cube has."""
    dims, chunks = ("solver", "snr_db", "realization"), chunks_for(shape)
    rng = da.random.default_rng(0)
    failed = rng.random(shape, chunks=chunks) < 0.02
    variables = {
        "nmse": (rng.lognormal(-4, 2, shape, chunks=chunks), {"better": "lower"}),
        "srr": (rng.random(shape, chunks=chunks), {"better": "higher"}),
        "status": (da.where(failed, 16, 1).astype("u1"), {}),
        "runtime": (rng.gamma(3, 1e-3, shape, chunks=chunks), {}),
        "signal_energy": (rng.gamma(5, 1, shape, chunks=chunks), {}),
        "iterations": (rng.integers(5, 150, shape, chunks=chunks).astype("i4"), {}),
    }
    labels = np.array([f"s{i}" for i in range(shape[0])], np.dtypes.StringDType())
    cube = xr.Dataset(
        {name: (dims, values, about) for name, (values, about) in variables.items()},
        coords={"solver": labels, "snr_db": np.arange(shape[1])},
    )
    cube.to_zarr(path, consolidated=False)


def measure(name, path, target):
    """Do one thing in a process of its own, and report."""
    start = time.perf_counter()
    cube = xr.open_zarr(path, consolidated=False)
    opened = time.perf_counter() - start
    if name == "summarize":
        summarize(cube)
    elif name == "kronsbl summary":
        with open(target, "w") as file:
            for part in tables.summary(cube, "nmse"):
                Console(file=file, width=140).print(part)
    elif name == "compare":
        compare(cube, "s0")
    else:
        export(cube, f"{target}.{name.split()[1]}")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{name:16} {seconds:7.1f} s, {peak:.2f} GB (opened in {opened:.2f} s)", flush=True)


def main():
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("solvers", 5), ("points", 200), ("realizations", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    shape = tuple(vars(parser.parse_args()).values())
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path, target = Path(folder, "cube.zarr"), Path(folder, "out")
        jobs = [(build, (path, shape))]
        names = ("summarize", "kronsbl summary", "compare", "export nc", "export csv")
        jobs += [(measure, (name, path, target)) for name in names]
        print(f"{np.prod(shape):,} cells")
        for function, arguments in jobs:
            process = context.Process(target=function, args=arguments)
            process.start()
            process.join()


if __name__ == "__main__":
    main()
