"""Published results beside one's own: the same statistics, and whether they agree."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis import intervals
from pipeline.analysis.cells import axes_of, is_power, measures_of, outcomes
from pipeline.analysis.comparison import holm
from pipeline.errors import InputError
from solvers import Status

SIGNIFICANCE = 0.01
"""Over all comparisons of a study, after Holm's correction."""
SETTING = ("campaign", "scenario", "parameters")
"""Attributes that say what was studied, in a cube and in what was published of it."""


class Sample(NamedTuple):
    """Statistics of some trials.

    Attributes
    ----------
    trials : int
    median, mean : float
    error : float
        Standard error of the mean; NaN for a single trial.
    """

    trials: int
    median: float
    mean: float
    error: float


class Verdict(NamedTuple):
    """Whether published trials and one's own can come from the same distribution.

    Attributes
    ----------
    measure, solver : str
    point : dict
        The swept parameters; each of them "all" where trials are means over all points.
    ours, theirs : Sample
    unit : str
        Of the shift: dB for mean squared errors.
    shift, shift_low, shift_high : float
        By how much ours lie above theirs (Hodges and Lehmann), with its 95 % interval.
    p_value : float
        P-value of Mann and Whitney's rank test, after Holm's correction over the study.
    detectable : float
        The shift that this test, so corrected, finds with a chance of 80 %.
    telling : bool
        Whether there are trials enough for the corrected test to find any difference.
    """

    measure: str
    solver: str
    point: dict[str, Any]
    ours: Sample
    theirs: Sample
    unit: str
    shift: float
    shift_low: float
    shift_high: float
    p_value: float
    detectable: float = np.nan
    telling: bool = False

    @property
    def consistent(self) -> bool:
        """Whether the rank test could have found a difference at 1 %, and did not."""
        return self.telling and not self.p_value < SIGNIFICANCE

    @property
    def text(self) -> str:
        """The verdict in words: the shift with its interval, and what would have been found."""
        if not self.telling:
            return "too few trials"
        form = "{:+.2f}" if self.unit else "{:+.2g}"
        shown = [form.format(v) for v in (self.shift, self.shift_low, self.shift_high)]
        text = f"{shown[0]}{self.unit} [{shown[1]}, {shown[2]}]".replace("-", "−")
        return f"agrees: {text}" if self.consistent else f"off by {text}"


def read_published(path: Path, results: xr.Dataset) -> xr.Dataset:
    """Published trials as a cube of their own, with the measures and axes of `results`.

    Parameters
    ----------
    path
        A CSV file: columns ``solver``, ``trial``, one per swept parameter, measures, and
        optionally ``time_s``; lines that begin with # tell the source.
    results
        One's own cube.

    Raises
    ------
    InputError
        The file cannot be read, or its columns do not fit.
    """
    axes = axes_of(results)
    table = published_table(path, axes, measures_of(results))
    there = [name for name in measures_of(results) if name in table]
    digits = {name: _digits(table[name]) for name in there}
    table = table.astype(dict.fromkeys(there, float)).rename(
        columns={"trial": "realization", "time_s": "runtime"}
    )
    cube = table.set_index(["solver", *axes, "realization"]).to_xarray()
    labels = [s for s in map(str, results.solver.values) if s in set(table.solver)]
    cube = cube.sel(solver=labels)
    for name in (*axes, *there):
        cube[name].attrs.update(results[name].attrs)
    for name in there:
        cube[name].attrs["digits"] = digits[name]
    for name in {"runtime", "iterations"} - set(map(str, cube)):
        cube[name] = cube[there[0]] * np.nan
    # Nothing but the measure tells that a trial took place.
    cube["status"] = cube[there[0]].notnull() * int(Status.CONVERGED)
    kept = {name: results.attrs[name] for name in SETTING if name in results.attrs}
    return cube.assign_attrs(kept, source=_comments(path))


def published_table(path: Path, axes: Sequence[str], measures: Sequence[str]) -> Any:
    """The file as a pandas table, measures still as they were printed; see `read_published`."""
    import pandas

    try:
        table = pandas.read_csv(path, comment="#", dtype=dict.fromkeys(measures, str))
        numbers = [name for name in measures if name in table]
        table[numbers].astype(float)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    missing = [name for name in ("solver", "trial", *axes) if name not in table]
    if missing or not numbers:
        raise InputError(
            f"{path}: expected columns {', '.join(['solver', 'trial', *axes])} and some of "
            f"{', '.join(measures)}; it has {', '.join(table.columns)}"
        )
    return table


def _comments(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))


def _digits(column: Any) -> int:
    """Most significant digits that any number of a column was printed with."""
    mantissas = (re.split("[eE]", text)[0] for text in column.dropna())
    return max(len(re.sub(r"[^0-9]", "", text).lstrip("0")) for text in mantissas)


