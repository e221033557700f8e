"""What a fit is worth: uncertainties, likelihood ratios, how well neighbours are told apart."""

from __future__ import annotations

import math

import numpy as np

from hdsmlm.compiled import njit
from hdsmlm.fitting.group_fit import add_light, cut_region, pack
from hdsmlm.fitting.psf_kernels import FASTMATH, PHOTONS, SHAPE, X, Y
from hdsmlm.fitting.region_fit import (
    FREE_SHAPE,
    LEAST_MEAN,
    Region,
    allocate,
    cholesky,
    evaluate,
    free_rows,
    score,
    solve,
)

_MOST_UNKNOWN_NEIGHBOURS = 12
_RATIO_STEPS = 6
POSITION_PRIOR_VARIANCE = 4.0
"""px²; keeps the volume of an emitter that the data do not place within a few pixels."""


@njit(nogil=True, cache=True)
def _within(batch, group, other, link):  # type: ignore[no-untyped-def]
    for i in range(batch.start[group], batch.start[group + 1]):
        dx = batch.theta[i, X] - batch.theta[other, X]
        dy = batch.theta[i, Y] - batch.theta[other, Y]
        if dx * dx + dy * dy < link * link:
            return True
    return False


@njit(nogil=True, cache=True)
def _with_neighbours(batch, group, kernel, limits):  # type: ignore[no-untyped-def]
    """Return the region and parameters of a group with its near neighbours as further unknowns."""
    first, last = batch.start[group], batch.start[group + 1]
    own = last - first
    near = batch.neighbours[batch.neighbour_start[group] : batch.neighbour_start[group + 1]]
    unknown = np.zeros(len(near), np.bool_)
    extra = 0
    for k in range(len(near)):
        if extra < _MOST_UNKNOWN_NEIGHBOURS and _within(batch, group, near[k], limits.link_px):
            unknown[k] = True
            extra += 1
    theta = np.empty(4 * (own + extra) + 2)
    theta[: 4 * own] = pack(batch, group)[: 4 * own]
    theta[-2], theta[-1] = batch.background[group], batch.common[group]
    region = cut_region(batch, group, limits.half_px)
    if extra:
        at = own
        for k in range(len(near)):
            if unknown[k]:
                theta[4 * at : 4 * at + 4] = batch.theta[near[k]]
                at += 1
        region = _widened(batch, group, theta, own + extra, limits.half_px)
    if len(near) > extra:
        profiles = np.empty((2, 3, max(region.nx, region.ny)))
        patch = np.empty((4, region.ny, region.nx))
        for k in range(len(near)):
            if not unknown[k]:
                add_light(region, kernel, batch.theta[near[k]], profiles, patch)
    return region, theta


@njit(nogil=True, cache=True)
def _widened(batch, group, theta, count, half_px):  # type: ignore[no-untyped-def]
    """Return the region of squares around all emitters of ``theta``."""
    frame = batch.frame[group]
    _, height, width = batch.data.shape
    box = batch.box[group]
    y0, y1, x0, x1 = box[0], box[1], box[2], box[3]
    for i in range(count):
        row, column = math.floor(theta[4 * i + Y]), math.floor(theta[4 * i + X])
        y0, y1 = min(y0, max(row - half_px, 0)), max(y1, min(row + half_px + 1, height))
        x0, x1 = min(x0, max(column - half_px, 0)), max(x1, min(column + half_px + 1, width))
    ny, nx = y1 - y0, x1 - x0
    data, offset = np.zeros(ny * nx), np.ones(ny * nx)
    valid, fixed = np.zeros(ny * nx), np.zeros(ny * nx)
    for i in range(count):
        row, column = math.floor(theta[4 * i + Y]), math.floor(theta[4 * i + X])
        for y in range(max(row - half_px, y0), min(row + half_px + 1, y1)):
            for x in range(max(column - half_px, x0), min(column + half_px + 1, x1)):
                value, dark = batch.data[frame, y, x], batch.offset[y, x]
                if math.isfinite(value) and math.isfinite(dark):
                    k = (y - y0) * nx + x - x0
                    valid[k], data[k], offset[k] = 1.0, value, dark
    return Region(data, offset, valid, fixed, batch.scale, x0, y0, ny, nx)


@njit(nogil=True, cache=True)
def assess_groups(batch, kernel, limits, groups, quality):  # type: ignore[no-untyped-def]
    """Fill ``quality`` for some groups from the fit as it stands."""
    for group in groups:
        first, last = batch.start[group], batch.start[group + 1]
        own = last - first
        region, theta = _with_neighbours(batch, group, kernel, limits)
        count = (len(theta) - 2) // 4
        if region.valid.sum() < 3 * own + 2:
            continue
        work = allocate(count, region)
        n = free_rows(count, limits.shape_mode, work.rows)
        evaluate(region, kernel, theta, count, limits.shape_mode, work)
        score(region, count, n, work)
        _fill_variances(batch, group, theta, limits, n, work, quality)
        for i in range(own):
            quality.log_likelihood_ratio[first + i] = drop_gain(region, count, i, theta, work)


