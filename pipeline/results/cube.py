"""Building a result cube from the blocks that are there."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from pipeline.campaign import Campaign
from pipeline.campaign.blocks import Block, Configuration, digest
from pipeline.scenarios import Scenario
from pipeline.store.folder import DamagedBlock, Store
from pipeline.store.timings import timing_key, timings_of
from solvers import Status

CELLS_PER_CHUNK = 500_000
MESSAGES_SHOWN = 100
"""Per solver, the most frequent ones; a message with a number in it may be another every time."""

STORAGE: Mapping[str, Any] = {
    "compressors": ZstdCodec(level=3, checksum=True),  # zarr's default has no checksum
    "config": {"write_empty_chunks": True},  # so that a missing file is always damage
}


class Variable(NamedTuple):
    """A variable of the cube.

    Attributes
    ----------
    extra : str or None
        Name of a dimension after ``realization``.
    """

    dtype: str
    fill: Any
    attributes: Mapping[str, Any]
    extra: str | None = None


STATUS_FLAGS: Mapping[str, Any] = {
    "units": "1",
    "long_name": "how the realization ended",
    "flag_values": [int(s) for s in Status],
    "flag_meanings": " ".join(s.name.lower() for s in Status),
}


def variables_of(campaign: Campaign) -> dict[str, Variable]:
    """The cube's variables, by name."""
    scenario = campaign.configurations[0].scenario
    found = {
        name: Variable(
            "f8",
            np.nan,
            {"units": m.units, "long_name": m.long_name, "better": m.better},
            m.dimension,
        )
        for name, m in scenario.measures.items()
    }

    def plain(
        dtype: str, fill: Any, units: str, long_name: str, extra: str | None = None
    ) -> Variable:
        return Variable(dtype, fill, {"units": units, "long_name": long_name}, extra)

    found |= {
        "runtime": plain("f8", np.nan, "s", "share of the time of the batch it was solved in"),
        "iterations": plain("i4", 0, "1", "iterations of the solver"),
        "inner_iterations": plain("i4", 0, "1", "iterations of the M-step's inner loop, in total"),
        "noise_var": plain("f8", np.nan, "1", "noise variance used or estimated by the solver"),
        "inner_capped": plain("?", False, "1", "whether an inner loop ended at its cap"),
        "status": Variable("u1", 0, STATUS_FLAGS),
        "host": plain("u2", 0, "1", "host that computed it"),
    }
    if campaign.output.trace:
        traced = {"cost": "SBL cost", "change": "relative change", "nmse": "NMSE of x"}
        found |= {
            f"trace_{name}": plain("f4", np.nan, "1", f"{text} after each iteration", "iteration")
            for name, text in traced.items()
        }
    return found


