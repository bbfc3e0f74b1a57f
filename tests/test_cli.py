"""The command line: what people see, and how it ends."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from click.testing import CliRunner
from rich.console import Console

import pipeline
from pipeline import Campaign
from pipeline.campaign.request import Request
from pipeline.cli import main
from pipeline.cli.base import show
from pipeline.cli.terminal import new_table
from pipeline.driver import run as driver

ROOT = Path(__file__).parent.parent


@pytest.fixture
def study(tiny, tmp_path):
    """A small campaign file."""
    path = tmp_path / "tiny.toml"
    path.write_text(tomli_w.dumps(tiny))
    return path


@pytest.fixture
def finished(tiny, tmp_path, client):
    """The store of a finished small campaign."""
    pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", client)
    return tmp_path / "store"


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_run_from_a_file(study, kronsbl, tmp_path):
    first = kronsbl("run", study, "--workers", 1)
    assert first.returncode == 0, first.stderr
    assert "24/24 cells" in first.stdout
    assert "Open: python -c" in first.stdout
    assert "kronsbl plot results/tiny -o tiny.png" in first.stdout
    assert (tmp_path / "results" / "tiny" / "LATEST").exists()
    again = kronsbl("run", study, "--workers", 1, "--realizations", 9, "--quiet")
    assert again.returncode == 0, again.stderr
    assert again.stdout == ""
    cube = pipeline.open_results(tmp_path / "results" / "tiny")
    assert cube.sizes["realization"] == 9


def test_a_run_says_so_where_another_has_asked_for_more_meanwhile(
    tiny, study, finished, monkeypatch
):
    tiny["campaign"]["realizations"] *= 2
    publish = driver._publish

    def overtaken(store, **options):
        store.add_request(Request.of(Campaign.from_tables(tiny), {}))
        return publish(store, **options)

    monkeypatch.setattr(driver, "_publish", overtaken)
    done = invoke("run", study, "--store", finished, "--quiet")
    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("kronsbl: 24 cells of the store's newest request are not done yet")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ("seed = -1", "campaign.seed"),
        ("sed = 1", "sed"),
        ("realizations = 0", "campaign.realizations"),
    ],
)
def test_bad_campaign_is_one_line_and_exit_2(study, kronsbl, tmp_path, change, names):
    key = change.split(" = ")[0]
    lines = [line for line in study.read_text().splitlines() if not line.startswith(f"{key} =")]
    study.write_text("\n".join(lines).replace("[campaign]", f"[campaign]\n{change}"))
    before = set(tmp_path.rglob("*"))
    done = kronsbl("run", study)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert names in done.stderr
    assert str(study) in done.stderr
    assert set(tmp_path.rglob("*")) == before


def test_bad_stores_are_one_line_and_exit_2(study, tmp_path):
    (tmp_path / "file").write_text("x")
    cases = [
        ("run", study, "--store", tmp_path / "file"),
        ("run", study, "--store", "/proc/store"),
        ("run", tmp_path / "nowhere.toml"),
        ("status", tmp_path / "nowhere"),
        ("summary", tmp_path),
        ("plot", tmp_path / "nowhere", "-o", tmp_path / "x.png"),
        ("publish", tmp_path),
        ("gc", tmp_path / "file"),
    ]
    for case in cases:
        done = invoke(*case)
        assert done.exit_code == 2, case
        assert len(done.output.splitlines()) == 1, case
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("command", ["", "run", "plan", "replay"])
def test_help_shows_examples_line_by_line(command):
    lines = invoke(*command.split(), "--help").output.splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip().startswith("Example"))
    assert lines[at + 1].strip().startswith(f"kronsbl {command}".strip())


def test_summary_prints_every_point(finished):
    done = invoke("summary", finished)
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    assert [line[:2] for line in lines if line[:1] in (["svd"], ["oracle"])] == [
        ["svd", "10"],
        ["svd", "20"],
        ["oracle", "10"],
        ["oracle", "20"],
    ]
    cube = pipeline.open_results(finished)
    mean = 10 * np.log10(float(cube.nmse.sel(solver="svd", snr_db=10).mean()))
    assert f"{mean:.2f}" in done.output
    done = invoke("summary", finished, "--measure", "nmsee")
    assert done.exit_code == 2
    assert "no measure 'nmsee' in this cube; it has " in done.output


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_plot_writes_the_figure(finished, tmp_path, suffix):
    target = tmp_path / f"figure.{suffix}"
    done = invoke("plot", finished, "-o", target, "--measure", "srr")
    assert done.exit_code == 0, done.output
    assert target.stat().st_size > 5_000


def test_plot_refuses_an_unknown_format(finished, tmp_path):
    done = invoke("plot", finished, "-o", tmp_path / "figure.xyz")
    assert done.exit_code == 2
    assert "figure.xyz" in done.output


def test_status_counts_cells(finished):
    next((finished / "blocks").rglob("*.npz")).unlink()
    done = invoke("status", finished)
    assert done.exit_code == 0
    assert "7 blocks" in done.output
    state = json.loads(invoke("status", finished, "--json").output)
    assert sorted((s["done"], s["pending"]) for s in state["configurations"]) == [
        (3, 3),
        (6, 0),
        (6, 0),
        (6, 0),
    ]
    assert not state["complete"]
    assert state["bytes"]["blocks"] > 1000


def test_solvers_lists_every_option():
    done = invoke("solvers")
    assert done.exit_code == 0
    for word in ("am_krosbl", "inner_max_iterations", "oracle_ls", "arXiv 2307.14719"):
        assert word in done.output


def test_help_and_version():
    assert "kronsbl run workflows/quickstart.toml" in invoke("--help").output
    for command in main.commands:
        assert invoke(command, "--help").exit_code == 0
    assert "version" in invoke("--version").output
    assert invoke("rnu").exit_code == 2


HEAVY = ("distributed", "matplotlib", "zarr")


@pytest.mark.parametrize(
    "arguments", [("--help",), ("status", "STORE"), ("run", "BAD")], ids=["help", "status", "run"]
)
def test_light_commands_do_not_import_the_heavy_packages(finished, study, arguments):
    study.write_text(study.read_text().replace("seed", "sed"))
    places = {"STORE": str(finished), "BAD": str(study)}
    code = (
        "import sys\nfrom pipeline.cli import main\n"
        f"try:\n    main({[places.get(a, a) for a in arguments]})\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_quickstart_is_valid_and_as_the_readme_says():
    campaign = Campaign.load(ROOT / "workflows" / "quickstart.toml")
    assert [e.label for e in campaign.entries] == ["am", "svd", "oracle"]
    assert campaign.realizations >= 100
    assert shutil.which("kronsbl", path=str(Path(sys.executable).parent))


@pytest.mark.parametrize("width", [40, 80, 200])
def test_tables_lose_nothing_on_narrow_terminals(width):
    table = new_table(["solver", "snr_db"], [f"figure {k}" for k in range(9)])
    table.add_row("am", "5", *(f"{k}.00 [–, –]" for k in range(9)))
    console = Console(width=width, record=True, file=io.StringIO())
    show(console, table, "failed: [bold] is no markup, nor is [/]")
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert all(f"figure {k}" in text and f"{k}.00 [–, –]" in text for k in range(9))
    assert text.count("am") == text.count("solver") >= 200 // width
    assert "[bold] is no markup, nor is [/]" in text
