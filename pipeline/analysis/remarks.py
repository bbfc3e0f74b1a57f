"""Remarks on a cube: how many realizations there are, and what is to be known of them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis import cells
from pipeline.analysis.caveats import caveats
from pipeline.analysis.cells import axes_of
from pipeline.analysis.stopped import stop_notes

FAILED_RANKED = "count as the worst outcome"
FAILED_LEFT_OUT = "are left out of means"


def counts(results: xr.Dataset) -> xr.Dataset:
    """Numbers of cells that are ``done`` or need not be, have been ``run``, and have ``failed``.

    Per solver and point of the grid.
    """
    found = {
        "done": ~cells.not_run(results),
        "run": cells.ran(results),
        "failed": cells.failed(results),
    }
    return xr.Dataset({name: which.sum("realization") for name, which in found.items()}).compute()


def realizations(results: xr.Dataset) -> str:
    """``200 realizations``, or how many of them are there."""
    done, asked = counts(results).done, results.sizes["realization"]
    low, high = int(done.min()), int(done.max())
    if low == asked and "asked" in results:
        return f"{asked_of(results)} realizations"
    if low == asked:
        return f"{asked} realization{'s' if asked != 1 else ''}"
    span = f"{low}" if low == high else f"{low} to {high}"
    return f"unfinished: {span} of {asked} realizations"


def asked_of(results: xr.Dataset) -> str:
    """How many realizations were asked for, at each point of the grid."""
    given = results.get("asked", xr.DataArray(results.sizes["realization"]))
    return _span(int(given.min()), int(given.max()))


def notes(results: xr.Dataset, failed_cells: str = FAILED_LEFT_OUT) -> list[str]:
    """Notes on cells that are missing, failed or ended at a cap; none where all is well.

    Parameters
    ----------
    results
    failed_cells
        Words that say what became of failed cells, to follow "they".
    """
    found, asked = counts(results), results.sizes["realization"]
    over = [d for d in found.run.dims if d != "solver"]
    said = declined(results)
    low, high = found.done.min(over), found.done.max(over)
    short = [str(s) for s in results.solver.values if int(low.sel(solver=s)) < asked]
    if short and bool((low == low[0]).all() & (high == high[0]).all()):
        said.append(f"{realizations(results)} at each point")
    elif short:
        parts = (
            f"{s} {_span(int(low.sel(solver=s)), int(high.sel(solver=s)))}" for s in _few(short)
        )
        said.append(f"unfinished, of {asked} realizations at each point: {_listed(parts, short)}")
    failed = found.failed.sum(over)
    bad = [str(s) for s in results.solver.values if int(failed.sel(solver=s))]
    if bad:
        totals = found.run.sum(over)
        parts = (
            f"{s} {int(failed.sel(solver=s))} of {int(totals.sel(solver=s))}" for s in _few(bad)
        )
        said.append(f"failed: {_listed(parts, bad)} realizations; they {failed_cells}")
    return [*said, *stop_notes(results), *(caveat.sentence for caveat in caveats(results))]


def failed_text(statistic: str) -> str:
    """What became of failed realizations in a statistic, to follow "they"."""
    return FAILED_RANKED if statistic == "median" else FAILED_LEFT_OUT


def declined(results: xr.Dataset) -> list[str]:
    """A note for each solver that does not apply at some points of the grid, with its reasons."""
    said = []
    points = math.prod(results.sizes[axis] for axis in axes_of(results))
    for solver, reasons in json.loads(results.attrs.get("not_applicable", "{}")).items():
        where = "" if len(reasons) == points else f" at {len(reasons)} of {points} points"
        said.append(f"{solver} does not apply{where}: {'; '.join(dict.fromkeys(reasons.values()))}")
    return said


def marked(summary: xr.Dataset, statistic: str) -> list[str]:
    """A note on means that are not to be trusted; none of medians."""
    marks = summary.get(f"{statistic}_marked")
    if marks is None or not bool(marks.any()):
        return []
    over = [d for d in marks.dims if d != "solver"]
    names = [str(s) for s in summary.solver.values if bool(marks.sel(solver=s).any(over))]
    return [f"means not to be trusted (see the median): {_listed(_few(names), names)}"]


def failures_of(results: xr.Dataset) -> dict[str, dict[str, int]]:
    """Messages of failures and their numbers, by solver."""
    found: dict[str, dict[str, int]] = json.loads(results.attrs.get("failures", "{}"))
    return found


def runtime_notes(results: xr.Dataset) -> list[str]:
    """Notes on runtimes of several devices, and on those that are means over several hosts."""
    hosts = [h for h in results.attrs.get("hosts", "").split(", ") if h]
    said = device_notes(results)
    if len(hosts) > 1:
        said.append(f"runtimes are means over {len(hosts)} hosts: {_listed(_few(hosts), hosts)}")
    return said


def device_notes(results: xr.Dataset) -> list[str]:
    """A note on runtimes that are not to be compared, or not there; none with a single device."""
    if len(known := cells.devices_of(results)) < 2:
        return []
    parts = []
    for label in map(str, results.solver.values):
        numbers = np.unique(results.device.sel(solver=label))
        parts.append(f"{label} on {' and '.join(known[n - 1] for n in numbers if n)}")
    return [f"runtimes are of several devices, left out where a point has both: {'; '.join(parts)}"]


def tuned(results: xr.Dataset) -> list[str]:
    """A sentence for each solver whose options were tuned, on how."""
    said = []
    for label, spec in json.loads(results.attrs.get("solvers", "{}")).items():
        if record := spec.get("tuned"):
            over = ", ".join(f"{k} over {v}" for k, v in dict(record.get("over", {})).items())
            beside = ", ".join(str(one.get("value")) for one in record.get("neighbours", []))
            said.append(
                f"{label} was tuned, {over}, by {record.get('statistic')}: {record.get('value')} "
                f"(before {record.get('before')}, neighbours {beside}); {record.get('trials')} "
                f"trials of {record.get('realizations')} realizations, streams of seed "
                f"{record.get('seed')}"
            )
    return said


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}–{high}"


def _few(names: list[str]) -> list[str]:
    return names[:10]


def _listed(parts: Any, names: list[str]) -> str:
    return "; ".join([*parts, *(["…"] if len(names) > 10 else [])])
