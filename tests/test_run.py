"""A run from end to end: from a campaign to its cube."""

import asyncio
import dataclasses
import importlib
import os
import platform
import signal
from typing import Any

import cloudpickle
import numpy as np
import pytest
import xarray as xr

import pipeline
from pipeline import Campaign, InputError, Store, open_results, plots
from pipeline.campaign.blocks import Block
from pipeline.campaign.request import Request
from pipeline.cli.replay_text import replay_text
from pipeline.fanout import shipping
from pipeline.solving.outcome import RowClock, solve_block
from solvers import Status
from tests.troublemakers import plain_estimate

TIMINGS = ["runtime"]


def run(tables, store, client):
    return pipeline.run(Campaign.from_tables(tables), store, client)


def snapshot(store):
    """Inode and time of every file of a store's blocks and cubes."""
    files = [p for p in store.rglob("*") if p.is_file()]
    return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


def test_cube_holds_what_the_solvers_said(tiny, tmp_path, client):
    campaign = Campaign.from_tables(tiny)
    result = pipeline.run(campaign, tmp_path / "store", client)
    assert result.ok
    assert result.counts.done == result.counts.total == 2 * 2 * 6
    cube = open_results(tmp_path / "store")
    assert cube.sizes == {"solver": 2, "snr_db": 2, "realization": 6}
    assert cube.solver.values.tolist() == ["svd", "oracle"]
    for configuration in campaign.configurations:
        for index in range(2):
            cells = solve_block(Block(configuration, index)).cells
            at = cube.isel(
                solver=configuration.grid_index[0],
                snr_db=configuration.grid_index[1],
                realization=slice(3 * index, 3 * index + 3),
            ).load()
            for name in set(cells.dtype.names) - set(TIMINGS):
                np.testing.assert_array_equal(at[name], cells[name], err_msg=name)
            assert (at.runtime > 0).all()


