"""Campaigns that stop by themselves: decisions are made by campaign and blocks, nothing else."""

import json
import os
import random
import signal
import subprocess
import time
import zipfile
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import tomli_w
import xarray as xr

import pipeline
from pipeline import Campaign, InputError, Store, open_results
from pipeline.analysis import compare, stopped, summarize
from pipeline.analysis.remarks import notes, realizations
from pipeline.campaign.blocks import Block
from pipeline.campaign.request import Request
from pipeline.cli import tables, terminal
from pipeline.cli.running import _troubles
from pipeline.driver.forecast import Forecast
from pipeline.driver.preparation import prepare
from pipeline.driver.rescore import rescore
from pipeline.driver.stages import Stages
from pipeline.solving import provenance
from pipeline.store.block_file import BlockData
from pipeline.store.decisions import Reason
from pipeline.store.pending import pending_blocks
from pipeline.store.state import state_of
from solvers import Status
from tests.storm import BIN


@dataclass(frozen=True)
class Choosy:
    """Applies to nothing."""

    def applies(self, problem):
        return "nothing will do"

    def solve(self, problem, *, initial=None, watch=None):
        raise AssertionError


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Power cuts are for other tests."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def study(tiny):
    """Tables of a campaign with [stop], of three solvers whose blocks are made up."""
    tiny["campaign"] |= {"realizations": 500, "batch": 10}
    use = "tests.troublemakers:Slow"
    tiny["solvers"] = {
        n: {"use": use, "seconds": 1e-4 * (1 + i)} for i, n in enumerate(["a", "b", "ref"])
    }
    tiny["stop"] = {"minimum": 40, "target": [{"reference": "ref", "half_width": 1.0}]}
    return tiny


def made_up(block, *, failing=0.0, seed=0):
    """A block of that configuration: NMSE that differs by solver and point, and failures of a."""
    label, at = block.configuration.label, block.configuration.grid_index[1:]
    cells = np.zeros(len(block.realizations), [("nmse", "f8"), ("runtime", "f8"), ("status", "u1")])
    for row, realization in enumerate(block.realizations):
        common = np.random.default_rng([seed, *at, realization]).normal()
        own = np.random.default_rng([seed + 1, *at, realization, ord(label[0])])
        cells[row] = 10 ** (common + (0.15 + 0.1 * sum(at)) * own.normal()), 1e-3, Status.CONVERGED
        if label == "a" and own.random() < failing:
            cells[row] = np.nan, np.nan, Status.DIVERGED
    meta = {**provenance.of_process(), "elapsed": 1.0, "paused": 0.0, "failures": {}}
    return BlockData(cells, meta)


def begin(tables, folder, shard=None):
    """Prepared stages of a run, and the blocks that they begin with."""
    prepared = prepare(Campaign.from_tables(tables), folder)
    store, campaign = prepared.store, prepared.campaign
    find = (prepared.configurations, campaign.realizations, store.names())
    mine = None if shard is None else pending_blocks(*find, shard=shard)
    stages = Stages(store, store.asked(), pending_blocks(*find), mine)
    return store, stages, blocks_of(stages.begin())


def blocks_of(parts):
    return [Block(part.configuration, index) for part in parts for index in part.todo]


def simulate(
    tables, folder, *, rng=None, workers=1, ahead=False, dies_after=None, shard=None, **how
):
    """A run whose workers finish in any order; False where it is killed on the way."""
    rng = rng or random.Random(0)
    store, stages, queue = begin(tables, folder, shard)
    running, done = [], 0
    while True:
        rng.shuffle(queue)
        while queue and len(running) < workers:
            running.append(queue.pop())
        while ahead and len(running) < workers and (found := stages.ahead()):
            running.append(Block(*found))
        if not running:
            return True
        block = running.pop(rng.randrange(len(running)))
        store.write(block, made_up(block, **how))
        done += 1
        if done == dies_after:
            return False
        queue += blocks_of(stages.done([block]))


def decisions_of(folder):
    return {p.name: p.read_text() for p in (folder / "decisions").glob("*.json")}


def cube_of(folder):
    pipeline.publish(folder)
    return open_results(folder).load()


