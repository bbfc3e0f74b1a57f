"""Campaigns on another device: merged batches, what becomes of them, where they were computed.

The device is simulated (tests/simulated.py): arrays of `array_api_strict`, which has nothing but
the array API standard, with a memory that ends where a test says.
"""

import builtins
import dataclasses
import os
import resource
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import tomli_w
from distributed import Client, LocalCluster

import pipeline
from pipeline import Campaign, Store, open_results
from pipeline.analysis import compare, summarize
from pipeline.analysis.remarks import device_notes
from pipeline.campaign.blocks import Block, SolvableConfiguration
from pipeline.cluster import checks, common, connect, worker_preload
from pipeline.driver import calibration
from pipeline.driver.preparation import chosen_device, prepare
from pipeline.errors import ClusterLost, InputError
from pipeline.fanout import monitor
from pipeline.fanout.queue import Queue
from pipeline.fanout.task import Task, TaskResult, run_task
from pipeline.solving import device, trying
from pipeline.solving.outcome import solve_block
from pipeline.solving.verification import differences, verify
from pipeline.store.block_file import read_estimates
from solvers import Estimate, Status
from solvers.arrays import host, zeros
from tests import simulated
from tests.conftest import block_files

SOLVERS = {
    "svd": {"use": "svd_krosbl", "max_iterations": 3},
    "ksbl": {"use": "ksbl", "max_iterations": 3},
    "oracle": {"use": "oracle_ls"},
    "pc": {"use": "pc_krosbl", "max_iterations": 5},  # runs on numpy's arrays only
}
ON_DEVICE = {"svd", "ksbl", "oracle"}


@pytest.fixture(autouse=True)
def kind(monkeypatch):
    """A kind of device more, of which nothing is known yet."""
    simulated.put_rows.clear()
    simulated.let_go.clear()
    for known in (trying._footprints, trying._most):
        known.clear()
    monkeypatch.setitem(device.KINDS, simulated.NAME, lambda: (2, simulated.opened))
    yield
    device._opened.cache_clear()


@pytest.fixture(scope="module")
def workers():
    """A cluster as it is started for `--device`: one worker with the device, one without."""
    patch = pytest.MonkeyPatch()
    patch.setattr(common, "PRELOAD", simulated.PRELOAD)
    patch.setitem(device.KINDS, simulated.NAME, lambda: (2, simulated.opened))
    with connect("local", workers=1, device=f"{simulated.NAME}:1") as found:
        patch.undo()
        yield found


@dataclass(frozen=True)
class Touchy:
    """Runs anywhere, and does something where the first measurement exceeds a threshold."""

    how: str = ""
    above: float = 0.0
    once: str = ""  # not if there is a file of that name, which it makes
    any_array: ClassVar[bool] = True

    def solve(self, problem, *, initial=None, watch=None):
        first = host(problem.y).reshape(problem.batch, -1)[:, 0]
        if (first > self.above).any() and not os.path.exists(self.once or "/nowhere"):
            if self.once:
                open(self.once, "w").close()
            getattr(self, self.how)()
        return Estimate(zeros(problem.y, (problem.batch, *problem.dims)))

    def fail(self):
        raise RuntimeError("a bad day")

    def die(self):
        time.sleep(0.2)  # let the thread that draws ahead begin
        os._exit(1)


@dataclass(frozen=True)
class Picky(Touchy):
    """Says that it runs anywhere, and finds when it is there that it does not."""

    def applies(self, problem):
        return None if isinstance(problem.y, np.ndarray) else "runs on numpy's arrays only"


def blocks_of(tiny, number, **tables):
    """A store and so many blocks of one configuration."""
    tiny["campaign"]["realizations"] = 3 * number
    tiny["sweep"] = {"snr_db": [10]}
    tiny["solvers"] = {"svd": SOLVERS["svd"]}
    tiny |= tables
    prepared = prepare(Campaign.from_tables(tiny), tables.get("where"), None)
    return prepared.store, [Block(prepared.configurations[0], i) for i in range(number)]


