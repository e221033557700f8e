"""Smoothing of a stack by a wide Gaussian, on a coarse grid: fast, and as smooth as is wanted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Smoother:
    """Averages (t, y, x) with a Gaussian of given widths; constants stay what they are.

    Along each axis the stack is averaged over blocks of about half a standard deviation, the blocks
    are smoothed, and the result is interpolated linearly between their centres. All three are one
    small matrix per axis, whose rows sum to 1.

    Parameters
    ----------
    shape : tuple of int
        (t, y, x).
    sigma_frames, sigma_px : float
        Standard deviations.
    """

    def __init__(self, shape: tuple[int, ...], sigma_frames: float, sigma_px: float) -> None:
        sigmas = (sigma_frames, sigma_px, sigma_px)
        self._axes = [_factors(size, sigma) for size, sigma in zip(shape, sigmas, strict=True)]

    def __call__(self, stack: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the smoothed stack."""
        for axis in (2, 1, 0):
            stack = _along(self._axes[axis][0], stack, axis)
        for axis in (0, 1, 2):
            stack = _along(self._axes[axis][1], stack, axis)
        return stack


def _factors(size: int, sigma: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (blocks, size), which averages and smooths, and (size, blocks), which interpolates."""
    count = max(1, min(size, round(size / max(1.0, sigma / 2))))
    owner = np.arange(size) * count // size
    blocks = (owner == np.arange(count)[:, None]).astype(np.float64)
    blocks /= blocks.sum(axis=1, keepdims=True)
    centre = blocks @ np.arange(size, dtype=np.float64)
    kernel = np.exp(-0.5 * ((centre[:, None] - centre) / sigma) ** 2)
    smooth = (kernel / kernel.sum(axis=1, keepdims=True)) @ blocks
    hats = np.array([np.interp(np.arange(size), centre, row) for row in np.eye(count)])
    return smooth, np.ascontiguousarray(hats.T)


def _along(
    matrix: NDArray[np.float64], stack: NDArray[np.float64], axis: int
) -> NDArray[np.float64]:
    return np.moveaxis(np.tensordot(matrix, stack, axes=(1, axis)), 0, axis)
