"""What a campaign will take, and what a block does, from trying solvers for a little while."""

from dataclasses import dataclass
from unittest.mock import Mock

import numpy as np
import pytest

import pipeline
from pipeline import Campaign, Store
from pipeline.cli import terminal
from pipeline.driver import calibration
from pipeline.solving import trying
from tests.conftest import block_files
from tests.troublemakers import plain_estimate


class Clock:
    """Time as solvers spend it."""

    now = 0.0

    @classmethod
    def perf_counter(cls):
        return cls.now


@dataclass(frozen=True)
class Ticking:
    """Takes three seconds per iteration and realization."""

    max_iterations: int = 1000
    needs: int = 1000

    def solve(self, problem, *, initial=None, watch=None):
        for iteration in range(1, min(self.needs, self.max_iterations) + 1):
            np.ones(1000 * problem.batch)
            Clock.now += 3 * problem.batch
            watch(iteration, np.arange(problem.batch), None)
        return plain_estimate(problem)


@pytest.fixture
def configuration(tiny, monkeypatch):
    """Of a ticking solver with options of its own."""
    for module in (calibration, trying):
        monkeypatch.setattr(module, "time", Clock)
    monkeypatch.setattr(calibration, "PATIENCE_SECONDS", 4.0)

    def make(**options):
        tiny["campaign"]["batch"] = 5
        tiny["solvers"] = {"slow": {"use": "tests.test_planning:Ticking", **options}}
        return Campaign.from_tables(tiny).configurations[0]

    return make


@pytest.mark.parametrize("cap", [1000, 7, 2])
def test_long_solves_are_cut_and_reckoned_to_their_cap(configuration, cap):
    before = Clock.now
    found = calibration.seconds_per_block(configuration(max_iterations=cap))
    assert found.seconds == pytest.approx(5 * 3 * cap)
    assert found.at_most == (cap > 2)
    assert Clock.now - before == 3 * 2


def test_short_solves_run_to_their_end(configuration):
    found = calibration.seconds_per_block(configuration(needs=1))
    assert found[:2] == (5 * 3, False)


def test_memory_of_a_long_solve_is_that_of_its_first_iterations(configuration):
    before = Clock.now
    # Whatever other threads of this process allocate meanwhile is counted, too.
    assert trying.block_bytes(configuration()) > 0.9 * 5 * 1000 * 8
    assert Clock.now - before == 3 * trying.MEMORY_ITERATIONS * (1 + 2)


def test_a_plan_says_where_it_is_an_upper_bound(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "PATIENCE_SECONDS", 0.0)
    found = pipeline.plan(Campaign.from_tables(tiny), tmp_path / "store")
    assert [p.at_most for p in found.solvers] == [True, False]
    lines = "\n".join(terminal.plan_lines(found))
    assert "core time  ≤ " in lines
    assert "wall time  ≤ " in lines


def test_plan_counts_what_a_run_will_do(tiny, tmp_path, client):
    tiny["campaign"]["realizations"] = 7
    campaign, store = Campaign.from_tables(tiny), tmp_path / "store"
    before = pipeline.plan(campaign, store)
    assert not store.exists()
    assert (before.cells, before.blocks, before.cells_done) == (2 * 2 * 9, 2 * 2 * 3, 0)
    assert before.core_seconds > 0
    result = pipeline.run(campaign, store, client)
    assert result.counts.total == before.cells
    on_disk = sum(path.stat().st_size for path in block_files(Store.open(store)))
    assert before.store_bytes == pytest.approx(on_disk, rel=0.3)
    assert pipeline.plan(campaign, store).core_seconds == 0


def test_plan_warns_of_long_blocks_and_small_places(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.driver.planning.LONG_BLOCK_SECONDS", 1e-6)
    monkeypatch.setattr("pipeline.driver.planning.WORKER_BASE_BYTES", 1e15)
    monkeypatch.setattr("pipeline.driver.planning.BLOCK_OVERHEAD_BYTES", 1e15)
    warnings = "\n".join(pipeline.plan(Campaign.from_tables(tiny), tmp_path / "store").warnings)
    assert "put batch = 1 into [solvers.svd]" in warnings
    assert "a worker needs" in warnings
    assert "the disk has" in warnings


def test_a_plan_counts_files_against_what_the_file_system_takes(tiny, tmp_path, monkeypatch):
    def free(count, of=1000):
        about = Mock(
            f_favail=count, f_files=of, f_bavail=1e9, f_blocks=1e9, f_bfree=1e9, f_frsize=1
        )
        monkeypatch.setattr("pipeline.driver.planning.os.statvfs", lambda _: about)
        found = pipeline.plan(Campaign.from_tables(tiny), tmp_path / "store")
        return found, "\n".join([*terminal.plan_lines(found), *found.warnings])

    found, said = free(10_000)
    assert (found.store_files, found.store_folders, found.files_free) == (8, 8, 10_000)
    assert "at most 8 files in 8 folders at a time, 10000 are free; " in said
    assert "the file system takes" not in said
    few = 2 * found.cube_files + found.store_folders + 4
    found, said = free(few)
    assert f"takes {few} more files" in said
    assert "batch = 6 in [campaign]" in said, "twice as many realizations, half as many blocks"
    found, said = free(0, of=0)
    assert found.files_free is None
    assert "free" not in said.split("; ")[1]
    tiny["campaign"]["realizations"] = 300_000
    found, _ = free(10_000_000)
    assert found.blocks == 400_000
    assert found.store_files < 21_000, "the others are packed by then"


def test_a_plan_says_where_solvers_do_not_converge(tiny, tmp_path):
    tiny["solvers"] = {
        "am": {"use": "am_krosbl", "max_iterations": 2},
        "svd": {"use": "svd_krosbl", "max_iterations": 10_000},
    }
    found = pipeline.plan(Campaign.from_tables(tiny), tmp_path / "store", workers=1)
    am, svd = found.solvers
    assert am.caveat == "6 of 6 ended at 2 iterations"
    assert svd.caveat == ""
    assert found.warnings == [
        "am: of the realizations that were tried, 6 of 6 ended at 2 iterations; its statistics "
        "will mean little"
    ]
