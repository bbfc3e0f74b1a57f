"""What is assumed crossed with what is true: what each assumption costs, and whom it helps."""

import numpy as np
import pytest
import xarray as xr

from pipeline.analysis.mismatch import crossing, turned_over
from pipeline.errors import InputError
from pipeline.plots import kinds
from pipeline.plots.drawing import draw
from tests.cubes import cube

GRIDS = [12, 18, 24]


def crossed(true="grid", assumed="assumed_grid", *, truths=GRIDS, assumptions=GRIDS, flip=False):
    """Two solvers: s0 at −20 dB where matched, losing 4 dB a step; s1 at −14, losing nothing."""
    rng = np.random.default_rng(1)
    steps = np.abs(np.subtract.outer(np.arange(len(truths)), np.arange(len(assumptions))))
    levels = np.stack([-20.0 + 4.0 * steps, -14.0 + 0.0 * steps])
    noise = rng.normal(0, 1, (*levels.shape, 60))
    dims = ("solver", true, assumed, "realization")
    made = xr.Dataset(
        {
            name: (dims, values, {"units": "1", **attrs})
            for name, values, attrs in (
                ("nmse", 10 ** ((levels[..., None] + noise) / 10), {"better": "lower"}),
                ("status", np.ones(noise.shape, "u1"), {}),
                ("runtime", np.ones(noise.shape), {}),
                ("iterations", np.ones(noise.shape, "i4"), {}),
            )
        },
        coords={"solver": ["s0", "s1"], true: truths, assumed: assumptions},
        attrs=cube(2).attrs,
    ).assign_coords(realization=np.arange(60))
    return made.transpose("solver", assumed, true, "realization") if flip else made


@pytest.mark.parametrize("flip", [False, True])
def test_losses_are_against_the_matched_case(flip):
    figure = kinds.create("mismatch").describe(crossed(flip=flip))
    first, second = figure.panels
    for row, column in np.ndindex(3, 3):
        level, loss = first.texts[row, column].replace("−", "-").split("\n")
        assert float(level) == pytest.approx(-20 + 4 * abs(row - column), abs=0.7)
        if row == column:
            assert loss == "="
        else:
            assert float(loss) == pytest.approx(4 * abs(row - column), abs=1.0)
            assert abs(float(second.texts[row, column].split("\n")[1].replace("−", "-"))) < 1
    assert "matched case" in figure.legend


@pytest.mark.parametrize("flip", [False, True])
def test_rankings_that_turn_over_are_told(flip):
    made = crossed(flip=flip)
    lines = turned_over(made, "nmse")
    assert len(lines) == 2  # two steps away, in both directions
    assert all(line.startswith("s1 is ahead of s0 by ") for line in lines)
    assert "grid = 12, assumed_grid = 24" in lines[0]
    assert "and behind by" in lines[0]
    assert lines[0] in kinds.create("mismatch").describe(made).notes
    alike = made.assign(nmse=made.nmse.isel(solver=[0, 0]).assign_coords(solver=made.solver))
    assert turned_over(alike, "nmse") == []


@pytest.mark.parametrize(
    ("true", "assumed", "assumptions", "matched"),
    [
        ("rician_db", "noise_error_db", [-3, 0, 3], 0),
        ("phase_bits", "assumed_hardware", ["ideal", "true"], "true"),
    ],
)
def test_what_is_right_whatever_is_true(true, assumed, assumptions, matched):
    made = crossed(true, assumed, assumptions=assumptions)
    assert set(crossing(made).matched.values()) == {matched}
    assert kinds.reason_against(kinds.create("mismatch"), made) is None


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (cube(), "here are: snr_db"),
        (crossed("grid", "snr_db"), "here are: grid, snr_db"),
        (crossed("off_grid"), "matched case, assumed_grid|assumed_grid = true"),
        (crossed(assumptions=[12, 18, 30]), "the matched case, assumed_grid = 24, among"),
    ],
)
def test_cubes_that_cross_nothing(made, reason):
    assert "mismatch" not in kinds.kinds_of(made)
    with pytest.raises(InputError, match=reason):
        draw(made, "mismatch")


def test_it_is_drawn():
    said = {text.get_text() for axes in draw(crossed(), "mismatch").axes for text in axes.texts}
    assert any(text.endswith("\n=") for text in said)
    assert kinds.create("mismatch").name in [k.name for k in kinds.in_report(crossed())]
