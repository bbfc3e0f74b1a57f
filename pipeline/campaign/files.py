"""Campaign files: their tables, and the modules that lie beside them."""

from __future__ import annotations

import importlib.util
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError


def read_tables(path: Path) -> dict[str, Any]:
    """Read the tables of a campaign file.

    Raises
    ------
    InputError
        The file cannot be read, is no TOML, or belongs to a store.
    """
    if path.is_dir():
        raise InputError(f"{path}: {_what_folder(path)}")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' editors mark it
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a TOML file: save it as UTF-8 ({error})") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from None
    store = path.parent if "format" in tables else path.parent.parent
    if ("format" in tables or "request" in tables) and is_store(store):
        raise InputError(f"{path}: a file of the store {store}; {_where_from(store)}")
    return tables


def is_store(folder: Path) -> bool:
    """Whether a folder is a store: a campaign file of somebody's may have the same name."""
    try:
        text = (folder / "campaign.toml").read_text(encoding="utf-8")
        return "format" in tomllib.loads(text)
    except (OSError, ValueError):
        return False


def as_python(value: Any) -> Any:
    """Tables, or a part of them, as TOML can hold them: numpy's numbers as those of Python.

    Raises
    ------
    UnicodeEncodeError
        A string is no text, which only one that was decoded wrongly can be.
    """
    if isinstance(value, Mapping):
        return {as_python(key): as_python(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_python(inner) for inner in value]
    if isinstance(value, str):
        value.encode()
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _what_folder(path: Path) -> str:
    if is_store(path):
        return f"a store, not a campaign file; {_where_from(path)}"
    found = sorted(file.name for file in path.glob("*.toml"))
    return f"a folder, not a campaign file; it has {', '.join(found[:5]) or 'no *.toml file'}"


def _where_from(store: Path) -> str:
    """Say where the campaign file of a store was, as far as the store knows."""
    try:
        last = max((store / "requests").glob("*.toml"), key=lambda path: int(path.stem))
        facts = tomllib.loads(last.read_text(encoding="utf-8"))["request"]
        return f"its campaign file is in {facts['folder']}"
    except (ValueError, OSError, KeyError, TypeError):
        return "give the campaign file that it is to be filled from"


def make_importable(folder: Path, tables: Mapping[str, Any]) -> None:
    """Put a campaign's folder on the import path, for solvers and scenarios kept there.

    It comes last, so that a file of somebody's own never hides a module that we or our workers
    need: a folder ``pipeline`` beside the campaign harms nothing.

    Parameters
    ----------
    folder
        The folder that the campaign file lies in.
    tables
        Tables of the campaign.

    Raises
    ------
    InputError
        The campaign names a module that lies there, but in a store, or another of that name is
        imported.
    """
    store = store_around(folder)
    if store is None and str(folder) not in sys.path:
        sys.path.append(str(folder))
    for use in _uses(tables):
        module, colon, _ = use.partition(":")
        name = module.partition(".")[0]
        own = [p for p in (folder / f"{name}.py", folder / name / "__init__.py") if p.is_file()]
        if not colon or not own:
            continue
        if store is not None:
            raise InputError(
                f"use = {use!r}: {own[0]} is in the store {store}, of which nothing is run; "
                "copy it elsewhere"
            )
        found = _origin(name)
        if found is not None and found.resolve() not in {path.resolve() for path in own}:
            raise InputError(
                f"use = {use!r}: {own[0]} has the name of {found}, which is imported in its "
                "place; rename yours"
            )


def runs_code(use: str) -> bool:
    """Whether what a campaign names by `use` runs code that is not installed with kronsbl."""
    return ":" in use or use == "external"


def why_not_importable(folder: Path, store: Path) -> str:
    """Say why the folder that a store names as its campaign's is not to be imported from.

    Empty where both are this user's own, and the folder lies outside of every store: else it is
    somebody's store, who may have named any folder.
    """
    if not folder.is_absolute():
        return "the store does not say where its code is"
    if not folder.is_dir():
        return f"its code was in {folder}, which is not here"
    if store_around(folder) is not None:
        return f"its code is said to be in {folder}, and nothing in a store is run"
    if {path.stat().st_uid for path in (folder, store, store / "campaign.toml")} != {os.geteuid()}:
        return f"the store or {folder} is another user's"
    return ""


def store_around(folder: Path) -> Path | None:
    """The store that a folder is, or lies in."""
    place = folder.resolve()
    return next((path for path in (place, *place.parents) if is_store(path)), None)


def _uses(tables: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a campaign names as scenario and solvers."""
    solvers = tables.get("solvers")
    named = list(solvers.values()) if isinstance(solvers, Mapping) else []
    for table in (tables.get("scenario"), *named):
        use = table.get("use") if isinstance(table, Mapping) else None
        if isinstance(use, str):
            yield use


def _origin(name: str) -> Path | None:
    """Find the file of a module, imported or to be imported."""
    try:
        module = sys.modules.get(name)
        spec = importlib.util.find_spec(name) if module is None else None
    except (ImportError, ValueError):
        return None
    file = getattr(module, "__file__", None) if spec is None else spec.origin
    return Path(file) if file else None
