"""A run in which no worker is at work says so, says why, and ends."""

import contextlib
import datetime
import logging
import re
import threading
import time
from types import SimpleNamespace

import pytest
from distributed import Client, LocalCluster, Status

import pipeline
from pipeline import Campaign, InputError, open_results
from pipeline.cluster import checks, common, connect, credentials
from pipeline.errors import ClusterLost
from pipeline.fanout import monitor


def local(workers, **options):
    options |= {"processes": False, "dashboard_address": None}
    return LocalCluster(n_workers=workers, **options)


@pytest.fixture
def in_process():
    """A cluster whose worker lives in this process, and does what it is told."""
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client, cluster.workers[0]


@pytest.fixture
def hasty(monkeypatch):
    """Words come at once, not after most of a minute."""
    for module in (checks, monitor):
        monkeypatch.setattr(module, "SECONDS_BETWEEN_WORDS", 0.3)
        monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.1)


def pause(worker):
    """As Dask does for memory, but for good."""
    worker.monitor_memory = None
    for callback in worker.periodic_callbacks.values():
        callback.stop()
    worker.status = Status.paused


def test_words_come_within_a_minute():
    for module in (checks, monitor):
        assert module.SECONDS_BETWEEN_WORDS + module.SECONDS_BETWEEN_LOOKS < 60


@pytest.mark.usefixtures("hasty")
def test_a_paused_worker_is_none(in_process, tiny, tmp_path, caplog):
    client, worker = in_process
    worker.loop.add_callback(pause, worker)
    tiny["cluster"] = {"start_timeout": 2.0}
    start = time.monotonic()
    with caplog.at_level(logging.WARNING, "kronsbl"), pytest.raises(ClusterLost) as caught:
        pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", client)
    assert 2 < time.monotonic() - start < 60
    why = r"1 paused, as on \S+: \d+ of \d+ MB in use"
    assert re.search(rf"no worker at work for 2 s \({why}\)", str(caught.value))
    assert re.search(rf"no worker is at work \({why}\)", caplog.text)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("workers", "threads", "left", "kind"),
    [
        (1, {"cpu": 2, "cuda": 0}, "cuda", "worker with a GPU"),
        (1, {"cpu": 0, "cuda": 1}, "cpu", "worker without a GPU"),
        (0, {"cpu": 0, "cuda": 0}, "cpu", "worker"),
    ],
)
def test_workers_of_one_kind_are_none_for_another(workers, threads, left, kind, caplog):
    """Those that are missing are waited for as long as the others have something to do."""
    waiting, why, over = {"cpu": ["a task"], "cuda": ["a task"]}, [], threading.Event()

    def abandon(words):
        why.append(words)
        over.set()

    queue = SimpleNamespace(places=("cpu", "cuda"), threads=None)
    fan_out = SimpleNamespace(in_flight=waiting.get, abandon=abandon)
    looked = workers, threads, "1 paused"
    with (
        caplog.at_level(logging.WARNING, "kronsbl"),
        monitor.Monitor(lambda: looked, fan_out, queue, lambda _: None, 1.0),
    ):
        assert over.wait(1.5 if workers else 60) == (not workers)
        for place in waiting:
            if place != left:
                waiting[place].clear()
        assert over.wait(60)
    assert why == [f"there has been no {kind} at work for 1 s (1 paused)"]
    assert f"no {kind} is at work (1 paused)" in caplog.text
    assert queue.threads == (threads if workers else None)


@pytest.mark.usefixtures("hasty")
def test_a_worker_that_comes_back_goes_on(in_process, tiny, tmp_path):
    client, worker = in_process
    worker.loop.add_callback(pause, worker)
    worker.loop.call_later(1.0, setattr, worker, "status", Status.running)
    assert pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", client).ok
    assert open_results(tmp_path / "store").attrs["complete"]


