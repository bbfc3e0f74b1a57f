"""Programs of somebody's own as solvers, as docs/external.md has them."""

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

import pipeline
import solvers
from pipeline import Campaign, InputError, Store
from pipeline.campaign.request import Request
from pipeline.solving import provenance
from pipeline.solving.contract import BrokenContract
from pipeline.solving.external import External
from pipeline.solving.outcome import outcome, solve_block
from solvers import Problem, Status
from solvers.kron import kron_apply
from tests.problems import sparse_problem
from tests.test_foreign import said_to_come_from

PAGE = (Path(__file__).parent.parent / "docs" / "external.md").read_text(encoding="utf-8")
needs_octave = pytest.mark.skipif(shutil.which("octave") is None, reason="needs Octave")

READ = """
import sys, numpy as np
if "npz" not in sys.argv: import scipy.io
given = np.load("problem.npz") if "npz" in sys.argv else scipy.io.loadmat("problem.mat")
def save(**fields):
    if "npz" in sys.argv: np.savez("estimate.npz", **fields)
    else: scipy.io.savemat("estimate.mat", fields)
n, b = given["A1"].shape[1] * given["A2"].shape[1], given["y"].shape[1]
"""


ONES = """
import time
save(x=np.ones((given['A3'].shape[1] * n, b)), seconds=np.full(b, time.time()))
"""


def block(name):
    """What the page has of a file."""
    [text] = re.findall(rf"```\w+\n([#%] {re.escape(name)}\n.*?)```", PAGE, re.S)
    return text


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of a campaign, on the import path as its programs need it."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def program(folder, code, **options):
    """A solver whose program is Python code, of which `READ` is the beginning."""
    (folder / "solve.py").write_text(READ + code)
    kind = options.get("format", "mat")
    return External([sys.executable, "solve.py", kind], ["solve.py"], **options)


def small(**options):
    return sparse_problem(3, (4, 5), (6, 6), seed=91, **options)[0]


def test_the_programs_of_the_page(folder):
    """The one in Python, through a whole campaign, against what it does in this process."""
    for name in ("least_norm.py", "least_norm.toml"):
        (folder / name).write_text(block(name))
    campaign = Campaign.load("least_norm.toml")
    [configuration] = campaign.configurations
    problem, truth = configuration.draw(range(4))
    x = kron_apply([np.linalg.pinv(a) for a in problem.factors], problem.y)
    found = outcome(configuration, range(4))
    assert found.failures == {}
    expected = configuration.scenario.nmse(truth, problem, x)
    np.testing.assert_allclose(found.columns["nmse"], expected, rtol=1e-8)
    assert (found.columns["status"] == Status.CONVERGED).all()
    assert (found.columns["runtime"] > 0).all()


@needs_octave
@pytest.mark.parametrize("complex_valued", [False, True])
def test_the_paper_in_octave(folder, complex_valued):
    """He and Joseph's algorithm in Octave finds what ours does, iteration by iteration."""
    (folder / "svd_krosbl.m").write_text(block("svd_krosbl.m"))
    options = tomllib.loads(block("theirs.toml"))["solvers"]
    theirs, ours = (
        solvers.create(table.pop("use"), **table) for table in (options["theirs"], options["ours"])
    )
    problem, _ = sparse_problem(4, (5, 5, 6), (6, 6, 6), seed=92, complex_valued=complex_valued)
    found, expected = theirs.solve(problem), ours.solve(problem)
    np.testing.assert_allclose(found.x, expected.x, atol=1e-7 * np.abs(expected.x).max())
    np.testing.assert_array_equal(found.iterations, expected.iterations)
    assert (found.diagnostics["own_seconds"] > 0).all()


@needs_octave
def test_beside_ours_in_one_campaign(folder, client):
    for name in ("svd_krosbl.m", "theirs.toml"):
        (folder / name).write_text(block(name))
    pipeline.run(Campaign.load("theirs.toml"), "store", client)
    cube = pipeline.open_results("store")
    theirs, ours = cube.nmse.sel(solver="theirs"), cube.nmse.sel(solver="ours")
    np.testing.assert_allclose(theirs, ours, rtol=1e-5)
    assert (cube.status == Status.CONVERGED).sum() > 70


