"""Whatever a solver or a scenario returns is a status and a message, never the end of a run."""

import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from pipeline import Campaign
from pipeline.solving.outcome import solve_block
from solvers import Estimate, Status
from tests import two_measures
from tests.troublemakers import plain_estimate


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("no words")


def throw(error):
    raise error


def full(estimate, value):
    return np.full(len(estimate.x), value)


BAD = {
    "no estimate": lambda _: None,
    "a list": lambda e: replace(e, x=e.x.tolist()),
    "objects": lambda e: replace(e, x=np.full(e.x.shape, None)),
    "words": lambda e: replace(e, x=np.full(e.x.shape, "x")),
    "status that says it was not run": lambda e: replace(e, status=full(e, 0)),
    "status that is not the solver's to give": lambda e: replace(e, status=full(e, 20)),
    "status between two": lambda e: replace(e, status=full(e, 1.5)),
    "iterations in words": lambda e: replace(e, iterations=full(e, "three")),
    "more iterations than can be": lambda e: replace(e, iterations=full(e, 10**12)),
    "noise without a batch": lambda e: replace(e, noise_var=0.5),
    "noise per measurement": lambda e: replace(e, noise_var=np.ones((len(e.x), 2))),
    "complex noise": lambda e: replace(e, noise_var=full(e, 1j)),
}

RAISING = {
    "leaves": (lambda: sys.exit(3), "SystemExit: 3"),
    "has no words": (lambda: throw(Unspeakable()), "Unspeakable: "),
    "says nothing": (lambda: throw(RuntimeError()), "RuntimeError: "),
    "says very much": (lambda: throw(RuntimeError("x" * 10_000)), f"RuntimeError: {'x' * 486}"),
}


@dataclass(frozen=True)
class Odd:
    how: str = ""

    def solve(self, problem, *, initial=None, watch=None) -> Estimate:
        if self.how in RAISING:
            RAISING[self.how][0]()
        return BAD[self.how](plain_estimate(problem))


def solved(tiny, how):
    tiny["solvers"] = {"odd": {"use": "tests.test_contract:Odd", "how": how}}
    return solve_block(next(Campaign.from_tables(tiny).blocks()))


@pytest.mark.parametrize("how", BAD)
def test_estimates_that_are_none(tiny, how):
    data = solved(tiny, how)
    assert (data.cells["status"] == Status.BROKE_CONTRACT).all()
    [(message, count)] = data.meta["failures"].items()
    assert message.startswith("BrokenContract: ")
    assert count == 3


@dataclass(frozen=True)
class Nosy:
    """Not derived from `Solver`, and after the truth."""

    requires: ClassVar[tuple[str, ...]] = ()

    def solve(self, problem, *, initial=None, watch=None) -> Estimate:
        if problem.true_variance is not None:
            raise RuntimeError("I know it all")
        return plain_estimate(problem)


def test_truth_is_kept_from_every_solver_that_does_not_require_it(tiny, monkeypatch):
    tiny["solvers"] = {"nosy": {"use": "tests.test_contract:Nosy"}}
    campaign = Campaign.from_tables(tiny)
    assert (solve_block(next(campaign.blocks())).cells["status"] == Status.CONVERGED).all()
    monkeypatch.setattr(Nosy, "requires", ("true_variance",))
    data = solve_block(next(campaign.blocks()))
    assert [*data.meta["failures"]] == ["RuntimeError: I know it all"]


@pytest.mark.parametrize("how", RAISING)
def test_ways_to_raise(tiny, how):
    data = solved(tiny, how)
    assert (data.cells["status"] == Status.RAISED).all()
    assert data.meta["failures"] == {RAISING[how][1]: 3}


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"nmse": np.zeros(1)}, r"ValueError: score gives \['nmse'\], its measures are"),
        ({"nmse": np.zeros((1, 2)), "srr": np.zeros(1)}, r"ValueError: score gives nmse of shape"),
    ],
)
def test_scores_that_are_none(tiny, monkeypatch, scores, message):
    import re

    tiny["scenario"]["use"] = two_measures.USE
    monkeypatch.setattr("tests.two_measures.TwoMeasures.score", lambda *_: scores)
    data = solve_block(next(Campaign.from_tables(tiny).blocks()))
    assert (data.cells["status"] == Status.RAISED).all()
    [text] = data.meta["failures"]
    assert re.match(message, text)
