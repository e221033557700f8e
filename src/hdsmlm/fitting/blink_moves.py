"""Moves that change the set of blinks: longer, shorter, cut, joined, born, dead.

A move is made when the posterior rises. Its gain in log-likelihood is taken from the quadratic form
of one frame's statistics (:mod:`hdsmlm.fitting.blink_kernels`) with all other blinks held; its cost
is the log of the Laplace volume of the new parameters against their prior (MacKay, Neural Comput.
4, 415 (1992)):

- photons of one more frame: ``log(N·sqrt(a/2π))``, flat between 0 and the blink's photons N, plus
  the odds ``log q`` that a blink goes on (geometric on-time);
- the place of one more blink: ``-log λ - d/2·log(2π) + log|I|/2`` with the density λ of blinks per
  pixel^d and frame at that place and the information I, plus the odds ``log p/q`` that it ends: a
  blink of L frames has the prior ``p·q^(L-1)``.

The count map says where molecules lie (in λ, once per blink) and what a single frame shows beyond
that (in the odds of every frame that a move switches on).

Pairs that are on in the same frame are joined by trial: the joint blink is fitted and the exact
change of the log-likelihood around it is weighed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit
from hdsmlm.fitting.blink_kernels import (
    N_STATS,
    A,
    U,
    add_light,
    corner,
    draw,
    draw_patch,
    frame_statistics,
    last_change,
    log_likelihood,
    mark,
    place_information,
    refine,
    solve,
    surroundings,
)
from hdsmlm.fitting.psf_kernels import X, Y

LOG_2PI = math.log(2.0 * math.pi)
TRIAL_STEPS = 8
"""Gauss-Newton steps of a blink that was joined on trial."""

LEAST_COST = 1.0
"""No move is free, however unsure the prior is."""


class Odds(NamedTuple):
    """Prior odds of the moves.

    Parameters
    ----------
    frame : array, shape (t, y, x)
        Log of what the count map shows in a frame over what it shows there on average, weighted.
    place : array, shape (y, x)
        Log of the mean density of emitters there over that of the window.
    log_density : float
        log λ, blinks per pixel² (and per nm of depth) and frame.
    log_on : float
        log q, a blink goes on for another frame.
    log_end : float
        log p, a blink ends.
    """

    frame: NDArray[np.float32]
    place: NDArray[np.float32]
    log_density: float
    log_on: float
    log_end: float


@njit(nogil=True, cache=True)
def _pixel(place, shape):  # type: ignore[no-untyped-def]
    """Return row and column of a place, the nearest inside the frame."""
    height, width = shape
    row = min(max(math.floor(place[Y]), 0), height - 1)
    return row, min(max(math.floor(place[X]), 0), width - 1)


@njit(nogil=True, cache=True)
def frame_cost(odds, t, place, brightest, a):  # type: ignore[no-untyped-def]
    """Cost of one more frame of a blink whose brightest frame has ``brightest`` photons."""
    row, column = _pixel(place, odds.place.shape)
    volume = math.log(max(brightest, 1.0) * math.sqrt(a)) - 0.5 * LOG_2PI
    return max(volume - odds.log_on - odds.frame[t, row, column], LEAST_COST)


@njit(nogil=True, cache=True)
def place_cost(odds, place, log_determinant, dims):  # type: ignore[no-untyped-def]
    """Cost of one more blink at a place, given the log-determinant of its information.

    Each frame pays for going on; a blink of L frames goes on L - 1 times and ends once.
    """
    row, column = _pixel(place, odds.place.shape)
    log_density = odds.log_density + odds.place[row, column]
    volume = 0.5 * log_determinant - 0.5 * dims * LOG_2PI
    return max(volume - log_density - odds.log_end + odds.log_on, LEAST_COST)


@njit(nogil=True, cache=True)
def _brightest(blinks, j):  # type: ignore[no-untyped-def]
    most = 0.0
    for t in range(blinks.first[j], blinks.last[j] + 1):
        most = max(most, blinks.photons[j, t])
    return most


@njit(nogil=True, cache=True)
def unchanged(window, blinks, j):  # type: ignore[no-untyped-def]
    """Whether nothing changed around blink ``j``, a frame before and after it included."""
    return (
        last_change(
            window.stamps, blinks.place[j], window.half, blinks.first[j] - 1, blinks.last[j] + 1
        )
        < blinks.judged[j]
    )


@njit(nogil=True, cache=True)
def change_lengths(window, blinks, n, odds, slack, now):  # type: ignore[no-untyped-def]
    """Cut weak frames off the ends of blinks and add frames whose light they explain.

    ``slack`` is how much a frame may fall short of its cost.
    """
    n_frames, height, width = window.model.shape
    side = 2 * window.half + 1
    scratch, patch, stats = np.empty((2, 3, side)), np.empty((4, side, side)), np.empty(N_STATS)
    changes = 0
    for j in range(n):
        if not blinks.alive[j] or unchanged(window, blinks, j):
            continue
        place, photons = blinks.place[j], blinks.photons[j]
        box = corner(place, window.half, height, width)
        part = draw_patch(window.kernel, place, box, scratch, patch)
        brightest = _brightest(blinks, j)
        for side_of_blink in range(2):
            while blinks.first[j] <= blinks.last[j]:  # shorter
                t = blinks.first[j] if side_of_blink == 0 else blinks.last[j]
                frame_statistics(
                    window.counts, window.model, part, box, t, window.scale, window.dims, stats
                )
                gain = photons[t] * (0.5 * photons[t] * stats[A] + stats[U])
                if gain >= frame_cost(odds, t, place, brightest, stats[A]) - slack:
                    break
                add_light(window.model, part, box, photons, t, t, -window.scale)
                photons[t] = 0.0
                mark(window.stamps, place, window.half, t, t, now)
                blinks.first[j] += 1 if side_of_blink == 0 else 0
                blinks.last[j] -= 1 if side_of_blink == 1 else 0
                changes += 1
        if blinks.first[j] > blinks.last[j]:
            blinks.alive[j] = False
            continue
        for side_of_blink in range(2):
            while True:  # longer
                t = blinks.first[j] - 1 if side_of_blink == 0 else blinks.last[j] + 1
                if t < 0 or t >= n_frames:
                    break
                frame_statistics(
                    window.counts, window.model, part, box, t, window.scale, window.dims, stats
                )
                more = stats[U] / stats[A]
                if more <= 0.0 or more > 2.0 * brightest:  # far brighter: somebody else's light
                    break
                cost = frame_cost(odds, t, place, brightest, stats[A])
                if 0.5 * more * stats[U] < cost - slack:
                    break
                photons[t] = more
                add_light(window.model, part, box, photons, t, t, window.scale)
                mark(window.stamps, place, window.half, t, t, now)
                blinks.first[j] = min(blinks.first[j], t)
                blinks.last[j] = max(blinks.last[j], t)
                changes += 1
    return changes


@njit(nogil=True, cache=True)
def _pull(info, score, dims):  # type: ignore[no-untyped-def]
    """Return (scoreᵀ·info⁻¹·score / 2, log|info|): what the place could gain by moving."""
    step = np.zeros(3)
    log_determinant = solve(info, score, np.full(3, 1e-6), dims, step)
    gain = 0.0
    for i in range(dims):
        gain += 0.5 * step[i] * score[i]
    return gain, log_determinant, step


@njit(nogil=True, cache=True)
def cut(window, blinks, n, odds, now):  # type: ignore[no-untyped-def]
    """Cut blinks whose earlier and later frames want different places; return the new n."""
    _, height, width = window.model.shape
    dims, side = window.dims, 2 * window.half + 1
    scratch, patch = np.empty((2, 3, side)), np.empty((4, side, side))
    stats = np.empty(N_STATS)
    n_before = n
    for j in range(n_before):
        first, last = blinks.first[j], blinks.last[j]
        if not blinks.alive[j] or last == first or n >= len(blinks.alive):
            continue
        if unchanged(window, blinks, j):
            continue
        box = corner(blinks.place[j], window.half, height, width)
        part = draw_patch(window.kernel, blinks.place[j], box, scratch, patch)
        infos, scores = np.zeros((last - first + 2, 3, 3)), np.zeros((last - first + 2, 3))
        for k in range(last - first + 1):  # running sums over the frames
            frame_statistics(
                window.counts, window.model, part, box, first + k, window.scale, dims, stats
            )
            infos[k + 1] = infos[k]
            scores[k + 1] = scores[k]
            place_information(
                stats, blinks.photons[j, first + k], dims, infos[k + 1], scores[k + 1]
            )
        whole, _, _ = _pull(infos[-1], scores[-1], dims)
        best, where = 0.0, -1
        for k in range(1, last - first + 1):
            early, early_size, _ = _pull(infos[k], scores[k], dims)
            late, late_size, _ = _pull(infos[-1] - infos[k], scores[-1] - scores[k], dims)
            size = min(early_size, late_size)
            rise = early + late - whole - place_cost(odds, blinks.place[j], size, dims)
            if rise > best:
                best, where = rise, k
        if where > 0:
            _, _, early_step = _pull(infos[where], scores[where], dims)
            _, _, late_step = _pull(infos[-1] - infos[where], scores[-1] - scores[where], dims)
            _cut_at(window, blinks, j, n, first + where, early_step, late_step, scratch, patch)
            mark(window.stamps, blinks.place[j], window.half, first, last, now)
            mark(window.stamps, blinks.place[n], window.half, first, last, now)
            n += 1
    return n


@njit(nogil=True, cache=True)
def _cut_at(window, blinks, j, new, frame, early_step, late_step, scratch, patch):  # type: ignore[no-untyped-def]
    """Give the frames of blink ``j`` from ``frame`` on to the blink ``new``."""
    draw(window, blinks, j, -1.0, scratch, patch)
    _start(blinks, new, frame, blinks.last[j])
    for i in range(4):
        blinks.place[new, i] = blinks.place[j, i]
    for t in range(frame, blinks.last[j] + 1):
        blinks.photons[new, t] = blinks.photons[j, t]
        blinks.photons[j, t] = 0.0
    blinks.last[j] = frame - 1
    for i in range(window.dims):
        limit = 0.8 if i < 2 else 3.0 * window.bounds[3, 0]
        low, high = window.bounds[i]
        for blink, step in ((j, early_step[i]), (new, late_step[i])):
            moved = blinks.place[blink, 1 + i] + min(max(step, -limit), limit)
            blinks.place[blink, 1 + i] = min(max(moved, low), high)
    draw(window, blinks, j, 1.0, scratch, patch)
    draw(window, blinks, new, 1.0, scratch, patch)


@njit(nogil=True, cache=True)
def _start(blinks, new, first, last):  # type: ignore[no-untyped-def]
    blinks.alive[new] = True
    blinks.first[new], blinks.last[new] = first, last
    blinks.fitted[new] = blinks.judged[new] = 0
    blinks.photons[new, :] = 0.0


@njit(nogil=True, cache=True)
def _information(window, blinks, j, scratch, patch):  # type: ignore[no-untyped-def]
    """Return the information matrix of a blink's place, all else held."""
    _, height, width = window.model.shape
    box = corner(blinks.place[j], window.half, height, width)
    part = draw_patch(window.kernel, blinks.place[j], box, scratch, patch)
    info, score, stats = np.zeros((3, 3)), np.zeros(3), np.empty(N_STATS)
    for t in range(blinks.first[j], blinks.last[j] + 1):
        frame_statistics(
            window.counts, window.model, part, box, t, window.scale, window.dims, stats
        )
        place_information(stats, blinks.photons[j, t], window.dims, info, score)
    for i in range(window.dims):
        info[i, i] += window.damping[i]
    return info