def assert_same(folder, expected):
    assert decisions_of(folder) == decisions_of(expected)
    xr.testing.assert_identical(cube_of(folder).drop_attrs(), cube_of(expected).drop_attrs())


@pytest.mark.parametrize(("workers", "scope"), [(1, "point"), (2, "all"), (16, "point")])
def test_order_company_and_deaths_change_nothing(study, tmp_path, workers, scope):
    study["stop"]["scope"] = scope
    simulate(study, tmp_path / "plain")
    rng = random.Random(workers)
    for ahead in (False, True):
        folder = tmp_path / f"store-{ahead}"
        while not simulate(
            study,
            folder,
            rng=rng,
            workers=workers,
            ahead=ahead,
            dies_after=rng.randrange(1, 60),
        ):
            pass
        assert_same(folder, tmp_path / "plain")
    cube = cube_of(tmp_path / "plain")
    assert cube.attrs["complete"] == 1
    assert (cube.stop_reason == Reason.PRECISE).all()
    assert len(set(cube.asked.values)) == (1 if scope == "all" else 2)


def test_shards_wait_for_each_other(study, tmp_path):
    simulate(study, tmp_path / "plain")
    rounds = 0
    while not (store := tmp_path / "store").exists() or state_of(Store(store)).points[1].reason in (
        "none",
        "interrupted",
    ):
        rounds += 1
        for part in range(3):
            simulate(study, store, shard=(part, 3))
    assert rounds > 1
    simulate(study, store)
    assert_same(store, tmp_path / "plain")


def test_what_lies_beyond_a_stop_changes_nothing(study, tmp_path):
    simulate(study, tmp_path / "plain")
    asked = dict(zip(range(2), cube_of(tmp_path / "plain").asked.values, strict=True))
    store, _, _ = begin(study, tmp_path / "store")
    for block in Campaign.from_tables(study).blocks():
        beyond = block.realizations.start >= asked[block.configuration.grid_index[1]]
        store.write(block, made_up(block, seed=99 if beyond else 0))
    assert begin(study, tmp_path / "store")[2] == []
    assert_same(tmp_path / "store", tmp_path / "plain")


def looks_of(folder, study):
    """Ends of all looks at the points, by the number of realizations."""
    found = {}
    for configuration in Campaign.from_tables(study).configurations[:2]:
        at = configuration.grid_index[1:]
        for path in sorted((folder / "decisions").glob("*.[0-9]*.json")):
            about = json.loads(path.read_text())
            found.setdefault(at, {}).setdefault(about["realizations"], set()).add(
                (*about["low"], *about["high"])
            )
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"campaign": {"realizations": 3000}},
        {"stop": {"target": [{"reference": "ref", "half_width": 0.6}]}},
    ],
)
def test_extension_keeps_all_earlier_looks(study, tmp_path, change):
    study["stop"]["target"][0]["half_width"] = 0.7
    study["campaign"]["realizations"] = 60
    simulate(study, tmp_path / "store")
    first, before = cube_of(tmp_path / "store"), looks_of(tmp_path / "store", study)
    for name, table in change.items():
        study[name] |= table
    simulate(study, tmp_path / "store")
    again, after = cube_of(tmp_path / "store"), looks_of(tmp_path / "store", study)
    assert (again.asked >= first.asked).all()
    assert all(before[at][n] <= after[at][n] for at in before for n in before[at])
    cells = again.isel(realization=slice(first.sizes["realization"]))
    there = first.status != 0
    xr.testing.assert_equal(cells.nmse.where(there), first.nmse.where(there))


def test_the_maximum_is_said(study, tmp_path):
    study["stop"]["target"][0]["half_width"] = 0.01
    study["campaign"]["realizations"] = 95  # looks are at 40, 60, 90, 140, …
    simulate(study, tmp_path / "store")
    cube = cube_of(tmp_path / "store")
    assert (cube.stop_reason == Reason.MAXIMUM).all()
    assert (cube.asked == 90).all()
    assert "not ±0.01 dB, after 90 of 95: maximum" in str(stopped(cube).words.values[0, 0])
    said = "median nmse, a - ref: precise to ±0.01 dB at 0 of 2 points; elsewhere: maximum"
    assert said in notes(cube)


