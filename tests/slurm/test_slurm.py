"""Campaigns on a real SLURM: end to end, cancelled, out of time, refused."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import tomli_w

from pipeline import Campaign, Store, open_results
from pipeline.campaign.settings import ClusterSettings
from pipeline.cluster.systems import SLURM
from tests.test_cluster import is_http, lets_in, listening
from tests.test_mishaps import assert_same_numbers, undisturbed

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("slurm")]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SITE = {
    "queue": "main",
    "cores": 1,
    "memory": "1GB",
    "walltime": "00:05:00",
    "jobs": 2,
    "interface": "lo",
    "start_timeout": 60.0,
}


def write(tables, tmp_path, **site):
    tables["cluster"] = {**SITE, **site}
    path = tmp_path / "study.toml"
    path.write_text(tomli_w.dumps(tables))
    return path


STARTED = []


@pytest.fixture(autouse=True)
def no_process_left():
    """A test that fails leaves nothing behind that would disturb the next."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.communicate()


def kronsbl(*arguments, **options):
    command = [str(BIN / "kronsbl"), *map(str, arguments)]
    STARTED.append(
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )
    )
    return STARTED[-1]


def finish(process, timeout=120):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def jobs(state="RUNNING"):
    done = subprocess.run(
        ["squeue", "--me", "-h", "-t", state, "-o", "%A"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def wait_for(condition, timeout=60):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def blocks(store):
    return len(Store(store).names()) if (store / "blocks").exists() else 0


def work(tiny, seconds_per_block=0.2, blocks=40):
    """A campaign that takes its time: each block sleeps."""
    tiny["campaign"] |= {"batch": 1, "realizations": blocks // 2}
    tiny["solvers"] = {"slow": {"use": "tests.troublemakers:Slow", "seconds": seconds_per_block}}
    return tiny


def without_sleep(tiny, folder):
    """What the campaign of `work` is to give."""
    tiny["solvers"]["slow"]["seconds"] = 0.0
    return undisturbed(tiny, folder)


def test_quickstart_end_to_end_is_what_one_machine_computes(tmp_path):
    campaign = Campaign.load(ROOT / "workflows" / "quickstart.toml")
    study = write(campaign.tables(), tmp_path)
    status, out, err = finish(
        kronsbl("run", study, "--cluster", "slurm", "--store", tmp_path / "s")
    )
    assert status == 0, err
    assert "dashboard: http" in err
    assert "1800/1800 cells" in out
    alone = kronsbl("run", study, "--store", tmp_path / "local", "--quiet")
    assert finish(alone)[0] == 0
    assert_same_numbers(
        open_results(tmp_path / "s").load(), open_results(tmp_path / "local").load()
    )
    wait_for(lambda: not jobs("RUNNING,PENDING,COMPLETING"), 30)
    assert not list((tmp_path / "s").glob(".private-*"))


def test_credentials_are_for_this_user_alone(tiny, tmp_path):
    study = write(work(tiny), tmp_path)
    run = kronsbl("run", study, "--cluster", "slurm", "--store", tmp_path / "s", "--quiet")
    wait_for(lambda: blocks(tmp_path / "s") > 2)
    [folder] = (tmp_path / "s").glob(".private-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    keys = [p for p in folder.iterdir() if p.name.endswith("_key.pem")]
    assert len(keys) == 3
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in keys)
    # However long a campaign takes, nobody sweeps them out meanwhile.
    os.utime(folder, (0, 0))
    wait_for(lambda: folder.stat().st_mtime > 0, 10)
    assert finish(run)[0] == 0
    assert not folder.exists()


@pytest.mark.parametrize("cores", [1, 2])
def test_cancelled_job_is_replaced(tiny, tmp_path, cores):
    # Enough to see the other job come.
    study = write(work(tiny, 0.2 * cores, 200), tmp_path, cores=cores)
    run = kronsbl("run", study, "--cluster", "slurm", "--store", tmp_path / "s", "--quiet")
    wait_for(lambda: blocks(tmp_path / "s") > 5)
    first = jobs()
    subprocess.run(["scancel", first[0]], check=True)
    wait_for(lambda: set(jobs()) - set(first))
    status, _, err = finish(run)
    assert status == 0, err
    assert_same_numbers(open_results(tmp_path / "s").load(), without_sleep(tiny, tmp_path / "o"))


def test_job_that_ends_before_its_worker_comes_is_replaced(tiny, tmp_path):
    once = tmp_path / "once"
    study = write(tiny, tmp_path, jobs=1, prologue=[f"mkdir {once} && exit 1"])
    run = kronsbl("run", study, "--cluster", "slurm", "--store", tmp_path / "s", "--quiet")
    status, _, err = finish(run)
    assert status == 0, err
    assert once.exists()


def test_sbatch_that_refuses_what_it_said_it_would_take(tiny, tmp_path):
    """As at a limit of jobs per user, which --test-only does not know of."""
    fake, real = tmp_path / "bin" / "sbatch", shutil.which("sbatch")
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\ncase $1 in --test-only) exec {real} "$@";; esac\n'
        f'mkdir {tmp_path}/once 2> /dev/null || exec {real} "$@"\n'
        "echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1\n"
    )
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"}
    study = write(tiny, tmp_path, jobs=1)
    command = ["run", study, "--cluster", "slurm", "--store", tmp_path / "s", "--quiet"]
    status, _, err = finish(kronsbl(*command, env=environment))
    assert status == 0, err  # it was tried again
    assert err.splitlines() == [
        "sbatch refuses a job: sbatch: error: QOSMaxSubmitJobPerUserLimit",
    ]


def test_nobody_gets_in_without_the_credentials(tiny, tmp_path):
    outside = [
        name
        for name, addresses in psutil.net_if_addrs().items()
        if any(a.family == socket.AF_INET and a.address[:4] != "127." for a in addresses)
    ]
    study = write(work(tiny, 0.2, 200), tmp_path, jobs=1, interface=[*outside, "lo"][0])
    run = kronsbl("run", study, "--cluster", "slurm", "--store", tmp_path / "s", "--quiet")
    wait_for(lambda: blocks(tmp_path / "s") > 2)
    [job] = jobs()
    pids = subprocess.run(["scontrol", "listpids", job], capture_output=True, text=True, check=True)
    first = int(pids.stdout.splitlines()[1].split()[0])
    for process in (psutil.Process(run.pid), psutil.Process(first)):
        addresses = listening(process)
        dashboards = {a for a in addresses if is_http(a)}
        assert dashboards
        assert {a.ip for a in dashboards} == {"127.0.0.1"}
        doors = addresses - dashboards
        assert doors
        assert not any(lets_in(door) for door in doors)


@pytest.mark.timeout(600)
def test_campaign_of_many_times_the_lifetime_of_a_worker(tiny, tmp_path):
    study = write(work(tiny, 0.3, 120), tmp_path, lifetime=8.0)
    run = kronsbl("run", study, "--cluster", "slurm", "--store", tmp_path / "s", "--quiet")
    seen = set()
    while run.poll() is None:
        seen |= set(jobs())
        time.sleep(0.3)
    status, _, err = finish(run)
    assert status == 0, err
    assert len(seen) > 4
    assert_same_numbers(open_results(tmp_path / "s").load(), without_sleep(tiny, tmp_path / "o"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_time_limit(tiny, tmp_path):
    # Workers know nothing of the limit: SLURM ends them in the middle of blocks.
    study = write(work(tiny, 2.0, 120), tmp_path, walltime="00:01:00", lifetime=1e6)
    run = kronsbl("run", study, "--cluster", "slurm", "--store", tmp_path / "s", "--quiet")
    seen = set()
    while run.poll() is None:
        seen |= set(jobs())
        time.sleep(1)
    status, _, err = finish(run)
    assert status == 0, err
    assert len(seen) > 2
    assert_same_numbers(open_results(tmp_path / "s").load(), without_sleep(tiny, tmp_path / "o"))


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted_driver_leaves_no_jobs(tiny, tmp_path, sent, code):
    study = write(work(tiny, 0.2, 400), tmp_path)
    run = kronsbl("run", study, "--cluster", "slurm", "--store", tmp_path / "s", "--quiet")
    wait_for(lambda: blocks(tmp_path / "s") > 5)
    run.send_signal(sent)
    status, _, err = finish(run, 60)
    assert status == code
    assert err.splitlines()[-1].endswith("the same command goes on where this one was")
    wait_for(lambda: not jobs("RUNNING,PENDING,COMPLETING"), 30)
    assert (open_results(tmp_path / "s").status != 0).any()


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ({"queue": "nowhere"}, "sbatch refuses the job: "),
        ({"queue": "short", "walltime": "01:00:00"}, "sbatch refuses the job: "),
        ({"memory": "900000GB"}, "sbatch refuses the job: "),
    ],
)
def test_refused_jobs(tiny, tmp_path, site, message):
    study = write(tiny, tmp_path, **site)
    run = kronsbl("run", study, "--cluster", "slurm", "--store", tmp_path / "s", "--quiet")
    status, _, err = finish(run)
    assert status == 2
    assert len(err.splitlines()) == 1
    assert message in err
    assert jobs("RUNNING,PENDING") == []


def asked_for(*options):
    """What sbatch makes of options: memory of a node or core, and minutes."""
    command = ["sbatch", "--hold", "--parsable", "--output=/dev/null", *options, "--wrap=true"]
    job = subprocess.run(command, capture_output=True, text=True, check=False)
    if job.returncode:
        return None
    command = ["scontrol", "show", "job", job.stdout.strip()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"(MinMemoryNode|MinMemoryCPU|TimeLimit)=(\S+)", shown))
    subprocess.run(["scancel", job.stdout.strip()], check=True)
    return found


