"""Tuning: options of one solver chosen on realizations that no campaign ever sees."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tomli_w

from pipeline.analysis.sequential import differences
from pipeline.campaign import Campaign
from pipeline.campaign.axes import value_label
from pipeline.campaign.blocks import plain
from pipeline.cluster import check_cluster, connect
from pipeline.driver.ranges import Range
from pipeline.driver.run import run
from pipeline.errors import InputError
from pipeline.solving import provenance
from pipeline.solving.deciding import outcomes
from pipeline.store import Store
from solvers.registry import REGISTRY, suggest

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
    statistic: Literal["median", "mean_db"] = "median",
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
    sampler = _sampler()
    if not isinstance(campaign, Campaign):
        folder = folder or Path(campaign).resolve().parent
        campaign = Campaign.load(campaign)
    ranges = _ranges(campaign, label, over)
    check_cluster(cluster, campaign.cluster)
    path = Path(store or f"results/{campaign.campaign.name}-tuning-{label}")
    with ExitStack() as stack:
        start = partial(connect, cluster, workers, campaign.cluster, path, dashboard=dashboard)
        connected = cache(lambda: client or stack.enter_context(start()))

        @contextmanager
        def lent() -> Iterator[Any]:  # where there is something to compute, and not before
            yield connected()

        study = _Study(campaign, label, realizations, measure, statistic)
        study.check(ranges)
        study.compute = partial(run, store=path, client=lent, folder=folder, shard=(0, 1))
        before = study.values([{}])[0]
        best, beside = _descend(study, ranges, _search(study, sampler, ranges, trials))
    record = {
        "statistic": study.described,
        "value": round(study.known[_key(best)], 4),
        "before": round(before, 4),
        "realizations": study.realizations,
        "trials": len(study.known),
        "seed": tuning_seed(campaign.campaign.seed),
        "campaign": campaign.campaign.name,
        "over": {one.option: one.text for one in ranges},
        "neighbours": [{**options, "value": round(value, 4)} for options, value in beside],
        "versions": {name: provenance.package_version(name) for name in ("kronsbl", "optuna")},
    }
    at_end = [one.option for one in ranges if one.is_end(best[one.option])]
    return Tuned(path, label, {**study.table, **best, "tuned": plain(record)}, at_end)


def _sampler() -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError("tuning needs optuna; pip install 'kronsbl[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.samplers.TPESampler


def _ranges(campaign: Campaign, label: str, over: Sequence[str]) -> list[Range]:
    if label not in campaign.solvers:
        raise InputError(f"--solver {label}: no such solver; {suggest(label, campaign.solvers)}")
    if not over:
        raise InputError("--over: give at least one option and its range")
    ranges = [Range.of(given) for given in over]
    known = REGISTRY.find(campaign.solvers[label]["use"]).__dataclass_fields__
    names = [one.option for one in ranges]
    for name in names:
        if name not in known:
            raise InputError(f"--over {name}: {label} has no such option; {suggest(name, known)}")
        if names.count(name) > 1:
            raise InputError(f"--over {name}: given twice")
    return ranges


def _key(options: Options) -> str:
    return ",".join(f"{name}={value_label(plain(value))}" for name, value in options.items())


class _Study:
    """The options tried so far, as solvers of a campaign that grows, and how good they are."""

    compute: Any

    def __init__(
        self,
        campaign: Campaign,
        label: str,
        realizations: int,
        measure: str | None,
        statistic: str,
    ) -> None:
        self.label, self.realizations, self._statistic = label, realizations, statistic
        self.table = {k: v for k, v in campaign.solvers[label].items() if k != "tuned"}
        self.solver = next(e.solver for e in campaign.entries if e.label == label)
        tables = campaign.tables()
        header = tables["campaign"]
        name, seed = f"{header['name']}-tuning", tuning_seed(header["seed"])
        header |= {"name": name, "seed": seed, "realizations": realizations}
        kept = ("campaign", "scenario", "sweep", "limits", "cluster")
        self._tables = {name: tables[name] for name in kept}
        known = [name for name, m in campaign.measures.items() if m.dimension is None]
        self._measure = measure or ("nmse" if "nmse" in known else known[0])
        if self._measure not in known:
            raise InputError(
                f"--measure {measure}: no such measure; {suggest(measure or '', known)}"
            )
        about = campaign.measures[self._measure]
        self._sign = 1.0 if about.better == "lower" else -1.0
        self._about, self._in_db = {self._measure: about}, self._measure.endswith("mse")
        if statistic == "mean_db" and not self._in_db:
            raise InputError(f"--statistic mean_db: {self._measure} has no mean in dB")
        points, words = len(campaign.scenarios), {"median": "median", "mean_db": "mean of dB"}
        unit = ", dB" if self._in_db else ""
        of_points = f"mean over {points} points of the " if points > 1 else ""
        self.described = f"{of_points}{words[statistic]} {self._measure}{unit}"
        self.known: dict[str, float] = {}
        """Values by what was set, the campaign's own options under the empty text."""

    def name(self, options: Options) -> str:
        """Label of a trial, as a swept option would have it."""
        return f"{self.label.partition('[')[0]}[{_key(options)}]" if options else self.label

    def _campaign(self, trials: Sequence[Options]) -> Campaign:
        tables = {self.name(options): {**self.table, **options} for options in trials}
        solvers = self._tables.get("solvers", {}) | tables
        return Campaign.from_tables({**self._tables, "solvers": solvers}, "--over", tuning=True)

    def check(self, ranges: Sequence[Range]) -> None:
        """Raise InputError where the solver does not take the ends of its ranges."""
        ends = ({one.option: one.value(one.ends[end]) for one in ranges} for end in (0, 1))
        self._campaign([{}, *ends])

    def values(self, trials: Sequence[Options]) -> list[float]:
        """How good options are, the less the better or the more; computed where that is new."""
        new = [options for options in trials if _key(options) not in self.known]
        if new:
            campaign = self._campaign(new)
            self._tables["solvers"] = campaign.tables()["solvers"]
            done = self.compute(campaign)
            self._read(Store.of(done.store), new, done.stopped)
        return [self.known[_key(options)] for options in trials]

    def _read(self, store: Store, trials: Sequence[Options], stopped: Mapping[str, str]) -> None:
        request = store.asked()
        self.realizations = request.realizations  # a store never shrinks
        for options in trials:
            label, worst = self.name(options), self._sign * np.inf
            at_points = [p[label] for p in request.points if not p[label].declined]
            found = [worst] if label in stopped else [self._value(store, c) for c in at_points]
            value = self.known[_key(options)] = float(np.mean(found)) if found else worst
            log.info("%s: %.4g", label, value)

    def _value(self, store: Store, configuration: Any) -> float:
        values = outcomes(store, configuration, self._about, self.realizations)[self._measure]
        values = differences(values, None, in_db=self._in_db)
        return float(np.median(values) if self._statistic == "median" else np.mean(values))

    def cost(self, value: float) -> float:
        """What is minimised."""
        return float(np.clip(np.nan_to_num(self._sign * value, nan=WORST), -WORST, WORST))


