"""Tuning: a best value that is known, streams of its own, going on after a break, the record."""

import tomllib
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from pydantic.dataclasses import dataclass as checked

import pipeline
from pipeline import InputError
from pipeline.analysis.remarks import tuned
from pipeline.campaign import Campaign
from pipeline.driver import tuning
from pipeline.driver.ranges import Range
from pipeline.scenarios import Measure, Scenario, Truth, metrics, normal, stream, streams
from pipeline.scenarios.base import PARAMETERS
from pipeline.store import Store
from pipeline.store.block_file import read_block
from solvers import Estimate, Problem
from tests.conftest import TINY


@checked(frozen=True, config=PARAMETERS)
class Known(Scenario):
    """y = x + n of unit variance each: ‖wy − x‖² is least at w = 1/(1 + σ²)."""

    noise: float
    measures: ClassVar = MappingProxyType(
        {
            "nmse": Measure("1", "error", "lower"),
            "gain": Measure("1", "what was not lost", "higher"),
        }
    )

    def draw(self, realizations, seed):
        x, n = (
            np.stack([normal(rng, (1000,)) for rng in streams(seed, name, realizations)])
            for name in ("signal", "noise")
        )
        noise_var = np.full(len(x), self.noise)
        return Problem(x + np.sqrt(self.noise) * n, [np.eye(1000)], noise_var), Truth(x)

    def score(self, truth, problem, estimate):
        nmse = metrics.nmse(estimate.x, truth.x)
        return {"nmse": nmse, "gain": 1.0 - nmse}


@dataclass(frozen=True)
class Weighing:
    """x̂ = wy, which fails for a weight below 0.02."""

    weight: float = 0.2
    steps: int = 1
    sign: str = "plus"

    def solve(self, problem, *, initial=None, watch=None):
        if self.weight < 0.02:
            raise RuntimeError("too light")
        sign = {"plus": 1.0, "minus": -1.0}[self.sign]
        return Estimate(sign * self.weight**self.steps * problem.y)


@pytest.fixture
def study():
    return {
        "campaign": {"name": "known", "seed": 3, "realizations": 8, "batch": 4},
        "scenario": {"use": "tests.test_tuning:Known"},
        "sweep": {"noise": [0.6, 1.4]},
        "solvers": {
            "w": {"use": "tests.test_tuning:Weighing"},
            "other": {"use": "tests.test_tuning:Weighing", "weight": 0.7},
        },
    }


def tune(tables, over, store, client, **options):
    campaign = Campaign.from_tables(tables)
    options = {"trials": 8, "realizations": 4, **options}
    return pipeline.tune(campaign, "w", over, store, client, **options)


@pytest.mark.parametrize(
    ("over", "options", "best", "within"),
    [
        (["weight=log(0.01, 1)"], {}, -3.107, 0.25),
        (["weight=linear(0, 1)"], {"measure": "gain", "statistic": "mean"}, 0.5, 0.03),
        (["weight=linear(0.2, 0.9)", 'sign=["minus", "plus"]'], {}, -3.107, 0.25),
    ],
)
def test_finds_what_is_best(study, over, options, best, within, tmp_path, client):
    """The best weight lies between those of the two points alone, 1/1.6 and 1/2.4."""
    found = tune(study, over, tmp_path / "s", client, trials=16, **options)
    table, record = found.table, found.table["tuned"]
    assert table["weight"] == pytest.approx(0.52, abs=0.15)
    assert record["value"] == pytest.approx(best, abs=within)
    assert table.get("sign", "plus") == "plus"
    better = np.less if options.get("measure") != "gain" else np.greater
    assert better(record["value"], record["before"])
    assert not found.own_are_best
    assert not better([one["value"] for one in record["neighbours"]], record["value"]).any()
    assert record["trials"] >= 16
    assert record["realizations"] == 4
    # The statistic is that of the blocks, which are a cube like any.
    pipeline.publish(tmp_path / "s")
    label = "w[" + ",".join(f"{k}={v}" for k, v in record["options"].items()) + "]"
    ds = pipeline.open_results(tmp_path / "s").sel(solver=label)
    if "measure" in options:
        expected = ds.gain.mean("realization").mean()
    else:
        expected = (10 * np.log10(ds.nmse)).median("realization").mean()
    assert record["value"] == pytest.approx(float(expected), abs=1e-3)