@njit(nogil=True, cache=True)
def join(window, blinks, pairs, odds, now):  # type: ignore[no-untyped-def]
    """Join pairs of blinks, nearest first, where one place explains both; return how many.

    Moving two blinks with information I and J over the distance D to their common place costs
    ``Dᵀ·(I⁻¹ + J⁻¹)⁻¹·D/2``.
    """
    dims, side = window.dims, 2 * window.half + 1
    scratch, patch = np.empty((2, 3, side)), np.empty((4, side, side))
    no_damping = np.full(3, 1e-9)
    joined = 0
    for row in range(len(pairs)):
        i, j = pairs[row]
        if blinks.first[j] < blinks.first[i]:
            i, j = j, i
        if not blinks.alive[i] or not blinks.alive[j] or blinks.first[j] > blinks.last[i] + 1:
            continue
        if unchanged(window, blinks, i) and unchanged(window, blinks, j):
            continue
        if blinks.first[j] <= blinks.last[i]:
            joined += _join_by_trial(window, blinks, i, j, odds, scratch, patch, now)
            continue
        one = _information(window, blinks, i, scratch, patch)
        two = _information(window, blinks, j, scratch, patch)
        apart = np.zeros(3)
        for k in range(dims):
            apart[k] = blinks.place[j, 1 + k] - blinks.place[i, 1 + k]
        pull, step = two @ apart, np.zeros(3)
        solve(one + two, pull, no_damping, dims, step)  # from i towards the common place
        back = one @ step
        loss = 0.5 * np.dot(apart, back)
        size = min(_log_determinant(one, dims), _log_determinant(two, dims))
        gain = place_cost(odds, blinks.place[i], size, dims)
        if loss >= gain:
            continue
        draw(window, blinks, i, -1.0, scratch, patch)
        draw(window, blinks, j, -1.0, scratch, patch)
        for k in range(dims):
            blinks.place[i, 1 + k] += step[k]
        for t in range(blinks.first[j], blinks.last[j] + 1):
            blinks.photons[i, t] += blinks.photons[j, t]
            blinks.photons[j, t] = 0.0
        blinks.last[i] = max(blinks.last[i], blinks.last[j])
        blinks.alive[j] = False
        draw(window, blinks, i, 1.0, scratch, patch)
        for blink in (i, j):
            mark(
                window.stamps,
                blinks.place[blink],
                window.half,
                blinks.first[i],
                blinks.last[i],
                now,
            )
        joined += 1
    return joined


