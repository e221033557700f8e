"""Arithmetic of one blink: its light in the model image, its statistics, one Gauss-Newton step.

A blink j has one place ``p_j`` (x, y in pixels; the depth z with a three-dimensional PSF) and the
photons ``N_jt`` of each frame ``first_j <= t <= last_j`` in which it is on. The model of the data
of :mod:`hdsmlm.fitting.likelihood` is

``M_t(k) = scale·(sum_j N_jt·h_k(p_j) + b_t(k)) + offset_k``.

Photons are linear given the place and are eliminated frame by frame (variable projection): with the
Fisher weights 1/M and the sums of a frame over the pixels of the patch

``a = sum h²/M, c = sum h·h'/M, B = sum h'·h'ᵀ/M, u = sum h·r/M, g = sum h'·r/M``  (h times scale)

the information and the score of the place are ``sum_t N_t²·(B - c·cᵀ/a)`` and
``sum_t N_t·(g - c·u/a)``. All other blinks are held; sweeps over all blinks converge to the joint
optimum.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit
from hdsmlm.fitting.psf_kernels import FASTMATH, PHOTONS, SHAPE, PsfKernel, X, Y, fill_patch
from hdsmlm.fitting.region_fit import solve as solve_factored

CELL_PX = 4
"""Side of the cells in which changes of the model are noted."""

LEAST_MODEL = 1e-3
"""The wings of a measured PSF can be negative; the mean of the data cannot."""

MAX_STEP_PX = 0.3
"""Longest step of a place along x or y."""

A, U = 0, 1
"""Columns of the statistics: a, u; then c (3), B (xx, yy, zz, xy, xz, yz), g (3)."""
N_STATS = 14


class Window(NamedTuple):
    """Frames that are fitted together, and their model image.

    Parameters
    ----------
    counts, model : array, shape (t, y, x)
        Data and its present model; the model changes in place.
    stamps : array of int, shape (t, cells y, cells x)
        When the model last changed there.
    kernel : PsfKernel
        Point-spread function.
    bounds : array, shape (4, 2)
        Range of x, y (pixels) and z (nm); the last row holds the longest step of z.
    damping : array, shape (3,)
        Prior information of the place: keeps blinks without light from wandering.
    scale : float
        Data per photon.
    half : int
        Half side of a patch, pixels.
    dims : int
        2, or 3 with a depth.
    """

    counts: NDArray[np.float64]
    model: NDArray[np.float64]
    stamps: NDArray[np.int32]
    kernel: PsfKernel
    bounds: NDArray[np.float64]
    damping: NDArray[np.float64]
    scale: float
    half: int
    dims: int


class Blinks(NamedTuple):
    """Blinks of a window, with spare room for new ones.

    Parameters
    ----------
    place : array, shape (n, 4)
        Unused, x, y (pixels), shape (sigma in pixels or depth in nm).
    photons : array, shape (n, t)
        Photons per frame, 0 where it is off.
    first, last : array of int, shape (n,)
        Frames in which it is on.
    alive : array of bool, shape (n,)
        Whether the row is in use.
    fitted, judged : array of int, shape (n,)
        When it was last refined, and when the moves last looked at it.
    """

    place: NDArray[np.float64]
    photons: NDArray[np.float64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    alive: NDArray[np.bool_]
    fitted: NDArray[np.int32]
    judged: NDArray[np.int32]


@njit(nogil=True, cache=True)
def corner(place, half, height, width):  # type: ignore[no-untyped-def]
    """Return (x0, y0, nx, ny): the pixels within ``half`` of a place, inside the frame."""
    column, row = math.floor(place[X]), math.floor(place[Y])
    x0, y0 = max(0, column - half), max(0, row - half)
    return x0, y0, min(width, column + half + 1) - x0, min(height, row + half + 1) - y0


@njit(nogil=True, cache=True)
def used_part(patch, box):  # type: ignore[no-untyped-def]
    """Return the front of a patch's memory as (4, ny, nx): dense, whatever the size."""
    pixels = box[3] * box[2]
    return patch.reshape(-1)[: 4 * pixels].reshape((4, box[3], box[2]))


