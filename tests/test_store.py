"""The store: whole blocks or none, and whose they are."""

import dataclasses
import functools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import pipeline
from pipeline import Campaign, InputError, Store
from pipeline.campaign.request import Request
from pipeline.solving.outcome import solve_block
from pipeline.store.block_file import BlockData, DamagedBlock, read_block
from pipeline.store.files import temporary_beside
from pipeline.store.state import state_of
from solvers import Status
from tests.objects import KINDS


@pytest.fixture
def campaign(tiny):
    return Campaign.from_tables(tiny)


@pytest.fixture
def store(tmp_path, campaign):
    return Store.create(tmp_path / "store", campaign)


@pytest.fixture(params=KINDS)
def anywhere(request, tmp_path, campaign, monkeypatch):
    """A store in each of the places where one may lie."""
    places = functools.cache(lambda address: KINDS[request.param](Path(address)))
    monkeypatch.setattr("pipeline.store.folder.objects_at", places)
    return Store.create(tmp_path / "store", campaign)


def test_several_processes_make_the_same_store_at_once(tmp_path, campaign):
    """As the shards of an array job do, which SLURM starts together."""
    together = threading.Barrier(8)

    def make(folder):
        together.wait()
        store = Store.create(folder, campaign)
        store.add_request(Request.of(campaign, {}))
        return store.path

    with ThreadPoolExecutor(8) as pool:
        for round_ in range(30):
            folder = tmp_path / str(round_)
            assert set(pool.map(make, 8 * [folder])) == {folder}
            assert Store.open(folder).last_request().campaign() == campaign


def test_a_block_comes_back_as_it_was(anywhere, campaign):
    block = next(campaign.blocks())
    data = solve_block(block)
    assert anywhere.names() == set()
    anywhere.write(block, data)
    assert anywhere.names() == {*block.files}
    again = anywhere.read(block.configuration, block.index)
    assert again.meta == json.loads(json.dumps(data.meta))
    for name in data.cells.dtype.names:
        np.testing.assert_array_equal(again.cells[name], data.cells[name])


def test_a_block_is_written_once(store, campaign):
    block = next(campaign.blocks())
    data = solve_block(block)
    store.write(block, data)
    before = store.block_path(block.files[-1]).stat()
    store.write(block, data)
    after = store.block_path(block.files[-1]).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    store.write(block, data, replace=True)
    assert store.block_path(block.files[-1]).stat().st_ino != before.st_ino


def test_another_block_under_that_name_is_noticed(store, campaign):
    one, other = list(campaign.blocks())[:2]
    store.write(one, solve_block(one))
    path = store.block_path(other.files[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(store.block_path(one.files[-1]).read_bytes())
    with pytest.raises(DamagedBlock, match="holds another block"):
        store.read(other.configuration, other.index)
    assert read_block(store.file(other.files[-1])).meta


def test_a_block_of_the_wrong_length_is_noticed(anywhere, campaign):
    block = next(campaign.blocks())
    data = solve_block(block)
    anywhere.write(block, BlockData(data.cells[:2], data.meta))
    with pytest.raises(DamagedBlock, match="2 realizations, expected 3"):
        anywhere.read(block.configuration, block.index)


def test_no_temporary_file_stays_when_writing_fails(store, campaign, monkeypatch):
    block = next(campaign.blocks())
    data = solve_block(block)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space"):
        store.write(block, data)
    assert [p for p in (store.path / "blocks").rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 6}, "seed is 5, not 6"),
        ({"batch": 4}, "batch is 3, not 4"),
        ({"name": "other"}, "name is 'tiny', not 'other'"),
    ],
)
def test_store_of_another_campaign(anywhere, tiny, change, message):
    tiny["campaign"] |= change
    with pytest.raises(InputError, match=message):
        Store.create(anywhere.path, Campaign.from_tables(tiny))


