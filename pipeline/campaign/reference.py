"""What can be written into a campaign file: its keys, a file to start from, and a JSON schema."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from pipeline.campaign.definition import Campaign
from pipeline.campaign.settings import Header, Jobs
from pipeline.campaign.stopping import Target
from pipeline.errors import InputError
from pipeline.scenarios import REGISTRY as SCENARIOS
from solvers.registry import REGISTRY as SOLVERS
from solvers.registry import Registry

MODELS: Mapping[str, Any] = {
    name: model
    for name, info in Campaign.model_fields.items()
    for model in (info.annotation, *get_args(info.annotation))
    if isinstance(model, type) and issubclass(model, BaseModel)
} | {"cluster.jobs": Jobs, "stop.target": Target}
"""The fixed tables of the file."""

NEEDED = object()
"""The default of a key that has none."""


class Key(NamedTuple):
    """A key of a table.

    Attributes
    ----------
    name : str
    values : str
        What it may be, in words.
    default : object
        `NEEDED` where it must be given, None where it is not set.
    unit : str
    meaning : str
        In whole sentences, or one line.
    """

    name: str
    values: str
    default: Any
    unit: str
    meaning: str

    @property
    def default_text(self) -> str:
        """The default as it is written in the file."""
        if self.default is NEEDED or self.default is None:
            return "needed" if self.default is NEEDED else "–"
        return json.dumps(self.default)


def keys_of(found: Any) -> list[Key]:
    """The keys that a model or a dataclass takes, with what it says of them.

    Options that `solvers.option` has declared say it themselves; of others, the section
    "Attributes" of the docstring does.
    """
    units, said = getattr(found, "units", {}), _attributes(found)
    keys = []
    for name, default, rule in _fields(found):
        values, meaning = said.get(name, ("", ""))
        if rule.get("doc"):
            meaning, values = rule["doc"], _values(rule, default)
        keys.append(Key(name, values, default, units.get(name, ("",))[0], meaning))
    return keys


def _fields(found: Any) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Yield the name, default and rule of every field."""
    if issubclass(found, BaseModel):
        for name, info in found.model_fields.items():
            default = info.get_default(call_default_factory=True, validated_data={})
            yield name, NEEDED if default is PydanticUndefined else default, {}
    else:
        for field in dataclasses.fields(found):
            needed = field.default is dataclasses.MISSING
            yield field.name, NEEDED if needed else field.default, field.metadata


def _values(rule: Mapping[str, Any], default: Any) -> str:
    kind = "list of " * rule.get("listed", False) + rule.get("type", type(default)).__name__
    words = [*rule.get("choices", ()), *rule.get("words", ())] or [kind]
    return " or ".join(words) + (", or one per factor" if rule.get("per_factor") else "")


def _attributes(found: Any) -> dict[str, tuple[str, str]]:
    """What docstrings of a class and its bases say of attributes: the type, and a text."""
    items = []
    for doc in (vars(base).get("__doc__") or "" for base in reversed(found.__mro__)):
        _, _, section = inspect.cleandoc(doc).partition("Attributes\n----------\n")
        section = re.split(r"\n\n(?=\S.*\n---)", section)[0]
        form = r"^(\w[\w, ]*?)(?: : (.*))?\n((?:[ ]+.*\n?|\n)*)"
        items += re.findall(form, section + "\n", re.M)
    return {
        name: (values, " ".join(text.split()))
        for names, values, text in items
        for name in names.split(", ")
    }


def starter(name: str, scenario: str, solvers: Sequence[str]) -> str:
    """A campaign file to start from, in which all that may be changed stands as a comment.

    Raises
    ------
    InputError
        There is no such scenario or solver, or the scenario needs what only its user knows.
    """
    try:
        keys = keys_of(SCENARIOS.find(scenario))
        options = {solver: keys_of(SOLVERS.find(solver)) for solver in solvers}
    except ValueError as error:
        raise InputError(str(error)) from None
    over_snr = any(key.name == "snr_db" for key in keys)
    lines = [
        f"# Look at it with `kronsbl plan {name}.toml`, run it with `kronsbl run {name}.toml`.",
        "# What stands behind # has this default; docs/campaign-file.md has every key.",
        *_table("campaign", keys_of(Header), name=name, seed=1, realizations=100),
        *_table("scenario", [key for key in keys if key.name != "snr_db"], use=scenario),
        *("", "[sweep]  # each key is an axis of the grid"),
        *(["snr_db = [10, 20, 30]"] if over_snr else []),
        *(
            f'# "solvers.{solver}.OPTION" = [1, 2]  # one solver per value'
            for solver in solvers[:1]
        ),
        *(line for s, keys in options.items() for line in _table(f"solvers.{s}", keys, use=s)),
        *(line for t in ("output", "limits") for line in _table(t, keys_of(MODELS[t]))),
    ]
    text = "\n".join(lines) + "\n"
    Campaign.from_tables(tomllib.loads(text), f"a campaign of {scenario}")
    return text


def _table(heading: str, keys: Sequence[Key], **given: Any) -> Iterator[str]:
    yield from ("", f"[{heading}]")
    if "use" in given:
        yield f"use = {json.dumps(given['use'])}"
    for key in keys:
        mark, value = ("", json.dumps(given[key.name])) if key.name in given else ("# ", "")
        said = key.meaning.partition(". ")[0].removesuffix(".")
        yield f"{mark}{key.name} = {value or key.default_text}" + (f"  # {said}" if said else "")


def schema() -> dict[str, Any]:
    """A JSON schema of campaign files, by which editors complete and explain keys."""
    found = Campaign.model_json_schema()
    for model in (Campaign, *MODELS.values()):
        table = found["$defs"].get(model.__name__, found)
        for key in keys_of(model):
            table["properties"][key.name]["description"] = key.meaning
    found["properties"]["scenario"] |= _either(SCENARIOS, {})
    batch = found["$defs"]["Header"]["properties"]["batch"]
    more = {"batch": batch, "tuned": {"type": "object", "description": "record of kronsbl tune"}}
    found["properties"]["solvers"] |= {"additionalProperties": _either(SOLVERS, more)}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def _either(registry: Registry, more: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a table whose `use` says which keys it takes."""
    tables: list[dict[str, Any]] = [{"properties": {"use": {"pattern": ":"}}, "required": ["use"]}]
    for name in registry.names():
        properties: dict[str, Any] = {"use": {"const": name}, **more}
        for key in keys_of(registry.find(name)):
            default = {} if key.default is NEEDED else {"default": key.default}
            properties[key.name] = {"description": f"{key.meaning} ({key.values})", **default}
        closed = {"additionalProperties": False, "properties": properties, "required": ["use"]}
        tables.append({"title": name, **closed})
    return {"type": "object", "oneOf": tables}