def test_an_interruption_while_publishing_leaves_a_cube(tiny, tmp_path, client, monkeypatch):
    from pipeline.results import publishing

    publish = publishing.publish

    def interrupted(*arguments, **options):
        os.kill(os.getpid(), signal.SIGINT)
        return publish(*arguments, **options)

    monkeypatch.setattr(publishing, "publish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path / "store", client)
    assert open_results(tmp_path / "store").attrs["complete"] == 1


def test_cube_is_labelled(tiny, tmp_path, client):
    run(tiny, tmp_path / "store", client)
    cube = open_results(tmp_path / "store")
    for name, variable in cube.variables.items():
        assert variable.attrs["units"], name
        assert variable.attrs["long_name"], name
    assert cube.snr_db.attrs["units"] == "dB"
    assert cube.status.attrs["flag_meanings"].split()[:2] == ["not_run", "converged"]
    assert cube.status.attrs["flag_values"] == [int(s) for s in Status]
    assert cube.status.dtype == np.uint8
    assert "_FillValue" not in cube.status.attrs
    assert set(np.unique(cube.status)) <= {Status.CONVERGED, Status.MAX_ITERATIONS}
    assert cube.attrs["complete"] == 1
    assert cube.attrs["seed"] == 5
    assert 'use = "svd_krosbl"' in cube.attrs["campaign"]
    assert '"prune": 0.001' in cube.attrs["solvers"]
    for fact in ("hosts", "computed_with_numpy", "computed_with_cpu", "git"):
        assert cube.attrs[fact]
    assert cube.attrs["computed_with_blas_threads"] == "1"
    assert cube.host.attrs["flag_meanings"].split()[1:] == cube.attrs["hosts"].split(", ")


def test_running_again_touches_nothing(tiny, tmp_path, client):
    run(tiny, tmp_path / "store", client)
    before = snapshot(tmp_path / "store")
    result = run(tiny, tmp_path / "store", client)
    assert result.counts.done == 0
    assert snapshot(tmp_path / "store") == before


def test_extension_computes_only_what_is_new(tiny, tmp_path, client):
    run(tiny, tmp_path / "store", client)
    first = open_results(tmp_path / "store").load()
    blocks = snapshot(tmp_path / "store" / "blocks")
    tiny["campaign"]["realizations"] = 8
    tiny["sweep"]["snr_db"] = [5, 10, 20]
    tiny["solvers"] = {"am": {"use": "am_krosbl"}, **tiny["solvers"]}
    result = run(tiny, tmp_path / "store", client)
    assert result.counts.total == 3 * 3 * 9  # the last batch is solved whole
    assert result.counts.before == 2 * 2 * 6
    again = open_results(tmp_path / "store").load()
    assert again.sizes == {"solver": 3, "snr_db": 3, "realization": 8}
    common = again.sel(solver=first.solver, snr_db=first.snr_db, realization=first.realization)
    xr.testing.assert_identical(common.drop_attrs(), first.drop_attrs())
    after = snapshot(tmp_path / "store" / "blocks")
    assert {p: after[p] for p in blocks} == blocks


def test_realizations_never_shrink(tiny, tmp_path, client):
    run(tiny, tmp_path / "store", client)
    tiny["campaign"]["realizations"] = 2
    run(tiny, tmp_path / "store", client)
    assert open_results(tmp_path / "store").sizes["realization"] == 6


def test_removed_solver_leaves_the_cube_and_comes_back_for_free(tiny, tmp_path, client):
    run(tiny, tmp_path / "store", client)
    oracle = tiny["solvers"].pop("oracle")
    assert run(tiny, tmp_path / "store", client).counts.done == 0
    assert open_results(tmp_path / "store").solver.values.tolist() == ["svd"]
    tiny["solvers"]["oracle"] = oracle
    assert run(tiny, tmp_path / "store", client).counts.done == 0
    assert open_results(tmp_path / "store").solver.values.tolist() == ["svd", "oracle"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sparsity": 1}, r"scenario.sparsity: 2 in the store, now 1; sweep it"),
        ({"measurements": [3, 4, 5]}, r"scenario.measurements.0: 4 in the store, now 3; sweep it"),
        ({"sparsity": [1, 2, 2]}, r"scenario.sparsity: 2 in the store, now \[1, 2, 2\]; take"),
        ({"snr_reference": [5, 5, 5]}, r"snr_reference: None in the store, now \[5, 5, 5\]; take"),
        ({"dims": [5, 5], "measurements": [4, 4]}, r"scenario.dims: \[5, 5, 5\] in the store"),
        ({"complex_valued": True}, r"sweep it \(\[sweep\] \"complex_valued\" = \[false, true\]\)"),
    ],
)
def test_changed_constant_is_refused(tiny, tmp_path, client, change, message):
    run(tiny, tmp_path / "store", client)
    before = snapshot(tmp_path / "store")
    tiny["scenario"] |= change
    with pytest.raises(InputError, match=message):
        run(tiny, tmp_path / "store", client)
    assert snapshot(tmp_path / "store") == before


def test_former_constant_may_be_swept(tiny, tmp_path, client):
    run(tiny, tmp_path / "store", client)
    tiny["sweep"]["measurements.0"] = [3, 4]
    result = run(tiny, tmp_path / "store", client)
    assert result.counts.before == result.counts.total / 2
    assert open_results(tmp_path / "store").sizes["measurements_0"] == 2


def test_what_a_solver_lacks_is_said_before_anything_runs(tiny, tmp_path, client):
    tiny["solvers"]["svd"]["prune"] = [0.1, 0.1]
    with pytest.raises(InputError, match=r"solvers.svd: prune lists 2 values"):
        run(tiny, tmp_path / "store", client)
    assert not (tmp_path / "store").exists()


def test_numbers_do_not_depend_on_order(tiny):
    blocks = list(Campaign.from_tables(tiny).blocks())
    forward = [solve_block(b).cells for b in blocks]
    backward = [solve_block(b).cells for b in reversed(blocks)][::-1]
    for a, b in zip(forward, backward, strict=True):
        for name in set(a.dtype.names) - set(TIMINGS):
            np.testing.assert_array_equal(a[name], b[name])


