"""The rank that the second moments Λ lose over EM iterations without noise.

SVD-KroSBL's M-step is exact where Λ is a Kronecker product, which it is where the largest of these
ranks is 1. Measured and drawn by ``python -m benchmarks.landscape --ranks FILE.png``.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import matplotlib.pyplot as plt
import numpy as np

import solvers
from pipeline.plots.looks import looks_of
from pipeline.scenarios import Synthetic
from solvers.kron import adjoint
from solvers.kron_model import EPSILON, KronModel

ITERATIONS = 150
SEED = 20280305
STUDIES = {  # problems, and what they are; an unstructured γ of more atoms would take hours
    "N = 15, K = 4": (50, {"dims": (15, 15, 15), "measurements": (14, 12, 15), "sparsity": 4}),
    "N = 8, K = 2": (50, {"dims": (8, 8, 8), "measurements": (7, 6, 8), "sparsity": 2}),
}
FLAT = {"N = 8, K = 2": 5}
"""Problems of a study that are solved with an unstructured γ as well."""


class NoiselessModel(KronModel):
    """The E-step of a Kronecker prior where there is no noise at all.

    With T_i = Γ_i^½ (A_i Γ_i^½)⁺ the mean is (T_1 ⊗ …) y and the covariance ⊗Γ_i − ⊗T_i A_i Γ_i.
    To the posterior of a noisy model that is a spectrum of ones, on the directions that are seen.

    Parameters
    ----------
    problem
        The realizations; their noise variance is not looked at.
    cut
        Singular values of A_i Γ_i^½ below this share of the largest count as 0. That of √ε is
        where what γ_i has there is less than rounding leaves of the largest γ_i.
    """

    def __init__(self, problem, cut=EPSILON**0.5):
        self.cut = cut
        super().__init__(problem)

    def _choose_side(self, mode):
        """Stay with the measurements: a pseudo-inverse needs A, not AᴴA."""

    def spectrum(self, mode, gamma):
        """As that of `KronModel`, with the data divided by the singular values."""
        root = np.sqrt(gamma)[:, None, :]
        u, s, vh = np.linalg.svd(self.factors[mode] * root, full_matrices=False)
        seen = s > self.cut * s[:, :1]
        w = np.where(seen[:, None, :], adjoint(vh * root), 0.0)
        return np.ones_like(s), w, adjoint(u / np.where(seen, s, np.inf)[:, None, :])

    def posterior(self, gamma):
        """The posterior at γ, without noise."""
        return super().posterior(gamma, np.zeros(len(self.data)))


def ranks(moment):
    """The largest rank that SVD-KroSBL's successive splits of Λ meet, 1 for a Kronecker product.

    Parameters
    ----------
    moment : array, (B, N_1, …, N_I)

    Returns
    -------
    array of int, (B,)
        Of Λ unfolded to (N_1, N_2…N_I), of its leading right singular vector unfolded to
        (N_2, N_3…N_I), and so on; with numpy's tolerance, max(shape) · ε · the largest singular
        value.
    """
    found, rest = np.ones(len(moment), int), moment
    while rest.ndim > 2:
        unfolded = rest.reshape(*rest.shape[:2], -1)
        found = np.maximum(found, np.linalg.matrix_rank(unfolded))
        right = np.linalg.svd(unfolded, full_matrices=False)[2][:, 0]
        rest = right.reshape(len(rest), *rest.shape[2:])
    return found


def flattened(problem):
    """The same problem with a single factor, whose γ has no structure."""
    every = problem.factors[0]
    for a in problem.factors[1:]:
        every = np.einsum("bmn,bpq->bmpnq", every, a).reshape(
            len(every), every.shape[1] * a.shape[1], -1
        )
    return solvers.Problem(problem.y.reshape(len(problem.y), -1), [every], problem.noise_var)


def refinement(solver, problem, dims, cut=EPSILON**0.5):
    """Ranks of Λ at the E-step of each iteration from γ = 1, and x̂ of the last.

    Parameters
    ----------
    solver
        Whose M-step is made.
    problem
        Realizations without noise.
    dims
        N_1, …, N_I, as which Λ is looked at.
    cut
        See `NoiselessModel`.

    Returns
    -------
    array of int, (iterations, B)
    array, (B, ΠN)
    """
    model = NoiselessModel(problem, cut)
    gamma, found = tuple(np.ones((problem.batch, n)) for n in problem.dims), []
    for _ in range(ITERATIONS):
        posterior = model.posterior(gamma)
        found.append(ranks(posterior.moment.reshape(-1, *dims)))
        gamma = solver.maximize(posterior).gamma
    return np.array(found), posterior.mean.reshape(problem.batch, -1)


def measured(name, cut=EPSILON**0.5):
    """Ranks of each solver in a study, by label."""
    count, parameters = STUDIES[name]
    problem, truth = Synthetic(**parameters, snr_db=float("inf")).draw(range(count), SEED)
    x = truth.x.reshape(count, -1)
    am = solvers.create("am_krosbl", inner_tolerance=1e-10, inner_max_iterations=10**6)
    svd = solvers.create("svd_krosbl")
    tasks = {"svd_krosbl": (svd, problem), "am_krosbl": (am, problem)}
    if name in FLAT:
        # Of one factor, every Kronecker solver is EM for an unstructured γ.
        tasks["csbl"] = (svd, flattened(problem.take(range(FLAT[name]))))
    found = {}
    for label, (solver, some) in tasks.items():
        found[label], estimate = refinement(solver, some, parameters["dims"], cut)
        of = found[label][[0, 4, 9, 19, 39, 59, 99, ITERATIONS - 1]]
        one = [np.flatnonzero(row == 1) for row in found[label].T]
        first = [int(at[0]) + 1 for at in one if at.size]
        nmse = ((estimate - x[: some.batch]) ** 2).sum(1) / (x[: some.batch] ** 2).sum(1)
        print(
            f"{name}, {label}, {some.batch} problems: rank (least to most) in iterations 1, 5, 10, "
            f"20, 40, 60, 100, {ITERATIONS}: "
            + ", ".join(f"{np.median(row):g} ({row.min()}–{row.max()})" for row in of)
            + f"; rank 1 reached by {len(first)}, in iteration {np.median(first):g} in the median, "
            f"{max(first, default=0)} at most; median NMSE at the end {np.median(nmse):.1e}",
            flush=True,
        )
    return found


def draw(file):
    """Write the figure: medians over problems, and what lies between the least and the most."""
    figure = plt.figure(figsize=(7.5, 3.4), layout="constrained")
    panels = figure.subplots(1, len(STUDIES), sharey=True)
    names = {"svd_krosbl": "SVD-KroSBL", "am_krosbl": "AM-KroSBL", "csbl": "any γ (cSBL)"}
    looks = looks_of(list(names))
    iterations = np.arange(1, ITERATIONS + 1)
    for panel, study in zip(panels, STUDIES, strict=True):
        for label, found in measured(study).items():
            colour = looks[label].colour
            panel.plot(iterations, np.median(found, axis=1), color=colour, label=names[label])
            low, high = found.min(axis=1), found.max(axis=1)
            panel.fill_between(iterations, low, high, color=colour, alpha=0.2, linewidth=0)
        panel.set(xlabel="iteration", title=study, xscale="log")
        panel.grid(alpha=0.3)
        panel.legend()
    panels[0].set(ylabel="largest rank of Λ")
    figure.savefig(file, dpi=150)