@njit(nogil=True, cache=True)
def _join_by_trial(window, blinks, i, j, odds, scratch, patch, now):  # type: ignore[no-untyped-def]
    """Join blinks ``i`` and ``j``, which share a frame, if the joint fit pays; return 1 if so."""
    _, height, width = window.model.shape
    first = min(blinks.first[i], blinks.first[j])
    last = max(blinks.last[i], blinks.last[j])
    box = surroundings(window, blinks, i, j)
    before = log_likelihood(window, box, first, last)
    size = _log_determinant(_information(window, blinks, j, scratch, patch), window.dims)
    saved = place_cost(odds, blinks.place[j], size, window.dims)
    brightest, stats = _brightest(blinks, j), np.empty(N_STATS)
    here = corner(blinks.place[j], window.half, height, width)
    part = draw_patch(window.kernel, blinks.place[j], here, scratch, patch)
    for t in range(max(blinks.first[i], blinks.first[j]), min(blinks.last[i], blinks.last[j]) + 1):
        frame_statistics(
            window.counts, window.model, part, here, t, window.scale, window.dims, stats
        )
        saved += frame_cost(odds, t, blinks.place[j], brightest, stats[A])
    place, photons = blinks.place[i].copy(), blinks.photons[i].copy()
    span = blinks.first[i], blinks.last[i]
    draw(window, blinks, i, -1.0, scratch, patch)
    draw(window, blinks, j, -1.0, scratch, patch)
    own, other = blinks.photons[i].sum() + 1e-9, blinks.photons[j].sum()
    for k in range(window.dims):
        mixed = own * blinks.place[i, 1 + k] + other * blinks.place[j, 1 + k]
        blinks.place[i, 1 + k] = mixed / (own + other)
    for t in range(blinks.first[j], blinks.last[j] + 1):
        blinks.photons[i, t] += blinks.photons[j, t]
    blinks.first[i], blinks.last[i] = first, last
    draw(window, blinks, i, 1.0, scratch, patch)
    for _ in range(TRIAL_STEPS):
        refine(window, blinks, i, 1.0, scratch, patch)
    if log_likelihood(window, box, first, last) - before + saved > 0.0:
        blinks.alive[j] = False
        blinks.photons[j, :] = 0.0
        mark(window.stamps, blinks.place[i], window.half, first, last, now)
        return 1
    draw(window, blinks, i, -1.0, scratch, patch)
    blinks.place[i], blinks.photons[i] = place, photons
    blinks.first[i], blinks.last[i] = span
    draw(window, blinks, i, 1.0, scratch, patch)
    draw(window, blinks, j, 1.0, scratch, patch)
    return 0