@pytest.fixture
def some_blocks(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(number, **tables):
        return blocks_of(tiny, number, **tables)

    return make


def run_there(store, blocks, **options):
    return run_task(Task(store.address, tuple(blocks), device=simulated.NAME, **options))


def assert_same_as_on_processor(store, blocks):
    for block in blocks:
        stored, here = store.read(block.configuration, block.index), solve_block(block)
        assert differences(here, stored, exact=False) == []
        assert stored.meta["failures"] == here.meta["failures"]
        assert stored.meta["device"] == "Simulated GPU"
        assert stored.meta["versions"]["array_api_strict"] == "2"
        assert (stored.cells["runtime"] > 0).all()
        assert here.meta["device"] == "cpu"


@pytest.mark.parametrize(
    ("fitting", "batches"),
    [(100, [21]), (20, [18, 3]), (8, [6, 6, 6, 3]), (1, [3] * 7)],
)
def test_blocks_are_merged_as_far_as_memory_is_free(some_blocks, monkeypatch, fitting, batches):
    monkeypatch.setattr(trying, "footprint", lambda *_: (100.0, 100.0))
    monkeypatch.setenv(simulated.FREE, str(fitting * 100.0 / trying.SHARE + 1.0))
    store, blocks = some_blocks(7)
    result = run_there(store, blocks)
    assert result[:3] == (7, 21, 0)
    assert simulated.put_rows == batches
    assert_same_as_on_processor(store, blocks)
    assert len(block_files(store)) == 7


def test_whatever_kills_a_worker_leaves_the_name_of_its_block(some_blocks, monkeypatch):
    """Otherwise the driver takes a block that kills for one that waited, and hands it out again."""
    monkeypatch.setenv(simulated.ROWS, "11")
    store, blocks = some_blocks(7)
    key = {r: block.key for block in blocks for r in block.realizations}
    draw, solve = SolvableConfiguration.draw, SolvableConfiguration.solve
    unmarked, drawn, marked = set(), [], store.path / "in_progress"

    def drawn_under_marks(configuration, realizations):
        drawn.extend(realizations)
        there = {path.stem for path in marked.iterdir()} if marked.is_dir() else set()
        unmarked.update(key[r] for r in realizations if key[r] not in there)
        return draw(configuration, realizations)

    def solved_under_marks(configuration, problem, watch=None):
        if not list(marked.iterdir()):
            unmarked.add("solved")
        return solve(configuration, problem, watch)

    monkeypatch.setattr(SolvableConfiguration, "draw", drawn_under_marks)
    monkeypatch.setattr(SolvableConfiguration, "solve", solved_under_marks)
    assert run_there(store, blocks[1:]).blocks == 6  # block 0 may be the one that kills
    assert unmarked == set()
    assert set(drawn) >= set(range(3, 21))
    assert list(marked.iterdir()) == []


def test_a_batch_may_have_more_blocks_than_a_process_may_open_files(some_blocks):
    store, blocks = some_blocks(60)
    run_there(store, blocks[:2])  # what is loaded once has been
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 20, hard))
    try:
        assert run_there(store, blocks).blocks == 60
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert max(simulated.put_rows) == 3 * 58


def test_what_is_there_already_is_left_out_of_a_batch(some_blocks):
    store, blocks = some_blocks(5)
    for block in (blocks[0], blocks[3]):
        store.write(block, solve_block(block))
    assert run_there(store, blocks).blocks == 5
    assert simulated.put_rows == [9]
    again = [store.read(b.configuration, b.index).meta["device"] for b in blocks]
    assert again == ["cpu", "Simulated GPU", "Simulated GPU", "cpu", "Simulated GPU"]


def test_traces_and_estimates_are_those_of_the_blocks(some_blocks):
    store, blocks = some_blocks(
        3, output={"trace": True, "estimates": True}, limits={"seconds_per_realization": 60}
    )
    run_there(store, blocks, limit=60.0)
    assert simulated.put_rows == [9]
    assert_same_as_on_processor(store, blocks)
    for block in blocks:
        stored = read_estimates(store.file(block.files[0]))
        expected = solve_block(block).estimates
        assert stored.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(stored[name], values, atol=1e-9)


