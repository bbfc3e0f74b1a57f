"""A scenario for tests of odd input: it takes anything that a sweep can hold, and ignores it."""

from pydantic.dataclasses import dataclass

from pipeline.scenarios.base import PARAMETERS
from pipeline.scenarios.synthetic import Synthetic

USE = "tests.anything:Anything"


@dataclass(frozen=True, config=PARAMETERS)
class Anything(Synthetic):
    """The synthetic scenario with one parameter that means nothing."""

    channel: bool | int | float | str | list[int] = 0