def test_another_batch_size_changes_nothing_but_rounding(tiny):
    fine = Campaign.from_tables(tiny)
    tiny["campaign"]["batch"] = 6
    coarse = Campaign.from_tables(tiny)
    for a, b in zip(fine.configurations, coarse.configurations, strict=True):
        parts = np.concatenate([solve_block(Block(a, i)).cells for i in range(2)])
        whole = solve_block(Block(b, 0)).cells
        np.testing.assert_allclose(parts["nmse"], whole["nmse"], rtol=1e-9)
        np.testing.assert_array_equal(parts["iterations"], whole["iterations"])


def test_results_of_unfinished_store_tell_what_is_missing(tiny, tmp_path):
    campaign = Campaign.from_tables(tiny)
    store = Store.create(tmp_path / "store", campaign)
    store.add_request(Request.of(campaign, {}))
    with pytest.raises(InputError, match="no cube published yet"):
        open_results(store)
    block = list(campaign.blocks())[1]
    store.write(block, solve_block(block))
    published = pipeline.publish(store)
    assert published.missing == 2 * 2 * 6 - 3
    cube = open_results(store)
    assert cube.attrs["complete"] == 0
    assert (cube.status != Status.NOT_RUN).sum() == 3
    assert cube.nmse.isnull().sum() == 21


def test_traces_on_request(tiny, tmp_path, client):
    run(tiny, tmp_path / "store", client)
    plain = open_results(tmp_path / "store").load()
    assert not [name for name in plain.data_vars if name.startswith("trace_")]
    tiny["output"] = {"trace": True}
    run(tiny, tmp_path / "store", client)
    cube = open_results(tmp_path / "store").load()
    assert cube.trace_nmse.dtype == np.float32
    assert cube.trace_nmse.dims[-1] == "iteration"
    assert cube.iteration.values[0] == 1
    np.testing.assert_array_equal(cube.nmse, plain.nmse)
    svd = cube.sel(solver="svd")
    for name in ("cost", "change", "nmse"):
        counts = np.isfinite(svd[f"trace_{name}"]).sum("iteration")
        np.testing.assert_array_equal(counts, svd.iterations)
    last = svd.trace_nmse.sel(iteration=svd.iterations)
    np.testing.assert_allclose(last, svd.nmse, rtol=1e-6)
    assert cube.trace_nmse.sel(solver="oracle").isnull().all()


def test_new_version_of_a_solver_recomputes_that_solver_alone(tiny, tmp_path, client, monkeypatch):
    run(tiny, tmp_path / "store", client)
    monkeypatch.setattr("solvers.kron_sbl.SVDKroSBL.version", 99)
    result = run(tiny, tmp_path / "store", client)
    assert result.counts.done == result.counts.total / 2
    assert result.counts.before == result.counts.total / 2


def test_one_realization_and_a_batch_larger_than_the_campaign(tiny, tmp_path, client):
    tiny["campaign"] |= {"realizations": 1, "batch": 50}
    assert run(tiny, tmp_path / "store", client).ok
    cube = open_results(tmp_path / "store")
    assert cube.sizes["realization"] == 1
    assert (cube.status == Status.CONVERGED).all()


def test_git_state_is_told(tiny, tmp_path, client):
    import subprocess

    folder = tmp_path / "repository"
    folder.mkdir()
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    (folder / "file").write_text("1")
    subprocess.run(["git", "add", "."], cwd=folder, check=True)
    subprocess.run(["git", *who, "commit", "-qm", "x"], cwd=folder, check=True)
    campaign = Campaign.from_tables(tiny)
    pipeline.run(campaign, tmp_path / "clean", client, folder=folder)
    clean = open_results(tmp_path / "clean").attrs["git"]
    assert len(clean) == 40
    (folder / "file").write_text("2")
    pipeline.run(campaign, tmp_path / "dirty", client, folder=folder)
    assert open_results(tmp_path / "dirty").attrs["git"] == f"{clean}-dirty"
    # Some of its blocks were computed at the first commit, others may have been since.
    pipeline.run(campaign, tmp_path / "clean", client, folder=folder)
    pipeline.publish(tmp_path / "clean", force=True)
    assert open_results(tmp_path / "clean").attrs["git"] == f"{clean}, {clean}-dirty"
    pipeline.run(campaign, tmp_path / "none", client, folder=tmp_path)
    assert open_results(tmp_path / "none").attrs["git"] == "none"