@pytest.mark.parametrize(
    ("too_many", "batches", "then"),
    [(7, [21, 12, 6, 6, 6, 3], [6]), (2, [3, 2, 1, 1, 1], [1, 1, 1])],
)
def test_out_of_memory_halves_a_batch(some_blocks, monkeypatch, too_many, batches, then):
    monkeypatch.setenv(simulated.ROWS, str(too_many))
    store, blocks = some_blocks(7 if too_many > 3 else 1)
    assert run_there(store, blocks).failed == 0
    assert simulated.put_rows == batches
    assert_same_as_on_processor(store, blocks)
    simulated.put_rows.clear()  # what has been learned counts
    run_there(store, blocks[-2:], replace=True)
    assert simulated.put_rows == then


def test_what_one_block_has_learned_its_siblings_know(some_blocks, monkeypatch):
    monkeypatch.setenv(simulated.ROWS, "2")
    store, blocks = some_blocks(4)
    assert run_there(store, blocks).failed == 0
    assert simulated.put_rows == [12, 6, 3, 2, *[1] * 12]
    assert simulated.let_go == [1, 2, 3, 4]
    assert_same_as_on_processor(store, blocks)


def error_of(name, words=""):
    kind = getattr(builtins, name, None) or type(name, (RuntimeError,), {})
    return kind(words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("OutOfMemoryError", "Out of memory allocating 8,000 bytes (allocated so far: 0 bytes)."),
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 35.0 GiB. GPU 0 has …"),
        ("CUDARuntimeError", "cudaErrorMemoryAllocation: out of memory"),
        ("CUDARuntimeError", "cudaErrorMemoryAllocation"),
        ("CUBLASError", "CUBLAS_STATUS_ALLOC_FAILED"),
        ("CUSOLVERError", "CUSOLVER_STATUS_ALLOC_FAILED"),
        ("RuntimeError", "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `syevj`"),
        ("RuntimeError", "CUDA error: out of memory"),
        ("MemoryError", ""),
    ],
)
def test_words_of_libraries_for_too_little_memory(name, words, some_blocks, monkeypatch):
    monkeypatch.setenv(simulated.ROWS, "7")
    monkeypatch.setattr(simulated, "OutOfMemory", lambda _: error_of(name, words))
    store, blocks = some_blocks(7)
    assert run_there(store, blocks).failed == 0
    assert simulated.put_rows == [21, 12, 6, 6, 6, 3]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CUSOLVERError", "CUSOLVER_STATUS_EXECUTION_FAILED"),
        ("ValueError", "the memory is a set of atoms"),
        ("LinAlgError", "not positive definite"),
    ],
)
def test_other_errors_are_no_lack_of_memory(name, words):
    assert not device.ran_out_of_memory(error_of(name, words))


def test_who_declines_arrays_of_a_device_solves_on_the_processor(some_blocks):
    store, blocks = some_blocks(
        3, solvers={"picky": {"use": "tests.test_device:Picky", "above": 1e9}}
    )
    assert run_there(store, blocks).failed == 0
    for block in blocks:
        stored = store.read(block.configuration, block.index)
        assert stored.meta["device"] == "cpu"
        assert differences(solve_block(block), stored, exact=True) == []
    found = calibration.costs_of([blocks[0].configuration], simulated.opened(0))
    assert (found.device, found.trouble) == ("cpu", "")


def test_what_does_not_fit_alone_is_a_failure(some_blocks, monkeypatch):
    monkeypatch.setenv(simulated.ROWS, "1")
    store, blocks = some_blocks(2)
    assert run_there(store, blocks).failed == 6
    for block in blocks:
        data = store.read(block.configuration, block.index)
        assert (data.cells["status"] == Status.RAISED).all()
        assert data.meta["failures"] == {"OutOfMemory: no room for 1 realizations": 3}


