"""Objects of a store wherever they lie; and packs, in which many of them are one file."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from pipeline import Campaign, Store, open_results
from pipeline.cli import main
from pipeline.results.garbage import collect_garbage
from pipeline.solving.outcome import solve_block
from pipeline.store import folder, packs
from pipeline.store.block_file import BlockData
from pipeline.store.packs import PackedFiles
from pipeline.store.state import state_of
from solvers import Status
from tests.conftest import TINY, block_files
from tests.objects import IDENTITY, KINDS
from tests.test_mishaps import assert_same_numbers, undisturbed

NAMES = [f"blocks/{n:02x}/{n:02x}{'0' * 30}.{'1' * 16}.npz" for n in range(12)]


def made(kind, path):
    found = KINDS[kind](path)
    found.create("campaign.toml", IDENTITY)
    return found


@pytest.fixture(params=KINDS)
def objects(request, tmp_path):
    return made(request.param, tmp_path)


class TestContract:
    def test_what_was_put_comes_back(self, objects):
        objects.put(NAMES[0], b"one")
        objects.put("requests/0001.toml", b"two")
        assert objects.get(NAMES[0]) == b"one"
        assert objects.get("requests/0001.toml") == b"two"
        assert NAMES[0] in objects
        assert NAMES[1] not in objects
        with pytest.raises(FileNotFoundError):
            objects.get(NAMES[1])

    def test_putting_replaces(self, objects):
        for data in (b"one", b"another"):
            objects.put(NAMES[0], data)
            assert objects.get(NAMES[0]) == data
            assert list(objects.list("blocks/")) == [NAMES[0]]

    @pytest.mark.parametrize("name", [NAMES[0], "decisions/a.json"])
    def test_the_first_creates(self, objects, name):
        assert objects.create(name, b"one")
        assert not objects.create(name, b"another")
        assert objects.get(name) == b"one"

    def test_listing_by_the_beginning(self, objects):
        for name in (*NAMES[:3], "failed/a.json", "requests/0001.toml"):
            objects.put(name, b"x")
        assert sorted(objects.list("blocks/")) == NAMES[:3]
        assert list(objects.list(NAMES[1][:15])) == [NAMES[1]]
        assert list(objects.list("failed/")) == ["failed/a.json"]
        assert list(objects.list("nowhere/")) == []
        assert len(list(objects.list())) == 6

    def test_what_was_deleted_is_gone_until_it_is_put_again(self, objects):
        for _ in range(2):
            objects.put(NAMES[0], b"one")
            objects.put(NAMES[1], b"stays")
            objects.delete(NAMES[0], NAMES[2])
            assert NAMES[0] not in objects
            assert list(objects.list("blocks/")) == [NAMES[1]]
            with pytest.raises(FileNotFoundError):
                objects.get(NAMES[0])
        objects.put(NAMES[0], b"again")
        assert objects.get(NAMES[0]) == b"again"


step = st.tuples(
    st.sampled_from(["put", "delete", "pack", "merge", "reopen", "age"]),
    st.sampled_from(NAMES[:4]),
    st.binary(min_size=1, max_size=20),
)


@settings(max_examples=30)
@given(st.lists(step, max_size=25))
def test_packed_files_are_a_dictionary(tmp_path_factory, steps):
    """Whatever is put, deleted, packed and merged in which order, whatever clocks say."""
    path = tmp_path_factory.mktemp("model")
    found, expected = made("loose", path), {}
    for what, name, data in steps:
        if what == "put":
            found.put(name, data)
            expected[name] = data
        elif what == "delete":
            found.delete(name)
            expected.pop(name, None)
        elif what == "pack":
            found.pack()
        elif what == "merge":
            found.pack(merge=True)
        elif what == "reopen":
            found = PackedFiles(path)
        elif (path / name).exists():
            os.utime(path / name, (1.0, 1.0))
        assert {n: found.get(n) for n in found.list("blocks/")} == expected
        assert {n for n in NAMES if n in found} == set(expected)


def filled(path, count=300):
    """Packed objects, and what they are."""
    objects, rng = made("loose", path), random.Random(3)
    held = {}
    for n in range(count):
        name = f"blocks/{n % 256:02x}/{n:032x}.{'1' * 16}.npz"
        held[name] = rng.randbytes(rng.randrange(1, 400))
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(held[name])
    assert objects.pack() == count
    return objects, held


def test_packs_are_few_files(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "PACK_BYTES", 20_000)
    objects, held = filled(tmp_path)
    there = sorted(path.name for path in (tmp_path / "packs").iterdir())
    assert there == [f"{n:06}.pack" for n in range(1, 1 + len(there))]
    assert 2 < len(there) < 6
    assert list((tmp_path / "blocks").iterdir()) == [], "not even empty folders"
    assert {name: objects.get(name) for name in objects.list("blocks/")} == held


def test_small_packs_become_one(tmp_path):
    objects, held = made("loose", tmp_path), {}
    for n in range(8):
        held[NAMES[n]] = bytes([n]) * 100
        objects.put(NAMES[n], held[NAMES[n]])
        objects.put(NAMES[0], b"newer")
        held[NAMES[0]] = b"newer"
        objects.pack()
    objects.delete(NAMES[1])
    del held[NAMES[1]]
    objects.pack(merge=True)
    objects.pack()
    objects.pack(merge=True)
    assert len(objects.packs()) == 1
    assert {name: objects.get(name) for name in objects.list("blocks/")} == held


def test_what_is_replaced_while_it_is_packed_is_not_lost(tmp_path, monkeypatch):
    objects = made("loose", tmp_path)
    objects.put(NAMES[0], b"old")
    take_name = packs.files.take_name

    def meanwhile(temporary, path):
        if path.suffix == packs.SUFFIX:
            objects.put(NAMES[0], b"new")
        return take_name(temporary, path)

    monkeypatch.setattr(packs.files, "take_name", meanwhile)
    objects.pack()
    assert objects.get(NAMES[0]) == b"new"
    monkeypatch.undo()
    objects.pack()
    assert objects.get(NAMES[0]) == b"new"
    assert not (tmp_path / NAMES[0]).exists()


def test_readers_beside_packers_miss_nothing(tmp_path):
    objects, held = filled(tmp_path, 40)
    over, missed = threading.Event(), []

    def read():
        mine = PackedFiles(tmp_path)
        while not over.is_set():
            try:
                missed.extend(n for n, data in held.items() if mine.get(n) != data)
                missed.extend(held.keys() - set(mine.list("blocks/")))
            except FileNotFoundError as error:
                missed.append(str(error))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(15):
        for name, data in held.items():
            objects.put(name, data)
        objects.pack()
        objects.pack(merge=True)
    over.set()
    for reader in readers:
        reader.join()
    assert missed == []


def interrupted(monkeypatch, owner, method, what):
    """Have `what` happen once, after that method of `owner`, as another process may do any time."""
    original, waiting = getattr(owner, method), [what]

    def then(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        if waiting:
            waiting.pop()()
        return result

    monkeypatch.setattr(owner, method, then)


@pytest.mark.parametrize("error", [FileExistsError, FileNotFoundError])
def test_folders_that_a_packer_removes_while_they_are_made_are_made_again(
    tmp_path, monkeypatch, error
):
    """`Path.mkdir` raises FileExistsError where a folder goes between its two looks at it."""
    objects, mkdir, waiting = made("loose", tmp_path), os.mkdir, [error]

    def beside_a_packer(path, *args):
        if waiting and Path(path).name == NAMES[0].split("/")[1]:
            raise waiting.pop()(str(path))
        mkdir(path, *args)

    monkeypatch.setattr(os, "mkdir", beside_a_packer)
    objects.put(NAMES[0], b"x")
    assert (objects.get(NAMES[0]), waiting) == (b"x", [])


@pytest.mark.parametrize("method", ["packs", "_newest"])
def test_what_is_gone_is_gone_while_a_packer_says_so(tmp_path, monkeypatch, method):
    objects, other = made("loose", tmp_path), PackedFiles(tmp_path)
    objects.put(NAMES[0], b"x")
    objects.put(NAMES[1], b"y")
    objects.pack()
    objects.delete(NAMES[0])
    with monkeypatch.context() as patch:
        interrupted(patch, PackedFiles, method, other.pack)
        assert NAMES[0] not in objects
    assert list(objects.list("blocks/")) == [NAMES[1]]


def test_what_is_deleted_while_it_is_packed_stays_gone(tmp_path, monkeypatch):
    objects, other = made("loose", tmp_path), PackedFiles(tmp_path)
    objects.put(NAMES[1], b"y")
    objects.pack()
    objects.put(NAMES[0], b"x")
    interrupted(monkeypatch, packs.PackWriter, "finish", lambda: objects.delete(NAMES[0]))
    other.pack()
    for found in (objects, PackedFiles(tmp_path)):
        assert NAMES[0] not in found
        assert list(found.list("blocks/")) == [NAMES[1]]


def test_what_is_deleted_and_put_again_before_a_packer_reads_it_is_not_lost(tmp_path, monkeypatch):
    objects, other = made("loose", tmp_path), PackedFiles(tmp_path)
    objects.put(NAMES[1], b"y")
    objects.pack()
    objects.put(NAMES[0], b"x")

    def again():
        objects.delete(NAMES[0])
        objects.put(NAMES[0], b"again")

    interrupted(monkeypatch, packs.PackedFiles, "_records", again)  # has listed, reads after that
    for _ in range(3):
        other.pack()
        for found in (objects, PackedFiles(tmp_path)):
            assert found.get(NAMES[0]) == b"again"
            assert sorted(found.list("blocks/")) == NAMES[:2]
    assert not (tmp_path / NAMES[0]).exists()


@pytest.mark.parametrize(("count", "merge"), [(0, False), (2, False), (2, True)])
def test_what_is_being_deleted_when_a_packer_reads_it_stays_gone(
    tmp_path, monkeypatch, count, merge
):
    """The packer reads between the steps of the deleter, and writes when that has ended."""
    objects, other = made("loose", tmp_path), PackedFiles(tmp_path)
    for name in NAMES[:count]:
        objects.put(name, b"x")
        objects.pack()
    objects.put(NAMES[0], b"z")
    objects.put(NAMES[1], b"y")
    read, go_on, finish = threading.Event(), threading.Event(), packs.PackWriter.finish

    def held(writer):
        read.set()
        assert go_on.wait(60)
        finish(writer)

    monkeypatch.setattr(packs.PackWriter, "finish", held)
    packer = threading.Thread(target=other.pack, kwargs={"merge": merge})
    delete = packs.LocalFiles.delete

    def late(loose, *names):
        monkeypatch.undo()
        monkeypatch.setattr(packs.PackWriter, "finish", held)
        packer.start()
        assert read.wait(60)
        delete(loose, *names)

    monkeypatch.setattr(packs.LocalFiles, "delete", late)
    objects.delete(NAMES[0])
    go_on.set()
    packer.join()
    for found in (objects, PackedFiles(tmp_path)):
        assert NAMES[0] not in found
        assert list(found.list("blocks/")) == [NAMES[1]]


def test_a_folder_that_changes_twice_within_a_tick_is_read_twice(tmp_path):
    objects, other = made("loose", tmp_path), PackedFiles(tmp_path)
    objects.put(NAMES[0], b"x")
    other.pack()
    before = (tmp_path / "packs").stat()
    assert NAMES[0] in objects
    other.delete(NAMES[0])
    other.pack()
    os.utime(tmp_path / "packs", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert NAMES[0] not in objects


def test_times_of_a_folder_in_whole_seconds_are_enough(tmp_path, monkeypatch):
    objects, other = made("loose", tmp_path), PackedFiles(tmp_path)
    second = time.time_ns() // 10**9 * 10**9
    monkeypatch.setattr(packs.time, "time_ns", lambda: second + 999_999_999)
    for data in (b"one", b"another"):
        other.put(NAMES[0], data)
        other.pack()
        os.utime(tmp_path / "packs", ns=(second, second))
        assert objects.get(NAMES[0]) == data


def test_packs_without_a_campaign_are_not_looked_at_for_ever(tmp_path):
    objects = made("loose", tmp_path)
    objects.put(NAMES[0], b"x")
    objects.pack()
    (tmp_path / "campaign.toml").unlink()
    with pytest.raises(OSError, match="no campaign"):
        PackedFiles(tmp_path).get(NAMES[0])
    with pytest.raises(OSError, match="no campaign"):
        list(PackedFiles(tmp_path).list())


def test_packs_that_are_merged_again_and_again_are_read(tmp_path, monkeypatch):
    objects = made("loose", tmp_path)
    for name in NAMES[:2]:
        objects.put(name, name.encode())
        objects.pack()
    original, merges = packs.Pack.get, list(range(9))

    def get(pack, name, start):
        if merges:
            other = PackedFiles(tmp_path)
            other.put(NAMES[2 + merges.pop()], b"z")
            monkeypatch.setattr(packs.Pack, "get", original)
            other.pack()
            other.pack(merge=True)
            monkeypatch.setattr(packs.Pack, "get", get)
        return original(pack, name, start)

    monkeypatch.setattr(packs.Pack, "get", get)
    assert objects.get(NAMES[0]) == NAMES[0].encode()
    assert merges == []


@pytest.mark.parametrize("method", ["finish", "_write"])
def test_a_packer_that_others_took_for_killed_undoes_nothing(tmp_path, monkeypatch, method):
    """A machine may have slept meanwhile, say; others have merged what it was merging."""
    objects, other = made("loose", tmp_path), PackedFiles(tmp_path)
    for name in NAMES[:2]:
        objects.put(name, b"x")
        objects.pack()

    def meanwhile():
        monkeypatch.setattr(packs, "CLAIM_SECONDS", -1.0)
        objects.delete(*NAMES[:2])
        objects.pack()
        objects.pack(merge=True)
        objects.put(NAMES[2], b"new")  # in a pack of the same name
        objects.pack()

    if method == "finish":
        interrupted(monkeypatch, packs.PackWriter, method, meanwhile)
    else:
        original = PackedFiles._write

        def write(self, *args):
            yield from original(self, *args)
            if self is other:
                meanwhile()

        monkeypatch.setattr(PackedFiles, method, write)
    other.pack(merge=True)
    found = PackedFiles(tmp_path)
    assert list(found.list("blocks/")) == [NAMES[2]]
    assert found.get(NAMES[2]) == b"new"
    assert not (tmp_path / "packs" / "packing").exists()


def test_one_packer_at_a_time_and_a_killed_one_is_not_waited_for_long(tmp_path):
    objects = made("loose", tmp_path)
    objects.put(NAMES[0], b"x")
    claim = tmp_path / "packs" / "packing"
    claim.parent.mkdir()
    claim.touch()
    assert objects.pack() == 0
    then = time.time() - 2 * packs.CLAIM_SECONDS
    os.utime(claim, (then, then))
    assert objects.pack() == 1
    assert not claim.exists()


def damaged(data, rng):
    how, at = rng.choice(["flip", "cut", "zero"]), rng.randrange(len(data))
    if how == "cut":
        return data[:at]
    changed = bytearray(data)
    if how == "flip":
        changed[at] ^= 1 << rng.randrange(8)
    else:
        end = min(at + rng.randrange(1, 2000), len(data))
        changed[at:end] = bytes(end - at)
    return bytes(changed)


def test_damage_to_a_pack_is_never_another_object(tmp_path):
    """A flipped bit costs a record at most, a cut what followed; the others are found."""
    _, held = filled(tmp_path)
    path, rng = tmp_path / "packs" / "000001.pack", random.Random(5)
    data, unnoticed = path.read_bytes(), 0
    for _ in range(60):
        changed = damaged(data, rng)
        path.write_bytes(changed)
        objects, lost = PackedFiles(tmp_path), 0
        troubles = objects.troubles()
        for name in held.keys() - set(objects.list("blocks/")):
            assert troubles, name
        for name in objects.list("blocks/"):
            try:
                found = objects.get(name)
            except ValueError:
                lost += 1
            else:
                assert found == held[name]
        unnoticed += not (troubles or lost or changed == data)
        if troubles:
            whole = {*objects.list("blocks/")}
            objects.pack(merge=True)
            again = PackedFiles(tmp_path)
            assert not again.troubles()
            assert {*again.list("blocks/")} == whole
            assert all(again.get(name) == held[name] for name in again.list("blocks/"))
            (tmp_path / "damaged" / path.name).unlink()
            for made_by_merging in path.parent.glob("*.pack"):
                made_by_merging.unlink()
    assert not unnoticed


# -- stores ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("packs") / "store"
    undisturbed(TINY, path)
    return path


@pytest.fixture
def store(finished, tmp_path, monkeypatch):
    """A copy whose blocks are packed."""
    monkeypatch.setattr(folder, "LOOSE_FILES", 0)
    found = Store.open(shutil.copytree(finished, tmp_path / "store"))
    found.tidy()
    assert block_files(found) == []
    assert len(found.names()) == 8
    return found


def test_a_packed_store_is_the_same_store(store):
    before = open_results(store).load()
    assert state_of(store).complete
    assert state_of(store).bytes["blocks"] > 8 * 1000
    assert pipeline.publish(store, force=True).missing == 0
    assert_same_numbers(open_results(store).load(), before)
    verdict = pipeline.verify(store, blocks=8)
    assert (verdict.ok, verdict.read, verdict.solved) == (True, 8, 8)
    result = pipeline.run(store.last_campaign(), store)
    assert (result.ok, result.counts.done) == (True, 0)


def test_publishing_and_gc_pack_where_there_are_many_files(finished, tmp_path, monkeypatch):
    found = Store.open(shutil.copytree(finished, tmp_path / "store"))
    pipeline.publish(found)
    collect_garbage(found)
    assert len(block_files(found)) == 8
    monkeypatch.setattr(folder, "LOOSE_FILES", 7)
    collect_garbage(found, dry_run=True)
    assert len(block_files(found)) == 8
    pipeline.publish(found)
    assert (len(block_files(found)), len(found.names())) == (0, 8)


def test_a_run_packs_as_it_goes(tiny, tmp_path, client, monkeypatch):
    from pipeline.driver import run

    monkeypatch.setattr(folder, "LOOSE_FILES", 0)
    monkeypatch.setattr(run, "LOOSE_IN_A_RUN", 3)
    monkeypatch.setattr("pipeline.results.publishing.publish", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", client)
    found = Store.open(tmp_path / "store")
    assert len(found.names()) == 8
    assert len(block_files(found)) < 4


def test_failures_are_packed_and_mended(store, client):
    campaign = Campaign.from_tables(TINY)
    block = next(campaign.blocks())
    data = store.read(block.configuration, block.index)
    cells = data.cells.copy()
    cells["status"][0] = Status.RAISED
    failing = BlockData(cells, {**data.meta, "failures": {"a bad day": 1}})
    store.write(block, failing, replace=True)
    store.tidy()
    assert block_files(store) == list((store.path / "failed").glob("*.json")) == []
    assert store.crashed(block) == 1
    assert store.failures()[block.key]["messages"] == {"a bad day": 1}
    result = pipeline.run(campaign, store, client, retry_failed=True)
    assert (result.counts.done, result.counts.failed) == (3, 0)
    assert store.failures() == {}
    store.tidy()
    assert (block_files(store), store.failures(), store.crashed(block)) == ([], {}, 0)
    again = store.read(block.configuration, block.index).cells
    np.testing.assert_array_equal(again["nmse"], data.cells["nmse"])


def test_other_scorings_are_found_in_packs(tiny, tmp_path):
    from pipeline.campaign.request import Request

    tiny["output"] = {"estimates": True}
    found = Store.create(tmp_path / "store", Campaign.from_tables(tiny))
    found.add_request(Request.of(Campaign.from_tables(tiny), {}))
    block = next(Campaign.from_tables(tiny).blocks())
    data = solve_block(block)
    found.write(block, data)
    found.objects.pack()
    kept = found.read_scored_otherwise(block)
    assert kept.cells.tobytes() == data.cells.tobytes()
    assert kept.estimates.keys() == data.estimates.keys()


def flipped(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_damaged_record_is_set_aside_and_computed_again(store, client):
    before = open_results(store).load()
    [pack] = store.objects.packs()
    flipped(pack.path, pack.places()[3].start + 300)
    store = Store(store.path)
    verdict = pipeline.verify(store, blocks=0)
    [said] = verdict.damaged
    assert "000001.pack: the record of blocks/" in said
    assert said.endswith("moved aside, the next run computes it")
    assert len(store.names()) == 7
    result = pipeline.run(store.last_campaign(), store, client)
    assert (result.ok, result.counts.done) == (True, 3)
    assert_same_numbers(open_results(store).load(), before)
    collect_garbage(store)
    assert pipeline.verify(store, blocks=8).ok


@pytest.mark.parametrize("how", ["cut", "flipped", "of another store"])
def test_a_bad_pack_costs_one_line_and_no_number(store, tiny, tmp_path, client, how):
    before = open_results(store).load()
    path = store.path / "packs" / "000001.pack"
    if how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "flipped":
        flipped(path, path.stat().st_size - 40)
    else:
        tiny["campaign"]["seed"] += 1
        undisturbed(tiny, tmp_path / "other")  # which is packed, too
        shutil.copy(tmp_path / "other" / "packs" / "000001.pack", path.with_name("000002.pack"))
    for command in (["publish"], ["verify", "--blocks", "0"]):
        done = CliRunner().invoke(main, [command[0], str(store.path), *command[1:]])
        said = [line for line in done.output.splitlines() if "damaged:" in line]
        assert (done.exit_code, len(said)) == (1, 1), done.output
        assert ("another store" in said[0]) == (how == "of another store")
    there = len(Store(store.path).names())
    assert (0 < there < 8) if how == "cut" else there == 8
    result = pipeline.run(Store.open(store.path).last_campaign(), store.path, client)
    assert result.missing == 0
    assert_same_numbers(open_results(store).load(), before)
    if how == "of another store":
        path.with_name("000002.pack").unlink()
    collect_garbage(Store.open(store.path))
    assert pipeline.verify(store.path, blocks=0).ok
    assert (store.path / "damaged" / path.name).exists() == (how != "of another store")


def test_what_reads_badly_once_is_no_damage(store, monkeypatch):
    """A page that the network file system mixed up, say."""
    from pipeline.store import pack_file

    record_at, failed = pack_file.record_at, set()

    def mixed_up(file, start):
        found = record_at(file, start)
        return failed.add(start) if start not in failed else found

    monkeypatch.setattr(pack_file, "record_at", mixed_up)
    store = Store(store.path)
    store.objects = PackedFiles(store.path)
    assert store.troubles() == []
    assert pipeline.verify(store, blocks=0).ok
    assert len(failed) > 8


PACK_FOR_EVER = """
import sys
from pathlib import Path
from pipeline.store import packs
packs.CLAIM_SECONDS, packs.PACK_BYTES = 0.02, 20_000
objects = packs.PackedFiles(Path(sys.argv[1]))
while True:
    objects.pack()
    objects.pack(merge=True)