@pytest.mark.parametrize("memory", ["32000", "4G", "4g", "4GB", "512mB", "4096K", "9KB", "1T"])
def test_memory_means_what_sbatch_means(memory):
    settings = ClusterSettings(cores=1, walltime="10", jobs=1, memory=memory)
    [written] = [d for d in SLURM.directives(settings, Path()) if d.startswith("--mem")]
    asked = asked_for(written)
    assert asked
    assert asked == asked_for(f"--mem={memory}")


@pytest.mark.parametrize("memory", ["0GB", "-1GB", "4GiB", "4.5G", "4 GB", ""])
def test_memory_that_sbatch_refuses_or_takes_for_everything(memory):
    assert (asked_for(f"--mem={memory}") or {"MinMemoryNode": "0"})["MinMemoryNode"] == "0"
    with pytest.raises(ValueError, match="expected a size"):
        ClusterSettings(memory=memory)


@pytest.mark.parametrize(
    "walltime",
    ["90", "90:30", "1:30:00", "1:99:00", "100:00:00", "1-0", "1-02:30", "1-02:30:15", "0-0:10"],
)
def test_wall_time_means_what_sbatch_means(walltime):
    settings = ClusterSettings(cores=1, walltime=walltime, jobs=1)
    [written] = [d for d in SLURM.directives(settings, Path()) if d.startswith("-t ")]
    asked = asked_for("-t", written[3:])
    assert asked
    assert asked == asked_for("-t", walltime)


