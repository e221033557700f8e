"""A window of large frames fitted in tiles: each blink comes from the tile in which it lies.

A tile sees a margin beyond its own pixels, so that neighbours both fit the blinks at their seam, to
nearly the same place. A blink that they put on different sides of the seam would be lost or come
twice if every tile kept what it finds on its own pixels. Blinks of different tiles that share a
frame and a place are therefore known as one first, and one tile answers for all of them: the one in
which their mean place lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from hdsmlm.config.spacetime import SpaceTimeConfig
from hdsmlm.fitting.blink_table import blink_rows, refused_rows
from hdsmlm.fitting.first_background import frame_levels
from hdsmlm.fitting.likelihood import PoissonData
from hdsmlm.fitting.psf_kernels import FittablePsf
from hdsmlm.fitting.result import FitResult
from hdsmlm.fitting.spacetime import Detections, fit_window
from hdsmlm.fitting.stitching import SAME_PX
from hdsmlm.records.emitters import Emitters

MARGIN_SIGMAS = 10.0
"""How far a tile sees beyond its own pixels, in PSF widths."""

_LEVEL_PX = 256
"""Frames with a longer side tell the level of light by every second, third ... pixel."""


@dataclass(frozen=True)
class WindowData:
    """Everything that the fit of a window starts from.

    Parameters
    ----------
    data : PoissonData
        Frames (t, y, x).
    saturated : array of bool, shape (t, y, x)
        Pixels at the largest grey value.
    count_map : array, shape (t, 4, y, x)
        The network's answer.
    detections : Emitters
        Decoded from it; frames count from the window's start.
    """

    data: PoissonData
    saturated: NDArray[np.bool_]
    count_map: NDArray[np.float32]
    detections: Emitters


@dataclass(frozen=True)
class Tile:
    """Pixels that a tile answers for: ``top <= row < bottom``, ``left <= column < right``."""

    top: int
    bottom: int
    left: int
    right: int

    def holds(
        self, x_px: NDArray[np.float64], y_px: NDArray[np.float64], beyond_px: float = 0.0
    ) -> NDArray[np.bool_]:
        """Return which places lie on the tile's pixels, or up to ``beyond_px`` outside."""
        inside = (x_px >= self.left - beyond_px) & (x_px < self.right + beyond_px)
        return inside & (y_px >= self.top - beyond_px) & (y_px < self.bottom + beyond_px)


@dataclass(frozen=True)
class BlinkFitter:
    """Fits windows of a movie.

    Parameters
    ----------
    psf : FittablePsf
        Point-spread function.
    pixel_size_nm : float
        Side of a pixel.
    config : SpaceTimeConfig
        Settings.
    tile_px : int
        Frames with a longer side are cut into tiles of this side, on a grid from the corner.
    keep_alternatives : bool
        Whether to return what was not thought likely enough to be a localization.
    """

    psf: FittablePsf
    pixel_size_nm: float
    config: SpaceTimeConfig
    tile_px: int
    keep_alternatives: bool = False

    def fit(self, window: WindowData) -> FitResult:
        """Return the localizations of a window; ``blink_id`` numbers its blinks from 0."""
        _, height, width = window.data.shape
        tiles = [
            Tile(rows.start, rows.stop, columns.start, columns.stop)
            for rows, columns in product(
                _pieces(height, self.tile_px), _pieces(width, self.tile_px)
            )
        ]
        levels = _levels(window.data)  # of the whole frame: tiles must not differ in their model
        results = [self._fit_tile(window, tile, levels) for tile in tiles]
        rows = owned_rows([result.localizations for result in results], tiles, self.pixel_size_nm)
        others = [result.alternatives for result in results if result.alternatives is not None]
        alternatives = Emitters.concatenate(others).sorted() if others else None
        return FitResult(rows.sorted(), alternatives)

    def _fit_tile(
        self, window: WindowData, tile: Tile, levels: NDArray[np.float64] | None
    ) -> FitResult:
        """Return what a tile finds, up to :data:`SAME_PX` beyond its own pixels.

        Alternatives are those on its own pixels: nobody follows them from tile to tile.
        """
        _, height, width = window.data.shape
        margin = round(MARGIN_SIGMAS * self.psf.sigma_px)
        top, bottom = max(0, tile.top - margin), min(height, tile.bottom + margin)
        left, right = max(0, tile.left - margin), min(width, tile.right + margin)
        view = (slice(None), slice(top, bottom), slice(left, right))
        data = window.data
        cut = PoissonData(data.counts[view], data.offset[view[1:]], data.scale)
        found = window.detections
        x_px = found["x_nm"] / self.pixel_size_nm - left
        y_px = found["y_nm"] / self.pixel_size_nm - top
        here = (x_px >= 0) & (x_px < right - left) & (y_px >= 0) & (y_px < bottom - top)
        order = np.argsort(found["frame"][here], kind="stable")
        start = Detections(
            found["frame"][here][order].astype(np.int64), x_px[here][order], y_px[here][order]
        )
        p = window.count_map[:, :, view[1], view[2]]
        result = fit_window(cut, self.psf, start, self.config, p, levels, self.keep_alternatives)
        how = (
            self.psf, self.pixel_size_nm, self.config.min_probability, window.saturated[view],
            self.config.crowding,
        )  # fmt: skip

        def on_tile(table: Emitters, beyond_px: float) -> Emitters:
            table = table.with_columns(
                x_nm=table["x_nm"] + left * self.pixel_size_nm,
                y_nm=table["y_nm"] + top * self.pixel_size_nm,
            )
            x_px, y_px = table["x_nm"] / self.pixel_size_nm, table["y_nm"] / self.pixel_size_nm
            return table.select(tile.holds(x_px, y_px, beyond_px))

        return FitResult(
            on_tile(blink_rows(result, *how), SAME_PX),
            on_tile(refused_rows(result, *how), 0.0) if self.keep_alternatives else None,
        )