def chunks_for(shape: Sequence[int], budget: int = CELLS_PER_CHUNK) -> tuple[int, ...]:
    """Chunk shape of at most about `budget` cells: whole trailing dimensions first."""
    chunks: list[int] = []
    for length in reversed(shape):
        chunks.append(max(min(length, budget), 1))
        budget = max(budget // chunks[-1], 1)
    return tuple(reversed(chunks))


class CubeBuilder:
    """Builds one generation of the cube in a folder of its own."""

    def __init__(self, store: Store, campaign: Campaign) -> None:
        self.store, self.campaign = store, campaign
        self.configurations = {
            configuration.grid_index: configuration for configuration in campaign.configurations
        }
        self.realizations = campaign.realizations
        self.done = store.keys()
        self.shape = (
            len(campaign.entries),
            *(len(axis.values) for axis in campaign.axes),
            self.realizations,
        )
        self.dimensions = ("solver", *(axis.dimension for axis in campaign.axes), "realization")
        self.variables = variables_of(campaign)
        self.hosts: list[str] = []
        self.facts: dict[str, set[str]] = {}
        self.failures: dict[str, Counter[str]] = {}
        self.damaged: list[str] = []
        keys = {timing_key(configuration) for configuration in self.configurations.values()}
        self.timings = {
            host: found for host, found in timings_of(store).items() if keys & found.timings.keys()
        }
        self.missing = 0

    def blocks(self, configuration: Configuration, first: int, last: int) -> Iterator[Block]:
        """Blocks that are there and hold some of the realizations [first, last)."""
        for index in range(first // configuration.batch, -(-last // configuration.batch)):
            block = Block(configuration, index)
            if block.key in self.done:
                yield block

    def fingerprint(self) -> str:
        """Of what the cube would hold: what was asked for, and which blocks are there."""
        text = [tomli_w.dumps(self.campaign.tables())]
        for configuration in self.configurations.values():
            text += [block.key for block in self.blocks(configuration, 0, self.realizations)]
        if self.timings:
            text.append(repr(self.timings))
        return digest("\n".join(text))

    def widths(self) -> dict[str, int]:
        """Lengths of the extra dimensions, as found in the blocks."""
        found = {v.extra: 1 for v in self.variables.values() if v.extra is not None}
        if found:
            for configuration in self.configurations.values():
                for block in self.blocks(configuration, 0, self.realizations):
                    fields = self._read(block)[0].dtype
                    for name, variable in self.variables.items():
                        if variable.extra and name in (fields.names or ()):
                            width = (*fields[name].shape, 1)[0]
                            found[variable.extra] = max(found[variable.extra], width)
        return found

    def _read(self, block: Block) -> tuple[NDArray[Any], Mapping[str, Any]]:
        """Cells and facts of a block; of a damaged one, none (and it is moved aside)."""
        try:
            data = self.store.read(block)
        except (DamagedBlock, FileNotFoundError) as error:
            self.damaged.append(str(error))
            self.done.discard(block.key)
            self.store.set_aside(block.key)
            return np.empty(0, [("status", "u1")]), {}
        return data.cells, data.meta

    def fill(self, folder: Path) -> None:
        """Write all arrays of the cube, one slab after the other.

        Variables with extra dimensions (traces) have chunks of fewer cells, so they get a pass
        of their own over the blocks, and memory stays that of one chunk per variable.
        """
        group = zarr.create_group(folder, zarr_format=3)
        widths = self.widths()
        passes: dict[int, dict[str, Any]] = {}
        for name, variable in self.variables.items():
            extra = () if variable.extra is None else (widths[variable.extra],)
            chunks = chunks_for(
                self.shape, CELLS_PER_CHUNK // max(*extra, 1) if extra else CELLS_PER_CHUNK
            )
            array = group.create_array(
                name,
                shape=(*self.shape, *extra),
                chunks=(*chunks, *extra),
                dtype=variable.dtype,
                fill_value=variable.fill,
                dimension_names=(*self.dimensions, *([variable.extra] if extra else [])),
                attributes=dict(variable.attributes),
                **STORAGE,
            )
            passes.setdefault(sum(extra), {})[name] = array
        for arrays in passes.values():
            first = next(iter(arrays.values()))
            for slab in slabs(self.shape, first.chunks[: len(self.shape)]):
                self._fill_slab(arrays, slab)
        self._coordinates(group, widths)
        if self.timings:
            self._fill_timings(group)
        meanings = " ".join(["none", *(host.replace(" ", "_") for host in self.hosts)])
        flags = {"flag_values": list(range(len(self.hosts) + 1)), "flag_meanings": meanings}
        passes[0]["host"].update_attributes(flags)
        group.update_attributes(self._attributes())

    def _fill_slab(self, arrays: Mapping[str, Any], slab: tuple[slice, ...]) -> None:
        size = [s.stop - s.start for s in slab]
        values = {
            name: np.full((*size, *array.shape[len(self.shape) :]), array.fill_value, array.dtype)
            for name, array in arrays.items()
        }
        *along_axes, along = slab
        for grid_index in itertools.product(*(range(s.start, s.stop) for s in along_axes)):
            configuration = self.configurations[grid_index]
            offset = tuple(p - s.start for p, s in zip(grid_index, along_axes, strict=True))
            for block in self.blocks(configuration, along.start, along.stop):
                self._copy_block(values, block, offset, along)
        if "status" in values:
            self.missing += int((values["status"] == Status.NOT_RUN).sum())
        for name, array in arrays.items():
            array[slab] = values[name]

    def _copy_block(
        self,
        values: Mapping[str, NDArray[Any]],
        block: Block,
        offset: tuple[int, ...],
        along: slice,
    ) -> None:
        cells, meta = self._read(block)
        if not len(cells):
            return
        numbers = block.configuration.realizations(block.index)
        first, last = max(numbers.start, along.start), min(numbers.stop, along.stop)
        source = slice(first - numbers.start, last - numbers.start)
        target: tuple[Any, ...] = (*offset, slice(first - along.start, last - along.start))
        for name in values.keys() & set(cells.dtype.names or ()):
            cell = cells[name][source]
            if cell.ndim > 1:
                values[name][(*target, slice(cell.shape[1]))] = cell
            else:
                values[name][target] = cell
        if "host" in values:
            self._note(block.configuration, meta)
            values["host"][target] = self.hosts.index(meta["host"]) + 1

    def _fill_timings(self, group: Any) -> None:
        """Write latencies and memory, apart for each host."""
        shape, dimensions = (len(self.timings), *self.shape), ("timing_host", *self.dimensions)

        def add(name: str, values: NDArray[Any], depth: int, **attributes: Any) -> None:
            array = group.create_array(
                name,
                shape=values.shape,
                chunks=chunks_for(values.shape),
                dtype=values.dtype,
                fill_value="" if values.dtype.kind == "T" else np.nan,
                dimension_names=dimensions[:depth],
                attributes=attributes,
                **STORAGE,
            )
            array[:] = values

        latency, memory = np.full(shape, np.nan), np.full(shape[:-1], np.nan)
        for number, host in enumerate(self.timings.values()):
            for grid_index, configuration in self.configurations.items():
                timing = host.timings.get(timing_key(configuration))
                if timing is not None:
                    numbers = np.array(timing.realizations)
                    there = numbers < self.realizations
                    latency[number][grid_index][numbers[there]] = np.array(timing.latency)[there]
                    memory[number][grid_index] = timing.peak_memory
        names = np.array(list(self.timings), np.dtypes.StringDType())
        add("timing_host", names, 1, units="1", long_name="host of the timing lane")
        add(
            "latency",
            latency,
            len(shape),
            units="s",
            long_name="time of a realization solved alone, median of the repeats",
        )
        add(
            "peak_memory",
            memory,
            len(shape) - 1,
            units="B",
            long_name="memory that solving one realization takes at most",
        )

    def _note(self, configuration: Configuration, meta: Mapping[str, Any]) -> None:
        """Collect what the attributes say about where the numbers come from."""
        if meta["host"] not in self.hosts:
            self.hosts.append(meta["host"])
        for name in ("cpu", "blas", "blas_threads", "python"):
            self.facts.setdefault(name, set()).add(str(meta[name]))
        for package, version in meta["versions"].items():
            self.facts.setdefault(package, set()).add(version)
        self.failures.setdefault(configuration.label, Counter()).update(meta["failures"])

    def _coordinates(self, group: Any, widths: Mapping[str, int]) -> None:
        columns: dict[str, tuple[NDArray[Any], dict[str, str]]] = {
            "solver": (
                np.array([e.label for e in self.campaign.entries], np.dtypes.StringDType()),
                {"units": "1", "long_name": "solver"},
            ),
            "realization": (
                np.arange(self.realizations),
                {"units": "1", "long_name": "realization"},
            ),
        }
        for axis in self.campaign.axes:
            is_text = isinstance(axis.values[0], str)
            values = np.array(axis.values, np.dtypes.StringDType() if is_text else None)
            units, long_name = self._scenario.units.get(axis.key, ("1", axis.key.replace("_", " ")))
            columns[axis.dimension] = (values, {"units": units, "long_name": long_name})
        for name, width in widths.items():
            start = 1 if name == "iteration" else 0
            columns[name] = (np.arange(start, width + start), {"units": "1", "long_name": name})
        for name, (values, attributes) in columns.items():
            array = group.create_array(
                name,
                shape=values.shape,
                chunks=values.shape,
                dtype=values.dtype,
                dimension_names=(name,),
                attributes=attributes,
                **STORAGE,
            )
            array[:] = values

    @property
    def _scenario(self) -> Scenario[Any]:
        return self.campaign.scenario_at(next(self.campaign.points()))

    def _attributes(self) -> dict[str, Any]:
        header = self.campaign.campaign
        facts = {name: ", ".join(sorted(values)) for name, values in sorted(self.facts.items())}
        about = self.store.request_facts()
        return {
            "title": f"kronsbl campaign {header.name}",
            "campaign": tomli_w.dumps(self.campaign.tables()),
            "scenario": self.campaign.scenario_use,
            "parameters": json.dumps(
                {
                    name: {"units": units, "long_name": long_name}
                    for name, (units, long_name) in self._scenario.units.items()
                }
            ),
            "seed": header.seed,
            "batch": json.dumps({e.label: e.batch for e in self.campaign.entries}),
            "solvers": json.dumps(
                {
                    configuration.label: configuration.spec["solver"]
                    for configuration in self.configurations.values()
                }
            ),
            "failures": json.dumps(
                {k: dict(v.most_common(MESSAGES_SHOWN)) for k, v in self.failures.items() if v}
            ),
            "hosts": ", ".join(sorted(self.hosts)),
            "timing_hosts": json.dumps({host: t.about for host, t in self.timings.items()}),
            **{f"computed_with_{name}": text for name, text in facts.items()},
            "git": ", ".join(self.store.git_states()),
            "requested": about.get("created", "unknown"),
            "complete": int(self.missing == 0),
            "missing": self.missing,
            "content": self.fingerprint(),
        }


def slabs(shape: Sequence[int], chunks: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Regions that cover an array, each a union of whole chunks."""
    edges = [range(0, n, c) for n, c in zip(shape, chunks, strict=True)]
    for corner in itertools.product(*edges):
        ends = (min(a + c, n) for a, c, n in zip(corner, chunks, shape, strict=True))
        yield tuple(slice(a, b) for a, b in zip(corner, ends, strict=True))