def test_a_row_that_raises_costs_no_other(some_blocks):
    touchy = {"use": "tests.test_device:Touchy", "how": "fail", "above": 2.0}
    store, blocks = some_blocks(8, solvers={"touchy": touchy})
    problem, _ = blocks[0].configuration.draw(range(24))
    bad = problem.y[:, 0, 0, 0] > 2.0
    assert 0 < bad.sum() < 6
    assert run_there(store, blocks).failed == bad.sum()
    cells = [store.read(b.configuration, b.index) for b in blocks]
    found = np.concatenate([data.cells["status"] for data in cells])
    np.testing.assert_array_equal(found, np.where(bad, Status.RAISED, Status.CONVERGED))
    assert sum(sum(data.meta["failures"].values()) for data in cells) == bad.sum()
    assert len(simulated.put_rows) < 2 * 3 * 2 * bad.sum()  # and not 24


def test_a_task_that_is_stopped_loses_nothing_but_what_follows(some_blocks, monkeypatch):
    monkeypatch.setattr(trying, "footprint", lambda *_: (100.0, 100.0))
    monkeypatch.setenv(simulated.FREE, "1300")
    store, blocks = some_blocks(6)
    put = simulated.opened(0).put

    def stop(array):
        if len(simulated.put_rows) == 1:
            store.objects.put("running/stop", b"")
        return put(array)

    monkeypatch.setattr(
        "pipeline.fanout.task.device_of",
        lambda _: dataclasses.replace(simulated.opened(0), put=stop),
    )
    result = run_there(store, blocks, stop="running/stop")
    assert result.blocks == 2
    assert len(block_files(store)) == 2
    assert list((store.path / "in_progress").iterdir()) == []
    assert_same_as_on_processor(store, blocks[:2])


def test_a_campaign_ends_with_the_cube_of_processors(tiny, tmp_path, workers, client):
    tiny["solvers"] = SOLVERS
    campaign = Campaign.from_tables(tiny)
    there, here = tmp_path / "there", tmp_path / "here"
    assert pipeline.run(campaign, there, workers, device=simulated.NAME).ok
    assert pipeline.run(campaign, here, client).ok
    one, other = open_results(there).load(), open_results(here).load()
    for name in ("status", "iterations", "inner_iterations", "inner_capped"):
        np.testing.assert_array_equal(one[name], other[name])
    for name in ("nmse", "srr", "noise_var", "signal_energy"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-8)
    assert [f.name for f in block_files(Store(there))] == [f.name for f in block_files(Store(here))]
    names = one.device.attrs["flag_meanings"].split()
    for label in SOLVERS:
        [where] = np.unique(one.device.sel(solver=label))
        assert names[where] == ("Simulated_GPU" if label in ON_DEVICE else "cpu")
    assert summarize(one).runtime.notnull().all()
    [note] = device_notes(one)
    assert "svd on Simulated_GPU" in note
    assert "pc on cpu" in note
    assert device_notes(other) == []
    verdict = verify(there, blocks=100)
    assert (verdict.ok, verdict.solved, verdict.exact) == (True, 16, 4)


def test_each_worker_has_its_own_device(workers):
    own = sorted(workers.run(lambda: os.environ.get(device.OWN)).values())
    assert own == ["cpu", "simulated:1"]
    offered = [w["resources"] for w in workers.scheduler_info()["workers"].values()]
    # That with a device says that there are others for processors: it may be the first to come.
    assert sorted(map(len, offered)) == [1, 2]
    assert {"CPU": 1.0} in offered
    assert {"CPU": 0.0, "GPU": 1.0} in offered


def test_a_worker_alone_with_its_device_takes_everything(monkeypatch):
    monkeypatch.setenv(device.OWN, "")
    monkeypatch.setenv(device.SHARED_OUT, common.shared_out(["cuda:0"], 1)[device.SHARED_OUT])
    monkeypatch.setattr(worker_preload.process, "steady", lambda: None)
    state = SimpleNamespace(total_resources={}, available_resources={})
    worker_preload.dask_setup(SimpleNamespace(name="0", state=state))
    assert state.total_resources == state.available_resources == {"GPU": 1.0}


