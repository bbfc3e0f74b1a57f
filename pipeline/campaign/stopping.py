"""The table ``[stop]``: until when a point of the grid takes realizations, and what it asks for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, StrictBool, model_validator

from pipeline.campaign.blocks import Configuration, canonical, digest
from pipeline.campaign.settings import Count, Label, Table, Word
from pipeline.scenarios import Measure
from solvers.registry import suggest

Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]

FEWEST = {"median": 100, "mean_db": 400, "share": 100}
"""The first look, unless the table says another. Student's interval needs the 400."""


class Target(Table):
    """A table ``[[stop.target]]``: a statistic, and how precisely it is to be known.

    Attributes
    ----------
    measure : str
        One of the scenario's.
    statistic : {"median", "mean_db", "share"}
        Median (in dB for mean squared errors); mean of the values in dB; share of the realizations
        in which a solver is worse than the reference by `margin` at least.
    reference : str, optional
        Label of the solver whose value in the same realization is subtracted first.
    solvers : list of str, optional
        Labels, a plain one for all that its swept options have made of it; by default all but the
        reference and bounds.
    half_width : float
        Half the interval's width that is precise enough: in dB, or in the measure's units; of a
        share, absolute.
    or_sign_known : bool
        Whether it is enough that the interval lies on one side of 0.
    margin : float, optional
        Of a share: in dB, or in the measure's units.
    """

    measure: Word = "nmse"
    statistic: Literal["median", "mean_db", "share"] = "median"
    reference: Label | None = None
    solvers: Annotated[list[Label], Field(min_length=1)] | None = None
    half_width: Positive
    or_sign_known: StrictBool = False
    margin: Positive | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.statistic == "share") != (self.margin is not None):
            raise ValueError("a share needs a margin, as in margin = 3.0, and nothing else does")
        if self.reference is None and (self.statistic == "share" or self.or_sign_known):
            what = "a share" if self.statistic == "share" else "or_sign_known"
            raise ValueError(f"{what} needs a reference to compare with")
        if self.statistic == "share" and self.or_sign_known:
            raise ValueError("or_sign_known: a share has no sign; leave it out")
        return self


class Stop(Table):
    """The table ``[stop]``; see docs/precise.md.

    Attributes
    ----------
    minimum : int, optional
        Realizations of the first look; by default 100, or 400 with a mean among the targets.
    growth : float
        Of the number of realizations from look to look.
    confidence : float
        Of each interval, at all looks at once.
    scope : {"point", "all"}
        Whether each point stops for itself, or all go on until all are precise.
    core_hours : float, optional
        Time of solving beyond which no further look is begun.
    target : list of tables
        What is to be known, and how precisely; all of them.
    """

    minimum: Count | None = None
    growth: Annotated[float, Field(strict=True, ge=1.1, le=100)] = 1.5
    confidence: Annotated[float, Field(strict=True, ge=0.5, lt=1)] = 0.95
    scope: Literal["point", "all"] = "point"
    core_hours: Positive | None = None
    target: Annotated[list[Target], Field(min_length=1)]


class Pair(NamedTuple):
    """A target of one solver: what one interval is of."""

    target: Target
    solver: str

    @property
    def in_db(self) -> bool:
        """Whether values are turned into decibels: those of mean squared errors."""
        return self.target.measure.endswith("mse")

    @property
    def unit(self) -> str:
        """Of half widths, to follow a number."""
        return " dB" if self.in_db and self.target.statistic != "share" else ""

    @property
    def labels(self) -> set[str]:
        """Labels of the solvers that it needs."""
        return {self.solver, self.target.reference or self.solver}

    def __str__(self) -> str:
        """Words for tables: ``median nmse, am - svd``."""
        target = self.target
        against = f" - {target.reference}" if target.reference else ""
        if target.margin is not None:
            by = f"{target.margin:g}{' dB' if self.in_db else ''}"
            return f"share, {target.measure} of {self.solver} worse than {target.reference} by {by}"
        name = {"median": "median", "mean_db": "mean of dB"}[target.statistic]
        return f"{name} {target.measure}, {self.solver}{against}"


