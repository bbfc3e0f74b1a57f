"""Building a result cube from the blocks that are there."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import zarr
from numpy.typing import NDArray

from pipeline.campaign.blocks import Configuration, canonical, digest
from pipeline.campaign.request import Request
from pipeline.results.layout import CELLS_PER_CHUNK, STORAGE, chunks_for, slabs, variables_of
from pipeline.results.stopping import stop_attribute, stop_variables
from pipeline.store.block_file import DamagedBlock
from pipeline.store.decisions import standings_of
from pipeline.store.folder import Store
from pipeline.store.pending import done_blocks
from pipeline.store.timings import timing_key, timings_of
from solvers import Status

MESSAGES_SHOWN = 100
"""Per solver, the most frequent ones; a message with a number in it may be another every time."""

FLAGGED = ("host", "device")
"""Facts of blocks that each cell has, as flags."""


class CubeBuilder:
    """Builds one generation of the cube in a folder of its own."""

    def __init__(self, store: Store, request: Request) -> None:
        self.store, self.request = store, request
        self.configurations = {c.grid_index: c for c in request.configurations}
        self.standings = standings_of(store, request)
        self.asked = self._asked()
        self.realizations = int(self.asked.max())
        self.names = store.names()
        self.shape = (
            len(request.labels),
            *(len(axis.values) for axis in request.axes),
            self.realizations,
        )
        self.dimensions = ("solver", *(axis.dimension for axis in request.axes), "realization")
        self.variables = variables_of(request)
        self.flags: dict[str, list[str]] = {name: [] for name in FLAGGED}
        self.facts: dict[str, set[str]] = {}
        self.failures: dict[str, Counter[str]] = {}
        self.damaged: dict[str, str] = {}
        keys = {timing_key(configuration) for configuration in self.configurations.values()}
        self.timings = {
            host: found for host, found in timings_of(store).items() if keys & found.timings.keys()
        }
        self.missing = 0

    def _asked(self) -> NDArray[np.int64]:
        """Realizations asked for at each point of the grid."""
        shape = [len(axis.values) for axis in self.request.axes]
        if self.standings is None:
            return np.full(shape, self.request.realizations)
        return np.array([standing.asked for standing in self.standings]).reshape(shape)

    def blocks(self) -> Iterator[tuple[Configuration, int]]:
        """Configuration and number of every block that is there."""
        for configuration in self.configurations.values():
            for index in self.blocks_of(configuration):
                yield configuration, index

    def blocks_of(
        self, configuration: Configuration, first: int = 0, last: int | None = None
    ) -> Iterator[int]:
        """Blocks that are there and hold some of the realizations [first, last)."""
        asked = int(self.asked[configuration.grid_index[1:]])
        return done_blocks(
            configuration, first, asked if last is None else min(last, asked), self.names
        )

    def fingerprint(self) -> str:
        """Hash of the request, the variables and the blocks present; equal means an equal cube."""
        text = [canonical([self.request.tables, self.request.record])]
        text.append(repr(self.variables))
        text += [configuration.files(index)[-1] for configuration, index in self.blocks()]
        if self.timings:
            text.append(repr(self.timings))
        if self.standings is not None:
            text.append(repr(self.standings))
        return digest("\n".join(text))

    def widths(self) -> dict[str, int]:
        """Lengths of the extra dimensions, as found in the blocks."""
        found = {v.extra: 1 for v in self.variables.values() if v.extra is not None}
        if found:
            for configuration, index in self.blocks():
                fields = self._read(configuration, index)[0].dtype
                for name, variable in self.variables.items():
                    if variable.extra and name in (fields.names or ()):
                        width = (*fields[name].shape, 1)[0]
                        found[variable.extra] = max(found[variable.extra], width)
        return found

    def _read(
        self, configuration: Configuration, index: int
    ) -> tuple[NDArray[Any], Mapping[str, Any]]:
        """Cells and facts of a block; of a damaged one, none."""
        try:
            data = self.store.read(configuration, index)
        except (DamagedBlock, FileNotFoundError) as error:
            name = configuration.files(index)[-1]
            self.damaged[name] = str(error)
            self.names.discard(name)
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
        if self.standings is not None:
            for described in stop_variables(self.request, self.standings):
                _add(group, *described)
        for name, known in self.flags.items():
            meanings = " ".join(["none", *(word.replace(" ", "_") for word in known)])
            flags = {"flag_values": list(range(len(known) + 1)), "flag_meanings": meanings}
            passes[0][name].update_attributes(flags)
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
            if configuration.declined and "status" in values:
                values["status"][offset] = Status.NOT_APPLICABLE
            most = min(along.stop, int(self.asked[grid_index[1:]]))
            asked = slice(along.start, max(along.start, most))
            for index in self.blocks_of(configuration, asked.start, asked.stop):
                self._copy_block(values, configuration, index, offset, asked)
            if "status" in values:
                wanted = values["status"][offset][: asked.stop - asked.start]
                self.missing += int((wanted == Status.NOT_RUN).sum())
        for name, array in arrays.items():
            array[slab] = values[name]

    def _copy_block(
        self,
        values: Mapping[str, NDArray[Any]],
        configuration: Configuration,
        index: int,
        offset: tuple[int, ...],
        along: slice,
    ) -> None:
        cells, meta = self._read(configuration, index)
        if not len(cells):
            return
        numbers = configuration.realizations(index)
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
            self._note(configuration, meta)
            for name, known in self.flags.items():
                values[name][target] = known.index(meta[name]) + 1

    def _fill_timings(self, group: Any) -> None:
        """Write latencies and memory, apart for each host."""
        shape, dimensions = (len(self.timings), *self.shape), ("timing_host", *self.dimensions)
        text, gaps = {"fill_value": ""}, {"fill_value": np.nan}
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
        about = {"units": "1", "long_name": "host of the timing lane"}
        _add(group, "timing_host", dimensions[:1], names, about, **text)
        about = {
            "units": "s",
            "long_name": "time of a realization solved alone, median of the repeats",
        }
        _add(group, "latency", dimensions, latency, about, **gaps)
        about = {"units": "B", "long_name": "memory that solving one realization takes at most"}
        _add(group, "peak_memory", dimensions[:-1], memory, about, **gaps)

    def _note(self, configuration: Configuration, meta: Mapping[str, Any]) -> None:
        """Collect what the attributes say about where the numbers come from."""
        for name, known in self.flags.items():
            if meta[name] not in known:
                known.append(meta[name])
        for name in ("cpu", "target", "blas", "blas_threads", "python", "commit"):
            self.facts.setdefault(name, set()).add(str(meta.get(name, "unknown")))
        for package, version in meta["versions"].items():
            self.facts.setdefault(package, set()).add(version)
        self.failures.setdefault(configuration.label, Counter()).update(meta["failures"])

    def _coordinates(self, group: Any, widths: Mapping[str, int]) -> None:
        columns: dict[str, tuple[NDArray[Any], dict[str, str]]] = {
            "solver": (
                np.array(self.request.labels, np.dtypes.StringDType()),
                {"units": "1", "long_name": "solver"},
            ),
            "realization": (
                np.arange(self.realizations),
                {"units": "1", "long_name": "realization"},
            ),
        }
        for axis in self.request.axes:
            is_text = isinstance(axis.values[0], str)
            values = np.array(axis.values, np.dtypes.StringDType() if is_text else None)
            known, words = self.request.units, axis.key.replace("_", " ")
            units = known.get(axis.names_places, ("1", words))[0]
            about = {"units": units, "long_name": known.get(axis.key, ("", words))[1]}
            if axis.is_zipped or isinstance(axis.settings[axis.key][0], list):
                about["settings"] = json.dumps(axis.settings)  # what the names of places stand for
            columns[axis.dimension] = (values, about)
        for name, width in widths.items():
            start = 1 if name == "iteration" else 0
            columns[name] = (np.arange(start, width + start), {"units": "1", "long_name": name})
        for name, (values, attributes) in columns.items():
            _add(group, name, (name,), values, attributes)

    def _attributes(self) -> dict[str, Any]:
        asked, facts = self.request, sorted(self.facts.items())
        units = {
            name: {"units": units, "long_name": long_name}
            for name, (units, long_name) in asked.units.items()
        }
        failures = {k: dict(v.most_common(MESSAGES_SHOWN)) for k, v in self.failures.items() if v}
        return {
            "title": f"kronsbl campaign {asked.name}",
            "campaign": tomli_w.dumps(dict(asked.tables)),
            "scenario": asked.scenario_use,
            "parameters": json.dumps(units),
            "seed": asked.seed,
            "batch": json.dumps({label: s["batch"] for label, s in asked.solvers.items()}),
            "solvers": json.dumps({label: asked.solvers[label] for label in asked.labels}),
            "not_applicable": json.dumps(asked.record["declined"]),
            "failures": json.dumps(failures),
            "hosts": ", ".join(sorted(self.flags["host"])),
            "timing_hosts": json.dumps({host: t.about for host, t in self.timings.items()}),
            **{f"computed_with_{name}": ", ".join(sorted(values)) for name, values in facts},
            "git": ", ".join(self.store.git_states()),
            "requested": asked.facts.get("created", "unknown"),
            "complete": int(self.missing == 0),
            "missing": self.missing,
            "content": self.fingerprint(),
            **({"stop": stop_attribute(asked)} if self.standings is not None else {}),
        }


def _add(
    group: Any,
    name: str,
    dimensions: tuple[str, ...],
    values: NDArray[Any],
    attributes: Mapping[str, Any],
    **fill: Any,
) -> None:
    """Write an array that fits into memory."""
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=chunks_for(values.shape),
        dtype=values.dtype,
        dimension_names=dimensions,
        attributes=dict(attributes),
        **fill,
        **STORAGE,
    )
    array[...] = values
