"""Tables as text for other programs: CSV, and what goes into a paper."""

from __future__ import annotations

import re

import xarray as xr

from pipeline.analysis import records
from pipeline.analysis.listings import Listing


def written(form: str, statistics: xr.Dataset, found: Listing) -> str:
    """A table as csv (of all statistics), markdown or latex (of what is listed)."""
    return csv(statistics) if form == "csv" else {"markdown": markdown, "latex": latex}[form](found)


def csv(statistics: xr.Dataset) -> str:
    """One line per solver and point with all statistics, as they are in JSON: never rounded."""
    import pandas

    return str(pandas.json_normalize(records(statistics)).to_csv(index=False)).rstrip("\n")


def markdown(found: Listing) -> str:
    """A table of GitHub's Markdown."""
    heads = [*found.places, *found.columns]
    rules = ["---"] * len(found.places) + ["---:"] * len(found.columns)
    lines = [heads, rules, *([field.text for field in row] for row in found.rows)]
    cells = [[" ".join(text.split()).replace("|", "\\|") for text in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def latex(found: Listing) -> str:
    """A table for LaTeX with the package booktabs."""
    import pandas

    heads = [" ".join(head.split()) for head in (*found.places, *found.columns)]
    rows = [[field.text.strip() for field in row] for row in found.rows]
    sides = "l" * len(found.places) + "r" * len(found.columns)
    frame = pandas.DataFrame(rows, columns=heads)
    text = frame.to_latex(index=False, escape=True, column_format=sides).rstrip("\n")
    text = re.sub(r"(?<![\w.])-(?=\d)", "$-$", text)
    return text.replace("†", r"\textdagger{}").replace("–", "--")