class Rule(NamedTuple):
    """The table ``[stop]`` of a campaign, with its looks and pairs.

    Attributes
    ----------
    stop : Stop
    pairs : tuple of Pair
    looks : tuple of int
        Numbers of realizations at which a point may stop, up to the most that it may take. They
        depend on neither that number, budget nor workers.
    """

    stop: Stop
    pairs: tuple[Pair, ...]
    looks: tuple[int, ...]

    @classmethod
    def of(
        cls,
        stop: Stop,
        realizations: int,
        solvers: Mapping[str, tuple[int, str]],
        measures: Mapping[str, Measure],
    ) -> Rule:
        """The rule of a campaign.

        Parameters
        ----------
        stop
        realizations
            The most that a point may take.
        solvers
            Batch and kind by label.
        measures

        Raises
        ------
        ValueError
            The table does not fit the campaign.
        """
        pairs = [
            Pair(target, solver)
            for number, target in enumerate(stop.target)
            for solver in _solvers_of(target, f"stop.target.{number}", solvers, measures)
        ]
        fewest = max(FEWEST[target.statistic] for target in stop.target)
        first = stop.minimum or fewest
        if first < fewest == FEWEST["mean_db"]:
            raise ValueError(f"stop.minimum: a mean needs {fewest} at least, got {first}")
        step = max(solvers[label][0] for pair in pairs for label in pair.labels)
        looks = [step * math.ceil(first / step)]
        if looks[0] > realizations:
            whole = f", whole batches of {step}" if looks[0] > first else ""
            raise ValueError(
                f"stop.minimum: the first look takes {looks[0]} realizations{whole}, more than "
                f"campaign.realizations, the most that a point may take, which is {realizations}"
            )
        while (more := step * math.ceil(stop.growth * looks[-1] / step - 1e-9)) <= realizations:
            looks.append(more)
        return cls(stop, tuple(pairs), tuple(looks))

    @property
    def labels(self) -> list[str]:
        """Labels of the solvers that decisions need."""
        return sorted({label for pair in self.pairs for label in pair.labels})

    def farthest(self, half_widths: Sequence[float]) -> tuple[Pair, float]:
        """The pair whose interval is farthest from its target, and half its width."""
        there = [(p, w) for p, w in zip(self.pairs, half_widths, strict=True) if w == w]
        nothing = self.pairs[0], 0.0
        return max(there, key=lambda found: found[1] / found[0].target.half_width, default=nothing)

    def key(self, point: Mapping[str, Configuration]) -> str:
        """Name of the decisions on a point: a hash of all that decides their intervals.

        Neither maximum, budget nor scope is in it.

        Parameters
        ----------
        point
            The configurations of the point, by label.
        """
        stop: dict[str, Any] = {"minimum": self.looks[0], "growth": self.stop.growth}
        stop["confidence"] = self.stop.confidence
        stop["targets"] = [[p.target.model_dump(exclude={"solvers"}), p.solver] for p in self.pairs]
        found = [(label, point[label]) for label in self.labels]
        solvers = [[label, c.spec, c.scoring, c.declined != ""] for label, c in found]
        return digest(canonical([stop, solvers]))


def _solvers_of(
    target: Target,
    where: str,
    solvers: Mapping[str, tuple[int, str]],
    measures: Mapping[str, Measure],
) -> list[str]:
    if target.measure not in measures or measures[target.measure].dimension is not None:
        scalar = [name for name, measure in measures.items() if measure.dimension is None]
        raise ValueError(f"{where}.measure: {target.measure!r}; {suggest(target.measure, scalar)}")
    if target.statistic == "mean_db" and not Pair(target, "").in_db:
        raise ValueError(
            f"{where}.statistic: {target.measure} has no mean in dB, only mean squared errors have"
        )
    wanted = [label for name in target.solvers or [] for label in _variants(name, solvers)]
    named = [*wanted, *([target.reference] if target.reference else [])]
    for label in named:
        if label not in solvers:
            raise ValueError(f"{where}: no solver {label!r}; {suggest(label, solvers)}")
        if solvers[label][1] == "bound":
            raise ValueError(f"{where}: {label} is a bound, which holds for means only")
    if len(named) > len(set(named)):
        raise ValueError(f"{where}: a solver is named twice in {', '.join(named)}")
    others = [s for s, (_, kind) in solvers.items() if s != target.reference and kind != "bound"]
    if not others:
        raise ValueError(f"{where}: there is no solver to compare with {target.reference}")
    return wanted or others


def _variants(name: str, labels: Iterable[str]) -> list[str]:
    """A label, or those that sweeping options of the solver of that name has made of it."""
    return [one for one in labels if one.partition("[")[0] == name] or [name]
