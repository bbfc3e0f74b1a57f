"""The swept parameters of a campaign: what they may be, and what they set in a scenario."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from pipeline.campaign.blocks import SweepValue, canonical, plain
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
OF_SOLVERS = "solvers."
"""How the keys of options of solvers begin in a sweep: "solvers.LABEL.OPTION"."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of the sweep, along which a parameter takes several values, or several together.

    Attributes
    ----------
    key : str
        As in the file: a parameter, one element of a list ("measurements.0"), or the name of a
        table of parameters that move together.
    settings : dict
        The values of each parameter, place by place; the first one names the places.
    """

    key: str
    settings: Mapping[str, tuple[Any, ...]]

    @classmethod
    def of(cls, key: str, given: Any) -> Axis:
        """The axis of a key of the table ``[sweep]``."""
        zipped = given if isinstance(given, Mapping) else {key: given}
        return cls(key, {name: tuple(values) for name, values in zipped.items()})

    @property
    def dimension(self) -> str:
        """Name of the cube's dimension."""
        return self.key.replace(".", "_")

    @property
    def is_zipped(self) -> bool:
        """Whether it is a table of parameters that move together."""
        return list(self.settings) != [self.key]

    @property
    def names_places(self) -> str:
        """The parameter whose values name the places."""
        return next(iter(self.settings))

    @cached_property
    def values(self) -> tuple[SweepValue, ...]:
        """Names of the places, which the cube's axis has: values, or texts of them for lists."""
        return tuple(value_label(value) for value in self.settings[self.names_places])

    @cached_property
    def places(self) -> dict[SweepValue, dict[str, Any]]:
        """The parameters that are set at each place, by its name."""
        columns = zip(*self.settings.values(), strict=True)
        return {
            value: dict(zip(self.settings, row, strict=True))
            for value, row in zip(self.values, columns, strict=True)
        }

    def where(self, key: str) -> str:
        """A parameter's place in the file, for messages."""
        return f"sweep.{self.key}.{key}" if self.is_zipped else f"sweep.{key}"


def value_label(value: Any) -> Any:
    """What stands for a value on an axis: itself, or a text for a list, as ``8x8x12``."""
    if not isinstance(value, list | tuple):
        return value
    if value and all(_kind(v) == "number" for v in value):
        return "x".join(str(plain(v)) for v in value)
    return canonical(value)


def check_sweep(sweep: Mapping[str, Any]) -> None:
    """Raise ValueError where TOML has made a table of a key with dots, or a value is no list."""
    for key, value in sweep.items():
        columns = value if isinstance(value, Mapping) else {key: value}
        if not columns:
            raise ValueError(f"sweep.{key}: no parameters; give at least one list of values")
        for name, values in columns.items():
            at = key if value is not columns else f"{key}.{name}"
            of_solver = str(at).partition(".")[0] in SOLVER_TABLES
            if value is columns and (of_solver or str(name).isdecimal()):
                at = f"{OF_SOLVERS}LABEL.OPTION" if of_solver else at
                shown = values if isinstance(values, list) and len(values) < 10 else "[…]"
                raise ValueError(
                    f"sweep: {key}.{name} without quotes is a table in TOML; quote the key: "
                    f'"{at}" = {shown}'
                )
            if not isinstance(values, list):
                raise ValueError(f"sweep.{at}: expected a list of values, got {values!r:.100}")


