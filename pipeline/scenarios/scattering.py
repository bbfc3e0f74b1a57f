"""Propagation: paths between the arrays, a line of sight, and a link beside the surface."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as parameters

from pipeline.scenarios.arrays import Geometry, UniformArray
from pipeline.scenarios.base import PARAMETERS, Count, NotNegative, Real
from pipeline.scenarios.paths import Hop
from pipeline.scenarios.streams import Draws, on_axis

Array = NDArray[Any]
T = TypeVar("T")
Ratio = Annotated[float, Field(strict=True, le=300)]

HALF_WIDTH = np.sqrt(3.0)
"""Of a uniform distribution, in standard deviations."""


@parameters(frozen=True, config=PARAMETERS, kw_only=True)
class Scattering(Geometry):
    """Paths from UE to IRS and from there to the BS, and what reaches the BS besides.

    Attributes
    ----------
    clusters : int or (int, int)
        Directions that the paths of each hop leave by; those of each arrive by several.
    spread : int or (int, int)
        Angles of arrival of a cluster, along each axis, at the IRS and at the BS. Where they are
        adjacent, they do not wrap around the end of the grid.
    cluster_shape : "adjacent", "uniform" or "laplacian"
        Adjacent angles of the grid, or angles around the middle of the cluster.
    cluster_width : float
        Standard deviation of those around the middle, in cells of the grid.
    gains : "normal" or "equal"
        CN(0, 1), or of modulus 1 with any phase.
    decay_db : float
        How much less power each path of a hop has than the one before it, dB.
    off_grid : float
        Each true angle lies up to this share of half a cell away from the grid: 0 on it, 1
        anywhere.
    rician_db : float or (float, float), optional
        K factor of the hops, dB: a line of sight, of directions of its own, has that much more
        power than the scattered paths together. None, or -inf: there is none.
    direct_db : float, optional
        Mean power of a direct link from UE to BS relative to that by way of the IRS, dB.
    direct : "interferes" or "removed"
        It disturbs what is received; or what is received with the IRS off is subtracted, and with
        it noise that is the same under all patterns.
    """

    clusters: Count | tuple[Count, Count] = 1
    spread: Count | tuple[Count, Count] = 3
    cluster_shape: Literal["adjacent", "uniform", "laplacian"] = "adjacent"
    cluster_width: NotNegative = 0.0
    gains: Literal["normal", "equal"] = "normal"
    decay_db: NotNegative = 0.0
    off_grid: Annotated[Real, Field(ge=0, le=1)] = 0.0
    rician_db: Ratio | tuple[Ratio, Ratio] | None = None
    direct_db: Ratio | None = None
    direct: Literal["interferes", "removed"] = "interferes"

    def check_paths(self) -> None:
        """Raise ValueError where clusters do not fit the grid."""
        if self.cluster_width > 0 and self.cluster_shape == "adjacent":
            raise ValueError("cluster_width says nothing of adjacent angles; set cluster_shape")
        widest = 2.0 * HALF_WIDTH * self.cluster_width
        for spread, array in zip(_both(self.spread), self.arrays[::2], strict=True):
            grid = min(array.grids)
            if self.cluster_shape == "adjacent" and spread > grid:
                raise ValueError(f"spread {spread} is larger than the grid of {grid} angles")
            if widest > grid:
                raise ValueError(
                    f"cluster_width {self.cluster_width} makes clusters of {widest:.3g} cells, "
                    f"wider than the grid of {grid} angles"
                )

    @property
    def has_own_angles(self) -> bool:
        """Whether paths leave and arrive between the angles of the grid."""
        return self.off_grid > 0 or self.cluster_width > 0

    def hops(self, draws: Draws) -> tuple[Hop, Hop]:
        """Paths from the UE to the IRS, and from there to the BS."""
        irs, ue, bs = self.arrays
        first, second = self._kinds
        return self._hop(draws, "ue irs", ue, irs, first), self._hop(
            draws, "irs bs", irs, bs, second
        )

    @property
    def _kinds(self) -> list[tuple[int, int, float]]:
        """Clusters, spread and K factor of each hop."""
        ratios = [0.0 if k is None else 10.0 ** (k / 10.0) for k in _both(self.rician_db)]
        return list(zip(_both(self.clusters), _both(self.spread), ratios, strict=True))

    def _hop(
        self, draws: Draws, ends: str, left: UniformArray, reached: UniformArray, kind: Any
    ) -> Hop:
        """A hop with the power of a channel whose entries have power 1; a line of sight is last."""
        (begin, end), (count, spread, ratio) = ends.split(), kind
        arrival = self._directions(draws, f"{end}_arrival", reached, count, spread)
        departure = self._directions(draws, f"{begin}_departure", left, count)
        departure = np.repeat(departure, arrival.shape[1] // count, axis=1)
        power = 10.0 ** (-self.decay_db / 10.0 * np.arange(arrival.shape[1]))
        equal, name = self.gains == "equal", f"{end}_gains"
        gain = _turned(draws, name, len(power)) if equal else draws.normal(name, len(power))
        if ratio > 0:
            sight = f"{begin}_{end}.sight"
            leaves = self._directions(draws, f"{sight}.departure", left)
            arrives = self._directions(draws, f"{sight}.arrival", reached)
            departure, arrival = np.hstack([departure, leaves]), np.hstack([arrival, arrives])
            gain = np.hstack([gain, _turned(draws, f"{sight}.phase", 1)])
            power = np.append(power, ratio * power.sum())
        power *= left.antennas * reached.antennas / power.sum()
        return Hop(departure, arrival, np.sqrt(power) * gain, power)

    def _directions(
        self, draws: Draws, name: str, array: UniformArray, count: int = 1, spread: int = 0
    ) -> Array:
        """Directions in cells of the grid, (B, L, A): alone, or in clusters with a spread."""
        steps = np.indices((spread or 1,) * len(array.grids)).reshape(len(array.grids), -1)
        axes = [
            self._along(draws, on_axis(name, axis), grid, count, step, spread > 0)
            for axis, (grid, step) in enumerate(zip(array.grids, steps, strict=True))
        ]
        return np.stack(axes, axis=-1)

    def _along(
        self, draws: Draws, name: str, grid: int, count: int, steps: Array, clustered: bool
    ) -> Array:
        """Directions along one axis, (B, L)."""
        adjacent, size = self.cluster_shape == "adjacent", count * len(steps)
        choices = grid - steps.max() if adjacent else grid
        first = draws.each(name, lambda rng: rng.integers(choices, size=count))
        cells = (first[:, :, None] + steps * adjacent).reshape(len(first), -1)
        if self.off_grid > 0:
            between = draws.each(f"{name}.offset", lambda rng: rng.uniform(-0.5, 0.5, size))
            cells = cells + self.off_grid * between
        if self.cluster_width > 0 and clustered:
            around = draws.each(f"{name}.cluster", lambda rng: self._around(rng, size))
            cells = (cells + self.cluster_width * around) % grid
        return cells

    def _around(self, rng: np.random.Generator, size: int) -> Array:
        """Directions around the middle of clusters, of a standard deviation of 1."""
        if self.cluster_shape == "uniform":
            return rng.uniform(-HALF_WIDTH, HALF_WIDTH, size)
        return rng.laplace(scale=np.sqrt(0.5), size=size)

    def direct_link(self, draws: Draws) -> Array | None:
        """Channel (B, BS, UE) of the direct link, or None where there is none."""
        if self.direct_db is None or self.direct_db == -np.inf:
            return None
        _, ue, bs = self.arrays
        hop = self._hop(draws, "direct.ue direct.bs", ue, bs, (*self._kinds[1][:2], 0.0))
        arriving = (hop.gain[:, :, None] * bs.responses(hop.arrival)).swapaxes(1, 2)
        strength = 10.0 ** (self.direct_db / 20.0)
        return strength * arriving @ ue.responses(hop.departure).conj()

    def gain_vectors(self, x: Array) -> tuple[Array, ...] | None:
        """Vectors whose Kronecker product is x, (B, N_i); None where x is no such product.

        It is one with linear arrays, a single cluster and no line of sight; its fibres through its
        largest entry are those vectors, up to their scales.
        """
        if x.ndim > 4 or max(_both(self.clusters)) > 1 or self.rician_db is not None:
            return None
        rows, largest = np.arange(len(x)), np.abs(x.reshape(len(x), -1)).argmax(axis=1)
        i, j, k = np.unravel_index(largest, x.shape[1:])
        peak = x[rows, i, j, k][:, None]
        return x[rows, :, j, k], x[rows, i, :, k] / peak, x[rows, i, j] / peak


def _both(value: T | tuple[T, T]) -> tuple[T, T]:
    """A value for both hops, or one for each."""
    return value if isinstance(value, tuple) else (value, value)


def _turned(draws: Draws, ingredient: str, paths: int) -> Array:
    """Gains of modulus 1 and any phase, (B, L)."""
    return np.exp(2j * np.pi * draws.each(ingredient, lambda rng: rng.random(paths)))
