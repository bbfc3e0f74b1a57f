"""Archives for reviewers: they hold the store, say what is wrong with them, and do no harm."""

import json
import tomllib
import tracemalloc
import zipfile
from hashlib import sha256

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import pipeline
from pipeline import Campaign, InputError, Store
from pipeline.campaign.request import Request
from pipeline.cli import main
from pipeline.report.archiving import archive
from pipeline.solving import provenance
from pipeline.solving.outcome import solve_block
from pipeline.store.archive import unpack_archive, write_archive
from tests.small_studies import campaign_with


def store_of(campaign, folder):
    store = Store.create(folder, campaign)
    store.add_request(Request.of(campaign, provenance.of_request(folder.parent)))
    for block in campaign.blocks():
        store.write(block, solve_block(block))
    pipeline.publish(store)
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return store_of(campaign_with(), tmp_path_factory.mktemp("archived") / "store")


@pytest.fixture(scope="module")
def whole(store):
    return archive(store, store.path.parent / "whole.zip")


@pytest.fixture(scope="module")
def lean(store):
    """An archive without blocks, and with a citation of its own."""
    folder = store.path.parent
    (folder / "mine.cff").write_text("cff-version: mine")
    words = ("archive", store.path, "-o", folder / "lean.zip", "--no-blocks")
    done = invoke(*words, "--citation", folder / "mine.cff")
    assert (done.exit_code, done.output) == (0, f"{folder / 'lean.zip'}\n")
    return folder / "lean.zip"


def invoke(*words):
    return CliRunner().invoke(main, list(map(str, words)))


def rewritten(path, target, change):
    """The archive with other members: `change` takes them as a dictionary."""
    with zipfile.ZipFile(path) as one:
        members = {name: one.read(name) for name in one.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as other:
        for name, data in members.items():
            other.writestr(zipfile.ZipInfo(name), data)
    return target


@pytest.mark.parametrize("kind", ["whole", "lean"])
def test_it_is_whole(kind, request, store):
    either, with_blocks = request.getfixturevalue(kind), kind == "whole"
    verdict = pipeline.verify(either, blocks=3)
    blocks = sorted(store.names())
    assert verdict.ok
    assert (verdict.read, verdict.solved, verdict.exact) == (
        (len(blocks), 3, 3) if with_blocks else (0, 0, 0)
    )
    with zipfile.ZipFile(either) as opened:
        names = opened.namelist()
        assert verdict.members == len(names)
        text = opened.read("SHA256SUMS").decode()
        sums = dict(reversed(line.split("  ")) for line in text.splitlines())
        assert sums == {n: sha256(opened.read(n)).hexdigest() for n in names if n != "SHA256SUMS"}
        assert (
            Campaign.from_tables(tomllib.loads(opened.read("campaign.toml").decode()))
            == store.last_campaign()
        )
        cited = opened.read("CITATION.cff").decode()
        assert cited.startswith("cff-version: 1" if with_blocks else "cff-version: mine")
        assert "<html" in opened.read("report.html").decode()
        facts = json.loads(opened.read("environment/provenance.json"))
        assert facts["computed"]["hosts"] == facts["archived"]["host"]
        assert f"numpy=={np.__version__}\n" in opened.read("environment/requirements.txt").decode()
        told = opened.read("README.md").decode()
        if not with_blocks:
            digests = opened.read("blocks.sha256").decode().splitlines()
            assert [line.rpartition("/")[2][:-4] for line in digests] == blocks
    tops = {name.split("/")[0] for name in names}
    listed = {top for top in tops if f"`{top}" in told}
    assert tops - listed == {"README.md"}
    assert not any(name.startswith("store/blocks/") for name in names) or with_blocks


def test_the_folder_in_it_is_the_store(whole, store, tmp_path):
    with zipfile.ZipFile(whole) as opened:
        opened.extractall(tmp_path)
    copy = Store.open(tmp_path / "store")
    xr.testing.assert_identical(pipeline.open_results(copy), pipeline.open_results(store))
    assert copy.names() == store.names()
    assert pipeline.verify(copy, blocks=2).exact == 2


def test_the_same_files_have_the_same_bytes_and_order(whole, lean):
    with zipfile.ZipFile(whole) as one, zipfile.ZipFile(lean) as other:
        shared = [name for name in one.namelist() if name in other.namelist()]
        assert shared == [name for name in other.namelist() if name in one.namelist()]
        assert {m.date_time for m in one.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        # bokeh names the parts of a page at random
        others = {name for name in shared if one.read(name) != other.read(name)}
        assert others == {"README.md", "CITATION.cff", "report.html", "SHA256SUMS"}


@pytest.mark.parametrize(
    "part", ["README.md", "SHA256SUMS", "store/campaign.toml", "store/cubes/", "store/blocks/"]
)
@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_a_flipped_byte_names_its_file(whole, tmp_path, part, place):
    with zipfile.ZipFile(whole) as opened:
        member = next(m for m in opened.infolist() if m.filename.startswith(part))
    data = bytearray(whole.read_bytes())
    begin = member.header_offset + 30 + len(member.filename)
    data[begin + int(place * member.file_size)] ^= 0x10
    path = tmp_path / "flipped.zip"
    path.write_bytes(data)
    done = invoke("verify", path)
    assert done.exit_code == 1, done.output
    assert f"damaged: {member.filename}: BadZipFile: Bad CRC-32" in done.output


def test_the_rest_of_a_damaged_archive_is_checked(whole, store, tmp_path):
    """A member that is not as it was written is no reason to leave the others alone."""
    with zipfile.ZipFile(whole) as opened:
        first = next(n for n in opened.namelist() if n.startswith("store/blocks/"))
    path = rewritten(whole, tmp_path / "changed.zip", lambda m: m.update({first: b"?"}))
    verdict = pipeline.verify(path, blocks=2)
    assert verdict.damaged == [f"{first}: not as SHA256SUMS has it"]
    assert (verdict.read, verdict.solved) == (len(store.names()) - 1, 2)
    assert not verdict.ok
    done = invoke("verify", path)
    assert (done.exit_code, first in done.output) == (1, True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update({"report.html": b"better"}), "report.html: not as SHA256SUMS has it"),
        (lambda m: m.update({"more.txt": b""}), "more.txt: not as SHA256SUMS has it"),
        (lambda m: m.pop("store/LATEST"), "store/LATEST: missing"),
        (lambda m: m.update({"store/../../out": b""}), "store/../../out: a name that is none of"),
        (lambda m: m.update({"/out": b""}), "/out: a name that is none of ours"),
    ],
)
def test_what_was_changed_is_told(whole, tmp_path, change, says):
    path = rewritten(whole, tmp_path / "changed.zip", change)
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    _, damaged = unpack_archive(path, inside)
    assert [one for one in damaged if one.startswith(says)]
    assert len(damaged) == 1
    assert {p.name for p in (tmp_path, inside.parent) for p in p.iterdir()} == {
        "a",
        "b",
        "changed.zip",
    }


