"""What `kronsbl gc` removes, and all that it leaves alone."""

import os
import shutil
import time

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import pipeline
from pipeline import Store, open_results
from pipeline.cli import main
from pipeline.results import garbage as module
from pipeline.results.garbage import CUBES_KEPT, LEAST_AGE, collect_garbage, garbage
from pipeline.store.files import temporary_beside
from tests.conftest import TINY
from tests.test_mishaps import undisturbed

DAY = LEAST_AGE
KEY = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished store with four cubes, all of them old."""
    path = tmp_path_factory.mktemp("garbage") / "store"
    undisturbed(TINY, path)
    for _ in range(3):
        pipeline.publish(path, force=True)
    for cube in (path / "cubes").iterdir():
        aged(cube)
    return path


@pytest.fixture
def store(finished, tmp_path):
    return Store.open(shutil.copytree(finished, tmp_path / "store"))


def aged(path, days=2.0):
    then = time.time() - days * DAY
    os.utime(path, (then, then), follow_symlinks=False)


def cubes(store):
    return sorted(path.name for path in (store.path / "cubes").iterdir())


ages = st.floats(0, 3 * DAY)


@given(st.dictionaries(st.integers(1, 12000), ages, max_size=8), st.none() | st.integers(1, 12000))
def test_which_cubes_go(found, newest):
    modified = {f"cubes/{number:06}.zarr": -age for number, age in found.items()}
    gone = {int(name[6:-5]) for name in garbage(modified, newest, 0.0)}
    if newest is None:
        assert not gone
        return
    kept = sorted(number for number in found if number <= newest)[-CUBES_KEPT:]
    assert gone == {
        n for n, age in found.items() if n < newest and n not in kept and age > LEAST_AGE
    }


@given(ages)
def test_what_was_left_behind_goes_after_a_day(age):
    assert garbage({"running/a-1.json": -age}, None, 0.0) == (
        ["running/a-1.json"] if age > LEAST_AGE else []
    )


def test_the_two_newest_cubes_stay_and_what_went_is_said(store):
    planned = CliRunner().invoke(main, ["gc", str(store.path), "--dry-run"])
    assert len(cubes(store)) == 4
    assert planned.output.endswith("would be freed\n")
    done = CliRunner().invoke(main, ["gc", str(store.path)])
    assert cubes(store) == ["000003.zarr", "000004.zarr"]
    assert done.output == planned.output.replace("would be", "were")
    assert [line.partition("  ")[0] for line in done.output.splitlines()[:-1]] == [
        str(store.path / "cubes" / f"00000{n}.zarr") for n in (1, 2)
    ]
    assert CliRunner().invoke(main, ["gc", str(store.path)]).output == "0 B were freed\n"


def test_young_cubes_stay(store):
    os.utime(store.path / "cubes" / "000001.zarr")
    assert [path.name for path in collect_garbage(store)] == ["000002.zarr"]


def test_without_the_name_of_the_newest_no_cube_goes(store):
    (store.path / "LATEST").unlink()
    assert collect_garbage(store) == {}
    pipeline.publish(store, force=True)
    assert cubes(store)[-1] == (store.path / "LATEST").read_text() == "000005.zarr"


def test_what_is_published_meanwhile_stays(store, monkeypatch):
    """Between looking at LATEST and listing the cubes."""
    latest = module.latest

    def overtaken(of):
        found = latest(of)
        for _ in range(3):
            aged(pipeline.publish(of, force=True).path)
        return found

    monkeypatch.setattr(module, "latest", overtaken)
    collect_garbage(store)
    assert cubes(store) == [f"00000{n}.zarr" for n in range(3, 8)]
    assert open_results(store).attrs["complete"]


def test_a_dataset_that_is_open_is_whole_or_raises(store):
    """It never turns into cells that seem not to have been run."""
    held = open_results(store)
    with_nmse = held.nmse.values
    for _ in range(CUBES_KEPT):
        aged(pipeline.publish(store, force=True).path)
    collect_garbage(store)
    with pytest.raises(FileNotFoundError, match="open the results anew"):
        held.status.load()
    np.testing.assert_array_equal(open_results(store).nmse, with_nmse)


def test_opening_follows_a_name_that_changes_meanwhile(store, monkeypatch):
    from pipeline.results import publishing

    check = publishing.check

    def swept(path):
        monkeypatch.setattr(publishing, "check", check)
        pipeline.publish(store, force=True)
        shutil.rmtree(path)
        check(path)

    monkeypatch.setattr(publishing, "check", swept)
    assert open_results(store).attrs["complete"]
    shutil.rmtree(publishing.latest(store) / "nmse")
    with pytest.raises(pipeline.InputError, match="damaged cube"):
        open_results(store)


def test_what_killed_processes_left_behind(store):
    left = [
        temporary_beside(store.path / "LATEST"),
        temporary_beside(store.path / "requests" / "0002.toml"),
        temporary_beside(store.path / "cubes" / "new.zarr") / "nmse",
        store.path / ".private-ab12_cd3.tmp" / "worker_key.pem",
        store.path / ".probe-abc123",
        store.path / ".probe-abc123.tmp",
        store.path / "running" / "node-1.cluster-4711.json",
        store.path / "running" / "node-1.cluster-4711.stop",
        store.path / "in_progress" / f"{KEY}.txt",
        store.path / "in_progress" / f"{KEY}-3-7.txt",
    ]
    theirs = [
        store.path / "notes.tmp",
        store.path / ".thesis.tmp",
        store.path / "running" / "marathon.txt",
        store.path / "in_progress" / "chapter.txt",
        store.path / "cubes" / "mine.zarr" / "zarr.json",
        store.path / "cubes" / "1.zarr.old" / "zarr.json",
    ]
    for path in [*left, *theirs]:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        for place in (path, path.parent):
            aged(place)
    young = temporary_beside(store.path / "LATEST")
    young.touch()
    collect_garbage(store)
    assert [path for path in left if path.exists()] == []
    assert [path for path in [*theirs, young] if not path.exists()] == []


@pytest.mark.parametrize("name", ["running", "in_progress", "cubes", "requests/links"])
def test_links_are_not_followed(store, tmp_path, name):
    """An archive of a store that somebody sent may have them."""
    outside = tmp_path / "thesis"
    for file in ("a-1.json", f"{KEY}.txt", "000000.zarr/x", ".x.1-01234567.tmp", "thesis.tex"):
        (outside / file).parent.mkdir(parents=True, exist_ok=True)
        (outside / file).touch()
    for path in [outside, *outside.rglob("*")]:
        aged(path)
    before = sorted(outside.rglob("*"))
    shutil.rmtree(store.path / name, ignore_errors=True)
    (store.path / name).symlink_to(outside)
    aged(store.path / name)
    link = store.path / ".x.1-01234567.tmp"
    link.symlink_to(outside)
    aged(link)
    collect_garbage(store)
    assert sorted(outside.rglob("*")) == before


def test_a_cube_goes_as_a_whole(store, monkeypatch):
    """Its name first: nobody finds half of it, also where the removal is killed."""
    monkeypatch.setattr(shutil, "rmtree", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        collect_garbage(store)
    monkeypatch.undo()
    names = cubes(store)
    assert len(names) == 4
    assert len([name for name in names if name[0].isdigit()]) == 3
    collect_garbage(store)
    assert cubes(store) == ["000003.zarr", "000004.zarr"]


def test_several_at_once(store):
    from concurrent.futures import ThreadPoolExecutor

    there = {store.path / "cubes" / f"{number:06d}.zarr" for number in (1, 2)}
    for number in range(30):
        path = temporary_beside(store.path / "LATEST")
        path.touch() if number % 2 else path.mkdir()
        aged(path)
        there.add(path)
    with ThreadPoolExecutor(4) as pool:
        removed = {path for found in pool.map(collect_garbage, 4 * [store]) for path in found}
    assert removed >= there  # and what one has set aside, where another takes it over
    assert not any(path.exists() for path in removed)
    assert cubes(store) == ["000003.zarr", "000004.zarr"]
