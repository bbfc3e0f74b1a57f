"""Scales of axes, from the values that they must show; numbers only, nothing is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

DECADES = 8
"""A logarithmic axis shows at most so many below, and above, the median of its values."""

Limits = tuple[float, float]


def is_text(values: NDArray[Any]) -> bool:
    """Whether values are names (or truths), which have no places on an axis of their own."""
    return values.dtype.kind not in "iuf"


def evenly_spaced_in_log(values: Sequence[Any] | NDArray[Any]) -> bool:
    """Whether the values of a swept parameter lie on a logarithmic scale, 1, 10, 100 say."""
    values = np.asarray(values)
    if is_text(values) or len(values) < 3 or values.min() <= 0 or values.max() < 8 * values.min():
        return False
    steps, ratios = np.diff(np.sort(values)), np.diff(np.log(np.sort(values)))
    return bool(np.ptp(ratios) / ratios.mean() < np.ptp(steps) / steps.mean())


def places(values: NDArray[Any]) -> NDArray[Any]:
    """Positions of a swept parameter's values on an axis: themselves, and infinity beyond them.

    An SNR of infinity is a step further than the largest, one of minus infinity a step below the
    least, the steps being as wide as they are on average.
    """
    finite = np.isfinite(values.astype(float))
    if finite.all() or not finite.any():
        return values
    least, last = values[finite].min(), values[finite].max()
    step = (last - least) / max(finite.sum() - 1, 1) or 1.0
    return np.clip(values, least - step, last + step)


def wants_log(values: Any, better: str = "lower") -> bool:
    """Whether the field draws such values on a logarithmic axis: errors, not rates of success."""
    values = np.asarray(values, float)
    return better == "lower" and bool((values[np.isfinite(values)] > 0).any())


def spans_much(values: Any) -> bool:
    """Whether positive values span so much that a linear axis would hide the small ones."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values) & (values > 0)]
    return bool(values.size) and values.max() > 20 * values.min()


def log_limits(values: Any) -> Limits | None:
    """Limits for a logarithmic axis that shows these values, except those far from most.

    Returns
    -------
    tuple of two floats, or None
        None where no value has a logarithm.
    """
    values = np.asarray(values, float)
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        return None
    # From the median: a solver that goes astray must not push the others off the axis.
    middle, reach = np.median(values), 10.0**DECADES
    low, high = max(values.min(), middle / reach), min(values.max(), middle * reach)
    margin = max((high / low) ** 0.04, 1.05)
    return float(low / margin), float(high * margin)


def off_axis(values: Any, limits: Limits | None) -> list[str]:
    """A note on values outside the limits of an axis; none where all are inside."""
    if limits is None:
        return []
    values = np.asarray(values, float)
    low, high = limits
    outside = (("below", low, values < low), ("above", high, values > high))
    said = [f"{at.sum()} {where} {end:.0e}" for where, end, at in outside if at.any()]
    return [f"points off the axis: {', '.join(said)}"] if said else []
