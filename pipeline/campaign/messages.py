"""Complaints of pydantic in one line that names the key."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pipeline.campaign.settings import LABEL, NAME
from solvers.registry import suggest

PYDANTICS_OWN = ("[key]", "constrained-int", "constrained-float", "tuple[")
"""Beginnings of parts of the places of its complaints that no campaign file has."""

OTHER_KIND = {"int_type", "float_type", "tuple_type"}
"""Complaints that a value is of quite another kind than one that is allowed."""

LONGEST_VALUE = 100

MISSING_TABLES = {
    "campaign": "add a table [campaign] with name, seed and realizations",
    "scenario": "add a table [scenario] with a use",
    "solvers": "add a table [solvers.LABEL] with a use, which `kronsbl solvers` lists",
}


def first_complaint(error: ValidationError) -> str:
    """The first of pydantic's complaints, as "key: what is wrong, got value".

    Where a key takes a number or a list, there is one for each: that which gets furthest counts.
    """
    errors = error.errors(include_url=False)
    of_key = [e for e in errors if e["loc"][:1] == errors[0]["loc"][:1]]
    said = max(of_key, key=lambda e: (len(e["loc"]), e["type"] not in OTHER_KIND))
    if said["type"] in OTHER_KIND and "tuple_type" in [e["type"] for e in of_key[1:]]:
        said = said | {"msg": f"{said['msg']} or a list"}
    return _complaint(said)


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """The complaint that explains the others, and how many others there are."""
    # What was misspelt explains what is missing, not the other way round.
    errors = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    first, others = errors[0], errors[1:]
    said = _complaint(first)
    if first["type"] == "extra_forbidden":
        *tables, key = [str(part) for part in first["loc"] if not isinstance(part, int)]
        for table in tables:
            model = _table_in(model.model_fields[table].annotation)
        hint = suggest(key, model.model_fields)
        place = f"[{'.'.join(tables)}]" if tables else "the file"
        said = f"{key}: unknown key in {place}; {hint}"
        others = [e for e in others if not (e["type"] == "missing" and repr(e["loc"][-1]) in hint)]
    more = f" (and {len(others)} more)" if others else ""
    return " ".join((said + more).split())


def _table_in(annotation: Any) -> type[BaseModel]:
    """The table that a field holds, be it optional or one of several."""
    while not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        annotation = get_args(annotation)[0]
    return annotation


def _complaint(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"] if not str(part).startswith(PYDANTICS_OWN))
    if error["type"] == "value_error":  # raised by us, with all that there is to say
        message = str(error["ctx"]["error"])
        return f"{key}: {message}" if key else message
    if error["type"] == "missing":
        if isinstance(given := error["input"], list | tuple):  # too short
            return f"{key}: missing, got {_shown(given)}"
        hint = MISSING_TABLES.get(key)
        return f"{key}: missing; {hint}" if hint else f"{key}: missing"
    if error["type"] == "string_pattern_mismatch" and error["ctx"]["pattern"] in (NAME, LABEL):
        return f"{key}: a name has letters, digits and . + - _ only, got {_shown(error['input'])}"
    said = error["msg"].lower().replace("tuple", "list").replace(" after validation", "")
    return f"{key}: {said}, got {_shown(error['input'])}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