@pytest.mark.parametrize("walltime", ["4h", "1.5", "UNLIMITED", "0", ":5", "5:", "4:00:00:00", ""])
def test_wall_time_that_is_none_or_no_limit(walltime):
    limit = asked_for("-t", walltime) if walltime else None
    assert (limit or {"TimeLimit": "UNLIMITED"})["TimeLimit"] == "UNLIMITED"
    with pytest.raises(ValueError, match="expected a time"):
        ClusterSettings(walltime=walltime)


@pytest.mark.parametrize("memory", [{}, {"memory_per_core": "500M"}])
def test_memory_of_the_site_and_per_core(tiny, tmp_path, memory):
    tiny["cluster"] = {**SITE, "cores": 2, "jobs": 1, **memory}
    del tiny["cluster"]["memory"]
    study = tmp_path / "study.toml"
    study.write_text(tomli_w.dumps(tiny))
    run = kronsbl("run", study, "--cluster", "slurm", "--store", tmp_path / "s", "--quiet")
    wait_for(jobs)
    shown = subprocess.run(
        ["scontrol", "show", "job", jobs()[0]], capture_output=True, text=True, check=True
    )
    assert f"MinMemory{'CPU=500M' if memory else 'Node=0'}" in shown.stdout
    status, _, err = finish(run)
    assert status == 0, err


def test_workers_that_never_come(tiny, tmp_path):
    study = write(tiny, tmp_path, directives=["--begin=now+1hour"], start_timeout=4.0)
    run = kronsbl("run", study, "--cluster", "slurm", "--store", tmp_path / "s", "--quiet")
    status, _, err = finish(run)
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "no worker came within 4 s (jobs: " in err
    assert "PENDING BeginTime" in err
    wait_for(lambda: not jobs("RUNNING,PENDING"), 30)


def test_plan_shows_hours_and_the_script(tiny, tmp_path):
    study = write(tiny, tmp_path)
    command = ["plan", study, "--cluster", "slurm", "--store", tmp_path / "s"]
    status, out, err = finish(kronsbl(*command))
    assert status == 0, err
    assert "on 2 workers of 2 jobs" in out
    assert "core-hours" in out
    assert "#SBATCH -p main" in out
    assert "#SBATCH -t 00:05:00" in out
    assert jobs("RUNNING,PENDING") == []
    assert not (tmp_path / "s").exists()


