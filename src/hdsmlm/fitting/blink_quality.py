"""What the blinks of a window are worth: standard errors, probabilities of existence.

The Fisher information of a blink is taken jointly with its neighbours: its own place and photons,
the places of the blinks whose light overlaps its own, and their photons in the frames that they
share; the neighbours' other frames add what these say of their places. Photons are eliminated frame
by frame, exactly as in the fit, so that only a small matrix of places is left:

``I = sum_t [N_t·B_t·N_t - (N_t·C_t)·A_t⁻¹·(N_t·C_t)ᵀ]``,

with A_t the products of the patches of all blinks that are on in frame t, C_t those of their
gradients with the patches and B_t those of the gradients, each weighted by scale²/M. The variance
of the photons follows from the same matrices.
"""

from __future__ import annotations

import math

import numpy as np

from hdsmlm.compiled import njit
from hdsmlm.fitting.blink_kernels import LEAST_MODEL, corner, draw_patch, used_part
from hdsmlm.fitting.blink_moves import LEAST_COST, evidence
from hdsmlm.fitting.psf_kernels import FASTMATH, PHOTONS, SHAPE, X, Y

MOST_NEIGHBOURS = 8
"""Neighbours that are unknown too; farther ones are held."""

AMBIGUOUS_ODDS = 2.0
"""A localization whose log-odds of existence lie within this of 0 is ambiguous."""

DEGENERATE_INFLATION = 25.0
"""Variance over the variance without neighbours from which a place counts as degenerate."""


@njit(nogil=True, cache=True)
def _neighbours(blinks, order, rank, j, reach_px):  # type: ignore[no-untyped-def]
    """Return blink ``j`` and its nearest neighbours that share a frame with it."""
    found = np.empty(MOST_NEIGHBOURS + 1, np.int64)
    near = np.full(MOST_NEIGHBOURS + 1, np.inf)
    found[0], near[0] = j, -1.0
    count = 1
    y = blinks.place[j, Y]
    for direction in (-1, 1):
        k = rank[j] + direction
        while 0 <= k < len(order) and abs(blinks.place[order[k], Y] - y) <= reach_px:
            other = order[k]
            k += direction
            dx, dy = blinks.place[other, X] - blinks.place[j, X], blinks.place[other, Y] - y
            distance2 = dx * dx + dy * dy
            if distance2 > reach_px * reach_px:
                continue
            if blinks.first[other] > blinks.last[j] or blinks.last[other] < blinks.first[j]:
                continue
            at = min(count, MOST_NEIGHBOURS)
            if count > MOST_NEIGHBOURS and distance2 >= near[at]:
                continue
            while at > 1 and near[at - 1] > distance2:
                found[at], near[at] = found[at - 1], near[at - 1]
                at -= 1
            found[at], near[at] = other, distance2
            count = min(count + 1, MOST_NEIGHBOURS + 1)
    return found[:count]


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _products(weight, dims, box_a, part_a, box_b, part_b, out):  # type: ignore[no-untyped-def]
    """Fill ``out[c, d] = sum weight·a_c·b_d`` over the pixels that two patches share.

    ``weight`` is scale²/M of the frame. The sums stand one by one: so they stay in registers.
    """
    y0, x0 = max(box_a[1], box_b[1]), max(box_a[0], box_b[0])
    y1 = min(box_a[1] + box_a[3], box_b[1] + box_b[3])
    x1 = min(box_a[0] + box_a[2], box_b[0] + box_b[2])
    out[:] = 0.0
    hh = hx = hy = xh = xx = xy = yh = yx = yy = 0.0
    for y in range(y0, y1):
        ja, jb = y - box_a[1], y - box_b[1]
        for x in range(x0, x1):
            ia, ib, w = x - box_a[0], x - box_b[0], weight[y, x]
            a_h, a_x, a_y = (
                w * part_a[PHOTONS, ja, ia],
                w * part_a[X, ja, ia],
                w * part_a[Y, ja, ia],
            )
            b_h, b_x, b_y = part_b[PHOTONS, jb, ib], part_b[X, jb, ib], part_b[Y, jb, ib]
            hh += a_h * b_h
            hx += a_h * b_x
            hy += a_h * b_y
            xh += a_x * b_h
            xx += a_x * b_x
            xy += a_x * b_y
            yh += a_y * b_h
            yx += a_y * b_x
            yy += a_y * b_y
    out[PHOTONS, PHOTONS], out[PHOTONS, X], out[PHOTONS, Y] = hh, hx, hy
    out[X, PHOTONS], out[X, X], out[X, Y] = xh, xx, xy
    out[Y, PHOTONS], out[Y, X], out[Y, Y] = yh, yx, yy
    if dims == 3:
        hz = xz = yz = zh = zx = zy = zz = 0.0
        for y in range(y0, y1):
            ja, jb = y - box_a[1], y - box_b[1]
            for x in range(x0, x1):
                ia, ib = x - box_a[0], x - box_b[0]
                a_z, b_z = (
                    weight[y, x] * part_a[SHAPE, ja, ia],
                    weight[y, x] * part_b[SHAPE, jb, ib],
                )
                hz += part_a[PHOTONS, ja, ia] * b_z
                xz += part_a[X, ja, ia] * b_z
                yz += part_a[Y, ja, ia] * b_z
                zh += a_z * part_b[PHOTONS, jb, ib]
                zx += a_z * part_b[X, jb, ib]
                zy += a_z * part_b[Y, jb, ib]
                zz += part_a[SHAPE, ja, ia] * b_z
        out[PHOTONS, SHAPE], out[X, SHAPE], out[Y, SHAPE] = hz, xz, yz
        out[SHAPE, PHOTONS], out[SHAPE, X], out[SHAPE, Y], out[SHAPE, SHAPE] = zh, zx, zy, zz


