"""What can be written into a campaign file: page, lists, a file to start from, and the schema."""

import dataclasses
import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner
from pydantic.dataclasses import dataclass as parameters

from pipeline import Campaign
from pipeline.campaign.reference import MODELS, keys_of, schema, starter
from pipeline.cli import main
from pipeline.errors import InputError
from pipeline.plots import kinds
from pipeline.scenarios import REGISTRY as SCENARIOS
from pipeline.scenarios.base import PARAMETERS
from pipeline.scenarios.synthetic import Synthetic
from solvers.registry import REGISTRY as SOLVERS
from tests import campaign_page
from tests.conftest import TINY

STUDIES = sorted((Path(__file__).parent.parent / "workflows").rglob("*.toml"))


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_the_page_is_what_the_models_make_of_it():
    assert campaign_page.PAGE.read_text(encoding="utf-8") == campaign_page.page(), (
        "write it anew: python -m tests.campaign_page"
    )


@pytest.mark.parametrize("found", [Campaign, *MODELS.values(), *SCENARIOS._built_in.values()])
def test_every_key_says_what_it_means(found):
    assert keys_of(found)
    for key in keys_of(found):
        assert key.meaning.endswith("."), key
        assert key.values, key


def test_every_table_of_the_file_has_a_model():
    assert {*schema()["$defs"]} == {model.__name__ for model in MODELS.values()}


@pytest.mark.parametrize("what", ["solvers", "scenarios", "figures"])
def test_lists_name_everything_there_is(what):
    registry = {"solvers": SOLVERS, "scenarios": SCENARIOS, "figures": kinds.REGISTRY}[what]
    done = invoke("list", what)
    assert done.exit_code == 0
    for name in registry.names():
        assert f"\n{name}  " in done.output
        for field in dataclasses.fields(registry.find(name)):
            assert f"  {field.name} " in done.output


def test_solvers_stand_in_families_with_source_and_needs():
    done = invoke("solvers")
    assert done.output == invoke("list", "solvers").output
    family, _, rest = done.output.partition("\nam_krosbl  ")
    assert family.rstrip().endswith("Kronecker SBL")
    assert {"Kronecker SBL", "greedy", "external", "bounds"} < {*done.output.splitlines()}
    assert "list of str" in rest
    assert rest.startswith("estimator: He and Joseph, arXiv 2307.14719, AM-KroSBL; needs noise_var")
    assert "crb  bound: Cramér–Rao bound, true support; needs noise_var, true_variance" in rest
    assert "known or estimate" in rest


@pytest.mark.parametrize("scenario", sorted({*SCENARIOS.names()} - {"recorded"}))
def test_a_campaign_to_start_from_is_a_campaign(scenario):
    text = starter("mine", scenario, ["am_krosbl", "oracle_ls"])
    campaign = Campaign.from_tables(tomllib.loads(text))
    assert list(campaign.solvers) == ["am_krosbl", "oracle_ls"]
    assert [axis.key for axis in campaign.axes] == ["snr_db"]
    for key in keys_of(SOLVERS.find("am_krosbl")):
        assert f"# {key.name} = {key.default_text}" in text


def test_what_stands_as_a_comment_is_the_default():
    text = starter("mine", "synthetic", ["svd_krosbl"])
    lines = [line.removeprefix("# ") for line in text.splitlines()[2:] if "OPTION" not in line]
    stated = Campaign.from_tables(tomllib.loads("\n".join(x for x in lines if " = –" not in x)))
    assert {b.key for b in stated.blocks()} == {
        b.key for b in Campaign.from_tables(tomllib.loads(text)).blocks()
    }


def test_init_writes_a_file_once(tmp_path):
    path = tmp_path / "a.toml"
    assert invoke("init", "a.toml", "-o", path, "--solvers", "omp, crb").output == f"{path}\n"
    assert 'name = "a"' in path.read_text()
    assert list(Campaign.load(path).solvers) == ["omp", "crb"]
    for words, message in (
        (("init", "a", "-o", path), "File exists; nothing was written"),
        (("init", "a", "--solvers", "opm"), "unknown solver 'opm'; did you mean 'omp'?"),
        (("init", "a", "--scenario", "syn"), "unknown scenario 'syn'"),
        (("init", "a b", "-o", tmp_path / "b.toml"), "campaign.name: a name has letters, digits"),
    ):
        done = invoke(*words)
        assert done.exit_code == 2
        assert message in done.output


@parameters(frozen=True, config=PARAMETERS, kw_only=True)
class Demanding(Synthetic):
    """A scenario that needs what only its user knows."""

    place: str


def test_init_says_what_only_the_user_knows():
    with pytest.raises(InputError, match=r"a campaign of tests\.test_reference:Demanding.*place"):
        starter("a", "tests.test_reference:Demanding", ["omp"])


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_schema_takes_our_studies(path):
    jsonschema.validate(tomllib.loads(path.read_text("utf-8")), json.loads(json.dumps(schema())))


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("campaign", "sed", 3),
        ("scenario", "snr", 3),
        ("scenario", "use", "synthtic"),
        ("output", "trace", 1),
        ("limits", "seconds_per_realization", -1),
    ],
)
def test_the_schema_refuses_what_the_models_refuse(table, key, value):
    tables = {**TINY, table: {**TINY.get(table, {}), key: value}}
    with pytest.raises(InputError):
        Campaign.from_tables(tables)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tables, schema())


def test_the_schema_takes_sweeps_of_every_kind():
    tables = tomllib.loads(starter("a", "synthetic", ["omp"]))
    tables["sweep"] = tomllib.loads(campaign_page.SWEEPS.split("```toml\n")[1].split("```")[0])
    tables["sweep"] = tables["sweep"].pop("sweep")
    jsonschema.validate(tables, schema())
    tables["solvers"]["svd"] = {"use": "svd_krosbl"}
    assert len(Campaign.from_tables(tables).solvers) == 4
