"""Solvers that raise, hang and crash: only the realizations concerned are lost."""

import dataclasses

import numpy as np
import pytest

import pipeline
from pipeline import Campaign, Store, open_results
from pipeline.campaign.blocks import Block
from pipeline.cli import terminal
from pipeline.fanout.rescue import ROUNDS, Rescue
from pipeline.fanout.task import Task
from pipeline.solving.contract import BrokenContract
from pipeline.solving.outcome import Failure, solve_block
from pipeline.store.state import state_of
from solvers import Estimate, Status
from tests.conftest import block_files


def campaign_with(tiny, use, **options):
    tiny["solvers"] = {"bad": {"use": use, **options}, "oracle": {"use": "oracle_ls"}}
    return Campaign.from_tables(tiny)


def concerned(campaign, above):
    """Which cells the troublemaker makes trouble on, (points, realizations)."""
    found = []
    for point in campaign.points():
        problem, _ = campaign.scenario_at(point).draw(
            range(campaign.realizations), campaign.campaign.seed
        )
        found.append(problem.y.reshape(problem.batch, -1)[:, 0] > above)
    return np.array(found)


def run_with_trouble(tiny, store, client, how, above, **limits):
    tiny["limits"] = limits
    campaign = campaign_with(tiny, "tests.troublemakers:Trouble", how=how, above=above)
    bad = concerned(campaign, above)
    assert 0 < bad.sum() < bad.size
    result = pipeline.run(campaign, store, client)
    assert not result.ok
    cube = open_results(store).load()
    assert (cube.status.sel(solver="oracle") == Status.CONVERGED).all()
    return bad, cube


ABOVE = 1.0


