"""Bring beads into register: 3D cross-correlation first, then least squares against the model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift
from scipy.signal import fftconvolve

_CORE_PX = 8
_LATERAL_REACH_PX = 3


@dataclass(frozen=True)
class Registration:
    """Where each bead lies, and how bright it is; arrays of shape (bead,).

    Parameters
    ----------
    x_px, y_px : array
        Distance from the middle of its region's central pixel.
    z_planes : array
        Plane of its stack in which it is in focus.
    amplitude, background : array
        Sum over the plane in focus, and the constant below it, ADU.
    """

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    z_planes: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    background: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.x_px)

    def take(self, chosen: NDArray[np.generic]) -> Registration:
        """Return the chosen beads."""
        return Registration(
            self.x_px[chosen],
            self.y_px[chosen],
            self.z_planes[chosen],
            self.amplitude[chosen],
            self.background[chosen],
        )

    def moved(self, x_px: float, y_px: float, z_planes: float) -> Registration:
        """Return the same beads with another choice of the model's centre."""
        return replace(
            self,
            x_px=self.x_px + x_px,
            y_px=self.y_px + y_px,
            z_planes=self.z_planes + z_planes,
        )


def border_mean(volume: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the outermost ring of pixels of each plane of (..., z, y, x)."""
    inner = volume[..., 1:-1, 1:-1]
    total = volume.sum(axis=(-2, -1)) - inner.sum(axis=(-2, -1))
    return total / (volume.shape[-1] * volume.shape[-2] - inner.shape[-1] * inner.shape[-2])


def register(volumes: NDArray[np.float64], rounds: int = 3) -> Registration:
    """Align beads by 3D cross-correlation with their running mean.

    The peak of the correlation is located below the pixel by a parabola along each axis.

    Parameters
    ----------
    volumes : array, shape (bead, z, y, x), ADU
        Regions with the bead near the middle.
    rounds : int
        Times the mean is formed anew.
    """
    n, planes = volumes.shape[:2]
    sharpness = gaussian_filter(volumes, (0, 2, 1, 1)).max(axis=(2, 3))
    focus = sharpness.argmax(axis=1)
    near = np.abs(np.arange(planes) - focus[:, None]) <= max(planes // 6, 1)
    background = (border_mean(volumes) * near).sum(axis=1) / near.sum(axis=1)
    light = volumes - background[:, None, None, None]
    amplitude = (light.sum(axis=(2, 3)) * near).sum(axis=1) / near.sum(axis=1)
    radius = volumes.shape[2] // 2
    low = max(radius - _CORE_PX, 0)
    core = np.s_[:, :, low : volumes.shape[2] - low, low : volumes.shape[3] - low]
    scaled = (light / amplitude[:, None, None, None])[core]
    reference = scaled[np.argsort(amplitude)[n // 2]]
    offsets = np.zeros((n, 3))
    for _ in range(rounds if n > 1 else 0):
        offsets = np.stack([_offset(bead, reference) for bead in scaled])
        offsets -= np.median(offsets, axis=0)
        pairs = zip(scaled, offsets, strict=True)
        reference = np.mean(
            [shift(bead, -offset, order=3, mode="nearest") for bead, offset in pairs], axis=0
        )
    middle = float(gaussian_filter(reference, (2, 1, 1)).max(axis=(1, 2)).argmax())
    return Registration(offsets[:, 2], offsets[:, 1], middle + offsets[:, 0], amplitude, background)


def _offset(bead: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (z, y, x) by which ``bead`` lies further than ``reference``."""
    correlation = fftconvolve(
        bead - bead.mean(), (reference - reference.mean())[::-1, ::-1, ::-1], mode="same"
    )
    zero = np.array(correlation.shape) // 2
    reach = np.array([zero[0] - 1, _LATERAL_REACH_PX, _LATERAL_REACH_PX])
    lower = np.maximum(zero - reach, 1)
    upper = np.minimum(zero + reach + 1, np.array(correlation.shape) - 1)
    window = correlation[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))]
    peak = np.array(np.unravel_index(window.argmax(), window.shape)) + lower
    fine = np.zeros(3)
    for axis in range(3):
        around = [tuple(peak + step * np.eye(3, dtype=int)[axis]) for step in (-1, 0, 1)]
        before, at, after = (correlation[place] for place in around)
        curvature = before - 2 * at + after
        fine[axis] = 0.5 * (before - after) / curvature if curvature < 0 else 0.0
    return peak - zero + np.clip(fine, -1, 1)
