"""What a cube says of ``[stop]``: realizations asked for at each point, why no more, intervals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.campaign.request import Request
from pipeline.store.decisions import Reason, Standing


class StopVariable(NamedTuple):
    """A variable over the grid, or over targets and the grid.

    Attributes
    ----------
    dimensions : tuple of str
    values : array
    attributes : dict
    """

    dimensions: tuple[str, ...]
    values: NDArray[Any]
    attributes: dict[str, Any]


def stop_variables(request: Request, standings: Sequence[Standing]) -> dict[str, StopVariable]:
    """``asked`` and ``stop_reason`` over the grid, and intervals over ``stop_target`` as well."""
    assert request.rule is not None
    axes = tuple(axis.dimension for axis in request.axes)
    grid, pairs = [len(axis.values) for axis in request.axes], request.rule.pairs
    flags = {
        "flag_values": [int(reason) for reason in Reason],
        "flag_meanings": " ".join(reason.name.lower() for reason in Reason),
        "sentences": json.dumps({r.name.lower(): r.sentence for r in Reason}),
    }

    def variable(dtype: str, values: Any, long_name: str, **more: Any) -> StopVariable:
        found = np.array(values, dtype)
        dimensions = (
            (("stop_target", *axes), (len(pairs), *grid)) if found.ndim > 1 else (axes, grid)
        )
        about = {"units": "1", "long_name": long_name, **more}
        return StopVariable(dimensions[0], found.reshape(dimensions[1]), about)

    nothing = [np.nan] * len(pairs)
    ends = {
        name: [getattr(one.decision, name) if one.decision else nothing for one in standings]
        for name in ("low", "value", "high")
    }
    names = np.array(list(map(str, pairs)), np.dtypes.StringDType())
    about = {"units": "1", "long_name": "what an interval is of"}
    return {
        "asked": variable("i4", [s.asked for s in standings], "realizations asked for"),
        "stop_reason": variable(
            "u1", [s.reason for s in standings], "why no more realizations are taken", **flags
        ),
        **{
            f"stop_{name}": variable("f8", np.transpose(values), f"{name} of the last look")
            for name, values in ends.items()
        },
        "stop_target": StopVariable(("stop_target",), names, about),
    }


def stop_attribute(request: Request) -> str:
    """All that readers of these variables need to know, as JSON."""
    assert request.rule is not None
    targets = [
        {**pair.target.model_dump(exclude={"solvers"}), "solver": pair.solver, "unit": pair.unit}
        for pair in request.rule.pairs
    ]
    confidence, most = request.rule.stop.confidence, request.realizations
    return json.dumps({"confidence": confidence, "maximum": most, "targets": targets})
