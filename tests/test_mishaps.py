"""Full disks, read-only places, two runs at once, and death in the middle."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tomli_w
import xarray as xr

import pipeline
from pipeline import Campaign, Store, open_results
from pipeline.campaign.request import Request
from pipeline.solving.outcome import solve_block
from tests.conftest import block_files

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


@contextlib.contextmanager
def mounted(path, size, *, read_only=False):
    """A small file system of its own at `path`."""
    path.mkdir(exist_ok=True)
    options = f"size={size}" + (",ro" if read_only else "")
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount: {error}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def undisturbed(tables, folder):
    """The cube of a campaign computed in this process without any trouble."""
    campaign = Campaign.from_tables(tables)
    store = Store.create(folder, campaign)
    store.add_request(Request.of(campaign, {}))
    for block in campaign.blocks():
        store.write(block, solve_block(block))
    pipeline.publish(store)
    return open_results(store).load()


def assert_same_numbers(one, other):
    drop = ["runtime", "host"]
    xr.testing.assert_identical(
        one.drop_vars(drop).drop_attrs(), other.drop_vars(drop).drop_attrs()
    )


def write_study(tables, folder):
    path = folder / "study.toml"
    path.write_text(tomli_w.dumps(tables))
    return path


@pytest.mark.slow
@needs_root
def test_disk_full_in_the_middle(tiny, tmp_path, kronsbl):
    tiny["campaign"] |= {"realizations": 300, "batch": 5}
    study = write_study(tiny, tmp_path)
    with mounted(tmp_path / "disk", "300k") as disk:
        first = kronsbl("run", study, "--store", disk / "store", "--workers", 2, "--quiet")
        assert first.returncode == 1, first.stderr
        assert len(first.stderr.splitlines()) == 1
        assert "No space left on device" in first.stderr
        assert "what was done is kept" in first.stderr
        done = Store.open(disk / "store").names()
        assert 0 < len(done) < 2 * 2 * 60
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        times = {p.name: p.stat().st_mtime_ns for p in block_files(Store(disk / "store"))}
        second = kronsbl("run", study, "--store", disk / "store", "--workers", 2, "--quiet")
        assert second.returncode == 0, second.stderr
        after = {p.name: p.stat().st_mtime_ns for p in block_files(Store(disk / "store"))}
        assert times.items() <= after.items()
        cube = open_results(disk / "store").load()
    assert_same_numbers(cube, undisturbed(tiny, tmp_path / "other"))


@needs_root
def test_read_only_place(tiny, tmp_path, kronsbl):
    study = write_study(tiny, tmp_path)
    with mounted(tmp_path / "disk", "1m", read_only=True) as disk:
        done = kronsbl("run", study, "--store", disk / "store")
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert "cannot make a store there" in done.stderr


@needs_root
def test_store_that_became_read_only(tiny, tmp_path, kronsbl):
    study = write_study(tiny, tmp_path)
    with mounted(tmp_path / "disk", "5m") as disk:
        Store.create(disk / "store", Campaign.load(study))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        done = kronsbl("run", study, "--store", disk / "store")
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert "cannot be written: Read-only file system" in done.stderr


@pytest.mark.slow
@needs_root
def test_no_inodes_left(tiny, tmp_path, kronsbl):
    tiny["campaign"] |= {"realizations": 300, "batch": 5}
    study = write_study(tiny, tmp_path)
    with mounted(tmp_path / "disk", "20m,nr_inodes=120") as disk:
        first = kronsbl("run", study, "--store", disk / "store", "--workers", 2, "--quiet")
        assert (first.returncode, len(first.stderr.splitlines())) == (1, 1), first.stderr
        assert "No space left on device" in first.stderr
        assert not list((disk / "store" / "blocks").rglob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,nr_inodes=20k", str(disk)], check=True)
        second = kronsbl("run", study, "--store", disk / "store", "--workers", 2, "--quiet")
        assert second.returncode == 0, second.stderr
        assert pipeline.verify(disk / "store", blocks=3).ok


def test_nobody_reads_what_a_run_says(tiny, tmp_path):
    """As with ``| head``: the work is what decides the exit status."""
    study = write_study(tiny, tmp_path)
    command = [str(Path(sys.executable).parent / "kronsbl"), "run", str(study), "--workers", "1"]
    run = subprocess.Popen(
        [*command, "--store", str(tmp_path / "store")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    run.stdout.close()
    assert run.wait(100) == 0
    assert open_results(tmp_path / "store").attrs["complete"]


@pytest.mark.slow
def test_two_runs_on_the_same_store(tiny, tmp_path):
    tiny["campaign"] |= {"realizations": 60, "batch": 5}
    study = write_study(tiny, tmp_path)
    command = [str(Path(sys.executable).parent / "kronsbl"), "run", str(study), "--workers", "1"]
    runs = [
        subprocess.Popen(
            [*command, "--store", str(tmp_path / "store"), "--quiet"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in runs:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
    cube = open_results(tmp_path / "store").load()
    assert_same_numbers(cube, undisturbed(tiny, tmp_path / "other"))
    assert pipeline.verify(Store.open(tmp_path / "store"), blocks=3).ok


@pytest.mark.slow
def test_killed_run_goes_on(tiny, tmp_path):
    tiny["campaign"] |= {"realizations": 400, "batch": 5}
    study = write_study(tiny, tmp_path)
    command = [str(Path(sys.executable).parent / "kronsbl"), "run", str(study), "--workers", "2"]
    command += ["--store", str(tmp_path / "store"), "--quiet"]
    run = subprocess.Popen(command, start_new_session=True)
    while (
        not (tmp_path / "store" / "blocks").exists() or len(Store(tmp_path / "store").names()) < 20
    ):
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    before = Store(tmp_path / "store").names()
    assert 0 < len(before) < 2 * 2 * 80
    times = {p.name: p.stat().st_mtime_ns for p in block_files(Store(tmp_path / "store"))}
    subprocess.run(command, check=True, timeout=100)
    after = {p.name: p.stat().st_mtime_ns for p in block_files(Store(tmp_path / "store"))}
    assert times.items() <= after.items()
    assert_same_numbers(
        open_results(tmp_path / "store").load(), undisturbed(tiny, tmp_path / "other")
    )


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_run_publishes_what_is_there(tiny, tmp_path, sent):
    tiny["campaign"] |= {"realizations": 2000, "batch": 5}
    study = write_study(tiny, tmp_path)
    command = [str(Path(sys.executable).parent / "kronsbl"), "run", str(study), "--workers", "2"]
    command += ["--store", str(tmp_path / "store"), "--quiet"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while (
        not (tmp_path / "store" / "blocks").exists() or len(Store(tmp_path / "store").names()) < 20
    ):
        time.sleep(0.01)
    run.send_signal(sent)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[sent]
    assert len(errors.splitlines()) == 1
    assert "goes on where this one was" in errors
    cube = open_results(tmp_path / "store")
    assert cube.attrs["complete"] == 0
    assert (cube.status != 0).any()


@pytest.mark.parametrize("blocks", [0, 20], ids=["while starting", "at work"])
def test_control_c_at_the_terminal(tiny, tmp_path, blocks):
    """The terminal sends the signal to the workers as well."""
    tiny["campaign"] |= {"realizations": 2000, "batch": 5}
    study = write_study(tiny, tmp_path)
    command = [str(Path(sys.executable).parent / "kronsbl"), "run", str(study), "--workers", "2"]
    run = subprocess.Popen(
        [*command, "--store", str(tmp_path / "store"), "--quiet"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while (
        not (tmp_path / "store" / "blocks").exists()
        or len(Store(tmp_path / "store").names()) < blocks
    ):
        time.sleep(0.01)
    if not blocks:
        time.sleep(0.5)  # workers are loading modules
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.splitlines() == [
        "kronsbl: interrupted; the same command goes on where this one was"
    ]
    assert not blocks or (open_results(tmp_path / "store").status != 0).any()


@pytest.mark.slow
def test_status_of_a_run_at_work(tiny, tmp_path, kronsbl):
    tiny["campaign"] |= {"realizations": 2000, "batch": 5}
    study = write_study(tiny, tmp_path)
    command = [str(Path(sys.executable).parent / "kronsbl"), "run", str(study), "--workers", "2"]
    run = subprocess.Popen([*command, "--store", str(tmp_path / "store"), "--quiet"])
    while not list((tmp_path / "store" / "running").glob("*.json")):
        time.sleep(0.01)
    time.sleep(3)
    done = kronsbl("status", tmp_path / "store")
    assert f"process {run.pid}" in done.stdout
    assert "running: " in done.stdout
    assert " left" in done.stdout
    run.kill()
    run.wait()
    [heartbeat] = (tmp_path / "store" / "running").glob("*.json")
    import json

    beat = json.loads(heartbeat.read_text())
    heartbeat.write_text(json.dumps({**beat, "updated": beat["updated"] - 1000}))
    assert "ended without a word" in kronsbl("status", tmp_path / "store").stdout


PUBLISH = """
import sys, pipeline
store = pipeline.Store.open(sys.argv[1])
print("ready", flush=True)
while True:
    pipeline.publish(store, force=True)
