"""The worst realizations: which they are, what is said of them, and how they are seen again."""

import json
import shlex

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.analysis import to_db, worst
from pipeline.analysis.describing import point_words, subset
from pipeline.cli.base import point_of
from pipeline.errors import InputError
from solvers import Status
from tests.cubes import cube
from tests.test_analysis import bounded


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 80), against=st.sampled_from([None, "s2"]))
def test_the_worst_are_those_of_sorting(seed, n, against):
    rng = np.random.default_rng(seed)
    results = cube(seed=seed)
    results.status.values[:] = rng.choice([*Status], results.status.shape)
    found = worst(results, "s0", against, n=n)
    losses = []
    for point in range(2):
        for number in range(30):
            cells = results.isel(snr_db=point, realization=number)
            values = []
            for label in ("s0", against or "s0"):
                cell = cells.sel(solver=label)
                status = Status(int(cell.status))
                worst_of_all = np.inf if status.failed else np.nan
                values.append(float(cell.nmse) if status.finished else worst_of_all)
            if not np.isnan(values).any():
                with np.errstate(invalid="ignore"):
                    behind = float(to_db(values[0]) - (to_db(values[1]) if against else 0))
                losses.append(0.0 if np.isnan(behind) else behind)
    assert len(found) == min(n, len(losses))
    assert [one.loss for one in found] == sorted(losses, reverse=True)[: len(found)]
    for one in found:
        cell = results.sel(solver="s0", realization=one.realization, **one.point)
        assert Status(int(cell.status)).failed or one.value == float(cell.nmse)
        json.dumps(one.record(), allow_nan=False)


def with_scores(**values):
    """A cube of one realization at one point whose measures and status are known."""
    results = cube(solvers=2, points=1, realizations=1)
    for name, value in values.items():
        old = results.get(name, results.nmse)
        new = np.zeros_like(old.values, dtype=old.dtype) + value
        results[name] = old.copy(data=new)
    return results


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "it converged, and nothing that is stored tells more"),
        ({"status": Status.COLLAPSED}, "collapsed"),
        ({"status": Status.DIVERGED}, "diverged"),
        ({"status": Status.MAX_ITERATIONS, "iterations": 7}, "ended at its cap of 7 iterations"),
        ({"inner_capped": 1}, "an inner loop ended at its cap"),
        ({"recall": 0.75, "precision": 1, "srr": 0.5}, "missed 25% of the support"),
        ({"recall": 1, "precision": 0.5}, "50% of the entries that it found are off the support"),
        ({"srr": 0.5}, "support recovered to 50%"),
    ],
)
def test_what_went_wrong(values, words):
    [one] = worst(with_scores(**values), "s0")
    assert one.words == words


def test_no_better_than_nothing():
    results = with_scores(nmse=1.5)
    results.nmse.attrs["zero_estimate"] = 1.0
    assert worst(results, "s0")[0].words == "no better than an estimate of 0"


def test_the_other_solver_may_have_failed_too():
    results = with_scores(status=Status.DIVERGED)
    [one] = worst(results, "s0", "s1")
    assert (one.loss, one.words) == (0.0, "diverged; s1 diverged")


def test_more_is_better_for_some_measures():
    results = cube(points=1)
    results.ser.attrs["better"] = "higher"
    [one] = worst(results, "s0", measure="ser", n=1)
    assert one.value == float(results.ser.sel(solver="s0").min())


@pytest.mark.parametrize("labels", [("s9", None), ("s0", "s9")])
def test_no_such_solver(labels):
    with pytest.raises(InputError, match="no solver 's9' in this cube; it has s0, s1, s2"):
        worst(cube(), *labels)


@pytest.mark.parametrize("labels", [("crb", None), ("svd", "crb")])
def test_a_bound_has_no_worst_realization(labels):
    with pytest.raises(InputError, match="crb is a bound, on means only"):
        worst(bounded(), *labels)


def test_one_value_per_realization_is_needed():
    results = cube()
    results["wide"] = results.nmse.expand_dims(pattern=2)
    with pytest.raises(InputError, match="wide has several values per realization"):
        worst(results, "s0", measure="wide")


def test_replay_options_name_the_cell():
    [one] = worst(cube().assign_coords(snr_db=[10.0, np.inf]).isel(snr_db=[1]), "s1", n=1)
    words = shlex.split(one.options)
    assert words[:4] == ["--solver", "s1", "--realization", str(one.realization)]
    assert point_of(tuple(words[4:])) == one.point == {"snr_db": np.inf}
    assert words[4:] == point_words(one.point)


def test_a_subset_keeps_its_dimensions():
    results = cube()
    part = subset(results, ["s2", "s0", "s2"], {"snr_db": 10})
    assert part.solver.values.tolist() == ["s2", "s0"]
    assert dict(part.status.sizes) == {"solver": 2, "snr_db": 1, "realization": 30}
    assert subset(results).identical(results)
    swept = results.assign_coords(solver=["a", "svd[prune=0.1]", "svd[prune=1]"])
    assert subset(swept, ["svd", "a"]).solver.values.tolist() == [*swept.solver.values[1:], "a"]
    for bad in ({"solvers": ["s7"]}, {"point": {"snr": 1}}, {"point": {"snr_db": 7}}):
        with pytest.raises(InputError):
            subset(results, **bad)
