"""Point-spread functions: the share of an emitter's photons in every pixel.

Positions are in pixels from the outer corner of pixel (0, 0); z is in nm, 0 in focus. Every PSF is
integrated over the pixel and sums to 1 over the plane (science: forward model).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf

from hdsmlm.imaging.checks import require
from hdsmlm.imaging.gaussian_kernel import add_gaussians

_require = partial(require, "psf")


@dataclass(frozen=True)
class PsfImages:
    """Images of n emitters and their gradients, each of shape (n, y, x).

    ``by_x`` and ``by_y`` are per pixel, ``by_z`` per nm.
    """

    share: NDArray[np.float64]
    by_x: NDArray[np.float64]
    by_y: NDArray[np.float64]
    by_z: NDArray[np.float64]


@runtime_checkable
class Psf(Protocol):
    """A point-spread function."""

    @property
    def is_3d(self) -> bool:
        """Whether the shape changes with z."""

    def width_px(self, z_nm: ArrayLike) -> NDArray[np.float64]:
        """Return the lateral standard deviation of the core at depth z."""

    def images(
        self, x_px: ArrayLike, y_px: ArrayLike, z_nm: ArrayLike, shape: tuple[int, int]
    ) -> PsfImages:
        """Return the images of unit emitters in a field of ``shape`` (y, x), with gradients."""

    def add_to(
        self,
        stack: NDArray[np.float64],
        frame: NDArray[np.int64],
        position: NDArray[np.float64],
        photons: NDArray[np.float64],
        width_factor: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Add emitters to a (t, y, x) stack in place; return each one's share in its own pixel.

        ``position`` is (n, 3): x and y in pixels, z in nm. ``width_factor`` widens single emitters
        where the PSF can.
        """


@dataclass(frozen=True)
class GaussianPsf:
    """``h = ΔΦ(x)·ΔΦ(y)``: an isotropic Gaussian of ``sigma_px``, integrated over the pixel.

    References
    ----------
    Smith et al., Nat. Methods 7, 373 (2010).
    """

    sigma_px: float

    def __post_init__(self) -> None:
        _require(self.sigma_px > 0, "sigma_px must be above 0", self.sigma_px)

    @property
    def is_3d(self) -> bool:
        """The same at every depth."""
        return False

    def width_px(self, z_nm: ArrayLike) -> NDArray[np.float64]:
        """Return sigma, the same at every depth."""
        return np.full(np.shape(z_nm), self.sigma_px)

    def images(
        self, x_px: ArrayLike, y_px: ArrayLike, z_nm: ArrayLike, shape: tuple[int, int]
    ) -> PsfImages:
        """Return images and gradients; ``by_z`` is 0."""
        del z_nm
        x, y = np.atleast_1d(x_px).astype(float), np.atleast_1d(y_px).astype(float)
        sigma = np.full(len(x), self.sigma_px)
        return _gaussian_images(x, y, (sigma, sigma), (np.zeros_like(x), np.zeros_like(x)), shape)

    def add_to(
        self,
        stack: NDArray[np.float64],
        frame: NDArray[np.int64],
        position: NDArray[np.float64],
        photons: NDArray[np.float64],
        width_factor: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Add emitters to a stack; see :class:`Psf`."""
        sigma = np.full((len(frame), 2), self.sigma_px)
        if width_factor is not None:
            sigma *= width_factor[:, None]
        return add_gaussians(stack, frame, position, sigma, photons)


@dataclass(frozen=True)
class AstigmaticPsf:
    """A Gaussian with ``sigma_x(z)² = s²·(1 + ((z - f)/d)²)``, ``sigma_y`` with ``z + f``.

    The defocusing curve of Huang et al., Science 319, 810 (2008), without its higher-order terms.
    """

    sigma_px: float
    focus_offset_nm: float
    focal_depth_nm: float

    def __post_init__(self) -> None:
        _require(self.sigma_px > 0, "sigma_px must be above 0", self.sigma_px)
        _require(self.focal_depth_nm > 0, "focal_depth_nm must be above 0", self.focal_depth_nm)

    @property
    def is_3d(self) -> bool:
        """The two widths change with depth."""
        return True

    def sigmas_px(self, z_nm: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return sigma_x(z), sigma_y(z)."""
        z = np.asarray(z_nm, np.float64)
        u = (z - self.focus_offset_nm) / self.focal_depth_nm
        v = (z + self.focus_offset_nm) / self.focal_depth_nm
        return self.sigma_px * np.sqrt(1 + u * u), self.sigma_px * np.sqrt(1 + v * v)

    def width_px(self, z_nm: ArrayLike) -> NDArray[np.float64]:
        """Return the geometric mean of the two widths."""
        sigma_x, sigma_y = self.sigmas_px(z_nm)
        return np.sqrt(sigma_x * sigma_y)

    def images(
        self, x_px: ArrayLike, y_px: ArrayLike, z_nm: ArrayLike, shape: tuple[int, int]
    ) -> PsfImages:
        """Return images and gradients."""
        x, y = np.atleast_1d(x_px).astype(float), np.atleast_1d(y_px).astype(float)
        z = np.broadcast_to(np.asarray(z_nm, np.float64), x.shape)
        sigma_x, sigma_y = self.sigmas_px(z)
        scale = self.sigma_px**2 / self.focal_depth_nm**2
        slopes = (
            scale * (z - self.focus_offset_nm) / sigma_x,
            scale * (z + self.focus_offset_nm) / sigma_y,
        )
        return _gaussian_images(x, y, (sigma_x, sigma_y), slopes, shape)

    def add_to(
        self,
        stack: NDArray[np.float64],
        frame: NDArray[np.int64],
        position: NDArray[np.float64],
        photons: NDArray[np.float64],
        width_factor: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Add emitters to a stack; see :class:`Psf`."""
        sigma = np.column_stack(self.sigmas_px(position[:, 2]))
        if width_factor is not None:
            sigma *= width_factor[:, None]
        return add_gaussians(stack, frame, position, sigma, photons)


def _profile(
    centre: NDArray[np.float64], sigma: NDArray[np.float64], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return one axis of a Gaussian: share per pixel, and its slopes by centre and by sigma.

    Each of shape (n_emitters, n).
    """
    u = (np.arange(n + 1) - centre[:, None]) / sigma[:, None]
    cumulative = 0.5 * erf(u / math.sqrt(2))
    density = np.exp(-0.5 * u * u) / (math.sqrt(2 * math.pi) * sigma[:, None])
    share = np.diff(cumulative, axis=1)
    by_centre = -np.diff(density, axis=1)
    by_sigma = -np.diff(density * u, axis=1)
    return share, by_centre, by_sigma


def _gaussian_images(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    sigmas: tuple[NDArray[np.float64], NDArray[np.float64]],
    sigma_slopes: tuple[NDArray[np.float64], NDArray[np.float64]],
    shape: tuple[int, int],
) -> PsfImages:
    height, width = shape
    share_x, slope_x, widening_x = _profile(x, sigmas[0], width)
    share_y, slope_y, widening_y = _profile(y, sigmas[1], height)
    by_z_x = widening_x * sigma_slopes[0][:, None]
    by_z_y = widening_y * sigma_slopes[1][:, None]
    columns, rows = share_x[:, None, :], share_y[:, :, None]
    return PsfImages(
        share=rows * columns,
        by_x=rows * slope_x[:, None, :],
        by_y=slope_y[:, :, None] * columns,
        by_z=rows * by_z_x[:, None, :] + by_z_y[:, :, None] * columns,
    )
