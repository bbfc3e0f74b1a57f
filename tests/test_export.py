"""Cubes in other formats: nothing lost, nothing half written, clear words."""

import builtins

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline import InputError
from pipeline.results.export import export
from solvers import Status
from tests.cubes import cube

FLAGS = {
    "flag_values": [int(s) for s in Status],
    "flag_meanings": " ".join(s.name.lower() for s in Status),
}


@pytest.fixture
def unfinished():
    """A lazy cube with failed and missing cells, and a trace."""
    ds = cube()
    ds["status"][0, 0, :5] = Status.RAISED
    ds["status"][2, 1, 20:] = Status.NOT_RUN
    ds["nmse"] = ds.nmse.where((ds.status > 0) & (ds.status < 4))
    ds["status"].attrs = FLAGS
    ds["inner_capped"] = ds.status == Status.MAX_ITERATIONS
    ds["trace_cost"] = ((*ds.status.dims, "iteration"), np.zeros((3, 2, 30, 4), "f4"))
    labels = np.array(["s0", "größer", "s2"], np.dtypes.StringDType())
    return ds.assign_coords(solver=("solver", labels, {"units": "1"})).chunk(
        solver=2, realization=7
    )


def test_netcdf_holds_everything(unfinished, tmp_path):
    assert export(unfinished, tmp_path / "cube.nc") == []
    with xr.open_dataset(tmp_path / "cube.nc") as back:
        expected = unfinished.assign_coords(solver=unfinished.solver.astype(object))
        xr.testing.assert_equal(back.load(), expected.compute())
        assert back.nmse.attrs == unfinished.nmse.attrs
        assert back.attrs == unfinished.attrs
        assert back.status.dtype == "u1"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_have_a_row_per_cell(unfinished, tmp_path, suffix):
    path = tmp_path / f"cube{suffix}"
    assert export(unfinished, path) == ["trace_cost"]
    table = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    assert len(table) == unfinished.status.size
    words = table.status.astype(str).value_counts().to_dict()
    assert words == {"converged": 165, "raised": 5, "not_run": 10}
    back = table.set_index(["solver", "snr_db", "realization"]).nmse.to_xarray()
    back = back.sel(solver=list(map(str, unfinished.solver.values)))
    np.testing.assert_array_equal(back.values, unfinished.nmse.values)


def test_failing_leaves_nothing_behind(unfinished, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"expected a file ending in \.nc, \.csv, \.parquet"):
        export(unfinished, tmp_path / "cube.xlsx")
    for name in ("cube.csv", "cube.nc"):
        with pytest.raises(InputError, match="there is no folder"):
            export(unfinished, tmp_path / "nowhere" / name)
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "pyarrow":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'kronsbl\[parquet\]'"):
        export(unfinished, tmp_path / "cube.parquet")
    assert list(tmp_path.iterdir()) == []