def test_raising(tiny, tmp_path, client):
    bad, cube = run_with_trouble(tiny, tmp_path / "store", client, "raise_error", ABOVE)
    expected = np.where(bad, Status.RAISED, Status.CONVERGED)
    np.testing.assert_array_equal(cube.status.sel(solver="bad"), expected)
    np.testing.assert_array_equal(cube.nmse.sel(solver="bad").isnull(), bad)
    assert "RuntimeError: a bad day" in cube.attrs["failures"]
    state = state_of(Store.open(tmp_path / "store"))
    assert sum(s.failed for s in state.configurations) == bad.sum()
    assert f"bad, {bad.sum()} times: RuntimeError: a bad day" in "".join(
        terminal.status_lines(state)
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", ["sleep", "hang_holding_the_interpreter"])
def test_time_limit_holds_whatever_a_solver_hangs_in(tiny, tmp_path, client, how):
    bad, cube = run_with_trouble(
        tiny, tmp_path / "store", client, how, ABOVE, seconds_per_realization=0.05
    )
    expected = np.where(bad, Status.TIME_LIMIT, Status.CONVERGED)
    np.testing.assert_array_equal(cube.status.sel(solver="bad"), expected)
    assert "stuck for more than 0.05 s each" in cube.attrs["failures"]
    assert ", line " in cube.attrs["failures"]
    assert list((tmp_path / "store" / "in_progress").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["crash", "get_killed"])
def test_killing_the_worker(tiny, tmp_path, client, how):
    bad, cube = run_with_trouble(tiny, tmp_path / "store", client, how, ABOVE)
    expected = np.where(bad, Status.KILLED_WORKER, Status.CONVERGED)
    np.testing.assert_array_equal(cube.status.sel(solver="bad"), expected)


@pytest.mark.slow
def test_running_out_of_memory(tiny, tmp_path):
    from distributed import Client, LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with (
        LocalCluster(memory_limit="600MB", silence_logs=50, **options) as cluster,
        Client(cluster) as client,
    ):
        bad, cube = run_with_trouble(tiny, tmp_path / "store", client, "exhaust_memory", ABOVE)
    expected = np.where(bad, Status.KILLED_WORKER, Status.CONVERGED)
    np.testing.assert_array_equal(cube.status.sel(solver="bad"), expected)


def test_watched_solver_is_stopped_without_killing_anything(tiny, tmp_path, client):
    tiny["limits"] = {"seconds_per_realization": 0.05}
    tiny["campaign"]["realizations"] = 3
    campaign = campaign_with(tiny, "tests.troublemakers:Endless")
    workers = set(client.run(lambda: __import__("os").getpid()).values())
    result = pipeline.run(campaign, tmp_path / "store", client)
    cube = open_results(tmp_path / "store")
    assert (cube.status.sel(solver="bad") == Status.TIME_LIMIT).all()
    assert "OverTime: more than 0.05 s per realization" in cube.attrs["failures"]
    assert not result.ok
    assert set(client.run(lambda: __import__("os").getpid()).values()) == workers


def test_solver_that_fails_throughout_is_stopped_and_the_others_go_on(tiny, tmp_path, client):
    tiny["campaign"] |= {"realizations": 60, "batch": 1}
    campaign = campaign_with(tiny, "tests.troublemakers:Trouble", how="raise_error", above=-1e9)
    result = pipeline.run(campaign, tmp_path / "store", client)
    assert result.stopped == {"bad": "RuntimeError: a bad day"}
    assert not result.ok
    cube = open_results(tmp_path / "store")
    ran = (cube.status.sel(solver="bad") != Status.NOT_RUN).sum()
    assert 3 <= ran < 120
    assert (cube.status.sel(solver="oracle") == Status.CONVERGED).all()
    assert result.missing == 120 - ran


@pytest.mark.slow
def test_solver_that_kills_whatever_it_is_tried_on_is_stopped(tiny, tmp_path, client):
    tiny["campaign"] |= {"realizations": 64, "batch": 16}
    campaign = campaign_with(tiny, "tests.troublemakers:Trouble", how="crash", above=-1e9)
    result = pipeline.run(campaign, tmp_path / "store", client)
    assert "with each of 8 realizations tried alone" in result.stopped["bad"]
    cube = open_results(tmp_path / "store")
    assert (cube.status.sel(solver="bad") == Status.NOT_RUN).all()
    assert (cube.status.sel(solver="oracle") == Status.CONVERGED).all()


def test_retry_replaces_failed_blocks_only(tiny, tmp_path, client):
    options = {"how": "raise_error", "above": ABOVE, "unless": str(tmp_path / "mended")}
    campaign = campaign_with(tiny, "tests.troublemakers:Trouble", **options)
    bad = concerned(campaign, ABOVE)
    pipeline.run(campaign, tmp_path / "store", client)
    store = Store.open(tmp_path / "store")
    before = {path.name: path.stat().st_ino for path in block_files(store)}
    failed = set(store.failures())
    assert len(failed) == np.add.reduceat(bad, [0, 3], axis=1).astype(bool).sum()
    (tmp_path / "mended").touch()
    result = pipeline.run(campaign, store, client, retry_failed=True)
    assert result.ok
    assert result.counts.done == 3 * len(failed)
    after = {path.name: path.stat().st_ino for path in block_files(store)}
    assert {name.partition(".")[0] for name in before if before[name] != after[name]} == failed
    assert store.failures() == {}
    assert (open_results(store).status == Status.CONVERGED).all()
    assert pipeline.run(campaign, store, client, retry_failed=True).counts.done == 0


def test_solver_beside_the_campaign_reaches_the_workers(tiny, tmp_path, client):
    (tmp_path / "my_private_solver.py").write_text(
        "from dataclasses import dataclass\n"
        "import solvers\n"
        "from helper_of_my_solver import scale\n"
        "@dataclass(frozen=True)\n"
        "class Mine:\n"
        "    requires = ('true_variance',)\n"
        "    def solve(self, problem, *, initial=None, watch=None):\n"
        "        return scale(solvers.create('oracle_ls').solve(problem))\n"
    )
    (tmp_path / "helper_of_my_solver.py").write_text("def scale(estimate):\n    return estimate\n")
    import tomli_w

    tiny["solvers"] = {"mine": {"use": "my_private_solver:Mine"}}
    (tmp_path / "study.toml").write_text(tomli_w.dumps(tiny))
    result = pipeline.run(tmp_path / "study.toml", tmp_path / "store", client)
    assert result.ok
    assert pipeline.verify(Store.open(tmp_path / "store")).ok


@dataclasses.dataclass(frozen=True)
class Moody:
    """A solver that fails in a way of its choice on one realization of a batch."""

    how: str = "raise"

    def solve(self, problem, *, initial=None, watch=None):
        bad = problem.y[:, 0, 0, 0] == problem.y[:, 0, 0, 0].max()
        if self.how == "raise" and bad.any() and problem.batch > 1:
            raise RuntimeError("a bad day\nwith details")
        if self.how == "raise" and problem.y[0, 0, 0, 0] > 1:
            raise RuntimeError("a bad day\nwith details")
        x = np.zeros((problem.batch, *problem.dims))
        if self.how == "nan":
            x[bad] = np.nan
        if self.how == "shape":
            x = x[:, 0]
        return Estimate(x, status=np.full(len(x), Status.CONVERGED))


@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("raise", Status.RAISED, "RuntimeError: a bad day"),
        ("nan", Status.NOT_FINITE, "x holds NaN or infinite values"),
        ("shape", Status.BROKE_CONTRACT, "BrokenContract: x has shape"),
    ],
)
def test_failures_are_data(tiny, how, status, message):
    tiny["solvers"] = {"moody": {"use": "tests.test_trouble:Moody", "how": how}}
    block = next(Campaign.from_tables(tiny).blocks())
    data = solve_block(block)
    failed = data.cells["status"] == status
    assert failed.any()
    assert np.isnan(data.cells["nmse"][failed]).all()
    assert (data.cells["status"][~failed] == Status.CONVERGED).all()
    if how != "shape":
        assert not failed.all()
    [(text, count)] = data.meta["failures"].items()
    assert text.startswith(message)
    assert count == failed.sum()