def test_best_at_an_end_is_said(study, tmp_path, client):
    found = tune(study, ["weight=linear(0.8, 0.9)"], tmp_path / "s", client, trials=4)
    assert found.table["weight"] == 0.8
    assert found.at_end == ["weight"]


def test_own_options_are_kept_where_they_are_best(study, tmp_path, client):
    study["solvers"]["w"]["sign"] = "plus"
    found = tune(study, ['sign=["minus", "plus"]'], tmp_path / "s", client, trials=2)
    assert found.table["sign"] == "plus"
    assert found.table["tuned"]["value"] == found.table["tuned"]["before"]
    assert found.own_are_best
    assert tomllib.loads(str(found))["solvers"]["w"]["tuned"]["own_are_best"] is True


def test_own_options_outside_the_ranges_are_said_to_be_best(study, tmp_path, client):
    study["solvers"]["w"]["weight"] = 0.52
    found = tune(study, ["weight=linear(0.8, 0.9)"], tmp_path / "s", client, trials=2)
    assert found.own_are_best
    assert found.table["tuned"]["before"] < found.table["tuned"]["value"]


def test_goes_on_where_it_was(study, tmp_path, client, monkeypatch):
    """The same trials again, of which only those that are missing are computed."""
    over, whole = ["weight=log(0.01, 1)"], tmp_path / "whole"
    expected = tune(study, over, whole, client)
    calls, compute = [], tuning.run

    def failing(campaign, **options):
        calls.append(campaign)
        if len(calls) == 3:
            raise OSError("no space left on device")
        return compute(campaign, **options)

    monkeypatch.setattr(tuning, "run", failing)
    with pytest.raises(OSError, match="no space"):
        tune(study, over, tmp_path / "part", client)
    before = Store.of(tmp_path / "part").names()
    times = {
        name: Store.of(tmp_path / "part").block_path(name).stat().st_mtime_ns for name in before
    }
    assert tune(study, over, tmp_path / "part", client).table == expected.table
    after = Store.of(tmp_path / "part")
    assert after.names() == Store.of(whole).names()
    assert {name: after.block_path(name).stat().st_mtime_ns for name in before} == times
    # Where nothing is missing no worker is started.
    monkeypatch.setattr(tuning, "connect", lambda *_, **__: pytest.fail("workers are started"))
    assert tune(study, over, whole, None).table == expected.table


@given(st.integers(0, 2**70), st.integers(0, 2**70), st.text(max_size=9), st.integers(0, 10**9))
def test_streams_are_disjoint_from_those_of_any_campaign(one, other, ingredient, realization):
    """No seed of a campaign has the key of a seed of tuning, be the ingredient what it may."""
    mine = stream(tuning.tuning_seed(one), ingredient, realization).bit_generator.state
    theirs = stream(other, ingredient, realization).bit_generator.state
    assert (mine["state"]["key"] != theirs["state"]["key"]).any()
    assert tuning.tuning_seed(one) < 0
    assert (tuning.tuning_seed(one) == tuning.tuning_seed(other)) == (one == other)


def test_every_block_is_of_a_seed_that_no_campaign_can_have(study, tmp_path, client):
    tune(study, ["weight=linear(0.2, 0.9)"], tmp_path / "s", client, trials=2)
    store = Store.of(tmp_path / "s")
    seeds = {configuration.spec["seed"] for configuration in store.asked().configurations}
    assert seeds == {-4}
    assert all(read_block(store.file(name)).cells.size for name in store.names())
    with pytest.raises(InputError, match="seed"):
        Campaign.from_tables(store.asked().tables)
    assert pipeline.verify(store, blocks=2, code=None).ok


