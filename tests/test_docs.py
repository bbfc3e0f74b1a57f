"""The pages in docs/ and the README: what they show is run, what they name is there.

Conventions of the pages: a block whose first line is ``# NAME.EXT`` is a file of that name, one
that begins with ``# in NAME.toml`` changes tables of it; other Python runs in one namespace per
page. A text block after a command is (part of) what it prints, up to numbers.
"""

import ast
import contextlib
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import NamedTuple

import click
import dask
import distributed
import numpy as np
import pytest
import tomli_w
import yaml
from click.testing import CliRunner
from markdown_it import MarkdownIt

import pipeline
import solvers
from pipeline import Campaign
from pipeline.campaign.request import Request
from pipeline.campaign.settings import ClusterSettings
from pipeline.cli import main
from pipeline.cluster.batch import EXAMPLE, job_script
from pipeline.cluster.systems import SYSTEMS
from pipeline.results.layout import variables_of
from pipeline.scenarios import REGISTRY as SCENARIOS
from solvers.registry import REGISTRY, Registry
from tests.problems import sparse_problem

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
MARKDOWN = MarkdownIt("commonmark").enable("table")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


class Block(NamedTuple):
    language: str
    text: str

    @property
    def lines(self):
        return self.text.splitlines()

    @property
    def heading(self):
        """What the first line says of the block as a file: (changes it, its name)."""
        found = re.fullmatch(r"# (in )?([\w-]+\.(?:py|toml))", self.lines[0])
        return (bool(found[1]), found[2]) if found else (False, "")


def tokens_of(page):
    for token in MARKDOWN.parse(page.read_text(encoding="utf-8")):
        yield token
        yield from token.children or ()


def blocks_of(page):
    return [Block(t.info, t.content) for t in tokens_of(page) if t.type == "fence"]


def block_of(name, language, containing=""):
    [block] = [b for b in blocks_of(DOCS / name) if b.language == language and containing in b.text]
    return block


def commands_of(page):
    """Words of every shell line that calls kronsbl, and of such code in the text."""
    lines = [line for b in blocks_of(page) if b.language == "sh" for line in b.lines]
    lines += [t.content for t in tokens_of(page) if t.type == "code_inline"]
    words = [shlex.split(line, comments=True) for line in lines if line.startswith("kronsbl ")]
    return [w[1:] for w in words if len(w) > 1]


def anchors_of(page):
    """Fragments that GitHub makes of a page's headings."""
    tokens = list(tokens_of(page))
    titles = [b.content for a, b in itertools.pairwise(tokens) if "heading_o" in a.type]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def bare(line):
    """The words of a line of output, without numbers, units and rules."""
    words = re.sub(r"[\[\],;:]", " ", line).split()
    units = {"s", "ms", "min", "h", "B", "kB", "MB", "GB"}
    return [w for w in words if w not in units and not re.search(r"\d|─", w)]


def forget(folder):
    """Have modules of a folder imported anew when they are next asked for."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


class Reader:
    """Does what a page says, in the present folder."""

    def __init__(self):
        self.output, self.names = "", {}

    def follow(self, page):
        for block in blocks_of(page):
            {"python": self.python, "toml": self.toml, "sh": self.shell, "text": self.text}.get(
                block.language, lambda _: None
            )(block)

    def python(self, block):
        _, name = block.heading
        if name:
            Path(name).write_text(block.text)
        else:
            exec(compile(block.text, "block", "exec"), self.names)

    def toml(self, block):
        changes, name = block.heading
        tables = tomllib.loads(block.text)
        if changes:
            whole = tomllib.loads(Path(name).read_text())
            for key, table in tables.items():
                whole[key] = {**whole.get(key, {}), **table}
            Path(name).write_text(tomli_w.dumps(whole))
        elif name:
            Path(name).write_text(block.text)
        else:
            Campaign.from_tables(tables)

    def shell(self, block):
        for line in block.lines:
            words = shlex.split(line, comments=True)
            if words[:1] == ["kronsbl"]:
                forget(Path.cwd())  # as in a process of its own
                done = CliRunner().invoke(main, words[1:])
                assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
                self.output = done.output
            elif "pytest" in words:
                path = os.pathsep.join([str(ROOT), str(Path.cwd())])
                command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
                subprocess.run(
                    [*command, words[-1]], check=True, timeout=100, env={"PYTHONPATH": path}
                )

    def text(self, block):
        printed = [bare(line) for line in self.output.splitlines()]
        for line in filter(None, block.lines):
            if line.startswith("results/"):
                assert Path(line.split()[0]).exists(), line
            else:
                assert bare(line) in printed, f"{line}\n not in\n{self.output}"


@pytest.fixture
def reader(tmp_path, monkeypatch, client):
    """A reader in an empty folder, with the tests' cluster instead of one per command."""

    @contextlib.contextmanager
    def connect(*_, **__):
        yield client

    monkeypatch.setattr("pipeline.driver.run.connect", connect)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    yield Reader()
    signal.signal(signal.SIGTERM, handler)
    forget(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "adding-a-solver.md",
        "adding-a-scenario.md",
        "adding-a-figure.md",
        "numbers.md",
        "precise.md",
        "first-day.md",
        "recorded.md",
    ],
)
def test_page_can_be_followed(name, reader):
    reader.follow(DOCS / name)