def test_a_cell_can_be_replayed(tiny, tmp_path, client):
    run(tiny, tmp_path / "store", client)
    cube = open_results(tmp_path / "store").load()
    again = pipeline.replay(tmp_path / "store", "svd", 4, snr_db=20)
    cell = cube.sel(solver="svd", snr_db=20, realization=4)
    assert again.cell["nmse"] == pytest.approx(float(cell.nmse), rel=1e-9)
    assert again.stored["nmse"] == float(cell.nmse)
    assert again.cell["iterations"] == again.trace.cost.shape[1] == int(cell.iterations)
    assert again.problem.batch == 1
    left = [np.count_nonzero(part) for part in again.estimate.gamma]
    assert again.atoms[0] == 5**3
    assert again.atoms[-1] == np.prod(left) < 5**3
    assert len(again.atoms) == len(again.trace.cost[0])
    assert [again.atoms[i - 2] > again.atoms[i - 1] for i in again.pruned]
    assert f"from {again.pruned[0]} to {again.pruned[-1]}; there the" in replay_text(again)
    for bad, message in (
        ({"solver": "svdd", "realization": 4, "snr_db": 20}, "did you mean 'svd'"),
        ({"solver": "svd", "realization": 6, "snr_db": 20}, "the store has 0 to 5"),
        ({"solver": "svd", "realization": 4}, "snr_db: give a value, one of"),
        ({"solver": "svd", "realization": 4, "snr_db": 21}, "not in the store, which has"),
        ({"solver": "svd", "realization": 4, "snr": 20}, "did you mean 'snr_db'"),
    ):
        with pytest.raises(InputError, match=message):
            pipeline.replay(tmp_path / "store", **bad)
    traceless = pipeline.replay(tmp_path / "store", "oracle", 4, snr_db=20)
    for result, panels in ((again, 4), (traceless, 1)):
        figure = plots.replayed(result)
        plots.save(figure, tmp_path / "replay.png")
        assert len(figure.axes) == panels
        marked = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
        assert [line.get_xdata()[0] for line in marked] == result.pruned.tolist()


def test_a_run_leaves_a_log_in_its_store(tiny, tmp_path, client):
    tiny["solvers"]["bad"] = {"use": "tests.troublemakers:Trouble", "how": "raise_error"}
    run(tiny, tmp_path / "store", client)
    [log] = (tmp_path / "store" / "logs").iterdir()
    lines = [line[21:] for line in log.read_text().splitlines()]
    assert lines[0].startswith("0/36 cells (svd 0/12 cells; oracle 0/12 cells; bad 0/12 cells)")
    assert "bad: 2 of 3 failed: RuntimeError: a bad day" in lines
    assert lines[-2:] == ["36/36 cells, 8 failed", "done"]
    del tiny["solvers"]["bad"]
    run(tiny, tmp_path / "store", client)
    assert [*log.parent.iterdir()] == [log], "nothing was computed, so nothing is told"


def test_old_cubes_stay_until_swept_out(tiny, tmp_path, client):
    from pipeline.results.garbage import collect_garbage

    run(tiny, tmp_path / "store", client)
    old = open_results(tmp_path / "store")
    tiny["campaign"]["realizations"] = 9
    run(tiny, tmp_path / "store", client)
    assert old.nmse.mean().compute() > 0  # still there for those who hold it
    store = Store.open(tmp_path / "store")
    assert not collect_garbage(store)
    assert open_results(store).sizes["realization"] == 9


def test_two_publish_at_once(tiny, tmp_path, client, monkeypatch):
    """Whoever comes last to name the newest cube does not name an older one."""
    from pipeline.results import publishing

    run(tiny, tmp_path / "store", client)
    store, make_visible = Store.open(tmp_path / "store"), publishing._make_visible

    def overtaken(cubes, folder):
        path = make_visible(cubes, folder)
        monkeypatch.setattr(publishing, "_make_visible", make_visible)
        newer = pipeline.publish(store, force=True)
        assert newer.path > path
        return path

    monkeypatch.setattr(publishing, "_make_visible", overtaken)
    before = publishing.latest(store)
    ours = pipeline.publish(store, force=True)
    assert before < ours.path < publishing.latest(store)
    assert open_results(store).attrs["complete"] == 1


