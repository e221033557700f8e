"""How strongly and how long molecules shine, from the flicker of a movie of any density.

Frames are smoothed by a Gaussian as wide as the PSF. For molecules whose on-times are exponential
with mean τ_on the mean squared difference of frames ``lag`` apart is

``D(lag) = a + A·(1 - q^lag)``,  ``q = exp(-1/τ_on)``,

because the light of frames at least one apart correlates as ``q^lag``, whatever part of a frame a
blink begins in. Light that does not change and the noise have no part in A and q (a holds the
noise).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from hdsmlm.estimation.sample import FrameSample

MAX_LAG_FRAMES = 6
_ON_FRAMES = np.geomspace(0.3, 30, 80)


@dataclass(frozen=True)
class Flicker:
    """What changes from frame to frame.

    Parameters
    ----------
    on_frames : float or None
        Mean on-time; None where the runs of frames are too short or nothing flickers.
    covariance_adu2 : float
        Covariance of neighbouring pixels in the difference of two consecutive frames: free of
        noise, and in proportion to emitters per pixel times their squared light.
    """

    on_frames: float | None
    covariance_adu2: float


def flicker(sample: FrameSample, sigma_px: float) -> Flicker:
    """Measure the flicker of a sample of frames."""
    total = weight = 0.0
    for run in sample.runs:
        difference = np.diff(run, axis=0)
        difference -= difference.mean(axis=(1, 2), keepdims=True)
        for ahead, behind in (
            (difference[:, 1:], difference[:, :-1]),
            (difference[:, :, 1:], difference[:, :, :-1]),
        ):
            total += float((ahead * behind).sum(dtype=np.float64))
            weight += ahead.size
    return Flicker(_on_frames(sample, sigma_px), max(total / weight, 0.0))


def _on_frames(sample: FrameSample, sigma_px: float) -> float | None:
    n_lags = min(MAX_LAG_FRAMES, min(len(run) for run in sample.runs) - 2)
    if n_lags < 3:
        return None
    lags = np.arange(1, n_lags + 1)
    squares, counts = np.zeros(n_lags), np.zeros(n_lags)
    for run in sample.runs:
        smooth = gaussian_filter1d(gaussian_filter1d(run, sigma_px, axis=1), sigma_px, axis=2)
        smooth -= smooth.mean(axis=(1, 2), keepdims=True)
        for k, lag in enumerate(lags):
            difference = smooth[lag:] - smooth[:-lag]
            squares[k] += float((difference**2).sum(dtype=np.float64))
            counts[k] += difference.size
    return _decay(lags, squares / counts)


def _decay(lags: NDArray[np.intp], structure: NDArray[np.float64]) -> float | None:
    """Return the on-time whose curve fits best; None where the curve does not rise."""
    best, found = np.inf, None
    for on_frames in _ON_FRAMES:
        design = np.column_stack([np.ones(len(lags)), 1 - np.exp(-lags / on_frames)])
        solution = np.linalg.lstsq(design, structure, rcond=None)[0]
        misfit = float(((design @ solution - structure) ** 2).sum())
        if solution[1] > 0 and misfit < best:
            best, found = misfit, float(on_frames)
    return found
