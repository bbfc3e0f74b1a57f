"""The timing lane: latencies beside the campaign's numbers, never mixed with them."""

import numpy as np
import pytest
import tomli_w
from click.testing import CliRunner

import pipeline
from pipeline import Campaign
from pipeline.cli import main
from pipeline.driver.preparation import prepare
from pipeline.solving import process, provenance
from pipeline.solving.latency import measure
from pipeline.store.timings import timing_key, timings_of


@pytest.fixture
def store(tiny, tmp_path):
    return prepare(Campaign.from_tables(tiny), tmp_path / "store")[0]


def timed_cube(store, **options):
    campaign = store.last_campaign()
    measure(campaign.configurations, store, of=campaign.realizations, **options)
    pipeline.publish(store)
    return pipeline.open_results(store)


def test_latency_of_a_random_subset(store):
    turns = []
    cube = timed_cube(store, realizations=4, repeats=2, progress=lambda *turn: turns.append(turn))
    assert turns == [(n, 2 * 4 * 4) for n in range(1, 33)]
    assert cube.latency.dims == ("timing_host", *cube.status.dims)
    measured = cube.latency.notnull()
    assert (measured.sum("realization") == 4).all()
    assert (measured.any(["timing_host", "solver", "snr_db"]).sum() == 4).all()
    assert (cube.latency.where(measured, 1.0) > 0).all()
    assert (cube.peak_memory > 1000).all()
    assert (cube.status == 0).all()
    assert cube.latency.attrs["units"] == "s"


def test_hosts_are_kept_apart(store, monkeypatch):
    timed_cube(store, realizations=2, repeats=1)
    here = dict(provenance.of_process())
    monkeypatch.setattr(provenance, "of_process", lambda: here | {"cpu": "another"})
    cube = timed_cube(store, realizations=3, repeats=1)
    assert cube.sizes["timing_host"] == 2
    timed = cube.latency.notnull().sum("realization")
    assert sorted(timed.isel(solver=0, snr_db=0).values.tolist()) == [2, 3]


def test_what_failed_has_no_latency(tiny, tmp_path):
    tiny["solvers"]["bad"] = {"use": "tests.troublemakers:Trouble"}  # where y[0] > 0
    cube = timed_cube(prepare(Campaign.from_tables(tiny), tmp_path / "store")[0], repeats=1)
    assert cube.latency.sel(solver="svd").notnull().all()
    assert 0 < cube.latency.sel(solver="bad").notnull().sum() < cube.latency[:, 0].size


def test_key_does_not_know_of_batches(tiny):
    configuration = Campaign.from_tables(tiny).configurations[0]
    tiny["campaign"]["batch"] = 2
    assert timing_key(Campaign.from_tables(tiny).configurations[0]) == timing_key(configuration)
    tiny["solvers"]["svd"]["prune"] = 0.5
    assert timing_key(Campaign.from_tables(tiny).configurations[0]) != timing_key(configuration)


def test_command(tiny, tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(tomli_w.dumps(tiny))
    at = str(tmp_path / "store")
    arguments = ["time", str(path), "--store", at, "--realizations", "2", "--repeats", "1"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    ((_, timings),) = timings_of(pipeline.Store(at)).values()
    assert all(len(t.realizations) == 2 for t in timings.values())
    assert np.isfinite(np.concatenate([t.latency for t in timings.values()])).all()


def test_memory_setting_does_no_harm():
    process.keep_memory()
    assert process.one_blas_thread() == 1