def test_plan_shows_what_is_submitted(tiny, tmp_path):
    study, store = write(work(tiny, 0.2, 60), tmp_path, cores=2), tmp_path / "s"
    _, out, _ = finish(kronsbl("plan", study, "--cluster", "slurm", "--store", store))
    run = kronsbl("run", study, "--cluster", "slurm", "--store", store, "--quiet")
    wait_for(jobs)
    shown = subprocess.run(
        ["scontrol", "write", "batch_script", jobs()[0], "-"],
        capture_output=True,
        text=True,
        check=True,
    )

    def alike(script):
        for made_up in (r"tls://\S+:\w+", r"\.private-[^./]+", r"--name \S+"):
            script = re.sub(made_up, "…", script)
        return script.strip().splitlines()

    planned = out.partition("each job:\n")[2]
    assert len(alike(planned)) > 8
    assert alike(planned) == alike(shown.stdout)
    run.terminate()


class TestPatterns:
    """The files in workflows/slurm."""

    @staticmethod
    def environment():
        return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}

    def test_array_of_shards(self, tiny, tmp_path):
        study, store = write(work(tiny, 0.05, 24), tmp_path), tmp_path / "s"
        script = ROOT / "workflows" / "slurm" / "array.sh"
        subprocess.run(
            [script, study, store], check=True, cwd=tmp_path, env=self.environment(), timeout=60
        )
        wait_for(lambda: (store / "LATEST").exists(), 200)
        cube = open_results(store)
        assert cube.attrs["complete"] == 1
        assert_same_numbers(cube.load(), without_sleep(tiny, tmp_path / "o"))

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    def test_node_that_requeues_itself(self, tiny, tmp_path):
        study, store = write(work(tiny, 1.0, 80), tmp_path), tmp_path / "s"
        text = (ROOT / "workflows" / "slurm" / "node.sbatch").read_text()
        # As the file, but with a limit of a minute, of which 40 s are for the end.
        text = text.replace("--time=00:10:00", "--time=00:01:00").replace("USR1@60", "USR1@40")
        (tmp_path / "node.sbatch").write_text(text)
        subprocess.run(
            ["sbatch", "node.sbatch", study, "--store", store],
            check=True,
            cwd=tmp_path,
            env=self.environment(),
        )
        finished = lambda: (store / "LATEST").exists() and open_results(store).attrs["complete"]  # noqa: E731
        wait_for(finished, 800)
        [log] = tmp_path.glob("kronsbl-*.log")
        assert "terminated; the same command goes on" in log.read_text()
        assert_same_numbers(open_results(store).load(), without_sleep(tiny, tmp_path / "o"))

    def test_cancelled_node_does_not_come_back(self, tiny, tmp_path):
        study, store = write(work(tiny, 1.0, 80), tmp_path), tmp_path / "s"
        script = ROOT / "workflows" / "slurm" / "node.sbatch"
        options = {"cwd": tmp_path, "env": self.environment(), "check": True}
        subprocess.run(["sbatch", script, study, "--store", store], **options)
        wait_for(lambda: blocks(store) > 1)
        subprocess.run(["scancel", "--me"], check=True)
        wait_for(lambda: not jobs("RUNNING,COMPLETING"))
        assert not jobs("PENDING")
        [log] = tmp_path.glob("kronsbl-*.log")
        assert "terminated; the same command goes on" in log.read_text()

    def test_cancelled_shard_is_submitted_again_alone(self, tiny, tmp_path):
        study, store = write(work(tiny, 0.5, 40), tmp_path), tmp_path / "s"
        submit = ["sbatch", "--parsable", ROOT / "workflows" / "slurm" / "array.sbatch"]
        options = {"cwd": tmp_path, "env": self.environment(), "text": True, "check": True}
        done = subprocess.run([*submit, study, store], stdout=subprocess.PIPE, **options)
        wait_for(lambda: blocks(store) > 4, 100)
        subprocess.run(["scancel", f"{done.stdout.strip()}_2"], check=True)
        wait_for(lambda: not jobs("RUNNING,PENDING,COMPLETING"), 120)
        there = blocks(store)
        assert 30 <= there < 40
        subprocess.run([*submit[:2], "--array=2", submit[2], study, store], **options)
        wait_for(lambda: not jobs("RUNNING,PENDING,COMPLETING"), 120)
        assert blocks(store) == 40
        assert finish(kronsbl("publish", store))[0] == 0
        assert_same_numbers(open_results(store).load(), without_sleep(tiny, tmp_path / "o"))

    def test_campaign_file_is_as_the_tests(self):
        campaign = Campaign.load(ROOT / "workflows" / "slurm" / "campaign.toml")
        assert campaign.cluster.jobs == 2
        assert shutil.which("bash")
