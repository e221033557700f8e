"""Groups of overlapping emitters: a pure step between detection and fit.

Emitters of one frame closer than ``link_px`` belong together. A connected group of more than
``max_size`` is cut: links are taken in order of length, the shortest first, and one that would
join more than ``max_size`` emitters is left out. So the closest pairs stay together, and a group
depends on the emitters that it is connected to and on nothing else: not on the order of the table,
nor on other frames.

Groups whose light reaches each other get different colours; those of one colour can be fitted at
the same time while all others are held fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit


@dataclass(frozen=True)
class GroupRules:
    """What makes a group.

    Parameters
    ----------
    link_px : float
        Emitters nearer than this are linked.
    max_size : int
        Most emitters of a group.
    half_px : int
        Half-side of the square of pixels fitted around an emitter, without the middle.
    support_px : float
        Farthest that the light of an emitter reaches.
    """

    link_px: float
    max_size: int
    half_px: int
    support_px: float


@dataclass(frozen=True)
class Groups:
    """Emitters in groups, numbered by frame and by their first emitter in reading order.

    Parameters
    ----------
    order : array, shape (n,)
        Rows of the emitters, group by group, in reading order within a group.
    start : array, shape (g + 1,)
        Group i holds ``order[start[i]:start[i + 1]]``.
    frame : array, shape (g,)
        Frame of each group.
    box : array, shape (g, 4)
        Pixels y0, y1, x0, x1 (ends excluded) that hold the squares of all its emitters; empty where
        they lie outside of the frame.
    neighbours : array, shape (m,)
        Places in ``order`` of emitters of other groups whose light reaches the box.
    neighbour_start : array, shape (g + 1,)
        Group i has ``neighbours[neighbour_start[i]:neighbour_start[i + 1]]``.
    colour : array, shape (g,)
        Differs between groups that are neighbours.
    """

    order: NDArray[np.int64]
    start: NDArray[np.int64]
    frame: NDArray[np.int64]
    box: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    neighbour_start: NDArray[np.int64]
    colour: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frame)


def group_emitters(
    frame: NDArray[np.integer],
    x_px: NDArray[np.float64],
    y_px: NDArray[np.float64],
    shape: tuple[int, int],
    rules: GroupRules,
) -> Groups:
    """Group the emitters of every frame.

    Parameters
    ----------
    frame : array, shape (n,)
        Frame of each emitter.
    x_px, y_px : array, shape (n,)
        Positions from the outer corner of pixel (0, 0).
    shape : tuple of int
        (y, x) of a frame.
    rules : GroupRules
        Distances and sizes.
    """
    reading = np.lexsort((x_px, y_px, frame))
    f, x, y = frame[reading].astype(np.int64), x_px[reading], y_px[reading]
    reach = rules.half_px + 1 + rules.support_px
    first, second = _near_pairs(f, x, y, max(reach, rules.link_px))
    distance = np.hypot(x[first] - x[second], y[first] - y[second])
    linked = distance < rules.link_px
    edges = np.lexsort((second[linked], first[linked], distance[linked]))
    label = _join(len(f), first[linked][edges], second[linked][edges], rules.max_size)
    order = np.argsort(label, kind="stable")
    n_groups = int(label.max()) + 1 if len(label) else 0
    start = np.searchsorted(label[order], np.arange(n_groups + 1)).astype(np.int64)
    place = np.empty(len(f), np.int64)
    place[order] = np.arange(len(f))
    touching = (np.abs(x[first] - x[second]) < reach) & (label[first] != label[second])
    a, b = place[first[touching]], place[second[touching]]
    box = _boxes(start, x[order], y[order], shape, rules.half_px)
    neighbours, neighbour_start = _neighbours(start, np.append(a, b), np.append(b, a))
    return Groups(
        order=reading[order],
        start=start,
        frame=f[order][start[:-1]],
        box=box,
        neighbours=neighbours,
        neighbour_start=neighbour_start,
        colour=_colours(start, neighbours, neighbour_start),
    )


@njit(nogil=True, cache=True)
def _near_pairs(frame, x, y, reach):  # type: ignore[no-untyped-def]
    """Return pairs of a frame less than ``reach`` apart along both axes; sorted by frame, y."""
    n, found = len(x), 0
    first, second = np.empty(max(4 * n, 16), np.int64), np.empty(max(4 * n, 16), np.int64)
    for i in range(n):
        j = i + 1
        while j < n and frame[j] == frame[i] and y[j] - y[i] < reach:
            if abs(x[j] - x[i]) < reach:
                if found == len(first):
                    first = np.append(first, np.empty_like(first))
                    second = np.append(second, np.empty_like(second))
                first[found], second[found] = i, j
                found += 1
            j += 1
    return first[:found].copy(), second[:found].copy()


@njit(nogil=True, cache=True)
def _root(parent, i):  # type: ignore[no-untyped-def]
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(nogil=True, cache=True)
def _join(n, first, second, max_size):  # type: ignore[no-untyped-def]
    """Return group labels, numbered in order of the first member."""
    parent, size = np.arange(n), np.ones(n, np.int64)
    for edge in range(len(first)):
        a, b = _root(parent, first[edge]), _root(parent, second[edge])
        if a != b and size[a] + size[b] <= max_size:
            low, high = min(a, b), max(a, b)
            parent[high] = low
            size[low] += size[high]
    label, names, count = np.empty(n, np.int64), np.full(n, -1), 0
    for i in range(n):
        root = _root(parent, i)
        if names[root] < 0:
            names[root] = count
            count += 1
        label[i] = names[root]
    return label


def _boxes(
    start: NDArray[np.int64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    shape: tuple[int, int],
    half: int,
) -> NDArray[np.int64]:
    if len(start) == 1:
        return np.empty((0, 4), np.int64)
    row, column = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    ends = start[:-1]
    sides = (
        np.clip(np.minimum.reduceat(row, ends) - half, 0, shape[0]),
        np.clip(np.maximum.reduceat(row, ends) + half + 1, 0, shape[0]),
        np.clip(np.minimum.reduceat(column, ends) - half, 0, shape[1]),
        np.clip(np.maximum.reduceat(column, ends) + half + 1, 0, shape[1]),
    )
    return np.stack(sides, axis=1)


def _neighbours(
    start: NDArray[np.int64], near: NDArray[np.int64], other: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the emitters near each group, from directed pairs of places (near, other)."""
    n = max(int(start[-1]), 1)
    group = np.searchsorted(start, near, side="right") - 1
    keys = np.unique(group * n + other)
    return keys % n, np.searchsorted(keys, np.arange(len(start)) * n).astype(np.int64)


@njit(nogil=True, cache=True)
def _colours(start, neighbours, neighbour_start):  # type: ignore[no-untyped-def]
    """Give each group, in order, the least colour that no earlier neighbour has."""
    n_groups = len(start) - 1
    group_of = np.empty(start[-1], np.int64)
    for group in range(n_groups):
        group_of[start[group] : start[group + 1]] = group
    colour = np.zeros(n_groups, np.int64)
    taken = np.full(n_groups + 1, -1)
    for group in range(n_groups):
        for k in range(neighbour_start[group], neighbour_start[group + 1]):
            other = group_of[neighbours[k]]
            if other < group:
                taken[colour[other]] = group
        while taken[colour[group]] == group:
            colour[group] += 1
    return colour
