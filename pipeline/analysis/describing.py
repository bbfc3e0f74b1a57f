"""Words for titles, notes and captions: what a cube shows, and what to know of it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tomli_w
import xarray as xr

from pipeline.analysis import tails
from pipeline.analysis.cells import axes_of, is_power, not_run
from pipeline.errors import InputError
from solvers.registry import suggest

MARKED = (
    f"a mean not to be trusted, whatever its interval: fewer than {tails.FEWEST} realizations, "
    "some failed, a few hold half of the sum, the tail is heavy, or unseen failures could add 3 dB"
)
DIFFERENCE_MARKED = (
    f"a mean difference not to be trusted: of fewer than {tails.FEWEST} pairs, or without some in "
    "which a solver failed"
)
GAP = "Gap between the mean and that of a bound (ratio of means; SBL is biased and may lie below)"

STATISTIC_TEXTS = {
    "mean": "mean, 95 % bootstrap interval",
    "pooled": "pooled: sum of squared errors over sum of energies, 95 % bootstrap interval",
    "median": "median, 95 % distribution-free interval",
    "quartiles": "mean, and quartiles",
}


def statistic_text(statistic: str, cells: str) -> str:
    """Words that say which statistic a curve is, and what its band."""
    return STATISTIC_TEXTS[statistic] + cells_text(cells)


def statistic_names(measure: str) -> dict[str, str]:
    """The statistics of a measure as headings: every mean says which it is."""
    if not is_power(measure):
        return {"median": f"median {measure}", "mean": f"mean {measure}"}
    return {
        "median": f"median {measure}, dB",
        "mean": f"dB of the mean {measure}",
        "db_mean": f"mean of {measure} in dB",
        "pooled": f"pooled {measure}, dB",
    }


def p_text(p: float) -> str:
    """A p-value; one that is too small for a number says so."""
    return "–" if p != p else "<1e-300" if p < 1e-300 else f"{p:.2g}"


def sign_text(one: Mapping[str, Any], reference: str) -> str:
    """The sign test of a row of `compare` in words: which of the two is better, and how often."""
    p = p_text(float(one["p_holm"]))
    if p == "–":
        return p
    sign = "" if p[0] == "<" else "= "
    ahead = max((float(one["won"]), str(one["solver"])), (float(one["lost"]), reference))
    return f"{ahead[1]} better in {ahead[0]:.0%}, p {sign}{p}".replace("%", " %")


def cells_text(cells: str) -> str:
    """Words to put behind a statistic, for the cells that it is over; none for all cells."""
    return "; realizations that all solvers have finished" if cells == "common" else ""


def fix(results: xr.Dataset, point: Mapping[str, Any]) -> xr.Dataset:
    """The part of a cube at given values of some swept parameters.

    Parameters
    ----------
    results
    point
        Values by the names of dimensions, or lists of values.

    Raises
    ------
    InputError
        No such dimension, or no such value on it.
    """
    axes = axes_of(results)
    for name, value in point.items():
        if name not in axes:
            have = suggest(name, axes) if axes else "nothing is swept in this cube"
            raise InputError(f"{name}: not a swept dimension; {have}")
        for one in value if isinstance(value, list) else [value]:
            if one not in results[name].values.tolist():
                have = results[name].values.tolist()
                raise InputError(f"{name} = {one!r}: not in the cube, which has {have}")
    return results.sel(dict(point))


def subset(
    results: xr.Dataset, solvers: Sequence[str] = (), point: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """The part of a cube with some of its solvers, in that order, and at some values.

    Parameters
    ----------
    results
    solvers
        Labels, or those before the brackets of several; all where none is given.
    point
        Values by the names of dimensions, which stay dimensions, or lists of values.

    Raises
    ------
    InputError
        No such solver, dimension or value.
    """
    known = list(map(str, results.solver.values))
    chosen: list[str] = []
    for label in solvers:
        found = [k for k in known if k == label or k.startswith(f"{label}[")]
        if not found:
            raise InputError(f"no solver {label!r} in this cube; {suggest(label, known)}")
        chosen += found
    fix(results, point or {})
    at = {k: v if isinstance(v, list) else [v] for k, v in (point or {}).items()}
    return results.sel({"solver": list(dict.fromkeys(chosen)) or known, **at})


def free_axes(results: xr.Dataset) -> list[str]:
    """Swept dimensions with more than one value."""
    return [axis for axis in axes_of(results) if results.sizes[axis] > 1]


def tables_of(results: xr.Dataset) -> dict[str, Any]:
    """The campaign's tables."""
    return tomllib.loads(results.attrs.get("campaign", ""))


def name_of(results: xr.Dataset) -> str:
    """The campaign's name, or another that was given to the cube."""
    named = tables_of(results).get("campaign", {}).get("name", "campaign")
    return str(results.attrs.get("name", named))


def solver_text(results: xr.Dataset, label: str) -> str:
    """A solver's label, with the preset that it was set by: ``am (published)``."""
    solvers = json.loads(results.attrs.get("solvers", "{}"))
    preset = solvers.get(label, {}).get("options", {}).get("preset")
    return f"{label} ({preset})" if preset else label


def label_of(variable: xr.DataArray) -> str:
    """Long name and unit."""
    name, unit = variable.attrs.get("long_name", variable.name), variable.attrs.get("units", "1")
    return f"{name} ({unit})" if unit not in ("1", "") else str(name)


