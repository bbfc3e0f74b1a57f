"""What scripts and notebooks get: the accessor of cubes, tables of results, one line for misuse."""

import dataclasses
from html.parser import HTMLParser
from types import SimpleNamespace
from unittest.mock import NonCallableMock

import distributed
import pytest
import xarray as xr
from click.shell_completion import ShellComplete
from click.testing import CliRunner

import pipeline
from pipeline import Campaign, InputError, analysis, html
from pipeline.cli import main


@pytest.fixture(scope="module")
def done(tmp_path_factory, client):
    """A finished run, its store beside it."""
    from tests.conftest import TINY

    return pipeline.run(
        Campaign.from_tables(TINY), tmp_path_factory.mktemp("done") / "store", client
    )


def test_a_notebook_gets_a_bar_and_nobody_else(done, client, monkeypatch):
    assert html.notebook_progress() is None
    shown = []
    handle = SimpleNamespace(update=lambda page: shown.append(page.data))
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel="python3"))
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: handle)
    campaign = pipeline.Store.open(done.store).last_campaign()
    pipeline.run(campaign, done.store.parent / "in-a-notebook", client)
    assert len(shown) >= 1
    assert '<progress max="24" value="24">' in shown[-1]
    assert "24/24 cells, workers: 2" in shown[-1]
    shown.clear()
    told = []
    pipeline.run(campaign, done.store, client, progress=told.append)
    assert (len(told), shown) == (1, [])


class Tables(HTMLParser):
    """Rows of all tables; asserts that tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += [data.strip()] if data.strip() else []


def test_an_opened_cube_and_its_parts_have_statistics_and_figures(done):
    cube = pipeline.open_results(done.store)
    xr.testing.assert_identical(cube.kronsbl.summary(), analysis.summarize(cube))
    xr.testing.assert_identical(
        cube.kronsbl.compare("svd", "srr"), analysis.compare(cube, "svd", "srr")
    )
    part = cube.sel(snr_db=[20])
    assert part.kronsbl.summary("srr").sizes["snr_db"] == 1
    assert part.kronsbl.plot("cdf", "srr").axes[0].get_xlabel() == "support recovery rate"
    assert cube.kronsbl.verdict("svd") == ""  # against an oracle there is nothing to win
    with pytest.raises(InputError, match="not a result cube"):
        xr.Dataset({"a": 1}).kronsbl.plot()


def test_notebooks_show_runs_plans_and_replays_as_tables(done, tiny):
    replay = pipeline.replay(done.store, "svd", 3, snr_db=20)
    assert "array" not in repr(replay)
    words = Tables(replay._repr_html_()).words
    assert words[0] == "Replay"
    assert words[words.index("realization") + 1] == "3"
    assert f"{replay.cell['nmse']:.6g}" in words
    words = Tables(done._repr_html_()).words
    assert words[words.index("counts.total") + 1] == str(done.counts.total)
    words = Tables(dataclasses.replace(done, stopped={"svd": "a < <b>"})._repr_html_()).words
    assert "a < <b>" in words
    words = Tables(pipeline.plan(Campaign.from_tables(tiny))._repr_html_()).words
    assert words[words.index("cells") + 1] == "24"
    assert {"label", "svd", "oracle"} <= set(words)


def test_an_asynchronous_client_is_refused_before_anything_is_done(tiny, tmp_path):
    its_own = NonCallableMock(spec=distributed.Client, asynchronous=True)
    with pytest.raises(InputError, match="without asynchronous=True"):
        pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", its_own)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "begun", "known"),
    [
        (["plot", "STORE", "--measure"], "", {"nmse", "srr"}),
        (["summary", "STORE", "--measure"], "sr", {"srr"}),
        (["replay", "STORE", "--solver"], "s", {"svd"}),
        (["compare", "STORE", "--reference"], "", {"svd", "oracle"}),
        (["replay", "STORE", "--solver", "svd"], "--sn", {"--snr_db"}),
        (["plot", "STORE"], "--styl", {"--style"}),
        (["plot", "nowhere", "--measure"], "", set()),
    ],
)
def test_shells_complete_what_a_store_knows(done, words, begun, known):
    words = [str(done.store) if word == "STORE" else word for word in words]
    found = ShellComplete(main, {}, "kronsbl", "_KRONSBL_COMPLETE").get_completions(words, begun)
    values = {item.value for item in found}
    assert known <= values
    assert all(value.startswith(begun) for value in values)
    assert known or not values


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_says_how_it_ends(name):
    said = CliRunner().invoke(main, [name, "-h"]).output
    assert "Exit status: 0 done; 1" in " ".join(said.split())
