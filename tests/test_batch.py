"""What holds on every batch system, with commands that run the jobs as processes of this machine.

tests/slurm has the same on a real SLURM, and more.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from string import Formatter

import pytest

import pipeline
from pipeline import Campaign, InputError, open_results
from pipeline.campaign.settings import ClusterSettings
from pipeline.cluster import SYSTEMS, batch
from tests import fake_batch_system as fake
from tests.test_mishaps import assert_same_numbers, undisturbed

GIB = 1024**3
SITE = {"cores": 1, "walltime": "00:10:00", "jobs": 1, "interface": "lo", "start_timeout": 60.0}

systems = pytest.mark.parametrize("system", SYSTEMS.values(), ids=list(SYSTEMS))


class Site:
    """A machine with the commands of a batch system."""

    def __init__(self, folder, system):
        self.commands, self.spool = folder / "bin", folder / "spool"
        self.commands.mkdir()
        self.spool.mkdir()
        fake.install(self.commands, self.spool, system.name)

    def submitted(self):
        return sorted(int(path.name) for path in self.spool.iterdir() if path.name.isdigit())

    def running(self):
        return fake.running(self.spool)

    def script(self, number):
        return (self.spool / str(number) / "script").read_text()

    def kill(self, number):
        """End a job as a failing node does: without a word."""
        os.killpg(int((self.spool / str(number) / "pid").read_text()), signal.SIGKILL)


@pytest.fixture
def site(system, tmp_path, monkeypatch):
    site = Site(tmp_path, system)
    monkeypatch.setenv("PATH", f"{site.commands}:{os.environ['PATH']}")
    monkeypatch.setattr("pipeline.cluster.jobs.SECONDS_BETWEEN_LOOKS", 0.2)
    monkeypatch.setattr("pipeline.cluster.jobs.SECONDS_TO_BE_LISTED", 0.0)
    monkeypatch.setattr("pipeline.cluster.batch.SECONDS_BETWEEN_ROUNDS", 0.2)
    monkeypatch.setattr("pipeline.cluster.checks.SECONDS_BETWEEN_LOOKS", 0.2)
    yield site
    for number in site.running():
        site.kill(number)


def wait_for(condition, timeout=20):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def nothing_is_left(site, store):
    wait_for(lambda: not site.running())
    return not list(store.glob(".private-*"))


@systems
def test_campaign_is_as_on_one_machine_though_a_job_is_killed(tiny, tmp_path, system, site):
    once, store = tmp_path / "once", tmp_path / "a store"
    tiny["cluster"] = {**SITE, "prologue": [f"mkdir {once} && kill -KILL $$"]}
    assert pipeline.run(Campaign.from_tables(tiny), store, cluster=system.name).ok
    assert site.submitted() == [1, 2]  # the first was killed before its worker came
    assert nothing_is_left(site, store)
    of_jobs = [p for p in (store / "logs").iterdir() if not p.name.startswith("run-")]
    assert len(of_jobs) == 2
    assert_same_numbers(open_results(store).load(), undisturbed(tiny, tmp_path / "alone"))


@pytest.mark.slow
@systems
@pytest.mark.parametrize("cores", [1, 2])
def test_job_that_is_killed_at_work_is_replaced(tiny, tmp_path, system, site, cores):
    tiny["campaign"] |= {"realizations": 12, "batch": 1}
    tiny["solvers"] = {"slow": {"use": "tests.troublemakers:Slow", "seconds": 0.05}}
    tiny["cluster"] = {**SITE, "cores": cores}
    store, killed = tmp_path / "store", []

    def strike(counts):
        if counts.done > 2 and not killed:
            killed.extend(site.running())
            site.kill(killed[0])

    campaign = Campaign.from_tables(tiny)
    assert pipeline.run(campaign, store, cluster=system.name, progress=strike).ok
    assert (killed, site.submitted()) == ([1], [1, 2])
    assert nothing_is_left(site, store)
    assert_same_numbers(open_results(store).load(), undisturbed(tiny, tmp_path / "alone"))


@systems
def test_job_that_is_refused_is_one_line(tiny, tmp_path, system, site, caplog):
    (site.spool / "refuse").write_text("you have no\nbudget left")
    tiny["cluster"] = {**SITE, "jobs": 2}
    command = system.submit_command
    message = f"--cluster {system.name}: {command} refuses the job: you have no budget left"
    with pytest.raises(InputError) as caught:
        pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", cluster=system.name)
    assert str(caught.value) == message
    assert "refuses" not in caplog.text
    assert site.submitted() == []
    assert nothing_is_left(site, tmp_path / "store")


@systems
def test_no_such_batch_system_on_this_machine(tiny, tmp_path, system, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    tiny["cluster"] = SITE
    with pytest.raises(InputError, match=f"there is no {system.submit_command} on this machine"):
        pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", cluster=system.name)
    assert not list((tmp_path / "store").glob(".private-*"))


def settings(**given):
    return ClusterSettings(**{"cores": 4, "walltime": "04:00:00", "jobs": 1, **given})


def header(system, **given):
    return SYSTEMS[system].directives(settings(**given), Path("/logs"))


@systems
def test_every_value_in_a_directive_is_known(system):
    known = {"name", "queue", "account", "log", "walltime", "cores", "slots"}
    known |= {"memory", "per_core", "job_memory", "core_memory"}
    for entry in (*system.header, *system.resources):
        for directive in [entry] if isinstance(entry, str) else entry:
            assert {name for _, name, _, _ in Formatter().parse(directive) if name} <= known


@systems
def test_headers_and_options_of_a_job(system):
    script = batch.job_script(
        system,
        settings(queue="main", account="project", directives=["--mine"], prologue=["true"]),
        Path("/store"),
    )
    own = [line for line in script.splitlines()[1:] if line.startswith(system.prefix)]
    for value in ("kronsbl", "main", "project", "04:00", "4", "/store/logs/", "--mine"):
        assert any(value in line for line in own), value
    assert script.startswith("#!/usr/bin/env bash\n")
    assert script.index(own[-1]) < script.index(f"cd {Path.cwd()}") < script.index("\ntrue\n")


@pytest.mark.parametrize(
    ("system", "given", "lines"),
    [
        ("slurm", {"memory": "32GB"}, ["--mem=32G"]),
        ("slurm", {"memory_per_core": "2G"}, ["--mem-per-cpu=2G"]),
        ("pbs", {"memory": "32GB"}, ["-l select=1:ncpus=4:mem=32GB"]),
        ("pbs", {"memory_per_core": "2gb"}, ["-l select=1:ncpus=4:mem=8GB"]),
        ("pbs", {}, ["-l select=1:ncpus=4"]),
        ("lsf", {"memory": "32GB"}, ["-M 32GB"]),
        ("lsf", {"memory_per_core": "2G"}, ['-R "rusage[mem=2GB/task]"']),
        ("sge", {"memory": "32GB"}, ["-pe smp 4", "-l mem_free=8G"]),
        ("sge", {"memory": "2G", "cores": 1}, ["-l mem_free=2G"]),
        ("sge", {"memory_per_core": "2G"}, ["-l mem_free=2G"]),
    ],
)
def test_memory_and_cores_in_each_system(system, given, lines):
    written = header(system, **given)
    assert set(lines) <= set(written)
    assert sum("mem" in line or "-M" in line for line in written) == bool(given)


@pytest.mark.parametrize(
    ("system", "given", "line"),
    [
        ("slurm", {"gpus": 2}, "--gres=gpu:2"),
        ("pbs", {"gpus": 2, "memory": "32GB"}, "-l select=1:ncpus=4:mem=32GB:ngpus=2"),
        ("pbs", {"gpus": 2}, "-l select=1:ncpus=4:ngpus=2"),
        ("lsf", {"gpus": 1}, '-gpu "num=1"'),
        ("sge", {"gpus": 1}, "-l gpu=1"),
    ],
)
def test_gpus_in_each_system(system, given, line):
    assert line in header(system, **given)
    assert not any("gpu" in line for line in header(system))


@systems
def test_the_first_workers_of_a_job_have_its_gpus(system):
    script = batch.job_script(system, settings(gpus=2), Path("/store"))
    assert "\nexport KRONSBL_DEVICES=cuda:0,cuda:1,cpu,cpu\n" in script
    with pytest.raises(InputError, match=r"needs gpus in the table \[cluster\].* gpus = 1$"):
        batch.check(system, settings(), "cuda")


@systems
def test_memory_that_is_left_to_the_site(system):
    script = batch.job_script(system, settings(), Path("/store"))
    assert "mem" not in script.replace("--memory-limit auto", "")
    assert batch.memory_per_worker(system, settings()) is None


@systems
def test_resources_of_ones_own(system):
    own = settings(memory="8GB", resources=["-l {mine}=1"])
    written = system.directives(own, Path("/logs"))
    assert "-l {mine}=1" in written
    assert not any("mem" in line or "8G" in line for line in written)
    assert batch.memory_per_worker(system, own) == 2 * GIB


@pytest.mark.parametrize(
    ("system", "memory", "size"),
    [
        ("slurm", "32000", 32000 * 1024**2),
        ("slurm", "4g", 4 * GIB),
        ("slurm", "512mB", GIB / 2),
        ("slurm", "1T", 1024 * GIB),
        ("pbs", "32000", 32000),
        ("pbs", "4gb", 4 * GIB),
        ("pbs", "4mw", 32 * 1024**2),
        ("lsf", "4G", 4 * GIB),
        ("lsf", "32000", 'takes a size with a unit, as in "32GB" (what a number alone means is up'),
        ("sge", "32000", 32000),
        ("sge", "4g", 4 * 1000**3),
        ("sge", "4G", 4 * GIB),
        ("sge", "4gb", 4 * GIB),
        ("slurm", "4W", "cluster.memory: SLURM takes a size with a unit"),
    ],
)
def test_sizes_mean_what_the_batch_system_means(system, memory, size):
    if isinstance(size, str):
        with pytest.raises(InputError) as caught:
            SYSTEMS[system].memory(settings(memory=memory))
        assert size in str(caught.value)
    else:
        assert SYSTEMS[system].memory(settings(memory=memory)) == size


@pytest.mark.parametrize(
    ("size", "written"),
    [("32GB", "32G"), ("32000", "32000M"), ("1025K", "1025K"), ("2048M", "2G"), ("2048T", "2048T")],
)
def test_sizes_are_written_whole(size, written):
    assert f"--mem={written}" in header("slurm", memory=size)


@pytest.mark.parametrize(
    ("system", "walltime", "seconds", "written"),
    [
        ("slurm", "90", 5400, "-t 01:30:00"),
        ("slurm", "90:30", 5430, "-t 01:30:30"),
        ("slurm", "100:00:00", 360000, "-t 100:00:00"),
        ("slurm", "1-0", 86400, "-t 24:00:00"),
        ("pbs", "90", 90, "-l walltime=00:01:30"),
        ("pbs", "90:00", 5400, "-l walltime=01:30:00"),
        ("pbs", "1-02:00", 93600, "-l walltime=26:00:00"),
        ("lsf", "90", 5400, "-W 01:30"),
        ("lsf", "1:30", 5400, "-W 01:30"),
        ("lsf", "01:30:01", 5401, "-W 01:31"),
        ("sge", "90", 90, "-l h_rt=00:01:30"),
        ("sge", "01:30:00", 5400, "-l h_rt=01:30:00"),
        ("sge", "1:30", "cluster.walltime: SGE takes seconds or hours:minutes:seconds, got", None),
    ],
)
def test_wall_times_mean_what_the_batch_system_means(system, walltime, seconds, written):
    if isinstance(seconds, str):
        with pytest.raises(InputError) as caught:
            header(system, walltime=walltime)
        assert seconds in str(caught.value)
    else:
        assert SYSTEMS[system].seconds(settings(walltime=walltime)) == seconds
        assert written in header(system, walltime=walltime)


@pytest.mark.parametrize(
    ("system", "listing", "states"),
    [
        (
            "slurm",
            "12 RUNNING None\n13 PENDING (Priority)\n14 PENDING Nodes required for job are DOWN\n",
            {"12": "RUNNING None", "13": "PENDING (Priority)"}
            | {"14": "PENDING Nodes required for job are DOWN"},
        ),
        (
            "pbs",
            """
