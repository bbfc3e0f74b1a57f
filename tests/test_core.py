"""What problems, estimates, statuses and solvers share; misuse says what was expected."""

import pickle
import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import solvers
from solvers import Estimate, IterationState, Problem, Solver, Status, Trace
from solvers.kron import abs2, kron_apply, total
from tests.libraries import NUMPY, OTHER, create
from tests.problems import REGISTERED


def good():
    return {
        "y": np.ones((2, 3, 4)),
        "factors": [np.ones((3, 5)), np.ones((2, 4, 6))],
        "noise_var": np.ones(2),
        "true_variance": np.ones((2, 5, 6)),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.ones(3)}, r"y must have shape"),
        ({"y": np.ones((0, 3, 4))}, r"without empty axes"),
        ({"y": np.full((2, 3, 4), np.nan)}, r"y holds NaN"),
        ({"y": np.full((2, 3, 4), np.inf)}, r"y holds NaN or infinite"),
        ({"y": np.full((2, 3, 4), "a")}, r"y must hold numbers"),
        ({"factors": [np.ones((3, 5))]}, r"needs 2 factors, got 1"),
        ({"factors": [np.ones((4, 5)), np.ones((4, 6))]}, r"factors\[0\] must have shape \(3, N\)"),
        ({"factors": [np.ones((3, 5)), np.ones((3, 4, 6))]}, r"factors\[1\] must have shape"),
        ({"factors": [np.ones((3, 0)), np.ones((4, 6))]}, r"factors\[0\] must have shape"),
        ({"noise_var": [1.0, -1.0]}, r"noise_var must be real, non-negative"),
        ({"y": np.ma.masked_equal(np.ones((2, 3, 4)), 1.0)}, r"y is masked in places"),
        ({"noise_var": np.ma.array([1.0, 2.0], mask=[0, 1])}, r"noise_var is masked in places"),
        ({"noise_var": 1.0}, r"noise_var must be real, non-negative and of shape \(2,\)"),
        ({"noise_var": [1.0, np.nan]}, r"noise_var holds NaN"),
        ({"true_variance": np.ones((2, 6, 5))}, r"true_variance must be"),
    ],
)
def test_bad_problem(change, message):
    with pytest.raises(ValueError, match=message):
        Problem(**{**good(), **change})


def test_one_complex_array_makes_the_problem_complex():
    arguments = good()
    arguments["factors"][1] = arguments["factors"][1] * 1j
    problem = Problem(**arguments)
    assert problem.y.dtype == complex
    assert problem.dims == (5, 6)
    assert problem.measurements == (3, 4)
    assert problem.take([1]).batch == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("am_krosb", {}, r"unknown solver 'am_krosb'; did you mean 'am_krosbl'\?"),
        ("elastic", {}, r"unknown solver 'elastic'; "),
        ("no.such.module:Solver", {}, r"cannot import solver"),
        ("math:pi", {}, r"is no solver"),
        ("am_krosbl", {"tolerence": 1}, r"no option 'tolerence'; did you mean 'tolerance'\?"),
        ("am_krosbl", {"tolerance": -1.0}, r"tolerance must be at least 0"),
        ("am_krosbl", {"tolerance": "small"}, r"tolerance must be of type float, got 'small'"),
        ("am_krosbl", {"tolerance": float("nan")}, r"tolerance must be finite"),
        ("am_krosbl", {"max_iterations": 0}, r"max_iterations must be at least 1"),
        ("am_krosbl", {"max_iterations": 1.5}, r"max_iterations must be of type int"),
        ("am_krosbl", {"max_iterations": True}, r"max_iterations must be of type int"),
        ("am_krosbl", {"noise": "guess"}, r"noise must be one of 'known', 'estimate'"),
        ("am_krosbl", {"prune": 1.0}, r"prune must be less than 1"),
        ("am_krosbl", {"prune": []}, r"prune must not be an empty list"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        solvers.create(name, **options)


def test_per_factor_options_must_fit_the_problem():
    solver = solvers.create("svd_krosbl", prune=[1e-3, 1e-2])
    assert solver.prune == (1e-3, 1e-2)
    problem = Problem(np.ones((1, 2, 2, 2)), [np.ones((2, 3))] * 3, [1.0])
    with pytest.raises(ValueError, match="prune lists 2 values for a problem of 3 factors"):
        solver.solve(problem)


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        (((np.ones(3), np.ones(3)), None), r"gamma needs 3 factors, got 2"),
        (((np.ones(3), np.ones(3), np.ones(4)), None), r"gamma\[2\] must have shape"),
        (((np.ones(3), np.ones(3), -np.ones(3)), None), r"gamma\[2\] must be finite and non-neg"),
        ((np.ones((3, 3, 3)), None), r"gamma must be a tuple"),
        ((None, -1.0), r"initial noise variance must be positive"),
    ],
)
def test_bad_start(initial, message):
    problem = Problem(np.ones((1, 2, 2, 2)), [np.ones((2, 3))] * 3, [1.0])
    with pytest.raises(ValueError, match=message):
        solvers.create("am_krosbl", noise="estimate").solve(problem, initial=initial)