def test_a_paused_worker_that_is_solving_is_at_work(in_process):
    client, worker = in_process
    future = client.submit(time.sleep, 5, pure=False)
    while not worker.state.executing:
        time.sleep(0.05)
    worker.loop.add_callback(pause, worker)
    worker.loop.add_callback(worker.heartbeat)
    end = time.monotonic() + 20
    while client.sync(client.scheduler.identity)["workers"][worker.address]["status"] != "paused":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert checks.workers_at_work(client, {}) == (1, {"cpu": 1}, "none there")
    future.cancel()


@pytest.mark.usefixtures("hasty")
def test_nobody_comes(caplog):
    with (
        local(0) as cluster,
        Client(cluster) as client,
        caplog.at_level(logging.WARNING, "kronsbl"),
        pytest.raises(ClusterLost, match=r"no worker came within 1 s.*logs.*clock"),
    ):
        checks.wait_for_a_worker(client, 1.0)
    assert "waiting for a first worker" in caplog.text


@pytest.mark.usefixtures("hasty")
def test_workers_that_hang_while_they_start(caplog, monkeypatch, tmp_path):
    (tmp_path / "hanging_preload.py").write_text("import time\ntime.sleep(100)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(common, "PRELOAD", "hanging_preload")
    start = time.monotonic()
    settings = Campaign.model_fields["cluster"].annotation(start_timeout=3.0)
    with (
        caplog.at_level(logging.WARNING, "kronsbl"),
        pytest.raises(ClusterLost, match="did not start: Timeout"),
        connect("local", 1, settings),
    ):
        pass
    assert time.monotonic() - start < 60
    assert "waiting for the workers to start" in caplog.text


@pytest.mark.parametrize("megabytes", [100, 200, 240, 280])
def test_too_little_memory_to_begin_is_said_at_the_start(megabytes, monkeypatch):
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", megabytes * 2**20)
    message = "a worker needs 250 MB with nothing to do, and may use"
    with pytest.raises(InputError, match=message), connect("local", 1):
        pass


def test_memory_of_workers_that_are_there_is_looked_at(tmp_path):
    with (
        LocalCluster(
            n_workers=1, processes=False, dashboard_address=None, memory_limit="220MB"
        ) as cluster,
        Client(cluster) as client,
        pytest.raises(InputError, match="may use 176 of its 220 MB"),
    ):
        checks.check_workers(client, tmp_path)
    common.check_memory(0)  # no limit
    common.check_memory(320e6)


def test_the_certificate_is_valid_on_nodes_whose_clocks_are_behind():
    from cryptography import x509

    made = credentials.temporary()
    certificate = x509.load_pem_x509_certificate(made.tls_worker_cert.encode())
    now = datetime.datetime.now(datetime.UTC)
    assert now - certificate.not_valid_before_utc >= datetime.timedelta(days=1)
    assert certificate.not_valid_after_utc - now > datetime.timedelta(days=300)
    certificate.verify_directly_issued_by(certificate)
    assert made.tls_ca_file == made.tls_client_cert == made.tls_scheduler_cert


def listening(process):
    import psutil

    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # a child of some other test's
            for connection in one.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    yield connection.laddr


@pytest.mark.parametrize("dashboard", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_run_has_a_dashboard_or_none(dashboard):
    """It needs no password, so that everybody on this machine can look at it."""
    import urllib.error
    import urllib.request

    import psutil

    before = set(listening(psutil.Process()))
    with connect("local", 1, dashboard=dashboard):
        ours = set(listening(psutil.Process())) - before
        answers = []
        for ip, port in ours:
            for page in ("info/main/workers.html", "info/main/logs.html", "json/counts.json"):
                try:
                    url = f"http://{ip}:{port}/{page}"
                    answers.append(urllib.request.urlopen(url, timeout=10).status)
                except (OSError, urllib.error.URLError):
                    continue
    assert {ip for ip, _ in ours} == {"127.0.0.1"}
    assert answers == (3 * [200] if dashboard else [])