@pytest.mark.parametrize(
    ("offered", "gone", "done"),
    [
        ({"GPU": 1, "CPU": 0}, "without", {"svd"}),
        ({"CPU": 1}, "with", {"pc"}),
    ],
)
def test_a_kind_of_worker_that_is_gone_ends_only_what_waits_for_it(
    offered, gone, done, tiny, tmp_path, monkeypatch
):
    needed = {simulated.NAME: {"GPU": 1.0}, "cpu": {"CPU": 1.0}}
    monkeypatch.setattr("pipeline.driver.run.resources_for", lambda *_: needed)
    monkeypatch.setattr(monitor, "SECONDS_BETWEEN_LOOKS", 0.1)
    tiny["solvers"] = {"svd": SOLVERS["svd"], "pc": SOLVERS["pc"]}
    tiny["cluster"] = {"start_timeout": 2.0, "device": simulated.NAME}
    options = {"processes": False, "threads_per_worker": 1, "dashboard_address": None}
    with (
        LocalCluster(n_workers=1, resources=offered, **options) as cluster,
        Client(cluster) as client,
        pytest.raises(ClusterLost, match=f"no worker {gone} a GPU at work for 2 s"),
    ):
        pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", client)
    pipeline.publish(tmp_path / "store")
    status = open_results(tmp_path / "store").status
    for label in tiny["solvers"]:
        ran = status.sel(solver=label).values != Status.NOT_RUN
        assert ran.all() if label in done else not ran.any()


def test_devices_take_turns_and_nothing_is_solved_again(tiny, tmp_path, workers, client):
    """Runtimes of the one are never averaged with those of the other."""
    tiny["solvers"] = {"svd": SOLVERS["svd"], "oracle": SOLVERS["oracle"]}
    store = tmp_path / "store"

    def run(realizations, **where):
        tiny["campaign"]["realizations"] = realizations
        result = pipeline.run(Campaign.from_tables(tiny), store, **where)
        assert result.ok
        return result.counts.done

    assert run(3, client=client) == 12
    assert run(6, client=workers, device=simulated.NAME) == 12
    assert run(9, client=client) == 12
    assert run(9, client=workers, device=simulated.NAME) == 0
    cube = open_results(store).load()
    where = cube.device.sel(solver="svd").values
    assert len(np.unique(where)) == 2
    assert summarize(cube).runtime.isnull().all()
    assert summarize(cube).iterations.notnull().all()
    assert compare(cube, "oracle").speed.isnull().all()
    one = cube.sel(realization=slice(0, 2))
    assert summarize(one).runtime.notnull().all()


@pytest.mark.slow
def test_rows_that_kill_a_worker_are_found_in_a_batch(tiny, tmp_path, workers):
    tiny["campaign"] |= {"realizations": 12}
    tiny["sweep"] = {"snr_db": [10]}
    touchy = {"use": "tests.test_device:Touchy", "how": "die", "above": 2.5}
    tiny["solvers"] = {"touchy": touchy}
    campaign = Campaign.from_tables(tiny)
    problem, _ = campaign.configurations[0].draw(range(12))
    bad = problem.y[:, 0, 0, 0] > 2.5
    assert bad.sum() == 1
    pipeline.run(campaign, tmp_path / "store", workers, device=simulated.NAME)
    status = open_results(tmp_path / "store").status.sel(solver="touchy").values.reshape(-1)
    np.testing.assert_array_equal(status, np.where(bad, Status.KILLED_WORKER, Status.CONVERGED))
    assert list((tmp_path / "store" / "in_progress").iterdir()) == []


@pytest.mark.slow
def test_a_worker_that_dies_in_a_batch_loses_only_that(tiny, tmp_path, workers):
    tiny["campaign"] |= {"realizations": 30}
    tiny["sweep"] = {"snr_db": [10]}
    touchy = {"use": "tests.test_device:Touchy", "how": "die", "above": -1e9}
    tiny["solvers"] = {"touchy": touchy | {"once": str(tmp_path / "died")}}
    assert pipeline.run(
        Campaign.from_tables(tiny), tmp_path / "store", workers, device=simulated.NAME
    ).ok
    assert (tmp_path / "died").exists()
    assert len(block_files(Store(tmp_path / "store"))) == 10
    assert verify(tmp_path / "store", blocks=0).ok


