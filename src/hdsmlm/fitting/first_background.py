"""The background that a space-time fit starts from, and how the light bleaches as a whole.

Smoothing over many frames cannot follow light that falls by half within them: where the background
stays below the data, the fit would fill the rest with blinks, as densely and regularly as they
find room. In such a window the background is ``g(t)·B(t, y, x)``: one level g per frame, which all
pixels determine, and a smooth B.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, zoom

LOWEST_PHOTONS = 0.02
"""Photons per pixel that a background has at least."""

_BLOCK_PX = 16
_PERCENTILE = 30
_TREND_FRAMES = 5.0
_STEADY = 1.25
"""Ratio of the highest to the lowest level, over time, up to which smoothing follows."""


def frame_levels(photons: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the level of each frame, mean 1; None where the light is steady.

    Parameters
    ----------
    photons : array, shape (t, y, x)
        Data above the camera's offset.

    Returns
    -------
    array of shape (t,), or None
        A lower percentile of each frame; its trend (smoothed over five frames, so that the chance
        number of emitters counts little) decides whether it is steady.
    """
    level = np.maximum(np.percentile(photons, _PERCENTILE, axis=(1, 2)), LOWEST_PHOTONS)
    trend = gaussian_filter1d(level, _TREND_FRAMES, mode="nearest")
    if trend.max() <= _STEADY * trend.min():
        return None
    return np.asarray(level / level.mean())


def first_background(
    photons: NDArray[np.float64], levels: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return a smooth lower percentile of the photons times the level, shape (t, y, x)."""
    steady = photons if levels is None else photons / levels[:, None, None]
    _, height, width = photons.shape
    rows, columns = max(1, round(height / _BLOCK_PX)), max(1, round(width / _BLOCK_PX))
    coarse = np.array(
        [
            [np.percentile(part, _PERCENTILE) for part in np.array_split(band, columns, axis=2)]
            for band in np.array_split(steady, rows, axis=1)
        ]
    )
    fine = zoom(coarse, (height / rows, width / columns), order=1, mode="nearest", grid_mode=True)
    smooth = np.maximum(gaussian_filter(fine, _BLOCK_PX / 2, mode="nearest"), LOWEST_PHOTONS)
    whole = np.broadcast_to(smooth, photons.shape).copy()
    if levels is not None:
        whole *= levels[:, None, None]
    return np.maximum(whole, LOWEST_PHOTONS)
