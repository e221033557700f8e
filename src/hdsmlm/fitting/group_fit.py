"""Fit many groups of emitters: the loops over groups, in Numba, without the interpreter's lock.

A :class:`Batch` holds the frames and the emitters of many groups side by side. Each kernel takes
the numbers of some groups and writes only their rows, so threads can share the work, and the result
is the same for any number of them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit
from hdsmlm.fitting.psf_kernels import FASTMATH, PHOTONS, SHAPE, X, Y, fill_patch
from hdsmlm.fitting.region_fit import (
    LEAST_MEAN,
    Region,
    allocate,
    fit_region,
)

LEAST_BACKGROUND = 1e-3
"""Photons per pixel; a background of zero would make a dark pixel infinitely informative."""
EDGE_PX = 1e-6
"""An emitter ends this much before the frame does, so that a pixel holds it."""
_START_ROUNDS = 12


class Batch(NamedTuple):
    """Frames, emitters and groups of one call.

    Parameters
    ----------
    data : array, shape (t, y, x), float32
        Counts of :class:`hdsmlm.fitting.likelihood.PoissonData`; NaN where a pixel is unusable.
    offset : array, shape (y, x), float32
        Mean datum without light.
    scale : float
        Mean datum per photon.
    theta : array, shape (n, 4)
        Photons, x, y, shape of each emitter, group by group.
    anchor : array, shape (n, 2)
        x and y around which an emitter is sought and its pixels lie.
    background, common : array, shape (g,)
        Background and common shape of each group.
    start, frame, box, neighbours, neighbour_start : arrays
        Of :class:`hdsmlm.fitting.groups.Groups`.
    """

    data: NDArray[np.float32]
    offset: NDArray[np.float32]
    scale: float
    theta: NDArray[np.float64]
    anchor: NDArray[np.float64]
    background: NDArray[np.float64]
    common: NDArray[np.float64]
    start: NDArray[np.int64]
    frame: NDArray[np.int64]
    box: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    neighbour_start: NDArray[np.int64]


class Limits(NamedTuple):
    """Numbers that all groups share.

    Parameters
    ----------
    shape_mode : int
        Of :mod:`hdsmlm.fitting.region_fit`.
    iterations : int
        Largest number of steps.
    half_px : int
        Half-side of the square around an emitter.
    shift_px : float
        Farthest from the anchor along an axis.
    shape_low, shape_high : float
        Range of the shape.
    link_px : float
        Neighbours nearer than this count as unknown in the uncertainties.
    width_px, height_px : float
        Size of a frame: emitters are sought inside.
    multiplied : bool
        Of :class:`hdsmlm.fitting.likelihood.PoissonData`.
    """

    shape_mode: int
    iterations: int
    half_px: int
    shift_px: float
    shape_low: float
    shape_high: float
    link_px: float
    width_px: float
    height_px: float
    multiplied: bool


class Quality(NamedTuple):
    """What is known of the fit, per emitter (n) or per group (g).

    Parameters
    ----------
    variance : array, shape (n, 4)
        Of photons, x, y and shape, from the inverse Fisher information.
    background_variance : array, shape (g,)
        Of the background.
    log_likelihood_ratio : array, shape (n,)
        Against the model without the emitter, photons and background of the others refitted.
    log_volume : array, shape (n,)
        Half the log-determinant of the emitter's block of the covariance, with a weak prior.
    inflation : array, shape (n,)
        Largest ratio of a position's variance to that with all else known.
    converged : array, shape (g,)
        Whether the last fit converged.
    """

    variance: NDArray[np.float64]
    background_variance: NDArray[np.float64]
    log_likelihood_ratio: NDArray[np.float64]
    log_volume: NDArray[np.float64]
    inflation: NDArray[np.float64]
    converged: NDArray[np.bool_]


@njit(nogil=True, cache=True)
def cut_region(batch, group, half_px):  # type: ignore[no-untyped-def]
    """Return the region of a group, its pixels from squares around the anchors; ``fixed`` is 0."""
    box = batch.box[group]
    y0, y1, x0, x1 = box[0], box[1], box[2], box[3]
    ny, nx = y1 - y0, x1 - x0
    data, offset = np.zeros(ny * nx), np.ones(ny * nx)
    valid, fixed = np.zeros(ny * nx), np.zeros(ny * nx)
    frame = batch.frame[group]
    for i in range(batch.start[group], batch.start[group + 1]):
        row, column = math.floor(batch.anchor[i, 1]), math.floor(batch.anchor[i, 0])
        for y in range(max(row - half_px, y0), min(row + half_px + 1, y1)):
            for x in range(max(column - half_px, x0), min(column + half_px + 1, x1)):
                value, dark = batch.data[frame, y, x], batch.offset[y, x]
                if math.isfinite(value) and math.isfinite(dark):
                    k = (y - y0) * nx + x - x0
                    valid[k], data[k], offset[k] = 1.0, value, dark
    return Region(data, offset, valid, fixed, batch.scale, x0, y0, ny, nx)


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def add_light(region, kernel, place, profiles, patch):  # type: ignore[no-untyped-def]
    """Add the photons of one emitter to ``region.fixed``."""
    top, bottom = fill_patch(kernel, place, region.x0, region.y0, profiles, patch)
    share = patch[PHOTONS].reshape(region.ny * region.nx)
    for k in range(top * region.nx, bottom * region.nx):
        region.fixed[k] += place[PHOTONS] * share[k]


@njit(nogil=True, cache=True)
def add_neighbours(batch, group, region, kernel, profiles):  # type: ignore[no-untyped-def]
    """Add the light of a group's neighbours to ``region.fixed``."""
    first, last = batch.neighbour_start[group], batch.neighbour_start[group + 1]
    if first == last:
        return
    patch = np.empty((4, region.ny, region.nx))
    for k in range(first, last):
        add_light(region, kernel, batch.theta[batch.neighbours[k]], profiles, patch)


