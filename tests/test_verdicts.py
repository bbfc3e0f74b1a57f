"""The sentence on top of a report: it says what is certain, and nothing else."""

import numpy as np
import pytest

from pipeline.analysis import compare
from pipeline.analysis.verdicts import verdict
from tests.cubes import cube


def study(factors, points=3):
    """A cube whose solvers have the same errors, times a factor per point."""
    made = cube(solvers=len(factors), points=points, realizations=100)
    made.snr_db.attrs = {"units": "dB", "long_name": "SNR"}
    factors = np.broadcast_to(np.reshape(factors, (len(factors), -1)), (len(factors), points))
    spread = 1 + 0.01 * np.random.default_rng(1).random(made.nmse.shape)
    errors = made.nmse.values[:1] * spread * factors[..., None]
    made["nmse"] = made.nmse.copy(data=errors)
    return made


def said(made, reference="s0", measure="nmse"):
    return verdict(made, compare(made, reference, measure))


def test_a_solver_that_is_better_everywhere():
    text = said(study([1.0, 2.0, 8.0]))
    assert text.startswith("s0 has the best nmse at all points: by 3 dB [3, 3] over s1")
    assert "s2" not in text


@pytest.mark.parametrize(
    ("rival", "where"),
    [
        ([1.5, 2.0, 1.0], " at SNR = 0–10 dB: by 1.8 dB"),
        ([1.0, 1.0, 2.0], " at SNR = 20 dB: by 3 dB"),
        ([2.0, 1.0, 2.0], " at 2 of 3 points: by 3 dB"),
    ],
)
def test_where_it_is_better_is_said(rival, where):
    assert f"s0 has the best nmse{where}" in said(study([[1.0] * 3, rival]))


def test_nothing_is_claimed_by_chance():
    level = "s0 ranks best by medians of nmse on average, but nowhere certainly so."
    assert said(study([1.0, 1.0])) == level
    assert "nowhere certainly so" in said(study([2.0, 1.0, 4.0]))  # s1 is ahead of it


def test_solvers_that_cannot_be_told_apart_are_named():
    assert said(study([1.0, 1.0, 4.0])).startswith("s0 (not told apart from s1) has the best nmse")


def test_every_claim_has_an_interval_without_zero():
    rng = np.random.default_rng(3)
    for _ in range(10):
        made = study(rng.uniform(0.99, 1.03, (3, 3)))
        found = compare(made, "s0")
        claims = ((found.median_difference_low > 0).all("solver")).sum()
        text = verdict(made, found)
        if "has the best nmse" in text and "told apart" not in text:
            assert claims > 0


def test_points_that_stopped_by_themselves_are_told_of():
    made = study([1.0, 2.0]).assign_attrs(stop='{"targets": []}').assign(asked=0)
    assert said(made).endswith("as if the number of realizations had been fixed before).")
    assert said(made.drop_vars("asked")).endswith("(medians, 95 %).")


def test_more_is_better_for_rates_and_a_lone_solver_says_nothing():
    made = study([1.0, 1.0])
    made["ser"] = made.ser.assign_attrs(better="higher")
    made["ser"][0] = made.ser[1] + 0.25
    assert "s0 has the best ser at all points: by 0.25 [0.25, 0.25] over s1" in said(
        made, measure="ser"
    )
    single = study([1.0, 2.0], points=1)
    assert said(single) == "s0 has the best nmse: by 3 dB [3, 3] over s1 (medians, 95 %)."
    assert said(single.squeeze("snr_db")) == said(single)
    oracle = made.assign_attrs(solvers='{"s0": {}, "s1": {"kind": "oracle"}}')
    assert said(oracle) == ""