@njit(nogil=True, cache=True)
def _frame(window, weight, blinks, members, boxes, parts, t, gram):  # type: ignore[no-untyped-def]
    """Return the members that are on in a frame; fill their products (n, n, 4, 4)."""
    on = np.empty(len(members), np.int64)
    count = 0
    for k in range(len(members)):
        j = members[k]
        if blinks.first[j] <= t <= blinks.last[j] and boxes[k, 2] > 0 and boxes[k, 3] > 0:
            on[count] = k
            count += 1
    for a in range(count):
        for b in range(a, count):
            box_a, box_b = boxes[on[a]], boxes[on[b]]
            part_a, part_b = used_part(parts[on[a]], box_a), used_part(parts[on[b]], box_b)
            _products(weight[t], window.dims, box_a, part_a, box_b, part_b, gram[a, b])
            for c in range(4):
                for d in range(4):
                    gram[b, a, d, c] = gram[a, b, c, d]
    return on[:count]


@njit(nogil=True, cache=True)
def _eliminate(window, blinks, members, on, t, gram, cross, inverse):  # type: ignore[no-untyped-def]
    """Fill the inverse of A_t and the products N·C_t of gradients with patches."""
    dims, count = window.dims, len(on)
    for a in range(count):
        for b in range(count):
            inverse[a, b] = gram[a, b, PHOTONS, PHOTONS] * (1.0 + (1e-9 if a == b else 0.0))
            photons = blinks.photons[members[on[a]], t]
            for c in range(dims):
                cross[a * dims + c, b] = photons * gram[a, b, 1 + c, PHOTONS]
    inverse[:count, :count] = np.linalg.inv(inverse[:count, :count].copy())


@njit(nogil=True, cache=True)
def _draw_members(window, blinks, members, boxes, parts):  # type: ignore[no-untyped-def]
    """Fill boxes and patches of some blinks."""
    _, height, width = window.model.shape
    scratch = np.empty((2, 3, 2 * window.half + 1))
    for k in range(len(members)):
        box = corner(blinks.place[members[k]], window.half, height, width)
        for i in range(4):
            boxes[k, i] = box[i]
        if box[2] > 0 and box[3] > 0:
            draw_patch(window.kernel, blinks.place[members[k]], box, scratch, parts[k])


@njit(nogil=True, cache=True)
def _weight(window):  # type: ignore[no-untyped-def]
    """Return scale²/M: the information that a datum has on the photons in its pixel."""
    weight = np.empty_like(window.model)
    for t, y, x in np.ndindex(window.model.shape):
        weight[t, y, x] = window.scale * window.scale / max(window.model[t, y, x], LEAST_MODEL)
    return weight


