"""Result cubes made by hand."""

import json

import numpy as np
import xarray as xr


def cube(solvers=3, points=2, realizations=30, seed=0, **attrs):
    """A finished cube of NMSE (lognormal) and SER (uniform), with `attrs`."""
    rng = np.random.default_rng(seed)
    shape, dims = (solvers, points, realizations), ("solver", "snr_db", "realization")
    labels = [f"s{i}" for i in range(solvers)]

    def variable(values, units="1", **more):
        return dims, values, {"units": units, "long_name": "something", **more}

    return xr.Dataset(
        {
            "nmse": variable(rng.lognormal(-4, 2, shape), better="lower"),
            "ser": variable(rng.random(shape), better="lower"),
            "status": variable(np.ones(shape, "u1")),
            "runtime": variable(rng.gamma(3, 1e-3, shape), "s"),
            "iterations": variable(rng.integers(5, 150, shape).astype("i4")),
        },
        coords={
            "solver": labels,
            "snr_db": 10 * np.arange(points),
            "realization": np.arange(realizations),
        },
        attrs={"batch": json.dumps(dict.fromkeys(labels, 5)), **attrs},
    )