@njit(nogil=True, cache=True)
def _log_determinant(info, dims):  # type: ignore[no-untyped-def]
    return solve(info, np.zeros(3), np.full(3, 1e-9), dims, np.zeros(3))


@njit(nogil=True, cache=True)
def give_birth(window, blinks, n, score, photons, least_score, shape, now):  # type: ignore[no-untyped-def]
    """Start blinks of one frame at the peaks of left-over light; return the new n."""
    n_frames, height, width = score.shape
    side = 2 * window.half + 1
    scratch, patch = np.empty((2, 3, side)), np.empty((4, side, side))
    for t in range(n_frames):
        for y in range(height):
            for x in range(width):
                if score[t, y, x] < least_score or n >= len(blinks.alive):
                    continue
                if not _is_peak(score, t, y, x):
                    continue
                _start(blinks, n, t, t)
                blinks.place[n, X], blinks.place[n, Y] = x + 0.5, y + 0.5
                blinks.place[n, 3] = shape
                blinks.photons[n, t] = photons[t, y, x]
                draw(window, blinks, n, 1.0, scratch, patch)
                mark(window.stamps, blinks.place[n], window.half, t, t, now)
                n += 1
    return n


@njit(nogil=True, cache=True)
def _is_peak(score, t, y, x):  # type: ignore[no-untyped-def]
    """Whether nothing within 2 px in this frame, or 1 px in the frames beside it, is higher."""
    n_frames, height, width = score.shape
    for dt in range(-1, 2):
        if t + dt < 0 or t + dt >= n_frames:
            continue
        reach = 2 if dt == 0 else 1
        for j in range(max(y - reach, 0), min(y + reach + 1, height)):
            for i in range(max(x - reach, 0), min(x + reach + 1, width)):
                if score[t + dt, j, i] > score[t, y, x]:
                    return False
    return True


