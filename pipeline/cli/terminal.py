"""Tables and lines of the command line: states of stores, and plans."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from pipeline.campaign import Campaign
    from pipeline.driver.planning import Plan
    from pipeline.store.state import StoreState


REASONS_SHOWN = 20
PLACES_SHOWN = 20


def new_table(left: list[str], right: list[str], *, tight: bool = False) -> Table:
    """An empty table: titles of columns aligned to the left, and to the right."""
    padding = (0, 0, 0, 1) if tight else (0, 1)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=padding, show_edge=not tight)
    for title in left:
        table.add_column(Text(title), no_wrap=True)
    for title in right:
        table.add_column(Text(title), justify="right", no_wrap=True)
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add a row whose brackets and colons are themselves, never rich's markup or names of emoji."""
    table.add_row(*map(Text, cells))


def fitted(table: Table, console: Console) -> Iterator[Table]:
    """A table in parts below each other, each no wider than the console.

    Every part begins with the columns that say which row it is, those aligned to the left.
    """

    def part_of(columns: list[Column]) -> Table:
        part = copy.copy(table)
        part.columns = [dataclasses.replace(c, _index=i) for i, c in enumerate(columns)]
        return part

    names = [column for column in table.columns if column.justify == "left"]
    shown: list[Column] = []
    for column in (c for c in table.columns if c.justify != "left"):
        wider = part_of([*names, *shown, column])
        if shown and width_of(wider) > console.width:
            yield part_of([*names, *shown])
            shown = []
        shown.append(column)
    yield part_of([*names, *shown])


def width_of(table: Table | str) -> int:
    """The letters that the longest row of a table takes."""
    wide = Console(width=10_000)
    return Measurement.get(wide, wide.options, table).maximum


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


def status_table(state: StoreState) -> Table:
    """Cells done, failed and pending of each solver and point."""
    keys = list(state.configurations[0].point) if state.configurations else []
    table = new_table(["solver", *keys], ["done", "failed", "pending"])
    for s in state.configurations:
        place = (s.solver, *map(str, s.point.values()))
        add_row(table, *place, str(s.done), str(s.failed), str(s.pending))
    return table


def stop_lines(state: StoreState) -> Iterator[str]:
    """How far points are that stop by themselves, those that have not stopped first."""
    words, goes_on = {"none": "no look complete"}, ("none", "interrupted")
    reasons = Counter(point.reason for point in state.points)
    stopped = sum(n for reason, n in reasons.items() if reason not in goes_on)
    said = ", ".join(f"{n} {words.get(reason, reason)}" for reason, n in sorted(reasons.items()))
    yield f"stopped: {stopped} of {len(state.points)} points ({said})"
    points = sorted(state.points, key=lambda point: point.reason not in goes_on)
    for point in points[:REASONS_SHOWN]:
        at = ", ".join(f"{key}={value}" for key, value in point.point.items())
        widths = "; ".join(
            f"{pair} ±{'∞' if half is None else format(half, '.3g')} of {target:g}"
            for pair, (half, target) in point.half_widths.items()
        )
        where = [at, f"{point.asked} of {point.maximum} realizations"]
        where += [words.get(point.reason, point.reason), widths]
        yield f"  {', '.join(filter(None, where))}"


def status_lines(state: StoreState) -> list[str]:
    """Disk use and live runs."""
    lines = [
        f"{state.blocks} blocks, {size(state.bytes['blocks'])}; cubes {size(state.bytes['cubes'])}"
    ]
    lines += stop_lines(state) if state.points else []
    reasons = Counter[tuple[str, str]]()
    for configuration in state.configurations:
        reasons.update(
            {(configuration.solver, text): n for text, n in configuration.messages.items()}
        )
    shown = reasons.most_common(REASONS_SHOWN)
    lines += [f"failed: {solver}, {n} times: {text}" for (solver, text), n in shown]
    if len(reasons) > len(shown):
        lines.append(f"failed: {len(reasons) - len(shown)} more messages, see --json")
    lines += [f"computed again: {change}" for change in state.changes]
    declined = {(c.solver, c.declined) for c in state.configurations if c.declined}
    lines += [f"does not apply: {solver}: {reason}" for solver, reason in sorted(declined)]
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


