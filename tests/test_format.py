"""Format 2: what a store holds beside numbers, and what makes a block done."""

import dataclasses
import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import pipeline
from pipeline import Campaign, InputError, Store, open_results
from pipeline.analysis import summarize
from pipeline.campaign.blocks import Block
from pipeline.campaign.request import Request
from pipeline.cli import main
from pipeline.driver.preparation import dry_run, prepare
from pipeline.driver.rescore import rescore
from pipeline.fanout.task import Task, run_task
from pipeline.results.publishing import publish
from pipeline.scenarios import IrsMimo, Measure, Scenario, Synthetic, Truth
from pipeline.solving import estimates
from pipeline.solving.outcome import solve_block, solve_blocks
from pipeline.store.pending import pending_blocks
from pipeline.store.state import state_of
from solvers import Estimate, Problem, Solver, Status
from solvers.kron import adjoint, kron_apply
from solvers.kron_sbl import SVDKroSBL
from solvers.oracle import OracleLS


@dataclass(frozen=True)
class Picky(Solver):
    """Least squares that wants at least 5 measurements in the first factor."""

    diagnostics: ClassVar = MappingProxyType({"condition": ("1", "condition number")})

    def applies(self, problem):
        rows = problem.measurements[0]
        return None if rows >= 5 else f"needs 5 measurements in the first factor, has {rows}"

    def _solve(self, problem, **_):
        return Estimate(
            kron_apply([adjoint(a) for a in problem.factors], problem.y),
            diagnostics={"condition": np.arange(problem.batch) + 0.5},
        )


@dataclass(frozen=True)
class NoiseFloor(Solver):
    """A bound: no x̂, but a value of a measure."""

    kind: ClassVar = "bound"
    diagnostics: ClassVar = MappingProxyType({"nmse": ("1", "a bound")})

    def _solve(self, problem, **_):
        return Estimate(None, diagnostics={"nmse": np.full(problem.batch, 1e-3)})


@dataclass(frozen=True)
class OffDictionary(Scenario):
    """A channel between the atoms: the truth is no x."""

    offset: float = 0.3
    measures: ClassVar = {"nmse": Measure("1", "error of the signal", "lower", None, (0, None), 1)}

    def draw(self, realizations, seed):
        grid = np.arange(8)[:, None] * np.arange(16) / 16
        y = np.exp(2j * np.pi * np.arange(8) * self.offset)
        y = np.stack([(1 + r) * y for r in realizations])
        noise_var = np.full(len(y), 1e-4)
        return Problem(y, (np.exp(2j * np.pi * grid),), noise_var), OffTruth(signal=y)

    def score(self, truth, problem, estimate):
        found = estimate.x @ problem.factors[0].T
        error = np.sum(np.abs(found - truth.signal) ** 2, axis=1)
        return {"nmse": error / np.sum(np.abs(truth.signal) ** 2, axis=1)}


@dataclass(frozen=True, eq=False, kw_only=True)
class OffTruth(Truth):
    signal: np.ndarray


def run(tables, store):
    """As `pipeline.run`, in this process; returns how many cells were computed."""
    prepared = prepare(Campaign.from_tables(tables), store)
    names = prepared.store.names()
    pending = pending_blocks(prepared.configurations, prepared.campaign.realizations, names)
    for part in pending:
        for index in part.todo:
            run_task(Task(prepared.store.path, (Block(part.configuration, index),)))
    publish(store)
    return sum(part.configuration.batch * len(part.todo) for part in pending)


def with_peak(monkeypatch):
    """Give the synthetic scenario one more measure, its `score_version` as it was."""
    score = Synthetic.score
    peak = Measure("1", "largest error", "lower", bounds=(0, None))

    def more(self, truth, problem, estimate):
        error = np.abs(estimate.x - truth.x).reshape(problem.batch, -1).max(axis=1)
        return {**score(self, truth, problem, estimate), "peak": error}

    monkeypatch.setattr(Synthetic, "measures", {**Synthetic.measures, "peak": peak})
    monkeypatch.setattr(Synthetic, "score", more)


