"""The command line: what people see, and how it ends."""

import contextlib
import io
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import pipeline
from pipeline import Campaign
from pipeline.analysis.describing import point_words
from pipeline.campaign.request import Request
from pipeline.cli import main
from pipeline.cli.base import point_of, show
from pipeline.cli.running import _troubles
from pipeline.cli.terminal import add_row, grid_lines, new_table
from pipeline.driver import run as driver
from solvers import Status

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


def test_a_run_with_failures_ends_with_the_commonest_message_and_how_to_see_it(
    tiny, tmp_path, client
):
    tiny["sweep"] = {"gains": ["independent", "product"]}
    tiny["scenario"]["snr_db"] = 10
    tiny["solvers"]["bad"] = {"use": "tests.troublemakers:Trouble", "how": "raise_error"}
    done = pipeline.run(Campaign.from_tables(tiny), tmp_path / "my store", client)
    [line] = _troubles(done)
    said, _, command = line.partition("; see one: ")
    assert said == "bad failed, most often with RuntimeError: a bad day"
    program, *words = shlex.split(command)
    assert program == "kronsbl"
    replayed = invoke(*words)
    assert replayed.exit_code == 1
    assert "a bad day" in replayed.output.splitlines()[-1]


POINTS = st.dictionaries(
    st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.sampled_from(["20", "--x", "-o", "true", "a=b", "1\nb = 2", "'", '"']),
    max_size=3,
)


@given(point=POINTS)
def test_points_can_be_said_on_the_command_line(point):
    words = shlex.split(shlex.join(point_words(point)))
    again = point_of(tuple(words))
    assert again == point
    assert [*map(type, again.values())] == [*map(type, point.values())]


def test_mistakes_in_words_are_one_line_that_says_what_to_write(study, finished, tmp_path):
    nowhere, image = tmp_path / "nowhere" / "x", tmp_path / "x.png"
    replay = ("replay", finished, "--solver", "svd", "--realization", 0)
    cases = [
        (("plot", finished, "-o", nowhere.with_suffix(".png")), f"no folder {nowhere.parent}"),
        (("report", finished, "-o", nowhere.with_suffix(".html")), f"no folder {nowhere.parent}"),
        (("export", finished, "-o", nowhere.with_suffix(".nc")), f"no folder {nowhere.parent}"),
        ((*replay, "--snr_db", 10, "-o", nowhere.with_suffix(".pdf")), "no folder"),
        (("plot", finished, "-o", tmp_path), f"{tmp_path}: a folder; name a file in it"),
        (("plot", finished, "-o", image, "--width", 3.5), "--width: neither an option nor a swept"),
        (("plot", finished, "-o", image, "--mesure", "srr"), "did you mean --measure?"),
        ((*replay, "--snr", 10), "did you mean --snr_db?"),
        (("run", finished), "a store, not a campaign file; its campaign file is in"),
        (("plan", finished), "a store, not a campaign file"),
        (("summary", study), "a file, and a store is a folder; that of a campaign is results/NAME"),
        (("summary", finished.parent), "it has no campaign.toml); there are stores in it: store"),
    ]
    before = set(tmp_path.rglob("*"))
    for words, message in cases:
        done = invoke(*words)
        assert done.exit_code == 2, words
        [line] = done.output.splitlines()
        assert message in line, words
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a::b", "file:", "a b'c", "$x$", "[bold]", "~"])
def test_the_name_of_a_folder_is_a_name(tiny, tmp_path, client, name):
    pipeline.run(Campaign.from_tables(tiny), tmp_path / name, client)
    for command in ("status", "summary", "publish"):
        done = invoke(command, tmp_path / name)
        assert done.exit_code == 0, done.output
    with contextlib.chdir(tmp_path):
        results = pipeline.open_results(name)
    assert results.nmse.notnull().all().compute(), "read by workers, which are somewhere else"
    assert invoke("export", tmp_path / name, "-o", tmp_path / f"{name}.csv").exit_code == 0


@pytest.mark.parametrize("command", ["", "run", "plan", "replay"])
def test_help_shows_examples_line_by_line(command):
    lines = invoke(*command.split(), "--help").output.splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip().startswith("Example"))
    assert lines[at + 1].strip().startswith(f"kronsbl {command}".strip())