"""


@pytest.mark.parametrize("moment", range(6))
def test_readers_never_see_a_mixture_of_cubes(tiny, tmp_path, moment):
    tiny["campaign"] |= {"realizations": 30}
    whole = undisturbed(tiny, tmp_path / "store")
    process = subprocess.Popen(
        [sys.executable, "-c", PUBLISH, str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
    )
    with process.stdout:
        process.stdout.readline()
    end = time.monotonic() + 0.05 + 0.11 * moment
    while time.monotonic() < end:
        assert_same_numbers(open_results(tmp_path / "store").load(), whole)
    process.kill()
    process.wait()
    assert_same_numbers(open_results(tmp_path / "store").load(), whole)
    pipeline.publish(Store.open(tmp_path / "store"), force=True)
    assert_same_numbers(open_results(tmp_path / "store").load(), whole)
    # What the killed one left behind is swept out once it is old.
    for path in (tmp_path / "store" / "cubes").glob(".*"):
        os.utime(path, (0, 0))
    from pipeline.results.garbage import collect_garbage

    collect_garbage(Store.open(tmp_path / "store"))
    assert not list((tmp_path / "store" / "cubes").glob(".*"))
    assert_same_numbers(open_results(tmp_path / "store").load(), whole)
    shutil.rmtree(tmp_path / "store")


def run_script(folder, text):
    (folder / "script.py").write_text(text)
    command = [sys.executable, "script.py"]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("guarded", [False, True])
def test_a_script_without_a_main_guard_is_told_so_once(tiny, tmp_path, guarded):
    (tmp_path / "study.toml").write_text(tomli_w.dumps(tiny))
    call = 'pipeline.run("study.toml", "store", workers=2)'
    guard = 'if __name__ == "__main__":'
    done = run_script(
        tmp_path, f"import pipeline\n{guard if guarded else 'if True:'}\n    {call}\n"
    )
    if guarded:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert "script.py, line 3: workers import this script" in done.stderr.splitlines()[-1]
    assert done.stderr.endswith(f"{guard}\n")


@pytest.mark.parametrize(
    ("name", "code"),
    [("solvers", "import pipeline"), ("solvers", "import kronsbl"), ("pipeline", "import kronsbl")],
)
def test_a_module_that_hides_one_of_our_packages_is_named(tmp_path, name, code):
    (tmp_path / f"{name}.py").write_text("class Half: ...")
    last = run_script(tmp_path, code).stderr.splitlines()[-1]
    assert last.startswith("ImportError: kronsbl needs its package")
    assert str(tmp_path / f"{name}.py") in last
