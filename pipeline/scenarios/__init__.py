"""Scenarios: where realizations come from."""

from pipeline.scenarios.base import Measure, Scenario, Truth, noise_variance
from pipeline.scenarios.irs_mimo import IrsMimo
from pipeline.scenarios.irs_training import IrsTraining
from pipeline.scenarios.recorded import Recorded
from pipeline.scenarios.streams import normal, stream, streams
from pipeline.scenarios.synthetic import Synthetic
from solvers import ErrorForm
from solvers.registry import Registry

REGISTRY = Registry(
    "scenario",
    "kronsbl.scenarios",
    {
        "synthetic": Synthetic,
        "irs_mimo": IrsMimo,
        "irs_training": IrsTraining,
        "recorded": Recorded,
    },
    base=Scenario,
)

__all__ = [
    "REGISTRY",
    "ErrorForm",
    "Measure",
    "Scenario",
    "Truth",
    "noise_variance",
    "normal",
    "stream",
    "streams",
]
