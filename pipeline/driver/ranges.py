"""Ranges of options that are tuned: what of each option is tried, and what lies beside a value."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pipeline.errors import InputError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FORMS = "name=log(1e-4, 1e-1), name=linear(0, 1), name=integer(1, 8) or name=[0.5, 1.0]"

_NUMBERS = re.compile(r"(log|linear|integer)\(([^,()]+),([^,()]+)\)")


@dataclass(frozen=True)
class Range:
    """The values of one option that may be tried.

    Attributes
    ----------
    option : str
        Name of the option.
    text : str
        The range as it was given, "log(1e-4, 1e-1)" say.
    kind : {"log", "linear", "integer", "choice"}
    ends : (number, number)
        The least and the largest value; of a choice, the numbers of the first and the last.
    values : tuple
        What there is to choose from.
    """

    option: str
    text: str
    kind: str
    ends: tuple[Any, Any]
    values: tuple[Any, ...] = ()

    @classmethod
    def of(cls, given: str) -> Self:
        """Read a range such as "prune=log(1e-4, 1e-1)".

        Raises
        ------
        InputError
            It has none of the four forms, or holds less than two values.
        """
        option, _, text = (part.strip() for part in given.partition("="))
        found, ends = _NUMBERS.fullmatch(text), (0, 0)
        try:
            if found is None:
                values = tomllib.loads(f"values = {text}")["values"] if text[:1] == "[" else ()
                kind, ends = "choice", (0, len(values) - 1)
            else:
                number: Any = int if found[1] == "integer" else float
                kind, values, ends = found[1], (), (number(found[2]), number(found[3]))
        except ValueError as error:
            raise InputError(f"--over {given}: {error}; expected {FORMS}") from None
        if not (option and -math.inf < ends[0] < ends[1] < math.inf):
            raise InputError(f"--over {given}: expected two values or more in order, as in {FORMS}")
        if kind == "log" and ends[0] <= 0:
            raise InputError(f"--over {given}: a logarithmic range begins above 0")
        return cls(option, text, kind, ends, tuple(values))

    def distribution(self) -> BaseDistribution:
        """The range as optuna knows it."""
        from optuna import distributions

        if self.kind == "choice":
            return distributions.CategoricalDistribution(range(len(self.values)))
        if self.kind == "integer":
            return distributions.IntDistribution(*self.ends)
        return distributions.FloatDistribution(*self.ends, log=self.kind == "log")

    def value(self, drawn: Any) -> Any:
        """The value to try for what optuna has drawn: numbers are rounded to three digits.

        So results can be read, and what comes close to an earlier trial is that trial.
        """
        if self.kind == "choice":
            return self.values[drawn]
        return drawn if self.kind == "integer" else self._within(float(f"{drawn:.3g}"))

    def neighbours(self, value: Any) -> list[Any]:
        """What lies beside a value.

        Half and twice as much on a logarithmic range, a tenth of another to each side, and of a
        choice everything else.
        """
        if self.kind == "choice":
            return [other for other in self.values if other != value]
        tenth = (self.ends[1] - self.ends[0]) / 10.0
        step = max(round(tenth), 1) if self.kind == "integer" else tenth
        beside = [value / 2.0, value * 2.0] if self.kind == "log" else [value - step, value + step]
        return [other for other in (self.value(self._within(b)) for b in beside) if other != value]

    def holds(self, value: Any) -> bool:
        """Whether a value is one that may be tried."""
        if self.kind == "choice":
            return value in self.values
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.ends[0] <= value <= self.ends[1]

    def is_end(self, value: Any) -> bool:
        """Whether a number is an end of its range, so that better ones may lie beyond."""
        return self.kind != "choice" and value in self.ends

    def _within(self, value: Any) -> Any:
        return min(max(value, self.ends[0]), self.ends[1])