@pytest.mark.parametrize(
    ("kind", "complex_valued", "shared", "batch"),
    [("mat", False, False, 3), ("mat", True, True, 1), ("npz", True, False, 3),
     ("npz", False, False, 1), ("mat", False, False, 1)],
)  # fmt: skip
def test_there_and_back(folder, kind, complex_valued, shared, batch):
    """Everything that the page lists, in the order that it says."""
    solver = program(
        folder,
        """
A = [given["A1"], given["A2"]]
page = [[a if a.ndim == 2 else a[:, :, i] for a in A] for i in range(b)]
x = np.stack([np.kron(*p).conj().T @ given["y"][:, i] for i, p in enumerate(page)], axis=1)
save(x=x, iterations=np.arange(b) + 7.0, converged=np.arange(b) != 1, variance=np.abs(x),
     noise_var=2 * given["noise_var"], seconds=np.full(b, 0.5))
""",
        format=kind,
    )
    problem = small(complex_valued=complex_valued, shared=shared).take(np.arange(batch))
    found = solver.solve(problem)
    x = kron_apply([a.conj().swapaxes(-1, -2) for a in problem.factors], problem.y)
    np.testing.assert_allclose(found.x, x)
    np.testing.assert_allclose(found.variance, np.abs(x))
    np.testing.assert_allclose(found.noise_var, 2 * problem.noise_var)
    assert found.iterations.tolist() == [7, 8, 9][:batch]
    assert (
        found.status.tolist() == [Status.CONVERGED, Status.MAX_ITERATIONS, Status.CONVERGED][:batch]
    )
    assert found.diagnostics["own_seconds"].tolist() == [0.5] * batch


@pytest.mark.parametrize("noise", ["known", "estimate"])
def test_what_it_is_told(folder, noise):
    solver = program(folder, "sys.exit(' '.join(k for k in given if k[0] != '_'))", noise=noise)
    with pytest.raises(RuntimeError, match="ended with status 1") as caught:
        solver.solve(small())
    told = str(caught.value).rpartition(": ")[2].split()
    assert sorted(told) == ["A1", "A2", *(["noise_var"] if noise == "known" else []), "y"]


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("print('oh', 1 // 0)", RuntimeError, "ended with status 1.*ZeroDivisionError"),
        ("print('nothing to do')", RuntimeError, "left no estimate.npz; it said: nothing to do"),
        ("import os; os.kill(os.getpid(), 9)", RuntimeError, "ended with status (-9|137)"),
        ("save(y=1)", BrokenContract, "no x came back"),
        ("save(x=np.ones((b, n)))", BrokenContract, r"x of shape \(3, 36\) .*expected .*\(36, 3\)"),
        ("save(x=np.full((n, b), 'a'))", BrokenContract, "expected numbers"),
        ("save(x=np.ones((n, b)), iterations=4)", BrokenContract, "1 .* iterations came back"),
        ("open('estimate.mat', 'w').write(50 * 'text')", BrokenContract, "cannot be read .*-v7"),
    ],
)
def test_failures(folder, code, error, message):
    with pytest.raises(error, match=message) as caught:
        program(folder, code, format="mat" if "-v7" in message else "npz").solve(small())
    assert "kronsbl-" not in str(caught.value)  # the folder would make every message another one


def test_a_program_that_is_not_there():
    with pytest.raises(RuntimeError, match=r"127; it said: .*no-such-program: not found"):
        External(["no-such-program"]).solve(small())


def test_nan_is_a_realization_that_has_diverged(folder):
    solver = program(folder, "x = np.ones((n, b)); x[0, 1] = np.nan; save(x=x)")
    assert solver.solve(small()).status.tolist() == [
        Status.CONVERGED, Status.DIVERGED, Status.CONVERGED
    ]  # fmt: skip


