"""The recipes of containers: pinned, and alike; built and run where there is a tool for it."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "workflows" / "containers"
CONTAINERFILE = (RECIPES / "Containerfile").read_text("utf-8")
APPTAINER = (RECIPES / "kronsbl.def").read_text("utf-8")


def pins():
    lines = (RECIPES / "constraints.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_every_dependency_is_pinned_to_a_version_that_will_do():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["batch"]]
    for requirement in map(Requirement, needed):
        pinned = pins()[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned), requirement


def test_both_recipes_do_the_same():
    [base] = re.findall(r"^FROM (python:3\.\d+\.\d+-slim-\w+)$", CONTAINERFILE, re.M)
    assert re.findall(r"^From: (\S+)$", APPTAINER, re.M) == [base]
    steps = re.search(r"pip install .*?rm -r /opt/source", CONTAINERFILE, re.S)[0]
    assert steps in APPTAINER
    settings = re.search(r"^ENV (.*)$", CONTAINERFILE, re.M)[1]
    assert APPTAINER.count(f"export {settings}") == 2


def test_code_for_any_processor_is_found_on_every_node(monkeypatch):
    """Whatever the model of the machine on which the image was built."""
    from solvers.kernels import caching

    caching.processor.cache_clear()
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    try:
        assert caching.processor() == "generic"
    finally:
        caching.processor.cache_clear()


def built_by(tool):
    """Commands that build and run the image, where the tool works here."""
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} here")
    if tool == "apptainer":
        return ["build", "--force"], ["run", "--bind"]
    if subprocess.run([tool, "info"], capture_output=True, check=False).returncode:
        pytest.skip(f"{tool} does not work here")
    return ["build", "-t", "kronsbl-test", "-f", str(RECIPES / "Containerfile")], [
        "run",
        "--rm",
        "-v",
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tool", ["podman", "docker", "apptainer"])
def test_image_runs_a_campaign(tool, tmp_path):
    build, run = built_by(tool)
    image = str(tmp_path / "kronsbl.sif") if tool == "apptainer" else "kronsbl-test"
    what = [image, str(RECIPES / "kronsbl.def")] if tool == "apptainer" else [str(ROOT)]
    done = subprocess.run(
        [tool, *build, *what], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode and re.search(r"dial tcp|no such host|pull|network", done.stderr):
        pytest.skip("the base image cannot be had here")
    assert done.returncode == 0, done.stderr[-2000:]
    shutil.copy(ROOT / "workflows" / "quickstart.toml", tmp_path)
    words = ["run", "quickstart.toml", "--realizations", "4", "--workers", "1", "--quiet"]
    where = [f"{tmp_path}:/work"] + (["--pwd", "/work"] if tool == "apptainer" else [])
    command = [tool, *run, *where, image, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "results" / "quickstart" / "LATEST").exists()
