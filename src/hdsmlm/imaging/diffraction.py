"""Scalar diffraction PSF: a tabulated pupil integral, integrated over the pixel.

In the sample plane, at distance r from the axis and defocus z,

``I(r, z) = | ∫_0^1 J0(k·NA·r·s) · exp(i·k·z·sqrt(n² - NA²·s²)) · s ds |²``, ``k = 2π/λ``:

the Airy pattern in focus, symmetric in z (Born & Wolf, Principles of Optics, 8.8, with the exact
defocus phase; the model of Gibson & Lanni, J. Opt. Soc. Am. A 9, 154 (1992) for matched indices).

The table holds the integral C(x, y) of I over the rectangle from the axis to (x, y); the share of a
pixel is a second difference of C, so the sum over all pixels is 1 exactly. Light further than
``REACH_PX`` from the axis on either side is counted into the shares within.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline, RectBivariateSpline
from scipy.special import erf, j0

from hdsmlm.config.psf import DiffractionPsfConfig
from hdsmlm.imaging.psf import PsfImages
from hdsmlm.imaging.stamp_kernel import add_stamps, tabulate_stamps

REACH_PX = 12
"""Half-width of the table."""
PHASES = 10
"""Table steps per pixel."""
_PLANE_NM = 60.0
_PUPIL_NODES = 80
SIGMA_PER_WAVELENGTH_OVER_NA = 0.21
"""Gaussian core of the Airy pattern: 0.21·λ/NA (Zhang et al., Appl. Opt. 46, 1819, 2007)."""


@dataclass(frozen=True)
class DiffractionPsf:
    """Diffraction PSF with defocus.

    Depths beyond ``max_defocus_nm`` are drawn as at that depth.

    Examples
    --------
    >>> from hdsmlm.config.psf import DiffractionPsfConfig
    >>> psf = DiffractionPsf(DiffractionPsfConfig())
    >>> round(float(psf.images(12.3, 12.6, 0.0, (25, 25)).share.sum()), 6)
    1.0
    """

    config: DiffractionPsfConfig

    @property
    def is_3d(self) -> bool:
        """Defocus changes the shape."""
        return True

    def width_px(self, z_nm: ArrayLike) -> NDArray[np.float64]:
        """Return sigma of the Gaussian with the same share in its central pixel.

        An emitter in a pixel's centre gives it the share ``h = erf(1 / (2·sqrt(2)·sigma))²``;
        solved for sigma on a grid.
        """
        sigmas = np.geomspace(0.2, 12, 400)
        shares = erf(0.5 / (np.sqrt(2) * sigmas)) ** 2
        half = PHASES // 2
        central = 4 * self._cumulative[:, REACH_PX * PHASES + half, REACH_PX * PHASES + half]
        by_plane = np.interp(-central, -shares, sigmas)
        return np.interp(np.abs(np.asarray(z_nm, np.float64)), self._planes_nm, by_plane)

    def add_to(
        self,
        stack: NDArray[np.float64],
        frame: NDArray[np.int64],
        position: NDArray[np.float64],
        photons: NDArray[np.float64],
        width_factor: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Add emitters to a stack, linear between table entries; the width factor is not used."""
        del width_factor
        steps = len(self._planes_nm) - 1
        plane = np.abs(position[:, 2]) * (steps / max(self.config.max_defocus_nm, 1e-9))
        return add_stamps(stack, frame, position, np.minimum(plane, steps), photons, self._stamps)

    def images(
        self, x_px: ArrayLike, y_px: ArrayLike, z_nm: ArrayLike, shape: tuple[int, int]
    ) -> PsfImages:
        """Return images and gradients, cubic between table entries."""
        x, y = np.atleast_1d(x_px).astype(float), np.atleast_1d(y_px).astype(float)
        z = np.broadcast_to(np.asarray(z_nm, np.float64), x.shape)
        parts = [self._image(*place, shape) for place in zip(x, y, z, strict=True)]
        share, by_x, by_y, by_z = (np.stack(kind) for kind in zip(*parts, strict=True))
        return PsfImages(share, by_x, by_y, by_z)

    def _image(
        self, x: float, y: float, z: float, shape: tuple[int, int]
    ) -> tuple[NDArray[np.float64], ...]:
        height, width = shape
        raw_x, raw_y = np.arange(width + 1) - x, np.arange(height + 1) - y
        edge_x, edge_y = (np.clip(raw, -REACH_PX, REACH_PX) for raw in (raw_x, raw_y))
        inside_x, inside_y = np.abs(raw_x) < REACH_PX, np.abs(raw_y) < REACH_PX
        planes = np.stack([s(edge_y, edge_x) for s in self._splines])
        slopes_x = np.stack([s(edge_y, edge_x, dy=1) for s in self._splines]) * inside_x
        slopes_y = np.stack([s(edge_y, edge_x, dx=1) for s in self._splines]) * inside_y[:, None]
        value, slope_x, slope_y, slope_z = self._at_depth(z, planes, slopes_x, slopes_y)
        return (_pixels(value), -_pixels(slope_x), -_pixels(slope_y), _pixels(slope_z))

    def _at_depth(
        self,
        z: float,
        planes: NDArray[np.float64],
        slopes_x: NDArray[np.float64],
        slopes_y: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], ...]:
        """Interpolate the planes at depth z; their slope at z = 0 is 0 by symmetry."""
        if len(self._planes_nm) == 1:
            return planes[0], slopes_x[0], slopes_y[0], np.zeros_like(planes[0])
        depth = min(abs(z), self.config.max_defocus_nm)
        stacked = np.stack([planes, slopes_x, slopes_y], axis=1)
        start = np.zeros(stacked.shape[1:])
        spline = CubicSpline(self._planes_nm, stacked, bc_type=((1, start), (2, start)))
        value, slope_x, slope_y = spline(depth)
        outward = np.sign(z) * (abs(z) <= self.config.max_defocus_nm)
        return value, slope_x, slope_y, spline(depth, 1)[0] * outward

    @cached_property
    def _planes_nm(self) -> NDArray[np.float64]:
        deepest = self.config.max_defocus_nm
        if deepest == 0:
            return np.zeros(1)
        return np.linspace(0, deepest, max(4, int(np.ceil(deepest / _PLANE_NM)) + 1))

    def radial_profile(
        self, r_nm: NDArray[np.float64], z_nm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return I(r, z), shape (z, r), not normalized; 1/4 on the axis in focus."""
        c = self.config
        s, weights = _pupil_nodes()
        k = 2 * np.pi / c.wavelength_nm
        lateral = j0(k * c.numerical_aperture * r_nm[:, None] * s)
        axial = np.sqrt(c.refractive_index**2 - (c.numerical_aperture * s) ** 2)
        phase = k * z_nm[:, None] * (axial - c.refractive_index)
        pupil = weights * s * np.stack([np.cos(phase), np.sin(phase)])
        field = np.einsum("azs,rs->azr", pupil, lateral)
        return np.square(field).sum(axis=0)

    @cached_property
    def _cumulative(self) -> NDArray[np.float64]:
        """C on a grid of ``PHASES`` steps per pixel, shape (plane, y, x), odd in x and y."""
        n = REACH_PX * PHASES
        centre_px = (np.arange(n) + 0.5) / PHASES
        r_px = np.hypot(centre_px[:, None], centre_px)
        grid_px = np.linspace(0, REACH_PX * np.sqrt(2), 4000)
        coarse_px = np.linspace(0, REACH_PX * np.sqrt(2), 400)
        profile = self.radial_profile(coarse_px * self.config.pixel_size_nm, self._planes_nm)
        dense = CubicSpline(coarse_px, profile, axis=1)(grid_px)
        nearest = np.rint(r_px * ((len(grid_px) - 1) / grid_px[-1])).astype(np.intp)
        cells = np.take(dense, nearest, axis=1)
        quadrant = np.zeros((len(cells), n + 1, n + 1))
        np.cumsum(np.cumsum(cells, axis=1), axis=2, out=quadrant[:, 1:, 1:])
        quadrant /= 4 * quadrant[:, -1:, -1:]
        half = np.concatenate([-quadrant[:, :0:-1], quadrant], axis=1)
        return np.concatenate([-half[:, :, :0:-1], half], axis=2)

    @cached_property
    def _splines(self) -> list[RectBivariateSpline]:
        axis = np.linspace(-REACH_PX, REACH_PX, 2 * REACH_PX * PHASES + 1)
        return [RectBivariateSpline(axis, axis, plane) for plane in self._cumulative]

    @cached_property
    def _stamps(self) -> NDArray[np.float32]:
        """Images at every phase, shape (plane, phase_y, phase_x, 2·reach + 1, 2·reach + 1)."""
        return tabulate_stamps(self._cumulative, REACH_PX, PHASES)


@cache
def _pupil_nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Gauss-Legendre nodes and weights on 0 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(_PUPIL_NODES)
    return 0.5 * (nodes + 1), 0.5 * weights


def _pixels(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn a cumulative integral at pixel corners into integrals over pixels."""
    return np.diff(np.diff(corners, axis=0), axis=1)