def compare_published(results: xr.Dataset, published: xr.Dataset) -> list[Verdict]:
    """Compare the published trials of every measure, solver and point with one's own.

    Parameters
    ----------
    results
        One's own cube.
    published
        Published trials, as `read_published` gives them.

    Notes
    -----
    NMSE is heavy-tailed, so a rank test decides: it compares all trials of both sides, not two
    means that a few of them make. One's own values are rounded to the digits that were printed,
    and, where zeros were (errors counted in a finite number of symbols), to 0 below the smallest
    number of the study that was; otherwise ties would count as differences. A last verdict on each
    solver is on trials averaged over the points, which have the same channels at all of them.

    Where one's own realizations come in draws of what the published trials share, as a coordinate
    ``draw`` tells, p-values and intervals are widened by the design effect of such clusters, for
    both sides alike.
    """
    found = []
    axes = axes_of(results)
    places: list[list[Any]] = [
        list(published.solver.values),
        *(published[a].values.tolist() for a in axes),
    ]
    for measure in [m for m in measures_of(results) if m in published]:
        good = outcomes(results, measure)
        printed = published[measure].values
        resolution = printed[printed > 0].min() if (printed == 0).any() else 0.0
        for solver in places[0]:
            samples = []
            for point in itertools.product(*places[1:]):
                at = dict(zip(axes, point, strict=True))
                if any(v not in results[a].values for a, v in at.items()):
                    continue
                ours = good.sel(solver=solver, **at).squeeze(drop=True)
                theirs = published[measure].sel(solver=solver, **at).squeeze(drop=True)
                ours = ours.copy(data=_rounded(ours.values, published[measure].attrs["digits"]))
                samples.append((at, ours.where(~(ours < resolution), 0.0), theirs))
            found += _verdicts(measure, str(solver), [s for s in samples if s[2].notnull().any()])
    corrected = holm(np.array([v.p_value for v in found]))
    level = scipy.stats.norm.isf(SIGNIFICANCE / 2 / max(len(found), 1))
    reach = (level + scipy.stats.norm.isf(0.2)) / scipy.stats.norm.isf(0.025)
    return [
        v._replace(
            p_value=float(p),
            telling=_smallest_p(v) * len(found) < SIGNIFICANCE,
            detectable=reach * (v.shift_high - v.shift_low) / 2,
        )
        for v, p in zip(found, corrected, strict=True)
    ]


Pair = tuple[dict[str, Any], xr.DataArray, xr.DataArray]
"""A point of the sweep, with our trials there and theirs."""


def _verdicts(measure: str, solver: str, samples: list[Pair]) -> list[Verdict]:
    """A verdict at each point, and one on the trials' means over the points."""
    in_db = is_power(measure)
    scale: Any = intervals.to_db if in_db else np.positive  # the same value, and dims
    points = [at for at, _, _ in samples]
    ours, theirs = ([scale(pair[side]) for pair in samples] for side in (1, 2))
    # One point tells little of how much draws differ; all of them tell more.
    effects = [float(np.mean(list(map(_design_effect, ours))))] * len(points)
    if len(points) > 1:
        points.append(dict.fromkeys(points[0], "all"))
        for side in (ours, theirs):
            side.append(sum(side) / len(side))
        effects.append(_design_effect(ours[-1]))
    found = []
    for at, *pair, effect in zip(points, ours, theirs, effects, strict=True):
        a, b = map(_values, pair)
        one, other = (_sample(10 ** (v / 10) if in_db else v) for v in (a, b))
        shift, p_value = _shift(a, b, effect), _p_value(a, b, effect)
        unit = " dB" if in_db else ""
        found.append(Verdict(measure, solver, at, one, other, unit, *shift, p_value))
    return found


def _design_effect(levels: xr.DataArray) -> float:
    """By how much draws of several realizations widen a variance: 1 + (size − 1)·ICC of ranks."""
    if "draw" not in levels.coords:
        return 1.0
    ranks = levels.copy(data=scipy.stats.rankdata(levels.values))
    draws = [part.values for _, part in ranks.groupby("draw")]
    size, number = ranks.size / len(draws), len(draws)
    within = sum(part.var() * part.size for part in draws) / (ranks.size - number)
    between = size * np.var([part.mean() for part in draws], ddof=1)
    correlation = (between - within) / (between + (size - 1) * within)
    return float(1.0 + (size - 1) * max(correlation, 0.0))


def _p_value(ours: NDArray[Any], theirs: NDArray[Any], effect: float) -> float:
    if not ours.size or not theirs.size:
        return np.nan
    score = scipy.stats.norm.isf(scipy.stats.mannwhitneyu(ours, theirs).pvalue / 2)
    return float(2 * scipy.stats.norm.sf(score / np.sqrt(effect)))


def _shift(ours: NDArray[Any], theirs: NDArray[Any], effect: float) -> tuple[float, float, float]:
    """Median of all differences, and the ones between which the rank test's interval lies."""
    first, second = ours[:, np.newaxis], theirs[np.newaxis]
    with np.errstate(invalid="ignore"):  # of two zeros, or failures
        differences = np.sort(np.where(first == second, 0.0, first - second), axis=None)
    if not differences.size:
        return np.nan, np.nan, np.nan
    spread = np.sqrt(differences.size * (ours.size + theirs.size + 1) / 12 * effect)
    rank = math.floor(differences.size / 2 - scipy.stats.norm.isf(0.025) * spread)
    low, high = (differences[rank], differences[-1 - rank]) if rank >= 0 else (-np.inf, np.inf)
    return float(np.median(differences)), float(low), float(high)


def _smallest_p(verdict: Verdict) -> float:
    """The rank test's p-value where all trials of one side lie below all of the other."""
    ours, theirs = verdict.ours.trials, verdict.theirs.trials
    return 2 / math.comb(ours + theirs, theirs)


def _values(sample: xr.DataArray) -> NDArray[Any]:
    values: NDArray[Any] = sample.values.reshape(-1)
    return values[~np.isnan(values)]


def _rounded(values: NDArray[Any], digits: int) -> NDArray[Any]:
    """Values rounded to so many significant digits."""
    return np.array([float(f"{value:.{digits - 1}e}") for value in values])


def _sample(values: NDArray[Any]) -> Sample:
    return Sample(
        values.size,
        float(np.median(values)) if values.size else np.nan,
        float(intervals.mean(values)),
        float(intervals.standard_error(values)),
    )