def test_summary_prints_every_point(finished):
    done = invoke("summary", finished)
    assert done.exit_code == 0, done.output
    table, others = done.output.split("Means of the other measures")
    lines = [line.split() for line in table.splitlines()]
    assert [line[:2] for line in lines if line[:1] in (["svd"], ["oracle"])] == [
        ["svd", "10"],
        ["svd", "20"],
        ["oracle", "10"],
        ["oracle", "20"],
    ]
    cube = pipeline.open_results(finished)
    mean = 10 * np.log10(float(cube.nmse.sel(solver="svd", snr_db=10).mean()))
    assert f"{mean:.2f}" in table
    assert "srr" in others
    done = invoke("summary", finished, "--measure", "nmsee")
    assert done.exit_code == 2
    assert "no measure 'nmsee' in this cube; it has " in done.output


@pytest.fixture
def grown(tiny, tmp_path, client):
    """The store of a campaign that sweeps whole lists, parameters together, and options."""
    sizes = {"dims": [[4, 4, 5], [5, 5, 5]], "sparsity": [1, 2]}
    tiny["scenario"] = {"use": "synthetic"}
    tiny["sweep"] = {
        "snr_db": [10],
        "measurements": [[3, 3, 3], [4, 4, 4]],
        "size": sizes,
        "solvers.svd.prune": [1e-3, 0.1],
    }
    pipeline.run(Campaign.from_tables(tiny), tmp_path / "store", client)
    return tmp_path / "store"


def test_labels_of_sweeps_are_names_everywhere(grown, tmp_path):
    cube = pipeline.open_results(grown)
    assert cube.solver.values.tolist() == ["svd[prune=0.001]", "svd[prune=0.1]", "oracle"]
    assert cube["size"].values.tolist() == ["4x4x5", "5x5x5"]
    assert json.loads(cube["size"].settings)["sparsity"] == [1, 2]
    assert bool((cube.status == Status.CONVERGED).all())
    svd, at = "svd[prune=0.1]", ("--size", "[4, 4, 5]", "--measurements", "4x4x4", "--snr_db", 10)
    shown = invoke("summary", grown, "--solvers", f"oracle,{svd}", *at)
    assert shown.exit_code == 0, shown.output
    assert "prune=0.001" not in shown.output
    assert "5x5x5" not in shown.output
    assert shown.output.index("oracle") < shown.output.index(svd)
    compared = invoke("compare", grown, "--reference", svd, "--solvers", "oracle", *at, "--json")
    assert {one["solver"] for one in json.loads(compared.output)["points"]} == {"oracle"}
    listed = invoke("worst", grown, "--solver", svd, "--against", "oracle", "-n", 1, *at)
    line, command = listed.output.splitlines()
    assert "at snr_db=10, measurements=4x4x4, size=4x4x5: nmse " in line
    replayed = invoke(*shlex.split(command)[1:])
    assert replayed.exit_code == 0, replayed.output
    for words in (("plot", "a.png", *at[2:]), ("report", "a.html"), ("export", "a.csv")):
        done = invoke(words[0], grown, "-o", tmp_path / words[1], *words[2:])
        assert done.exit_code == 0, done.output


def test_plan_shows_what_a_grid_means(tiny):
    tiny["sweep"] = {"load": {"snr_db": [10, 20], "gain_variance": [1, 2.5]}}
    tiny["sweep"] |= {"solvers.svd.prune": [1e-3, 0.1], "sparsity.0": [1, 2]}
    tiny["scenario"]["sparsity"] = [2, 2, 2]
    assert list(grid_lines(Campaign.from_tables(tiny))) == [
        "grid       2 × 2 = 4 points × 3 solvers × 6 realizations",
        "  load 10: snr_db = 10, gain_variance = 1",
        "  load 20: snr_db = 20, gain_variance = 2.5",
        "  sparsity_0: 1, 2",
        "  solver: svd[prune=0.001], svd[prune=0.1], oracle",
    ]
    tiny["sweep"] = {"snr_db": list(range(100))}
    few = "  snr_db: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …, 99"
    assert list(grid_lines(Campaign.from_tables(tiny)))[1] == few


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
    add_row(table, "am", "5", *(f"{k}.00 [–, –]" for k in range(9)))
    console = Console(width=width, record=True, file=io.StringIO())
    show(console, table, "failed: [bold] is no markup, nor is [/]")
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert all(f"figure {k}" in text and f"{k}.00 [–, –]" in text for k in range(9))
    assert text.count("am") == text.count("solver") >= 200 // width
    assert "[bold] is no markup, nor is [/]" in text


@given(texts=st.lists(st.text(st.characters(codec="ascii", exclude_categories=["C"])), min_size=2))
def test_tables_show_text_as_it_is(texts):
    console = Console(width=1000, record=True, file=io.StringIO())
    table = new_table(texts, [])
    add_row(table, *texts)
    show(console, table, "[bold]:smile:")
    shown = console.export_text()
    assert all(shown.count(text) >= 2 for text in texts)
    assert "[bold]:smile:" in shown
