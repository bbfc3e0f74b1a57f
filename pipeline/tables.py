"""What the command line prints: tables of figures, states and plans."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    import xarray as xr

    from pipeline.planning import Plan
    from pipeline.state import StoreState


def _table(left: list[str], right: list[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in left:
        table.add_column(title, no_wrap=True)
    for title in right:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def size(count: float) -> str:
    """Bytes, readable."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def span(seconds: float | None) -> str:
    """A time span, readable."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h"


def summary(results: xr.Dataset, measure: str) -> Table:
    """Figures of one measure per solver and point, others by their means."""
    from pipeline.analysis import axes_of, measures_of, summarize, to_db

    figures = summarize(results, measure)
    axes = axes_of(results)
    in_db = measure == "nmse"
    others = [
        m for m in measures_of(results) if m != measure and results[m].ndim == results.status.ndim
    ]
    good = (results.status > 0) & (results.status < 4)
    means = results[others].where(good).mean("realization").compute()
    unit = f"{measure} (dB)" if in_db else measure

    def number(value: Any) -> str:
        value = float(to_db(value) if in_db else value)
        return f"{value:.2f}" if in_db else f"{value:.4g}"

    table = _table(
        ["solver", *axes],
        [f"mean {unit} [95 %]", "median", *others, "ms each", "iterations", "failed"],
    )
    for point in itertools.product(*(figures[name].values for name in ("solver", *axes))):
        at = dict(zip(("solver", *axes), point, strict=True))
        one = figures.sel(at)
        table.add_row(
            *map(str, point),
            f"{number(one['mean'])} [{number(one.low)}, {number(one.high)}]",
            number(one["median"]),
            *(f"{float(means[m].sel(at)):.3f}" for m in others),
            f"{float(one.runtime) * 1e3:.3g}",
            f"{float(one.iterations):.1f}",
            f"{int(one.failed)}/{int(one.cells)}",
        )
    return table


def status(state: StoreState) -> Table:
    """Cells done, failed and pending of each solver and point."""
    keys = list(state.series[0].point) if state.series else []
    table = _table(["solver", *keys], ["done", "failed", "pending"])
    for s in state.series:
        table.add_row(
            s.solver, *map(str, s.point.values()), str(s.done), str(s.failed), str(s.pending)
        )
    return table


def status_lines(state: StoreState) -> list[str]:
    """Disk use and live runs."""
    lines = [
        f"{state.blocks} blocks, {size(state.bytes['blocks'])}; cubes {size(state.bytes['cubes'])}"
    ]
    reasons = Counter[tuple[str, str]]()
    for series in state.series:
        reasons.update({(series.solver, text): n for text, n in series.messages.items()})
    lines += [f"failed: {solver}, {n} times: {text}" for (solver, text), n in reasons.items()]
    for run in state.runs:
        if run.alive:
            lines.append(
                f"running: {run.host}, process {run.pid}, {run.rate:.3g} cells/s, "
                f"{span(run.seconds_left)} left"
            )
        else:
            lines.append(
                f"ended without a word: {run.host}, process {run.pid}, {span(run.silent)} ago"
            )
    return lines


def plan(found: Plan) -> Table:
    """Blocks and hours of each solver."""
    table = _table(
        ["solver"], ["batch", "blocks", "done", "per block", "core time", "memory of a block"]
    )
    for p in found.solvers:
        table.add_row(
            p.label,
            str(p.batch),
            str(p.blocks),
            str(p.blocks_done),
            span(p.seconds_per_block),
            span(p.seconds),
            size(p.bytes),
        )
    return table


def plan_lines(found: Plan) -> list[str]:
    """Totals and warnings."""
    return [
        f"cells      {found.cells} in {found.blocks} blocks; done: {found.cells_done} in "
        f"{found.blocks_done}",
        f"store      {found.store_files} files, {size(found.store_bytes)}",
        f"cube       {found.cube_files} files, at most {size(found.cube_bytes)}",
        f"memory     {size(found.worker_bytes)} per worker",
        f"core time  {span(found.core_seconds)} ({found.core_seconds / 3600:.3g} core-hours)",
        f"wall time  {span(found.wall_seconds)} on {found.workers} workers"
        + (f" of {found.jobs} jobs" if found.jobs else ""),
        *(f"warning: {text}" for text in found.warnings),
        *(["", "each job:", found.job_script] if found.job_script else []),
    ]