def test_a_budget_ends_points_at_complete_looks_and_a_larger_one_goes_on(study, tmp_path):
    simulate(study, tmp_path / "plain")
    study["stop"]["core_hours"] = 40 / 3600  # a block counts a second
    simulate(study, tmp_path / "store")
    cube = cube_of(tmp_path / "store")
    assert Reason.BUDGET in cube.stop_reason
    assert cube.attrs["complete"] == 1
    assert cube.asked.sum() * 3 / 10 <= 40
    assert begin(study, tmp_path / "store")[2] == []
    study["stop"]["core_hours"] = 1.0
    simulate(study, tmp_path / "store")
    assert_same(tmp_path / "store", tmp_path / "plain")


@pytest.mark.parametrize("sign", [False, True])
def test_a_solver_without_estimates_is_the_worse_one(study, tmp_path, sign):
    study["stop"]["target"][0]["or_sign_known"] = sign
    simulate(study, tmp_path / "store", failing=0.7)
    cube = cube_of(tmp_path / "store")
    of_a = cube.isel(stop_target=0)
    assert (of_a.stop_high == np.inf).all()
    if sign:
        assert (cube.stop_reason == Reason.RESOLVED).all()
    else:
        assert (cube.stop_reason == Reason.MAXIMUM).all()
        assert "±∞" in "".join(map(str, stopped(cube).words.values.reshape(-1)))


def test_several_targets_are_judged_together(study, tmp_path):
    study["stop"]["target"] += [
        {"statistic": "share", "margin": 3.0, "reference": "ref", "half_width": 0.12},
        {"solvers": ["b"], "half_width": 3.0},
    ]
    simulate(study, tmp_path / "store")
    cube = cube_of(tmp_path / "store")
    assert cube.sizes["stop_target"] == 2 + 2 + 1
    assert (cube.stop_reason == Reason.PRECISE).all()
    half = (cube.stop_high - cube.stop_low) / 2
    assert (half <= xr.DataArray([1.0, 1.0, 0.12, 0.12, 3.0], dims="stop_target")).all()
    db = 10 * np.log10(cube.nmse)
    worse = (db.sel(solver="a") - db.sel(solver="ref") >= 3.0).where(cube.status.isel(solver=0) > 0)
    np.testing.assert_allclose(cube.stop_value.isel(stop_target=2), worse.mean("realization"))


def test_a_mean_takes_400_realizations_at_least(study, tmp_path):
    del study["stop"]["minimum"]
    study["stop"]["target"] = [{"statistic": "mean_db", "reference": "ref", "half_width": 2.0}]
    simulate(study, tmp_path / "store")
    cube = cube_of(tmp_path / "store")
    assert (cube.asked == 400).all()
    db = 10 * np.log10(cube.nmse)
    difference = (db.sel(solver="a") - db.sel(solver="ref")).mean("realization")
    np.testing.assert_allclose(cube.stop_value.isel(stop_target=0), difference)


def test_cells_beyond_the_stop_are_not_missing(study, tmp_path):
    simulate(study, tmp_path / "store", dies_after=70)
    cube = cube_of(tmp_path / "store")
    assert Reason.INTERRUPTED in cube.stop_reason
    wanted = cube.realization < cube.asked
    missing = int(((cube.status == 0) & wanted).sum())
    assert cube.attrs["missing"] == missing > 0
    assert int(summarize(cube).missing.sum()) == missing
    simulate(study, tmp_path / "store")
    cube = cube_of(tmp_path / "store")
    assert cube.attrs["complete"] == 1
    assert not summarize(cube).missing.any()
    assert (cube.status == 0).any()
    assert "unfinished" not in " ".join([realizations(cube), *notes(cube)])
    state = state_of(Store(tmp_path / "store"))
    assert state.complete
    assert "stopped: 2 of 2 points (2 precise)" in "\n".join(terminal.status_lines(state))
    shown = "\n".join(part for part in tables.summary(cube, "nmse") if isinstance(part, str))
    assert "of these 4, 0.2 are expected to be wrong" in shown


