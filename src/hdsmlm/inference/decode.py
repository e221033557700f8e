"""From the probability map to emitters: peel units of expected count.

The mass of one uncertain emitter spreads over neighbouring pixels, so an argmax per pixel loses it.
The map of expected counts ``E = P1 + 2·P2 + 3·P3`` keeps it. Per frame:

1. **Integrate.** ``S = g * E`` with the weight ``g(d) = exp(-d² / 2s²)``, s = ``kernel_sigma_px``,
   cut off at ``radius_px``.
2. **Peak.** Take the highest local maximum of S; equal values go to the lower raster index.
3. **Peel.** Take one unit of mass, or what is there, within ``radius_px``, the nearest first; of
   the last ring of equally distant pixels each gives the same part of its mass. A unit of at least
   ``threshold`` becomes an emitter; its mass leaves E and S, and 2 goes on until no peak is left.
4. **Exchange.** Neighbouring units share the mass that they took in proportion to g around their
   positions, now with s = ``exchange_sigma_px`` (a mixture of equal units), which undoes what the
   first peel took from its neighbour. Each emitter lies at the centre of its share.

A decision depends on the map within a few ``radius_px`` of it, so a cut-out decodes like the whole
frame away from its rim, and no result depends on threads or tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit
from hdsmlm.config.prediction import DecodingConfig
from hdsmlm.records.count_map import expected_count
from hdsmlm.records.emitters import Emitters
from hdsmlm.units import centre_to_corner_px

COLUMNS = ("frame", "x_nm", "y_nm", "probability", "count_class", "expected_count")
"""Columns of the table that :func:`decode` returns."""

_PAD_PX = 5
"""Empty rim around the frame, at least the largest ``radius_px`` + 1: no test of bounds inside."""


def decode(
    probabilities: NDArray[np.floating],
    config: DecodingConfig,
    *,
    pixel_size_nm: float,
    first_frame: int = 0,
) -> Emitters:
    """Decode count probabilities into emitters.

    Parameters
    ----------
    probabilities : array, shape (t, 4, y, x)
        Probabilities of 0, 1, 2 and 3+ emitters per pixel.
    config : DecodingConfig
        Threshold and neighbourhood.
    pixel_size_nm : float
        Side of a pixel.
    first_frame : int
        Frame number of ``probabilities[0]``.

    Returns
    -------
    Emitters
        Sorted by frame, y, x, with the columns :data:`COLUMNS`: ``probability`` is the mass that
        the unit took (threshold..1), ``count_class`` the most probable count of the 3×3 pixels
        around it, ``expected_count`` the sum of E over the 5×5 pixels around it.
    """
    if probabilities.ndim != 4 or probabilities.shape[1] != 4:
        raise ValueError(f"expected probabilities (t, 4, y, x), got {probabilities.shape}")
    probabilities = np.ascontiguousarray(probabilities, dtype=np.float32)
    tables = [
        _decode_frame(probabilities[index], config, pixel_size_nm, first_frame + index)
        for index in range(len(probabilities))
    ]
    tables = [table for table in tables if len(table)]
    return Emitters.concatenate(tables).sorted() if tables else Emitters.empty(COLUMNS[3:])


@dataclass(frozen=True)
class Units:
    """Units of mass peeled off one map, in the order of peeling.

    Parameters
    ----------
    x_px, y_px : array, shape (n,)
        Centres, from the outer corner of pixel (0, 0).
    mass : array, shape (n,)
        Expected count that each took, threshold..1.
    """

    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]
    mass: NDArray[np.float64]


def peel_units(expected: NDArray[np.floating], config: DecodingConfig) -> Units:
    """Peel units of mass off one map of expected counts, shape (y, x)."""
    height, width = expected.shape
    padded = np.zeros((height + 2 * _PAD_PX, width + 2 * _PAD_PX))
    inside = slice(_PAD_PX, -_PAD_PX)
    padded[inside, inside] = np.where(expected >= config.floor, expected, 0.0)
    row = padded.shape[1]
    mass = padded.ravel()
    near = _Neighbourhood(config, row)
    left = mass.copy()
    units = _peel(left, row, near.reach, near.steps, near.weights, near.ring_ends, config.threshold)
    taken = mass - left
    _exchange(taken, units, row, near.steps, config.exchange_sigma_px, config.exchange_rounds)
    y_px, x_px = (centre_to_corner_px(units[:, place] - _PAD_PX) for place in (2, 3))
    return Units(x_px, y_px, units[:, 1])


class _Neighbourhood:
    """Pixels within ``radius_px``: rings of equal distance, nearest first, raster order inside."""

    def __init__(self, config: DecodingConfig, row_length: int) -> None:
        self.reach = reach = int(config.radius_px)
        squares = sorted(
            (dy * dy + dx * dx, dy, dx)
            for dy in range(-reach, reach + 1)
            for dx in range(-reach, reach + 1)
            if dy * dy + dx * dx <= config.radius_px**2
        )
        distance2 = np.array([square for square, _, _ in squares], dtype=np.float64)
        self.steps = np.array([dy * row_length + dx for _, dy, dx in squares], dtype=np.int64)
        self.weights = np.exp(-distance2 / (2 * config.kernel_sigma_px**2))
        self.ring_ends = np.append(np.flatnonzero(np.diff(distance2)) + 1, len(squares))


def _decode_frame(
    probabilities: NDArray[np.float32], config: DecodingConfig, pixel_size_nm: float, frame: int
) -> Emitters:
    expected = expected_count(probabilities[None])[0]
    units = peel_units(expected, config)
    count_class, window_count = _surroundings(probabilities, expected, units.y_px, units.x_px)
    return Emitters(
        {
            "frame": np.full(len(units.mass), frame),
            "x_nm": units.x_px * pixel_size_nm,
            "y_nm": units.y_px * pixel_size_nm,
            "probability": units.mass,
            "count_class": count_class,
            "expected_count": window_count,
        }
    )


@njit(nogil=True, cache=True)
def _is_peak(score, index, row):  # type: ignore[no-untyped-def]
    """Whether no neighbour is higher; among equals the lowest raster index is the peak."""
    here = score[index]
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            other = index + dy * row + dx
            if score[other] > here or (score[other] == here and other < index):
                return False
    return True


@njit(nogil=True, cache=True)
def _push(heap_score, heap_index, size, score, index):  # type: ignore[no-untyped-def]
    """Sift a new entry up; the order is (score falling, raster index rising)."""
    child = size
    while child > 0:
        parent = (child - 1) // 2
        above = heap_score[parent]
        if above > score or (above == score and heap_index[parent] <= index):
            break
        heap_score[child] = above
        heap_index[child] = heap_index[parent]
        child = parent
    heap_score[child] = score
    heap_index[child] = index
    return size + 1


@njit(nogil=True, cache=True)
def _drop_top(heap_score, heap_index, size):  # type: ignore[no-untyped-def]
    size -= 1
    score = heap_score[size]
    index = heap_index[size]
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            heap_score[right] > heap_score[child]
            or (heap_score[right] == heap_score[child] and heap_index[right] < heap_index[child])
        ):
            child = right
        if score > heap_score[child] or (score == heap_score[child] and index < heap_index[child]):
            break
        heap_score[parent] = heap_score[child]
        heap_index[parent] = heap_index[child]
        parent = child
    heap_score[parent] = score
    heap_index[parent] = index
    return size


@njit(nogil=True, cache=True)
def _share(mass, index, steps, ring_ends, parts):  # type: ignore[no-untyped-def]
    """Fill ``parts`` with the share of each pixel's mass that one unit at ``index`` takes."""
    parts[:] = 0.0
    lacking = 1.0
    start = 0
    for ring in range(ring_ends.size):
        there = 0.0
        for k in range(start, ring_ends[ring]):
            there += mass[index + steps[k]]
        part = 1.0 if there <= lacking else lacking / there
        parts[start : ring_ends[ring]] = part
        lacking -= part * there
        if part < 1.0:
            break
        start = ring_ends[ring]


