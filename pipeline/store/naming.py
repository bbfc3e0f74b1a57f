"""Names of what is in a store, and what tells the stores of campaigns apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.campaign.definition import Campaign

FORMAT = 2

CAMPAIGN = "campaign.toml"
ASIDE = "damaged/"


def block_name(name: str) -> str:
    """Name of the object that holds a block, or its estimates."""
    return f"blocks/{name[:2]}/{name}.npz"


def block_of(name: str) -> str:
    """The inverse of `block_name`."""
    return name[len("blocks/ab/") : -len(".npz")]


def mark_name(key: str) -> str:
    """Name of the object that says what failed in a block."""
    return f"failed/{key}.json"


def key_of(name: str) -> str:
    """The inverse of `mark_name`."""
    return name[len("failed/") : -len(".json")]


def number_of(name: str) -> int:
    """Number that an object is named by; -1 without one."""
    stem = name.rpartition("/")[2].removesuffix(".toml")
    return int(stem) if stem.isdecimal() else -1


def why_no_store(path: Path) -> str:
    """Say why there is no store at a path."""
    if not path.exists():
        return "no such store"
    if not path.is_dir():
        of_campaign = "; that of a campaign is results/NAME, or what --store said"
        return f"a file, and a store is a folder{of_campaign if path.suffix == '.toml' else ''}"
    if (path / CAMPAIGN).is_file():
        return "not a kronsbl store (its campaign.toml is a campaign file)"
    stores = sorted(file.parent.name for file in path.glob(f"*/{CAMPAIGN}"))
    inside = f"; there are stores in it: {', '.join(stores[:5])}" if stores else ""
    return f"not a kronsbl store (it has no campaign.toml){inside}"


def identity_of(campaign: Campaign) -> dict[str, Any]:
    """The settings of a campaign that can never change within a store."""
    header = campaign.campaign
    return {
        "format": FORMAT,
        "name": header.name,
        "scenario": campaign.scenario_use,
        "seed": header.seed,
        "batch": header.batch,
    }
