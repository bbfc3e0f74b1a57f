"""A decision: intervals at one look, from the blocks of a complete prefix and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis import sequential
from pipeline.campaign.blocks import Configuration
from pipeline.campaign.request import Request
from pipeline.campaign.stopping import Pair
from pipeline.scenarios import Measure
from pipeline.store import Store
from pipeline.store.block_file import DamagedBlock
from pipeline.store.decisions import Decision, Decisions, Reason
from solvers import Status


class Prefix:
    """Outcomes of the first realizations of a configuration, each block of them read once.

    Parameters
    ----------
    store
    configuration
    measures
        Those that are wanted, by name.
    """

    def __init__(
        self, store: Store, configuration: Configuration, measures: Mapping[str, Measure]
    ) -> None:
        self._store, self._configuration, self._measures = store, configuration, measures
        self._read: list[dict[str, NDArray[np.float64]]] = []

    def outcomes(self, name: str, size: int) -> NDArray[np.float64]:
        """A measure of so many realizations, (size,); without an estimate it is infinitely bad.

        Raises
        ------
        DamagedBlock, FileNotFoundError
        """
        for index in range(len(self._read), self._configuration.block_count(size)):
            cells = self._store.read(self._configuration, index).cells
            good = np.isin(cells["status"], Status.values("finished"))
            self._read.append(
                {n: _ranked(cells[n], good, m.better) for n, m in self._measures.items()}
            )
        return np.concatenate([block[name] for block in self._read])[:size]

    def forget(self) -> None:
        """Free what has been read."""
        self._read.clear()


def _ranked(values: NDArray[Any], good: NDArray[np.bool_], better: str) -> NDArray[np.float64]:
    worst = np.inf if better == "lower" else -np.inf
    return np.where(good & ~np.isnan(values), values, worst)


def prefixes_of(
    store: Store, request: Request, configurations: Mapping[str, Configuration]
) -> dict[str, Prefix]:
    """Prefixes of the configurations of a point that apply and that pairs need, by label."""
    assert request.rule is not None
    pairs = request.rule.pairs
    wanted = {pair.target.measure: request.measures[pair.target.measure] for pair in pairs}
    labels = set().union(*(pair.labels for pair in pairs))
    return {
        label: Prefix(store, configuration, wanted)
        for label, configuration in configurations.items()
        if label in labels and not configuration.declined
    }


def decide(request: Request, prefixes: Mapping[str, Prefix], number: int) -> Decision:
    """Intervals of all pairs of a point at one look, and whether they are enough.

    Parameters
    ----------
    request
        With a rule.
    prefixes
        Of the point; see `prefixes_of`.
    number
        Of the look, from 0.

    Raises
    ------
    DamagedBlock, FileNotFoundError
    """
    rule = request.rule
    assert rule is not None
    look = sequential.plan_of_looks(rule.looks, 1.0 - rule.stop.confidence)[number]
    found, reasons = [], [Reason.PRECISE]
    for pair in rule.pairs:
        interval = sequential.Interval(np.nan, np.nan, np.nan)
        if pair.labels <= prefixes.keys():
            interval = _interval(pair, request.measures[pair.target.measure].better, prefixes, look)
            reasons.append(_reason(pair, interval))
        found.append(interval)
    enough = Reason.NONE if Reason.NONE in reasons else max(reasons)
    low, value, high = zip(*found, strict=True)
    return Decision(look.realizations, low, value, high, enough)


def _reason(pair: Pair, interval: sequential.Interval) -> Reason:
    # Not where both ends are the same infinity.
    if (interval.high - interval.low) / 2.0 <= pair.target.half_width:
        return Reason.PRECISE
    one_side = interval.low > 0.0 or interval.high < 0.0
    return Reason.RESOLVED if pair.target.or_sign_known and one_side else Reason.NONE


def _interval(
    pair: Pair, better: str, prefixes: Mapping[str, Prefix], look: sequential.Look
) -> sequential.Interval:
    target, size = pair.target, look.realizations
    values = prefixes[pair.solver].outcomes(target.measure, size)
    others = None
    if target.reference is not None:
        others = prefixes[target.reference].outcomes(target.measure, size)
    sample = sequential.differences(values, others, in_db=pair.in_db)
    if target.margin is not None:
        worse = sample if better == "lower" else -sample
        return sequential.share(worse >= target.margin, look)
    return (sequential.median if target.statistic == "median" else sequential.mean)(sample, look)


def differing_decisions(store: Store, request: Request) -> Iterator[str]:
    """Sentences on decisions of a request that its blocks do not give (any more)."""
    if (rule := request.rule) is None:
        return
    for point in request.points:
        recorded = Decisions(store, rule, point)
        prefixes = prefixes_of(store, request, point)
        for number, decision in enumerate(recorded.read()):
            name = recorded.path(decision.realizations).name
            try:
                again = decide(request, prefixes, number)
            except (DamagedBlock, FileNotFoundError) as error:
                yield f"{name}: a block of its prefix is not there: {error}"
                break
            same = all(
                np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True)
                for a, b in zip(decision[1:4], again[1:4], strict=True)
            )
            if not same or decision.reason != again.reason:
                yield f"{name}: decided {decision.to_json()}, its blocks give {again.to_json()}"