def with_configurations(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of a campaign in which every swept option of a solver has become solvers of their own.

    `"solvers.svd.prune" = [1e-3, 1e-2]` makes of svd the solvers ``svd[prune=0.001]`` and
    ``svd[prune=0.01]``, in its place.

    Raises
    ------
    ValueError
        A key names no solver, its option is given besides, or the values are none.
    """
    check_sweep(tables["sweep"])
    sweep, solvers = dict(tables["sweep"]), tables["solvers"]
    options: dict[str, list[list[tuple[str, Any]]]] = {}
    for key in [key for key in sweep if str(key).startswith(OF_SOLVERS)]:
        axis, where = Axis.of(key, sweep.pop(key)), f"sweep.{key}"
        label, _, option = key.removeprefix(OF_SOLVERS).rpartition(".")
        if not isinstance(solvers.get(label), Mapping):
            raise ValueError(f"{where}: no solver {label!r}; {suggest(label, solvers)}")
        if option in solvers[label]:
            raise ValueError(f"{where}: given in [solvers.{label}] as well; drop one of the two")
        _check_values(axis)
        options.setdefault(label, []).append([(option, v) for v in axis.settings[key]])
    found: dict[str, Any] = {}
    for label, table in solvers.items():
        for chosen in itertools.product(*options.get(label, [])):
            words = ",".join(f"{option}={value_label(plain(value))}" for option, value in chosen)
            name = f"{label}[{words}]" if words else label
            if name in found or (words and name in solvers):
                raise ValueError(f"solvers: two configurations would be called {name!r}")
            found[name] = {**table, **dict(chosen)} if words else table
    return {**tables, "sweep": sweep, "solvers": found}


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
        Labels of the solvers, whose options have keys of their own.
    """
    fields, constants = list(fields), set(constants)
    solvers = {*SOLVER_TABLES, *labels} - set(fields)
    keys = [key for axis in axes for key in axis.settings]
    for axis in axes:
        for key in axis.settings:
            where, parameter = axis.where(key), key.partition(".")[0]
            if parameter in solvers:
                raise ValueError(f'{where}: for an option of a solver, "{OF_SOLVERS}LABEL.OPTION"')
            if parameter not in fields:
                raise ValueError(
                    f"{where}: the scenario has no parameter {parameter!r}; "
                    f"{suggest(parameter, fields)}"
                )
            if keys.count(key) > 1 or (parameter != key and parameter in keys):
                raise ValueError(f"{where}: {parameter!r} is swept as well; sweep one or the other")
            if key in constants:
                raise ValueError(f"{where}: given in [scenario] as well; drop one of the two")
        _check_values(axis)
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
    sizes = {key: len(values) for key, values in axis.settings.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"sweep.{axis.key}: as many values of each are needed, got {sizes}")
    for key, values in axis.settings.items():
        scalars = list(_scalars(values))
        if any(isinstance(v, float) and math.isnan(v) for v in scalars):
            raise ValueError(f"{axis.where(key)}: values must not be NaN, got {list(values)}")
        if any(_kind(value) is None for value in scalars):
            raise ValueError(f"{axis.where(key)}: values are numbers, strings, booleans or lists")
    where, values = axis.where(axis.names_places), axis.settings[axis.names_places]
    if not values:
        raise ValueError(f"{where}: no values; give at least one, or drop the key")
    if len({_kind(value) or "list" for value in values}) > 1:
        raise ValueError(
            f"{where}: values must be all numbers, all strings, all booleans or all lists"
        )
    fractions = any(isinstance(value, float) for value in values)
    for value in values:
        if isinstance(value, int) and not _fits(value, fractions=fractions):
            raise ValueError(
                f"{where}: the cube's axis cannot hold so many digits, got {value}; "
                "write it with an exponent, as in 1e20, where it need not be exact"
            )
        if isinstance(value, str) and "\0" in value:
            raise ValueError(f"{where}: strings without null characters only, got {value!r}")
    if len(set(axis.values)) < len(values):
        raise ValueError(f"{where}: duplicate values in {list(values)}")


def _scalars(value: Any) -> Iterator[Any]:
    """Yield all that is in lists of lists, to any depth."""
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _scalars(inner)
    else:
        yield value


def _fits(value: int, *, fractions: bool) -> bool:
    """Whether an axis holds a whole number as it is: in 64 bits, beside fractions exactly."""
    return -(2**63) <= value < 2**63 and (not fractions or int(float(value)) == value)


def _kind(value: Any) -> str | None:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else None


def assign(parameters: dict[str, Any], key: str, value: Any, fields: Mapping[str, Any]) -> None:
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
