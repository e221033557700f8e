"""The background of a sparse movie: the mean light of the pixels in which no spot lies.

Per block of frames the pixels near any candidate are left out, the rest is averaged over the block,
and the mean is smoothed with a Gaussian that leaves out pixels without a value (normalized
convolution, Knutsson & Westin, 1993). Unlike a temporal median it has no bias from the skewness of
Poisson and register noise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from hdsmlm.errors import MovieError
from hdsmlm.records.emitters import Emitters

SPOT_SIGMAS = 3.5
"""Pixels whose centre lies within this many PSF standard deviations of a candidate are left out."""
_MIN_WEIGHT = 1e-3


class BackgroundMaps:
    """Background photons per pixel, block of frames by block of frames, made when asked for.

    Parameters
    ----------
    read_photons : callable
        ``(start, stop) -> array (t, y, x)`` of photons.
    n_frames : int
        Frames of the movie.
    candidates : Emitters
        All spots, sound and doubtful.
    sigma_px, pixel_size_nm : float
        Width of the PSF and side of a pixel.
    block_frames : int
        Frames that are averaged; the last block takes the rest.
    smoothing_px : float
        Standard deviation of the smoothing.
    """

    def __init__(
        self,
        read_photons: Callable[[int, int], NDArray[np.float64]],
        n_frames: int,
        candidates: Emitters,
        sigma_px: float,
        pixel_size_nm: float,
        block_frames: int,
        smoothing_px: float,
    ) -> None:
        self._read = read_photons
        self._candidates = candidates.sorted()
        self._radius_px = SPOT_SIGMAS * sigma_px
        self._pixel_size_nm = pixel_size_nm
        self._smoothing_px = smoothing_px
        n_blocks = max(1, n_frames // block_frames)
        self._edges = np.linspace(0, n_frames, n_blocks + 1).astype(int)
        self._maps: dict[int, NDArray[np.float64]] = {}

    def at(self, frame: int) -> NDArray[np.float64]:
        """Return the map (y, x) of the block that holds ``frame``."""
        block = int(np.searchsorted(self._edges, frame, side="right")) - 1
        if block not in self._maps:
            self._maps[block] = self._block(self._edges[block], self._edges[block + 1])
        return self._maps[block]

    def mean(self) -> float:
        """Return the mean over the frame and all blocks."""
        return float(np.mean([np.mean(self.at(int(start))) for start in self._edges[:-1]]))

    def _block(self, start: int, stop: int) -> NDArray[np.float64]:
        total = count = None
        frame = self._candidates["frame"]
        for low in range(start, stop, 32):
            high = min(low + 32, stop)
            photons = self._read(low, high)
            rows = slice(*np.searchsorted(frame, [low, high]))
            free = ~spot_mask(
                frame[rows] - low,
                self._candidates["x_nm"][rows] / self._pixel_size_nm,
                self._candidates["y_nm"][rows] / self._pixel_size_nm,
                photons.shape,
                self._radius_px,
            )
            part, seen = np.where(free, photons, 0.0).sum(axis=0), free.sum(axis=0)
            total = part if total is None else total + part
            count = seen if count is None else count + seen
        assert total is not None
        assert count is not None
        if not count.any():
            raise MovieError(
                f"in frames {start} to {stop - 1} every pixel lies near a spot, so that the "
                "background cannot be told; the movie is too dense, use a sparser one"
            )
        weight = count.astype(np.float64)
        if self._smoothing_px > 0:
            total = gaussian_filter(total, self._smoothing_px, mode="nearest")
            weight = gaussian_filter(weight, self._smoothing_px, mode="nearest")
        known = weight > _MIN_WEIGHT
        middle = float(total[known].sum() / weight[known].sum())
        result: NDArray[np.float64] = np.full(total.shape, middle)
        np.divide(total, weight, out=result, where=known)
        return result


def spot_mask(
    frame: NDArray[np.integer],
    x_px: NDArray[np.float64],
    y_px: NDArray[np.float64],
    shape: tuple[int, int, int],
    radius_px: float,
) -> NDArray[np.bool_]:
    """Return the pixels (t, y, x) whose centre lies within ``radius_px`` of a spot."""
    mask = np.zeros(shape, bool)
    reach = int(np.ceil(radius_px))
    row, column = np.floor(y_px).astype(int), np.floor(x_px).astype(int)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            r, c = row + dy, column + dx
            near = (r + 0.5 - y_px) ** 2 + (c + 0.5 - x_px) ** 2 <= radius_px**2
            near &= (r >= 0) & (r < shape[1]) & (c >= 0) & (c < shape[2])
            mask[frame[near], r[near], c[near]] = True
    return mask
