"""Only damage is damage: what the system cannot read is an error, and nothing moves for it."""

import dataclasses
import errno
import io
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import dask
import numpy as np
import pytest
from click.testing import CliRunner

import pipeline
from pipeline import Campaign, Store, open_results
from pipeline.cli import main
from pipeline.store.block_file import BlockData, DamagedBlock, read_block, read_text
from solvers import Status
from tests.conftest import TINY, block_files
from tests.test_mishaps import assert_same_numbers, undisturbed

PASSING = [errno.EACCES, errno.EMFILE, errno.ESTALE, errno.ENOMEM]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished store with failures, and latencies, computed in this process."""
    path = tmp_path_factory.mktemp("reading") / "store"
    undisturbed(TINY, path)
    store = Store.open(path)
    block = next(Campaign.from_tables(TINY).blocks())
    data = store.read(block.configuration, block.index)
    cells = data.cells.copy()
    cells["status"][0] = Status.RAISED
    failing = BlockData(cells, {**data.meta, "failures": {"a bad day": 1}})
    store.write(block, failing, replace=True)
    timing = {"about": {}, "realizations": [0], "latency": [1.0], "peak_memory": 1.0}
    (path / "timings" / "host-0").mkdir(parents=True)
    (path / "timings" / "host-0" / "0a.json").write_text(json.dumps(timing))
    (path / "running").mkdir()
    beat = dict.fromkeys(("updated", "started", "done", "seconds_left", "pid"), 1) | {"host": "h"}
    (path / "running" / "host-1.json").write_text(json.dumps(beat))
    pipeline.publish(store, force=True)
    return path


@pytest.fixture
def store(finished, tmp_path):
    """A copy of it, to be spoilt."""
    return Store.open(shutil.copytree(finished, tmp_path / "store", symlinks=True))


def contents(folder):
    return {str(p.relative_to(folder)): p.stat().st_size for p in folder.rglob("*") if p.is_file()}


def one_line(done, status):
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    assert done.stderr.count("\n") == 1
    return done.stderr


def failing_once(monkeypatch, what, error):
    """Have the first read of the files whose path matches fail, as one that passes does."""
    read, failed = Path.read_bytes, set()

    def flaky(path):
        if re.search(what, str(path)) and path not in failed:
            failed.add(path)
            raise error
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", flaky)
    return failed


EIO = OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(
    ("command", "what", "error"),
    [
        *(("publish --force", r"blocks/", OSError(n, os.strerror(n))) for n in PASSING),
        ("publish --force", r"blocks/", MemoryError()),
        ("replay --solver oracle --realization 0 --snr_db 10", r"blocks/", MemoryError()),
        ("publish --force", r"blocks/.*\.npz$", EIO),
        ("publish --force", r"timings/", EIO),
        ("publish", r"LATEST$", EIO),
        ("verify --blocks 0", r"blocks/.*\.npz$", EIO),
        ("verify --blocks 0 --restore", r"damaged/", EIO),
        ("status", r"campaign.toml$", EIO),
        ("status", r"requests/", EIO),
        ("status", r"failed/", EIO),
        ("summary", r"manifest.json$", EIO),
        ("summary", r"\.zarr/zarr.json$", EIO),
        ("summary", r"nmse/c/", EIO),
        ("gc", r"LATEST$", EIO),
        ("replay --solver oracle --realization 0 --snr_db 10", r"blocks/.*\.npz$", EIO),
    ],
)
def test_an_error_of_the_system_is_no_damage(store, monkeypatch, command, what, error):
    shutil.copytree(store.path / "blocks", store.path / "damaged")
    for path in (store.path / "damaged").glob("*/*"):
        path.rename(store.path / "damaged" / path.name)
    before = contents(store.path)
    failed = failing_once(monkeypatch, what, error)
    name, *options = command.split()
    with dask.config.set(scheduler="synchronous"):  # in this process, whoever has a client
        said = one_line(CliRunner().invoke(main, [name, str(store.path), *options]), 1)
    assert failed, "the command does not read such files"
    assert (error.strerror if isinstance(error, OSError) else "MemoryError") in said
    assert contents(store.path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
@pytest.mark.parametrize("folder", ["blocks", "requests", "failed"])
def test_a_folder_that_may_not_be_read_is_not_empty(store, folder):
    (store.path / folder).chmod(0)
    try:
        one_line(CliRunner().invoke(main, ["status", str(store.path)]), 1)
    finally:
        (store.path / folder).chmod(0o755)


def test_a_folder_that_cannot_be_listed_is_not_empty(store, monkeypatch):
    scandir = os.scandir

    def broken(path="."):
        if str(path).endswith("requests"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", broken)
    assert "Permission denied" in one_line(CliRunner().invoke(main, ["status", str(store.path)]), 1)


def test_damage_that_is_gone_at_the_second_read_is_none(store, monkeypatch):
    """A page that the network file system mixed up, say."""
    read, seen = Path.read_bytes, set()

    def mixed_up(path):
        data = read(path)
        if path.suffix == ".npz" and path not in seen:
            seen.add(path)
            return data[:100] + bytes(100) + data[200:]
        return data

    monkeypatch.setattr(Path, "read_bytes", mixed_up)
    assert pipeline.verify(store, blocks=0).ok
    seen.clear()
    assert not pipeline.publish(store, force=True).damaged
    assert len(seen) == 8
    assert not (store.path / "damaged").exists()


def test_much_damage_at_once_is_left_in_its_place_until_told(store):
    whole = {path: path.read_bytes() for path in block_files(store)}
    for path, data in list(whole.items())[:2]:
        path.write_bytes(data[:-1])
    published = pipeline.publish(store, force=True)
    assert published.missing == 6
    assert all("2 of 8 at once" in text for text in published.damaged)
    assert len(store.names()) == 8
    moved = pipeline.verify(store, blocks=0, move_all=True)
    assert all("moved aside" in text for text in moved.damaged)
    assert len(store.names()) == 6


def test_what_was_moved_aside_comes_back_where_it_is_whole(store):
    before, intact = contents(store.path), open_results(store).load()
    store.set_aside(dict.fromkeys(store.names(), "a bad day"), however_many=True)
    assert (store.names(), store.failures()) == (set(), {})
    torn = min((store.path / "damaged").iterdir())
    data = torn.read_bytes()
    torn.write_bytes(data[:-1])
    verdict = pipeline.verify(store, blocks=0, restore=True)
    assert len(verdict.restored) == 7
    assert verdict.ok
    assert [path.name for path in (store.path / "damaged").iterdir()] == [torn.name]
    torn.write_bytes(data)
    done = CliRunner().invoke(main, ["verify", str(store.path), "--blocks", "0", "--restore"])
    assert (done.exit_code, f"put back: {torn.name}" in done.output) == (0, True)
    assert contents(store.path) == before, "failure marks, too"
    pipeline.publish(store, force=True)
    assert_same_numbers(open_results(store).load(), intact)


def test_a_block_that_was_computed_again_is_not_replaced_by_the_one_moved_aside(store):
    name = min(store.names())
    data = store.block_path(name).read_bytes()
    store.set_aside({name: "a bad day"})
    store.block_path(name).write_bytes(data)
    assert pipeline.verify(store, blocks=0, restore=True).restored == []


@pytest.mark.slow
def test_every_single_bit_of_a_block(store):
    path = block_files(store)[0]
    file = store.file(path.stem)
    data, (cells, spec) = file.data, (read_block(file).cells, read_text(file, "spec"))
    noticed = 0
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            found = read_block(store.file(path.stem), spec).cells
        except DamagedBlock:
            noticed += 1
        else:
            assert found.dtype == cells.dtype
            assert found.tobytes() == cells.tobytes()
    assert noticed > 0.7 * 8 * len(data)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(DamagedBlock):
            read_block(store.file(path.stem), spec)


# -- files that somebody made with intent ----------------------------------------------------------


def with_member(path, name, data, **how):
    """Put another member into a block file."""
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    with zipfile.ZipFile(path, "w", **how) as archive:
        for n, old in members.items():
            archive.writestr(n, data if n == name else old)


def header(shape, descr="<f8"):
    file = io.BytesIO()
    about = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
    return file.getvalue()


def pickled():
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([{"a": 1}], object), allow_pickle=True)
    return file.getvalue()


HOSTILE = {
    "a deflated member": (header((2**17,)) + bytes(2**20), {"compression": zipfile.ZIP_DEFLATED}),
    "more cells than the file holds": (header((2**29,)), {}),
    "more cells than any memory holds": (header((2**50,)), {}),
    "a pickle": (pickled(), {}),
    "objects": (header((1,), "|O") + bytes(8), {}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_bombs_and_pickles_in_blocks_are_damage(store, kind):
    data, how = HOSTILE[kind]
    path = block_files(store)[0]
    with_member(path, "cells.npy", data, **how)
    with pytest.raises(DamagedBlock):
        read_block(store.file(path.stem))
    assert len(pipeline.verify(store, blocks=0).damaged) == 1


def test_a_member_that_claims_to_be_larger_than_the_file(store):
    path = block_files(store)[0]
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("cells.npy").file_size.to_bytes(4, "little")
    path.write_bytes(data.replace(size + size, size + (2**31).to_bytes(4, "little")))
    with pytest.raises(DamagedBlock, match="claims to be larger than the file"):
        read_block(store.file(path.stem))


@pytest.mark.parametrize("target", ["another file", "/dev/zero"])
def test_links_are_not_followed(store, tmp_path, target):
    """They may lead out of a store that came from elsewhere, or to what has no end."""
    path = block_files(store)[0]
    elsewhere = path.rename(tmp_path / "elsewhere.npz") if target == "another file" else target
    path.unlink(missing_ok=True)
    path.symlink_to(elsewhere)
    with pytest.raises(DamagedBlock, match="a link or a device"):
        read_block(store.file(path.stem))
    request = store.path / store.requests()[-1]
    request.unlink()
    request.symlink_to(elsewhere)
    said = one_line(CliRunner().invoke(main, ["status", str(store.path)]), 2)
    assert "a link or a device" in said


def cube_of(store):
    return store.path / "cubes" / (store.path / "LATEST").read_text()


def republished(cube, change):
    """Change a cube with intent, its manifest too."""
    from pipeline.results.cube_files import MANIFEST, manifest_of

    change(cube)
    (cube / MANIFEST).write_text(json.dumps(manifest_of(cube)))


def edited(**changes):
    def change(cube):
        path = cube / "zarr.json"
        about = json.loads(path.read_text())
        about["consolidated_metadata"]["metadata"]["nmse"].update(changes)
        path.write_text(json.dumps(about))

    return change


def linked(cube):
    chunk = next((cube / "nmse" / "c").rglob("0"))
    while chunk.is_dir():
        chunk = next(chunk.iterdir())
    chunk.rename(cube.parent / "elsewhere")
    chunk.symlink_to(cube.parent / "elsewhere")


def as_zarr_2(cube):
    import xarray as xr
    from zarr.storage import LocalStore

    ds = xr.open_zarr(LocalStore(cube)).load()
    shutil.rmtree(cube)
    for variable in ds.variables.values():
        variable.encoding.clear()
    ds.drop_attrs().to_zarr(cube, zarr_format=2, consolidated=True)


PICKLE = [{"name": "numcodecs.pickle", "configuration": {}}]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(edited(shape=[2**20] * 3), id="more cells than chunks"),
        pytest.param(edited(codecs=PICKLE), id="a codec that unpickles"),
        pytest.param(linked, id="a chunk that is a link"),
        pytest.param(as_zarr_2, id="an older format, which has more codecs"),
    ],
)
def test_cubes_that_are_none_of_ours_are_refused(store, change):
    republished(cube_of(store), change)
    said = one_line(CliRunner().invoke(main, ["summary", str(store.path)]), 2)
    assert "damaged cube" in said


@pytest.mark.parametrize("text", ["../../elsewhere.zarr", "1.zarr\n2.zarr", "\udcff", "cubes"])
def test_latest_names_a_cube_or_nothing(store, text):
    (store.path.parent / "elsewhere.zarr").mkdir()
    (store.path / "LATEST").write_bytes(text.encode(errors="surrogateescape"))
    assert "no cube published" in one_line(
        CliRunner().invoke(main, ["summary", str(store.path)]), 2
    )


def test_a_chunk_that_is_gone_is_an_error_when_read(store):
    held = open_results(store)
    shutil.rmtree(cube_of(store) / "nmse")
    with pytest.raises(FileNotFoundError, match="this part of the cube is gone"):
        held.nmse.load()
    held.status.load()


def test_the_newest_request_is_found_by_its_number(store):
    first = store.path / store.requests()[0]
    shutil.copy(first, first.with_name("9999.toml"))
    shutil.copy(first, first.with_name("10000.toml"))
    assert store.requests()[-1] == "requests/10000.toml"
    store.add_request(dataclasses.replace(store.asked(), facts={"git": "another"}))
    assert store.requests()[-1] == "requests/10001.toml"
