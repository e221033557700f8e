"""Background under the molecules: the left flank of the grey values, whose noise is known.

Light adds only, so values below the background are noise alone. Frames are smoothed by a small
Gaussian (weights k) to bring the noise down; at background b the smoothed value then scatters with
the variance ``s² = Σk²·K·(b - z)`` of the photon transfer line. For a normal law the share of
values below ``b - 3/2·s`` among those below ``b - s/2`` is Φ(-3/2)/Φ(-1/2) = 0.217, a little less
for the skewed law of few photo-electrons (Edgeworth's first term); b is where the data have this
share. It is found in small tiles, because backgrounds are uneven.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.special import ndtr

from hdsmlm.estimation.photon_transfer import PhotonTransfer
from hdsmlm.estimation.sample import FrameSample

SMOOTHING_PX = 1.0
TILE_PX = 8
_FAR, _NEAR = 1.5, 0.5
_THIRD_CUMULANT = 1.25
"""Third cumulant over K²·(b - z): 1 for Poisson counts, 3/2 after an EM register."""
_FEWEST = 30


@dataclass(frozen=True)
class Background:
    """Grey values without molecules.

    Parameters
    ----------
    tiles_adu : array, shape (rows, columns)
        Level of every tile of the field, mean over the runs.
    runs_adu : array, shape (runs,)
        Level of every run of frames, mean over the tiles.
    """

    tiles_adu: NDArray[np.float64]
    runs_adu: NDArray[np.float64]

    @property
    def mean_adu(self) -> float:
        """Mean level."""
        return float(self.tiles_adu.mean())

    def map_adu(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Return the level of every pixel of a frame, constant in each tile."""
        rows = np.minimum(np.arange(shape[0]) // TILE_PX, self.tiles_adu.shape[0] - 1)
        columns = np.minimum(np.arange(shape[1]) // TILE_PX, self.tiles_adu.shape[1] - 1)
        return self.tiles_adu[np.ix_(rows, columns)].astype(np.float32)


def background(sample: FrameSample, line: PhotonTransfer) -> Background:
    """Estimate the background level of every tile of a field.

    Parameters
    ----------
    sample : FrameSample
        Raw grey values.
    line : PhotonTransfer
        The noise of the camera; must be significant.
    """
    height, width = sample.shape
    n_rows, n_columns = max(1, height // TILE_PX), max(1, width // TILE_PX)
    levels = np.empty((len(sample.runs), n_rows, n_columns))
    for number, run in enumerate(sample.runs):
        smooth, kernel = smoothed(run)
        for row in range(n_rows):
            low, high = row * TILE_PX, height if row == n_rows - 1 else (row + 1) * TILE_PX
            for column in range(n_columns):
                left = column * TILE_PX
                right = width if column == n_columns - 1 else left + TILE_PX
                values = np.sort(smooth[:, low:high, left:right], axis=None)
                levels[number, row, column] = _flank(values, line, kernel)
    return Background(levels.mean(axis=0), levels.mean(axis=(1, 2)))


def smoothed(run: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return frames smoothed by ``SMOOTHING_PX``, and the weights k along one axis."""
    smooth = gaussian_filter1d(run, SMOOTHING_PX, axis=1)
    smooth = gaussian_filter1d(smooth, SMOOTHING_PX, axis=2, output=smooth)
    point = np.zeros(33)
    point[16] = 1.0
    return smooth, gaussian_filter1d(point, SMOOTHING_PX)


def _flank(values: NDArray[np.float32], line: PhotonTransfer, kernel: NDArray[np.float64]) -> float:
    """Return the level at which the left flank of sorted values has the share of pure noise."""
    low, high = float(values[0]), float(np.quantile(values, 0.9))
    second, third = ((kernel**power).sum() ** 2 for power in (2, 3))

    def excess(level: float) -> float:
        signal = max(line.variance_at(level) / line.slope_adu, 1e-9)
        scatter = np.sqrt(second * line.slope_adu * signal)
        skewness = third * _THIRD_CUMULANT / second**1.5 * np.sqrt(line.slope_adu / signal)
        far = np.searchsorted(values, level - _FAR * scatter)
        near = np.searchsorted(values, level - _NEAR * scatter)
        if near < _FEWEST:
            return -1.0  # too few values below: the level is too low
        skewness = min(float(skewness), 0.5)
        return float(far / near - _below(-_FAR, skewness) / _below(-_NEAR, skewness))

    for _ in range(40):
        middle = 0.5 * (low + high)
        if excess(middle) < 0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _below(x: float, skewness: float) -> float:
    """Return the share of a standardized, slightly skewed law below ``x``."""
    density = np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
    return float(ndtr(x) - skewness / 6 * (x * x - 1) * density)
