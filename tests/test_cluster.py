"""Doors: who can reach a cluster, and what happens when there is none."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import distributed
import psutil
import pytest
import tomli_w

import pipeline
from pipeline import Campaign, InputError, Store
from pipeline.cluster import connect, private_folder
from pipeline.settings import ClusterSettings
from pipeline.workers import check_workers
from tests.storm import OwnCluster

BIN = Path(sys.executable).parent


@pytest.fixture
def own_cluster(tmp_path):
    """Scheduler and workers as somebody else would start them, without encryption."""
    cluster = OwnCluster(tmp_path)
    cluster.repair()
    yield cluster
    cluster.close()


def listening(process):
    """Addresses that a process and its children listen on."""
    found = set()
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            found |= {c.laddr for c in one.net_connections("tcp") if c.status == "LISTEN"}
    return found


def is_http(address):
    """Whether plain HTTP gets an answer there: a dashboard."""
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=5) as plain:
        plain.sendall(b"GET /info HTTP/1.0\r\n\r\n")
        return plain.recv(4).startswith(b"HTTP")
    return False


def lets_in(address):
    """Whether Dask's handshake succeeds there without the credentials of the run."""
    strangers = distributed.Security.temporary().get_connection_args("client")

    async def knock(url, **options):
        try:
            comm = await distributed.comm.connect(url, timeout=3, **options)
        except OSError:
            return False
        comm.abort()
        return True

    async def knock_both_ways():
        place = f"{address.ip}:{address.port}"
        return await knock(f"tcp://{place}") or await knock(f"tls://{place}", **strangers)

    return asyncio.run(knock_both_ways())


def test_local_run_can_only_be_reached_from_here_and_with_its_credentials(tiny, tmp_path):
    tiny["campaign"] |= {"realizations": 4000, "batch": 5}
    study = tmp_path / "study.toml"
    study.write_text(tomli_w.dumps(tiny))
    run = psutil.Popen(
        [BIN / "kronsbl", "run", study, "--store", tmp_path / "store", "--workers", "2", "--quiet"]
    )
    try:
        while not list((tmp_path / "store").glob("blocks/*/*")):
            assert run.poll() is None
            time.sleep(0.05)
        addresses = listening(run)
        assert len(addresses) >= 5  # scheduler, two nannies, two workers
        assert {a.ip for a in addresses} == {"127.0.0.1"}
        doors = [a for a in addresses if not is_http(a)]
        assert len(doors) >= 5
        assert not any(lets_in(door) for door in doors)
    finally:
        run.kill()
        run.wait()


def test_the_test_above_would_notice_an_open_door(own_cluster):
    doors = listening(psutil.Process(own_cluster.scheduler.pid))
    assert any(lets_in(door) for door in doors if not is_http(door))


def test_unencrypted_cluster_is_used_with_a_warning(tiny, tmp_path, own_cluster, caplog):
    import json

    campaign = Campaign.from_tables(tiny)
    by_file = pipeline.run(campaign, tmp_path / "one", cluster=str(own_cluster.file))
    assert by_file.ok
    address = json.loads(own_cluster.file.read_text())["address"]
    assert address.startswith("tcp://")
    assert "neither encrypted nor authenticated" not in caplog.text
    by_address = pipeline.run(campaign, tmp_path / "two", cluster=address)
    assert by_address.ok
    assert "neither encrypted nor authenticated" in caplog.text


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ("cloud", "neither local, slurm, an address"),
        ("nowhere.json", "neither local, slurm, an address"),
        ("tls://127.0.0.1:1", "cannot be reached"),
        ("gopher://127.0.0.1:1", "cannot be reached"),
        ("slurm", "needs cores, memory, walltime, jobs in the table [cluster], for example: cores"),
    ],
)
def test_clusters_that_are_none(tiny, tmp_path, cluster, message):
    with pytest.raises(InputError) as caught:
        pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", cluster=cluster)
    assert message in str(caught.value)


