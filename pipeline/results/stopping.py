"""What a cube says of ``[stop]``: realizations asked for at each point, why no more, intervals."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.campaign.request import Request
from pipeline.store.decisions import Reason, Standing

REASONS: dict[str, Any] = {
    "flag_values": [int(reason) for reason in Reason],
    "flag_meanings": " ".join(reason.name.lower() for reason in Reason),
    "sentences": json.dumps({reason.name.lower(): reason.sentence for reason in Reason}),
}


def stop_variables(
    request: Request, standings: Sequence[Standing]
) -> Iterator[tuple[str, tuple[str, ...], NDArray[Any], dict[str, Any]]]:
    """Name, dimensions, values and attributes of ``asked``, ``stop_reason`` and the intervals."""
    assert request.rule is not None
    axes, target = tuple(axis.dimension for axis in request.axes), ("stop_target",)
    grid, pairs = [len(axis.values) for axis in request.axes], request.rule.pairs
    about: dict[str, Any] = {"units": "1", "long_name": "realizations asked for"}
    yield "asked", axes, np.array([s.asked for s in standings], "i4").reshape(grid), about
    about = {"units": "1", "long_name": "why no more realizations are taken", **REASONS}
    yield "stop_reason", axes, np.array([s.reason for s in standings], "u1").reshape(grid), about
    for name in ("low", "value", "high"):
        ends = np.full((len(pairs), len(standings)), np.nan)
        for number, standing in enumerate(standings):
            if standing.decision is not None:
                ends[:, number] = getattr(standing.decision, name)
        about = {"units": "1", "long_name": f"{name} of the last look"}
        yield f"stop_{name}", target + axes, ends.reshape(len(pairs), *grid), about
    about = {"units": "1", "long_name": "what an interval is of"}
    yield "stop_target", target, np.array(list(map(str, pairs)), np.dtypes.StringDType()), about


def stop_attribute(request: Request) -> str:
    """All that readers of these variables need to know, as JSON."""
    assert request.rule is not None
    targets = [
        {**pair.target.model_dump(exclude={"solvers"}), "solver": pair.solver, "unit": pair.unit}
        for pair in request.rule.pairs
    ]
    confidence, most = request.rule.stop.confidence, request.realizations
    return json.dumps({"confidence": confidence, "maximum": most, "targets": targets})