@njit(nogil=True, cache=True)
def _take_unit(mass, score, index, row, steps, weights, parts):  # type: ignore[no-untyped-def]
    """Remove a unit's shares from ``mass`` and ``score``; return (mass taken, its centre y, x)."""
    taken = 0.0
    sum_y = 0.0
    sum_x = 0.0
    for k in range(steps.size):
        other = index + steps[k]
        part = parts[k] * mass[other]
        if part > 0.0:
            taken += part
            sum_y += part * (other // row)
            sum_x += part * (other % row)
            mass[other] = max(mass[other] - part, 0.0)
            for j in range(steps.size):
                score[other + steps[j]] -= weights[j] * part
    return min(taken, 1.0), sum_y / taken, sum_x / taken


@njit(nogil=True, cache=True)
def _scores(mass, row, steps, weights):  # type: ignore[no-untyped-def]
    score = np.zeros(mass.size)
    for y in range(_PAD_PX, mass.size // row - _PAD_PX):
        for x in range(_PAD_PX, row - _PAD_PX):
            here = mass[y * row + x]
            if here > 0.0:
                for k in range(steps.size):
                    score[y * row + x + steps[k]] += weights[k] * here
    return score


@njit(nogil=True, cache=True)
def _peel(mass, row, reach, steps, weights, ring_ends, threshold):  # type: ignore[no-untyped-def]
    """Peel units off the flat, padded ``mass``; return one row (peak, taken, y, x) per unit."""
    score = _scores(mass, row, steps, weights)
    wide = 2 * reach + 1  # scores change within twice the reach, so peaks appear one pixel further
    room = (2 * wide + 1) ** 2
    heap_score = np.empty(mass.size // 4 + room)  # at most one pixel in four is a peak
    heap_index = np.empty(heap_score.size, np.int64)
    size = 0
    least = threshold * weights.mean()  # score of a unit that is spread evenly: the lowest peak
    # No peak lies in the rim: all mass is nearer to the inner neighbour of a rim pixel.
    for y in range(_PAD_PX, mass.size // row - _PAD_PX):
        for index in range(y * row + _PAD_PX, (y + 1) * row - _PAD_PX):
            if score[index] >= least and _is_peak(score, index, row):
                size = _push(heap_score, heap_index, size, score[index], index)
    units = np.empty((int(mass.sum() / threshold) + 1, 4))
    parts = np.empty(steps.size)
    n = 0
    while size > 0:
        index = heap_index[0]
        top = heap_score[0]
        size = _drop_top(heap_score, heap_index, size)
        if top != score[index]:
            continue  # renewed since it was pushed; where it still is a peak, it was pushed again
        available = 0.0
        for k in range(steps.size):
            available += mass[index + steps[k]]
        if available < threshold:
            continue
        _share(mass, index, steps, ring_ends, parts)
        units[n, 0] = index
        units[n, 1], units[n, 2], units[n, 3] = _take_unit(
            mass, score, index, row, steps, weights, parts
        )
        n += 1
        if size + room > heap_index.size:  # here, not in _push: arrays that a loop rebinds are slow
            heap_score = np.concatenate((heap_score, np.empty_like(heap_score)))
            heap_index = np.concatenate((heap_index, np.empty_like(heap_index)))
        y0, x0 = max(_PAD_PX, index // row - wide), max(_PAD_PX, index % row - wide)
        y1 = min(mass.size // row - _PAD_PX, index // row + wide + 1)
        x1 = min(row - _PAD_PX, index % row + wide + 1)
        for y in range(y0, y1):
            for other in range(y * row + x0, y * row + x1):
                if score[other] >= least and _is_peak(score, other, row):
                    size = _push(heap_score, heap_index, size, score[other], other)
    return units[:n]


@njit(nogil=True, cache=True)
def _exchange(mass, units, row, steps, sigma_px, rounds):  # type: ignore[no-untyped-def]
    """Share the mass taken by neighbouring units by nearness; update their centres in place."""
    claims = np.zeros(mass.size)
    weight = np.empty((len(units), steps.size))
    for _ in range(rounds):
        for n in range(len(units)):
            for k in range(steps.size):
                other = int(units[n, 0]) + steps[k]
                distance2 = (other // row - units[n, 2]) ** 2 + (other % row - units[n, 3]) ** 2
                weight[n, k] = np.exp(-distance2 / (2 * sigma_px**2))
                claims[other] += weight[n, k]
        for n in range(len(units)):
            total = 0.0
            sum_y = 0.0
            sum_x = 0.0
            for k in range(steps.size):
                other = int(units[n, 0]) + steps[k]
                if claims[other] == 0.0:  # underflow: too far from every unit
                    continue
                part = mass[other] * weight[n, k] / claims[other]
                total += part
                sum_y += part * (other // row)
                sum_x += part * (other % row)
            if total > 0.0:
                units[n, 2] = sum_y / total
                units[n, 3] = sum_x / total
        for n in range(len(units)):
            for k in range(steps.size):
                claims[int(units[n, 0]) + steps[k]] = 0.0


@njit(nogil=True, cache=True)
def _surroundings(probabilities, expected, y_px, x_px):  # type: ignore[no-untyped-def]
    """Return the most probable count of the 3×3 and the expected count of the 5×5 pixels around."""
    _, height, width = probabilities.shape
    count_class = np.empty(y_px.size, np.int32)
    window_count = np.empty(y_px.size)
    counts = np.empty(4)
    summed = np.empty(4)
    for n in range(y_px.size):
        row = min(max(int(np.floor(y_px[n])), 0), height - 1)
        column = min(max(int(np.floor(x_px[n])), 0), width - 1)
        total = 0.0
        counts[:] = 0.0
        counts[0] = 1.0
        for y in range(max(row - 2, 0), min(row + 3, height)):
            for x in range(max(column - 2, 0), min(column + 3, width)):
                total += expected[y, x]
                if abs(y - row) <= 1 and abs(x - column) <= 1:
                    # Sum of two independent counts, both clipped at 3.
                    summed[:] = 0.0
                    for i in range(4):
                        for j in range(4):
                            summed[min(i + j, 3)] += counts[i] * probabilities[j, y, x]
                    counts[:] = summed
        window_count[n] = total
        count_class[n] = np.argmax(counts)
    return count_class, window_count