def test_a_new_measure_makes_blocks_undone_though_no_version_was_raised(
    tiny, tmp_path, monkeypatch
):
    store = tmp_path / "store"
    run(tiny, store)
    before = open_results(store).load()
    known = ", ".join(Synthetic.measures)
    with_peak(monkeypatch)
    sentence = f"scenario: measures {known} in the store, {known}, peak now"
    assert state_of(Store(store)).changes == [sentence]
    assert run(tiny, store) == 12 * 2
    after = open_results(store)
    assert np.isfinite(after.peak).all()
    np.testing.assert_array_equal(after.nmse, before.nmse)
    assert len(Store(store).names()) == 2 * 8, "a new score is another file"
    assert state_of(Store(store)).changes == [], "all is done again"


def test_kept_estimates_are_scored_anew_without_a_solve(tiny, tmp_path, monkeypatch):
    store = tmp_path / "store"
    tiny["output"] = {"estimates": True}
    run(tiny, store)
    before = open_results(store).load()
    monkeypatch.setattr(Synthetic, "score_version", 2)
    for solver in (SVDKroSBL, OracleLS):
        monkeypatch.setattr(solver, "_solve", lambda *_, **__: pytest.fail("solved again"))
    assert rescore(store) == (8, 0)
    assert rescore(store) == (0, 0)
    assert state_of(Store(store)).changes == []
    publish(store)
    after = open_results(store).load()
    assert after.identical(before.assign_attrs(after.attrs)), "to the bit"
    block = next(Campaign.from_tables(tiny).blocks())
    assert "rescored" in Store(store).read(block.configuration, block.index).meta


def test_a_run_scores_anew_what_it_can_and_solves_the_rest(tiny, tmp_path, monkeypatch):
    store = tmp_path / "store"
    tiny["output"] = {"estimates": True}
    run(tiny, store)
    monkeypatch.setattr(Synthetic, "score_version", 2)
    lost = next((store / "blocks").rglob("*.x.npz"))
    lost.unlink()
    solved = []
    plain = solve_blocks
    monkeypatch.setattr(
        "pipeline.fanout.task.solve_blocks", lambda *a: solved.append(1) or plain(*a)
    )
    assert run(tiny, store)
    assert len(solved) == 1
    assert lost.exists()


def test_without_estimates_the_changed_score_means_a_new_solve(tiny, tmp_path, monkeypatch):
    store = tmp_path / "store"
    run(tiny, store)
    monkeypatch.setattr(Synthetic, "score_version", 2)
    sentence = "scenario: score version 1 in the store, 2 now"
    assert state_of(Store(store)).changes == [sentence]
    assert (
        f"computed again: {sentence}" in pipeline.plan(Campaign.from_tables(tiny), store).warnings
    )
    assert rescore(store) == (0, 8)
    assert run(tiny, store) == 24


def test_estimates_may_be_asked_for_later(tiny, tmp_path):
    store = tmp_path / "store"
    run(tiny, store)
    before = {p: p.stat().st_mtime_ns for p in (store / "blocks").rglob("*.npz")}
    tiny["output"] = {"estimates": True}
    assert run(tiny, store) == 24
    names = Store(store).names()
    assert sum(name.endswith(".x") for name in names) == 8
    assert {p: p.stat().st_mtime_ns for p in before} == before, "blocks are immutable"