@njit(nogil=True, cache=True)
def draw_patch(kernel, place, box, scratch, patch):  # type: ignore[no-untyped-def]
    """Fill the patch of a place; return its used part (4, ny, nx)."""
    part = used_part(patch, box)
    fill_patch(kernel, place, box[0], box[1], scratch, part)
    return part


@njit(nogil=True, cache=True)
def add_light(model, part, box, photons, first, last, factor):  # type: ignore[no-untyped-def]
    """Add ``factor·N_t·h`` to the frames first..last of the model."""
    for t in range(first, last + 1):
        weight = factor * photons[t]
        if weight != 0.0:
            for j in range(box[3]):
                for i in range(box[2]):
                    model[t, box[1] + j, box[0] + i] += weight * part[PHOTONS, j, i]


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def frame_statistics(counts, model, part, box, t, scale, dims, out):  # type: ignore[no-untyped-def]
    """Fill the sums of one frame; ``dims`` is 2, or 3 with a depth.

    Pixels are gathered into rows of memory first, which the compiler then sums in parallel lanes.
    """
    pixels = box[3] * box[2]
    weights, residuals = np.empty(pixels), np.empty(pixels)
    k = 0
    for j in range(box[1], box[1] + box[3]):
        for i in range(box[0], box[0] + box[2]):
            weights[k], residuals[k] = max(model[t, j, i], LEAST_MODEL), counts[t, j, i]
            k += 1
    for k in range(pixels):
        inverse = scale / weights[k]
        residuals[k] = (residuals[k] - weights[k]) * inverse
        weights[k] = scale * inverse
    flat = part.reshape((4, pixels))
    light, by_x, by_y = flat[PHOTONS], flat[X], flat[Y]
    a = 1e-12
    u = cx = cy = bxx = byy = bxy = gx = gy = 0.0
    for k in range(pixels):
        h, hx, hy, weight, residual = light[k], by_x[k], by_y[k], weights[k], residuals[k]
        a += h * h * weight
        u += h * residual
        cx += h * hx * weight
        cy += h * hy * weight
        bxx += hx * hx * weight
        byy += hy * hy * weight
        bxy += hx * hy * weight
        gx += hx * residual
        gy += hy * residual
    out[:] = 0.0
    out[A], out[U], out[2], out[3] = a, u, cx, cy
    out[5], out[6], out[8], out[11], out[12] = bxx, byy, bxy, gx, gy
    if dims == 3:
        by_z = flat[SHAPE]
        cz = bzz = bxz = byz = gz = 0.0
        for k in range(pixels):
            hz, weight = by_z[k], weights[k]
            cz += light[k] * hz * weight
            bzz += hz * hz * weight
            bxz += by_x[k] * hz * weight
            byz += by_y[k] * hz * weight
            gz += hz * residuals[k]
        out[4], out[7], out[9], out[10], out[13] = cz, bzz, bxz, byz, gz


@njit(nogil=True, cache=True)
def place_information(stats, photons, dims, info, score):  # type: ignore[no-untyped-def]
    """Add one frame's information matrix (3, 3) and score (3,) of the place, photons eliminated."""
    a, u = stats[A], stats[U]
    pairs = ((0, 0, 5), (1, 1, 6), (2, 2, 7), (0, 1, 8), (0, 2, 9), (1, 2, 10))
    for i, j, column in pairs:
        if j < dims:
            value = photons * photons * (stats[column] - stats[2 + i] * stats[2 + j] / a)
            info[i, j] += value
            if i != j:
                info[j, i] += value
    for i in range(dims):
        score[i] += photons * (stats[11 + i] - stats[2 + i] * u / a)


