"""A word where a statistic means little: what is counted, where it is marked, how it is said."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.analysis import caveats, compare, shares, summarize
from pipeline.cli import tables
from solvers import Status, endings
from tests.cubes import cube


def ended(results, solver, number, status, iterations=150, point=slice(None)):
    """Have the first realizations of a solver end otherwise."""
    place = (list(results.solver.values).index(solver), point, slice(number))
    results.status.values[place] = status
    results.iterations.values[place] = iterations
    return results


def test_what_counts():
    assert set(Status) - set(endings.telling()) == {
        Status.NOT_RUN,
        Status.NOT_APPLICABLE,
        Status.CONVERGED,
        Status.PRECISION_LIMIT,
        Status.BOUND,
    }
    assert set(endings.PHRASES) | {Status.MAX_ITERATIONS} == set(endings.telling())


def test_nothing_to_say():
    results = ended(cube(), "s1", 1, Status.MAX_ITERATIONS)
    assert caveats(results) == []
    assert not summarize(results).doubtful.any()
    assert not any("†" in str(line) for line in tables.summary(results, "nmse")[1:])


def test_a_solver_at_its_cap():
    results = ended(cube(realizations=360), "s1", 321, Status.MAX_ITERATIONS)
    ended(results, "s1", 3, Status.DIVERGED, point=0)
    [caveat] = caveats(results)
    assert caveat.sentence == "s1: 639 of 720 ended at 150 iterations, 3 diverged"
    assert caveat.endings == {"max_iterations": 639, "diverged": 3}
    assert (caveat.cells, caveat.iterations, caveat.points, caveat.doubtful) == (720, [150], 2, 2)
    assert json.loads(json.dumps(caveat._asdict()))["sentence"] == caveat.sentence


def test_a_single_point():
    results = ended(cube(points=3, realizations=20), "s0", 2, Status.COLLAPSED, point=1)
    ended(results, "s0", 1, Status.MAX_ITERATIONS, 9, point=0)
    ended(results, "s0", 1, Status.MAX_ITERATIONS, 12, point=2)
    [caveat] = caveats(results)
    assert caveat.sentence == (
        "s0: 2 of 60 ended at 9 to 12 iterations, 2 collapsed, more than 5 % of them at 1 of 3 "
        "points"
    )
    assert summarize(results).doubtful.sel(solver="s0").values.tolist() == [False, True, False]


def test_marks_in_tables():
    results = ended(cube(realizations=20), "s1", 2, Status.MAX_ITERATIONS, point=0)
    table, *lines = tables.summary(results, "nmse")
    assert [str(cell).endswith("†") for cell in table.columns[3].cells] == [
        *(False, False),
        *(True, False),
        *(False, False),
    ]
    assert lines[-2].startswith("† more than 5 % of these realizations ended at a cap")
    assert lines[-1].strip().startswith("s1: 2 of 40 ended at 150 iterations, more than 5 %")
    for reference, marked in (("s0", [("s1", 0)]), ("s1", [("s0", 0), ("s2", 0)])):
        found = compare(results, reference).doubtful
        there = [(str(found.solver.values[i]), int(j)) for i, j in np.argwhere(found.values)]
        assert there == marked
    assert "s1: 2 of 40" in tables.comparison(results, compare(results, "s0"))[-1]


@given(seed=st.integers(0, 2**32), weights=st.lists(st.integers(0, 30), min_size=14, max_size=14))
def test_shares_are_those_of_counting(seed, weights):
    rng = np.random.default_rng(seed)
    chances = np.array([*weights[: len(Status)], 1])
    results = cube(realizations=25)
    statuses = np.array([*Status, Status.CONVERGED])
    results.status.values[:] = rng.choice(statuses, results.status.shape, p=chances / chances.sum())
    found = shares(results)
    summary = summarize(results)
    for solver in range(3):
        for point in range(2):
            cells = [Status(int(s)) for s in results.status.values[solver, point]]
            ran = [status for status in cells if status.ran]
            at = {"solver": solver, "snr_db": point}
            telling = [status for status in ran if status in endings.telling()]
            assert int(found.cells.isel(at)) == len(ran)
            assert int(found.number.isel(at).sum()) == len(telling)
            assert bool(summary.doubtful.isel(at)) == (len(telling) > 0.05 * len(ran))
    assert bool(summary.doubtful.any()) == bool(caveats(results))


@pytest.mark.parametrize("statuses", [[], [1, 1, 5]])
def test_no_endings_are_none(statuses):
    assert not endings.counted(statuses)
