"""Background light: a level, a smooth structure over the field, and slow fading in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Background:
    """``b(t, y, x) = level · shape(y, x) · (1 + share·(exp(-t/tau) - 1))`` photons per pixel.

    Parameters
    ----------
    level_photons : float
        Mean over the field in frame 0.
    field : array, shape (y, x)
        Smooth structure of mean 1.
    bleached_share : float
        Share of the light that fades away, 0 to 1.
    bleaching_frames : float
        Time constant of the fading.
    """

    level_photons: float
    field: NDArray[np.float64]
    bleached_share: float
    bleaching_frames: float

    def photons(self, frame: int) -> NDArray[np.float64]:
        """Return the expected background photons of one frame, shape (y, x)."""
        fading = 1 + self.bleached_share * np.expm1(-frame / self.bleaching_frames)
        return self.level_photons * fading * self.field


def smooth_field(
    shape: tuple[int, int], relative_std: float, scale_px: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a positive smooth field of mean 1, shape (y, x): Gaussian hills on a plane.

    Parameters
    ----------
    shape : tuple of int
        (y, x).
    relative_std : float
        Standard deviation over the field; clipping at 0.1 lowers it where it is above about 0.4.
    scale_px : float
        Standard deviation of one hill, pixels.
    rng : numpy.random.Generator
        Places the hills.
    """
    height, width = shape
    if relative_std <= 0:
        return np.ones(shape)
    margin = 2 * scale_px
    covered = (height + 2 * margin) * (width + 2 * margin)
    n_hills = int(np.clip(covered / (2 * scale_px) ** 2, 4, 40))
    y0 = rng.uniform(-margin, height + margin, n_hills)
    x0 = rng.uniform(-margin, width + margin, n_hills)
    scales = scale_px * rng.uniform(0.7, 1.4, n_hills)
    weights = rng.exponential(1.0, n_hills)
    rows = np.exp(-0.5 * ((np.arange(height)[:, None] + 0.5 - y0) / scales) ** 2)
    columns = np.exp(-0.5 * ((np.arange(width)[:, None] + 0.5 - x0) / scales) ** 2)
    field = np.einsum("yk,xk->yx", rows * weights, columns)  # no threads for so small a product
    field -= field.mean()
    spread = field.std()
    if spread > 0:
        field *= relative_std / spread
    field = np.maximum(1 + field, 0.1)
    return field / field.mean()
