"""Estimates as they are kept: every entry that is not 0, to the bit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers import Estimate

Rows = NDArray[np.intp]
Packed = dict[str, NDArray[Any]]

GAMMA_FACTORS = "gamma_factors"


def pack(parts: Iterable[tuple[Rows, Estimate]], batch: int) -> Packed:
    """x̂, its variances and hyperparameters of a block as flat arrays.

    Parameters
    ----------
    parts
        Rows of the block, and the estimate of these rows. Rows that no part has failed.
    batch
        Rows of the block.

    Returns
    -------
    dict of arrays
        Of each tensor ``NAME``, (batch, …): ``NAME.shape`` without the batch, and of its entries
        that are not 0 ``NAME.counts`` (by row), ``NAME.indices`` (flat, within the row) and
        ``NAME.values``. ``solved`` tells which rows have an estimate.
    """
    solved, tensors = np.zeros(batch, bool), dict[str, list[tuple[Rows, NDArray[Any]]]]()
    factors = 0
    for rows, estimate in parts:
        solved[rows] = True
        gamma = estimate.gamma
        named = {"x": estimate.x, "variance": estimate.variance}
        if isinstance(gamma, tuple):
            factors = len(gamma)
            named |= {f"gamma{i}": g for i, g in enumerate(gamma)}
        else:
            named["gamma"] = gamma
        for name, tensor in named.items():
            if tensor is not None:
                tensors.setdefault(name, []).append((rows, tensor))
    packed: Packed = {"solved": solved, GAMMA_FACTORS: np.array(factors)}
    for name, found in tensors.items():
        packed |= {f"{name}.{k}": v for k, v in _sparse(found, batch).items()}
    return packed


def _sparse(parts: list[tuple[Rows, NDArray[Any]]], batch: int) -> Packed:
    shape = parts[0][1].shape[1:]
    rows, indices, values = [], [], []
    for numbers, tensor in parts:
        flat = tensor.reshape(len(numbers), -1)
        row, index = np.nonzero(flat)
        rows.append(numbers[row])
        indices.append(index)
        values.append(flat[row, index])
    row = np.concatenate(rows)
    order = np.argsort(row, kind="stable")
    return {
        "shape": np.array(shape),
        "counts": np.bincount(row, minlength=batch),
        "indices": np.concatenate(indices)[order].astype(np.uint32),
        "values": np.concatenate(values)[order],
    }


def unpack(
    packed: Mapping[str, NDArray[Any]], cells: NDArray[Any], diagnostics: Collection[str] = ()
) -> tuple[Rows, Estimate]:
    """The rows that have an estimate, and the estimate of these rows.

    Parameters
    ----------
    packed
        As from `pack`.
    cells
        The block's cells, (batch,), which hold the rest of what a solver reports.
    diagnostics
        Names of what it reports beside its estimate.
    """
    rows = np.flatnonzero(packed["solved"])
    tensors = {
        name.removesuffix(".shape"): _dense(packed, name.removesuffix(".shape"))[rows]
        for name in packed
        if name.endswith(".shape")
    }
    factors = int(packed[GAMMA_FACTORS])
    gamma = tuple(tensors[f"gamma{i}"] for i in range(factors)) or tensors.get("gamma")
    names = ("iterations", "inner_iterations", "inner_capped", "noise_var")
    return rows, Estimate(
        x=tensors.get("x"),
        status=cells["status"][rows],
        variance=tensors.get("variance"),
        gamma=gamma,
        diagnostics={name: cells[name][rows] for name in diagnostics},
        **{name: cells[name][rows] for name in names},
    )


def _dense(packed: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    shape, counts = packed[f"{name}.shape"], packed[f"{name}.counts"]
    values = packed[f"{name}.values"]
    dense = np.zeros((len(counts), int(np.prod(shape))), values.dtype)
    dense[np.repeat(np.arange(len(counts)), counts), packed[f"{name}.indices"]] = values
    return dense.reshape(len(counts), *shape)