def test_statistics_have_the_intervals_that_points_were_stopped_by(study, tmp_path):
    study["stop"]["target"].append({"solvers": ["b"], "half_width": 4.0})
    simulate(study, tmp_path / "store")
    cube = cube_of(tmp_path / "store")
    found, plain = compare(cube, "ref"), compare(cube.drop_vars("asked"), "ref")
    for label, number in (("a", 0), ("b", 1)):
        one, given = found.sel(solver=label), cube.isel(stop_target=number)
        np.testing.assert_array_equal(one.median_difference_low, given.stop_low)
        np.testing.assert_array_equal(one.median_difference_high, given.stop_high)
        np.testing.assert_allclose(
            one.median_difference, plain.sel(solver=label).median_difference, rtol=1e-12
        )
    assert (found.median_difference_low < plain.median_difference_low).all()
    own, plain = summarize(cube), summarize(cube.drop_vars("asked"))
    np.testing.assert_allclose(
        10 * np.log10(own.median_high.sel(solver="b")), cube.stop_high.isel(stop_target=2)
    )
    xr.testing.assert_equal(own.median_high.sel(solver="a"), plain.median_high.sel(solver="a"))
    few = cube.isel(realization=slice(30))
    low = summarize(few).median_low
    xr.testing.assert_equal(low, summarize(few.drop_vars("asked")).median_low)


def test_verify_takes_decisions_again(study, tmp_path, monkeypatch):
    simulate(study, tmp_path / "store")
    assert pipeline.verify(tmp_path / "store", blocks=0).ok
    pipeline.publish(tmp_path / "store")
    monkeypatch.setattr("pipeline.report.archiving.cube_page", lambda _: "")
    packed = pipeline.archive(tmp_path / "store", tmp_path / "packed.zip")
    assert "decisions" in {name.split("/")[1] for name in zipfile.ZipFile(packed).namelist()[7:-1]}
    assert pipeline.verify(packed, blocks=0).ok
    path = sorted((tmp_path / "store" / "decisions").iterdir())[0]
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"low": [-1.0, *about["low"][1:]]}))
    [said] = pipeline.verify(tmp_path / "store", blocks=0).differing
    assert path.name in said


def test_rescoring_wants_nothing_that_was_not_asked_for(study, tmp_path):
    simulate(study, tmp_path / "store")
    assert rescore(tmp_path / "store", code=tmp_path) == (0, 0)


def test_a_damaged_block_leaves_its_point_undecided(study, tmp_path):
    simulate(study, tmp_path / "plain")
    simulate(study, tmp_path / "store", dies_after=20)
    store = Store(tmp_path / "store")
    name = sorted(store.names())[0]
    store.block_path(name).write_bytes(b"nonsense")
    simulate(study, tmp_path / "store")
    assert name.partition(".")[0] in " ".join(pipeline.publish(tmp_path / "store").damaged)
    simulate(study, tmp_path / "store")
    assert_same(tmp_path / "store", tmp_path / "plain")


def test_without_stop_nothing_is_new(study, tmp_path, client):
    del study["stop"]
    study["campaign"]["realizations"] = 20
    pipeline.run(Campaign.from_tables(study), tmp_path / "store", client)
    assert not (tmp_path / "store" / "decisions").exists()
    cube = open_results(tmp_path / "store")
    assert not {"asked", "stop_reason", "stop_target"} & set(cube.variables)
    assert "stop" not in cube.attrs
    assert "stop" not in Store(tmp_path / "store").asked().tables
    assert stopped(cube) is None


def test_a_run_on_workers(study, tmp_path, client):
    study["solvers"] = {"svd": {"use": "svd_krosbl"}, "ref": {"use": "oracle_ls"}}
    study["stop"]["target"][0]["half_width"] = 2.0
    campaign = Campaign.from_tables(study)
    counts = []
    result = pipeline.run(
        campaign, tmp_path / "store", client, progress=lambda c: counts.append(vars(c).copy())
    )
    assert result.ok
    last = counts[-1]
    assert last["points_done"] == last["points"] == 2
    assert last["total"] == last["done"]
    assert any("median nmse, svd - ref at snr_db=" in c["farthest"] for c in counts)
    assert all(a["total"] <= b["total"] for a, b in pairwise(counts))
    found = pipeline.run(campaign, tmp_path / "shards", client, shard=(0, 2))
    assert (found.ok, found.missing, found.waiting) == (False, 0, 2)
    [said] = _troubles(found)
    assert "waiting for others: the next looks at 2 points need blocks of other shards" in said
    for part in (1, 0, 1, 0, 1, 0, 1):
        found = pipeline.run(campaign, tmp_path / "shards", client, shard=(part, 2))
    assert found.ok
    assert decisions_of(tmp_path / "shards") == decisions_of(tmp_path / "store")
    assert pipeline.run(campaign, tmp_path / "store", client).counts.done == 0