class TestStatus:
    def test_numbers_are_those_of_stored_results(self):
        assert {s.name: int(s) for s in Status} == {
            "NOT_RUN": 0,
            "CONVERGED": 1,
            "MAX_ITERATIONS": 2,
            "COLLAPSED": 3,
            "DIVERGED": 4,
            "PRECISION_LIMIT": 5,
            "BOUND": 6,
            "NOT_APPLICABLE": 15,
            "RAISED": 16,
            "NOT_FINITE": 17,
            "BROKE_CONTRACT": 18,
            "TIME_LIMIT": 19,
            "KILLED_WORKER": 20,
        }

    def test_every_realization_is_finished_or_failed_or_was_not_run(self):
        finished, failed = Status.values("finished"), Status.values("failed")
        assert sorted(finished + failed) == Status.values("ran")
        assert [s for s in Status if not s.ran] == [Status.NOT_RUN, Status.NOT_APPLICABLE]
        assert set(Status.values("crashed")) == set(failed) - {Status.DIVERGED}
        assert set(Status.values("reported_by_solver")) == {*finished, Status.DIVERGED}

    def test_asks_whole_arrays(self):
        values = np.array([int(s) for s in Status])
        for name in ("ran", "finished", "failed", "crashed", "reported_by_solver"):
            expected = [getattr(s, name) for s in Status]
            assert np.isin(values, Status.values(name)).tolist() == expected

    @pytest.mark.parametrize("status", Status)
    def test_has_a_sentence_and_survives_the_way_to_a_worker(self, status):
        assert re.fullmatch(r"[A-Z][^.]+\.", status.sentence)
        assert pickle.loads(pickle.dumps(status)) is status
        assert Status(int(status)) is status


class TestEstimate:
    def test_fills_in_what_a_solver_does_not_have(self):
        x = np.zeros((3, 2, 2))
        x[1, 0, 1] = np.inf
        estimate = Estimate(x)
        assert estimate.status.tolist() == [Status.CONVERGED, Status.DIVERGED, Status.CONVERGED]
        for counts in (estimate.iterations, estimate.inner_iterations):
            assert counts.tolist() == [0, 0, 0]
            assert counts.dtype.kind == "i"
        assert estimate.inner_capped.tolist() == [False] * 3
        assert estimate.inner_capped.dtype == bool
        assert dict(estimate.diagnostics) == {}

    def test_a_bound_has_no_x(self):
        estimate = Estimate(None, diagnostics={"bound": np.array([0.1, 0.2])})
        assert estimate.x is None
        assert estimate.status.tolist() == [Status.BOUND] * 2
        assert estimate.iterations.shape == (2,)

    def test_is_joined_from_parts_in_any_order(self):
        one = Estimate(
            np.ones((2, 3)),
            iterations=np.array([5, 7]),
            gamma=(np.full((2, 3), 2.0),),
            diagnostics={"gap": np.array([1, 2])},
        )
        whole = Estimate.joined(
            [(np.array([2, 0]), one), (np.array([1]), Estimate(np.zeros((1, 3))))]
        )
        np.testing.assert_array_equal(whole.x[:, 0], [1.0, 0.0, 1.0])
        np.testing.assert_array_equal(whole.iterations, [7, 0, 5])
        np.testing.assert_array_equal(whole.gamma[0][:, 0], [2.0, 0.0, 2.0])
        np.testing.assert_array_equal(whole.diagnostics["gap"], [2.0, np.nan, 1.0])
        assert whole.variance is None


