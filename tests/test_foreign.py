"""A store that somebody sent: looking runs nothing of it, solving only what the user allows."""

import importlib
import json
import os
import shutil
import sys
import tomllib
import zipfile

import pytest
import tomli_w
from click.testing import CliRunner

import pipeline
from pipeline import Campaign, InputError, Store
from pipeline.campaign.files import make_importable, why_not_importable
from pipeline.campaign.request import Request
from pipeline.cli import main
from pipeline.solving import provenance
from pipeline.solving.outcome import solve_block

MODULE = "from_elsewhere"

CODE = """
import dataclasses, pathlib, solvers

pathlib.Path({ran!r}).touch()

@dataclasses.dataclass(frozen=True)
class Mine:
    requires = ("true_variance",)
    def solve(self, problem, *, initial=None, watch=None):
        return solvers.create("oracle_ls").solve(problem)
"""


@pytest.fixture
def code(tmp_path):
    """A folder with a solver, which leaves a file where it is imported."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / f"{MODULE}.py").write_text(CODE.format(ran=str(tmp_path / "ran")))
    return folder


@pytest.fixture
def store(tiny, tmp_path, code, monkeypatch):
    """A finished store of this user with that solver, beside its campaign's folder."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    make_importable(code, {})
    tiny["solvers"]["mine"] = {"use": f"{MODULE}:Mine"}
    campaign = Campaign.from_tables(tiny)
    store = Store.create(tmp_path / "store", campaign)
    store.add_request(Request.of(campaign, provenance.of_request(code)))
    for block in campaign.blocks():
        store.write(block, solve_block(block))
    pipeline.publish(store)
    sys.path.remove(str(code))
    forget(tmp_path)
    yield store
    sys.modules.pop(MODULE, None)


def forget(folder):
    sys.modules.pop(MODULE, None)
    importlib.invalidate_caches()
    (folder / "ran").unlink(missing_ok=True)


def said_to_come_from(store, folder):
    """The same store, whose request names another folder."""
    path = store.path / store.requests()[-1]
    tables = tomllib.loads(path.read_text())
    tables["request"]["folder"] = folder
    path.write_text(tomli_w.dumps(tables))


def call(*words):
    return CliRunner().invoke(main, list(map(str, words)))


LOOKING = [
    ["status"],
    ["status", "--json"],
    ["publish", "--force"],
    ["summary"],
    ["plot", "-o", "figure.png"],
    pytest.param(["report", "-o", "report.html"], marks=pytest.mark.slow),
    ["export", "-o", "cube.csv"],
    ["gc"],
]


@pytest.mark.parametrize("words", LOOKING, ids=" ".join)
def test_looking_needs_no_code_and_runs_none(store, code, tmp_path, monkeypatch, words):
    """Whether it is there or not, also for whoever stands in the store."""
    shutil.copy(code / f"{MODULE}.py", store.path)
    said_to_come_from(store, ".")
    monkeypatch.chdir(store.path)
    if "-o" in words:
        words = [*words[:-1], tmp_path / words[-1]]
    done = call(words[0], ".", *words[1:])
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "ran").exists()


def test_a_store_of_ones_own_is_solved_again_with_its_code(store):
    verdict = pipeline.verify(store, blocks=99)
    assert (verdict.solved, verdict.skipped, verdict.ok) == (12, [], True)
    assert pipeline.replay(store, "mine", 0, snr_db=10).stored is not None
    assert store.last_campaign().entries[-1].label == "mine"


def test_an_archive_is_somebody_elses(store, code, tmp_path):
    """Even one's own: it may name any folder of this machine."""
    path = pipeline.archive(store, tmp_path / "mine.zip")
    assert f"`{MODULE}:Mine`" in zipfile.ZipFile(path).read("README.md").decode()
    verdict = pipeline.verify(path, blocks=99)
    assert (verdict.solved, len(verdict.skipped), verdict.ok) == (8, 4, True)
    assert all("--code" in reason for reason in verdict.skipped)
    assert not (tmp_path / "ran").exists()
    verdict = pipeline.verify(path, blocks=99, code=code)
    assert (verdict.solved, verdict.skipped, verdict.ok) == (12, [], True)
    assert (tmp_path / "ran").exists()


FOREIGN = {
    "code in the store": lambda store: str(store.path),
    "a folder below it": lambda store: str(store.path / "blocks"),
    "a relative folder": lambda _: ".",
    "a folder that is not here": lambda store: str(store.path.parent / "gone"),
    "no folder": lambda _: "",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_code_of_a_foreign_store_is_not_run(store, code, tmp_path, monkeypatch, kind):
    for place in (store.path, store.path / "blocks"):
        shutil.copy(code / f"{MODULE}.py", place)
    said_to_come_from(store, FOREIGN[kind](store))
    monkeypatch.chdir(store.path)
    verdict = pipeline.verify(store, blocks=99)
    assert (verdict.solved, len(verdict.skipped), verdict.ok) == (8, 4, True)
    assert all("--code" in reason for reason in verdict.skipped)
    assert pipeline.replay(store, "oracle", 0, snr_db=10).stored is not None
    for command in (
        ["replay", ".", "--solver", "mine", "--realization", "0", "--snr_db", "10"],
        ["rescore", "."],
    ):
        done = call(*command)
        assert (done.exit_code, "--code" in done.output) == (2, True)
    assert not (tmp_path / "ran").exists()
    assert not {str(store.path), str(store.path / "blocks"), "."} & set(sys.path)


def test_a_store_of_another_user_is_foreign(store, code, monkeypatch):
    assert why_not_importable(code, store.path) == ""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "another user" in why_not_importable(code, store.path)
    assert len(pipeline.verify(store, blocks=99).skipped) == 4


def test_code_that_the_user_names_is_run(store, code, tmp_path):
    said_to_come_from(store, "")
    done = call("verify", store.path, "--blocks", "99", "--code", code)
    assert done.exit_code == 0, done.output
    assert "12 solved again" in done.output
    assert (tmp_path / "ran").exists()
    where = ["--solver", "mine", "--realization", "0", "--snr_db", "10", "--code", code]
    assert call("replay", store.path, *where).exit_code == 0


def test_not_even_by_name_is_code_in_a_store_run(store, code, tmp_path):
    shutil.copy(code / f"{MODULE}.py", store.path)
    said_to_come_from(store, "")
    done = call("verify", store.path, "--code", store.path)
    assert (done.exit_code, "of which nothing is run" in done.output) == (2, True)
    (store.path / "study.toml").write_text(tomli_w.dumps(dict(store.asked().tables)))
    with pytest.raises(InputError, match="of which nothing is run"):
        Campaign.load(store.path / "study.toml")
    assert not (tmp_path / "ran").exists()


def test_a_kind_of_figure_is_not_looked_for_in_a_store(store, tmp_path, monkeypatch):
    (store.path / "figure_of_mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(store.path)
    done = call("plot", ".", "-o", tmp_path / "x.png", "--kind", "figure_of_mine:Kind")
    assert done.exit_code == 2
    assert not (tmp_path / "ran").exists()


def test_a_block_of_another_version_is_skipped(store):
    file = store.file(min(store.names()))
    from pipeline.solving.verification import block_of
    from pipeline.store.block_file import read_text

    tables = json.loads(read_text(file, "spec"))
    tables["configuration"]["scenario"]["version"] += 1
    with pytest.raises(ValueError, match="is now version"):
        block_of(json.dumps(tables), "")
