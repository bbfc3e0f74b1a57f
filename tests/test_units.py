"""Data units, presets, and the statuses that tell what became of an estimate."""

import dataclasses
import json
from dataclasses import dataclass
from itertools import starmap
from typing import ClassVar

import numpy as np
import pytest

import solvers
from solvers import Estimate, IterationState, Problem, Solver, Status, Trace, option
from solvers.kron import abs2, kron_apply, outer, total
from solvers.units import RESOLVED, data_unit, with_power
from tests.libraries import CASES, NUMPY, OTHER, create
from tests.problems import REGISTERED, sparse_problem


@dataclass(frozen=True)
class Spy(Solver):
    """Takes Aᴴy for an estimate, and shows what it was given."""

    strength: float = option(0.5, "something of its own", above=0.0)
    answers: ClassVar[dict] = {}
    seen: ClassVar[list] = []

    def _solve(self, problem, *, initial, watch, **_):
        self.seen.append((problem, initial))
        x = kron_apply([a.conj().swapaxes(-1, -2) for a in problem.factors], problem.y)
        watch(1, np.arange(problem.batch), IterationState(x=x, cost=total(abs2(x))))
        return dataclasses.replace(Estimate(x), **self.answers)


@pytest.fixture
def spy():
    Spy.seen.clear()
    return Spy()


