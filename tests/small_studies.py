"""Small cubes for tests of figures and reports."""

import copy

import xarray as xr

import pipeline
from pipeline import Campaign
from tests.conftest import TINY


def campaign_with(**changes):
    """The tiny campaign, tables changed."""
    tables = copy.deepcopy(TINY)
    for name, table in changes.items():
        tables[name] = {**tables.get(name, {}), **table} if table else {}
    if "sweep" in changes:
        tables["sweep"] = changes["sweep"]
    if not tables["sweep"]:
        tables["scenario"]["snr_db"] = 10
    return Campaign.from_tables(tables)


def cube_of(campaign, folder, client):
    """Run a campaign and open its cube."""
    pipeline.run(campaign, folder, client)
    return pipeline.open_results(folder)


def with_latency(cube):
    """The cube with what a timing lane would add: 1 s on one host, 2 s on another."""
    hosts = xr.DataArray([1.0, 2.0], dims="timing_host", coords={"timing_host": ["blade", "pi"]})
    like = xr.ones_like(cube.nmse.load()).drop_attrs(deep=False)
    latency = (hosts * like).transpose("timing_host", *like.dims)
    memory = 1e6 * latency.isel(realization=0, drop=True)
    return cube.assign(
        latency=latency.assign_attrs(units="s"), peak_memory=memory.assign_attrs(units="B")
    )