@njit(nogil=True, cache=True)
def solve(info, score, damping, dims, step):  # type: ignore[no-untyped-def]
    """Solve ``(info + diag(damping))·step = score`` by Cholesky; return the log-determinant."""
    lower = np.zeros((3, 3))
    log_determinant = 0.0
    for i in range(dims):
        for j in range(i + 1):
            value = info[i, j] + (damping[i] if i == j else 0.0)
            for k in range(j):
                value -= lower[i, k] * lower[j, k]
            if i == j:
                lower[i, i] = math.sqrt(max(value, 1e-12))
                log_determinant += 2.0 * math.log(lower[i, i])
            else:
                lower[i, j] = value / lower[j, j]
    solve_factored(lower, dims, score, step)
    return log_determinant


@njit(nogil=True, cache=True)
def _bounded(step, place, bounds, dims):  # type: ignore[no-untyped-def]
    """Shorten a step to the longest allowed one and keep the place inside its bounds."""
    longest = max(abs(step[0]), abs(step[1])) / MAX_STEP_PX
    if dims == 3:
        longest = max(longest, abs(step[2]) / bounds[3, 0])
    if longest > 1.0:
        for i in range(dims):
            step[i] /= longest
    for i in range(dims):
        goal = min(max(place[1 + i] + step[i], bounds[i, 0]), bounds[i, 1])
        step[i] = goal - place[1 + i]


@njit(nogil=True, cache=True)
def refine(window, blinks, j, factor, scratch, patch):  # type: ignore[no-untyped-def]
    """Take one Gauss-Newton step of blink ``j`` in place; return how far it moved, in pixels.

    A change of the photons counts as a shift that changes the image about as much.
    """
    _, height, width = window.model.shape
    place, photons = blinks.place[j], blinks.photons[j]
    first, last, dims = blinks.first[j], blinks.last[j], window.dims
    box = corner(place, window.half, height, width)
    if box[2] <= 0 or box[3] <= 0:
        return 0.0
    part = draw_patch(window.kernel, place, box, scratch, patch)
    stats = np.empty((last - first + 1, N_STATS))
    info, score, step = np.zeros((3, 3)), np.zeros(3), np.zeros(3)
    for k in range(last - first + 1):
        frame_statistics(
            window.counts, window.model, part, box, first + k, window.scale, dims, stats[k]
        )
        place_information(stats[k], photons[first + k], dims, info, score)
    solve(info, score, window.damping, dims, step)
    _bounded(step, place, window.bounds, dims)
    add_light(window.model, part, box, photons, first, last, -window.scale)
    moved = max(abs(step[0]), abs(step[1])) * factor
    for k in range(last - first + 1):
        old = photons[first + k]
        change = stats[k, U]
        for i in range(dims):
            change -= old * stats[k, 2 + i] * step[i]
        new = max(old + factor * change / stats[k, A], 0.0)
        photons[first + k] = new
        moved = max(moved, 0.2 * abs(new - old) / (old + 1.0 / math.sqrt(stats[k, A])))
    for i in range(dims):
        place[1 + i] += factor * step[i]
    box = corner(place, window.half, height, width)
    part = draw_patch(window.kernel, place, box, scratch, patch)
    add_light(window.model, part, box, photons, first, last, window.scale)
    return moved


@njit(nogil=True, cache=True)
def sweep(window, blinks, n, factor, now, tolerance_px):  # type: ignore[no-untyped-def]
    """Refine, in turn, every blink around which the model changed; return how many moved."""
    side = 2 * window.half + 1
    scratch, patch = np.empty((2, 3, side)), np.empty((4, side, side))
    moving = 0
    for j in range(n):
        if not blinks.alive[j]:
            continue
        first, last = blinks.first[j], blinks.last[j]
        changed = last_change(window.stamps, blinks.place[j], window.half, first, last)
        if changed < blinks.fitted[j]:
            continue
        blinks.fitted[j] = now
        if refine(window, blinks, j, factor, scratch, patch) > tolerance_px:
            mark(window.stamps, blinks.place[j], window.half, first, last, now)
            moving += 1
    return moving


