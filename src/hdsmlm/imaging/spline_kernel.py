"""Evaluate a cubic-spline PSF with its exact gradient: the hot loop of 3D fits, in Numba."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit

TERMS = 64
"""Coefficients per cell: four powers along each of z, y and x."""


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def spline_patch(
    coefficients: NDArray[np.float32],
    x_px: float,
    y_px: float,
    z_slices: float,
    x0: int,
    y0: int,
    nx: int,
    ny: int,
    value: NDArray[np.floating],
    by_x: NDArray[np.floating],
    by_y: NDArray[np.floating],
    by_z: NDArray[np.floating],
) -> None:
    """Write the image of a unit emitter in a patch of pixels, and its gradient.

    Within a cell ``f(z, y, x) = sum_abc C[16a + 4b + c]·z^a·y^b·x^c``, with z, y and x from 0 to 1.
    All pixels of an emitter lie at the same place within their cells, so the powers are computed
    once.

    Parameters
    ----------
    coefficients : array, shape (z, y, x, 64), float32, C-contiguous
        One cell per pixel and per z step; the PSF's centre is the corner between the cells
        ``x//2 - 1`` and ``x//2`` (and so for y).
    x_px, y_px : float
        Emitter, from the outer corner of pixel (0, 0).
    z_slices : float
        Depth in z steps from the table's first plane. Below 0 and above the number of cells the
        PSF is that of the table's end, with ``by_z`` 0.
    x0, y0, nx, ny : int
        First column and row of the patch, and its width and height.
    value, by_x, by_y, by_z : array, shape (≥ ny, ≥ nx)
        Filled: share of each pixel, and its slopes per pixel, per pixel and per z step. Pixels
        outside of the table get 0 in all four.
    """
    cells_z, cells_y, cells_x = coefficients.shape[0], coefficients.shape[1], coefficients.shape[2]
    column = cells_x // 2 + x0 + 0.5 - x_px
    row = cells_y // 2 + y0 + 0.5 - y_px
    first_column, first_row = math.floor(column), math.floor(row)
    fx, fy = column - first_column, row - first_row
    depth = min(max(z_slices, 0.0), float(cells_z))
    k = min(int(depth), cells_z - 1)
    fz = depth - k
    inside = 1.0 if 0.0 <= z_slices <= cells_z else 0.0
    z1, z2, z3 = fz, fz * fz, fz * fz * fz
    d1, d2, d3 = inside, 2 * fz * inside, 3 * fz * fz * inside
    weight, weight_x, weight_y = np.empty(16), np.empty(16), np.empty(16)
    power_x, slope_x = (1.0, fx, fx * fx, fx * fx * fx), (0.0, 1.0, 2 * fx, 3 * fx * fx)
    power_y, slope_y = (1.0, fy, fy * fy, fy * fy * fy), (0.0, 1.0, 2 * fy, 3 * fy * fy)
    for b in range(4):
        for c in range(4):
            weight[4 * b + c] = power_y[b] * power_x[c]
            weight_x[4 * b + c] = -power_y[b] * slope_x[c]
            weight_y[4 * b + c] = -slope_y[b] * power_x[c]
    for i in range(ny):
        j = first_row + i
        for m in range(nx):
            n = first_column + m
            share = slope_by_x = slope_by_y = slope_by_z = 0.0
            if 0 <= j < cells_y and 0 <= n < cells_x:
                for t in range(16):  # along z first; one loop of fixed length becomes vector code
                    c1 = coefficients[k, j, n, t + 16]
                    c2 = coefficients[k, j, n, t + 32]
                    c3 = coefficients[k, j, n, t + 48]
                    here = coefficients[k, j, n, t] + z1 * c1 + z2 * c2 + z3 * c3
                    share += weight[t] * here
                    slope_by_x += weight_x[t] * here
                    slope_by_y += weight_y[t] * here
                    slope_by_z += weight[t] * (d1 * c1 + d2 * c2 + d3 * c3)
            value[i, m] = share
            by_x[i, m] = slope_by_x
            by_y[i, m] = slope_by_y
            by_z[i, m] = slope_by_z


@njit(nogil=True, cache=True)
def add_splines(
    stack: NDArray[np.float64],
    frame: NDArray[np.int64],
    position: NDArray[np.float64],
    z_slices: NDArray[np.float64],
    photons: NDArray[np.float64],
    coefficients: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Add emitters to a (t, y, x) stack in place; return each one's share in its own pixel."""
    _, height, width = stack.shape
    size_y, size_x = coefficients.shape[1], coefficients.shape[2]
    value = np.empty((size_y, size_x))
    by_x, by_y, by_z = np.empty_like(value), np.empty_like(value), np.empty_like(value)
    peak = np.empty(len(frame))
    for i in range(len(frame)):
        x, y = position[i, 0], position[i, 1]
        left, top = math.floor(x) - size_x // 2, math.floor(y) - size_y // 2
        spline_patch(
            coefficients, x, y, z_slices[i], left, top, size_x, size_y, value, by_x, by_y, by_z
        )
        peak[i] = value[size_y // 2, size_x // 2]
        for row in range(max(top, 0), min(top + size_y, height)):
            for column in range(max(left, 0), min(left + size_x, width)):
                stack[frame[i], row, column] += photons[i] * value[row - top, column - left]
    return peak
