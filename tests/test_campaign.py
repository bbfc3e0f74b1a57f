"""Campaign files: valid, or one line that names the key."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from pipeline import Campaign, InputError, Store
from pipeline.analysis import compare, latencies, summarize
from pipeline.campaign.axes import RESERVED_DIMENSIONS
from pipeline.campaign.blocks import Configuration, canonical
from pipeline.campaign.request import Request
from pipeline.results.layout import variables_of
from pipeline.scenarios import Synthetic
from solvers.acceleration import LEAPS
from solvers.kron_sbl import SVDKroSBL
from tests.cubes import cube
from tests.small_studies import with_latency

NAN = float("nan")
ROOT = Path(__file__).parent.parent


def at(path, value):
    """A change of one entry of the tables, by dotted path; DROP removes it."""

    def change(tables):
        *parents, key = path
        for parent in parents:
            tables = tables[parent]
        if value is DROP:
            del tables[key]
        else:
            tables[key] = value

    return change


DROP = object()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("campaign", "sed"), 1, "sed: unknown key in [campaign]; did you mean 'seed'?"),
        (("campaign", "seed"), -1, "campaign.seed: "),
        (("campaign", "seed"), 1.5, "campaign.seed: "),
        (("campaign", "seed"), True, "campaign.seed: "),
        (("campaign", "seed"), DROP, "campaign.seed: missing"),
        (("campaign", "name"), "a/b", "campaign.name: "),
        (("campaign", "name"), "", "campaign.name: "),
        (("campaign", "realizations"), 0, "campaign.realizations: "),
        (("campaign", "realizations"), "100", "campaign.realizations: "),
        (("campaign", "realizations"), 10**22, "campaign.realizations: "),
        (("campaign", "batch"), 0, "campaign.batch: "),
        (("campaign",), DROP, "campaign: missing"),
        (("campaign",), 3, "campaign: "),
        (("swep",), {}, "swep: unknown key in the file; did you mean 'sweep'?"),
        (("scenario",), DROP, "scenario: missing; add a table [scenario]"),
        (("scenario", "use"), DROP, "scenario.use: missing"),
        (("scenario", "use"), "syntetic", "scenario.use: unknown scenario 'syntetic'; did you"),
        (("scenario", "spars"), 3, "scenario: synthetic has no option 'spars'; did you mean"),
        (("scenario", "dims"), [0, 5, 5], "scenario: dims.0: "),
        (("scenario", "dims"), [5, 5], "scenario: measurements has 3 entries but dims has 2"),
        (("scenario", "dims"), "5", "scenario: dims: "),
        (("scenario", "sparsity"), 6, "scenario: sparsity 6 is larger than the dimension 5"),
        (("sweep", "snr"), [1], "sweep.snr: the scenario has no parameter 'snr'; did you mean"),
        (("sweep", "snr_db"), [], "sweep.snr_db: no values"),
        (("sweep", "snr_db"), [10, 10.0], "sweep.snr_db: duplicate values"),
        (("sweep", "snr_db"), [10, NAN], "sweep.snr_db: values must not be NaN"),
        (("sweep", "snr_db"), [10, "20"], "sweep.snr_db: values must be all numbers"),
        (("sweep", "snr_db"), ["a"], "scenario: snr_db: "),
        (("sweep", "snr_db"), 10, "sweep.snr_db: "),
        (("sweep", "snr_db"), [10, [20]], "sweep.snr_db: values must be all numbers"),
        (("sweep", "snr_db"), [10, {}], "sweep.snr_db: values are numbers, strings, booleans or"),
        (("sweep", "snr_reference"), [[5, NAN]], "sweep.snr_reference: values must not be NaN"),
        (("sweep", "snr_reference"), [[5, 5, 5], [5, 5, 5.0]], "snr_reference: duplicate values"),
        (("sweep", "dims"), [[5, 5, 5]], "sweep.dims: given in [scenario] as well"),
        (("sweep", "size"), {}, "sweep.size: no parameters; give at least one list"),
        (("sweep", "size"), {"snr": [1]}, "sweep.size.snr: the scenario has no parameter 'snr'"),
        (("sweep", "size"), {"gains": 3}, "sweep.size.gains: expected a list of values, got 3"),
        (
            ("sweep", "size"),
            {"gain_variance": [1, 2], "gains": ["product"]},
            "sweep.size: as many values of each are needed, got {'gain_variance': 2, 'gains': 1}",
        ),
        (("sweep", "size"), {"snr_db": [1]}, "sweep.snr_db: 'snr_db' is swept as well"),
        (("sweep", "measurements.3"), [4], "sweep.measurements.3: measurements has elements 0"),
        (("sweep", "measurements.x"), [4], "sweep.measurements.x: measurements has elements 0"),
        (("sweep", "measurements.00"), [4], "sweep.measurements.00: measurements has elements 0"),
        (("sweep", "sparsity.0"), [4], "sweep.sparsity.0: sparsity is not a list"),
        (("sweep", "sparsity"), [1, 2], "sweep.sparsity: given in [scenario] as well; drop one"),
        (("sweep", "gain_variance"), [1, -1], "at sweep snr_db = 10, gain_variance = -1"),
        (("sweep", "gain_variance"), [1, 10**20], "so many digits, got 100000000000000000000;"),
        (("sweep", "gain_variance"), [1.5, 1 + 2**60], "so many digits, got 1152921504606846977;"),
        (("sweep", "gain_variance"), [42209968, 2**64, 0, -1.2e-38], "so many digits, got 18446"),
        (("sweep", "gains"), ["product", "a\0"], "sweep.gains: strings without null characters"),
        (("sweep", "measurements"), {"0": [2]}, 'quote the key: "measurements.0" = [2]'),
        (("sweep", "solvers.svt.prune"), [0.1], "sweep.solvers.svt.prune: no solver 'svt'; did"),
        (("sweep", "solvers.svd.use"), ["a"], "sweep.solvers.svd.use: given in [solvers.svd] as"),
        (("sweep", "solvers.svd.prune"), [], "sweep.solvers.svd.prune: no values"),
        (("sweep", "solvers.svd.prune"), [-1], "solvers.svd[prune=-1]: prune must be at least 0"),
        (("sweep", "solvers.svd.prun"), [0], "solvers.svd[prun=0]: svd_krosbl has no option"),
        (
            ("sweep", "solvers"),
            {"svd": {"prune": [0]}},
            'quote the key: "solvers.LABEL.OPTION" = [',
        ),
        (("sweep", "solvers.svd.prune"), {"a": [0]}, 'quote the key: "solvers.LABEL.OPTION" = [0]'),
        (("sweep", 3), [0], "sweep.3"),
        (("sweep", "solver.svd.prune"), [0.1], 'an option of a solver, "solvers.LABEL.OPTION"'),
        (("sweep", "svd.prune"), [0.1], 'for an option of a solver, "solvers.LABEL.OPTION"'),
        (("sweep",), DROP, "scenario: snr_db: missing"),
        (("solvers",), {}, "solvers: no solver given"),
        (("solvers",), DROP, "solvers: missing; add a table [solvers.LABEL]"),
        (("solvers", "svd"), 3, "solvers.svd: "),
        (("solvers", "svd", "use"), DROP, "solvers.svd.use: missing"),
        (("solvers", "svd", "use"), "svd_krosb", "solvers.svd: unknown solver 'svd_krosb'; did"),
        (("solvers", "svd", "tolerence"), 1, "solvers.svd: svd_krosbl has no option 'tolerence'"),
        (("solvers", "svd", "tolerance"), -1, "solvers.svd: tolerance must be at least 0"),
        (("solvers", "svd", "batch"), 0, "solvers.svd.batch: must be a whole number"),
        (("limits",), {"seconds_per_realization": 0}, "limits.seconds_per_realization: "),
        (("limits",), {"seconds": 1}, "seconds: unknown key in [limits]"),
        (("output",), {"trace": 1}, "output.trace: "),
    ],
)
def test_bad_campaign(tiny, path, value, message):
    at(path, value)(tiny)
    with pytest.raises(InputError) as caught:
        Campaign.from_tables(tiny, "study.toml")
    text = str(caught.value)
    assert text.startswith("study.toml: ")
    assert message in text
    assert "\n" not in text


def test_solvers_in_the_singular_are_one_mistake(tiny):
    tiny["solver"] = tiny.pop("solvers")
    with pytest.raises(InputError) as caught:
        Campaign.from_tables(tiny)
    assert str(caught.value).endswith("unknown key in the file; did you mean 'solvers'?")


def test_a_misspelt_key_is_named_before_the_one_it_should_be(tiny):
    tiny["campaign"]["sed"] = tiny["campaign"].pop("seed")
    with pytest.raises(InputError, match=r"sed: unknown key .* did you mean 'seed'"):
        Campaign.from_tables(tiny)


def test_a_list_is_not_swept_whole_and_by_element(tiny):
    tiny["scenario"]["sparsity"] = [2, 2, 2]
    tiny["sweep"] |= {"sparsity.0": [1, 2], "sparsity": [1, 2]}
    with pytest.raises(InputError, match=r"sweep\.sparsity\.0: 'sparsity' is swept as well"):
        Campaign.from_tables(tiny)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(:", "cannot import solver 'broken_solvers:Half': SyntaxError"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("", "has no attribute 'Half'"),
    ],
)
def test_module_that_cannot_be_imported(tiny, tmp_path, monkeypatch, code, message):
    (tmp_path / "broken_solvers.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_solvers", raising=False)
    tiny["solvers"]["half"] = {"use": "broken_solvers:Half"}
    with pytest.raises(InputError, match=r"^campaign: solvers\.half: ") as caught:
        Campaign.from_tables(tiny)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[campaign", "not a TOML file"),
        ("[campaign]".encode("utf-16"), "not a TOML file: save it as UTF-8"),
        (b"a = " + b"[" * 10_000, "not a TOML file"),
        (None, "No such file"),
    ],
)
def test_unreadable_file(tmp_path, content, message):
    path = tmp_path / "study.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        Campaign.load(path)


def test_byte_order_mark(tiny, tmp_path):
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xef\xbb\xbf" + tomli_w.dumps(tiny).encode())
    assert Campaign.load(path) == Campaign.from_tables(tiny)


def test_numbers_of_numpy_are_numbers(tiny):
    tiny["sweep"]["snr_db"] = np.arange(10, 21, 10)
    tiny["scenario"]["sparsity"] = np.int64(2)
    campaign = Campaign.from_tables(tiny)
    tiny["sweep"]["snr_db"], tiny["scenario"]["sparsity"] = [10, 20], 2
    assert campaign.tables() == Campaign.from_tables(tiny).tables()


class TestWhatIsNoCampaignFile:
    def test_store(self, tiny, tmp_path):
        facts = {"folder": "/home/ada/studies"}
        store = Store.create(tmp_path / "store", Campaign.from_tables(tiny))
        with pytest.raises(InputError, match=r"store: a store, .*; give the campaign file that"):
            Campaign.load(store.path)
        store.add_request(Request.of(Campaign.from_tables(tiny), facts))
        for name in (".", "campaign.toml", *store.requests()):
            with pytest.raises(InputError, match=r"store.*campaign file is in /home/ada/studies"):
                Campaign.load(store.path / name)

    def test_folder(self, tiny, tmp_path):
        (tmp_path / "campaign.toml").write_text(tomli_w.dumps(tiny))
        with pytest.raises(InputError, match=r"a folder, not a campaign file; it has campaign"):
            Campaign.load(tmp_path)
        assert Campaign.load(tmp_path / "campaign.toml")


class TestModulesOfTheSameName:
    def load(self, tiny, folder, use):
        folder.mkdir(exist_ok=True)
        tiny["solvers"]["own"] = {"use": use}
        (folder / "study.toml").write_text(tomli_w.dumps(tiny))
        return Campaign.load(folder / "study.toml")

    def test_ours(self, tiny, tmp_path):
        (tmp_path / "solvers.py").write_text("class Half: ...")
        with pytest.raises(InputError, match=r"study.toml: use = 'solvers:Half': ") as caught:
            self.load(tiny, tmp_path, "solvers:Half")
        assert str(tmp_path / "solvers.py") in str(caught.value)
        assert str(ROOT / "solvers" / "__init__.py") in str(caught.value)

    def test_of_another_campaign(self, tiny, tmp_path):
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "own_solver.py").write_text("from solvers.oracle import OracleLS")
        assert self.load(tiny, tmp_path / "one", "own_solver:OracleLS")
        with pytest.raises(InputError, match=r"two.own_solver.py has the name of .*one.own_solver"):
            self.load(tiny, tmp_path / "two", "own_solver:OracleLS")

    def test_a_folder_that_nobody_names_harms_nothing(self, tiny, tmp_path):
        (tmp_path / "pipeline").mkdir()
        (tmp_path / "pipeline" / "__init__.py").write_text("raise RuntimeError")
        assert self.load(tiny, tmp_path, "svd_krosbl")
        code = "import pipeline; pipeline.Campaign"
        env = {"PYTHONPATH": os.pathsep.join(sys.path)}  # as worker processes have it
        subprocess.run([sys.executable, "-c", code], env=env, cwd="/", check=True)


def test_tables_come_back(tiny):
    tiny["output"] = {"trace": True}
    tiny["solvers"]["svd"] |= {"prune": [1e-3, 1e-2, 0.0], "batch": 2}
    campaign = Campaign.from_tables(tiny)
    again = Campaign.from_tables(campaign.tables())
    assert again == campaign
    assert [e.batch for e in again.entries] == [2, 3]
    assert again.entries[0].solver.prune == (1e-3, 1e-2, 0.0)


def test_grid_of_axes(tiny):
    tiny["sweep"] = {"snr_db": [10, 20, 30], "measurements.0": [3, 4]}
    campaign = Campaign.from_tables(tiny)
    assert [axis.dimension for axis in campaign.axes] == ["snr_db", "measurements_0"]
    assert list(campaign.points()) == list(itertools.product([10, 20, 30], [3, 4]))
    assert campaign.scenario_at((10, 3)).measurements == (3, 4, 5)
    places = [configuration.grid_index for configuration in campaign.configurations]
    assert places == list(itertools.product(range(2), range(3), range(2)))


def test_no_sweep_is_a_single_point(tiny):
    tiny["scenario"]["snr_db"] = 15
    del tiny["sweep"]
    assert [s.point for s in Campaign.from_tables(tiny).configurations] == [{}, {}]


def test_solver_of_ones_own_beside_the_campaign(tiny, tmp_path):
    (tmp_path / "my_solvers.py").write_text(
        "import dataclasses, solvers\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Half:\n"
        "    scale: float = 0.5\n"
        "    requires = ('true_variance',)\n"
        "    def solve(self, problem, *, initial=None, watch=None):\n"
        "        return solvers.create('oracle_ls').solve(problem)\n"
    )
    tiny["solvers"] = {"half": {"use": "my_solvers:Half", "scale": 0.25}}
    (tmp_path / "study.toml").write_text(tomli_w.dumps(tiny))
    campaign = Campaign.load(tmp_path / "study.toml")
    assert campaign.entries[0].solver.scale == 0.25


class TestKeys:
    """A key is decided by what decides the numbers, and by nothing else."""

    @staticmethod
    def keys(tables) -> dict[tuple[str, tuple], list[str]]:
        found: dict = {}
        campaign = Campaign.from_tables(tables)
        for block in campaign.blocks():
            configuration: Configuration = block.configuration
            found.setdefault((configuration.label, tuple(configuration.point.values())), []).append(
                block.key
            )
        return found

    def test_same_for_equal_numbers(self, tiny):
        before = self.keys(tiny)
        tiny["sweep"]["snr_db"] = [10.0, 20.0]
        tiny["solvers"]["svd"]["prune"] = 0.001
        assert self.keys(tiny) == before

    def test_stays_when_the_campaign_grows(self, tiny):
        before = self.keys(tiny)
        tiny["sweep"]["snr_db"] = [5, 10, 15, 20]
        tiny["campaign"]["realizations"] = 10
        tiny["solvers"] = {"am": {"use": "am_krosbl"}, **tiny["solvers"]}
        after = self.keys(tiny)
        for place, keys in before.items():
            assert after[place][: len(keys)] == keys

    def test_label_does_not_matter(self, tiny):
        before = self.keys(tiny)
        tiny["solvers"]["other"] = tiny["solvers"].pop("svd")
        assert self.keys(tiny)["other", (10,)] == before["svd", (10,)]

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("campaign", "seed"), 6),
            (("campaign", "batch"), 2),
            (("scenario", "sparsity"), 1),
            (("solvers", "svd", "prune"), 0.01),
            (("solvers", "svd", "use"), "ksbl"),
            (("output",), {"trace": True}),
        ],
    )
    def test_changes_with_what_decides_the_numbers(self, tiny, path, value):
        before = self.keys(tiny)["svd", (10,)]
        at(path, value)(tiny)
        assert not {*before} & {*self.keys(tiny)["svd", (10,)]}

    @pytest.mark.parametrize(
        ("owner", "name"), [(Synthetic, "draw_version"), (SVDKroSBL, "version")]
    )
    def test_changes_with_versions(self, tiny, owner, name, monkeypatch):
        before = self.keys(tiny)["svd", (10,)]
        monkeypatch.setattr(owner, name, getattr(owner, name) + 1)
        assert not {*before} & {*self.keys(tiny)["svd", (10,)]}

    def test_all_different(self, tiny):
        keys = [key for keys in self.keys(tiny).values() for key in keys]
        assert len(set(keys)) == len(keys) == 2 * 2 * 2

    def test_canonical_text(self):
        values = [10, 10.0, np.float64(10), np.int32(10)]
        assert len({canonical({"a": v}) for v in values}) == 1
        assert canonical({"a": True}) != canonical({"a": 1})
        assert canonical([1, (2.5,)]) == canonical((np.int8(1), np.array([2.5])))
        assert canonical(NAN) == canonical(np.float32("nan"))
        with pytest.raises(TypeError, match="set is not JSON"):
            canonical({"a": {1}})


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").rglob("*.toml")), ids=lambda p: p.stem)
def test_workflows_are_valid(path):
    from pipeline.driver.preparation import dry_run

    campaign = Campaign.load(path)
    dry_run(campaign)
    assert path.read_text().startswith("# ")  # says what it is


def test_names_are_asked_for_in_words(tiny):
    tiny["solvers"]["my solver"] = tiny["solvers"].pop("svd")
    with pytest.raises(InputError, match=r"^campaign: solvers\.my solver: a name has letters"):
        Campaign.from_tables(tiny)


def test_reserved_names_are_those_of_cubes_and_statistics(tiny):
    tiny["output"] = {"trace": True}
    request = Request.of(Campaign.from_tables(tiny), {})
    results = cube()
    names = {*variables_of(request), *summarize(results).variables}
    names |= {*compare(results, "s0").variables, *latencies(with_latency(results)).variables}
    own = {*results.dims, *request.measures, *LEAPS} - {"solver", "realization"}
    assert names - own <= RESERVED_DIMENSIONS


def test_an_snr_of_infinity_is_a_value_like_any_other(tiny):
    tiny["sweep"]["snr_db"] = [10, float("inf")]
    tiny["solvers"]["old"] = {"use": "svd_krosbl", "preset": "published"}
    campaign = Campaign.from_tables(tiny)
    assert campaign.tables()["sweep"]["snr_db"] == [10, float("inf")]
    assert Campaign.from_tables(campaign.tables()) == campaign
    keys = {block.files[0] for block in campaign.blocks()}
    assert len(keys) == 2 * 3 * 2


def test_a_grid_that_cannot_be_meant_is_refused_at_once(tiny):
    tiny["sweep"] = {"snr_db": list(range(600_000))}
    with pytest.raises(InputError, match="sweep: 1200000 configurations, at most 1000000"):
        Campaign.from_tables(tiny)


def test_whole_lists_are_swept_under_names_of_their_own(tiny):
    del tiny["scenario"]["measurements"]
    tiny["sweep"] = {"snr_db": [10], "measurements": [[4, 4, 5], [5, 5, 5]]}
    campaign = Campaign.from_tables(tiny)
    assert list(campaign.points()) == [(10, "4x4x5"), (10, "5x5x5")]
    assert [s.measurements for s in campaign.scenarios] == [(4, 4, 5), (5, 5, 5)]
    assert campaign.axes[1].places["4x4x5"] == {"measurements": [4, 4, 5]}


def test_parameters_move_together_along_one_axis(tiny):
    sizes = {"dims": [[5, 5, 5], [6, 6, 6]], "measurements": [[4, 4, 5], [5, 5, 5]]}
    tiny["sweep"] |= {"size": {**sizes, "sparsity": [2, 3]}}
    for name in ("dims", "measurements", "sparsity"):
        del tiny["scenario"][name]
    campaign = Campaign.from_tables(tiny)
    assert [axis.dimension for axis in campaign.axes] == ["snr_db", "size"]
    assert campaign.axes[1].values == ("5x5x5", "6x6x6")
    assert [(s.snr_db, s.dims[0], s.measurements[0], s.sparsity) for s in campaign.scenarios] == [
        *((10, 5, 4, 2), (10, 6, 5, 3)),
        *((20, 5, 4, 2), (20, 6, 5, 3)),
    ]
    assert Campaign.from_tables(campaign.tables()) == campaign


def test_an_axis_is_no_part_of_what_decides_a_number(tiny):
    """Blocks are the same however a point was come to, so that stores can grow either way."""
    plain = Campaign.from_tables(tiny)
    del tiny["scenario"]["sparsity"], tiny["scenario"]["dims"]
    tiny["sweep"] = {"load": {"snr_db": [10, 20], "sparsity": [2, 2]}, "dims": [[5, 5, 5]]}
    zipped = Campaign.from_tables(tiny)
    assert {b.key for b in zipped.blocks()} == {b.key for b in plain.blocks()}


def test_a_plain_label_stops_all_configurations_of_its_solver(tiny):
    tiny["sweep"]["solvers.svd.prune"] = [1e-4, 0.01]
    tiny["campaign"]["realizations"] = 300
    tiny["stop"] = {"target": [{"half_width": 1.0, "solvers": ["svd"], "reference": "oracle"}]}
    rule = Request.of(Campaign.from_tables(tiny), {}).rule
    assert [pair.solver for pair in rule.pairs] == ["svd[prune=0.0001]", "svd[prune=0.01]"]
    tiny["stop"]["target"][0]["solvers"] = ["svd[prune=0.01]"]
    rule = Request.of(Campaign.from_tables(tiny), {}).rule
    assert [pair.solver for pair in rule.pairs] == ["svd[prune=0.01]"]


def test_options_of_solvers_become_configurations(tiny):
    tiny["sweep"]["solvers.svd.prune"] = [1e-4, 0.01]
    tiny["sweep"]["solvers.svd.noise"] = ["known", "estimate"]
    campaign = Campaign.from_tables(tiny)
    assert [axis.key for axis in campaign.axes] == ["snr_db"]
    assert list(campaign.solvers) == [
        "svd[prune=0.0001,noise=known]",
        "svd[prune=0.0001,noise=estimate]",
        "svd[prune=0.01,noise=known]",
        "svd[prune=0.01,noise=estimate]",
        "oracle",
    ]
    options = [(entry.solver.prune, entry.solver.noise) for entry in campaign.entries[:4]]
    assert options == list(itertools.product([1e-4, 0.01], ["known", "estimate"]))
    assert Campaign.from_tables(campaign.tables()) == campaign
    tiny["solvers"]["svd[prune=0.01,noise=known]"] = {"use": "omp"}
    with pytest.raises(InputError, match=r"two configurations would be called 'svd\[prune=0.01,"):
        Campaign.from_tables(tiny)


def test_a_target_may_be_of_one_configuration_of_a_swept_option(tiny):
    tiny["sweep"]["solvers.svd.prune"] = [1e-3, 0.1]
    target = {"half_width": 1.0, "reference": "oracle", "solvers": ["svd[prune=0.1]"]}
    tiny["stop"] = {"minimum": 6, "target": [target]}
    stop = Campaign.from_tables(tiny).stop
    assert stop.target[0].solvers == ["svd[prune=0.1]"]
    target["solvers"] = ["svd[prune=0.2]"]
    with pytest.raises(InputError, match=r"stop\.target\.0: no solver 'svd\[prune=0\.2\]'"):
        Campaign.from_tables(tiny)
