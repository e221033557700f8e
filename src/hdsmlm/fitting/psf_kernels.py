"""Point-spread functions for the fit: image and exact gradient of one emitter, in Numba.

Each kind is built from the object that the simulator draws with (:mod:`hdsmlm.imaging.psf`), so the
two cannot drift apart. An emitter is four numbers: photons N, x, y (pixels) and a *shape* s, which
is the width sigma (pixels) of a Gaussian and the depth z (nm) of a three-dimensional PSF.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit
from hdsmlm.errors import ConfigError
from hdsmlm.imaging.psf import AstigmaticPsf, GaussianPsf, Psf
from hdsmlm.imaging.spline import SplinePsf
from hdsmlm.imaging.spline_kernel import spline_patch

GAUSSIAN, ASTIGMATIC, SPLINE = 0, 1, 2

SUPPORT_SIGMAS = 5.0
"""A Gaussian is drawn to this many standard deviations; 1e-6 of the light is outside."""

PHOTONS, X, Y, SHAPE = 0, 1, 2, 3
"""Order of an emitter's parameters and of the layers of a patch."""

FASTMATH = {"reassoc", "contract", "nsz", "arcp"}
"""Sums may be reordered by the compiler, the same on every run; NaN and infinity keep sense."""


class PsfKernel(NamedTuple):
    """What :func:`fill_patch` needs to know of a PSF.

    Parameters
    ----------
    kind : int
        Which formula.
    numbers : array, shape (n,)
        Its constants.
    coefficients : array, shape (z, y, x, 64)
        Of a spline (:mod:`hdsmlm.imaging.spline`); empty for the others.
    """

    kind: int
    numbers: NDArray[np.float64]
    coefficients: NDArray[np.float32]


@dataclass(frozen=True)
class FittablePsf:
    """A PSF as the fit sees it.

    Parameters
    ----------
    kernel : PsfKernel
        Its image and gradient.
    is_3d : bool
        Whether the shape is a depth.
    sigma_px : float
        Width in focus: the unit of distances between emitters.
    reach_px : float
        Width that the pixels of a fit must cover, largest over the middle half of the depths.
    support_px : float
        Farthest that the light reaches along an axis.
    width_of : callable
        Lateral standard deviation (pixels) at given shapes.
    shape_start : float
        Shape where nothing else is known: sigma (pixels) or z = 0.
    shape_low, shape_high : float
        Range of the shape.
    """

    kernel: PsfKernel
    is_3d: bool
    sigma_px: float
    reach_px: float
    support_px: float
    width_of: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    shape_start: float
    shape_low: float
    shape_high: float


def fittable_psf(psf: Psf, z_range_nm: tuple[float, float] | None = None) -> FittablePsf:
    """Return the fit's form of a PSF.

    Parameters
    ----------
    psf : Psf
        A Gaussian, an astigmatic Gaussian or a spline.
    z_range_nm : pair of float, optional
        Depths to search; by default the foci and one focal depth beyond either, or the table of
        the spline.

    Raises
    ------
    ConfigError
        For a PSF that has no kernel here.
    """
    none = np.empty((0, 0, 0, 0), np.float32)
    if isinstance(psf, GaussianPsf):
        sigma = psf.sigma_px
        kernel = PsfKernel(GAUSSIAN, np.array([sigma]), none)
        support = SUPPORT_SIGMAS * sigma
        return FittablePsf(
            kernel, False, sigma, sigma, support, np.array, sigma, 0.5 * sigma, 2.0 * sigma
        )
    if isinstance(psf, AstigmaticPsf):
        numbers = np.array([psf.sigma_px, psf.focus_offset_nm, psf.focal_depth_nm])
        reach = abs(psf.focus_offset_nm) + psf.focal_depth_nm
        low, high = z_range_nm or (-reach, reach)
        sigma = float(psf.width_px(0.0))
        middle = _inside(low, high)
        widest = float(np.max(psf.sigmas_px(_middle_half(low, middle, high))))
        support = SUPPORT_SIGMAS * float(np.max(psf.sigmas_px(np.array([low, high]))))
        kernel = PsfKernel(ASTIGMATIC, numbers, none)
        return FittablePsf(kernel, True, sigma, widest, support, psf.width_px, middle, low, high)
    if isinstance(psf, SplinePsf):
        low, high = z_range_nm or (psf.z_min_nm, psf.z_max_nm)
        low, high = max(low, psf.z_min_nm), min(high, psf.z_max_nm)
        middle = _inside(low, high)
        sigma = float(psf.width_px(middle))
        widest = float(np.max(psf.width_px(_middle_half(low, middle, high))))
        kernel = PsfKernel(SPLINE, np.array([psf.z_min_nm, psf.z_step_nm]), psf.coefficients)
        support = max(psf.coefficients.shape[1:3]) / 2 + 1
        return FittablePsf(kernel, True, sigma, widest, support, psf.width_px, middle, low, high)
    raise ConfigError(
        f"psf: the fit has no kernel for a {type(psf).__name__}; use a Gaussian, an astigmatic "
        "Gaussian or a spline calibrated from beads"
    )


def _inside(low: float, high: float) -> float:
    """Return the depth in focus, or the middle of a range that does not hold it."""
    return 0.0 if low < 0 < high else (low + high) / 2


