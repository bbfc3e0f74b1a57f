"""Campaign files mutated at random: valid, or one line that names the key; never a traceback."""

import copy
import random
import re
import tempfile
import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from pipeline import Campaign, InputError
from pipeline.campaign.request import Request
from pipeline.driver.preparation import prepare
from pipeline.results.export import export
from pipeline.results.publishing import open_results, publish
from tests import anything
from tests.conftest import TINY

IRS = {
    "campaign": {"name": "irs", "seed": 0, "realizations": 10},
    "scenario": {"use": "irs_mimo", "spread": 2},
    "sweep": {"snr_db": [4, 8.5], "pilot_slots": [2, 3]},
    "solvers": {
        "pc": {"use": "pc_krosbl", "beta": [0.5, 0.8], "coupled": [0, 2], "prune": 1e-2},
        "omp": {"use": "omp", "max_atoms": 5},
    },
    "limits": {"seconds_per_realization": 5.0},
    "output": {"trace": True},
}

WORDS = [
    "seed",
    "snr_db",
    "use",
    "dims",
    "am_krosbl",
    "synthetic",
    "measurements.0",
    "solvers",
    "solvers.svd.prune",
    "",
    "x y",
    "α",
]
SCALARS = st.one_of(
    st.sampled_from(WORDS),
    st.text(max_size=5),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.sampled_from([0, 1, -1, 3, 1e-3, 20]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(tables, path=()):
    """Every table and list of some tables, with the way there."""
    found = [(path, tables)]
    items = tables.items() if isinstance(tables, dict) else enumerate(tables)
    for key, value in items:
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


@st.composite
def mutated(draw):
    tables = copy.deepcopy(draw(st.sampled_from([TINY, IRS])))
    for _ in range(draw(st.integers(1, 3))):
        _, place = draw(st.sampled_from(places(tables)))
        how = draw(st.sampled_from(["set", "set", "add", "remove", "rename", "misspell"]))
        if isinstance(place, list):
            if how in ("set", "misspell") and place:
                place[draw(st.integers(0, len(place) - 1))] = draw(VALUES)
            elif how == "remove" and place:
                place.pop()
            else:
                place.append(draw(VALUES))
        elif how == "add" or not place:
            place[draw(st.sampled_from(WORDS))] = draw(VALUES)
        else:
            key = draw(st.sampled_from(sorted(place)))
            value = place.pop(key)
            if how == "set":
                place[key] = draw(VALUES)
            elif how == "rename":
                place[draw(st.sampled_from(WORDS))] = value
            elif how == "misspell":
                at = draw(st.integers(0, len(key)))
                place[key[:at] + key[at + 1 :]] = value
    return tables


def check(tables):
    try:
        campaign = Campaign.from_tables(tables, "study.toml")
    except InputError as error:
        text = str(error)
        assert text.startswith("study.toml: ")
        assert len(text.splitlines()) == 1
        assert re.search(r"\w", text.removeprefix("study.toml: "))
        return False
    for configuration in campaign.configurations:
        assert len(configuration.key(0)) == 32
    assert Campaign.from_tables(campaign.tables()) == campaign
    request = Request.of(campaign, {})
    written = tomli_w.dumps(request.to_tables())
    assert Request.from_tables(tomllib.loads(written)).asks_the_same(request)
    return True


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated())
def test_in_process(tables):
    check(tables)


NUMBERS = st.one_of(
    st.integers(-5, 5), st.integers(), st.sampled_from([2**63, -(2**63), 2**64, 10**400])
)
TEXTS = st.text(max_size=5) | st.sampled_from(["$x$", "[b]", "a::b", "\0", "\ud800"])
SWEPT = st.one_of(
    *(st.lists(one, min_size=1, max_size=4, unique=True) for one in (NUMBERS, st.floats(), TEXTS)),
    st.lists(NUMBERS | st.floats(-1e300, 1e300), min_size=1, max_size=4, unique=True),
    st.just([True, False]),
    st.lists(SCALARS, max_size=3),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes
)
@given(values=SWEPT, seed=st.integers(0, 10**30), cap=st.integers(1, 10**30))
def test_what_is_accepted_is_published(values, seed, cap):
    tables = copy.deepcopy(TINY)
    tables["campaign"]["seed"] = seed
    tables["scenario"] |= {"use": anything.USE, "snr_db": 10}
    tables["sweep"] = {"channel": values}
    tables["solvers"]["svd"]["max_iterations"] = cap
    if not check(tables):
        return
    event("accepted")
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(Campaign.from_tables(tables), Path(folder, "store"))
        publish(prepared.store)
        results = open_results(prepared.store)
        assert results.channel.values.tolist() == values
        assert results.attrs["seed"] == seed
        for suffix in (".nc", ".csv"):
            export(results, Path(folder, f"cube{suffix}"))


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated())
def test_ten_thousand_in_process(tables):
    check(tables)


@pytest.mark.slow
def test_through_the_command_line(tmp_path, kronsbl):
    rng, refused = random.Random(1), 0
    strategy = mutated()
    import warnings

    for number in range(40):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hypothesis: examples are for interactive use
            tables = strategy.example()
        if number % 4 == 0:
            tables = copy.deepcopy(TINY)
            tables["campaign"]["realizations"] = rng.choice([0, -1, "a", True])
        path = tmp_path / f"{number}.toml"
        try:
            path.write_text(tomli_w.dumps(tables))
        except (TypeError, ValueError):  # nothing that TOML can say
            continue
        if check(tables):
            continue
        done = kronsbl("run", path, "--store", tmp_path / "store")
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        assert not (tmp_path / "store").exists()
        refused += 1
    assert refused > 10
