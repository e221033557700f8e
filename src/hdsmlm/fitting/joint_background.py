"""The background of a window while its blinks are fitted: smooth in space and time.

Each renewal adds the smoothed residual of the model, weighted by its information:

``b <- b + S(r/M) / S(1/M)``,  r = data - M, with S a Gaussian average over frames and pixels.

Where the light bleaches (:mod:`hdsmlm.fitting.first_background`) the background is a level per
frame times a smooth image, and both are renewed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.spacetime import SpaceTimeConfig
from hdsmlm.fitting.blink_kernels import CELL_PX, LEAST_MODEL, Window
from hdsmlm.fitting.first_background import LOWEST_PHOTONS, first_background
from hdsmlm.fitting.smoothing import Smoother

NOTED_STEP = 5e-3
"""Change of the background, relative to its mean, from which blinks are looked at again."""


class JointBackground:
    """Background of a window, shape (t, y, x).

    Parameters
    ----------
    photons : array, shape (t, y, x)
        Data above the camera's offset, to begin with.
    levels : array, shape (t,), or None
        Level of the light in each frame, where it bleaches.
    config : SpaceTimeConfig
        Widths of the smoothing.

    Attributes
    ----------
    image : array, shape (t, y, x), photons per pixel
        The background.
    """

    def __init__(
        self,
        photons: NDArray[np.float64],
        levels: NDArray[np.float64] | None,
        config: SpaceTimeConfig,
    ) -> None:
        self.image = first_background(photons, levels)
        self._levels, self._config = levels, config
        self._smoother = Smoother(photons.shape, config.background_frames, config.background_px)
        self._renewals = 0
        self._noted = _at_cells(self.image)

    def renew(self, window: Window, now: int) -> None:
        """Renew the background and the model; stamp the cells in which that matters with ``now``.

        Small changes add up until they matter.
        """
        self._renewals += 1
        weight, residual = _weighted_residual(window)
        if self._levels is None:
            self._move(window, self._smoother(residual) / self._smoother(weight))
        else:
            level = self._levels[:, None, None]
            change = self._smoother(level * residual) / self._smoother(level**2 * weight)
            self._move(window, level * change)
            weight, residual = _weighted_residual(window)
            step = (residual * self.image).sum(axis=(1, 2))
            step /= (weight * self.image**2).sum(axis=(1, 2))
            step = np.clip(step, -0.5, 1.0)
            self._levels = self._levels * (1 + step)
            self._move(window, step[:, None, None] * self.image)
        moved = _at_cells(self.image) - self._noted
        matters = np.abs(moved) > NOTED_STEP * self.image.mean()
        window.stamps[matters] = now
        self._noted[matters] += moved[matters]

    def standard_error(self, window: Window) -> NDArray[np.float64]:
        """Return the standard error, shape (t, y, x), photons per pixel."""
        weight, _ = _weighted_residual(window)
        return 1.0 / np.sqrt(self._smoother(weight) * self._smoothing_volume())

    def _move(self, window: Window, change: NDArray[np.float64]) -> None:
        new = np.maximum(self.image + change, LOWEST_PHOTONS)
        window.model[:] += window.scale * (new - self.image)
        self.image = new

    def _smoothing_volume(self) -> float:
        """Return how many pixels and frames the background averages over.

        After n renewals the transfer function is ``1 - (1 - S)ⁿ`` with ``S = exp(-q²/2)`` of one
        smoothing; the variance of white noise shrinks by the integral of its square.
        """
        config, n_frames = self._config, len(self.image)
        in_time = 2 * math.sqrt(math.pi) * config.background_frames
        volume = 4 * math.pi * config.background_px**2 * min(in_time, n_frames)
        q = np.linspace(0.0, 8.0, 801)
        shell = q ** (2 if in_time < n_frames else 1)
        once = np.exp(-0.5 * q**2)
        often = 1.0 - (1.0 - once) ** max(self._renewals, 1)
        return float(volume * (shell * once**2).sum() / (shell * often**2).sum())


def _weighted_residual(window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the information on a photon of background, and the slope of the likelihood."""
    share = window.scale / np.maximum(window.model, LEAST_MODEL)
    return share * window.scale, (window.counts - window.model) * share


def _at_cells(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values in the middle of the cells of a window's stamps."""
    row, column = (
        np.minimum(np.arange(size // CELL_PX + 1) * CELL_PX + CELL_PX // 2, size - 1)
        for size in image.shape[1:]
    )
    return image[:, row[:, None], column]