@njit(nogil=True, cache=True)
def pack(batch, group):  # type: ignore[no-untyped-def]
    """Return the parameter vector of a group."""
    first, last = batch.start[group], batch.start[group + 1]
    theta = np.empty(4 * (last - first) + 2)
    theta[: 4 * (last - first)] = batch.theta[first:last].copy().reshape(4 * (last - first))
    theta[-2], theta[-1] = batch.background[group], batch.common[group]
    return theta


@njit(nogil=True, cache=True)
def search_box(anchor, limits):  # type: ignore[no-untyped-def]
    """Return the bounds (2, 4·K + 2) of emitters around ``anchor`` (K, 2)."""
    count = len(anchor)
    box = np.empty((2, 4 * count + 2))
    for i in range(count):
        box[0, 4 * i + PHOTONS], box[1, 4 * i + PHOTONS] = 0.0, 1e9
        for c, row in ((0, X), (1, Y)):
            # outside of the frame a bright emitter far off looks like a faint one at the edge
            side = limits.width_px if c == 0 else limits.height_px
            centre = min(max(anchor[i, c], 0.0), side - EDGE_PX)
            box[0, 4 * i + row] = max(centre - limits.shift_px, 0.0)
            box[1, 4 * i + row] = min(centre + limits.shift_px, side - EDGE_PX)
        box[0, 4 * i + SHAPE], box[1, 4 * i + SHAPE] = limits.shape_low, limits.shape_high
    box[0, -2], box[1, -2] = LEAST_BACKGROUND, 1e9
    box[0, -1], box[1, -1] = limits.shape_low, limits.shape_high
    return box


