"""A decision: intervals at one look, from the blocks of a complete prefix and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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

Outcomes = dict[str, NDArray[np.float64]]
"""Measures of realizations, by name; infinitely bad without an estimate."""


def decide(
    store: Store, request: Request, point: Mapping[str, Configuration], number: int
) -> Decision:
    """Intervals of all pairs of a point at one look, and whether they are enough.

    Parameters
    ----------
    store
    request
        With a rule.
    point
        Its configurations, by label.
    number
        Of the look, from 0.

    Raises
    ------
    DamagedBlock, FileNotFoundError
    """
    rule = request.rule
    assert rule is not None
    look = sequential.plan_of_looks(rule.looks, 1.0 - rule.stop.confidence)[number]
    wanted = {pair.target.measure: request.measures[pair.target.measure] for pair in rule.pairs}
    by_label = {
        label: outcomes(store, point[label], wanted, look.realizations)
        for label in rule.labels
        if not point[label].declined
    }
    found, reasons = [], [Reason.PRECISE]
    for pair in rule.pairs:
        interval = sequential.Interval(np.nan, np.nan, np.nan)
        if pair.labels <= by_label.keys():
            interval = _interval(pair, wanted[pair.target.measure].better, by_label, look)
            reasons.append(_reason(pair, interval))
        found.append(interval)
    enough = Reason.NONE if Reason.NONE in reasons else max(reasons)
    low, value, high = zip(*found, strict=True)
    return Decision(look.realizations, low, value, high, enough)


def outcomes(
    store: Store, configuration: Configuration, measures: Mapping[str, Measure], size: int
) -> Outcomes:
    """Measures of the first `size` realizations of a configuration, whose blocks are all there."""
    count = configuration.block_count(size)
    blocks = [store.read(configuration, index).cells for index in range(count)]
    status = np.concatenate([block["status"] for block in blocks])[:size]
    found = {}
    for name, measure in measures.items():
        values = np.concatenate([block[name] for block in blocks])[:size]
        good = np.isin(status, Status.values("finished")) & ~np.isnan(values)
        found[name] = np.where(good, values, np.inf if measure.better == "lower" else -np.inf)
    return found


def _interval(
    pair: Pair, better: str, outcomes: Mapping[str, Outcomes], look: sequential.Look
) -> sequential.Interval:
    name, reference = pair.target.measure, pair.target.reference
    others = None if reference is None else outcomes[reference][name]
    sample = sequential.differences(outcomes[pair.solver][name], others, in_db=pair.in_db)
    if pair.target.margin is not None:
        worse = sample if better == "lower" else -sample
        return sequential.share(worse >= pair.target.margin, look)
    statistic = sequential.median if pair.target.statistic == "median" else sequential.mean
    return statistic(sample, look)


def _reason(pair: Pair, interval: sequential.Interval) -> Reason:
    # Not where both ends are the same infinity.
    if (interval.high - interval.low) / 2.0 <= pair.target.half_width:
        return Reason.PRECISE
    one_side = interval.low > 0.0 or interval.high < 0.0
    return Reason.RESOLVED if pair.target.or_sign_known and one_side else Reason.NONE


def differing_decisions(store: Store, request: Request) -> Iterator[str]:
    """Sentences on decisions of a request that its blocks do not give (any more)."""
    if request.rule is None:
        return
    for point in request.points:
        recorded = Decisions(store, request.rule, point)
        for number, decision in enumerate(recorded.read()):
            name = recorded.path(decision.realizations).name
            try:
                again = decide(store, request, point, number)
            except (DamagedBlock, FileNotFoundError) as error:
                yield f"{name}: a block of its prefix is not there: {error}"
                break
            ends = zip(decision[1:4], again[1:4], strict=True)
            same = all(np.allclose(a, b, 1e-9, 1e-12, equal_nan=True) for a, b in ends)
            if not same or decision.reason != again.reason:
                yield f"{name}: decided {decision.to_json()}, its blocks give {again.to_json()}"