def test_record_changes_no_key_and_is_shown(tiny, tmp_path, client):
    record = {"options": {"prune": 1e-3}, "statistic": "median", "value": -9.5, "seed": -6}
    record |= {"over": {"prune": "log(1e-4, 1)"}, "neighbours": [{"prune": 2e-3, "value": -8.0}]}
    record |= {"before": -9.0, "trials": 5, "realizations": 10}
    tiny["solvers"]["svd"]["prune"] = 1e-3
    plain = Campaign.from_tables(tiny)
    tiny["solvers"]["svd"]["tuned"] = record
    recorded = Campaign.from_tables(tiny)
    assert [b.files for b in plain.blocks()] == [b.files for b in recorded.blocks()]
    pipeline.run(plain, tmp_path / "s", client)
    pipeline.run(recorded, tmp_path / "s", client)
    [line] = tuned(pipeline.open_results(tmp_path / "s"))
    assert "svd was tuned, prune over log(1e-4, 1), by median: -9.5" in line
    tiny["solvers"]["svd"]["prune"] = 1e-2
    with pytest.raises(InputError, match=r"is of prune = 0\.001, and the table has 0\.01"):
        Campaign.from_tables(tiny)
    for part in ({}, {"foo": 1}, {k: v for k, v in record.items() if k != "value"}):
        tiny["solvers"]["svd"]["tuned"] = part
        with pytest.raises(InputError, match="must be a record, as `kronsbl tune` writes it"):
            Campaign.from_tables(tiny)


@given(
    st.sampled_from(["log(1e-3, 5)", "linear(-1, 2.5)", "integer(2, 9)", "[1, 4, 0.5]"]),
    st.floats(0, 1),
)
def test_values_and_neighbours_lie_in_their_range(text, share):
    one = Range.of(f"option={text}")
    if one.kind == "choice":
        drawn = round(share * 2)
    else:
        drawn = one.ends[0] + share * (one.ends[1] - one.ends[0])
        drawn = round(drawn) if one.kind == "integer" else drawn
    value = one.value(drawn)
    beside = one.neighbours(value)
    assert 1 <= len(beside) <= 2
    assert value not in beside
    assert all(one.holds(v) for v in [value, *beside])


@pytest.mark.parametrize(
    ("over", "message"),
    [
        (["weight"], "two values or more"),
        (["weight=log(0, 1)"], "begins above 0"),
        (["weight=linear(1, 0)"], "two values or more"),
        (["weight=linear(a, 1)"], "could not convert"),
        (["weight=linear(0, inf)"], "two values or more"),
        (["steps=integer(1, 2.5)"], "invalid literal"),
        (["sign=[1]"], "two values or more"),
        (["sign=[1, x]"], "Invalid"),
        (["wait=log(1, 2)"], "did you mean 'weight'"),
        (["weight=log(1, 2)", "weight=log(1, 2)"], "one range for each option"),
        ([], "one range for each option"),
    ],
)
def test_ranges_that_are_none(study, over, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        tune(study, over, tmp_path / "s", None)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "s").exists()


def test_command(kronsbl, tmp_path):
    """Bad input is a line and exit status 2; what comes out can be pasted."""
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(TINY))
    for words, message in (
        (["--solver", "sdv", "--over", "prune=log(1e-3, 1e-1)"], "did you mean 'svd'?"),
        (["--solver", "svd", "--over", "prune=linear(-1, 1)"], "must be at least 0"),
        (["--solver", "svd", "--over", "prune=[0.1, 'x', 0.2]"], "of type float, got 'x'"),
    ):
        done = kronsbl("tune", file, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    words = ["--over", "prune=log(1e-3, 1e-1)", "--trials", "2", "--realizations", "3"]
    done = kronsbl("tune", file, "--solver", "svd", *words, "--workers", "1", "-q")
    assert done.returncode == 0, done.stderr
    pasted = {**TINY, "solvers": tomllib.loads(done.stdout)["solvers"]}
    assert Campaign.from_tables(pasted).entries[0].label == "svd"
    assert (tmp_path / "results" / "tiny-tuning-svd").is_dir()
