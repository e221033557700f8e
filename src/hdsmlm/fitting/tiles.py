"""A window of large frames fitted in tiles: each blink comes from the tile in which it lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.spacetime import SpaceTimeConfig
from hdsmlm.fitting.blink_table import blink_rows
from hdsmlm.fitting.likelihood import PoissonData
from hdsmlm.fitting.psf_kernels import FittablePsf
from hdsmlm.fitting.spacetime import Detections, fit_window
from hdsmlm.records.emitters import Emitters

MARGIN_SIGMAS = 10.0
"""How far a tile sees beyond its own pixels, in PSF widths."""


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
    """

    psf: FittablePsf
    pixel_size_nm: float
    config: SpaceTimeConfig
    tile_px: int

    def fit(self, window: WindowData) -> Emitters:
        """Return the localizations of a window; ``blink_id`` numbers its blinks from 0."""
        _, height, width = window.data.shape
        tables: list[Emitters] = []
        count = 0
        for rows in _pieces(height, self.tile_px):
            for columns in _pieces(width, self.tile_px):
                table = self._fit_tile(window, rows, columns)
                tables.append(table.with_columns(blink_id=table["blink_id"] + count))
                count = int(tables[-1]["blink_id"].max(initial=count - 1)) + 1
        return Emitters.concatenate(tables).sorted()

    def _fit_tile(self, window: WindowData, rows: slice, columns: slice) -> Emitters:
        _, height, width = window.data.shape
        margin = round(MARGIN_SIGMAS * self.psf.sigma_px)
        top, bottom = max(0, rows.start - margin), min(height, rows.stop + margin)
        left, right = max(0, columns.start - margin), min(width, columns.stop + margin)
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
        result = fit_window(cut, self.psf, start, self.config, p)
        table = blink_rows(
            result,
            self.psf,
            self.pixel_size_nm,
            self.config.min_probability,
            window.saturated[view],
        )
        table = table.with_columns(
            x_nm=table["x_nm"] + left * self.pixel_size_nm,
            y_nm=table["y_nm"] + top * self.pixel_size_nm,
        )
        own_x, own_y = table["x_nm"] / self.pixel_size_nm, table["y_nm"] / self.pixel_size_nm
        own = (own_x >= columns.start) & (own_x < columns.stop)
        return table.select(own & (own_y >= rows.start) & (own_y < rows.stop))


def _pieces(size: int, tile_px: int) -> list[slice]:
    """Cut ``size`` pixels at multiples of ``tile_px``; a short last piece joins its neighbour."""
    edges = list(range(0, size, tile_px))
    if len(edges) > 1 and size - edges[-1] < tile_px // 2:
        edges.pop()
    return [slice(a, b) for a, b in zip(edges, [*edges[1:], size], strict=True)]