def test_rows_share_the_time_of_the_iterations_they_were_in(monkeypatch):
    now = iter([0.0, 6.0, 100.0, 104.0, 200.0, 203.0])
    monkeypatch.setattr("pipeline.solving.clock.of_process", lambda: lambda: next(now))
    clock = RowClock(3, then=lambda *_: None)
    clock.start()  # at 0
    clock(1, np.array([0, 1, 2]), None)  # 6 s for three; then 94 s that are nobody's
    clock(2, np.array([0, 2]), None)  # 4 s for two
    clock.stop()  # 3 s for all
    np.testing.assert_allclose(clock.seconds, [2 + 2 + 1, 2 + 1, 2 + 2 + 1])


def test_runtimes_add_up_to_the_batch(tiny):
    block = next(Campaign.from_tables(tiny).blocks())
    data = solve_block(block)
    assert 0 < data.cells["runtime"].sum() <= data.meta["elapsed"]


def test_parameters_that_cannot_be_written_down_are_refused(tiny, tmp_path):
    tiny["solvers"]["odd"] = {"use": "tests.test_run:WithOptions"}
    with pytest.raises(InputError, match=r"^odd at snr_db=10: parameters must be numbers"):
        pipeline.run(Campaign.from_tables(tiny), tmp_path / "store")
    assert not (tmp_path / "store").exists()
    tiny["solvers"]["odd"]["option"] = float("inf")
    pipeline.plan(Campaign.from_tables(tiny), tmp_path / "store")


def test_what_a_namesake_left_behind_does_not_stop_a_run(tiny, tmp_path, client):
    """In a container, the next run may well have the same host name and process number."""
    store = Store.create(tmp_path / "store", Campaign.from_tables(tiny))
    (store.path / "running").mkdir()
    (store.path / "running" / f"{platform.node()}-{os.getpid()}.stop").touch()
    assert run(tiny, store, client).ok


def test_within_a_running_event_loop(tiny, tmp_path, client):
    """As in a notebook."""

    async def cell():
        return run(tiny, tmp_path / "store", client)

    assert asyncio.run(cell()).ok


def test_clients_that_will_not_do(tiny, tmp_path):
    from distributed import Client

    campaign = Campaign.from_tables(tiny)
    with Client(processes=False, n_workers=1, dashboard_address=None) as client:
        assert pipeline.run(campaign, tmp_path / "store", client).ok
        tiny["limits"] = {"seconds_per_realization": 10.0}
        tiny["campaign"]["realizations"] = 9
        with pytest.raises(InputError, match="make it with processes=True"):
            run(tiny, tmp_path / "store", client)

        async def cell():
            address = client.scheduler.address
            async with Client(address, asynchronous=True) as its_own:
                run(tiny, tmp_path / "store", its_own)

        with pytest.raises(InputError, match="without asynchronous=True"):
            asyncio.run(cell())


@dataclasses.dataclass(frozen=True)
class WithOptions:
    """A solver whose option may be anything."""

    option: Any = frozenset({1})

    def solve(self, problem, *, initial=None, watch=None):
        return plain_estimate(problem)


def test_what_can_be_known_of_a_cluster_is_known_before_anything_is_written(tiny, tmp_path):
    for cluster in ("lokal", "slurm"):
        with pytest.raises(InputError, match=f"--cluster {cluster}"):
            pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", cluster=cluster)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["json", "scipy.linalg", "solvers.sbl", "pipeline.driver.run"])
def test_modules_that_workers_have_do_not_travel(name):
    assert shipping.is_installed(importlib.import_module(name))


def test_modules_of_ones_own_travel_with_their_neighbours(tmp_path, monkeypatch):
    for file in ("mine", "helper"):
        (tmp_path / f"{file}_for_shipping.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    modules = [importlib.import_module(f"{n}_for_shipping") for n in ("mine", "helper")]
    shipping.pickle_by_value("mine_for_shipping")
    registered = cloudpickle.list_registry_pickle_by_value()
    for module in modules:
        assert not shipping.is_installed(module)
        assert module.__name__ in registered
        cloudpickle.unregister_pickle_by_value(module)
    assert "numpy" not in registered
