"""How many emitters a group holds: try one fewer and one more, keep what is most probable.

Each round offers up to four changes: drop the emitter that the data miss least, merge the closest
pair, add one where the residuals ask for it most (score test), split the one whose residuals look
like two. Each is fitted and weighed by :mod:`hdsmlm.fitting.evidence`; the best is taken if it
gains, and the next round starts from it. Changes that cannot win are not fitted: an emitter whose
loss would cost much likelihood, a residual that is no larger than noise.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit
from hdsmlm.fitting.evidence import MAX_COUNT, log_emitter_prior, region_prior
from hdsmlm.fitting.group_fit import add_neighbours, cut_region, pack, search_box
from hdsmlm.fitting.group_quality import add_prior, drop_gain
from hdsmlm.fitting.psf_kernels import FASTMATH, PHOTONS, SHAPE, X, Y, fill_patch
from hdsmlm.fitting.region_fit import FREE_SHAPE, allocate, cholesky, evaluate, fit_region

SURE_GAIN = 30.0
"""An emitter without which the log-likelihood falls by more than this is not put in doubt."""
ADD_GAIN = 4.0
"""Least gain of log-likelihood promised by the score test for which one more is tried."""
SPLIT_GAIN = 2.0
_REGISTER_DATUM = 2.0
_ROUNDS = 4
_MERGE_SIGMAS = 2.0
_EXTRA = 4


class ChoiceRules(NamedTuple):
    """Numbers of the choice.

    Parameters
    ----------
    sigma_px : float
        Width of the PSF.
    shape_start : float
        Shape of an emitter that is added.
    ranges : tuple of float
        Of :func:`hdsmlm.fitting.evidence.region_prior`.
    """

    sigma_px: float
    shape_start: float
    ranges: tuple[float, float, float]


class Choice(NamedTuple):
    """Outcome of :func:`choose_counts`, one row per group.

    ``tried`` holds the best fit for each count K that was tried (index K), with its log-posterior
    (-inf where not tried); ``chosen`` is the most probable. ``origin`` is the place in the batch
    that an emitter came from, -1 for one that was added. ``n_fits`` counts the fits made.
    """

    chosen: NDArray[np.int64]
    log_posterior: NDArray[np.float64]
    tried: NDArray[np.float64]
    origin: NDArray[np.int64]
    n_fits: NDArray[np.int64]


def empty_choice(n_groups: int, max_size: int) -> Choice:
    """Return room for the outcome of ``n_groups`` groups of up to ``max_size`` emitters."""
    most = max_size + _EXTRA
    return Choice(
        np.zeros(n_groups, np.int64),
        np.full((n_groups, most + 1), -np.inf),
        np.zeros((n_groups, most + 1, most, 4)),
        np.full((n_groups, most + 1, most), -1),
        np.zeros(n_groups, np.int64),
    )


@njit(nogil=True, cache=True)
def footprint_of(batch, group, region):  # type: ignore[no-untyped-def]
    """Return the valid pixels that lie nearer to the group's emitters than to its neighbours."""
    mask = np.zeros((region.ny, region.nx), np.bool_)
    near = batch.neighbours[batch.neighbour_start[group] : batch.neighbour_start[group + 1]]
    for row in range(region.ny):
        for column in range(region.nx):
            if region.valid[row * region.nx + column] == 0:
                continue
            x, y = region.x0 + column + 0.5, region.y0 + row + 0.5
            own = other = math.inf
            for i in range(batch.start[group], batch.start[group + 1]):
                dx, dy = batch.theta[i, X] - x, batch.theta[i, Y] - y
                own = min(own, dx * dx + dy * dy)
            for i in near:
                dx, dy = batch.theta[i, X] - x, batch.theta[i, Y] - y
                other = min(other, dx * dx + dy * dy)
            mask[row, column] = own <= other
    return mask