def test_the_queue_keeps_kinds_of_devices_apart(tiny, tmp_path):
    tiny["solvers"] = {"svd": SOLVERS["svd"], "pc": SOLVERS["pc"]}
    campaign = Campaign.from_tables(tiny)
    missing = [(configuration, list(range(100))) for configuration in campaign.configurations]
    queue = Queue(Store(tmp_path), missing, threads=4, device="cuda")
    assert queue.threads == {"cpu": 3, "cuda": 1}
    assert queue.places == ("cpu", "cuda")
    assert (queue.threads_of("cpu"), queue.threads_of("cuda")) == (3, 1)
    for place, label in (("cpu", "pc"), ("cuda", "svd")):
        task = queue.next(place)
        assert (task.label, task.device, len(task.blocks)) == (label, place, 1)
        queue.done(task, TaskResult(1, 3, 0, 2.0))
    assert queue.seconds_left() == pytest.approx(max(199 * 2.0 / 3, 199 * 2.0))
    task = queue.next("cuda")
    assert len(task.blocks) == 5
    queue.done(task, TaskResult(5, 15, 0, 0.5))  # a larger batch costs less for each
    assert len(queue.next("cuda").blocks) == 100
    queue.put_first([task])
    assert queue.next("cpu").label == "pc"
    assert queue.next("cuda") is task


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", r"device 'gpu': expected cpu or cuda or simulated, or one by its number, as in"),
        ("cpu:1", "device 'cpu:1': expected"),
        ("cuda:", "device 'cuda:': expected"),
        ("simulated:2", r"device simulated:2: only 2 of that kind was found on \S+"),
    ],
)
def test_names_of_no_device(name, message):
    with pytest.raises(InputError, match=message):
        device.names_of(name)


def test_names_of_devices():
    assert device.names_of("cpu") == []
    assert device.names_of("simulated") == ["simulated:0", "simulated:1"]
    assert device.names_of("simulated:1") == ["simulated:1"]
    assert device.device_of("cpu") is device.CPU
    assert not device.others_at_work()
    assert device.device_of("simulated").name == "simulated:0"
    assert device.others_at_work()


