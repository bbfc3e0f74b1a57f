"""Tuning: options of one solver chosen on realizations that no campaign ever sees."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tomli_w

from pipeline.analysis.cells import is_power
from pipeline.analysis.sequential import differences
from pipeline.campaign import Campaign
from pipeline.campaign.axes import value_label
from pipeline.campaign.blocks import Configuration, plain
from pipeline.cluster import check_cluster, connect
from pipeline.driver.ranges import Range
from pipeline.driver.run import Run, run
from pipeline.errors import InputError
from pipeline.solving import provenance
from pipeline.solving.deciding import outcomes
from pipeline.solving.device import PROCESSOR
from pipeline.store import Store
from solvers.registry import suggest

log = logging.getLogger("kronsbl")

TOGETHER = 4
"""Trials that are drawn and computed at once, whatever the number of workers: results must not
depend on that."""

WORST = 1e9
"""What the optimiser is told in place of infinity."""

Options = dict[str, Any]


@dataclass(frozen=True)
class Tuned:
    """What tuning has come to.

    Attributes
    ----------
    store : Path
        Where the blocks of all trials are.
    label : str
        Of the solver.
    table : dict
        The solver's table with the best options, and their record in ``tuned``.
    at_end : list of str
        Options whose best value is at an end of its range: better ones may lie beyond.
    """

    store: Path
    label: str
    table: dict[str, Any]
    at_end: list[str]

    @property
    def own_are_best(self) -> bool:
        """Whether nothing that was tried is better than the options that the campaign has."""
        return bool(self.table["tuned"]["own_are_best"])

    def __str__(self) -> str:
        """The table as a campaign file takes it."""
        return tomli_w.dumps({"solvers": {self.label: self.table}})


def tuning_seed(seed: int) -> int:
    """The seed whose streams tuning takes for a campaign's: below 0, where no campaign has one."""
    return -1 - seed


