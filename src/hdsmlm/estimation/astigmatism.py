"""The cheap alternative to a spline: widths of a Gaussian along x and y by depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import erf

from hdsmlm.config.psf import AstigmaticPsfConfig
from hdsmlm.imaging.psf import AstigmaticPsf
from hdsmlm.imaging.spline import SplinePsf

_HALF_WIDTH_PX = 7
_USED_WIDENING = 2.0
"""Depths where either width exceeds this multiple of its smallest are left out of the curve."""


@dataclass(frozen=True)
class AstigmatismFit:
    """Widths of the PSF by depth, and the curve through them.

    Parameters
    ----------
    z_nm, sigma_x_px, sigma_y_px : array, shape (depth,)
        Widths of the pixel-integrated Gaussian that is nearest to the PSF.
    used : array of bool, shape (depth,)
        Depths that the curve was fitted to.
    config : AstigmaticPsfConfig or None
        The curve; None when no curve of this kind describes the widths.
    middle_nm : float
        Depth, on the spline's scale, of the curve's z = 0.
    rms_px : float
        Root mean square of widths minus curve over the used depths.
    """

    z_nm: NDArray[np.float64]
    sigma_x_px: NDArray[np.float64]
    sigma_y_px: NDArray[np.float64]
    used: NDArray[np.bool_]
    config: AstigmaticPsfConfig | None
    middle_nm: float
    rms_px: float


def fit_astigmatism(psf: SplinePsf, depths: int = 41) -> AstigmatismFit:
    """Fit Gaussians to the PSF at many depths, and their widths with the curve of Huang et al.

    ``sigma_x(z)² = s²·(1 + ((z - m - f)/d)²)`` and ``sigma_y`` with ``+ f`` (Science 319, 810
    (2008)), m the depth midway between the two foci.
    """
    z = np.linspace(psf.z_min_nm, psf.z_max_nm, depths)
    size = 2 * _HALF_WIDTH_PX + 1
    middle = size / 2
    images = psf.images(np.full(depths, middle), np.full(depths, middle), z, (size, size)).share
    widths = np.array([_widths(image) for image in images])
    smallest = widths.min(axis=0)
    used = (widths < _USED_WIDENING * smallest).all(axis=1)
    offset = 0.5 * (z[widths[:, 0].argmin()] - z[widths[:, 1].argmin()])
    start = np.array([widths.min(), offset, 400.0, 0.0])

    def curve(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        psf = AstigmaticPsf(abs(theta[0]) + 1e-3, theta[1], abs(theta[2]) + 1e-3)
        return np.column_stack(psf.sigmas_px(z[used] - theta[3]))

    def residual(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        return (curve(theta) - widths[used]).ravel()

    fit = least_squares(residual, start, x_scale=(0.1, 50, 50, 50))
    sigma, offset, depth, centre = fit.x
    rms = float(np.sqrt(np.mean(np.square(fit.fun))))
    possible = 0.2 < abs(sigma) <= 10 and abs(offset) <= 2000 and 10 < abs(depth) <= 5000
    config = (
        AstigmaticPsfConfig(
            sigma_px=round(abs(sigma), 4),
            focus_offset_nm=round(offset, 2),
            focal_depth_nm=round(abs(depth), 2),
        )
        if possible
        else None
    )
    return AstigmatismFit(z, widths[:, 0], widths[:, 1], used, config, float(centre), rms)


def _widths(image: NDArray[np.float64]) -> tuple[float, float]:
    """Return sigma_x, sigma_y of the pixel-integrated Gaussian nearest to an image."""
    edges = [np.arange(n + 1) - n / 2 for n in image.shape]

    def profile(axis: int, centre: float, sigma: float) -> NDArray[np.float64]:
        return 0.5 * np.diff(erf((edges[axis] - centre) / (np.sqrt(2) * sigma)))

    def residual(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        model = theta[4] * np.outer(profile(0, theta[1], theta[3]), profile(1, theta[0], theta[2]))
        return (model - image).ravel() / image.max()

    start = np.array([0.0, 0.0, 1.8, 1.8, 1.0])
    lower = (-2.0, -2.0, 0.3, 0.3, 0.0)
    fit = least_squares(residual, start, bounds=(lower, (2.0, 2.0, 8.0, 8.0, 10.0)))
    return float(fit.x[2]), float(fit.x[3])