def test_without_a_library_or_a_gpu_one_line_says_so(monkeypatch, tiny, tmp_path):
    for name in ("cupy", "torch"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(InputError, match=r"no CuPy or PyTorch.*: pip install 'kronsbl\[gpu\]'"):
        device.names_of("cuda")
    monkeypatch.setitem(device.KINDS, "cuda", lambda: (0, simulated.opened))
    with pytest.raises(InputError, match="device cuda: no GPU was found on"):
        pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", device="cuda")
    assert not (tmp_path / "store").exists()


def test_a_client_needs_a_worker_with_a_device(tiny, tmp_path, client):
    with pytest.raises(InputError, match=r'no worker has the resource GPU.* --resources "GPU=1"'):
        pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", client, device="simulated")


@pytest.mark.parametrize(
    ("offered", "looks", "asked"),
    [
        (["CPU"], 3, {"cuda": {"GPU": 1.0}, "cpu": {"CPU": 1.0}}),  # that with the GPU comes later
        ([], 1, None),  # of one's own cluster, where nobody is said to have one
    ],
)
def test_a_worker_with_a_device_may_come_after_those_beside_it(monkeypatch, offered, looks, asked):
    monkeypatch.setattr(checks, "SECONDS_BETWEEN_LOOKS", 0.01)
    answers = []

    def sync(_):
        answers.append([{"resources": dict.fromkeys(offered, 1.0)}])
        if len(answers) == 3:
            answers[-1].append({"resources": {"GPU": 1.0}})
        return {"workers": dict(enumerate(answers[-1]))}

    client = SimpleNamespace(sync=sync, scheduler=SimpleNamespace(identity=None))
    if asked:
        assert checks.resources_for(client, "cuda", patience=60.0) == asked
    else:
        with pytest.raises(InputError, match="no worker has the resource GPU"):
            checks.resources_for(client, "cuda", patience=60.0)
    assert len(answers) == looks


@pytest.mark.parametrize(
    ("asked", "threads"),
    [
        ({}, {"cpu": 11}),
        ({"cuda": {"GPU": 1.0}}, {"cpu": 11, "cuda": 3}),
        ({"cuda": {"GPU": 1.0}, "cpu": {"CPU": 1.0}}, {"cpu": 1, "cuda": 3}),
    ],
)
def test_threads_count_for_what_their_workers_offer(asked, threads):
    workers = [
        (1, "running", {"GPU": 1.0, "CPU": 0.0}),
        (4, "running", {"GPU": 2.0}),  # of one's own
        (1, "running", {"CPU": 1.0}),
        (5, "running", {}),
        (8, "paused", {"CPU": 8.0}),
    ]
    idle = {"metrics": {}, "memory_limit": 0, "host": "there"}
    found = [{"nthreads": n, "status": s, "resources": r} | idle for n, s, r in workers]
    client = SimpleNamespace(
        sync=lambda _: {"workers": dict(enumerate(found))}, scheduler=SimpleNamespace(identity=None)
    )
    assert checks.workers_at_work(client, asked)[:2] == (4, threads)


def test_the_command_line_says_in_one_line_what_cannot_be(kronsbl, tmp_path, tiny):
    tiny["solvers"] = {"pc": SOLVERS["pc"]}
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(tiny))
    done = kronsbl("run", "tiny.toml", "--device", "cuda")
    assert done.returncode == 2
    assert "no solver of this campaign runs there (pc_krosbl)" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_a_campaign_says_where(tiny):
    assert chosen_device(Campaign.from_tables(tiny), None) == "cpu"
    tiny["cluster"] = {"device": "simulated"}
    campaign = Campaign.from_tables(tiny)
    assert chosen_device(campaign, None) == "simulated"
    assert chosen_device(campaign, "cuda:1") == "cuda:1"
    tiny["solvers"] = {"pc": SOLVERS["pc"]}
    with pytest.raises(InputError, match=r"device simulated: no solver .* \(pc_krosbl\)"):
        chosen_device(Campaign.from_tables(tiny), None)


def test_a_key_knows_no_device(tiny):
    before = [block.key for block in Campaign.from_tables(tiny).blocks()]
    tiny["cluster"] = {"device": "cuda", "gpus": 2}
    assert [block.key for block in Campaign.from_tables(tiny).blocks()] == before


def test_a_plan_is_of_the_device(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "CALIBRATION_SECONDS", 0.0)
    tiny["solvers"] = {"svd": SOLVERS["svd"], "pc": SOLVERS["pc"]}
    found = pipeline.plan(
        Campaign.from_tables(tiny), tmp_path / "store", workers=2, device="simulated"
    )
    svd, pc = found.solvers
    assert (svd.device, pc.device) == ("simulated:0", "cpu")
    assert (found.device_seconds, found.core_seconds) == (svd.seconds, pc.seconds)
    assert found.devices == 2
    assert simulated.put_rows


@pytest.mark.parametrize(
    ("worker", "own"),
    [
        ("0", "cuda:0"),
        ("1", "cpu"),
        ("kronsbl-17-0", "cuda:0"),
        ("kronsbl-0-3", "cpu"),
        ("x", "cuda:0"),
    ],
)
def test_devices_are_shared_out_by_the_numbers_of_workers(monkeypatch, worker, own):
    monkeypatch.setenv(device.OWN, "")
    assert device.own_device(worker) == ""
    monkeypatch.setenv(device.SHARED_OUT, common.shared_out(["cuda:0"], 4)[device.SHARED_OUT])
    assert device.own_device(worker) == own
    assert os.environ[device.OWN] == own
