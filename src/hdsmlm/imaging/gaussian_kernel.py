"""Add emitters to frames of expected photons: the one hot loop of the simulator, in Numba."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit

TRUNCATION_SIGMAS = 4.5
"""Half-width of the box that is drawn, in standard deviations; 1.4e-5 of the light is outside."""


@njit(nogil=True, cache=True)
def add_gaussians(
    stack: NDArray[np.float64],
    frame: NDArray[np.int64],
    position: NDArray[np.float64],
    sigma: NDArray[np.float64],
    photons: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Add pixel-integrated Gaussians to a stack and return each one's share in its brightest pixel.

    Parameters
    ----------
    stack : array, shape (t, y, x)
        Expected photons; added to in place.
    frame : array, shape (n,)
        Index into t.
    position : array, shape (n, 2)
        x, y in pixels from the outer corner; may lie outside the frame.
    sigma : array, shape (n, 2)
        Standard deviations along x and y, pixels.
    photons : array, shape (n,)
        Photons of each emitter in its frame.
    """
    _, height, width = stack.shape
    peak = np.empty(len(frame))
    profile_x = np.empty(256)
    for i in range(len(frame)):
        x, y = position[i, 0], position[i, 1]
        sx, sy = sigma[i, 0], sigma[i, 1]
        kx = 1.0 / (math.sqrt(2.0) * sx)
        ky = 1.0 / (math.sqrt(2.0) * sy)
        half_x, half_y = 0.5 - (x - math.floor(x)), 0.5 - (y - math.floor(y))
        peak[i] = _bin(half_x, kx) * _bin(half_y, ky)
        radius_x = min(math.ceil(TRUNCATION_SIGMAS * sx), 120)
        radius_y = math.ceil(TRUNCATION_SIGMAS * sy)
        first_x = max(math.floor(x) - radius_x, 0)
        last_x = min(math.floor(x) + radius_x + 1, width)
        first_y = max(math.floor(y) - radius_y, 0)
        last_y = min(math.floor(y) + radius_y + 1, height)
        if first_x >= last_x or first_y >= last_y:
            continue
        left = math.erf((first_x - x) * kx)
        for column in range(first_x, last_x):
            right = math.erf((column + 1 - x) * kx)
            profile_x[column - first_x] = 0.5 * (right - left) * photons[i]
            left = right
        below = math.erf((first_y - y) * ky)
        for row in range(first_y, last_y):
            above = math.erf((row + 1 - y) * ky)
            share = 0.5 * (above - below)
            below = above
            target = stack[frame[i], row, first_x:last_x]
            for column in range(len(target)):
                target[column] += share * profile_x[column]
    return peak


@njit(nogil=True, cache=True, inline="always")
def _bin(centre: float, k: float) -> float:
    """Integral of a Gaussian over the pixel whose centre lies ``centre`` away."""
    return 0.5 * (math.erf((centre + 0.5) * k) - math.erf((centre - 0.5) * k))