def value_text(variable: xr.DataArray, value: Any) -> str:
    """``SNR = 20 dB``; all parameters that move together along an axis, not only the first one."""
    settings = json.loads(variable.attrs.get("settings", "{}"))
    if len(settings) > 1:
        for row in zip(*settings.values(), strict=True):
            texts = ["x".join(map(short_text, v if isinstance(v, list) else [v])) for v in row]
            if texts[0] == short_text(value):
                return ", ".join(f"{k} = {text}" for k, text in zip(settings, texts, strict=True))
    name, unit = variable.attrs.get("long_name", variable.name), variable.attrs.get("units", "1")
    return f"{name} = {short_text(value)}{f' {unit}' if unit not in ('1', '') else ''}"


def short_text(value: Any) -> str:
    """A value of a swept parameter, without its name and unit."""
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return f"{value:g}" if is_number else str(value)


def point_words(point: Mapping[str, Any]) -> list[str]:
    """A point as words of the command line, whose values are read as TOML where they can be."""
    words = []
    for name, value in point.items():
        text = tomli_w.dumps({"value": value}).removeprefix("value = ").rstrip("\n")
        if isinstance(value, str) and toml_value(value) == value:
            text = value  # it cannot be taken for anything else than text
        words += [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]
    return words


def toml_value(text: str) -> Any:
    """The value that a word of the command line stands for: as in TOML, or else the word."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def point_text(results: xr.Dataset, point: Mapping[str, Any]) -> str:
    """``SNR = 20 dB, nonzeros per factor = 3``; empty for no swept parameter."""
    return ", ".join(value_text(results[name], value) for name, value in point.items())


def named(results: xr.Dataset, point: Mapping[str, Any]) -> dict[str, str]:
    """A point by the labels of its parameters: ``{"SNR (dB)": "20"}``."""
    return {label_of(results[name]): short_text(value) for name, value in point.items()}


def of_two(before: xr.Dataset, now: xr.Dataset, names: Iterable[Any]) -> list[str]:
    """Lines that say where two cubes come from, what they lack, and what one of them has alone."""
    lines = []
    for which, one, name in zip(("first", "second"), (before, now), names, strict=True):
        said = [
            f"the {which}: {name}",
            f"commit {one.attrs.get('computed_with_commit', 'unknown')}",
        ]
        missing = int(not_run(one).sum())
        said += [f"unfinished: {missing} cells have not been run"] if missing else []
        lines.append(", ".join(said))
    alone = sorted({*map(str, before.solver.values)} ^ {*map(str, now.solver.values)})
    return [*lines, *([f"in one of the two only: {', '.join(alone)}"] if alone else [])]


def constants(results: xr.Dataset) -> dict[str, Any]:
    """The scenario's parameters that the campaign sets and does not sweep; "·" for an element."""
    tables = tables_of(results)
    parameters = {k: v for k, v in tables.get("scenario", {}).items() if k != "use"}
    swept = tables.get("sweep", {}).items()
    for key in (k for axis, given in swept for k in (given if isinstance(given, dict) else [axis])):
        name, _, element = key.partition(".")
        if element and isinstance(parameters.get(name), list):
            parameters[name][int(element)] = "·"
        else:
            parameters.pop(name, None)
    return parameters


def setting(results: xr.Dataset) -> str:
    """The scenario with the parameters that are the same everywhere in a cube."""
    parameters = constants(results)
    fixed = {
        str(n): v.item() for n, v in results.coords.items() if v.ndim == 0 and str(n) != "solver"
    }
    fixed |= {axis: results[axis].item() for axis in axes_of(results) if results.sizes[axis] == 1}
    words = [point_text(results, {name: value}) for name, value in fixed.items()]
    words += [_parameter_text(results, name, value) for name, value in parameters.items()]
    return ": ".join(filter(None, [results.attrs.get("scenario"), ", ".join(words)]))


def _parameter_text(results: xr.Dataset, name: str, value: Any) -> str:
    """``SNR = 25 dB`` where a parameter has a unit, ``sparsity 3`` elsewhere."""
    about = json.loads(results.attrs.get("parameters", "{}")).get(name, {})
    if about.get("units", "1") != "1":
        return value_text(xr.DataArray(value, attrs=about), value)
    return f"{name.replace('_', ' ')} {_product_text(value)}"


def _product_text(value: Any) -> str:
    return "×".join(map(str, value)) if isinstance(value, list) else str(value)


def point_of(results: xr.Dataset, index: Mapping[str, int]) -> dict[str, Any]:
    """Values of the swept parameters at some indices."""
    return {axis: results[axis].values[i] for axis, i in index.items()}


def sample(results: xr.Dataset, solver: str, point: Mapping[str, Any]) -> xr.Dataset:
    """The realizations of one solver at one point."""
    found = results.sel({"solver": solver, **point})
    return found.squeeze(axes_of(found), drop=True)


def trace_of(results: xr.Dataset, measure: str) -> str:
    """Name of the variable with the trace of a measure.

    Raises
    ------
    InputError
        The cube has no such trace, or none at all.
    """
    have = [str(name) for name in results.data_vars if str(name).startswith("trace_")]
    if not have:
        raise InputError(
            "no traces in this cube; a campaign keeps them where it says [output] trace = true"
        )
    name = f"trace_{measure.removeprefix('trace_')}"
    if name not in have:
        known = ", ".join(h.removeprefix("trace_") for h in have)
        raise InputError(f"no trace of {measure!r} in this cube; it has {known}")
    return name
