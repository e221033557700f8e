"""Cubic-spline PSF: piecewise cubic polynomials on cells of one pixel by one pixel by one z step.

Babcock & Zhuang, Sci. Rep. 7, 552 (2017); Li et al., Nat. Methods 15, 367 (2018). The coefficients
have their layout. They are made from cubic B-splines,

``f(x, y, z) = sum_kji c_kji·B(z - k)·B(y - j)·B(x - i)``,

whose lateral support lies whole within the table: value and slope fall to 0 at its edge. The
B-splines of all integer shifts sum to 1, so a plane's sum over the pixels is the same wherever in
its pixel the emitter lies.

Normalization: the pixels of the plane in focus (z = 0) sum to 1. Planes out of focus keep what
was measured; they sum to less where their light leaves the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf

from hdsmlm.imaging.checks import require
from hdsmlm.imaging.psf import PsfImages
from hdsmlm.imaging.spline_kernel import TERMS, add_splines, spline_patch

_require = partial(require, "psf")
_LATERAL_CELLS = 4
_BASIS = (
    np.array([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]], dtype=np.float64) / 6
)
"""Row p: the coefficient of t^p in the four B-splines that reach a cell."""


@dataclass(frozen=True, eq=False)
class SplinePsf:
    """A measured PSF.

    Parameters
    ----------
    coefficients : array, shape (z, y, x, 64), float32
        Cells of the table; term ``16a + 4b + c`` belongs to ``z^a·y^b·x^c``. y and x are even
        numbers of cells with the PSF's centre in the middle.
    z_min_nm, z_step_nm : float
        Depth of the table's first plane relative to the focus, and the height of a cell. Depths
        outside of the table are drawn as its ends, with ``by_z`` 0.
    pixel_size_nm : float
        Pixel size of the calibration; a movie of another one cannot be fitted with it.
    provenance : mapping
        Where it comes from, as plain values.
    """

    coefficients: NDArray[np.float32]
    z_min_nm: float
    z_step_nm: float
    pixel_size_nm: float
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        table = self.coefficients
        _require(
            table.ndim == 4 and table.shape[3] == TERMS and table.shape[0] >= 1,
            f"spline coefficients need the shape (z, y, x, {TERMS})",
            table.shape,
        )
        _require(
            min(table.shape[1:3]) >= _LATERAL_CELLS and not any(n % 2 for n in table.shape[1:3]),
            f"spline coefficients need an even number of cells along y and x, {_LATERAL_CELLS} or "
            "more",
            table.shape,
        )
        _require(self.z_step_nm > 0, "z_step_nm must be above 0", self.z_step_nm)
        _require(self.pixel_size_nm > 0, "pixel_size_nm must be above 0", self.pixel_size_nm)
        _require(
            bool(np.isfinite(table).all()),
            "spline coefficients must be finite",
            f"{int((~np.isfinite(table)).sum())} that are NaN or infinite",
        )
        object.__setattr__(self, "coefficients", np.ascontiguousarray(table, dtype=np.float32))

    @property
    def is_3d(self) -> bool:
        """A calibrated PSF changes with depth."""
        return True

    @property
    def z_max_nm(self) -> float:
        """Depth of the table's last plane."""
        return self.z_min_nm + self.z_step_nm * len(self.coefficients)

    def z_slices(self, z_nm: ArrayLike) -> NDArray[np.float64]:
        """Return depths in z steps from the table's first plane, as ``spline_patch`` wants them."""
        z: NDArray[np.float64] = np.asarray(z_nm, np.float64)
        return (z - self.z_min_nm) / self.z_step_nm

    def width_px(self, z_nm: ArrayLike) -> NDArray[np.float64]:
        """Return sigma of the pixel-integrated Gaussian with the same share in its central pixel.

        The emitter lies in the pixel's centre, where ``h = erf(1 / (2·sqrt(2)·sigma))²``.
        """
        sigmas = np.geomspace(0.2, 12, 400)
        shares = erf(0.5 / (np.sqrt(2) * sigmas)) ** 2
        by_plane = np.interp(-self._central_share, -shares, sigmas)
        return np.interp(self.z_slices(z_nm), np.arange(len(by_plane)), by_plane)

    @cached_property
    def _central_share(self) -> NDArray[np.float64]:
        """Share of the central pixel at each plane."""
        middle = self.coefficients[
            :, self.coefficients.shape[1] // 2, self.coefficients.shape[2] // 2
        ]
        last = middle[-1, ::16].sum(dtype=np.float64)
        return np.append(middle[:, 0].astype(np.float64), last)

    def images(
        self, x_px: ArrayLike, y_px: ArrayLike, z_nm: ArrayLike, shape: tuple[int, int]
    ) -> PsfImages:
        """Return images and gradients."""
        x, y = np.atleast_1d(x_px).astype(float), np.atleast_1d(y_px).astype(float)
        z = self.z_slices(np.broadcast_to(np.asarray(z_nm, np.float64), x.shape))
        height, width = shape
        share, by_x, by_y, by_z = (np.empty((len(x), height, width)) for _ in range(4))
        for i in range(len(x)):
            spline_patch(
                self.coefficients, x[i], y[i], z[i], 0, 0, width, height,
                share[i], by_x[i], by_y[i], by_z[i],
            )  # fmt: skip
        return PsfImages(share, by_x, by_y, by_z / self.z_step_nm)

    def add_to(
        self,
        stack: NDArray[np.float64],
        frame: NDArray[np.int64],
        position: NDArray[np.float64],
        photons: NDArray[np.float64],
        width_factor: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Add emitters to a stack; the width factor is not used. See :class:`Psf`."""
        del width_factor
        z = self.z_slices(position[:, 2])
        return add_splines(stack, frame, position, z, photons, self.coefficients)

    def require_pixel_size(self, pixel_size_nm: float, tolerance: float = 0.02) -> None:
        """Raise ConfigError when a movie's pixel size is not that of the calibration.

        Parameters
        ----------
        pixel_size_nm : float
            Pixel size of the movie.
        tolerance : float
            Largest relative difference that passes.
        """
        if abs(pixel_size_nm - self.pixel_size_nm) > tolerance * self.pixel_size_nm:
            _require(
                False,
                f"the spline was calibrated with pixels of {self.pixel_size_nm:g} nm; a movie with "
                "the same pixel size, or a calibration made with this camera and magnification, "
                "is needed",
                f"a movie with pixels of {pixel_size_nm:g} nm",
            )


def cells_from_bsplines(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the table of cells of a sum of cubic B-splines.

    Parameters
    ----------
    weights : array, shape (z + 3, y - 3, x - 3)
        ``c_kji``. Along z the B-splines stick out of the table by one and a half cells at either
        end; along y and x they lie within it, with odd numbers of them so that one is the centre.

    Returns
    -------
    array, shape (z, y, x, 64), float32
        As :class:`SplinePsf` takes it.
    """
    padded = np.pad(weights, ((0, 0), (3, 3), (3, 3)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (4, 4, 4))
    table = np.einsum("zyxabc,pa,qb,rc->zyxpqr", windows, _BASIS, _BASIS, _BASIS, optimize=True)
    return table.reshape(*table.shape[:3], TERMS).astype(np.float32)


def bsplines_from_samples(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the B-splines that pass through samples, 0 beyond the last ones laterally.

    Parameters
    ----------
    samples : array, shape (z + 1, n, m)
        Shares of pixels whose centres lie at whole distances from the emitter, one plane per z
        step (three planes or more); n and m odd, the emitter in the middle.

    Returns
    -------
    array, shape (z + 3, n, m)
        Weights for :func:`cells_from_bsplines`. Along z the third derivative is continuous across
        the first and the last inner plane.
    """
    planes, height, width = samples.shape
    _require(planes >= 3, "a spline needs 3 planes or more", planes)
    along_z = np.zeros((planes + 2, planes + 2))
    for k in range(planes):
        along_z[k, k : k + 3] = np.array([1, 4, 1]) / 6
    along_z[planes, :5] = along_z[planes + 1, -5:] = [1, -4, 6, -4, 1]
    weights = _solve_axis(along_z, np.pad(samples, ((0, 2), (0, 0), (0, 0))), 0)
    weights = _solve_axis(_interpolation(height), weights, 1)
    return _solve_axis(_interpolation(width), weights, 2)


def _solve_axis(
    matrix: NDArray[np.float64], values: NDArray[np.float64], axis: int
) -> NDArray[np.float64]:
    """Solve ``matrix @ w = values`` along one axis."""
    moved = np.moveaxis(values, axis, 0)
    solved = np.linalg.solve(matrix, moved.reshape(len(moved), -1)).reshape(moved.shape)
    return np.asarray(np.moveaxis(solved, 0, axis), dtype=np.float64)


def _interpolation(n: int) -> NDArray[np.float64]:
    """Value of n neighbouring B-splines at their n centres."""
    return (4 * np.eye(n) + np.eye(n, k=1) + np.eye(n, k=-1)) / 6