@dataclass(frozen=True)
class Halves(Solver):
    """Estimates half of Aᴴy, tells a watch as little as can be, and looks at everything."""

    kind = "estimator"
    seen: ClassVar[list] = []

    def applies(self, problem):
        if any(a.ndim == 3 for a in problem.factors):
            return "Halves is made for dictionaries that the batch shares"
        return super().applies(problem)

    def _solve(self, problem, *, watch, **_):
        self.seen.append(problem)
        rows = np.arange(problem.batch)
        x = 0.5 * kron_apply([a.conj().T for a in problem.factors], problem.y)
        watch(1, rows, IterationState(x=x))
        watch(2, rows[1:], IterationState(cost=lambda: rows[1:] + 0.5))
        return Estimate(x, diagnostics={"energy": total(abs2(x))})


class TestTemplate:
    """What `Solver.solve` does for every solver."""

    def problem(self, **changes):
        arrays = {**good(), "factors": [np.ones((3, 5)), np.ones((4, 6))], **changes}
        Halves.seen.clear()
        return Problem(**arrays)

    def test_truth_is_kept_from_solvers_that_do_not_require_it(self):
        Halves().solve(self.problem())
        [seen] = Halves.seen
        assert seen.true_variance is None
        assert seen.noise_var is not None

    @pytest.mark.parametrize("name", ["oracle_ls", "oracle_lmmse"])
    def test_truth_is_given_to_solvers_that_require_it(self, name):
        problem = self.problem()
        assert problem.seen_by(solvers.create(name)) is problem

    def test_estimators_are_not_asked_about_silent_rows(self):
        y = np.ones((4, 3, 4))
        y[[0, 2]] = 0
        problem = self.problem(y=y, noise_var=np.arange(1.0, 5.0), true_variance=None)
        trace, watched = Trace(batch=4), []
        halves = Halves(scaling="none")
        estimate = halves.solve(problem, watch=lambda *a: (trace(*a), watched.append(a[1])))
        [seen] = Halves.seen
        assert seen.noise_var.tolist() == [2.0, 4.0]
        assert [rows.tolist() for rows in watched] == [[1, 3], [3]]
        assert trace.cost.shape == (4, 2)
        np.testing.assert_array_equal(trace.cost[:, 1], [np.nan, np.nan, np.nan, 1.5])
        assert not estimate.x[[0, 2]].any()
        assert (estimate.x[[1, 3]] == 6.0).all()
        assert estimate.status.tolist() == [Status.CONVERGED] * 4
        assert estimate.noise_var.tolist() == [1.0, 2.0, 3.0, 4.0]
        assert np.isnan(estimate.diagnostics["energy"]).tolist() == [True, False, True, False]

    def test_nobody_is_asked_where_all_is_silent(self):
        estimate = Halves().solve(self.problem(y=np.zeros((2, 3, 4))))
        assert Halves.seen == []
        assert estimate.x.shape == (2, 5, 6)
        assert not estimate.x.any()

    @pytest.mark.parametrize("kind", ["oracle", "bound"])
    def test_oracles_and_bounds_get_every_row(self, kind, monkeypatch):
        monkeypatch.setattr(Halves, "kind", kind)
        Halves().solve(self.problem(y=np.zeros((2, 3, 4))))
        assert [seen.batch for seen in Halves.seen] == [2]

    def test_start_reaches_the_rows_it_is_for(self):
        y = np.ones((3, 3, 4))
        y[1] = 0
        problem = Problem(y, [np.eye(3), np.eye(4)], np.ones(3))
        gamma = (np.outer([1.0, 2.0, 3.0], np.ones(3)), np.ones((3, 4)))
        solver = solvers.create("svd_krosbl", max_iterations=1, prune=0.0)
        whole = solver.solve(problem, initial=(gamma, None))
        for row in (0, 2):
            start = (tuple(g[row] for g in gamma), None)
            alone = solver.solve(problem.take([row]), initial=start)
            np.testing.assert_allclose(whole.x[row], alone.x[0], rtol=1e-12)
        assert np.abs(whole.x[0] - whole.x[2]).max() > 1e-3

    def test_a_solver_may_decline(self):
        problem = Problem(**good())  # whose second factor is each realization's own
        reason = "Halves is made for dictionaries that the batch shares"
        assert Halves().applies(problem) == reason
        assert Halves().applies(self.problem()) is None
        with pytest.raises(ValueError, match=reason):
            Halves().solve(problem)

    def test_a_missing_part_is_a_reason_and_a_bad_option_is_misuse(self):
        problem = Problem(np.ones((1, 2, 2)), [np.ones((2, 3))] * 2)
        assert solvers.create("oracle_ls").applies(problem).endswith("problem with true_variance")
        misfit = solvers.create("svd_krosbl", noise="estimate", prune=[0.1, 0.1, 0.1])
        assert misfit.applies(problem) is None
        with pytest.raises(ValueError, match="prune lists 3 values"):
            misfit.check(problem)

    def test_is_listed_with_its_like(self):
        families = [type(solvers.create(name)).family for name in REGISTERED]
        assert Solver.family not in families
        assert len(set(families)) < len(families) / 2

    def test_says_what_the_trace_of_its_cost_is(self):
        objectives = {name: solvers.create(name).objective for name in REGISTERED}
        assert {name for name, said in objectives.items() if said == "SBL cost"} == {
            "fast_sbl",
            *(n for n in REGISTERED if isinstance(solvers.create(n), solvers.EMSolver)),
        }