def test_places_that_are_no_store(tmp_path, campaign):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="is a file; a store is a folder"):
        Store.create(tmp_path / "file", campaign)
    with pytest.raises(InputError, match="cannot make a store there"):
        Store.create(tmp_path / "file" / "below", campaign)
    with pytest.raises(InputError, match="folder with other things in it"):
        Store.create(tmp_path / "folder", campaign)
    with pytest.raises(InputError, match="no such store"):
        Store.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match="not a kronsbl store"):
        Store.open(tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "folder", "thesis.tex"]


def test_a_folder_in_which_somebody_just_makes_the_store_will_do(tmp_path, campaign):
    """Another run, or one that was killed in the middle of it."""
    temporary_beside(tmp_path / "campaign.toml").write_text("half of")
    assert Store.create(tmp_path, campaign).names() == set()


def test_a_block_set_aside_takes_what_is_said_of_it_along(anywhere, campaign):
    block = next(campaign.blocks())
    data = solve_block(block)
    bad = data.cells.copy()
    bad["status"][0] = Status.RAISED
    anywhere.write(block, BlockData(bad, {**data.meta, "failures": {"bad day": 1}}))
    assert anywhere.failures().keys() == {block.key}
    anywhere.set_aside({block.files[-1]: "a flipped bit"})
    anywhere.write(block, data)
    assert anywhere.failures() == {}


def test_what_was_set_aside_can_be_put_back(anywhere, campaign):
    block = next(campaign.blocks())
    data = solve_block(block)
    anywhere.write(block, data)
    [name] = block.files
    anywhere.set_aside({name: "a bad day"})
    assert not anywhere.has(block)
    assert anywhere.put_back(name)
    assert not anywhere.put_back(name)
    assert anywhere.read(block.configuration, block.index).cells.tobytes() == data.cells.tobytes()
    assert pipeline.verify(anywhere, blocks=1, code=anywhere.path.parent).ok


def test_requests_are_numbered_and_repeated_ones_left_out(anywhere, tiny, campaign):
    anywhere.add_request(Request.of(campaign, {"git": "abc"}))
    anywhere.add_request(Request.of(campaign, {"git": "abc", "pid": 7}))
    assert anywhere.requests() == ["requests/0001.toml"]
    tiny["campaign"]["realizations"] = 9
    more = Campaign.from_tables(tiny)
    anywhere.add_request(Request.of(more, {"git": "abc"}))
    assert anywhere.requests() == ["requests/0001.toml", "requests/0002.toml"]
    assert anywhere.last_request().campaign() == more
    anywhere.add_request(Request.of(more, {"git": "def"}))
    assert len(anywhere.requests()) == 3
    assert anywhere.asked().facts == {"git": "def"}
    assert anywhere.git_states() == ["abc", "def"]


def test_solver_options_are_in_the_block(store, campaign):
    block = next(campaign.blocks())
    store.write(block, solve_block(block))
    spec = json.loads(block.configuration.block_spec(block.index))
    assert spec["configuration"]["solver"]["options"] == dataclasses.asdict(
        block.configuration.solver
    )
    with pytest.raises(DamagedBlock):
        read_block(store.file(block.files[-1]), spec="something else")


ODD_NAMES = ["a::b", "with space", "Grüße", "#1%20:$HOME", "-q", "two\nlines", "x" * 200]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_paths(tiny, tmp_path, name):
    filled = filled_store(tmp_path / name / "store", tiny)
    pipeline.publish(filled)
    ds = pipeline.open_results(tmp_path / name / "store")
    assert ds.attrs["complete"]
    assert np.isfinite(ds.nmse).all()
    assert state_of(filled).complete
    assert pipeline.verify(filled, blocks=1).ok


def filled_store(path, tables):
    campaign = Campaign.from_tables(tables)
    store = Store.create(path, campaign)
    store.add_request(Request.of(campaign, {}))
    assert state_of(store).bytes == {"blocks": 0, "cubes": 0}, "there are no such folders yet"
    for block in campaign.blocks():
        store.write(block, solve_block(block))
    return store
