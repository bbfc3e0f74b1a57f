"""Options of a solver: the fields of its dataclass, declared once and checked when it is built."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np


def option(default: Any, doc: str, *, kw_only: bool = False, **rule: Any) -> Any:
    """Declare one option of a solver.

    Parameters
    ----------
    default
        Default value; its type is the type that is asked for.
    doc
        One line for people.
    kw_only
        Whether it must be named where a solver is built, so that options which all solvers share
        do not shift the positions of a solver's own.
    **rule
        Any of `at_least`, `above`, `below` (bounds of a number), `choices` (of a string),
        ``per_factor=True`` (one value or a list of them, one per factor), ``listed=True`` (a list;
        needs `type`, that of its elements), ``optional=True`` (None is allowed; needs `type`),
        `words` (strings that may stand for a number), `type`.
    """
    return dataclasses.field(default=default, kw_only=kw_only, metadata={"doc": doc, **rule})


def check_options(solver: Any) -> None:
    """Bring every option of a solver to its type, or raise a ValueError that names it.

    Parameters
    ----------
    solver
        A frozen dataclass whose fields are declared by `option`.
    """
    for field in dataclasses.fields(solver):
        rule, value = field.metadata, getattr(solver, field.name)
        if value is None and rule.get("optional"):
            continue
        kind = rule.get("type", type(field.default))
        several = isinstance(value, Sequence) and not isinstance(value, str)
        if rule.get("listed") and not several:
            raise ValueError(f"{field.name} must be a list, got {value!r}")
        if several and (rule.get("per_factor") or rule.get("listed")):
            if len(value) == 0 and not rule.get("listed"):
                raise ValueError(f"{field.name} must not be an empty list")
            value = tuple(_scalar_option(field.name, v, kind, rule) for v in value)
        else:
            value = _scalar_option(field.name, value, kind, rule)
        object.__setattr__(solver, field.name, value)


def _scalar_option(name: str, value: Any, kind: type, rule: Any) -> Any:
    """`value` as a `kind` within the bounds of `rule`, or a ValueError that names the option."""
    if kind is bool:
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} must be true or false, got {value!r}")
        return bool(value)
    words = rule.get("words", ())
    if isinstance(value, str) and value in words:
        return value
    if isinstance(value, str) and words:
        raise ValueError(f"{name} must be a number or one of {words}, got {value!r}")
    number = numbers.Integral if kind is int else numbers.Real
    accepted = str if kind is str else number
    if not isinstance(value, accepted) or isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be of type {kind.__name__}, got {value!r}")
    value = kind(value)
    if kind is float and not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")
    choices = rule.get("choices")
    if choices and value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    if "at_least" in rule and value < rule["at_least"]:
        raise ValueError(f"{name} must be at least {rule['at_least']}, got {value!r}")
    if "above" in rule and not value > rule["above"]:
        raise ValueError(f"{name} must be greater than {rule['above']}, got {value!r}")
    if "below" in rule and not value < rule["below"]:
        raise ValueError(f"{name} must be less than {rule['below']}, got {value!r}")
    return value


def published(*bases: Any, **options: Any) -> Mapping[str, Mapping[str, Any]]:
    """Declare the preset `published`: the options of a publication, without data units.

    Parameters
    ----------
    *bases
        Solvers whose own preset this one extends.
    **options
        What the publication, or its authors' code, has. `scaling` is "none" in any case.
    """
    found = {"scaling": "none"}
    for base in bases:
        found |= base.presets["published"]
    return MappingProxyType({"published": MappingProxyType(found | options)})


def per_factor(value: Any, count: int) -> tuple[Any, ...]:
    """A per-factor option spelt out: one value for each of `count` factors."""
    return value if isinstance(value, tuple) else (value,) * count