@njit(nogil=True, cache=True)
def draw(window, blinks, j, factor, scratch, patch):  # type: ignore[no-untyped-def]
    """Add ``factor`` times the light of blink ``j`` to the model."""
    _, height, width = window.model.shape
    box = corner(blinks.place[j], window.half, height, width)
    if box[2] > 0 and box[3] > 0:
        part = draw_patch(window.kernel, blinks.place[j], box, scratch, patch)
        add_light(
            window.model, part, box, blinks.photons[j], blinks.first[j], blinks.last[j],
            factor * window.scale,
        )  # fmt: skip


@njit(nogil=True, cache=True)
def draw_all(window, blinks, n):  # type: ignore[no-untyped-def]
    """Add the light of all blinks to the model."""
    side = 2 * window.half + 1
    scratch, patch = np.empty((2, 3, side)), np.empty((4, side, side))
    for j in range(n):
        if blinks.alive[j]:
            draw(window, blinks, j, 1.0, scratch, patch)


@njit(nogil=True, cache=True)
def mark(stamps, place, half, first, last, now):  # type: ignore[no-untyped-def]
    """Note that the model changed around a place in the frames first..last."""
    _, rows, columns = stamps.shape
    row, column = math.floor(place[Y]), math.floor(place[X])
    top, bottom = max(0, (row - half) // CELL_PX), min(rows - 1, (row + half) // CELL_PX)
    left, right = max(0, (column - half) // CELL_PX), min(columns - 1, (column + half) // CELL_PX)
    for t in range(first, last + 1):
        for j in range(top, bottom + 1):
            for i in range(left, right + 1):
                stamps[t, j, i] = now


@njit(nogil=True, cache=True)
def last_change(stamps, place, half, first, last):  # type: ignore[no-untyped-def]
    """Return when the model last changed around a place in the frames first..last."""
    n_frames, rows, columns = stamps.shape
    row, column = math.floor(place[Y]), math.floor(place[X])
    top, bottom = max(0, (row - half) // CELL_PX), min(rows - 1, (row + half) // CELL_PX)
    left, right = max(0, (column - half) // CELL_PX), min(columns - 1, (column + half) // CELL_PX)
    latest = -1
    for t in range(max(first, 0), min(last, n_frames - 1) + 1):
        for j in range(top, bottom + 1):
            for i in range(left, right + 1):
                latest = max(latest, stamps[t, j, i])
    return latest


@njit(nogil=True, cache=True)
def surroundings(window, blinks, i, j):  # type: ignore[no-untyped-def]
    """Return the box (x0, y0, x1, y1) that the light of two blinks reaches."""
    _, height, width = window.model.shape
    reach = window.half + 2
    x0 = max(0, math.floor(min(blinks.place[i, X], blinks.place[j, X])) - reach)
    y0 = max(0, math.floor(min(blinks.place[i, Y], blinks.place[j, Y])) - reach)
    x1 = min(width, math.floor(max(blinks.place[i, X], blinks.place[j, X])) + reach + 1)
    y1 = min(height, math.floor(max(blinks.place[i, Y], blinks.place[j, Y])) + reach + 1)
    return x0, y0, x1, y1


@njit(nogil=True, cache=True)
def log_likelihood(window, box, first, last):  # type: ignore[no-untyped-def]
    """Return the log-likelihood of the pixels of a box (x0, y0, x1, y1) in some frames."""
    total = 0.0
    for t in range(first, last + 1):
        for y in range(box[1], box[3]):
            for x in range(box[0], box[2]):
                m = max(window.model[t, y, x], LEAST_MODEL)
                total += window.counts[t, y, x] * math.log(m) - m
    return total