class TestDataUnits:
    def problem(self, **options):
        problem, _ = sparse_problem(4, (3, 4), (5, 6), seed=81, **options)
        return problem

    def test_sizes_are_near_one_and_scales_powers_of_two(self, spy):
        problem = self.problem()
        far = Problem(problem.y * 1e90, [a * 1e-60 for a in problem.factors], problem.noise_var)
        for given in (problem, far):
            spy.solve(given)
        for seen, _ in Spy.seen:
            for array in (seen.y, *seen.factors):
                size = np.linalg.norm(array.reshape(4, -1), axis=1)
                assert ((size >= 2**-0.5 * (1 - 1e-12)) & (size <= 2**0.5 * (1 + 1e-12))).all()
        mantissa = np.frexp(np.abs(Spy.seen[0][0].y))[0]
        np.testing.assert_array_equal(mantissa, np.frexp(np.abs(problem.y))[0])

    def test_shared_factors_stay_shared(self, spy):
        problem = self.problem(shared=True)
        spy.solve(problem)
        assert [a.ndim for a in Spy.seen[0][0].factors] == [2, 2]

    def test_none_hands_the_problem_on(self, spy):
        problem = self.problem()
        Spy(scaling="none").solve(problem)
        assert Spy.seen[0][0].y is problem.y

    def test_a_start_and_what_a_watch_sees_are_in_the_callers_units(self, spy):
        problem = self.problem()
        solver = solvers.create("svd_krosbl", noise="estimate", max_iterations=3, prune=0.0)
        gamma = tuple(np.full((4, n), 0.3 + i) for i, n in enumerate(problem.dims))
        published = dataclasses.replace(solver, scaling="none")
        seen = []
        for each in (solver, published):
            states = []
            estimate = each.solve(
                problem,
                initial=(gamma, np.full(4, 0.1)),
                watch=lambda *a, to=states: to.append((a[2].x, a[2].gamma, a[2].noise_var)),
            )
            assert [len(x) for x, _, _ in states] == [4, 4, 4]
            seen.append((*states[-1], estimate))
        (x, g, s, one), (x2, g2, s2, other) = seen
        np.testing.assert_allclose(x, x2, rtol=1e-9)
        np.testing.assert_allclose(outer(g), outer(g2), rtol=1e-9)
        np.testing.assert_allclose(s, s2, rtol=1e-9)
        np.testing.assert_allclose(one.variance, other.variance, rtol=1e-9)
        np.testing.assert_allclose(outer(one.gamma), outer(other.gamma), rtol=1e-9)

    @pytest.mark.parametrize("name", ["am_krosbl", "csbl"])
    def test_a_trace_has_the_cost_of_the_callers_problem(self, name):
        problem = self.problem()
        trace = Trace()
        estimate = solvers.create(name).solve(problem, watch=trace)
        costs = solvers.cost(problem, estimate.gamma, problem.noise_var)
        np.testing.assert_allclose(trace.cost[np.arange(4), estimate.iterations - 1], costs)

    def test_a_solver_says_how_its_cost_depends_on_units(self, spy, monkeypatch):
        def squared(_, cost, log_scale, size):
            return cost * np.exp(2 * log_scale) * size

        monkeypatch.setattr(Spy, "cost_as_given", squared)
        problem, trace = self.problem(), Trace()
        spy.solve(Problem(problem.y * 1e6, problem.factors), watch=trace)
        [(seen, _)] = Spy.seen
        correlation = kron_apply([a.swapaxes(-1, -2) for a in seen.factors], seen.y)
        size = np.linalg.norm(problem.y.reshape(4, -1), axis=1) * 1e6
        scale = size / np.linalg.norm(seen.y.reshape(4, -1), axis=1)
        np.testing.assert_allclose(trace.cost[:, 0], total(correlation**2) * scale**2 * 12)

    def test_idle_atoms_are_left_out_and_come_back_as_nothing(self, spy):
        problem = self.problem()
        factors = [a.copy() for a in problem.factors]
        factors[0][1:3, :, 2] = 0.0  # of two realizations
        factors[1][:, :, 5] *= 1e-9  # of all
        watched = []
        idle = Problem(problem.y, factors, problem.noise_var)
        estimate = spy.solve(idle, watch=lambda _, rows, s: watched.append((rows, s.x.shape)))
        assert [seen.dims for seen, _ in Spy.seen] == [(4, 5), (5, 5)]
        assert [rows.tolist() for rows, _ in watched] == [[1, 2], [0, 3]]
        assert {shape for _, shape in watched} == {(2, 5, 6)}
        assert not estimate.x[1:3, 2].any()
        assert not estimate.x[..., 5].any()
        em = solvers.create("am_krosbl").solve(idle)
        assert not em.gamma[1][:, 5].any()
        assert not em.variance[..., 5].any()

    def test_an_oracle_knows_of_idle_atoms_what_it_was_told(self):
        problem = self.problem()
        factors = [problem.factors[0], problem.factors[1].copy()]
        factors[1][..., 1] = 0.0
        told = Problem(problem.y, factors, problem.noise_var, np.full((4, 5, 6), 0.7))
        estimate = solvers.create("oracle_lmmse").solve(told)
        np.testing.assert_array_equal(estimate.gamma, told.true_variance)
        np.testing.assert_array_equal(estimate.variance[..., 1], 0.7)
        assert not estimate.x[..., 1].any()

    def test_a_factor_of_zeros_explains_nothing(self):
        problem = self.problem()
        empty = Problem(problem.y, [0 * problem.factors[0], problem.factors[1]], problem.noise_var)
        names = ("svd_krosbl", "csbl", "omp", "komp", "dkrosbl", "domp", "dlasso")
        for name in (*names, "lasso", "bpdn", "multistage", "uamp_sbl"):
            estimate = solvers.create(name).solve(empty)
            assert not estimate.x.any()
            assert (estimate.status == Status.COLLAPSED).all()

    def test_odd_answers_stay_as_they_are(self, spy, monkeypatch):
        for answer in ({"x": np.ones((2, 2))}, {"x": "text"}, {"gamma": (1, 2)}, {"status": "x"}):
            monkeypatch.setattr(Spy, "answers", answer)
            estimate = spy.solve(self.problem())
            [(name, value)] = answer.items()
            assert getattr(estimate, name) is value

    def test_complex_data_on_real_factors_warn_of_nothing(self):
        problem = self.problem()
        mixed = Problem(problem.y * (1 + 1j), problem.factors, problem.noise_var)
        for name in REGISTERED:
            solver = solvers.create(name)
            if solver.kind == "estimator":
                assert np.isfinite(solver.solve(mixed).x).all()


