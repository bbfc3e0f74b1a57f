"""A cube written for other programs: netCDF, CSV, Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis.cells import check
from pipeline.errors import InputError
from pipeline.results.layout import CELLS_PER_CHUNK, chunks_for, slabs
from pipeline.store.files import checked_output, replaced


def export(results: xr.Dataset, path: str | Path) -> list[str]:
    """Write a cube into one file, slab by slab: it may be larger than memory.

    Parameters
    ----------
    results
        A cube; it may be unfinished.
    path
        Its suffix says the format. ``.nc`` is netCDF 4 and holds everything. ``.csv`` and
        ``.parquet`` are tables of one row per cell, those that have not been run too; status and
        host are words there.

    Returns
    -------
    list of str
        Names of the variables that are left out: in tables, those with other dimensions than the
        cells have, such as traces.

    Raises
    ------
    InputError
        Another suffix, a package is missing, or the file cannot be written.
    """
    check(results)
    writers = {".nc": _netcdf, ".csv": _csv, ".parquet": _parquet}
    path = checked_output(path, *writers)  # each library has its own, longer words for it
    try:
        with replaced(path) as temporary:
            return writers[path.suffix.lower()](results, temporary)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def _netcdf(results: xr.Dataset, path: Path) -> list[str]:
    plain = results.drop_encoding()
    plain.attrs = {
        name: str(value) if isinstance(value, int) and value.bit_length() > 63 else value
        for name, value in plain.attrs.items()  # a seed may be longer than netCDF's numbers
    }
    for name, variable in plain.variables.items():
        if variable.dtype.kind == "T":  # netCDF's strings are objects to h5netcdf
            plain[name] = (variable.dims, variable.values.astype(object), variable.attrs)
    packed = {name: {"zlib": True, "complevel": 3} for name in plain.data_vars}
    plain.to_netcdf(path, engine="h5netcdf", encoding=packed)
    return []


def _csv(results: xr.Dataset, path: Path) -> list[str]:
    cells, left_out = _cells_only(results)
    with path.open("x", encoding="utf-8", newline="") as file:
        for number, frame in enumerate(_frames(cells)):
            frame.to_csv(file, index=False, header=number == 0)
    return left_out


def _parquet(results: xr.Dataset, path: Path) -> list[str]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            "Parquet files need pyarrow: pip install 'kronsbl[parquet]'; .nc and .csv do without"
        ) from None
    cells, left_out = _cells_only(results)
    writer = None
    try:
        for frame in _frames(cells):
            table = pa.Table.from_pandas(frame, preserve_index=False)
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    return left_out


def _cells_only(results: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
    dims = results.status.dims
    left_out = [str(name) for name, v in results.data_vars.items() if v.dims != dims]
    others = set(results.dims) - set(dims)
    return results.drop_vars(left_out).drop_dims(others, errors="ignore"), left_out


def _frames(cells: xr.Dataset) -> Iterator[Any]:
    """Data frames of one row per cell, in the order of the cube."""
    import pandas as pd

    status = cells.status
    chunks = status.chunksizes
    sizes = (
        [chunks[d][0] for d in status.dims] if chunks else chunks_for(status.shape, CELLS_PER_CHUNK)
    )
    for slab in slabs(status.shape, sizes):
        part = cells.isel(dict(zip(status.dims, slab, strict=True)))
        frame = part.to_dataframe(dim_order=list(status.dims)).reset_index()
        for name, variable in cells.data_vars.items():
            if "flag_meanings" in variable.attrs:
                words = variable.attrs["flag_meanings"].split()
                names = dict(zip(np.atleast_1d(variable.attrs["flag_values"]), words, strict=True))
                frame[name] = pd.Categorical(frame[name].map(names), categories=words)
        yield frame