class TestTrace:
    def test_nmse_may_come_from_elsewhere(self):
        problem = Problem(np.ones((3, 3, 4)), [np.eye(3), np.eye(4)], np.ones(3))
        truth = np.arange(36.0).reshape(3, 3, 4) + 1.0

        def nmse(rows, x):
            return total(abs2(x - truth[rows])) / total(abs2(truth[rows]))

        by_truth, by_function = Trace(truth), Trace(nmse=nmse, batch=3)
        for trace in (by_truth, by_function):
            solvers.create("svd_krosbl").solve(problem, watch=trace)
        np.testing.assert_array_equal(by_function.nmse, by_truth.nmse)
        assert Trace().nmse is None
        with pytest.raises(ValueError, match="not both"):
            Trace(truth, nmse=nmse)

    def test_missing_parts_are_nan(self):
        trace = Trace(np.ones((2, 5)))
        trace(1, np.array([1]), IterationState(change=np.array([0.5])))
        for table in (trace.nmse, trace.cost):
            assert table.shape == (2, 1)
            assert np.isnan(table).all()
        np.testing.assert_array_equal(trace.change, [[np.nan], [0.5]])


@pytest.mark.parametrize("library", [NUMPY, OTHER])
def test_divergence_is_a_status_and_costs_no_other_row(library):
    rng = np.random.default_rng(0)
    y = rng.standard_normal((3, 3, 3))
    y[1] *= 1e200  # its square overflows
    problem = Problem(y, [np.eye(3), np.eye(3)], np.ones(3))
    solver = create("svd_krosbl", library, scaling="none", prune=0.0)
    estimate = solver.solve(problem)
    assert estimate.status[1] == Status.DIVERGED
    assert np.isnan(estimate.x[1]).all()
    np.testing.assert_allclose(estimate.x[[0, 2]], solver.solve(problem.take([0, 2])).x, rtol=1e-10)
    in_data_units = create("svd_krosbl", library, prune=0.0, tolerance=1e-4).solve(problem)
    assert in_data_units.status[1] == Status.PRECISION_LIMIT  # its SNR is 4000 dB
    np.testing.assert_allclose(in_data_units.x[1], y[1], rtol=1e-10)