@njit(nogil=True, cache=True)
def _fill_variances(batch, group, theta, limits, n, work, quality):  # type: ignore[no-untyped-def]
    first, last = batch.start[group], batch.start[group + 1]
    held = np.zeros(n, np.bool_)
    cholesky(work.information, n, 0.0, held, work.factor)
    per = 4 if limits.shape_mode == FREE_SHAPE else 3
    unit, column = np.zeros(n), np.empty(n)
    for i in range(last - first):
        worst = 1.0
        for c in range(per):
            a = per * i + c
            unit[:] = 0.0
            unit[a] = 1.0
            solve(work.factor, n, unit, column)
            quality.variance[first + i, c] = column[a]
            if c != PHOTONS:
                worst = max(worst, column[a] * work.information[a, a])
        quality.inflation[first + i] = worst
    for c in range(per * (len(theta) - 2) // 4, n):
        unit[:] = 0.0
        unit[c] = 1.0
        solve(work.factor, n, unit, column)
        if c == per * ((len(theta) - 2) // 4):
            quality.background_variance[group] = column[c]
        else:
            quality.variance[first:last, SHAPE] = column[c]
    add_prior(work.information, theta, limits, per)
    cholesky(work.information, n, 0.0, held, work.factor)
    block = np.empty((per, per))
    for i in range(last - first):
        for c in range(per):
            unit[:] = 0.0
            unit[per * i + c] = 1.0
            solve(work.factor, n, unit, column)
            block[c] = column[per * i : per * i + per]
        quality.log_volume[first + i] = 0.5 * _log_determinant(block)


@njit(nogil=True, cache=True)
def _log_determinant(matrix):  # type: ignore[no-untyped-def]
    n = len(matrix)
    factor = np.empty((n, n))
    cholesky(matrix, n, 0.0, np.zeros(n, np.bool_), factor)
    total = 0.0
    for a in range(n):
        total += 2.0 * math.log(factor[a, a])
    return total


@njit(nogil=True, cache=True)
def add_prior(information, theta, limits, per):  # type: ignore[no-untyped-def]
    """Add the curvature of a weak prior: a few pixels, a factor e of photons, the range of z."""
    count = (len(theta) - 2) // 4
    depth = (limits.shape_high - limits.shape_low) ** 2 / 12.0
    for i in range(count):
        information[per * i, per * i] += 1.0 / max(theta[4 * i], 1.0) ** 2
        information[per * i + 1, per * i + 1] += 1.0 / POSITION_PRIOR_VARIANCE
        information[per * i + 2, per * i + 2] += 1.0 / POSITION_PRIOR_VARIANCE
        if per == 4:
            information[per * i + 3, per * i + 3] += 1.0 / depth
    information[per * count, per * count] += 1e-12


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def drop_gain(region, count, skip, theta, work):  # type: ignore[no-untyped-def]
    """Return the log-likelihood minus that without emitter ``skip``.

    The photons of the others and the background are refitted at the given positions, whose shares
    ``work.jacobian`` must hold.
    """
    n = count
    rows, value = np.empty(n, np.int64), np.empty(n)
    a = 0
    for i in range(count + 1):
        if i != skip:
            rows[a], value[a] = 4 * i, theta[4 * i]
            a += 1
    mean = np.empty(region.ny * region.nx)
    full = 0.0
    for k in range(len(mean)):
        full += region.valid[k] * (region.data[k] * math.log(work.mean[k]) - work.mean[k])
    matrix, factor = np.empty((n, n)), np.empty((n, n))
    gradient, step, held = np.empty(n), np.empty(n), np.zeros(n, np.bool_)
    best = -np.inf
    for _ in range(_RATIO_STEPS):
        total = _linear_mean(region, work.jacobian, rows, value, mean)
        gained = total - best
        best = max(best, total)
        if gained < 1e-2:
            break
        _linear_score(region, work, rows, mean, gradient, matrix)
        for b in range(n):
            held[b] = value[b] <= 0.0 and gradient[b] < 0.0
            if held[b]:
                gradient[b] = 0.0
        cholesky(matrix, n, 0.0, held, factor)
        solve(factor, n, gradient, step)
        for b in range(n):
            value[b] = max(value[b] + step[b], 0.0)
    return full - best


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _linear_mean(region, jacobian, rows, value, mean):  # type: ignore[no-untyped-def]
    """Fill the mean of ``sum_b value_b·share_b`` and return its log-likelihood."""
    total = 0.0
    for k in range(len(mean)):
        mean[k] = region.fixed[k]
    for b in range(len(rows)):
        share = jacobian[rows[b]]
        for k in range(len(mean)):
            mean[k] += value[b] * share[k]
    for k in range(len(mean)):
        mean[k] = max(region.scale * mean[k] + region.offset[k], LEAST_MEAN)
        total += region.valid[k] * (region.data[k] * math.log(mean[k]) - mean[k])
    return total


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _linear_score(region, work, rows, mean, gradient, matrix):  # type: ignore[no-untyped-def]
    """Fill gradient and information of the photons and the background."""
    weight, product = work.weight, work.product
    for k in range(len(mean)):
        weight[k] = region.valid[k] * region.scale / mean[k]
    for b in range(len(rows)):
        share = work.jacobian[rows[b]]
        slope = 0.0
        for k in range(len(mean)):
            product[k] = weight[k] * region.scale * share[k]
            slope += weight[k] * (region.data[k] - mean[k]) * share[k]
        gradient[b] = slope
        for c in range(b + 1):
            other = work.jacobian[rows[c]]
            total = 0.0
            for k in range(len(mean)):
                total += product[k] * other[k]
            matrix[b, c] = total
