"""Channels and problems from files: what is in them decides, wherever they lie and as whatever."""

import dataclasses
import pickle

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from pydantic import ValidationError

import solvers
from pipeline import Campaign
from pipeline.cli import main
from pipeline.scenarios.irs_mimo import IrsMimo
from pipeline.scenarios.paths import cascade
from pipeline.scenarios.recorded import Recorded
from pipeline.scenarios.streams import Draws
from pipeline.scenarios.synthetic import Synthetic
from pipeline.solving.outcome import solve_block
from pipeline.solving.resolving import solvable
from tests.problems import assert_close, normal

RECORDS = 8
STUDY = Synthetic(snr_db=15.0, dims=(5, 4, 5), measurements=(4, 4, 4), sparsity=2)
LINK = IrsMimo(
    snr_db=10, ue_antennas=2, bs_antennas=3, irs_elements=8, grid=5, spread=2, pilot_slots=2
)

STUDY_FILE = """
[campaign]
name = "measured"
seed = 1
realizations = {}
batch = 5
[scenario]
use = "recorded"
file = "some.npz"
[solvers.svd]
use = "svd_krosbl"
"""


def problems(**more):
    problem, truth = STUDY.draw(range(RECORDS), 1)
    arrays = {f"factor_{i}": a for i, a in enumerate(problem.factors)}
    return {"y": problem.y, "noise_var": problem.noise_var, "x": truth.x, **arrays, **more}


def as_npz(path, arrays, units=()):
    path = path.with_suffix(".npz")
    np.savez(path, **arrays, **{f"{name}_units": unit for name, unit in dict(units).items()})
    return str(path)


def as_zarr(path, arrays, units=()):
    group = zarr.open_group(path, mode="w")
    for name, array in arrays.items():
        group.create_array(name, data=np.asarray(array), chunks=(2, *np.shape(array)[1:]))
        if name in dict(units):
            group[name].attrs["units"] = dict(units)[name]
    return str(path)


def without(arrays, *names):
    return {name: array for name, array in arrays.items() if name not in names}


@pytest.mark.parametrize("saved", [as_npz, as_zarr])
def test_problems_come_back(tmp_path, saved):
    scenario = Recorded(file=saved(tmp_path / "some", problems()))
    problem, truth = scenario.draw([5, 2], 99)
    original, _ = STUDY.draw([5, 2], 1)
    np.testing.assert_allclose(problem.y, original.y)
    np.testing.assert_array_equal(problem.noise_var, original.noise_var)
    for found, factor in zip(problem.factors, original.factors, strict=True):
        np.testing.assert_array_equal(found, factor)
    np.testing.assert_array_equal(problem.true_variance > 0, truth.x != 0)
    estimate = solvers.create("oracle_ls").solve(problem)
    assert (scenario.score(truth, problem, estimate)["nmse"] < 0.2).all()
    exact = dataclasses.replace(estimate, x=truth.x)
    assert (scenario.score(truth, problem, exact)["nmse"] == 0).all()