def _search(study: _Study, sampler: Any, ranges: Sequence[Range], trials: int) -> Options:
    """The best of what the optimiser tries, and of the campaign's own where that is in the ranges."""
    import optuna

    search = optuna.create_study(sampler=sampler(seed=0))
    distributions = {one.option: one.distribution() for one in ranges}
    own = {one.option: getattr(study.solver, one.option) for one in ranges}
    best = (np.inf, own)
    if all(one.holds(own[one.option]) for one in ranges):
        best = study.cost(study.values([own])[0]), own
    for first in range(0, trials, TOGETHER):
        asked = [search.ask(distributions) for _ in range(min(TOGETHER, trials - first))]
        options = [{one.option: one.value(t.params[one.option]) for one in ranges} for t in asked]
        for trial, tried, value in zip(asked, options, study.values(options), strict=True):
            cost = study.cost(value)
            search.tell(trial, cost)
            best = min(best, (cost, tried), key=lambda found: found[0])
    return best[1]


def _descend(
    study: _Study, ranges: Sequence[Range], best: Options
) -> tuple[Options, list[tuple[Options, float]]]:
    """Go to the best neighbour while it is better; the end, and what its neighbours gave."""
    while True:
        beside = [
            {**best, one.option: value}
            for one in ranges
            for value in one.neighbours(best[one.option])
        ]
        values = study.values([best, *beside])
        costs = [study.cost(value) for value in values]
        if costs[0] <= min(costs):
            return best, list(zip(beside, values[1:], strict=True))
        best = [best, *beside][int(np.argmin(costs))]
