"""Doors: who can reach a cluster, and what happens when there is none."""

import asyncio
import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import dask
import distributed
import psutil
import pytest
import tomli_w

import pipeline
from pipeline import Campaign, InputError, Store
from pipeline.campaign.settings import ClusterSettings
from pipeline.cluster import check_workers, connect
from pipeline.cluster.credentials import private_folder
from pipeline.errors import ClusterLost, WrongWorker
from pipeline.fanout.task import Task
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
    campaign = Campaign.from_tables(tiny)
    address = json.loads(own_cluster.file.read_text())["address"]
    assert address.startswith("tcp://")
    for number, where in enumerate([str(own_cluster.file), address]):
        caplog.clear()
        assert pipeline.run(campaign, tmp_path / str(number), cluster=where).ok
        assert f"{address} is neither encrypted nor authenticated" in caplog.text


def test_encrypted_cluster_is_used_with_credentials_of_dasks_configuration(
    tiny, tmp_path, client, caplog
):
    campaign, address = Campaign.from_tables(tiny), client.scheduler_info()["address"]
    assert address.startswith("tls://")
    keys = client.cluster.security
    tls = {"cert": keys.tls_client_cert, "key": keys.tls_client_key}
    with dask.config.set(
        {"distributed.comm.tls.ca-file": keys.tls_ca_file, "distributed.comm.tls.client": tls}
    ):
        assert pipeline.run(campaign, tmp_path / "store", cluster=address).ok
    assert "neither encrypted" not in caplog.text
    with pytest.raises(InputError, match="no credentials"):
        pipeline.run(campaign, tmp_path / "other", cluster=address)


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ("cloud", "neither local, a batch system (slurm, pbs, lsf, sge), an address"),
        ("nowhere.json", "neither local, a batch system (slurm, pbs, lsf, sge), an address"),
        ("tls://127.0.0.1:1", "no credentials; name them in Dask's configuration"),
        ("tcp://127.0.0.1:1", "cannot be reached"),
        ("gopher://127.0.0.1:1", "cannot be reached"),
        (
            "tests.my_clusters:broken",
            "tests.my_clusters:broken: RuntimeError: the gateway",
        ),
        ("tests.my_clusters:leaving", "tests.my_clusters:leaving: SystemExit: no allocation left"),
        ("tests.leaving:cluster", "tests.leaving:cluster: SystemExit: 3"),
        ("tests.my_clusters:nothing", "has no attribute 'nothing'"),
        ("tests.nowhere:cluster", "No module named 'tests.nowhere'"),
        ("tests.my_clusters:number", "is a int, not a function"),
        ("tests.my_clusters:something_else", "expected a client or a cluster of Dask's, got str"),
        ("tests.my_clusters:closed", "a client that is closed"),
        ("slurm", "needs cores, walltime, jobs in the table [cluster], for example: cores = 16;"),
    ],
)
def test_clusters_that_are_none(tiny, tmp_path, cluster, message, monkeypatch):
    monkeypatch.setattr("pipeline.cluster.existing.SECONDS_TO_CONNECT", 2)
    with pytest.raises(InputError) as caught:
        pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", cluster=cluster)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["cluster", "client"])
def test_a_cluster_of_ones_own(tiny, tmp_path, name):
    from tests import my_clusters

    my_clusters.ended.clear()
    campaign, cluster = Campaign.from_tables(tiny), f"tests.my_clusters:{name}"
    result = pipeline.run(campaign, tmp_path / "store", cluster=cluster)
    assert (result.ok, result.counts.done) == (True, 24)
    assert bool(my_clusters.ended) == (name == "cluster"), "what was returned is closed"


def test_a_function_beside_the_campaign_file(tiny, tmp_path, kronsbl):
    (tmp_path / "study.toml").write_text(tomli_w.dumps(tiny))
    (tmp_path / "our_site.py").write_text("def cluster():\n    raise OSError('no credit left')\n")
    done = kronsbl("run", tmp_path / "study.toml", "--cluster", "our_site:cluster")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "our_site:cluster: OSError: no credit left" in done.stderr


def test_a_client_without_workers_is_waited_for_and_then_told_of(tiny, tmp_path):
    tiny["cluster"] = {"start_timeout": 1.0}
    campaign = Campaign.from_tables(tiny)
    with pytest.raises(ClusterLost, match="no worker came within 1 s"):
        pipeline.run(campaign, tmp_path / "store", cluster="tests.my_clusters:nobody")
    from tests import my_clusters

    with (
        my_clusters.nobody() as cluster,
        distributed.Client(cluster) as client,
        pytest.raises(ClusterLost, match="no worker came within 1 s"),
    ):
        pipeline.run(campaign, tmp_path / "store", client)
    with pytest.raises(InputError, match=r"client: expected a client .* of Dask's, got str"):
        pipeline.run(campaign, tmp_path / "store", "tls://host:1")
    assert Store.open(tmp_path / "store").names() == set()