class Newcomer(Reader):
    """Does what a page says with a kronsbl that is installed elsewhere, without what tests need."""

    def __init__(self, environment):
        super().__init__()
        self.bin = environment / "bin"

    def shell(self, block):
        for line in block.lines:
            words = shlex.split(line, comments=True)
            self._call(str(self.bin / words[0]), *words[1:])

    def python(self, block):
        self._call(str(self.bin / "python"), "-c", block.text)

    def _call(self, *words):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
        done = subprocess.run(words, capture_output=True, text=True, env=clean, check=False)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        self.output = done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)  # most of it is spent by pip
def test_a_newcomers_day_in_an_environment_of_its_own(tmp_path, monkeypatch):
    environment, day = tmp_path / "environment", tmp_path / "day"
    venv.create(environment, with_pip=True)
    newcomer = Newcomer(environment)
    newcomer._call(str(environment / "bin" / "pip"), "install", "--quiet", str(ROOT))
    day.mkdir()
    monkeypatch.chdir(day)
    newcomer.follow(DOCS / "first-day.md")
    for name in ("replay.png", "nmse.pdf", "day.html", "day.zip"):
        assert Path(name).stat().st_size > 5_000, name


def test_first_campaign_can_be_followed(reader):
    reader.follow(DOCS / "first-campaign.md")
    cube = pipeline.open_results("results/antennas")
    assert cube.sizes == {"solver": 3, "snr_db": 4, "realization": 100}
    assert cube.attrs["complete"] == 1
    assert Path("antennas.png").stat().st_size > 10_000


def test_readme(reader, tiny, client):
    import matplotlib.pyplot as plt

    tiny["campaign"]["name"] = "quickstart"
    pipeline.run(Campaign.from_tables(tiny), client=client)
    problem, _ = sparse_problem()
    reader.names |= {"y": problem.y, "factors": problem.factors, "noise_var": problem.noise_var}
    for block in blocks_of(ROOT / "README.md"):
        if block.language in ("python", "toml"):
            getattr(reader, block.language)(block)
    plt.close("all")


@pages
def test_links_lead_somewhere(page):
    for token in tokens_of(page):
        target = str(token.attrs.get("href", token.attrs.get("src", "")))
        if not target or "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors_of(file), target


@pages
def test_commands_and_their_options_exist(page):
    for words in commands_of(page):
        name = words[0]
        if name == "COMMAND" or name.startswith("-"):
            continue
        command = main.commands[name]
        # With the parent, since a command remembers what its first context calls its help.
        parent = click.Context(main, **main.context_settings)
        with command.make_context(name, [], parent, resilient_parsing=True) as context:
            given = command.make_parser(context).parse_args(words[1:])[0]
        assert set(given) <= {p.name for p in command.params}


@pages
def test_files_that_are_named_exist(page):
    text = " ".join(t.content for t in tokens_of(page) if t.type == "code_inline")
    for name in re.findall(r"(?<![\w/])(?:docs|pipeline|solvers|tests|benchmarks)/[\w./-]+", text):
        assert "NAME" in name or (ROOT / name).exists(), name