class TestStart:
    @pytest.mark.parametrize("name", ["am_krosbl", "pc_krosbl", "csbl"])
    @pytest.mark.parametrize("share", [1.0, 30.0])
    def test_the_prior_explains_a_share_of_y(self, name, share):
        problem, _ = sparse_problem(3, seed=82)
        solver = solvers.create(name, initial_gamma=share)
        gamma = solver._first_gamma(problem)
        whole = outer(gamma) if isinstance(gamma, tuple) else gamma
        norms2 = outer([(a**2).sum(axis=1) for a in problem.factors])
        np.testing.assert_allclose(total(whole * norms2), share * total(problem.y**2))
        if name == "am_krosbl":
            np.testing.assert_allclose(whole, share * data_unit(problem)[:, None, None, None]
                                       * np.ones_like(whole))  # fmt: skip

    def test_as_published_it_is_gamma_itself(self):
        problem, _ = sparse_problem(3, seed=82)
        solver = solvers.create("ksbl", preset="published", initial_gamma=2.0)
        np.testing.assert_array_equal(outer(solver._first_gamma(problem)), 2.0)

    def test_without_anything_to_go_by_the_scale_is_one(self):
        problem = Problem(np.ones((1, 2, 2)), [np.zeros((2, 3)), np.ones((2, 3))])
        gamma = with_power((np.ones((1, 3)), np.ones((1, 3))), problem, 1.0)
        np.testing.assert_array_equal(outer(gamma), 1.0)


class TestPreset:
    @pytest.mark.parametrize("name", REGISTERED)
    def test_published_is_what_the_options_say(self, name):
        solver = solvers.create(name, preset="published")
        assert solver.preset == "published"
        assert solver.scaling == "none"
        options = json.loads(json.dumps(dataclasses.asdict(solver)))
        assert solvers.registry.REGISTRY.create(name, options) == solver

    def test_options_that_are_stated_win(self):
        solver = solvers.create("am_krosbl", preset="published", max_iterations=4000)
        assert (solver.max_iterations, solver.prune, solver.scaling) == (4000, 1e-2, "none")

    def test_nothing_else_may_call_itself_published(self):
        with pytest.raises(ValueError, match="the preset 'published' has scaling 'none'"):
            solvers.create("am_krosbl", preset="published", scaling="data")
        with pytest.raises(ValueError, match=r"solvers\.create"):
            type(solvers.create("am_krosbl"))(preset="published")

    def test_unknown_presets_get_a_suggestion(self):
        with pytest.raises(ValueError, match="no preset 'publisched'; did you mean 'published'"):
            solvers.create("am_krosbl", preset="publisched")

    def test_shared_options_do_not_shift_a_solvers_own(self):
        assert Spy(0.25).strength == 0.25
        assert Spy(0.25).scaling == "data"


class TestCollapse:
    def problem(self, level, complex_valued=False):
        problem, _ = sparse_problem(4, (5, 6), (6, 7), seed=83, complex_valued=complex_valued)
        size, kinds = problem.y[0].size, 1.0 if complex_valued else 2.0
        power = total(abs2(problem.y))
        noise_var = power / (size + 5 * np.sqrt(kinds * size)) / level
        return Problem(problem.y, problem.factors, noise_var)

    @pytest.mark.parametrize("complex_valued", [False, True])
    @pytest.mark.parametrize(("share", "level", "collapses"), [
        (0.0, 1.01, True), (0.009, 1.01, True), (0.011, 1.01, False), (0.0, 0.99, False),
    ])  # fmt: skip
    def test_next_to_nothing_of_more_than_noise(
        self, share, level, collapses, complex_valued, spy, monkeypatch
    ):
        problem = self.problem(level, complex_valued)
        x = np.zeros((4, 6, 7), problem.y.dtype)
        x[:, 2, 3] = 1.0
        explained = total(abs2(kron_apply(problem.factors, x)))
        x *= np.sqrt(share * total(abs2(problem.y)) / explained)[:, None, None]
        monkeypatch.setattr(Spy, "answers", {"x": x})
        estimate = Spy(scaling="none").solve(problem)
        assert (estimate.status == Status.COLLAPSED).tolist() == [collapses] * 4
        np.testing.assert_array_equal(estimate.x, x)

    def test_it_takes_a_noise_variance_and_a_finished_estimate(self, spy, monkeypatch):
        problem = self.problem(10.0)
        diverged = np.full(4, Status.DIVERGED)
        nothing = np.zeros((4, 6, 7))
        monkeypatch.setattr(Spy, "answers", {"x": nothing, "status": diverged})
        assert (spy.solve(problem).status == Status.DIVERGED).all()
        monkeypatch.setattr(Spy, "answers", {"x": nothing})
        assert (spy.solve(problem).status == Status.COLLAPSED).all()
        unknown = Problem(problem.y, problem.factors)
        assert (spy.solve(unknown).status == Status.CONVERGED).all()
        monkeypatch.setattr(Spy, "kind", "oracle")
        assert (spy.solve(problem).status == Status.CONVERGED).all()

    @pytest.mark.parametrize("library", [NUMPY, OTHER])
    def test_pruning_that_takes_all_is_a_collapse(self, library):
        problem, _ = sparse_problem(4, seed=84)
        estimate = create("svd_krosbl", library, prune_absolute=1e9).solve(problem)
        assert not estimate.x.any()
        assert (estimate.status == Status.COLLAPSED).all()


