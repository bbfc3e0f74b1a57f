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
from pipeline.analysis.cells import axes_of, is_power, measures_of, usable
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
        The swept parameters.
    ours, theirs : Sample
    apart : float
        Difference of the means (ours − theirs; of a mean squared error in dB) in standard errors
        of the difference, from the Monte Carlo error of both.
    p_value : float
        P-value of Mann and Whitney's rank test, after Holm's correction over the study.
    telling : bool
        Whether there are trials enough for the corrected test to find any difference.
    """

    measure: str
    solver: str
    point: dict[str, Any]
    ours: Sample
    theirs: Sample
    apart: float
    p_value: float
    telling: bool = False

    @property
    def consistent(self) -> bool:
        """Whether the rank test could have found a difference at 1 %, and did not."""
        return self.telling and not self.p_value < SIGNIFICANCE

    @property
    def text(self) -> str:
        """The verdict in words."""
        if not self.telling:
            return "too few trials"
        return "consistent" if self.consistent else f"off by {self.apart:+.1f} standard errors"


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
    number of the study that was; otherwise ties would count as differences.
    """
    found = []
    axes = axes_of(results)
    places: list[list[Any]] = [
        list(published.solver.values),
        *(published[a].values.tolist() for a in axes),
    ]
    for measure in [m for m in measures_of(results) if m in published]:
        good = results[measure].where(usable(results, measure))
        printed = published[measure].values
        resolution = printed[printed > 0].min() if (printed == 0).any() else 0.0
        for solver, *point in itertools.product(*places):
            at = dict(zip(axes, point, strict=True))
            theirs = _values(published[measure].sel(solver=solver, **at))
            if not theirs.size or any(v not in results[a].values for a, v in at.items()):
                continue
            ours = _values(good.sel(solver=solver, **at))
            ours = _rounded(ours, published[measure].attrs["digits"])
            ours[ours < resolution] = 0.0
            found.append(_verdict(measure, str(solver), at, ours, theirs))
    corrected = holm(np.array([v.p_value for v in found]))
    return [
        v._replace(p_value=float(p), telling=_smallest_p(v) * len(found) < SIGNIFICANCE)
        for v, p in zip(found, corrected, strict=True)
    ]


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


def _verdict(
    measure: str, solver: str, point: dict[str, Any], ours: NDArray[Any], theirs: NDArray[Any]
) -> Verdict:
    p_value = scipy.stats.mannwhitneyu(ours, theirs).pvalue if ours.size else np.nan
    scale = intervals.to_db if is_power(measure) else np.asarray
    a, b = scale(ours), scale(theirs)
    with np.errstate(invalid="ignore"):  # zeros have no level in dB
        # A single trial varies as ours do.
        spread = [np.std(v if v.size > 1 else w, ddof=1) for v, w in ((a, b), (b, a))]
        error = np.hypot(
            *(s / np.sqrt(max(v.size, 1)) for s, v in zip(spread, (a, b), strict=True))
        )
        apart = float((a.mean() - b.mean()) / error) if error > 0 else np.nan
    return Verdict(measure, solver, point, _sample(ours), _sample(theirs), apart, float(p_value))


def _sample(values: NDArray[Any]) -> Sample:
    return Sample(
        values.size,
        float(np.median(values)) if values.size else np.nan,
        float(intervals.mean(values)),
        float(intervals.standard_error(values)),
    )