def grid_lines(campaign: Campaign) -> Iterator[str]:
    """What the sweep of a campaign means: its points, and what is set at each place of an axis."""
    sizes = " × ".join(str(len(axis.values)) for axis in campaign.axes) or "1"
    yield (
        f"grid       {sizes} = {len(campaign.scenarios)} points × {len(campaign.solvers)} solvers "
        f"× {campaign.realizations} realizations"
    )
    for axis in campaign.axes:
        for value, sets in list(axis.places.items())[:PLACES_SHOWN] if axis.is_zipped else ():
            words = ", ".join(f"{key} = {setting}" for key, setting in sets.items())
            yield f"  {axis.dimension} {value}: {words}"
        if not axis.is_zipped or len(axis.values) > PLACES_SHOWN:
            yield f"  {axis.dimension}: {_few(axis.values)}"
    yield f"  solver: {_few(campaign.solvers)}"


def _few(values: Iterable[Any]) -> str:
    texts = list(map(str, values))
    if len(texts) > PLACES_SHOWN:
        texts[PLACES_SHOWN // 2 : -1] = ["…"]
    return ", ".join(texts)


def plan_table(found: Plan) -> Table:
    """Blocks and hours of each solver."""
    table = new_table(
        ["solver"], ["batch", "blocks", "done", "per block", "core time", "memory of a block"]
    )
    for p in found.solvers:
        bound = "≤ " if p.at_most else ""
        add_row(
            table,
            p.label,
            str(p.batch),
            str(p.blocks),
            str(p.blocks_done),
            bound + span(p.seconds_per_block),
            bound + span(p.seconds),
            size(p.bytes),
        )
    return table


def plan_lines(found: Plan) -> list[str]:
    """Totals and warnings."""
    bound = "≤ " if any(p.at_most for p in found.solvers) else ""
    hours = f"{found.core_seconds / 3600:.3g} core-hours"
    return [
        f"cells      {found.cells} in {found.blocks} whole blocks; done: {found.cells_done} in "
        f"{found.blocks_done}",
        f"store      at most {found.store_files} files in {found.store_folders} folders at a time"
        + (f", {found.files_free} are free" if found.files_free is not None else "")
        + f"; {size(found.store_bytes)}",
        f"cube       {found.cube_files} files, at most {size(found.cube_bytes)}",
        f"memory     {size(found.worker_bytes)} per worker",
        f"core time  {bound}{span(found.core_seconds)} ({hours})",
        *[f"GPU time   {span(found.device_seconds)} on {found.devices}"][: found.devices],
        f"wall time  {bound}{span(found.wall_seconds)} on {found.workers} "
        + ("worker" if found.workers == 1 else "workers")
        + (f" of {found.jobs} jobs" if found.jobs else ""),
        *_forecast_lines(found),
        *(f"warning: {text}" for text in found.warnings),
        *(["", "each job:", found.job_script] if found.job_script else []),
    ]


def _forecast_lines(found: Plan) -> Iterator[str]:
    """Realizations that points are expected to take until they are precise."""
    for point in found.points[:REASONS_SHOWN]:
        at = ", ".join(f"{key}={value}" for key, value in point.point.items()) or "the point"
        why = "" if point.pilot else ", the most, since no look is complete"
        why = why if point.precise or not point.pilot else ", the most, and not enough"
        cost = span(point.core_seconds)
        yield f"expected   {at}: {point.realizations} realizations{why}; {cost} of core time"
    if not all(point.pilot for point in found.points):
        yield "A pilot tells more: run it with --realizations of the first look, and plan again."
    if found.budget:
        yield f"budget     {found.budget}"