def test_solvers_in_trouble_can_be_planned_and_replayed(tiny, tmp_path, client):
    tiny["solvers"]["moody"] = {"use": "tests.test_trouble:Moody", "how": "shape"}
    campaign, store = Campaign.from_tables(tiny), tmp_path / "store"
    planned = pipeline.plan(campaign, store)
    assert planned.solvers[-1].trouble
    assert any(w.startswith("moody could not be tried") for w in planned.warnings)
    pipeline.run(campaign, store, client)
    with pytest.raises(BrokenContract, match="x has shape"):
        pipeline.replay(store, "moody", 0, snr_db=20)
    assert pipeline.verify(store, blocks=1).ok
    assert pipeline.publish(store).missing == 0


class TestRescue:
    """The search for culprits, without a cluster."""

    @staticmethod
    def search(tiny, tmp_path, deadly, *, together=False, batch=8, most=200):
        """Play scheduler: tasks with a deadly realization kill, others pass."""
        tiny["campaign"] |= {"batch": batch, "realizations": 2 * batch}
        configuration = Campaign.from_tables(tiny).configurations[0]
        given_up, tried = {}, 0
        rescue = Rescue(given_up.__setitem__)
        (tmp_path / "in_progress").mkdir()
        waiting, finished = [Task(tmp_path, (Block(configuration, 0), Block(configuration, 1)))], []
        while waiting:
            task = waiting.pop()
            tried += 1
            assert tried < most
            of_blocks = {row for block in task.blocks for row in block.realizations}
            rows = set(task.probe) or of_blocks
            rows -= {row for row, _ in task.excluded}
            kills = len(rows & deadly) > 1 if together else bool(rows & deadly)
            if kills:
                for block in task.blocks:
                    if rows & deadly & set(block.realizations):
                        (tmp_path / task.marker(block)).touch()
                waiting += rescue.killed(task, "dead")
            else:
                waiting += rescue.completed(task)
                finished += [] if task.probe else [task]
        if given_up:
            assert not finished
            return given_up
        assert sorted(block.index for t in finished for block in t.blocks) == [0, 1]
        return {row: failure for t in finished for row, failure in t.excluded}

    @pytest.mark.parametrize("deadly", [set(), {0}, {3, 11}, {0, 1, 2, 3, 4, 5, 6, 7}, {15}])
    def test_finds_exactly_the_culprits(self, tiny, tmp_path, deadly):
        excluded = self.search(tiny, tmp_path, deadly)
        assert set(excluded) == deadly
        assert set(excluded.values()) <= {Failure(Status.KILLED_WORKER, "dead")}

    @pytest.mark.parametrize("deadly", [{0}, {3, 55}, set(range(40)), set(range(1, 100))])
    def test_finds_them_in_large_blocks_too(self, tiny, tmp_path, deadly):
        assert set(self.search(tiny, tmp_path, deadly, batch=50, most=1000)) == deadly

    def test_gives_up_a_solver_that_kills_whatever_it_is_tried_on(self, tiny, tmp_path):
        """After a few workers, and without a word in the store on what was not tried."""
        given_up = self.search(tiny, tmp_path, set(range(100)), batch=50, most=12)
        assert given_up == {"svd": "dead, with each of 8 realizations tried alone"}

    def test_a_task_that_only_waited_on_a_dead_worker_is_not_suspected(self, tiny, tmp_path):
        task = Task(tmp_path, tuple(Campaign.from_tables(tiny).blocks())[:2])
        assert Rescue(print).killed(task, "dead") == [task]

    def test_gives_up_a_block_whose_rows_are_deadly_together_only(self, tiny, tmp_path):
        # Halves of the search pass or kill by chance of the split; it ends all the same.
        excluded = self.search(tiny, tmp_path, {1, 6}, together=True)
        assert set(excluded) in ({*range(8)}, {1}, {6}, {1, 6})
        assert ROUNDS == 2