"""


@pytest.mark.slow
def test_packers_killed_at_random_moments_lose_nothing(tmp_path):
    """Beside writers that replace, delete and read; two packers, so that they meet as well."""
    objects, rng, held = made("loose", tmp_path), random.Random(7), {}
    command = [sys.executable, "-c", PACK_FOR_EVER, str(tmp_path)]
    names = [f"blocks/{n % 256:02x}/{n:032x}.{'1' * 16}.npz" for n in range(400)]
    with contextlib.ExitStack() as running:

        def start():
            packer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            running.enter_context(packer)
            running.callback(packer.kill)
            return packer

        packers, kills, until = [start(), start()], 0, time.monotonic() + 60
        next_kill = time.monotonic() + 2
        while time.monotonic() < until or kills < 20:
            name = rng.choice(names)
            if rng.random() < 0.8:
                held[name] = rng.randbytes(rng.randrange(1, 400))
                objects.put(name, held[name])
            elif name in held:
                objects.delete(name)
                del held[name]
            name = rng.choice([name, rng.choice(names)])
            assert (objects.get(name) if name in objects else None) == held.get(name)
            if time.monotonic() > next_kill:
                victim = packers.pop(rng.randrange(2))
                victim.send_signal(signal.SIGKILL)
                said = victim.communicate()[1]
                assert victim.returncode == -signal.SIGKILL, said
                kills += 1
                packers.append(start())
                next_kill = time.monotonic() + rng.uniform(0.5, 3)
                found = PackedFiles(tmp_path)
                assert {n: found.get(n) for n in found.list("blocks/")} == held
    found = PackedFiles(tmp_path)
    assert not found.troubles()
    assert {n: found.get(n) for n in found.list("blocks/")} == held
