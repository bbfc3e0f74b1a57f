"""The names of `kronsbl`, `pipeline` and `solvers`: all there, imported when they are needed."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import kronsbl
import pipeline
import solvers

HEAVY = {"bokeh", "dask", "distributed", "matplotlib", "numba", "pandas", "xarray", "zarr"}


def python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("package", [kronsbl, pipeline, solvers], ids=lambda p: p.__name__)
def test_every_public_name_is_there(package):
    assert set(package.__all__) <= set(dir(package))
    assert len(set(package.__all__)) == len(package.__all__)
    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'"):
        _ = package.nothing


def test_kronsbl_has_the_names_of_both():
    assert set(kronsbl.__all__) == {"__version__", *pipeline.__all__, *solvers.__all__}
    assert set(pipeline.__all__).isdisjoint(solvers.__all__)
    assert kronsbl.run is pipeline.run
    assert kronsbl.Problem is solvers.Problem
    assert kronsbl.__version__ == version("kronsbl")


def test_importing_kronsbl_is_light():
    code = "import kronsbl, sys; kronsbl.create('omp'); print(*sys.modules)"
    assert HEAVY.isdisjoint(python("-c", code).split())


def test_command_line_of_the_module():
    said = dict(
        line.split(maxsplit=1) for line in python("-m", "kronsbl", "--version").splitlines()
    )
    assert said["kronsbl,"] == f"version {version('kronsbl')}"
    assert said["numpy"] == version("numpy")
    assert {"commit", "python", "cpu", "blas"} <= said.keys()
    assert python("-m", "kronsbl", "--help").startswith("Usage: kronsbl [OPTIONS]")
