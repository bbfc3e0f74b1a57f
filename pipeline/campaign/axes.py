"""The swept parameters of a campaign: what they may be, and what they set in a scenario."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.campaign.blocks import SweepValue
from solvers.registry import suggest

RESERVED_DIMENSIONS = frozenset(
    {
        # Dimensions, coordinates and variables that every cube may have.
        *("solver", "realization", "iteration", "timing_host", "latency", "peak_memory"),
        *("runtime", "iterations", "inner_iterations", "noise_var", "signal_energy"),
        *("inner_capped", "status", "host", "device"),
        *("trace_cost", "trace_change", "trace_nmse"),
        *("asked", "stop_reason", "stop_target", "stop_low", "stop_value", "stop_high"),
        # Names of the statistics of a cube.
        *("statistic", "quantile", "quantiles", "mean", "mean_se", "mean_low", "mean_high"),
        *("median", "median_low", "median_high", "db_mean", "db_mean_low", "db_mean_high"),
        *("pooled", "pooled_low", "pooled_high", "mean_marked", "db_mean_marked"),
        *("pooled_marked", "bound", "gap", "gap_low", "gap_high", "gap_marked", "lost"),
        *("difference_marked", "reference_failed"),
        *("cells", "missing", "failed", "unconverged", "undefined", "used", "doubtful"),
        *("runtime_quantile", "iterations_quantile", "latency_low", "latency_high", "timed"),
        *("difference", "difference_low", "difference_high", "median_difference"),
        *("median_difference_low", "median_difference_high", "pairs", "won", "won_low"),
        *("won_high", "tied", "p_value", "p_holm", "speed", "speed_low", "speed_high"),
    }
)
"""Names that no swept parameter can have, since datasets have one meaning per name."""

SOLVER_TABLES = ("solver", "solvers")
NOT_SWEPT = "options of solvers are not swept; give one table [solvers.LABEL] per value"


@dataclasses.dataclass(frozen=True)
class Axis:
    """One swept parameter.

    Attributes
    ----------
    key : str
        As in the file: a parameter, or one element of a list ("measurements.0").
    values : tuple
    """

    key: str
    values: tuple[SweepValue, ...]

    @property
    def parameter(self) -> str:
        """Name of the scenario's parameter, also where one element of it is swept."""
        return self.key.partition(".")[0]

    @property
    def dimension(self) -> str:
        """Name of the cube's dimension."""
        return self.key.replace(".", "_")


def check_unquoted(sweep: Mapping[str, Any]) -> None:
    """Raise ValueError where TOML has made a table of a key with a dot in it."""
    for key, value in sweep.items():
        if not isinstance(value, Mapping):
            continue
        if key in SOLVER_TABLES:
            raise ValueError(f"{key}: {NOT_SWEPT}")
        element, values = next(iter(value.items()), ("0", []))
        shown = values if isinstance(values, list) and len(values) < 10 else "[…]"
        raise ValueError(
            f"{key}.{element} without quotes is a table in TOML; quote the key: "
            f'"{key}.{element}" = {shown}'
        )


def check_axes(
    axes: Sequence[Axis],
    *,
    fields: Iterable[str],
    constants: Iterable[str],
    labels: Iterable[str],
) -> None:
    """Raise ValueError where a sweep makes no grid.

    Parameters
    ----------
    axes
    fields
        Parameters of the scenario.
    constants
        Those that the table ``[scenario]`` gives.
    labels
        Labels of the solvers: no option of theirs can be swept.
    """
    fields, constants = list(fields), set(constants)
    options = {*SOLVER_TABLES, *labels} - set(fields)
    for axis in axes:
        where = f"sweep.{axis.key}"
        if axis.parameter in options:
            raise ValueError(f"{where}: {NOT_SWEPT}")
        if axis.parameter not in fields:
            raise ValueError(
                f"{where}: the scenario has no parameter {axis.parameter!r}; "
                f"{suggest(axis.parameter, fields)}"
            )
        _check_values(axis)
    keys = {axis.key for axis in axes}
    for axis in axes:
        if axis.parameter != axis.key and axis.parameter in keys:
            raise ValueError(
                f"sweep.{axis.key}: {axis.parameter!r} is swept as well; sweep one or the other"
            )
        if axis.key in constants:
            raise ValueError(f"sweep.{axis.key}: given in [scenario] as well; drop one of the two")
    dimensions = [axis.dimension for axis in axes]
    for dimension in dimensions:
        if dimensions.count(dimension) > 1:
            raise ValueError(f"sweep: two keys give the dimension {dimension!r}")


def check_names(axes: Sequence[Axis], measures: Iterable[str], others: Iterable[str]) -> None:
    """Raise ValueError where two things in the cube would have one name.

    Parameters
    ----------
    axes
    measures
        Names of the scenario's measures.
    others
        Names of their extra dimensions, and of solvers' diagnostics.
    """
    for measure in measures:
        if measure in RESERVED_DIMENSIONS:
            raise ValueError(f"scenario: its measure {measure!r} has a name that cubes use already")
    taken = {*measures, *others, *RESERVED_DIMENSIONS}
    for axis in axes:
        if axis.dimension in taken:
            raise ValueError(f"sweep.{axis.key}: the name {axis.dimension!r} is taken in cubes")


def _check_values(axis: Axis) -> None:
    where, values = f"sweep.{axis.key}", axis.values
    if not values:
        raise ValueError(f"{where}: no values; give at least one, or drop the key")
    kinds = {_kind(value) for value in values}
    if None in kinds or len(kinds) > 1:
        raise ValueError(
            f"{where}: values must be all numbers, all strings or all booleans; "
            'to sweep a list, sweep its elements, as in "measurements.0"'
        )
    if any(isinstance(v, float) and math.isnan(v) for v in values):
        raise ValueError(f"{where}: values must not be NaN, got {list(values)}")
    fractions = any(isinstance(value, float) for value in values)
    for value in values:
        if isinstance(value, int) and not _fits(value, fractions=fractions):
            raise ValueError(
                f"{where}: the cube's axis cannot hold so many digits, got {value}; "
                "write it with an exponent, as in 1e20, where it need not be exact"
            )
        if isinstance(value, str) and "\0" in value:
            raise ValueError(f"{where}: strings without null characters only, got {value!r}")
    if len(set(values)) < len(values):
        raise ValueError(f"{where}: duplicate values in {list(values)}")


def _fits(value: int, *, fractions: bool) -> bool:
    """Whether an axis holds a whole number as it is: in 64 bits, or in double precision."""
    if not fractions:
        return -(2**63) <= value < 2**63
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _kind(value: Any) -> str | None:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else None


def assign(
    parameters: dict[str, Any], key: str, value: SweepValue, fields: Mapping[str, Any]
) -> None:
    """Set a parameter, or one element of a list parameter, in place.

    Parameters
    ----------
    parameters
        What the table ``[scenario]`` gives.
    key, value
        As on an axis.
    fields
        Default values of all parameters.
    """
    name, dot, element = key.partition(".")
    if not dot:
        parameters[name] = value
        return
    whole = parameters.get(name, fields[name])
    if not isinstance(whole, list | tuple):
        raise ValueError(f"sweep.{key}: {name} is not a list; sweep {name!r} itself")
    if element not in map(str, range(len(whole))):
        raise ValueError(f"sweep.{key}: {name} has elements 0 to {len(whole) - 1}")
    parameters[name] = [*whole[: int(element)], value, *whole[int(element) + 1 :]]