class TestPrecision:
    def draw(self, snr_db, complex_valued=False):
        from pipeline.scenarios import Synthetic

        shape = {"dims": (6, 6, 6), "measurements": (5, 5, 6), "sparsity": 2}
        scenario = Synthetic(snr_db=snr_db, complex_valued=complex_valued, **shape)
        return scenario.draw(range(30), seed=1)

    @pytest.mark.parametrize("complex_valued", [False, True])
    @pytest.mark.parametrize("snr_db", [120.0, 135.0, 150.0, 210.0, 300.0, np.inf])
    def test_what_converged_on_the_true_support_is_as_good_as_the_oracle(
        self, snr_db, complex_valued
    ):
        problem, truth = self.draw(snr_db, complex_valued)
        oracle = solvers.create("oracle_ls").solve(problem).x
        limit = total(abs2(oracle - truth.x))
        for name in ("am_krosbl", "svd_krosbl", "ksbl", "csbl", "omp"):
            for noise in ("known", "estimate")[: 1 if name == "omp" else 2]:
                options = {} if name == "omp" else {"noise": noise}
                estimate = solvers.create(name, **options).solve(problem)
                assert np.isin(estimate.status, Status.values("finished")).all(), (name, noise)
                right = ((estimate.x != 0) == (truth.x != 0)).reshape(30, -1).all(axis=1)
                claimed = right & (estimate.status == Status.CONVERGED)
                error = total(abs2(estimate.x - truth.x))
                assert (error[claimed] <= 2 * limit[claimed]).all(), (name, noise)
                if name != "omp":
                    good = error <= 1e-9 * total(abs2(truth.x))
                    assert good[right].all(), (name, noise)

    def test_less_noise_than_is_resolved_is_said(self):
        problem, _ = self.draw(300.0)
        estimate = solvers.create("am_krosbl").solve(problem)
        assert (estimate.status == Status.PRECISION_LIMIT).all()
        np.testing.assert_array_equal(estimate.noise_var, problem.noise_var)
        mean_power = total(problem.y**2) / problem.y[0].size
        more = Problem(problem.y, problem.factors, 2 * RESOLVED * mean_power)
        assert (solvers.create("am_krosbl").solve(more).status == Status.CONVERGED).all()

    def test_noise_free_data_have_a_noise_variance_of_zero(self):
        problem, _ = self.draw(np.inf)
        assert not problem.noise_var.any()
        for solver in starmap(create, CASES):
            if solver.kind != "bound":
                status = solver.solve(problem).status
                assert np.isin(status, Status.values("finished")).all()

    def test_a_lost_posterior_gives_the_last_good_one(self, monkeypatch):
        from solvers.flat_model import FlatPosterior

        problem, _ = sparse_problem(3, seed=85)
        good = solvers.create("csbl", max_iterations=2).solve(problem)
        original, calls = FlatPosterior.__init__, []

        def breaks(self, model, gamma, noise_var):
            original(self, model, gamma, noise_var)
            calls.append(len(noise_var))
            if len(calls) == 4:
                self.mean[1] = np.nan

        monkeypatch.setattr(FlatPosterior, "__init__", breaks)
        trace = Trace()
        estimate = solvers.create("csbl", max_iterations=6, tolerance=0.0).solve(
            problem, watch=trace
        )
        assert estimate.status.tolist() == [2, Status.PRECISION_LIMIT, 2]
        assert estimate.iterations.tolist() == [6, 2, 6]
        np.testing.assert_allclose(estimate.x[1], good.x[1], rtol=1e-9)
        assert np.isfinite(trace.cost).sum(axis=1).tolist() == [6, 2, 6]