@njit(nogil=True, cache=True)
def prior_of(batch, group, region, maps, rules):  # type: ignore[no-untyped-def]
    """Return the prior of a group and its footprint; ``maps`` is the count map and place map."""
    footprint = footprint_of(batch, group, region)
    y0, x0, frame = region.y0, region.x0, batch.frame[group]
    y1, x1 = y0 + region.ny, x0 + region.nx
    probabilities, expected = maps
    at = frame if len(probabilities) > 1 else 0
    here, place = probabilities[at, :, y0:y1, x0:x1], expected[at, y0:y1, x0:x1]
    n = batch.start[group + 1] - batch.start[group]
    return region_prior(here, place, footprint, n, rules.ranges), footprint


@njit(nogil=True, cache=True)
def _register_likelihood(region, work):  # type: ignore[no-untyped-def]
    """Return the log-likelihood of the fit under the law of an EM register.

    For m electrons expected, e found and no read noise, ``p(e) = sqrt(m/e)·exp(-m - e)·I1(2·sqrt(m
    e))`` (Hirsch et al., PLoS ONE 8, e53671 (2013)). With m = 2M, e = 2d and the leading term of I1
    this is ``4·sqrt(d·M) - 2M + log(M)/4``, apart from what does not depend on the model. It has
    the mean and variance of the Poisson law of d, but a longer tail: a pixel of twice the expected
    value is 11 % less a reason to add an emitter, one of four times 21 %.
    Where d is below _REGISTER_DATUM, the leading term does not hold and Poisson's law is kept.
    """
    total = 0.0
    for k in range(region.ny * region.nx):
        if region.valid[k] > 0:
            mean, value = work.mean[k], region.data[k]
            if value < _REGISTER_DATUM:
                total += value * math.log(mean) - mean
            else:
                total += 4.0 * math.sqrt(value * mean) - 2.0 * mean + 0.25 * math.log(mean)
    return total