@given(
    st.lists(st.booleans(), min_size=1, max_size=6),
    st.sampled_from([float, complex]),
    st.sampled_from(["factors", "whole", "none"]),
    st.integers(0, 2**32 - 1),
)
def test_estimates_come_back_to_the_bit(solved, dtype, kind, seed):
    rng = np.random.default_rng(seed)
    batch, rows = len(solved), np.flatnonzero(solved)

    def tensor(*shape):
        values = rng.standard_normal((len(rows), *shape)).astype(dtype)
        values[rng.random(values.shape) < 0.7] = 0
        values[rng.random(values.shape) < 0.05] = np.nan
        return values

    x, variance = tensor(3, 4), np.abs(tensor(3, 4).real)
    gammas = {
        "factors": (np.abs(tensor(3).real), np.abs(tensor(4).real)),
        "whole": np.abs(tensor(3, 4).real),
        "none": None,
    }
    estimate = Estimate(x, np.full(len(rows), 1), variance=variance, gamma=gammas[kind])
    cells = np.zeros(
        batch,
        [
            ("status", "u1"),
            ("iterations", "i4"),
            ("inner_iterations", "i4"),
            ("inner_capped", "?"),
            ("noise_var", "f8"),
        ],
    )
    # As two batches, out of order, as after a failure.
    halves = [(np.arange(len(rows))[i::2]) for i in (1, 0)]

    def part(at):
        gamma = estimate.gamma
        if gamma is not None:
            gamma = tuple(g[at] for g in gamma) if kind == "factors" else gamma[at]
        return Estimate(x[at], estimate.status[at], variance=variance[at], gamma=gamma)

    packed = estimates.pack([(rows[at], part(at)) for at in halves if len(at)], batch)
    found, again = estimates.unpack(packed, cells)
    np.testing.assert_array_equal(found, rows)
    if not len(rows):
        return
    assert again.x.dtype == x.dtype
    np.testing.assert_array_equal(again.x, x)
    np.testing.assert_array_equal(again.variance, variance)
    if kind == "factors":
        for one, other in zip(again.gamma, estimate.gamma, strict=True):
            np.testing.assert_array_equal(one, other)
    elif kind == "whole":
        np.testing.assert_array_equal(again.gamma, estimate.gamma)
    else:
        assert again.gamma is None


def test_a_solver_may_decline(tiny, tmp_path):
    store = tmp_path / "store"
    tiny["sweep"] = {"measurements.0": [4, 5]}
    tiny["scenario"]["snr_db"] = 20
    tiny["solvers"]["picky"] = {"use": f"{__name__}:Picky"}
    assert run(tiny, store) == 3 * 2 * 6 - 6
    ds = open_results(store)
    status = ds.status.sel(solver="picky")
    assert (status.sel(measurements_0=4) == Status.NOT_APPLICABLE).all()
    assert status.sel(measurements_0=5).isin(Status.values("finished")).all()
    assert ds.attrs["complete"] == 1
    state = state_of(Store(store))
    assert state.complete
    (declined,) = [c for c in state.configurations if c.declined]
    assert declined.declined == "needs 5 measurements in the first factor, has 4"
    assert (declined.done, declined.failed, declined.pending) == (0, 0, 0)
    words = ["--solver", "picky", "--realization", "0", "--measurements_0", "4"]
    replayed = CliRunner().invoke(main, ["replay", str(store), *words])
    assert replayed.exit_code == 2
    [line] = replayed.output.splitlines()
    assert "picky: does not apply here" in line
    assert declined.declined in line
    assert json.loads(ds.attrs["not_applicable"]) == {"picky": {"0": declined.declined}}
    summary = summarize(ds)
    picky = summary.sel(solver="picky", measurements_0=4)
    assert int(picky.missing) == int(picky.failed) == int(picky.used) == 0
    assert ds.condition.sel(solver="picky", measurements_0=5).values.tolist() == 2 * [0.5, 1.5, 2.5]
    assert np.isnan(ds.condition.sel(solver="svd")).all()
    assert ds.condition.attrs["long_name"] == "condition number"