def test_citation_is_of_this_version():
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert about["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= about.keys()
    assert (about["version"], about["license"]) == (project["version"], project["license"])


def test_index_names_every_page():
    text = (DOCS / "README.md").read_text()
    assert all(f"({page.name})" in text for page in DOCS.glob("*.md") if page.name != "README.md")


def install(page, reader, folder):
    """The package of a page: its files, and what pip makes of its entry points."""
    for block in blocks_of(DOCS / page):
        if block.language == "python" and block.heading[1].endswith(".py"):
            reader.python(block)
    tables = tomllib.loads(block_of(page, "toml", "entry-points").text)
    [(group, names)] = tables["project"]["entry-points"].items()
    about = folder / f"{tables['project']['name'].replace('-', '_')}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    entries = "".join(f"{key} = {value}\n" for key, value in names.items())
    (about / "entry_points.txt").write_text(f"[{group}]\n{entries}")


def test_entry_point_gives_the_short_name(reader, tmp_path):
    install("adding-a-solver.md", reader, tmp_path)
    registry = Registry("solver", REGISTRY._group, {}, ("solve",))
    assert "my_lasso" in registry.names()
    assert registry.create("my_lasso", {"strength": 0.5}).strength == 0.5


def test_a_whole_solver_costs_what_its_algorithm_costs():
    text = block_of("adding-a-solver.md", "python", "class Lasso").text
    [lasso] = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    body = lasso.body[1:]  # without its docstring
    lines = text.splitlines()[body[0].lineno - 1 : lasso.end_lineno]
    header = ["@dataclass(frozen=True)", "class Lasso(Solver):"]
    assert len([line for line in header + lines if line.strip()]) <= 30


def test_a_kind_of_another_distribution_is_in_plot_and_report(reader, tiny, tmp_path, kronsbl):
    pipeline.run(Campaign.from_tables(tiny), "store")
    install("adding-a-figure.md", reader, tmp_path)
    there = {"env": {**os.environ, "PYTHONPATH": str(tmp_path)}}
    assert "success" in kronsbl("plot", "--help", **there).stdout
    drawn = ("plot", "store", "-o", "x.svg", "--kind", "success")
    assert kronsbl(*drawn, "--threshold", "0.5", **there).returncode == 0
    assert "NMSE below 0.5" in Path("x.svg").read_text()
    assert kronsbl("report", "store", "-o", "x.html", **there).returncode == 0
    assert "<h3>NMSE below 0.01</h3>" in Path("x.html").read_text()
    Path("success.py").write_text("import nowhere")
    for words in (drawn, ("report", "store", "-o", "y.html")):
        done = kronsbl(*words, **there)
        assert done.returncode == 2
        assert "cannot import kind of figure 'success'" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert kronsbl("plot", "store", "-o", "y.png", **there).returncode == 0


class TestClusters:
    PAGE = DOCS / "slurm.md"
    SETTINGS = DOCS / "clusters.md"

    def rows(self):
        text = self.SETTINGS.read_text(encoding="utf-8")
        return dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", text, re.M))

    def test_every_setting_is_there(self):
        rows = self.rows()
        assert set(rows) == set(ClusterSettings.model_fields)
        assert {name for name, default in rows.items() if default == "required"} == {*EXAMPLE}
        assert float(rows["start_timeout"]) == ClusterSettings().start_timeout

    def test_campaign_gives_a_job_script(self, tmp_path):
        tables = tomllib.loads(block_of("slurm.md", "toml", "[cluster]").text)
        settings = Campaign.from_tables(tables).cluster
        script = job_script(SYSTEMS["slurm"], settings, tmp_path)
        for line in (
            "#SBATCH -p main",
            "#SBATCH -A project",
            "#SBATCH -t 04:00:00",
            "#SBATCH --mem=32G",
            "module load python/3.12",
            "#SBATCH --constraint=epyc",
        ):
            assert line in script
        left = set(self.rows()) - set(tables["cluster"])
        assert left == {
            "device",
            "gpus",
            "log_directory",
            "lifetime",
            "start_timeout",
            "memory_per_core",
            "resources",
        }

    @pytest.mark.parametrize("name", ["pbs", "lsf", "sge"])
    def test_every_batch_system_has_a_section(self, tmp_path, name):
        section = self.SETTINGS.read_text(encoding="utf-8").partition(f"\n## {name.upper()}\n")[2]
        tables = [
            tomllib.loads(token.content)["cluster"]
            for token in MARKDOWN.parse(section.partition("\n## ")[0])
            if token.type == "fence"
        ]
        assert tables
        for table in tables:
            script = job_script(SYSTEMS[name], ClusterSettings(**table), tmp_path)
            for line in table.get("resources", []) + table.get("directives", []):
                assert f"{SYSTEMS[name].prefix} {line}\n" in script
        quoted = re.findall(r"`(-\w* ?[^`]+=?[^`]*\d[^`]*)`", section.partition("\n## ")[0])
        written = {"cores": 16, "walltime": "04:00:00", "jobs": 1}
        scripts = [
            job_script(SYSTEMS[name], ClusterSettings(**written, **memory), tmp_path)
            for memory in ({"memory": "32GB"}, {"memory_per_core": "2GB"})
        ]
        assert quoted
        assert all(any(q in script for script in scripts) for q in quoted), quoted

    def test_sizes_and_times_are_as_the_table_says(self):
        rows = self.SETTINGS.read_text(encoding="utf-8").splitlines()
        titles = next(r for r in rows if r.startswith("| | SLURM")).split("|")[2:-1]
        assert [title.strip().lower() for title in titles] == list(SYSTEMS)
        bytes_of = {"MB": 1024**2, "bytes": 1, "1024³": 1024**3, "1000³": 1000**3}
        for key, value in (("memory", "32000"), ("memory", "32g")):
            cells = next(r for r in rows if r.startswith(f'| {key} `"{value}"`')).split("|")[2:-1]
            for system, cell in zip(SYSTEMS.values(), map(str.strip, cells), strict=True):
                settings = ClusterSettings(memory=value)
                if cell.startswith("refused"):
                    with pytest.raises(pipeline.InputError):
                        system.memory(settings)
                else:
                    number = int(value.rstrip("g"))
                    assert system.memory(settings) == number * bytes_of[cell]
        seconds_of = {"hours": 3600, "minutes": 60, "seconds": 1}
        for value in ("90", "90:30"):
            cells = next(r for r in rows if r.startswith(f'| walltime `"{value}"`')).split("|")[
                2:-1
            ]
            for system, cell in zip(SYSTEMS.values(), map(str.strip, cells), strict=True):
                settings = ClusterSettings(walltime=value)
                if cell == "refused":
                    with pytest.raises(pipeline.InputError):
                        system.seconds(settings)
                else:
                    counts = [seconds_of[count] for count in cell.split(", ")]
                    numbers = map(int, value.split(":"))
                    total = sum(n * c for n, c in zip(numbers, counts, strict=True))
                    assert system.seconds(settings) == total

    def test_tls_configuration_is_read(self):
        given = yaml.safe_load(block_of("slurm.md", "yaml").text)
        with dask.config.set(dask.config.merge(dask.config.config, given)):
            security = distributed.Security()
        assert security.require_encryption
        assert security.tls_ca_file == "ca.pem"
        assert security.tls_client_key == "client-key.pem"

    def test_scripts_exist(self):
        for block in blocks_of(self.PAGE):
            for path in re.findall(r"workflows/\S+", block.text if block.language == "sh" else ""):
                assert (ROOT / path).exists(), path


class TestDesign:
    PICTURE = (DOCS / "figures" / "design.svg").read_text(encoding="utf-8")
    GROUND = frozenset({"errors", "html", "lazy", "signals"})

    def places(self):
        """Where each folder stands in the picture: down, then to the right."""
        boxes = re.findall(r'x="([\d.]+)" y="(\d+)" font-weight="bold">(\w+)<', self.PICTURE)
        return {name: (int(y), float(x)) for x, y, name in boxes}

    def imports(self):
        """Each import of one folder from another: (file, importing folder, imported folder)."""
        for top, path in (
            (t, p) for t in ("pipeline", "solvers") for p in (ROOT / t).rglob("*.py")
        ):
            parts = path.relative_to(ROOT).with_suffix("").parts
            importing = top if top == "solvers" else parts[1]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    modules = [f"{node.module}.{alias.name}" for alias in node.names]
                elif isinstance(node, ast.Import):
                    modules = [alias.name for alias in node.names]
                else:
                    continue
                for names in (m.split(".") for m in modules):
                    imported = names[0] if names[0] == "solvers" else [*names, ""][1]
                    if names[0] in ("pipeline", "solvers") and imported != importing:
                        yield path, importing, imported

    def test_picture_has_every_folder(self):
        folders = {p.parent.name for p in (ROOT / "pipeline").glob("*/__init__.py")}
        assert set(self.places()) == folders | {"solvers"}

    def test_nothing_is_imported_upwards(self):
        places = self.places()
        for path, importing, imported in self.imports():
            if importing in self.GROUND:
                assert imported in self.GROUND, path
            elif importing != "__init__" and imported not in self.GROUND:
                assert places[importing] < places[imported], (path, imported)


class TestNumbers:
    TEXT = (DOCS / "numbers.md").read_text(encoding="utf-8")
    LABELS = re.findall(r"\\tag\{(.*?)\}", TEXT)

    def test_every_equation_has_a_label_of_its_own(self):
        blocks = re.findall(r"```math\n.*?```", self.TEXT, re.S)
        assert [b for b in blocks if len(re.findall(r"\\tag\{eq:[a-z-]+\}", b)) != 1] == []
        assert len(set(self.LABELS)) == len(self.LABELS) == len(blocks)

    def test_equations_that_are_referred_to_exist(self):
        folders = ("solvers", "pipeline", "tests", "benchmarks")
        sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
        for path in (*sources, *PAGES):
            if path == Path(__file__):
                continue
            text = path.read_text(encoding="utf-8")
            assert set(re.findall(r"\beq:[a-z-]+", text)) <= {*self.LABELS}, path
            assert not re.search(r"\bEqs?\.\s+\(\d", text), f"{path}: by label, not by number"

    @pytest.mark.parametrize("use", SCENARIOS._built_in)
    def test_every_variable_is_explained(self, use, tmp_path):
        np.savez(tmp_path / "some.npz", y=np.ones((1, 2)), factor_0=np.ones((2, 3)))
        file = {"file": str(tmp_path / "some.npz")} if use == "recorded" else {}
        campaign = Campaign.from_tables(
            {
                "campaign": {"name": "all", "seed": 1, "realizations": 1},
                "scenario": {"use": use, "snr_db": 10, **file},
                "solvers": {"svd": {"use": "svd_krosbl"}},
                "output": {"trace": True},
            }
        )
        variables = variables_of(Request.of(campaign, {}))
        assert [name for name in variables if f"`{name}`" not in self.TEXT] == []

    def test_every_status_is_explained(self):
        rows = re.findall(r"^\| (\d+) \| `(\w+)` \|.*\| (yes|no) \|$", self.TEXT, re.M)
        assert [(int(value), name) for value, name, _ in rows] == [
            (s.value, s.name.lower()) for s in solvers.Status
        ]
        counted = {int(value) for value, _, used in rows if used == "yes"}
        assert counted == {*solvers.Status.values("finished")}

    def test_every_solver_is_explained(self):
        assert [n for n in REGISTRY._built_in if f"**`{n}`**" not in self.TEXT] == []


class TestPromises:
    """Every promise of docs/design.md names the tests that attack it, and they are there."""

    ROWS = (DOCS / "design.md").read_text(encoding="utf-8").partition("how it is tested\n")[2]
    NAMED = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", ROWS)

    def test_each_has_some(self):
        rows = [line for line in self.ROWS.splitlines() if line.startswith("| ")][1:]
        assert len(rows) > 15
        for row in rows:
            assert "`test_" in row.rpartition("|")[0].rpartition("|")[2], row

    @pytest.mark.parametrize(("file", "name"), NAMED)
    def test_is_there(self, file, name):
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        names = [getattr(node, "name", "") for node in tree.body]
        assert not name or name in names
