"""Damage of every kind to the files of a store: noticed, or harmless, never a wrong number."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import pipeline
from pipeline import Campaign, InputError, Store, open_results
from pipeline.campaign.request import Request
from pipeline.cli import main
from pipeline.solving.outcome import solve_block
from pipeline.store.block_file import DamagedBlock
from tests.conftest import block_files


def damaged(data, rng):
    """A copy of some bytes with something wrong, or None for a file that is gone."""
    how = rng.choice(["flip", "flip", "flip", "truncate", "zero", "delete"])
    if how == "delete":
        return None
    if how == "truncate":
        return data[: rng.randrange(len(data))]
    changed, at = bytearray(data), rng.randrange(len(data))
    if how == "flip":
        changed[at] ^= 1 << rng.randrange(8)
    else:
        end = min(at + rng.randrange(1, 200), len(data))
        changed[at:end] = bytes(end - at)
    return bytes(changed)


class broken:  # noqa: N801
    """A file that is damaged inside a with statement."""

    def __init__(self, path, rng):
        self.path, self.rng, self.data = path, rng, path.read_bytes()

    def __enter__(self):
        changed = damaged(self.data, self.rng)
        if changed is None:
            self.path.unlink()
        else:
            self.path.write_bytes(changed)

    def __exit__(self, *_):
        self.path.write_bytes(self.data)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A finished small store, computed in this process."""
    from tests.conftest import TINY

    campaign = Campaign.from_tables(TINY)
    store = Store.create(tmp_path_factory.mktemp("damage") / "store", campaign)
    store.add_request(Request.of(campaign, {}))
    for block in campaign.blocks():
        store.write(block, solve_block(block))
    pipeline.publish(store)
    return store


def same(one, other):
    return all(
        np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f")
        for name in one.dtype.names
    )


def test_blocks(filled):
    rng = random.Random(1)
    blocks = list(filled.last_campaign().blocks())
    intact = {block.key: filled.read(block.configuration, block.index).cells for block in blocks}
    noticed = 0
    for _ in range(700):
        block = rng.choice(blocks)
        with broken(filled.block_path(block.files[-1]), rng):
            try:
                cells = filled.read(block.configuration, block.index).cells
            except (DamagedBlock, FileNotFoundError):
                noticed += 1
            else:
                assert cells.dtype == intact[block.key].dtype
                assert same(cells, intact[block.key])
    assert noticed > 600


@pytest.mark.slow
def test_cubes(filled):
    rng = random.Random(2)
    cube = filled.path / "cubes" / (filled.path / "LATEST").read_text()
    files = [p for p in cube.rglob("*") if p.is_file()]
    intact = open_results(filled).load()
    noticed = 0
    for _ in range(300):
        with broken(rng.choice(files), rng):
            try:
                found = open_results(filled).load()
            except Exception:  # zarr and its codecs raise all sorts of things
                noticed += 1
            else:
                xr.testing.assert_identical(found, intact)
    assert noticed > 250


def test_damaged_blocks_are_moved_aside_and_computed_again(filled, tmp_path, client):
    path = tmp_path / "store"
    shutil.copytree(filled.path, path)
    intact = open_results(path).load()
    store, rng = Store.open(path), random.Random(3)
    victims = rng.sample(block_files(store), 3)
    for victim in victims:
        data = Path(victim).read_bytes()
        Path(victim).write_bytes(data[: len(data) // 2])
    left = pipeline.verify(store, blocks=0)
    assert (left.read, len(left.damaged), left.ok) == (8, 3, False)
    assert all("3 of 8 at once" in sentence for sentence in left.damaged)
    assert not (path / "damaged").exists()
    verdict = pipeline.verify(store, blocks=0, move_all=True)
    assert len(verdict.damaged) == 3
    assert len(list((path / "damaged").iterdir())) == 3
    result = pipeline.run(store.last_campaign(), store, client)
    assert result.ok
    assert result.counts.done == 3 * 3
    again = open_results(path).load()
    timings = ["runtime"]
    xr.testing.assert_identical(
        again.drop_vars(timings).drop_attrs(), intact.drop_vars(timings).drop_attrs()
    )
    assert pipeline.verify(store).ok


def test_publishing_moves_damaged_blocks_aside(filled, tmp_path):
    path = tmp_path / "store"
    shutil.copytree(filled.path, path)
    store = Store.open(path)
    victim = block_files(store)[0]
    Path(victim).write_bytes(b"nonsense")
    published = pipeline.publish(store, force=True)
    assert len(published.damaged) == 1
    assert published.missing == 3
    assert (open_results(path).status == 0).sum() == 3


def test_verify_tells_other_numbers(filled, tmp_path):
    from pipeline.store.block_file import BlockData

    path = tmp_path / "store"
    shutil.copytree(filled.path, path)
    store = Store.open(path)
    blocks = list(store.last_campaign().blocks())
    data = store.read(blocks[0].configuration, blocks[0].index)
    cells = data.cells.copy()
    cells["nmse"][1] *= 1 + 1e-12  # a valid file with a number that is not what comes out
    store.write(blocks[0], BlockData(cells, data.meta), replace=True)
    verdict = pipeline.verify(store, blocks=len(blocks))
    assert len(verdict.differing) == 1
    assert "nmse of row 1" in verdict.differing[0]
    assert verdict.exact == verdict.solved == len(blocks)
    # On another machine that much is forgiven, or where Numba compiled for another processor.
    store.write(blocks[0], BlockData(cells, {**data.meta, "target": "generic"}), replace=True)
    assert pipeline.verify(store, blocks=len(blocks)).ok
    elsewhere = {**data.meta, "host": "elsewhere"}
    store.write(blocks[0], BlockData(cells, elsewhere), replace=True)
    assert pipeline.verify(store, blocks=len(blocks)).ok
    cells["nmse"][1] *= 1 + 1e-6
    store.write(blocks[0], BlockData(cells, elsewhere), replace=True)
    assert not pipeline.verify(store, blocks=len(blocks)).ok


def test_cube_without_its_manifest_is_refused(filled, tmp_path):
    path = tmp_path / "store"
    shutil.copytree(filled.path, path)
    for manifest in path.rglob("manifest.json"):
        manifest.unlink()
    with pytest.raises(InputError, match="publish --force"):
        open_results(path)
    pipeline.publish(Store.open(path), force=True)
    open_results(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("requests/0001.toml", "no toml"), ("campaign.toml", "="), ("failed/KEY.json", "{")],
)
def test_damaged_small_files_are_named(filled, tmp_path, name, content):
    store = tmp_path / "store"
    shutil.copytree(filled.path, store)
    path = store / name.replace("KEY", min(Store.open(store).names()))
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    done = CliRunner().invoke(main, ["status", str(store)])
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert str(path) in done.output


def test_a_damaged_name_of_the_newest_cube_is_mended_by_publishing(filled, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(filled.path, store)
    for name in ("", "../.."):
        (store / "LATEST").write_text(name)
        with pytest.raises(InputError, match="no cube published yet"):
            open_results(store)
        pipeline.publish(store)
        assert open_results(store).attrs["complete"]