def test_the_digest_is_of_the_content_and_of_nothing_else(tmp_path):
    arrays, units = problems(), {"y": "V", "noise_var": "V2"}
    same = {
        Recorded(file=saved(tmp_path / name, arrays, units)).digest
        for saved, name in ((as_npz, "one"), (as_npz, "two"), (as_zarr, "three"))
    }
    assert len(same) == 1
    other = {**arrays, "y": arrays["y"] * (1 + 1e-15)}
    for changed, its_units in ((other, units), (arrays, {}), (without(arrays, "x"), units)):
        same.add(Recorded(file=as_npz(tmp_path / f"no{len(same)}", changed, its_units)).digest)
    assert len(same) == 4


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "i4", "f2"])
@pytest.mark.parametrize("saved", [as_npz, as_zarr])
def test_short_numbers_are_the_doubles_that_they_stand_for(tmp_path, saved, kind):
    """Of a converter, say: their squares would not fit their own type."""
    largest = 1024 if kind == "f2" else np.iinfo(kind).max
    arrays = without(problems(), "noise_var")
    arrays |= {name: np.abs(np.clip(a.real, -1, 1)) * largest for name, a in arrays.items()}
    arrays = {name: np.round(array) for name, array in arrays.items()}
    one, other = (
        Recorded(file=saved(tmp_path / f"some_{as_}", found), snr_db=20)
        for as_, found in (("f8", arrays), (kind, {n: a.astype(kind) for n, a in arrays.items()}))
    )
    assert one.digest == other.digest
    (here, truth), (there, its_truth) = (each.draw(range(3), 1) for each in (one, other))
    for name in ("y", "noise_var", "true_variance"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
    np.testing.assert_array_equal(
        other.signal_energy(its_truth, there), one.signal_energy(truth, here)
    )


def test_another_content_is_another_block(tmp_path):
    keys = set()
    for factor in (1, 2):
        as_npz(tmp_path / "some", problems(y=factor * problems()["y"]))
        (tmp_path / "study.toml").write_text(STUDY_FILE.format(5))
        keys.add(next(Campaign.load(tmp_path / "study.toml").blocks()).key)
    assert len(keys) == 2


def test_a_file_that_changes_under_a_campaign_is_told(tmp_path):
    scenario = Recorded(file=as_npz(tmp_path / "some", problems()))
    sent = pickle.dumps(scenario)
    as_npz(tmp_path / "some", problems(y=problems()["y"] + 1))
    with pytest.raises(ValueError, match="not what it was"):
        pickle.loads(sent).draw([0], 1)


def test_a_block_of_another_content_is_not_solved_again(tmp_path):
    as_npz(tmp_path / "some", problems())
    (tmp_path / "study.toml").write_text(STUDY_FILE.format(5))
    [configuration] = Campaign.load(tmp_path / "study.toml").configurations
    assert solvable(configuration).scenario.records == RECORDS
    as_npz(tmp_path / "some", problems(y=2 * problems()["y"]))
    with pytest.raises(ValueError, match=r"^some.npz: not what it was"):
        solvable(configuration)


def test_noise_comes_where_there_is_none(tmp_path):
    arrays = without(problems(), "noise_var", "x")
    scenario = Recorded(file=as_npz(tmp_path / "clean", arrays), snr_db=20.0)
    problem, truth = scenario.draw(range(RECORDS), 3)
    assert truth.x is None
    power = (arrays["y"] ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(problem.noise_var, power / 100)
    noise = (problem.y - arrays["y"]) ** 2
    assert (noise.mean(axis=(1, 2, 3)) / problem.noise_var).mean() == pytest.approx(1, abs=0.3)
    alone, _ = scenario.draw([4], 3)
    np.testing.assert_array_equal(alone.y[0], problem.y[4])
    scores = scenario.score(truth, problem, solvers.create("svd_krosbl").solve(problem))
    assert np.isnan(scores["nmse"]).all()
    assert (scores["residual"] < 0.5).all()


def test_a_target_is_what_is_scored(tmp_path):
    rng = np.random.default_rng(1)
    maps = [normal(rng, (3, n), False) for n in STUDY.dims]
    x = problems()["x"]
    target = np.einsum("bijk,ai,cj,dk->bacd", x, *maps)
    named = {f"target_{i}": a for i, a in enumerate(maps)}
    arrays = problems(target=target, **named)
    scenario = Recorded(file=as_npz(tmp_path / "some", arrays))
    problem, truth = scenario.draw(range(3), 1)
    for factor, nmse in ((1.0, 0.0), (0.0, 1.0), (2.0, 1.0)):
        estimate = solvers.Estimate(x=factor * truth.x, status=np.ones(3, int))
        scores = scenario.score(truth, problem, estimate)
        np.testing.assert_allclose(scores["nmse"], nmse, atol=1e-12)
    energy = scenario.signal_energy(truth, problem)
    np.testing.assert_allclose(energy, (target[:3] ** 2).sum(axis=(1, 2, 3)))


@pytest.mark.parametrize(
    ("arrays", "units", "message"),
    [
        (without(problems(), "y"), {}, "no array 'y', but factor_0"),
        (without(problems(), "factor_2"), {}, "no array 'factor_2'"),
        (problems(factor_1=np.ones((3, 4))), {}, r"shape \(3, 4\), expected 4 × any"),
        (problems(x=np.ones((RECORDS, 5, 5, 5))), {}, "x has the shape"),
        (problems(noise_var=np.ones(3)), {}, r"noise_var has the shape \(3,\), expected 8"),
        (problems(y=np.full((RECORDS, 4, 4, 4), np.nan)), {}, "y holds NaN"),
        (problems(y=np.full((RECORDS, 4, 4, 4), "a")), {}, "y must hold numbers"),
        (problems(), {"y": "V", "noise_var": "V"}, "noise_var is in 'V', expected 'V2'"),
        (problems(noise_var=-np.ones(RECORDS)), {}, "noise_var must be real and from 0, got -1"),
        (problems(noise_var=np.full(RECORDS, 1j)), {}, "noise_var must be real and from 0"),
        (problems(gain=np.ones(RECORDS)), {}, "no such array as gain is known beside factor_0, "),
        (problems(factor_3=np.ones((2, 2))), {}, "no such array as factor_3 is known"),
        (problems(target_0=np.ones((2, 5))), {}, "no such array as target_0 is known"),
    ],
)
def test_files_that_do_not_fit(tmp_path, arrays, units, message):
    with pytest.raises(ValidationError, match=message):
        Recorded(file=as_npz(tmp_path / "some", arrays, units))


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValidationError, match="beside the campaign"):
        Recorded(file="nowhere.npz")
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(ValidationError, match="cannot be read as"):
        Recorded(file=str(tmp_path / "text.npz"))
    np.savez(tmp_path / "pickled.npz", y=np.array([{}], object))
    with pytest.raises(ValidationError, match="cannot be read as"):
        Recorded(file=str(tmp_path / "pickled.npz"))
    with pytest.raises(ValidationError, match="so y has noise; drop snr_db"):
        Recorded(file=as_npz(tmp_path / "noisy", problems()), snr_db=10.0)


def channels(scale=1.0):
    """Matrices of both hops as `irs_mimo` draws them."""
    matrices = []
    irs, ue, bs = LINK.arrays
    pairs = ((ue, irs), (irs, bs))
    for hop, (begin, end) in zip(LINK.hops(Draws(1, range(RECORDS))), pairs, strict=True):
        arriving = (hop.gain[:, :, None] * end.responses(hop.arrival)).swapaxes(1, 2)
        matrices.append(scale * arriving @ begin.responses(hop.departure).conj())
    return dict(zip(("ue_irs", "irs_bs"), matrices, strict=True))


@pytest.mark.parametrize("saved", [as_npz, as_zarr])
def test_recorded_channels_are_trained_as_drawn_ones(tmp_path, saved):
    arrays = channels(scale=1e-6)
    name = saved(tmp_path / "link", arrays)
    scenario = IrsMimo(
        recorded=name,
        **{k: getattr(LINK, k) for k in ("snr_db", "ue_antennas", "bs_antennas", "irs_elements")},
        **{"grid": 5, "pilot_slots": 2, "phases": "uniform"},
    )
    problem, truth = scenario.draw(range(4), 1)
    plain = dataclasses.replace(LINK, phases="uniform")
    draws = Draws(1, range(4))
    patterns = plain._patterns.parts(draws)[0]
    expected = cascade(*LINK.hops(draws), patterns, LINK.arrays)
    factor = np.prod([np.sqrt((np.abs(m) ** 2).mean()) for m in arrays.values()]) * 1e12
    assert_close(truth.channel, expected / factor, 1e-10)
    drawn, _ = plain.draw(range(4), 1)
    assert_close(problem.y, drawn.y / factor, 1e-10)
    scores = scenario.score(truth, problem, solvers.create("svd_krosbl").solve(problem))
    assert np.isfinite(scores["nmse"]).all()
    assert np.isnan(scores["detection"]).all()
    assert scenario.records == RECORDS


def test_a_record_without_a_path_has_no_nmse(tmp_path):
    arrays = channels()
    arrays["ue_irs"][2] = 0
    fits = {"ue_antennas": 2, "bs_antennas": 3, "irs_elements": 8, "pilot_slots": 2}
    scenario = IrsMimo(snr_db=10, recorded=as_npz(tmp_path / "link", arrays), **fits)
    problem, truth = scenario.draw(range(4), 1)
    nmse = scenario.nmse(truth, problem, solvers.create("omp").solve(problem).x)
    assert np.isnan(nmse).tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"irs_elements": 9}, r"ue_irs has the shape \(8, 8, 2\), expected any × 9 × 2"),
        ({"bs_antennas": 4}, "irs_bs has the shape"),
        ({"off_grid": 0.5}, "off_grid says nothing of recorded channels"),
        ({"spread": 2}, "spread says nothing"),
    ],
)
def test_recorded_channels_that_do_not_fit(tmp_path, options, message):
    fits = {"ue_antennas": 2, "bs_antennas": 3, "irs_elements": 8, "pilot_slots": 2}
    name = as_npz(tmp_path / "link", channels())
    with pytest.raises(ValidationError, match=message):
        IrsMimo(snr_db=10, recorded=name, **(fits | options))


def test_a_campaign_of_a_file(tmp_path, monkeypatch):
    as_npz(tmp_path / "some", problems())
    file = tmp_path / "study.toml"
    file.write_text(STUDY_FILE.format(RECORDS + 1))
    said = CliRunner().invoke(main, ["plan", str(file)])
    assert said.exit_code == 2
    assert "campaign.realizations: 9, but only 8 are recorded" in said.output
    assert len(said.output.strip().splitlines()) == 1
    file.write_text(STUDY_FILE.format(RECORDS))
    monkeypatch.chdir("/")
    first, last = Campaign.load(file).blocks()
    assert list(last.realizations) == [5, 6, 7, 8, 9]  # whole: the file starts anew
    again = solve_block(last).cells["nmse"][3:]
    np.testing.assert_allclose(again, solve_block(first).cells["nmse"][:2], rtol=1e-9)