def test_a_directory_that_points_before_the_file_is_damage(whole, tmp_path):
    data = bytearray(whole.read_bytes())
    data[-22 + 16 : -22 + 20] = (2**32 - 16).to_bytes(4, "little")  # where the directory begins
    path = tmp_path / "damaged.zip"
    path.write_bytes(data)
    good, damaged = unpack_archive(path, tmp_path)
    assert (good, len(damaged)) == (0, 1)
    done = CliRunner().invoke(main, ["verify", str(path)])
    assert (done.exit_code, "damaged: SHA256SUMS" in done.output) == (1, True)


def test_a_bomb_is_not_unpacked(whole, tmp_path):
    path = rewritten(whole, tmp_path / "bomb.zip", lambda _: None)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("store/bomb", bytes(10**7))
    _, damaged = unpack_archive(path, tmp_path)
    assert damaged == ["store/bomb: claims to be larger than the file"]
    assert not (tmp_path / "store" / "bomb").exists()


def cut(share):
    return lambda path, whole: path.write_bytes(whole[: int(share * len(whole))])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _, __: None, "no such file"),
        (lambda path, _: path.mkdir(), "no such file"),
        (lambda path, _: path.write_text("[campaign]"), "no zip file"),
        (cut(0.0), "no zip file, or only the beginning of one"),
        (cut(0.5), "no zip file, or only the beginning of one"),
        (cut(0.9999), "no archive of kronsbl's, or only the beginning of one"),  # ends in a block
        (lambda path, _: zipfile.ZipFile(path, "w").close(), "no archive of kronsbl's"),
    ],
)
def test_other_files_are_one_line_and_exit_2(whole, tmp_path, make, says):
    path = tmp_path / "other.zip"
    make(path, whole.read_bytes())
    done = invoke("verify", path)
    assert (done.exit_code, len(done.output.splitlines())) == (2, 1), done.output
    assert str(path) in done.output
    assert says in done.output


def test_what_cannot_be_archived_is_one_line_and_exit_2(store, whole, tmp_path):
    assert "which is never changed" in invoke("verify", whole, "--restore").output
    for words in (
        ("archive", store.path, "-o", tmp_path / "x.tar"),
        ("archive", store.path, "-o", tmp_path / "no" / "x.zip"),
        ("archive", tmp_path, "-o", tmp_path / "x.zip"),
        ("archive", store.path, "-o", tmp_path / "x.zip", "--citation", tmp_path / "none.cff"),
    ):
        done = invoke(*words)
        assert (done.exit_code, len(done.output.splitlines())) == (2, 1), done.output
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_store_is_not_archived(tmp_path):
    store = store_of(campaign_with(), tmp_path / "store")
    path = store.block_path(next(name for name in store.names()))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=f"not archived: .*{path.name}.*BadZipFile"):
        archive(store, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_one_file_at_a_time_is_in_memory(tmp_path):
    size, count = 2**20, 30
    names = ["store/campaign.toml", *(f"store/blocks/{i}" for i in range(count))]

    def peak(work):
        tracemalloc.start()
        found = work()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found, most

    members = ((name, bytes(size)) for name in names)
    _, most = peak(lambda: write_archive(tmp_path / "large.zip", members))
    assert most < 4 * size
    (good, damaged), most = peak(lambda: unpack_archive(tmp_path / "large.zip", tmp_path))
    assert (good, damaged) == (count + 2, [])
    assert most < 4 * size
