"""The short version of `tests.storm`, and the company of two runs without any kill."""

import subprocess

import pytest
import tomli_w

from pipeline import open_results
from tests.storm import BIN, Company, storm, tables
from tests.test_mishaps import assert_same_numbers, undisturbed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_cube_is_the_same_after_a_storm():
    hits = storm(30, seed=7)
    assert sum(hits.values()) == 30
    assert len(hits) == 6


@pytest.mark.slow
def test_two_runs_with_gc_publish_and_readers_beside_them(tmp_path):
    study, store = tmp_path / "study.toml", tmp_path / "store"
    study.write_text(tomli_w.dumps(tables()))
    expected = undisturbed(tables(), tmp_path / "undisturbed")
    command = [BIN / "kronsbl", "run", study, "--store", store, "--workers", "1", "--quiet"]
    runs = [subprocess.Popen(command) for _ in range(2)]
    company = Company(store, tmp_path / "undisturbed")
    try:
        while any(run.poll() is None for run in runs):
            if list(store.glob("requests/0*.toml")):
                company.repair()
            subprocess.run([BIN / "kronsbl", "status", store], capture_output=True, check=False)
        company.repair()
    finally:
        company.close()
    assert [run.returncode for run in runs] == [0, 0]
    assert_same_numbers(open_results(store).load(), expected)
