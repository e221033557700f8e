"""Where molecules lie: uniform, or on structures that make the density vary over the field.

A structure is a set of sites in a field with a border; molecules take sites at random and sit
within a linker length of them. Positions are in pixels from the outer corner of pixel (0, 0) of the
field without its border, so they may be negative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LINKER_NM = 5.0
"""Standard deviation of a fluorophore around its site."""
_CELL_PX = 4.0


@dataclass(frozen=True)
class Field:
    """The field of view and the border around it from which light leaks in."""

    height: int
    width: int
    border_px: float
    pixel_size_nm: float

    @property
    def area_px2(self) -> float:
        """Area with the border."""
        return (self.height + 2 * self.border_px) * (self.width + 2 * self.border_px)

    def contains(self, x_px: NDArray[np.float64], y_px: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which positions lie inside the field without its border."""
        return (x_px >= 0) & (x_px < self.width) & (y_px >= 0) & (y_px < self.height)

    def uniform(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return n positions (x, y), spread evenly over the field and its border, shape (n, 2)."""
        border = self.border_px
        low = (-border, -border)
        high = (self.width + border, self.height + border)
        return rng.uniform(low, high, (n, 2))


@dataclass(frozen=True)
class Structure:
    """Sites and the share of molecules on them.

    Parameters
    ----------
    field : Field
        The field.
    sites : array, shape (n, 3)
        x, y in pixels and depth from -1 to 1; empty for a uniform sample.
    share : float
        Share of the molecules that lie on sites; the others are uniform.
    """

    field: Field
    sites: NDArray[np.float64]
    share: float

    def inside_share(self) -> float:
        """Expected share of the molecules whose site lies inside the field without its border."""
        uniform = self.field.height * self.field.width / self.field.area_px2
        if not len(self.sites):
            return uniform
        on_sites = self.field.contains(self.sites[:, 0], self.sites[:, 1]).mean()
        return float(self.share * on_sites + (1 - self.share) * uniform)

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return n positions, shape (n, 3): x and y in pixels, depth from -1 to 1."""
        placed = np.empty((n, 3))
        placed[:, :2] = self.field.uniform(n, rng)
        placed[:, 2] = rng.uniform(-1, 1, n)
        if len(self.sites):
            chosen = self.sites[rng.integers(len(self.sites), size=n)]
            jitter_px = rng.normal(0, LINKER_NM / self.field.pixel_size_nm, (n, 2))
            on_site = rng.random(n) < self.share
            placed[on_site] = chosen[on_site]
            placed[on_site, :2] += jitter_px[on_site]
        return placed


def build_structure(
    kind: str, share: float, field: Field, max_contrast: float, rng: np.random.Generator
) -> Structure:
    """Draw a structure of ``kind`` (a key of :data:`STRUCTURES`).

    The share of molecules on the structure is lowered where needed, so that the density that a
    molecule of the structure sees around it (in cells of 4 × 4 pixels) is on average at most
    ``max_contrast`` times the mean density of the field.
    """
    sites = STRUCTURES[kind](field, rng)
    if len(sites):
        border = field.border_px
        x, y = sites[:, 0], sites[:, 1]
        near = (x > -border) & (x < field.width + border)
        near &= (y > -border) & (y < field.height + border)
        sites = sites[near]
    if len(sites) and field.contains(sites[:, 0], sites[:, 1]).mean() < 0.1:
        sites = sites[:0]  # the structure missed the field: it would leave nothing to see
    if len(sites):
        share = min(share, max_contrast / _contrast(sites, field))
    return Structure(field, sites, share)


def _contrast(sites: NDArray[np.float64], field: Field) -> float:
    """Return the mean density of sites around a site over their mean density in the field."""
    cells = np.floor((sites[:, :2] + field.border_px) / _CELL_PX).astype(np.int64)
    _, counts = np.unique(cells[:, 0] * 2**32 + cells[:, 1], return_counts=True)
    pairs = np.sum(counts.astype(np.float64) ** 2)
    return float(pairs / len(sites) ** 2 * field.area_px2 / _CELL_PX**2)


def _none(field: Field, rng: np.random.Generator) -> NDArray[np.float64]:
    del field, rng
    return np.empty((0, 3))


def _paths(
    field: Field, rng: np.random.Generator, bend: float, spacing_px: float, width_nm: float
) -> NDArray[np.float64]:
    """Return sites on random paths: heading diffuses by ``bend`` rad per sqrt(pixel)."""
    span = max(field.width, field.height) + 2 * field.border_px
    steps = int(2 * span)  # of half a pixel each
    n_paths = max(3, int(2 * field.area_px2 / (spacing_px * span)))  # half of each lies outside
    start = field.uniform(n_paths, rng)
    turn = rng.normal(0, bend * np.sqrt(0.5), (n_paths, steps))
    turn[:, 0] = rng.uniform(0, 2 * np.pi, n_paths)
    heading = np.cumsum(turn, axis=1)
    x = start[:, :1] + 0.5 * np.cumsum(np.cos(heading), axis=1)
    y = start[:, 1:] + 0.5 * np.cumsum(np.sin(heading), axis=1)
    offset = rng.normal(0, width_nm / field.pixel_size_nm, (n_paths, steps))
    x, y = x - offset * np.sin(heading), y + offset * np.cos(heading)
    tilt = rng.uniform(-1, 1, (n_paths, 2))
    depth = tilt[:, :1] + (tilt[:, 1:] - tilt[:, :1]) * np.linspace(0, 1, steps)
    return np.stack([x, y, depth], axis=-1).reshape(-1, 3)


def _curves(field: Field, rng: np.random.Generator) -> NDArray[np.float64]:
    """Microtubules: gently curved, 12 nm either side of the axis, 6 to 25 px apart."""
    return _paths(field, rng, rng.uniform(0.02, 0.08), rng.uniform(6, 25), 12.0)


def _mesh(field: Field, rng: np.random.Generator) -> NDArray[np.float64]:
    """Cortical filaments: straight, thin, 4 to 12 px apart."""
    return _paths(field, rng, 0.0, rng.uniform(4, 12), 4.0)


def _rings(field: Field, rng: np.random.Generator) -> NDArray[np.float64]:
    """Nuclear pores: 8 corners on a radius of 45 to 65 nm, 0.4 to 1 µm apart on average."""
    spacing_px = rng.uniform(400, 1000) / field.pixel_size_nm
    n_rings = max(4, int(field.area_px2 / spacing_px**2))
    centres = field.uniform(n_rings, rng)
    radius_px = rng.uniform(45, 65) / field.pixel_size_nm
    angles = rng.uniform(0, 2 * np.pi, (n_rings, 1)) + np.arange(8) * (np.pi / 4)
    x = centres[:, :1] + radius_px * np.cos(angles)
    y = centres[:, 1:] + radius_px * np.sin(angles)
    depth = np.broadcast_to(rng.uniform(-1, 1, (n_rings, 1)), angles.shape)
    return np.stack([x, y, depth], axis=-1).reshape(-1, 3)


def _clusters(field: Field, rng: np.random.Generator) -> NDArray[np.float64]:
    """Receptor islands: Gaussian, 60 to 600 nm wide, 1 to 3 µm apart, of unequal weight."""
    spacing_px = rng.uniform(1000, 3000) / field.pixel_size_nm
    n_clusters = max(3, int(field.area_px2 / spacing_px**2))
    centres = field.uniform(n_clusters, rng)
    members = 20 + rng.poisson(rng.exponential(100, n_clusters))
    radius_px = np.exp(rng.uniform(np.log(60), np.log(600), n_clusters)) / field.pixel_size_nm
    owner = np.repeat(np.arange(n_clusters), members)
    xy = centres[owner] + rng.standard_normal((len(owner), 2)) * radius_px[owner, None]
    depth = np.clip(rng.normal(0, 0.5, len(owner)), -1, 1)
    return np.column_stack([xy, depth])


STRUCTURES: dict[str, Callable[[Field, np.random.Generator], NDArray[np.float64]]] = {
    "uniform": _none,
    "curves": _curves,
    "rings": _rings,
    "clusters": _clusters,
    "mesh": _mesh,
}
"""Every kind and its maker."""