@njit(nogil=True, cache=True)
def standard_errors(  # type: ignore[no-untyped-def]
    window, blinks, order, rank, reach_px, place_error, photon_error, inflation, volume
):
    """Fill the standard errors of places (n, 3) and photons (n, t), and the inflation (n,).

    ``inflation`` is the largest ratio of the variance of a coordinate to what it would be if the
    neighbours' places were known; ``volume`` half the log of the ratio of the determinants.
    """
    dims, side, most = window.dims, 2 * window.half + 1, MOST_NEIGHBOURS + 1
    parts, boxes = np.empty((most, 4, side, side)), np.empty((most, 4), np.int64)
    gram = np.empty((most, most, 4, 4))
    weight = _weight(window)
    for j in range(len(blinks.alive)):
        members = _neighbours(blinks, order, rank, j, reach_px)
        size = len(members) * dims
        info = np.zeros((size, size))
        for row in range(size):
            info[row, row] = window.damping[row % dims] * 1e-3
        _draw_members(window, blinks, members, boxes, parts)
        start, stop = blinks.first[j], blinks.last[j]
        for k in range(1, len(members)):
            start, stop = min(start, blinks.first[members[k]]), max(stop, blinks.last[members[k]])
        own_frames = blinks.last[j] - blinks.first[j] + 1
        crosses = np.empty((own_frames + 1, most * dims, most))
        inverses = np.empty((own_frames + 1, most, most))
        on_then, n_then = np.empty((own_frames, most), np.int64), np.zeros(own_frames, np.int64)
        for t in range(start, stop + 1):
            on = _frame(window, weight, blinks, members, boxes, parts, t, gram)
            if len(on) == 0:
                continue
            k = own_frames  # a frame of neighbours alone, needed only now
            if on[0] == 0:
                k = t - blinks.first[j]
                n_then[k], on_then[k, : len(on)] = len(on), on
            _eliminate(window, blinks, members, on, t, gram, crosses[k], inverses[k])
            _add_frame(window, blinks, members, on, t, gram, crosses[k], inverses[k], info)
        own = np.linalg.inv(info[:dims, :dims].copy())
        covariance = np.linalg.inv(info)
        joint, alone = covariance[:dims, :dims].copy(), own.copy()
        ratio = np.linalg.det(joint) / max(np.linalg.det(alone), 1e-300)
        volume[j] = 0.5 * math.log(max(ratio, 1.0))
        for c in range(dims):
            variance = max(covariance[c, c], 0.0)
            place_error[j, c] = math.sqrt(variance)
            inflation[j] = max(inflation[j], variance / max(own[c, c], 1e-30))
        for k in range(own_frames):
            if n_then[k]:
                photon_error[j, blinks.first[j] + k] = _photon_error(
                    dims, on_then[k, : n_then[k]], crosses[k], inverses[k], covariance
                )


@njit(nogil=True, cache=True)
def _add_frame(window, blinks, members, on, t, gram, cross, inverse, info):  # type: ignore[no-untyped-def]
    """Add a frame's information of the places, photons eliminated."""
    dims, count = window.dims, len(on)
    reduced = np.zeros((count * dims, count))
    for row in range(count * dims):
        for k in range(count):
            for i in range(count):
                reduced[row, k] += cross[row, i] * inverse[i, k]
    for a in range(count):
        for b in range(count):
            weight = blinks.photons[members[on[a]], t] * blinks.photons[members[on[b]], t]
            for c in range(dims):
                for d in range(dims):
                    value = weight * gram[a, b, 1 + c, 1 + d]
                    for k in range(count):
                        value -= reduced[a * dims + c, k] * cross[b * dims + d, k]
                    info[on[a] * dims + c, on[b] * dims + d] += value


@njit(nogil=True, cache=True)
def _photon_error(dims, on, cross, inverse, covariance):  # type: ignore[no-untyped-def]
    """Return the standard error of the first member's photons: own noise and that of the places."""
    count = len(on)
    slope = np.zeros(count * dims)
    for a in range(count * dims):
        for k in range(count):
            slope[a] += cross[a, k] * inverse[k, 0]
    variance = inverse[0, 0]
    for a in range(count):
        for b in range(count):
            for c in range(dims):
                for d in range(dims):
                    variance += (
                        slope[a * dims + c]
                        * covariance[on[a] * dims + c, on[b] * dims + d]
                        * slope[b * dims + d]
                    )
    return math.sqrt(max(variance, 0.0))


@njit(nogil=True, cache=True)
def existence(window, blinks, odds, photon_error, volume, frame_odds, ratio):  # type: ignore[no-untyped-def]
    """Fill log-odds of existence and log-likelihood ratio of every blink and frame, (n, t).

    A localization exists if its blink does and is on in its frame: the lower of the two odds. Gains
    and costs are those of the moves with the neighbours free to take over: ``N²/(2·var N)``, and
    volumes of the joint standard errors.
    """
    side = 2 * window.half + 1
    scratch, patch = np.empty((2, 3, side)), np.empty((4, side, side))
    n_frames = len(window.model)
    gains, costs, weights = np.empty(n_frames), np.empty(n_frames), np.empty(n_frames)
    for j in range(len(blinks.alive)):
        place = evidence(window, blinks, j, odds, scratch, patch, gains, costs, weights)
        first, last = blinks.first[j], blinks.last[j]
        whole = -max(place - volume[j], LEAST_COST)
        for t in range(first, last + 1):
            k = t - first
            error = photon_error[j, t]
            if error > 0.0:
                gains[k] = min(gains[k], 0.5 * (blinks.photons[j, t] / error) ** 2)
                looser = math.log(max(error * math.sqrt(weights[k]), 1.0))
                costs[k] = max(costs[k] - looser, LEAST_COST)
            whole += gains[k] - costs[k]
        for t in range(first, last + 1):
            k = t - first
            ratio[j, t] = gains[k]
            frame_odds[j, t] = min(gains[k] - costs[k], whole)