head.example.org:
                                                            Req'd  Req'd   Elap
Job ID          Username Queue    Jobname    SessID NDS TSK Memory Time  S Time
--------------- -------- -------- ---------- ------ --- --- ------ ----- - -----
12.head         me       workq    kronsbl      4711   1   4    8gb 04:00 R 00:01
13.head         me       workq    kronsbl       --    1   4    8gb 04:00 Q   --
1234567.head.e* me       workq    kronsbl       --    1   4    8gb 04:00 H   --
14.head         me       workq    kronsbl       --    1   4    8gb 04:00 C   --
""",
            {"12": "R", "13": "Q", "1234567": "H"},
        ),
        (
            "lsf",
            """JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME
12      me      RUN   normal     head        4*node1     kronsbl    Jan  1 12:00
13      me      PEND  normal     head           -        kronsbl    Jan  1 12:00
""",
            {"12": "RUN", "13": "PEND"},
        ),
        (
            "sge",
            """job-ID  prior   name       user         state submit/start at     queue         slots
-------------------------------------------------------------------------------------------------
     12 0.58333 kronsbl    me           r     01/01/2026 12:00:00 all.q@node1        4
     13 0.00000 kronsbl    me           qw    01/01/2026 12:00:00                    4
     14 0.00000 kronsbl    me           Eqw   01/01/2026 12:00:00                    4
""",
            {"12": "r", "13": "qw", "14": "Eqw"},
        ),
    ],
)
def test_queues_are_read(system, listing, states):
    assert SYSTEMS[system].states(listing) == states
    assert SYSTEMS[system].states("") == {}


def test_dask_jobqueue_is_loaded_for_nothing_else():
    program = "import sys, pipeline.cluster, pipeline.driver.run, pipeline.driver.planning\n"
    program += "assert 'dask_jobqueue' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_help_names_every_batch_system():
    from click.testing import CliRunner

    from pipeline.cli import main

    for command in ("run", "plan"):
        words = " ".join(CliRunner().invoke(main, [command, "--help"]).output.split())
        assert f"a batch system ({', '.join(SYSTEMS)})" in words
