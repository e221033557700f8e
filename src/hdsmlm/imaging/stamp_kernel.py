"""Add tabulated PSF images to frames, linear between the table's phases and planes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit


@njit(nogil=True, cache=True)
def add_stamps(
    stack: NDArray[np.float64],
    frame: NDArray[np.int64],
    position: NDArray[np.float64],
    plane: NDArray[np.float64],
    photons: NDArray[np.float64],
    stamps: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Add emitters to a stack in place and return each one's share in its own pixel.

    Parameters
    ----------
    stack : array, shape (t, y, x)
        Expected photons.
    frame : array, shape (n,)
        Index into t.
    position : array, shape (n, ≥2)
        x, y in pixels from the outer corner; may lie outside the frame.
    plane : array, shape (n,)
        Depth in units of the table's planes, 0 to planes - 1.
    photons : array, shape (n,)
        Photons of each emitter in its frame.
    stamps : array, shape (planes, phases + 1, phases + 1, 2·reach + 1, 2·reach + 1)
        Images whose emitter lies ``phase/phases`` of a pixel into the central pixel.
    """
    _, height, width = stack.shape
    planes, phases, size = stamps.shape[0], stamps.shape[1] - 1, stamps.shape[3]
    reach = size // 2
    peak = np.zeros(len(frame))
    blend = np.empty(size * size, np.float32)
    images = stamps.reshape(planes, phases + 1, phases + 1, size * size)
    for i in range(len(frame)):
        left, top = math.floor(position[i, 0]), math.floor(position[i, 1])
        u, v = (position[i, 0] - left) * phases, (position[i, 1] - top) * phases
        iu, iv = min(int(u), phases - 1), min(int(v), phases - 1)
        iz = min(int(plane[i]), max(planes - 2, 0))
        fu, fv, fz = np.float32(u - iu), np.float32(v - iv), np.float32(plane[i] - iz)
        blend[:] = 0
        for dz in range(min(planes, 2)):
            wz = fz if dz else np.float32(1) - fz
            if wz == 0:
                continue
            for dv in range(2):
                wv = wz * (fv if dv else np.float32(1) - fv)
                w0, w1 = wv * (np.float32(1) - fu), wv * fu
                first = images[iz + dz, iv + dv, iu]
                second = images[iz + dz, iv + dv, iu + 1]
                for k in range(size * size):
                    blend[k] += w0 * first[k] + w1 * second[k]
        peak[i] = blend[reach * size + reach]
        first_x, last_x = max(left - reach, 0), min(left + reach + 1, width)
        first_y, last_y = max(top - reach, 0), min(top + reach + 1, height)
        if first_x >= last_x:
            continue
        for row in range(first_y, last_y):
            start = (row - top + reach) * size + first_x - left + reach
            target = stack[frame[i], row, first_x:last_x]
            source = blend[start : start + len(target)]
            for column in range(len(target)):
                target[column] += photons[i] * source[column]
    return peak


@njit(nogil=True, cache=True)
def tabulate_stamps(
    cumulative: NDArray[np.float64], reach: int, phases: int
) -> NDArray[np.float32]:
    """Return the images of a PSF at every phase, from its integral over rectangles.

    Parameters
    ----------
    cumulative : array, shape (planes, 2·reach·phases + 1, 2·reach·phases + 1)
        Integral of the PSF from the axis to (x, y), on a grid of ``phases`` steps per pixel.
    reach : int
        Half-width of the table in pixels; the PSF ends there.
    phases : int
        Steps per pixel.

    Returns
    -------
    array, shape (planes, phases + 1, phases + 1, 2·reach + 1, 2·reach + 1)
        As :func:`add_stamps` takes it.
    """
    planes, size, last = len(cumulative), 2 * reach + 1, 2 * reach * phases
    stamps = np.empty((planes, phases + 1, phases + 1, size, size), np.float32)
    for plane in range(planes):
        table = cumulative[plane]
        for phase_y in range(phases + 1):
            for phase_x in range(phases + 1):
                stamp = stamps[plane, phase_y, phase_x]
                for row in range(size):
                    top = max(row * phases - phase_y, 0)
                    bottom = min((row + 1) * phases - phase_y, last)
                    left = 0
                    for column in range(size):
                        right = min((column + 1) * phases - phase_x, last)
                        stamp[row, column] = (table[bottom, right] - table[bottom, left]) - (
                            table[top, right] - table[top, left]
                        )
                        left = right
    return stamps