def test_a_campaign_in_which_nothing_applies_is_refused_before_it_runs(tiny, tmp_path):
    tiny["solvers"] = {"picky": {"use": f"{__name__}:Picky"}}
    with pytest.raises(InputError, match=r"no solver applies .*picky: needs 5 measurements"):
        run(tiny, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_bounds_have_values_but_no_estimate(tiny, tmp_path):
    store = tmp_path / "store"
    tiny["solvers"]["floor"] = {"use": f"{__name__}:NoiseFloor"}
    tiny["output"] = {"estimates": True}
    assert run(tiny, store)
    ds = open_results(store)
    assert (ds.nmse.sel(solver="floor") == 1e-3).all()
    assert ds.srr.sel(solver="floor").isnull().all()
    assert json.loads(ds.attrs["solvers"])["floor"]["kind"] == "bound"
    assert json.loads(ds.attrs["solvers"])["oracle"]["kind"] == "oracle"


def test_bounds_come_along_with_a_campaign(tiny, tmp_path):
    """Where they apply they are cells like others, but for what needs an estimate."""
    store = tmp_path / "store"
    tiny["sweep"]["gains"] = ["product", "independent"]
    tiny["solvers"] |= {name: {"use": name} for name in ("crb", "bcrb", "crb_product")}
    run(tiny, store)
    ds = open_results(store).load()
    for name in ("crb", "bcrb", "crb_product"):
        found = ds.sel(solver=name)
        there = found.status == Status.BOUND
        assert (there | (found.status == Status.NOT_APPLICABLE)).all()
        assert ((found.nmse > 0) == there).all()
        assert found.srr.isnull().all()
    at = ds.sel(solver="crb_product").status
    assert (at.sel(gains="independent") == Status.NOT_APPLICABLE).all()
    assert (at.sel(gains="product") == Status.BOUND).all()
    summary = summarize(ds, "nmse")
    assert (summary.failed == 0).all()
    assert not summary.doubtful.any()
    expected = ds.nmse.sel(solver="crb").mean("realization")
    np.testing.assert_allclose(summary["mean"].sel(solver="crb"), expected)


def test_bounds_decline_where_there_is_nothing_to_bound(tiny, tmp_path):
    store = tmp_path / "store"
    tiny["scenario"] = {"use": f"{__name__}:OffDictionary"}
    del tiny["sweep"]
    tiny["solvers"] = {"am": {"use": "am_krosbl"}, "crb": {"use": "crb"}}
    run(tiny, store)
    ds = open_results(store)
    assert (ds.status.sel(solver="crb") == Status.NOT_APPLICABLE).all()
    assert "requires a problem with true_variance" in ds.attrs["not_applicable"]


def test_results_are_read_without_the_solvers_class(tiny, tmp_path):
    store = tmp_path / "store"
    tiny["solvers"]["floor"] = {"use": f"{__name__}:NoiseFloor"}
    run(tiny, store)
    path = store / "requests" / "0001.toml"
    path.write_text(path.read_text().replace(f"{__name__}:NoiseFloor", "gone:Away"))
    assert publish(store, force=True).missing == 6 * 2, "another use is another block"
    assert state_of(Store(store)).name == "tiny"
    with pytest.raises(InputError, match="gone"):
        Store(store).last_campaign()


def test_requests_give_the_configurations_of_their_campaign(tiny):
    del tiny["scenario"]["sparsity"]
    tiny["sweep"] = {"snr_db": [10, 20.5], "sparsity": [1, 2]}
    tiny["solvers"] = {"z": {"use": "svd_krosbl"}, "a": {"use": "am_krosbl", "prune": [1e-2] * 3}}
    campaign = Campaign.from_tables(tiny)
    request = Request.from_tables(Request.of(campaign, {"host": "here"}).to_tables())
    assert request.campaign() == campaign
    assert request.measures == campaign.measures
    fields = [f.name for f in dataclasses.fields(request.configurations[0])]
    for read, live in zip(request.configurations, campaign.configurations, strict=True):
        assert read.key(3) == live.key(3)
        assert read.files(3) == live.files(3)
        for name in set(fields) - {"spec", "scoring"}:
            assert getattr(read, name) == getattr(live, name)


def test_fields_of_later_versions_are_kept(tiny, tmp_path, monkeypatch):
    store = tmp_path / "store"
    tiny["output"] = {"estimates": True}
    run(tiny, store)
    path = store / "requests" / "0001.toml"
    path.write_text(path.read_text() + "\n[later]\nminimum = 100\n")
    request = Store(store).asked()
    assert request.tables["later"] == {"minimum": 100}
    assert Request.from_tables(request.to_tables()) == request
    publish(store, force=True)
    block = next(Campaign.from_tables(tiny).blocks())
    data = Store(store).read(block.configuration, block.index)
    Store(store).write(block, dataclasses.replace(data, meta={**data.meta, "new": 7}), replace=True)
    assert Store(store).read(block.configuration, block.index).meta["new"] == 7
    path.write_text(path.read_text().replace("\n[later]\nminimum = 100\n", ""))
    monkeypatch.setattr(Synthetic, "score_version", 2)
    rescore(store)
    block = next(Campaign.from_tables(tiny).blocks())
    assert Store(store).read(block.configuration, block.index).meta["new"] == 7


def test_an_older_store_is_refused_in_a_line(tiny, tmp_path):
    Store.create(tmp_path / "store", Campaign.from_tables(tiny))
    path = tmp_path / "store" / "campaign.toml"
    path.write_text(path.read_text().replace("format = 2", "format = 1"))
    with pytest.raises(InputError, match="store format 1, this version reads 2") as caught:
        Store.open(tmp_path / "store")
    assert len(str(caught.value).splitlines()) == 1


def test_a_cube_says_where_it_comes_from(tiny, tmp_path):
    run(tiny, tmp_path / "store")
    ds = open_results(tmp_path / "store")
    assert ds.attrs["computed_with_commit"]
    assert ds.device.attrs["flag_meanings"] == "none cpu"
    assert (ds.device == 1).all()
    assert ds.nmse.attrs["valid_min"] == 0
    assert ds.nmse.attrs["zero_estimate"] == 1
    assert (ds.srr.attrs["valid_min"], ds.srr.attrs["valid_max"]) == (0, 1)


def test_variables_are_part_of_the_fingerprint(tiny, tmp_path, monkeypatch):
    store = tmp_path / "store"
    run(tiny, store)
    before = publish(store).path
    assert publish(store).path == before
    monkeypatch.setattr(
        "pipeline.results.layout.STATUS_FLAGS", {"units": "1", "long_name": "another name"}
    )
    assert publish(store).path != before


SCENARIOS = {
    "synthetic": {"use": "synthetic", "dims": [5, 5, 5], "measurements": [4, 4, 5], "sparsity": 2},
    "irs": {"use": "irs_mimo", "irs_elements": 16, "bs_antennas": 6, "grid": 6, "spread": 2},
    "off the dictionary": {"use": f"{__name__}:OffDictionary"},
}


@pytest.mark.parametrize("solver", ["am_krosbl", "omp"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_traced_and_final_nmse_agree(tiny, name, solver):
    tiny["scenario"], tiny["sweep"] = {**SCENARIOS[name]}, {}
    if name != "off the dictionary":
        tiny["scenario"]["snr_db"] = 15
    tiny["solvers"] = {"s": {"use": solver}}
    tiny["output"] = {"trace": True}
    campaign = Campaign.from_tables(tiny)
    dry_run(campaign)
    cells = solve_block(next(campaign.blocks())).cells
    if solver == "omp":
        return
    for cell in cells:
        last = cell["trace_nmse"][cell["iterations"] - 1]
        assert last == np.float32(cell["nmse"])


@pytest.mark.parametrize("name", ["synthetic", "irs"])
def test_error_forms_are_the_nmse(name):
    kind = {"synthetic": Synthetic, "irs": IrsMimo}[name]
    parameters = {k: v for k, v in SCENARIOS[name].items() if k != "use"}
    scenario = kind(snr_db=10.0, **parameters)
    problem, truth = scenario.draw(range(4), 1)
    rng = np.random.default_rng(3)
    x = truth.x + 0.1 * rng.standard_normal(truth.x.shape)
    total = np.zeros(4)
    for form in scenario.error_forms(problem, truth):
        error = x - truth.x
        for axis, factor in enumerate(form.factors, start=1):
            if factor is not None:
                full = np.broadcast_to(factor, (4, *factor.shape[-2:]))
                moved = np.moveaxis(error, axis, 1)
                moved = np.einsum("bkn,bn...->bk...", full, moved)
                error = np.moveaxis(moved, 1, axis)
        total += form.weight * np.sum(np.abs(error.reshape(4, -1)) ** 2, axis=1)
    np.testing.assert_allclose(total, scenario.nmse(truth, problem, x), rtol=1e-10)


def test_energy_times_nmse_is_the_squared_error():
    scenario = Synthetic(snr_db=10.0, dims=(5, 5), measurements=(4, 4), sparsity=2)
    problem, truth = scenario.draw(range(5), 1)
    x = truth.x + 0.1
    error = np.sum((x - truth.x).reshape(5, -1) ** 2, axis=1)
    energy = scenario.signal_energy(truth, problem)
    np.testing.assert_allclose(scenario.nmse(truth, problem, x) * energy, error, rtol=1e-12)


def test_diagnostics_of_nothing_are_nan():
    problem = Problem(np.zeros((3, 5, 4)), [np.ones((5, 6)), np.ones((4, 6))])
    estimate = Picky().solve(problem)
    assert np.isnan(estimate.diagnostics["condition"]).all()
    assert (estimate.status == Status.CONVERGED).all()
