"""A scenario for tests of tables, pages and messages, which spell out its two measures."""

from types import MappingProxyType
from typing import ClassVar

from pydantic.dataclasses import dataclass

from pipeline.scenarios import Measure, metrics
from pipeline.scenarios.base import PARAMETERS
from pipeline.scenarios.synthetic import Synthetic

USE = "tests.two_measures:TwoMeasures"


@dataclass(frozen=True, config=PARAMETERS)
class TwoMeasures(Synthetic):
    """The synthetic scenario, whatever else it comes to measure."""

    measures: ClassVar = MappingProxyType(
        {
            "nmse": Measure("1", "normalised mean squared error of x", "lower"),
            "srr": Measure("1", "support recovery rate", "higher"),
        }
    )

    def score(self, truth, problem, estimate):
        return {
            "nmse": metrics.nmse(estimate.x, truth.x),
            "srr": metrics.support_recovery(estimate.x, truth.x),
        }
