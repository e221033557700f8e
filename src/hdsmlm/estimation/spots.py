"""Spots: how many, how bright, how wide; a look at a movie, not a localization.

Spots are maxima of the frames smoothed by the point-spread function (a matched filter), above five
standard deviations of the noise. In dense movies neighbours merge, so that their number is a lower
bound; a count map of a network is the better answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter
from scipy.spatial import KDTree
from scipy.special import erf

from hdsmlm.estimation.background import Background
from hdsmlm.estimation.photon_transfer import PhotonTransfer
from hdsmlm.estimation.sample import FrameSample

THRESHOLD = 5.0
MAX_FRAMES = 200


@dataclass(frozen=True)
class Spots:
    """Spots of some frames.

    Parameters
    ----------
    n_frames : int
        Frames that were searched.
    frame, row, column : array, shape (n,)
        Pixel of each maximum; ``frame`` counts the frames searched.
    signal_adu : array, shape (n,)
        Sum of the spot's grey values above the background, by the matched filter.
    snr : array, shape (n,)
        Signal in the brightest pixel over the noise of the background in it.
    isolated : array of bool, shape (n,)
        No other spot within four sigma.
    """

    n_frames: int
    frame: NDArray[np.intp]
    row: NDArray[np.intp]
    column: NDArray[np.intp]
    signal_adu: NDArray[np.float64]
    snr: NDArray[np.float64]
    isolated: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def isolated_share(self) -> float:
        """Share of spots without a neighbour."""
        return float(self.isolated.mean()) if len(self) else 0.0


def find_spots(
    sample: FrameSample, line: PhotonTransfer, ground: Background, sigma_px: float
) -> Spots:
    """Find the spots in up to ``MAX_FRAMES`` frames of a sample."""
    frames = np.concatenate(sample.runs)
    step = max(1, len(frames) // MAX_FRAMES)
    frames = frames[::step][:MAX_FRAMES]
    level = ground.map_adu(sample.shape)
    smooth = gaussian_filter1d(
        gaussian_filter1d(frames - level, sigma_px, axis=1), sigma_px, axis=2
    )
    # The kernel has the PSF's width: its overlap with the PSF is also the noise that it lets in.
    point = np.zeros(2 * int(6 * sigma_px) + 1)
    point[len(point) // 2] = 1.0
    kernel = gaussian_filter1d(point, sigma_px)
    overlap = float((kernel**2).sum() ** 2)
    variance = line.slope_adu * np.maximum(level - line.zero_adu, 1e-9)
    noise = np.sqrt(overlap * variance)
    size = 2 * max(1, round(sigma_px)) + 1
    peak = (smooth == maximum_filter(smooth, size=(1, size, size))) & (smooth > THRESHOLD * noise)
    border = int(np.ceil(2 * sigma_px))
    peak[:, :border] = peak[:, -border:] = False
    peak[:, :, :border] = peak[:, :, -border:] = False
    frame, row, column = np.nonzero(peak)
    signal = smooth[frame, row, column] / overlap
    brightest = _central_share(sigma_px) * signal
    return Spots(
        n_frames=len(frames),
        frame=frame,
        row=row,
        column=column,
        signal_adu=signal.astype(np.float64),
        snr=(brightest / np.sqrt(variance[row, column])).astype(np.float64),
        isolated=_isolated(frame, row, column, 4 * sigma_px),
    )


def _central_share(sigma_px: float) -> float:
    """Return the share of the light in the pixel at whose centre the molecule lies."""
    return float(erf(0.5 / (np.sqrt(2.0) * sigma_px)) ** 2)


def _isolated(
    frame: NDArray[np.intp], row: NDArray[np.intp], column: NDArray[np.intp], distance_px: float
) -> NDArray[np.bool_]:
    if not len(frame):
        return np.zeros(0, dtype=bool)
    points = np.column_stack([frame * (10 * distance_px), row, column])
    if len(frame) == 1:
        return np.ones(1, dtype=bool)
    distance, _ = KDTree(points).query(points, k=2)
    return np.asarray(np.asarray(distance)[:, 1] > distance_px)