def test_a_scheduler_file_that_goes_just_then(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.cluster.check_cluster", lambda *_: None)
    with (
        pytest.raises(InputError, match=r"not the file of a scheduler: FileNotFoundError"),
        connect(str(tmp_path / "gone.json")),
    ):
        pass


def test_no_slurm_on_this_machine(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    tiny["cluster"] = {"cores": 1, "memory": "1GB", "walltime": "00:10:00", "jobs": 1}
    with pytest.raises(InputError, match="there is no sbatch on this machine"):
        pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", cluster="slurm")
    assert not list((tmp_path / "store").glob(".private-*"))


def test_cluster_without_workers(tiny, tmp_path):
    scheduler = OwnCluster(tmp_path)
    scheduler.nannies = []
    scheduler.repair()
    for nanny in scheduler.nannies:
        nanny.kill()
        nanny.wait()
    tiny["cluster"] = {"start_timeout": 2.0}
    try:
        with pytest.raises(InputError, match="no worker came within 2 s"):
            pipeline.run(
                Campaign.from_tables(tiny), tmp_path / "store", cluster=str(scheduler.file)
            )
    finally:
        scheduler.close()


def test_workers_that_all_go_away(tiny, tmp_path, own_cluster):
    tiny["campaign"] |= {"realizations": 400, "batch": 1}
    tiny["cluster"] = {"start_timeout": 10.0}
    tiny["solvers"] = {"slow": {"use": "tests.troublemakers:Slow", "seconds": 0.1}}
    campaign, store = Campaign.from_tables(tiny), tmp_path / "store"

    def strike(counts):
        if counts.done > 5:
            for nanny in own_cluster.nannies:
                nanny.kill()

    with pytest.raises(pipeline.errors.ClusterLost, match="no worker for 10 s"):
        pipeline.run(campaign, store, cluster=str(own_cluster.file), progress=strike)
    assert len(Store.open(store).keys()) > 5


def test_worker_of_another_version(tmp_path, client, monkeypatch):
    monkeypatch.setattr("pipeline.work.VERSION", "99.0")
    with pytest.raises(InputError, match=r"runs kronsbl .*, this is 99\.0: use the same"):
        check_workers(client, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace")
def test_store_that_workers_cannot_see(tiny, tmp_path):
    cluster = OwnCluster(tmp_path)
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    try:
        cluster.repair()
        for nanny in cluster.nannies:
            nanny.kill()
            nanny.wait()
        command = f"mount -t tmpfs tmpfs {hidden} && exec {BIN}/dask worker --nthreads 1 "
        command += f"--host 127.0.0.1 --scheduler-file {cluster.file} --no-dashboard"
        worker = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        cluster.nannies = [worker]
        with pytest.raises(InputError, match=r"cannot see .*hidden/store: put the store on a file"):
            pipeline.run(Campaign.from_tables(tiny), hidden / "store", cluster=str(cluster.file))
        assert Store.open(hidden / "store").keys() == set()
    finally:
        cluster.close()


def test_private_folder_is_private_and_goes(tmp_path):
    with private_folder(tmp_path / "store") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "key").write_text("secret")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("walltime", "seconds"), [("00:10:00", 600), ("4:00:00", 14400), ("2-01:00:00", 176400)]
)
def test_walltime(walltime, seconds):
    assert ClusterSettings(walltime=walltime).seconds == seconds


def test_local_workers_have_one_blas_thread_from_the_start():
    import threadpoolctl

    with connect("local", workers=1) as own:
        # Before any task has had a chance to limit it.
        info = own.run(
            lambda: (
                __import__("numpy"),
                __import__("scipy.linalg"),
                threadpoolctl.threadpool_info(),
            )[-1]
        )
    [pools] = info.values()
    assert pools
    assert {pool["num_threads"] for pool in pools} == {1}


@pytest.mark.parametrize("value", ["1", "1/", "3/3", "-1/2", "a/b", "0/0"])
def test_bad_shards(tiny, tmp_path, value):
    from click.testing import CliRunner

    from pipeline.cli import main

    study = tmp_path / "study.toml"
    study.write_text(tomli_w.dumps(tiny))
    done = CliRunner().invoke(main, ["run", str(study), "--shard", value])
    assert done.exit_code == 2
    assert "expected I/N" in done.output


def test_shards_share_the_blocks_out(tiny, tmp_path, client):
    campaign, store = Campaign.from_tables(tiny), tmp_path / "store"
    done = []
    for part in (2, 0, 1):
        result = pipeline.run(campaign, store, client, shard=(part, 3))
        assert result.cube is None
        assert (result.counts.before, result.counts.total) == (0, result.counts.done)
        done.append(result.counts.done)
        assert not (store / "LATEST").exists()
    assert sum(done) == 24
    assert all(done)
    assert pipeline.run(campaign, store, client, shard=(1, 3)).counts.done == 0
    pipeline.publish(Store.open(store))
    assert pipeline.open_results(store).attrs["complete"] == 1