def tune(
    campaign: Campaign | str | Path,
    label: str,
    over: Sequence[str],
    store: str | Path | None = None,
    client: Any = None,
    *,
    trials: int = 30,
    realizations: int = 100,
    measure: str | None = None,
    statistic: Literal["median", "mean"] = "median",
    workers: int | None = None,
    cluster: str = "local",
    folder: Path | None = None,
    dashboard: bool = True,
) -> Tuned:
    """Find the options of a solver that suit the points of a campaign best.

    Parameters
    ----------
    campaign
        A `Campaign`, or the path of its file. Its realizations, other solvers, ``[output]`` and
        ``[stop]`` play no part.
    label
        Of the solver.
    over
        A range for each option to tune, as `Range.of` reads it.
    store
        Where trials go; by default the folder ``results/NAME-tuning-LABEL``.
    trials
        Options that the optimiser tries, besides the campaign's own and the neighbours.
    realizations
        Of each trial at each point.
    measure
        One of the scenario's; by default ``nmse``, or the first.
    statistic
        Over the realizations of a point; what counts is its mean over points. Mean squared errors
        are in dB. A realization without an estimate is infinitely bad.
    client, workers, cluster, folder, dashboard
        See `pipeline.run`.

    Returns
    -------
    Tuned

    Raises
    ------
    InputError
        There is no such solver, option, range or measure, or optuna is not installed.
    OSError, ClusterLost, WrongWorker
        Something broke on the way. Calling it again goes on.

    Notes
    -----
    Trials are solvers of a campaign of their own, whose seed is below 0; so their blocks are
    stored, and the same call asks the optimiser, seeded as well, for the same trials and finds
    what is there. Once it is done, the best moves to a neighbour as long as one is better.
    """
    optuna = _optuna()
    if not isinstance(campaign, Campaign):
        folder = folder or Path(campaign).resolve().parent
        campaign = Campaign.load(campaign)
    if label not in campaign.solvers:
        raise InputError(f"--solver {label}: no such solver; {suggest(label, campaign.solvers)}")
    check_cluster(cluster, campaign.cluster)
    path = Path(store or f"results/{campaign.campaign.name}-tuning-{label}")
    with ExitStack() as stack:
        start = partial(connect, cluster, workers, campaign.cluster, path, dashboard=dashboard)
        connected = cache(lambda: client or stack.enter_context(start()))

        @contextmanager
        def lent() -> Iterator[Any]:  # where there is something to compute, and not before
            yield connected()

        compute = partial(
            run, store=path, client=lent, folder=folder, shard=(0, 1), device=PROCESSOR
        )
        study = _Study(campaign, label, over, realizations, measure, statistic, compute)
        search = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
        best, beside = study.descended(study.best_of(search, trials))
    record = {
        "options": best,
        "statistic": study.described,
        "value": round(study.values([best])[0], 4),
        "before": round(study.values([{}])[0], 4),
        "own_are_best": study.own_are_best(best),
        "neighbours": [{**one, "value": round(study.values([one])[0], 4)} for one in beside],
        "over": {one.option: one.text for one in study.ranges},
        "trials": len(study.known),
        "realizations": study.realizations,
        "seed": tuning_seed(campaign.campaign.seed),
        "campaign": campaign.campaign.name,
        "versions": {name: provenance.package_version(name) for name in ("kronsbl", "optuna")},
    }
    at_end = [one.option for one in study.ranges if one.is_end(best[one.option])]
    return Tuned(path, label, {**study.table, **best, "tuned": plain(record)}, at_end)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError("tuning needs optuna; pip install 'kronsbl[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _ranges(solver: Any, over: Sequence[str]) -> list[Range]:
    ranges = [Range.of(given) for given in over]
    for one in ranges:
        if not hasattr(solver, one.option):
            near = suggest(one.option, vars(solver))
            raise InputError(f"--over {one.option}: no such option; {near}")
    if len({one.option for one in ranges}) < max(len(ranges), 1):
        raise InputError("--over: expected one range for each option that is to be tuned")
    return ranges


def _key(options: Options) -> str:
    return ",".join(f"{name}={value_label(plain(value))}" for name, value in options.items())


class _Study:
    """The options tried so far, as solvers of a campaign that grows, and how good they are."""

    def __init__(
        self,
        campaign: Campaign,
        label: str,
        over: Sequence[str],
        realizations: int,
        measure: str | None,
        statistic: str,
        compute: Callable[[Campaign], Run],
    ) -> None:
        self.label, self.realizations, self._compute = label, realizations, compute
        self.table = {k: v for k, v in campaign.solvers[label].items() if k != "tuned"}
        solver = next(entry.solver for entry in campaign.entries if entry.label == label)
        self.ranges = _ranges(solver, over)
        self._own = {one.option: getattr(solver, one.option) for one in self.ranges}
        header: Options = campaign.campaign.model_dump() | {"realizations": realizations}
        header |= {"name": f"{header['name']}-tuning", "seed": tuning_seed(header["seed"])}
        kept = ("scenario", "sweep", "limits", "cluster")
        self._tables = {name: campaign.tables()[name] for name in kept} | {"campaign": header}
        self._trials: dict[str, Any] = {}
        known = [name for name, m in campaign.measures.items() if m.dimension is None]
        self._measure = measure or ("nmse" if "nmse" in known else known[0])
        if self._measure not in known:
            near = suggest(self._measure, known)
            raise InputError(f"--measure {measure}: no such measure; {near}")
        self._about = {self._measure: campaign.measures[self._measure]}
        self._sign = 1.0 if self._about[self._measure].better == "lower" else -1.0
        self._in_db, self._is_median = is_power(self._measure), statistic == "median"
        words = f"{statistic} of {self._measure}{' in dB' if self._in_db else ''}"
        self.described = f"mean over {len(campaign.scenarios)} points of the {words}"
        self.known: dict[str, float] = {}
        """Values by what was set; of the campaign's own options, by an empty text."""
        ends = [{one.option: one.value(one.ends[at]) for one in self.ranges} for at in (0, 1)]
        listed = [{**ends[0], one.option: value} for one in self.ranges for value in one.values]
        self._campaign([{}, *ends, *listed])  # what the solver does not take is said at once

    def _name(self, options: Options) -> str:
        """Label of a trial, as a swept option would have it."""
        return f"{self.label.partition('[')[0]}[{_key(options)}]" if options else self.label

    def _campaign(self, trials: Sequence[Options]) -> Campaign:
        tables = {self._name(options): {**self.table, **options} for options in trials}
        tables = {**self._tables, "solvers": self._trials | tables}
        return Campaign.from_tables(tables, "--over", tuning=True)

    def values(self, trials: Sequence[Options]) -> list[float]:
        """The statistic of options, computed where that is new."""
        new = [options for options in trials if _key(options) not in self.known]
        if new:
            campaign = self._campaign(new)
            self._trials = campaign.solvers
            done = self._compute(campaign)
            request = Store.of(done.store).asked()
            self.realizations = request.realizations  # a store never shrinks
            for options in new:
                label, found = self._name(options), [self._sign * np.inf]
                at_points = [p[label] for p in request.points if not p[label].declined]
                if label not in done.stopped and at_points:
                    found = [self._value(Store.of(done.store), c) for c in at_points]
                value = self.known[_key(options)] = float(np.mean(found))
                log.info("%s: %.4g", label, value)
        return [self.known[_key(options)] for options in trials]

    def _value(self, store: Store, configuration: Configuration) -> float:
        values = outcomes(store, configuration, self._about, self.realizations)[self._measure]
        values = differences(values, None, in_db=self._in_db)
        return float(np.median(values) if self._is_median else np.mean(values))

    def _costs(self, trials: Sequence[Options]) -> list[float]:
        """What is minimised, finite."""
        values = self._sign * np.array(self.values(trials))
        return np.clip(np.nan_to_num(values, nan=WORST), -WORST, WORST).tolist()

    def own_are_best(self, best: Options) -> bool:
        """Whether the campaign's own options are as good as the best that were tried."""
        own, found = self._costs([{}, best])
        return own <= found

    def best_of(self, search: Any, trials: int) -> Options:
        """The best that the optimiser tries, or the campaign's own if they are in the ranges."""
        distributions = {one.option: one.distribution() for one in self.ranges}
        tried = [self._own] if all(one.holds(self._own[one.option]) for one in self.ranges) else []
        self.values([{}, *tried])
        for first in range(0, trials, TOGETHER):
            asked = [search.ask(distributions) for _ in range(min(TOGETHER, trials - first))]
            drawn = [{r.option: r.value(t.params[r.option]) for r in self.ranges} for t in asked]
            for trial, cost in zip(asked, self._costs(drawn), strict=True):
                search.tell(trial, cost)
            tried += drawn
        return tried[int(np.argmin(self._costs(tried)))]

    def descended(self, best: Options) -> tuple[Options, list[Options]]:
        """Go to the best neighbour while one is better; the end, and its neighbours."""
        while True:
            beside = [(one.option, one.neighbours(best[one.option])) for one in self.ranges]
            around = [{**best, option: value} for option, values in beside for value in values]
            costs = self._costs([best, *around])
            if costs[0] <= min(costs):
                return best, around
            best = [best, *around][int(np.argmin(costs))]
