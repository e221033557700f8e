"""The loops of rendering, in Numba."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit

TRUNCATION_SIGMAS = 4.0
"""Half-width of the box that is drawn; what lies outside is given to the pixels inside."""


@njit(nogil=True, cache=True)
def add_counts(
    image: NDArray[np.float32],
    position: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> None:
    """Add ``weight`` of each point to the pixel that holds it; outside of the image: nothing."""
    height, width = image.shape
    for i in range(len(position)):
        x, y = position[i, 0], position[i, 1]
        if 0 <= x < width and 0 <= y < height:
            image[int(y), int(x)] += weight[i]


@njit(nogil=True, cache=True)
def add_normalized_gaussians(
    image: NDArray[np.float32],
    position: NDArray[np.float64],
    sigma: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> None:
    """Add pixel-integrated Gaussians whose drawn box sums to ``weight``.

    Parameters
    ----------
    image : array, shape (y, x)
        Added to in place; parts of a box that lie outside are lost.
    position, sigma : array, shape (n, 2)
        x, y in pixels from the outer corner of the image.
    weight : array, shape (n,)
        Sum of each Gaussian.
    """
    height, width = image.shape
    for i in range(len(position)):
        x, y = position[i, 0], position[i, 1]
        sx, sy = max(sigma[i, 0], 1e-3), max(sigma[i, 1], 1e-3)
        left = math.floor(x - TRUNCATION_SIGMAS * sx)
        right = math.floor(x + TRUNCATION_SIGMAS * sx)
        top = math.floor(y - TRUNCATION_SIGMAS * sy)
        bottom = math.floor(y + TRUNCATION_SIGMAS * sy)
        if right < 0 or left >= width or bottom < 0 or top >= height:
            continue
        kx, ky = 1 / (math.sqrt(2.0) * sx), 1 / (math.sqrt(2.0) * sy)
        whole_x = math.erf((right + 1 - x) * kx) - math.erf((left - x) * kx)
        whole_y = math.erf((bottom + 1 - y) * ky) - math.erf((top - y) * ky)
        share = weight[i] / (whole_x * whole_y)
        first, last = max(left, 0), min(right, width - 1)
        profile = np.empty(last - first + 1)
        before = math.erf((first - x) * kx)
        for column in range(first, last + 1):
            after = math.erf((column + 1 - x) * kx)
            profile[column - first] = after - before
            before = after
        start = max(top, 0)
        before = math.erf((start - y) * ky)
        for row in range(start, min(bottom, height - 1) + 1):
            after = math.erf((row + 1 - y) * ky)
            factor = share * (after - before)
            before = after
            for column in range(len(profile)):
                image[row, first + column] += factor * profile[column]