@njit(nogil=True, cache=True)
def start_groups(batch, kernel, limits, groups, depths):  # type: ignore[no-untyped-def]
    """Guess background, depth and photons of the emitters of some groups.

    The background is the lowest eighth of the region's pixels at first; then photons and background
    are found for the given positions by expectation maximization, the neighbours' with them. With
    several ``depths`` each emitter takes the one that fits best alone.
    """
    for group in groups:
        region = cut_region(batch, group, limits.half_px)
        pixels = region.ny * region.nx
        light = np.empty(pixels)
        n = 0
        for k in range(pixels):
            if region.valid[k] > 0:
                light[n] = (region.data[k] - region.offset[k]) / region.scale
                n += 1
        if n == 0:
            continue
        low = np.sort(light[:n])[: max(n // 8, 1)].mean()
        first, last = batch.start[group], batch.start[group + 1]
        near = batch.neighbours[batch.neighbour_start[group] : batch.neighbour_start[group + 1]]
        own = last - first
        count = own + len(near)
        place = np.empty((count, 4))
        place[:own] = batch.theta[first:last]
        for i in range(len(near)):
            place[own + i] = batch.theta[near[i]]
        profiles = np.empty((2, 3, max(region.nx, region.ny)))
        patch = np.empty((4, region.ny, region.nx))
        if len(depths) > 1:
            for i in range(own):
                place[i, SHAPE] = _best_depth(region, kernel, place[i], depths, profiles, patch)
        background = max(low, 0.1)
        photons, background = _share_out(region, kernel, place, background, profiles, patch)
        batch.background[group] = background
        for i in range(own):
            batch.theta[first + i, PHOTONS] = max(photons[i], 10.0)
            batch.theta[first + i, SHAPE] = place[i, SHAPE]


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _share_out(region, kernel, place, background, profiles, patch):  # type: ignore[no-untyped-def]
    """Return photons and background by expectation maximization (Richardson-Lucy)."""
    count, pixels = len(place), region.ny * region.nx
    shares, seen = np.empty((count, pixels)), np.zeros(count)
    photons = np.empty(count)
    n = region.valid.sum()
    for i in range(count):
        fill_patch(kernel, place[i], region.x0, region.y0, profiles, patch)
        shares[i] = patch[PHOTONS].reshape(pixels)
        total = 0.0
        for k in range(pixels):
            seen[i] += region.valid[k] * shares[i, k]
            light = max((region.data[k] - region.offset[k]) / region.scale - background, 0.0)
            total += region.valid[k] * shares[i, k] * light
        square = max(np.sum(region.valid * shares[i] * shares[i]), 1e-12)
        photons[i] = max(total / square, 50.0) if seen[i] > 1e-3 else 0.0
    ratio = np.empty(pixels)
    for _ in range(_START_ROUNDS):
        for k in range(pixels):
            light = background
            for i in range(count):
                light += photons[i] * shares[i, k]
            mean = max(region.scale * light + region.offset[k], LEAST_MEAN)
            ratio[k] = region.valid[k] * max(region.data[k], 0.0) / mean
        background *= ratio.sum() / n
        for i in range(count):
            if seen[i] > 1e-3:
                photons[i] *= np.sum(ratio * shares[i]) / seen[i]
        background = max(background, LEAST_BACKGROUND)
    return photons, background


@njit(nogil=True, cache=True)
def _best_depth(region, kernel, place, depths, profiles, patch):  # type: ignore[no-untyped-def]
    """Return the depth whose image correlates best with the light around one emitter."""
    best, found = -np.inf, depths[0]
    trial = place.copy()
    for depth in depths:
        trial[SHAPE] = depth
        fill_patch(kernel, trial, region.x0, region.y0, profiles, patch)
        share = patch[PHOTONS].reshape(region.ny * region.nx)
        n = sh = ss = sd = dd = 0.0
        for k in range(len(share)):
            if region.valid[k] > 0:
                light = (region.data[k] - region.offset[k]) / region.scale
                n += 1
                sh += share[k]
                ss += share[k] * share[k]
                sd += share[k] * light
                dd += light
        covariance = sd - sh * dd / n
        value = covariance / math.sqrt(max(ss - sh * sh / n, 1e-12))
        if value > best:
            best, found = value, depth
    return found


@njit(nogil=True, cache=True)
def fit_groups(batch, kernel, limits, groups, converged):  # type: ignore[no-untyped-def]
    """Fit some groups in place, their neighbours held fixed."""
    for group in groups:
        first, last = batch.start[group], batch.start[group + 1]
        region = cut_region(batch, group, limits.half_px)
        converged[group] = False
        if region.valid.sum() < 3 * (last - first) + 2:
            continue
        work = allocate(last - first, region)
        add_neighbours(batch, group, region, kernel, work.profiles)
        theta = pack(batch, group)
        box = search_box(batch.anchor[first:last], limits)
        theta[:] = np.minimum(np.maximum(theta, box[0]), box[1])
        solution = fit_region(
            region, kernel, theta, box, limits.shape_mode, limits.iterations, work
        )
        converged[group] = solution.converged
        batch.theta[first:last] = theta[:-2].copy().reshape((last - first, 4))
        batch.background[group], batch.common[group] = theta[-2], theta[-1]