def _middle_half(low: float, middle: float, high: float) -> NDArray[np.float64]:
    """Return depths from half way below the middle to half way above it."""
    return np.linspace((low + middle) / 2, (high + middle) / 2, 9)


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _profile(centre, sigma, first, low, high, out):  # type: ignore[no-untyped-def]
    """Fill share, slope by centre and slope by sigma of the pixels low..high-1 along one axis."""
    k = 1.0 / sigma
    norm = k / math.sqrt(2.0 * math.pi)
    u = (first + low - centre) * k
    cumulative = 0.5 * math.erf(u / math.sqrt(2.0))
    density = norm * math.exp(-0.5 * u * u)
    for pixel in range(low, high):
        u_next = (first + pixel + 1 - centre) * k
        cumulative_next = 0.5 * math.erf(u_next / math.sqrt(2.0))
        density_next = norm * math.exp(-0.5 * u_next * u_next)
        out[0, pixel] = cumulative_next - cumulative
        out[1, pixel] = density - density_next
        out[2, pixel] = density * u - density_next * u_next
        u, cumulative, density = u_next, cumulative_next, density_next


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _fill_gaussian(x, y, widths, slopes, x0, y0, profiles, patch):  # type: ignore[no-untyped-def]
    """Fill the patch of a Gaussian; ``slopes`` are the widths' derivatives by the shape."""
    _, ny, nx = patch.shape
    reach_x, reach_y = SUPPORT_SIGMAS * widths[0], SUPPORT_SIGMAS * widths[1]
    left = min(max(math.floor(x - reach_x) - x0, 0), nx)
    right = max(min(math.ceil(x + reach_x) - x0, nx), left)
    top = min(max(math.floor(y - reach_y) - y0, 0), ny)
    bottom = max(min(math.ceil(y + reach_y) - y0, ny), top)
    across, down = profiles[0], profiles[1]
    _profile(x, widths[0], x0, left, right, across)
    _profile(y, widths[1], y0, top, bottom, down)
    if left > 0 or right < nx or top > 0 or bottom < ny:
        patch[:] = 0.0
    for row in range(top, bottom):
        h, by_y, by_sy = down[0, row], down[1, row], down[2, row] * slopes[1]
        by_sx = h * slopes[0]
        for column in range(left, right):
            g = across[0, column]
            patch[PHOTONS, row, column] = h * g
            patch[X, row, column] = h * across[1, column]
            patch[Y, row, column] = by_y * g
            patch[SHAPE, row, column] = by_sx * across[2, column] + by_sy * g
    return top, bottom


@njit(nogil=True, cache=True)
def _fill_spline(kernel, place, x0, y0, patch):  # type: ignore[no-untyped-def]
    _, ny, nx = patch.shape
    _, cells_y, cells_x, _ = kernel.coefficients.shape
    x, y = place[X], place[Y]
    left = min(max(math.floor(x) - cells_x // 2 - 1 - x0, 0), nx)
    right = max(min(math.floor(x) + cells_x // 2 + 2 - x0, nx), left)
    top = min(max(math.floor(y) - cells_y // 2 - 1 - y0, 0), ny)
    bottom = max(min(math.floor(y) + cells_y // 2 + 2 - y0, ny), top)
    if left > 0 or right < nx or top > 0 or bottom < ny:
        patch[:] = 0.0
    part = patch[:, top:bottom, left:right]
    step = kernel.numbers[1]
    z_slices = (place[SHAPE] - kernel.numbers[0]) / step
    spline_patch(
        kernel.coefficients, x, y, z_slices, x0 + left, y0 + top, right - left, bottom - top,
        part[PHOTONS], part[X], part[Y], part[SHAPE],
    )  # fmt: skip
    part[SHAPE] /= step
    return top, bottom


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def fill_patch(kernel, place, x0, y0, profiles, patch):  # type: ignore[no-untyped-def]
    """Fill the image of a unit emitter and its gradient; return the rows that are not empty.

    Parameters
    ----------
    kernel : PsfKernel
        The point-spread function.
    place : array, shape (4,)
        Photons (not used), x, y in pixels from the frame's outer corner, shape.
    x0, y0 : int
        First column and row of the patch.
    profiles : array, shape (2, 3, n)
        Scratch; n at least the patch's longer side.
    patch : array, shape (4, ny, nx)
        Out: share h and its derivatives by x, y and shape.
    """
    x, y, shape = place[X], place[Y], place[SHAPE]
    if kernel.kind == SPLINE:
        return _fill_spline(kernel, place, x0, y0, patch)
    if kernel.kind == ASTIGMATIC:
        sigma, offset, depth = kernel.numbers[0], kernel.numbers[1], kernel.numbers[2]
        u, v = (shape - offset) / depth, (shape + offset) / depth
        root_u, root_v = math.sqrt(1.0 + u * u), math.sqrt(1.0 + v * v)
        widths = (sigma * root_u, sigma * root_v)
        slopes = (sigma * u / (root_u * depth), sigma * v / (root_v * depth))
        return _fill_gaussian(x, y, widths, slopes, x0, y0, profiles, patch)
    return _fill_gaussian(x, y, (shape, shape), (1.0, 1.0), x0, y0, profiles, patch)