@njit(nogil=True, cache=True)
def _fit_and_weigh(region, kernel, theta, anchor, limits, prior, work):  # type: ignore[no-untyped-def]
    """Fit ``theta`` in place and return its log-posterior."""
    count = len(anchor)
    mode = limits.shape_mode if count > 0 else 0
    box = search_box(anchor, limits)
    theta[:] = np.minimum(np.maximum(theta, box[0]), box[1])
    solution = fit_region(region, kernel, theta, box, mode, limits.iterations, work)
    n = solution.n_free
    add_prior(work.information, theta, limits, 4 if mode == FREE_SHAPE else 3)
    cholesky(work.information, n, 0.0, np.zeros(n, np.bool_), work.factor)
    likelihood = solution.log_likelihood
    if limits.multiplied:
        likelihood = _register_likelihood(region, work)
    value = likelihood + prior.log_count[min(count, MAX_COUNT)]
    for a in range(n):
        value += 0.5 * math.log(2.0 * math.pi) - math.log(work.factor[a, a])
    for i in range(count):
        value += log_emitter_prior(prior, region, theta[4 * i : 4 * i + 4])
    return value


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _best_addition(region, kernel, shape, half, footprint, work):  # type: ignore[no-untyped-def]
    """Return gain, x, y and photons of the emitter that the residuals ask for most."""
    size = 2 * half + 1
    patch, profiles = np.empty((4, size, size)), np.empty((2, 3, size))
    fill_patch(kernel, np.array([1.0, half + 0.5, half + 0.5, shape]), 0, 0, profiles, patch)
    stamp = patch[PHOTONS]
    ny, nx = region.ny, region.nx
    residual, weight = np.empty((ny, nx)), np.empty((ny, nx))
    all_weight = 0.0
    for k in range(ny * nx):
        mean = work.mean[k]
        residual[k // nx, k % nx] = region.valid[k] * region.scale * (region.data[k] / mean - 1.0)
        weight[k // nx, k % nx] = region.valid[k] * region.scale * region.scale / mean
        all_weight += weight[k // nx, k % nx]
    best, at_x, at_y, photons = 0.0, 0, 0, 0.0
    for y in range(ny):
        for x in range(nx):
            if not footprint[y, x]:
                continue
            slope = curvature = cross = 0.0
            left, right = max(x - half, 0), min(x + half + 1, nx)
            for row in range(max(y - half, 0), min(y + half + 1, ny)):
                for column in range(left, right):
                    h = stamp[row - y + half, column - x + half]
                    slope += h * residual[row, column]
                    curvature += h * h * weight[row, column]
                    cross += h * weight[row, column]
            curvature = max(curvature - cross * cross / all_weight, 0.05 * curvature)
            if slope > 0 and 0.5 * slope * slope > best * curvature:
                best, photons = 0.5 * slope * slope / curvature, slope / curvature
                at_x, at_y = x, y
    return best, region.x0 + at_x + 0.5, region.y0 + at_y + 0.5, photons


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _best_split(region, kernel, theta, sigma, work):  # type: ignore[no-untyped-def]
    """Return gain, emitter, and the half-distance (dx, dy) of the split the residuals ask for."""
    count = (len(theta) - 2) // 4
    pixels = region.ny * region.nx
    patch = np.empty((4, region.ny, region.nx))
    sides = np.empty((2, pixels))
    best, which, out_x, out_y = 0.0, -1, 0.0, 0.0
    reach = 0.5 * sigma
    for i in range(count):
        share = work.jacobian[4 * i]
        if theta[4 * i] < 1.0:
            continue
        for direction in range(4):
            angle = 0.25 * math.pi * direction
            dx, dy = math.cos(angle), math.sin(angle)
            for side in range(2):
                place = theta[4 * i : 4 * i + 4].copy()
                sign = 1.0 - 2.0 * side
                place[X] += sign * reach * dx
                place[Y] += sign * reach * dy
                fill_patch(kernel, place, region.x0, region.y0, work.profiles, patch)
                sides[side] = patch[PHOTONS].reshape(pixels)
            slope = qq = qh = hh = 0.0
            for k in range(pixels):
                mean = work.mean[k]
                q, h = sides[0, k] + sides[1, k] - 2.0 * share[k], share[k]
                w = region.valid[k] * region.scale * region.scale / mean
                slope += q * region.valid[k] * region.scale * (region.data[k] / mean - 1.0)
                qq += q * q * w
                qh += q * h * w
                hh += h * h * w
            curvature = qq - qh * qh / max(hh, 1e-300)
            if slope > 0 and 0.5 * slope * slope > best * curvature:
                best, which = 0.5 * slope * slope / curvature, i
                far = reach * math.sqrt(2.0 * slope / curvature / theta[4 * i])
                far = min(max(far, 0.4 * sigma), 1.2 * sigma)
                out_x, out_y = far * dx, far * dy
    return best, which, out_x, out_y


@njit(nogil=True, cache=True)
def _closest_pair(theta, count):  # type: ignore[no-untyped-def]
    best, first, second = math.inf, 0, 0
    for i in range(count):
        for j in range(i):
            distance = math.hypot(
                theta[4 * i + X] - theta[4 * j + X], theta[4 * i + Y] - theta[4 * j + Y]
            )
            if distance < best:
                best, first, second = distance, j, i
    return best, first, second


@njit(nogil=True, cache=True)
def _without(theta, anchor, origin, gone):  # type: ignore[no-untyped-def]
    """Return theta, anchor and origin without one emitter."""
    count = len(anchor)
    keep = np.empty(count - 1, np.int64)
    n = 0
    for i in range(count):
        if i != gone:
            keep[n] = i
            n += 1
    fewer = np.empty(4 * n + 2)
    for i in range(n):
        fewer[4 * i : 4 * i + 4] = theta[4 * keep[i] : 4 * keep[i] + 4]
    fewer[-2:] = theta[-2:]
    return fewer, anchor[keep], origin[keep]


@njit(nogil=True, cache=True)
def _with(theta, anchor, origin, place, source):  # type: ignore[no-untyped-def]
    """Return theta, anchor and origin with one emitter more."""
    count = len(anchor)
    more = np.empty(4 * count + 6)
    more[: 4 * count] = theta[: 4 * count]
    more[4 * count : 4 * count + 4] = place
    more[-2:] = theta[-2:]
    anchors, origins = np.empty((count + 1, 2)), np.empty(count + 1, np.int64)
    anchors[:count], origins[:count] = anchor, origin
    anchors[count, 0], anchors[count, 1], origins[count] = place[X], place[Y], source
    return more, anchors, origins


@njit(nogil=True, cache=True)
def _propose(region, kernel, theta, limits, rules, wish, most, work):  # type: ignore[no-untyped-def]
    """Return the changes worth a fit, rows (kind, i, x, y, photons), from the state in ``work``.

    Kinds: 0 drop i, 1 merge i with x, 2 add at x, y, 3 split i by x, y. ``wish`` is (footprint,
    what the prior gains by one fewer, by one more): a prior that wants a change lowers the gain
    that the data must promise.
    """
    footprint, fewer, more = wish
    count = (len(theta) - 2) // 4
    changes = np.empty((4, 5))
    n = 0
    weakest, loss = -1, SURE_GAIN + max(fewer, 0.0)
    for i in range(count):
        gain = drop_gain(region, count, i, theta, work)
        if gain < loss:
            weakest, loss = i, gain
    if weakest >= 0:
        changes[n, 0], changes[n, 1] = 0, weakest
        n += 1
    if count > 1:
        distance, i, j = _closest_pair(theta, count)
        if distance < _MERGE_SIGMAS * rules.sigma_px:
            changes[n, 0], changes[n, 1], changes[n, 2] = 1, i, j
            n += 1
    if count < most:
        shape = theta[-1] if limits.shape_mode != FREE_SHAPE else rules.shape_start
        gain, x, y, photons = _best_addition(region, kernel, shape, limits.half_px, footprint, work)
        if gain + max(more, 0.0) > ADD_GAIN and gain > 0:
            changes[n, 0], changes[n, 1] = 2, -1
            changes[n, 2], changes[n, 3], changes[n, 4] = x, y, photons
            n += 1
        gain, which, dx, dy = _best_split(region, kernel, theta, rules.sigma_px, work)
        if which >= 0 and gain + max(more, 0.0) > SPLIT_GAIN:
            changes[n, 0], changes[n, 1], changes[n, 2], changes[n, 3] = 3, which, dx, dy
            n += 1
    return changes[:n]


@njit(nogil=True, cache=True)
def _changed(change, theta, anchor, origin, shape):  # type: ignore[no-untyped-def]
    """Return theta, anchor and origin after one change."""
    kind, i = int(change[0]), int(change[1])
    if kind == 0:
        return _without(theta, anchor, origin, i)
    if kind == 1:
        j = int(change[2])
        new, anchors, origins = theta.copy(), anchor.copy(), origin.copy()
        total = max(theta[4 * i] + theta[4 * j], 1e-9)
        for c in (X, Y, SHAPE):
            mixed = theta[4 * i] * theta[4 * i + c] + theta[4 * j] * theta[4 * j + c]
            new[4 * i + c] = mixed / total
        if theta[4 * j] > theta[4 * i]:
            origins[i] = origin[j]
        new[4 * i] = total
        anchors[i, 0], anchors[i, 1] = new[4 * i + X], new[4 * i + Y]
        return _without(new, anchors, origins, j)
    place = np.empty(4)
    if kind == 2:
        place[PHOTONS], place[X], place[Y], place[SHAPE] = change[4], change[2], change[3], shape
        return _with(theta, anchor, origin, place, -1)
    new = theta.copy()
    place[:] = theta[4 * i : 4 * i + 4]
    place[PHOTONS] *= 0.5
    new[4 * i] = place[PHOTONS]
    new[4 * i + X] += change[2]
    new[4 * i + Y] += change[3]
    place[X] -= change[2]
    place[Y] -= change[3]
    return _with(new, anchor, origin, place, origin[i])


@njit(nogil=True, cache=True)
def _record(choice, group, theta, origin, value):  # type: ignore[no-untyped-def]
    count = len(origin)
    if value > choice.log_posterior[group, count]:
        choice.log_posterior[group, count] = value
        for i in range(count):
            choice.tried[group, count, i] = theta[4 * i : 4 * i + 4]
            choice.origin[group, count, i] = origin[i]


@njit(nogil=True, cache=True)
def choose_counts(batch, kernel, limits, groups, out):  # type: ignore[no-untyped-def]
    """Choose the number of emitters of some groups, their neighbours held fixed.

    ``out`` is (Choice, ChoiceRules, maps), maps the count map (t, 4, y, x) and the place map
    (t, y, x), or one empty frame of each.
    """
    choice, rules, maps = out
    most = choice.tried.shape[1] - 1
    for group in groups:
        first, last = batch.start[group], batch.start[group + 1]
        region = cut_region(batch, group, limits.half_px)
        theta, anchor = pack(batch, group), batch.anchor[first:last].copy()
        origin = np.arange(first, last)
        if region.valid.sum() < 3 * (last - first) + 2:
            choice.chosen[group] = last - first
            _record(choice, group, theta, origin, 0.0)
            continue
        work = allocate(min(last - first + _ROUNDS, most), region)
        add_neighbours(batch, group, region, kernel, work.profiles)
        prior, footprint = prior_of(batch, group, region, maps, rules)
        value = _fit_and_weigh(region, kernel, theta, anchor, limits, prior, work)
        _record(choice, group, theta, origin, value)
        for _ in range(_ROUNDS):
            count = len(anchor)
            mode = limits.shape_mode if count > 0 else 0
            evaluate(region, kernel, theta, count, mode, work)
            room = min(most, last - first + _ROUNDS)
            here = prior.log_count[min(count, MAX_COUNT)]
            fewer = prior.log_count[min(max(count - 1, 0), MAX_COUNT)] - here
            wish = (footprint, fewer, prior.log_count[min(count + 1, MAX_COUNT)] - here)
            changes = _propose(region, kernel, theta, limits, rules, wish, room, work)
            shape = theta[-1] if limits.shape_mode != FREE_SHAPE else rules.shape_start
            best = value
            best_theta, best_anchor, best_origin = theta, anchor, origin
            for k in range(len(changes)):
                new, anchors, origins = _changed(changes[k], theta, anchor, origin, shape)
                weight = _fit_and_weigh(region, kernel, new, anchors, limits, prior, work)
                choice.n_fits[group] += 1
                _record(choice, group, new, origins, weight)
                if weight > best + 1e-6:
                    best, best_theta, best_anchor, best_origin = weight, new, anchors, origins
            if best == value:
                break
            value, theta, anchor, origin = best, best_theta, best_anchor, best_origin
        choice.chosen[group] = np.argmax(choice.log_posterior[group])


@njit(nogil=True, cache=True)
def existence(batch, _kernel, limits, groups, out):  # type: ignore[no-untyped-def]
    """Write the probability that each emitter exists, given that the others of its group do.

    ``out`` is (probability (n,), Quality, ChoiceRules, maps). The odds are those of the fit with it
    against the fit without it, weighed as in :mod:`hdsmlm.fitting.evidence`.
    """
    probability, quality, rules, maps = out
    per = 4 if limits.shape_mode == FREE_SHAPE else 3
    for group in groups:
        first, last = batch.start[group], batch.start[group + 1]
        region = cut_region(batch, group, limits.half_px)
        prior, _ = prior_of(batch, group, region, maps, rules)
        count = min(last - first, MAX_COUNT)
        share = prior.log_count[count] - prior.log_count[count - 1]
        share += 0.5 * per * math.log(2.0 * math.pi)
        for i in range(first, last):
            odds = share + quality.log_likelihood_ratio[i] + quality.log_volume[i]
            odds += log_emitter_prior(prior, region, batch.theta[i])
            odds = min(max(odds, -50.0), 50.0)
            probability[i] = 1.0 / (1.0 + math.exp(-odds))