@njit(nogil=True, cache=True)
def evidence(window, blinks, j, odds, scratch, patch, gains, costs, weights):  # type: ignore[no-untyped-def]
    """Fill gain, cost and information of each frame's photons; return the cost of the place."""
    _, height, width = window.model.shape
    box = corner(blinks.place[j], window.half, height, width)
    part = draw_patch(window.kernel, blinks.place[j], box, scratch, patch)
    info, score, stats = np.zeros((3, 3)), np.zeros(3), np.empty(N_STATS)
    brightest = _brightest(blinks, j)
    for t in range(blinks.first[j], blinks.last[j] + 1):
        k, photons = t - blinks.first[j], blinks.photons[j, t]
        frame_statistics(
            window.counts, window.model, part, box, t, window.scale, window.dims, stats
        )
        weights[k] = stats[A]
        gains[k] = photons * (0.5 * photons * stats[A] + stats[U])
        costs[k] = frame_cost(odds, t, blinks.place[j], brightest, stats[A])
        place_information(stats, photons, window.dims, info, score)
    size = _log_determinant(info, window.dims)
    return place_cost(odds, blinks.place[j], size, window.dims)


@njit(nogil=True, cache=True)
def remove(window, blinks, n, odds, slack, now):  # type: ignore[no-untyped-def]
    """Remove blinks whose light is worth less than their cost less ``slack``; return how many."""
    side = 2 * window.half + 1
    scratch, patch = np.empty((2, 3, side)), np.empty((4, side, side))
    n_frames = len(window.model)
    gains, costs, weights = np.empty(n_frames), np.empty(n_frames), np.empty(n_frames)
    removed = 0
    for j in range(n):
        if not blinks.alive[j]:
            continue
        if unchanged(window, blinks, j):
            continue
        cost = evidence(window, blinks, j, odds, scratch, patch, gains, costs, weights)
        length = blinks.last[j] - blinks.first[j] + 1
        if gains[:length].sum() < cost + costs[:length].sum() - slack:
            draw(window, blinks, j, -1.0, scratch, patch)
            mark(window.stamps, blinks.place[j], window.half, blinks.first[j], blinks.last[j], now)
            blinks.alive[j] = False
            blinks.photons[j, :] = 0.0
            removed += 1
        else:
            blinks.judged[j] = now
    return removed