@pytest.mark.slow
def test_scheduler_that_cannot_be_reached_is_one_line(tiny, tmp_path, kronsbl):
    (tmp_path / "study.toml").write_text(tomli_w.dumps(tiny))
    done = kronsbl("run", "study.toml", "--cluster", "tcp://127.0.0.1:1", "--quiet")
    assert done.returncode == 2
    warning, error = done.stderr.splitlines()
    assert "neither encrypted nor authenticated" in warning
    assert error.startswith("kronsbl: --cluster tcp://127.0.0.1:1: cannot be reached: ")


def test_a_scheduler_file_that_goes_just_then(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.cluster.check_cluster", lambda *_, **__: None)
    with (
        pytest.raises(InputError, match="no scheduler file"),
        connect(str(tmp_path / "gone.json")),
    ):
        pass


def test_cluster_without_workers(tiny, tmp_path):
    scheduler = OwnCluster(tmp_path)
    scheduler.nannies = []
    scheduler.repair()
    for nanny in scheduler.nannies:
        nanny.kill()
        nanny.wait()
    tiny["cluster"] = {"start_timeout": 2.0}
    try:
        with pytest.raises(ClusterLost, match="no worker came within 2 s"):
            pipeline.run(
                Campaign.from_tables(tiny), tmp_path / "store", cluster=str(scheduler.file)
            )
    finally:
        scheduler.close()


@pytest.mark.slow
def test_workers_that_all_go_away(tiny, tmp_path, own_cluster):
    tiny["campaign"] |= {"realizations": 400, "batch": 1}
    tiny["cluster"] = {"start_timeout": 10.0}
    tiny["solvers"] = {"slow": {"use": "tests.troublemakers:Slow", "seconds": 0.1}}
    campaign, store = Campaign.from_tables(tiny), tmp_path / "store"

    def strike(counts):
        if counts.done > 5:
            for nanny in own_cluster.nannies:
                nanny.kill()

    with pytest.raises(pipeline.errors.ClusterLost, match="no worker at work for 10 s"):
        pipeline.run(campaign, store, cluster=str(own_cluster.file), progress=strike)
    assert len(Store.open(store).names()) > 5


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_files_that_are_no_scheduler_files(tmp_path, text):
    file = tmp_path / "scheduler.json"
    file.write_text(text)
    with pytest.raises(InputError, match="json: no scheduler file"), connect(str(file)):
        pass


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("jobs", {"minimum": 0, "maximum": 2}, "cluster.jobs"),
        ("jobs", {"minimum": 3, "maximum": 2}, "minimum 3 is more than maximum 2"),
        ("walltime", "4h", "cluster.walltime: expected a time above 0, [days-]hours:minutes:"),
        ("walltime", "00:00:00", "such as \"04:00:00\", got '00:00:00'"),
        ("memory", "32 gigs", 'cluster.memory: expected a size above 0, such as "32GB", got \'32 '),
        ("memory", "0GB", "cluster.memory: expected a size above 0, such as \"32GB\", got '0GB'"),
        ("memory", "-1GB", "cluster.memory: expected a size above 0, such as \"32GB\", got '-1GB'"),
        ("memory", "4GiB", "cluster.memory: expected a size above 0"),
        ("memory", "9" * 5000, "cluster.memory: expected a size above 0"),
        ("memory", "32XB", 'cluster.memory: SLURM takes a size with a unit, as in "32GB", got'),
        ("memory_per_core", "1GB", "memory and memory_per_core say the same: give one of them"),
    ],
)
def test_settings_that_cannot_be_meant(tiny, tmp_path, key, value, message):
    whole = {"cores": 1, "memory": "1GB", "walltime": "01:00:00", "jobs": 1}
    tiny["cluster"] = {**whole, key: value}
    with pytest.raises(InputError) as caught:
        pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", cluster="slurm")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "store").exists()


def test_worker_of_another_version_that_comes_later(tiny, tmp_path, client, monkeypatch):
    monkeypatch.setattr("pipeline.fanout.queue.Task", functools.partial(Task, version="99.0"))
    monkeypatch.setattr("pipeline.driver.run.check_workers", lambda *_, **__: None)
    with pytest.raises(WrongWorker, match=r"runs kronsbl .*, this is 99\.0: use the same"):
        pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", client)


def test_worker_of_another_version(tmp_path, client, monkeypatch):
    monkeypatch.setattr("pipeline.solving.worker.VERSION", "99.0")
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
        assert Store.open(hidden / "store").names() == set()
    finally:
        cluster.close()


def test_private_folder_is_private_and_goes(tmp_path):
    with private_folder(tmp_path / "store") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "key").write_text("secret")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("walltime", "seconds"),
    [
        ("00:10:00", 600),
        ("4:00:00", 14400),
        ("100:00:00", 360000),
        ("2-01:00:00", 176400),
        ("2-1:30", 178200),
        ("2-0", 172800),
        ("90", None),  # minutes or seconds
        ("90:00", None),  # minutes and seconds, or hours and minutes
    ],
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