def test_where_nothing_applies_the_first_look_is_enough(study, tmp_path):
    study["solvers"]["ref"] = {"use": f"{__name__}:Choosy"}
    simulate(study, tmp_path / "store")
    cube = cube_of(tmp_path / "store")
    assert (cube.asked == 40).all()
    assert cube.stop_value.isnull().all()


def test_a_solver_that_declines_is_left_out(study, tmp_path):
    study["solvers"]["b"] = {"use": f"{__name__}:Choosy"}
    simulate(study, tmp_path / "store")
    cube = cube_of(tmp_path / "store")
    assert cube.attrs["complete"] == 1
    assert cube.stop_low.isel(stop_target=1).isnull().all()
    assert (stopped(cube).words.isel(stop_target=1) == "does not apply").all()
    assert (cube.stop_reason == Reason.PRECISE).all()


@pytest.mark.parametrize("scope", ["point", "all"])
def test_plan_forecasts_from_a_pilot(study, tmp_path, scope):
    study["stop"] |= {"core_hours": 1e-4, "scope": scope}
    study["campaign"]["realizations"] = 5000
    campaign = Campaign.from_tables(study)
    without = pipeline.plan(campaign, tmp_path / "store")
    most = Request.of(campaign, {}).rule.looks[-1]
    assert [p.realizations for p in without.points] == [most] * 2
    assert not any(p.pilot for p in without.points)
    study["campaign"]["realizations"] = 60
    simulate(study, tmp_path / "store")
    found = pipeline.plan(campaign, tmp_path / "store")
    assert found.core_seconds < without.core_seconds
    lines = "\n".join(terminal.plan_lines(found))
    assert "0.0001 core-hours are enough for ±" in lines
    study["campaign"]["realizations"] = 5000
    study["stop"]["core_hours"] = 1.0
    simulate(study, tmp_path / "store")
    needed = cube_of(tmp_path / "store").asked.values.tolist()
    for point, asked in zip(found.points, needed, strict=True):
        assert point.precise
        assert point.pilot in (40, 60)
        assert asked / 2.5 <= point.realizations <= 2.5 * asked
    sizes = {p.realizations for p in found.points}
    assert found.cells == 3 * sum(p.realizations for p in found.points)
    assert scope == "point" or len(sizes) == 1
    if scope == "point":  # what is known needs no forecast
        assert [
            p.realizations for p in pipeline.plan(campaign, tmp_path / "store").points
        ] == needed