def owned_rows(tables: list[Emitters], tiles: list[Tile], pixel_size_nm: float) -> Emitters:
    """Put tiles together: every blink from one tile.

    Parameters
    ----------
    tables : list of Emitters
        What each tile found on its pixels and up to :data:`SAME_PX` outside; ``blink_id`` numbers
        the blinks of the tile, whose rows share one place.
    tiles : list of Tile
        They cover the frame without overlap.
    pixel_size_nm : float
        Side of a pixel.

    Returns
    -------
    Emitters
        ``blink_id`` is unique among all tiles. Blinks of different tiles that share a frame and lie
        within :data:`SAME_PX` are the same light; of such a set the tile's blinks are kept that
        holds the mean place (at a corner, where it may know none of them, the first that does). All
        others are kept by the tile that holds them.
    """
    first = np.cumsum([0] + [int(table["blink_id"].max(initial=-1)) + 1 for table in tables])
    rows = Emitters.concatenate(
        [
            table.with_columns(blink_id=table["blink_id"] + number)
            for table, number in zip(tables, first, strict=False)
        ]
    )
    ids, row, blink = np.unique(rows["blink_id"], return_index=True, return_inverse=True)
    x_px, y_px = rows["x_nm"] / pixel_size_nm, rows["y_nm"] / pixel_size_nm
    tile_of = np.searchsorted(first, ids, side="right") - 1
    places = np.column_stack((x_px, y_px, 10.0 * SAME_PX * rows["frame"]))
    pairs = blink[cKDTree(places).query_pairs(SAME_PX, output_type="ndarray")].reshape(-1, 2)
    pairs = pairs[tile_of[pairs[:, 0]] != tile_of[pairs[:, 1]]]
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(ids),) * 2)
    n_sets, member = connected_components(links, directed=False)
    size = np.bincount(member, minlength=n_sets)
    mean_x = (np.bincount(member, x_px[row], n_sets) / size)[member]
    mean_y = (np.bincount(member, y_px[row], n_sets) / size)[member]
    owned = np.zeros(len(ids), np.bool_)
    for k, tile in enumerate(tiles):
        owned |= (tile_of == k) & tile.holds(mean_x, mean_y)
    shared, known = size[member] > 1, np.bincount(member, owned, n_sets)[member] > 0
    first_tile = np.full(n_sets, len(tiles))
    np.minimum.at(first_tile, member, tile_of)
    owned |= shared & ~known & (tile_of == first_tile[member])
    return rows.select(owned[blink])


def _levels(data: PoissonData) -> NDArray[np.float64] | None:
    """Return the level of light in each frame, None where it is steady."""
    step = -(-max(data.shape[1:]) // _LEVEL_PX)
    counts, offset = data.counts[:, ::step, ::step], data.offset[::step, ::step]
    return frame_levels(((counts - offset) / data.scale).astype(np.float64))


def _pieces(size: int, tile_px: int) -> list[slice]:
    """Cut ``size`` pixels at multiples of ``tile_px``; a short last piece joins its neighbour."""
    edges = list(range(0, size, tile_px))
    if len(edges) > 1 and size - edges[-1] < tile_px // 2:
        edges.pop()
    return [slice(a, b) for a, b in zip(edges, [*edges[1:], size], strict=True)]
