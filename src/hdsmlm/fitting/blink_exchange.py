"""Moves between two neighbours: whose light the frame at the end of a blink is.

Of two near blinks, one can have been given a frame that is the other's, or hold the light of both
where the other was on for a frame longer. Neither is seen by looking at one blink while the other
is held: the light is explained. What is tried of a pair i, j:

- give: the first or last frame of i goes to j, which is on in that frame or in the one beside it;
- share: i is on for one frame more, in which j alone was thought to be on.

A trial refines both blinks, all others held. The exact change of the log-likelihood around them,
less that of the costs (:mod:`hdsmlm.fitting.blink_moves`), decides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit
from hdsmlm.fitting.blink_kernels import draw, log_likelihood, mark, refine, surroundings
from hdsmlm.fitting.blink_moves import evidence, unchanged

GIVE, SHARE = 0, 1
FIRST_STEPS, MORE_STEPS = 2, 3
"""Gauss-Newton steps of both blinks in a trial, before and after it is judged hopeful."""

HOPELESS = -15.0
"""A trial whose log-likelihood has still fallen by more after the first steps is given up: no frame
costs so much."""

LEAST_GAIN = 0.5
"""Gain of the log-posterior below which nothing is changed."""


class _Space(NamedTuple):
    """Memory that the kernels write into."""

    scratch: NDArray[np.float64]
    patch: NDArray[np.float64]
    gains: NDArray[np.float64]
    costs: NDArray[np.float64]
    weights: NDArray[np.float64]


@njit(nogil=True, cache=True)
def exchange(window, blinks, pairs, odds, now):  # type: ignore[no-untyped-def]
    """Make the best exchange of each near pair, nearest first, that pays; return how many."""
    side, n_frames = 2 * window.half + 1, len(window.model)
    space = _Space(
        np.empty((2, 3, side)), np.empty((4, side, side)),
        np.empty(n_frames), np.empty(n_frames), np.empty(n_frames),
    )  # fmt: skip
    made = 0
    for row in range(len(pairs)):
        i, j = pairs[row]
        if not blinks.alive[i] or not blinks.alive[j]:
            continue
        if unchanged(window, blinks, i) and unchanged(window, blinks, j):
            continue
        first, last = _frames(window, blinks, i, j)
        box = surroundings(window, blinks, i, j)
        likelihood = log_likelihood(window, box, first, last)
        before = likelihood, _costs(window, blinks, i, j, odds, space)
        best, kind_of_best, frame, one, two = LEAST_GAIN, -1, 0, i, j
        for kind in range(2):
            for turn in range(2):
                a, b = (i, j) if turn == 0 else (j, i)
                for end in range(2):
                    t = _frame_at_end(blinks, a, kind, end)
                    if not _possible(blinks, a, b, kind, t):
                        continue
                    gain = _trial(window, blinks, a, b, kind, t, odds, box, before, space)
                    if gain > best:
                        best, kind_of_best, frame, one, two = gain, kind, t, a, b
        if kind_of_best >= 0:
            _make(window, blinks, one, two, kind_of_best, frame, space)
            _refine(window, blinks, one, two, FIRST_STEPS + MORE_STEPS, space)
            for blink in (i, j):
                mark(window.stamps, blinks.place[blink], window.half, first, last, now)
            made += 1
    return made


@njit(nogil=True, cache=True)
def _frames(window, blinks, i, j):  # type: ignore[no-untyped-def]
    """Return the first and the last frame that a pair has or may get."""
    first = min(blinks.first[i], blinks.first[j]) - 1
    last = max(blinks.last[i], blinks.last[j]) + 1
    return max(first, 0), min(last, len(window.model) - 1)


@njit(nogil=True, cache=True)
def _frame_at_end(blinks, i, kind, end):  # type: ignore[no-untyped-def]
    """Return the frame that blink i would lose (give) or get (share) at its start or its end."""
    beyond = 1 if kind == SHARE else 0
    return blinks.first[i] - beyond if end == 0 else blinks.last[i] + beyond


@njit(nogil=True, cache=True)
def _possible(blinks, i, j, kind, t):  # type: ignore[no-untyped-def]
    """Whether both remain, without gaps, after i has given frame t to j or got a share of it."""
    if kind == GIVE:
        return blinks.last[i] > blinks.first[i] and (blinks.first[j] - 1 <= t <= blinks.last[j] + 1)
    return blinks.first[j] <= t <= blinks.last[j]


@njit(nogil=True, cache=True)
def _costs(window, blinks, i, j, odds, space):  # type: ignore[no-untyped-def]
    """Return what the places and the frames of a pair cost."""
    total = 0.0
    for blink in (i, j):
        total += evidence(
            window, blinks, blink, odds, space.scratch, space.patch,
            space.gains, space.costs, space.weights,
        )  # fmt: skip
        total += space.costs[: blinks.last[blink] - blinks.first[blink] + 1].sum()
    return total


@njit(nogil=True, cache=True)
def _trial(window, blinks, i, j, kind, t, odds, box, before, space):  # type: ignore[no-untyped-def]
    """Return the gain of the log-posterior by an exchange, which is undone.

    ``before`` holds log-likelihood and costs without it.
    """
    first, last = _frames(window, blinks, i, j)
    place_i, place_j = blinks.place[i].copy(), blinks.place[j].copy()
    photons_i, photons_j = blinks.photons[i].copy(), blinks.photons[j].copy()
    spans = blinks.first[i], blinks.last[i], blinks.first[j], blinks.last[j]
    _make(window, blinks, i, j, kind, t, space)
    _refine(window, blinks, i, j, FIRST_STEPS, space)
    gain = log_likelihood(window, box, first, last) - before[0]
    if gain > HOPELESS:
        _refine(window, blinks, i, j, MORE_STEPS, space)
        gain = log_likelihood(window, box, first, last) - before[0]
        gain += before[1] - _costs(window, blinks, i, j, odds, space)
    draw(window, blinks, i, -1.0, space.scratch, space.patch)
    draw(window, blinks, j, -1.0, space.scratch, space.patch)
    blinks.place[i], blinks.place[j] = place_i, place_j
    blinks.photons[i], blinks.photons[j] = photons_i, photons_j
    blinks.first[i], blinks.last[i], blinks.first[j], blinks.last[j] = spans
    draw(window, blinks, i, 1.0, space.scratch, space.patch)
    draw(window, blinks, j, 1.0, space.scratch, space.patch)
    return gain


@njit(nogil=True, cache=True)
def _refine(window, blinks, i, j, steps, space):  # type: ignore[no-untyped-def]
    for _ in range(steps):
        refine(window, blinks, i, 1.0, space.scratch, space.patch)
        refine(window, blinks, j, 1.0, space.scratch, space.patch)


@njit(nogil=True, cache=True)
def _make(window, blinks, i, j, kind, t, space):  # type: ignore[no-untyped-def]
    """Let i give its light of frame t to j, or take half of j's."""
    draw(window, blinks, i, -1.0, space.scratch, space.patch)
    draw(window, blinks, j, -1.0, space.scratch, space.patch)
    if kind == GIVE:
        blinks.photons[j, t] += blinks.photons[i, t]
        blinks.photons[i, t] = 0.0
        if t == blinks.first[i]:
            blinks.first[i] += 1
        else:
            blinks.last[i] -= 1
        blinks.first[j], blinks.last[j] = min(blinks.first[j], t), max(blinks.last[j], t)
    else:
        blinks.photons[j, t] *= 0.5
        blinks.photons[i, t] = blinks.photons[j, t]
        blinks.first[i], blinks.last[i] = min(blinks.first[i], t), max(blinks.last[i], t)
    draw(window, blinks, i, 1.0, space.scratch, space.patch)
    draw(window, blinks, j, 1.0, space.scratch, space.patch)