def test_a_budget_is_enough_for_less_the_wider_it_is(study, tmp_path):
    study["campaign"]["realizations"] = 60
    simulate(study, tmp_path / "store")
    study["campaign"]["realizations"] = 10**6
    store = Store(tmp_path / "store")
    campaign = Campaign.from_tables(study)
    forecast = Forecast(store, Request.of(campaign, {}), store.names(), lambda _, n: float(n))
    factors = [forecast.factor_within(seconds) for seconds in (10, 500, 5000, 50_000)]
    assert factors[0] == np.inf
    assert all(a > b for a, b in pairwise(factors))
    for factor, seconds in zip(factors[1:], (500, 5000, 50_000), strict=True):
        assert sum(forecast.seconds(forecast.realizations(factor))) <= seconds
        assert sum(forecast.seconds(forecast.realizations(factor / 1.2))) > seconds


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        ({"minimum": 501}, "first look takes 510 realizations, whole batches of 10, more than"),
        ({"minimum": 0}, "stop.minimum: "),
        ({"growth": 1.0}, "stop.growth: "),
        ({"confidence": 1.0}, "stop.confidence: "),
        ({"scope": "grid"}, "stop.scope: "),
        ({"core_hours": 0.0}, "stop.core_hours: "),
        ({"core_hour": 1.0}, r"core_hour: unknown key in \[stop\]; did you mean 'core_hours'"),
        ({"target": []}, "stop.target: "),
    ],
)
def test_bad_tables_are_refused(study, stop, message):
    study["stop"] |= stop
    with pytest.raises(InputError, match=message) as error:
        Campaign.from_tables(study)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"half_width": 0}, "stop.target.0.half_width: input should be greater than 0, got 0"),
        ({"half_width": -1.0}, "stop.target.0.half_width: "),
        ({"statistic": "mode"}, "stop.target.0.statistic: input should be 'median', "),
        ({"measure": "nsme"}, "stop.target.0.measure: 'nsme'; did you mean 'nmse'?"),
        ({"reference": "rex"}, "stop.target.0: no solver 'rex'; did you mean 'ref'?"),
        ({"solvers": ["c"]}, "stop.target.0: no solver 'c'; known: a, b, ref"),
        ({"solvers": []}, "stop.target.0.solvers: "),
        ({"solvers": ["ref"]}, "a solver is named twice in ref, ref"),
        ({"margin": 3.0}, "a share needs a margin"),
        ({"statistic": "share"}, "a share needs a margin"),
        ({"statistic": "share", "margin": 3.0, "reference": None}, "needs a reference"),
        ({"reference": None, "or_sign_known": True}, "or_sign_known needs a reference"),
        ({"statistic": "mean_db"}, "stop.minimum: a mean needs 400 at least, got 40"),
        ({"statistic": "mean_db", "measure": "srr"}, "srr has no mean in dB"),
        ({"halfwidth": 1.0}, r"halfwidth: unknown key in \[stop.target\]; did you mean"),
        ({"reference": "floor"}, "floor is a bound, which holds for means only"),
    ],
)
def test_bad_targets_are_refused(study, target, message):
    study["solvers"]["floor"] = {"use": "crb"}
    table = {**study["stop"]["target"][0], **target}
    study["stop"]["target"] = [{k: v for k, v in table.items() if v is not None}]
    with pytest.raises(InputError, match=message.replace("?", r"\?")) as error:
        Campaign.from_tables(study)
    assert "\n" not in str(error.value)


def test_a_variant_of_a_swept_solver_may_be_a_target(study):
    study["solvers"] = {"svd": {"use": "svd_krosbl"}}
    study["sweep"]["solvers.svd.prune"] = [0.001, 0.01]
    study["stop"]["target"] = [{"reference": "svd[prune=0.001]", "half_width": 1.0}]
    [pair] = Request.of(Campaign.from_tables(study), {}).rule.pairs
    assert pair.solver == "svd[prune=0.01]"


@pytest.mark.slow
def test_kill_9_anywhere(study, tmp_path):
    study["solvers"] = {"svd": {"use": "svd_krosbl"}, "ref": {"use": "oracle_ls"}}
    study["stop"]["target"][0]["half_width"] = 1.2
    file = tmp_path / "study.toml"
    file.write_text(tomli_w.dumps(study))
    command = [BIN / "kronsbl", "run", file, "--workers", "2", "--quiet"]
    subprocess.run([*command, "--store", tmp_path / "plain"], check=True)
    rng, store = random.Random(3), tmp_path / "store"
    for _ in range(4):
        run = subprocess.Popen([*command, "--store", store], start_new_session=True)
        before, deadline = len(list(store.glob("blocks/*/*"))), time.monotonic() + 60
        while run.poll() is None and len(list(store.glob("blocks/*/*"))) < before + 12:
            assert time.monotonic() < deadline
            time.sleep(0.01 * rng.random())
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    subprocess.run([*command, "--store", store], check=True)
    assert decisions_of(store) == decisions_of(tmp_path / "plain")
    drop = ["runtime", "host"]
    one, other = (open_results(s).load().drop_vars(drop) for s in (store, tmp_path / "plain"))
    xr.testing.assert_identical(one.drop_attrs(), other.drop_attrs())