def test_it_is_killed_with_its_children_at_the_time_limit(folder, tiny):
    """A realization over its time is one with that status, and nothing goes on."""
    code = f"""
import subprocess, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1); open('{folder}/late', 'w')"])
time.sleep(60)
"""
    (folder / "solve.py").write_text(READ + code)
    tiny["solvers"] = {
        "slow": {
            "use": "external",
            "command": [sys.executable, "solve.py"],
            "files": ["solve.py"],
            "noise": "estimate",
        }
    }
    start = time.monotonic()
    found = outcome(Campaign.from_tables(tiny).configurations[0], [0], limit=0.3)
    assert found.columns["status"].tolist() == [Status.TIME_LIMIT]
    assert time.monotonic() - start < 20
    time.sleep(1.5)
    assert not (folder / "late").exists()


def test_it_ends_with_its_worker(folder):
    """Also with one that is killed, and can do nothing about it any more."""
    worker = f"""
import numpy as np
from pipeline.solving.external import External
from tests.test_external import small
External(["sh", "-c", "echo $$ > {folder}/pid; sleep 60; touch {folder}/late"]).solve(small())
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    process = subprocess.Popen([sys.executable, "-c", worker], env=environment)
    pid = folder / "pid"
    _until(lambda: pid.exists() and pid.read_text().strip())
    process.kill()
    process.wait()
    _until(lambda: not alive(int(pid.read_text())))


def alive(pid):
    """Whether a process is there and no zombie that nobody has asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until(true):
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    pytest.fail("waited for half a minute")


def test_other_code_is_another_solver(folder):
    one, again, other = (program(folder, code) for code in ("a = 1", "a = 1", "a = 2"))
    assert one == again
    assert one.digest != other.digest
    with pytest.raises(ValueError, match=r"solve\.py: not what they were"):
        External(one.command, one.files, digest=one.digest)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "command must list a program"),
        ({"command": "octave"}, "command must be a list"),
        ({"command": [1]}, "command must be of type str"),
        ({"command": ["a"], "files": ["/etc/passwd"]}, "must be a path within the folder"),
        ({"command": ["a"], "files": ["../a"]}, "must be a path within the folder"),
        ({"command": ["a"], "files": ["no-such.m"]}, "no 'no-such.m' beside the campaign"),
        ({"command": ["a"], "format": "csv"}, "format must be one of"),
        ({"command": ["a"], "scaling": "data"}, "scaling must be one of"),
    ],
)
def test_bad_options(tiny, options, message):
    tiny["solvers"] = {"mine": {"use": "external", **options}}
    with pytest.raises(InputError, match=f"solvers.mine: .*{message}"):
        Campaign.from_tables(tiny)


def test_a_foreign_store_runs_no_command(folder, tmp_path_factory, tiny):
    """Solving again is running somebody's command: in a store of one's own, or where it is said."""
    (folder / "solve.py").write_text(READ + ONES)
    command = [sys.executable, "solve.py"]
    tiny["solvers"] = {"mine": {"use": "external", "command": command, "files": ["solve.py"]}}
    campaign = Campaign.from_tables(tiny)
    store = Store.create(tmp_path_factory.mktemp("elsewhere") / "store", campaign)
    store.add_request(Request.of(campaign, provenance.of_request(folder)))
    store.write(block := next(campaign.blocks()), solve_block(block))
    assert pipeline.verify(store).exact == 1
    said_to_come_from(store, "/nowhere")
    verdict = pipeline.verify(store)
    assert (verdict.solved, verdict.ok) == (0, True)
    assert "external: its code was in /nowhere" in verdict.skipped[0]
    with pytest.raises(InputError, match="external: its code was in /nowhere"):
        pipeline.replay(store, "mine", 0, snr_db=10)
    assert pipeline.verify(store, code=folder).exact == 1
    (folder / "solve.py").write_text("import this")
    assert "not what they were" in pipeline.verify(store, code=folder).skipped[0]


def test_zero_measurements_are_not_asked_about(folder):
    solver = program(folder, "save(x=np.ones((n, b)), iterations=np.full(b, b))")
    problem = small()
    y = problem.y.copy()
    y[1] = 0
    found = solver.solve(Problem(y, problem.factors, problem.noise_var))
    assert found.iterations.tolist() == [2, 0, 2]
    assert (found.x[1] == 0).all()
