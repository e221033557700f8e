"""The loops of linking, in Numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit


@njit(nogil=True, cache=True)
def link_rows(
    frames: NDArray[np.int64],
    starts: NDArray[np.int64],
    position: NDArray[np.float64],
    variance: NDArray[np.float64],
    max_dark: int,
    add_variances: bool,
) -> NDArray[np.int64]:
    """Return the blink of each row; blinks are numbered in the order of their first rows.

    Parameters
    ----------
    frames : array, shape (n,)
        Ascending; within a frame the rows ascend in x.
    starts : array, shape (f + 1,)
        First row of each frame that holds any, and n.
    position, variance : array, shape (n, d)
        nm and nm². A pair may join when the sum over d of (difference)²/(variance) is below 1;
        the variance of a pair is the sum of both with ``add_variances``, else that of the row.
    max_dark : int
        Frames in a row in which an open blink may be unseen.
    """
    n_rows, n_axes = position.shape
    blink = np.full(n_rows, -1, np.int64)
    mean = np.empty((n_rows, n_axes))  # of blinks; as many as rows at most
    weight = np.empty((n_rows, n_axes))
    last = np.empty(n_rows, np.int64)
    n_blinks = 0
    open_ = np.empty(0, np.int64)
    for step in range(len(starts) - 1):
        first, end = starts[step], starts[step + 1]
        open_ = open_[last[open_] >= frames[first] - 1 - max_dark]
        open_ = open_[np.argsort(mean[open_, 0], kind="mergesort")]
        cost, left, right = _candidates(
            position[first:end], variance[first:end], mean[open_], weight[open_], add_variances
        )
        taken = np.zeros(len(open_), np.bool_)
        for pair in np.argsort(cost, kind="mergesort"):
            row, place = first + right[pair], left[pair]
            if blink[row] >= 0 or taken[place]:
                continue
            taken[place] = True
            b = open_[place]
            blink[row] = b
            last[b] = frames[first]
            for axis in range(n_axes):
                w = 1.0 / variance[row, axis]
                weight[b, axis] += w
                mean[b, axis] += (position[row, axis] - mean[b, axis]) * w / weight[b, axis]
        begun = n_blinks
        for row in range(first, end):
            if blink[row] < 0:
                blink[row] = n_blinks
                last[n_blinks] = frames[first]
                mean[n_blinks] = position[row]
                weight[n_blinks] = 1.0 / variance[row]
                n_blinks += 1
        open_ = np.concatenate((open_, np.arange(begun, n_blinks)))
    return blink


@njit(nogil=True, cache=True)
def _candidates(position, variance, mean, weight, add_variances):  # type: ignore[no-untyped-def]
    """Return (cost, open blink, row) of all pairs below cost 1; both sides ascend in x."""
    cost = np.empty(64)
    left = np.empty(64, np.int64)
    right = np.empty(64, np.int64)
    n_pairs = 0
    if len(mean) == 0:
        return cost[:0], left[:0], right[:0]
    widest = variance[:, 0].max()
    if add_variances:
        widest += (1.0 / weight[:, 0]).max()
    reach = np.sqrt(widest)
    begin = 0
    for row in range(len(position)):
        while begin < len(mean) and mean[begin, 0] < position[row, 0] - reach:
            begin += 1
        for place in range(begin, len(mean)):
            if mean[place, 0] > position[row, 0] + reach:
                break
            total = 0.0
            for axis in range(position.shape[1]):
                pair = variance[row, axis]
                if add_variances:
                    pair += 1.0 / weight[place, axis]
                total += (position[row, axis] - mean[place, axis]) ** 2 / pair
            if not total < 1.0:
                continue
            if n_pairs == len(cost):
                cost = np.concatenate((cost, np.empty(n_pairs)))
                left = np.concatenate((left, np.empty(n_pairs, np.int64)))
                right = np.concatenate((right, np.empty(n_pairs, np.int64)))
            cost[n_pairs], left[n_pairs], right[n_pairs] = total, place, row
            n_pairs += 1
    return cost[:n_pairs], left[:n_pairs], right[:n_pairs]


@njit(nogil=True, cache=True)
def unite_flags(
    index: NDArray[np.int64], flags: NDArray[np.int64], n_blinks: int
) -> NDArray[np.int64]:
    """Return the bits that any row of each blink has."""
    united = np.zeros(n_blinks, np.int64)
    for row in range(len(index)):
        united[index[row]] |= flags[row]
    return united
