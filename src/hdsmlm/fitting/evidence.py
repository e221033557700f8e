"""How probable a number of emitters is: the count map's prior times the fit's evidence.

For K emitters in a region with footprint F (the pixels that are nearer to this group's emitters
than to others'), with theta the fit and I its Fisher information,

``log p(K, data) ≈ L(theta) + log P(K) + log K! + sum_i log p(x_i, y_i) + log p(N_i) [+ log p(z_i)]
+ (n/2)·log 2π - ½·log det(I + C)``.

P(K) is the convolution of the count distributions of the footprint's pixels; p(x, y) their expected
counts, smoothed by half a pixel and normalized; p(N) is flat in log N and p(z) flat over their
ranges; C is the curvature of a weak prior that keeps the volume of unconstrained parameters finite.
K! counts the equal maxima that differ by names alone. The background's prior is common to all K.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hdsmlm.compiled import njit
from hdsmlm.fitting.psf_kernels import FASTMATH, PHOTONS, X, Y
from hdsmlm.records.count_map import expected_count

MAX_COUNT = 24
"""Counts above this in one footprint are taken together."""
DOUBT = 0.02
"""Weight of a Poisson law in the prior of the count: the map may be wrong."""
MISSED_ODDS = 0.15
"""Without a map, factor on numbers above the detected one: an assumption, not a measurement."""
_PLACE_FLOOR = 2e-3
"""Expected count per pixel that is left possible where the map says none."""
_BLUR_PX = 0.5


class CountPrior(NamedTuple):
    """The prior in one region, whose pixels are flattened as in a ``Region``.

    Parameters
    ----------
    log_count : array, shape (MAX_COUNT + 1,)
        log P(K) + log K!.
    log_place : array, shape (ny·nx,)
        log p(x, y) per px², by pixel.
    log_range : float
        log of 1 / log(photons_high / photons_low), and of 1 / range of z where z is free.
    log_least_photons : float
        Below this number of photons the prior falls with their square.
    """

    log_count: NDArray[np.float64]
    log_place: NDArray[np.float64]
    log_range: float
    log_least_photons: float


def count_distribution(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return P(K) of the number of emitters in several pixels: their convolution.

    Parameters
    ----------
    probabilities : array, shape (pixels, 4)
        Probabilities of 0, 1, 2 and 3 (or more) emitters in each.

    Returns
    -------
    array, shape (MAX_COUNT + 1,)
        The last entry holds all larger counts.

    Examples
    --------
    >>> count_distribution(np.array([[0.5, 0.5, 0, 0], [0, 1, 0, 0]]))[:4].tolist()
    [0.0, 0.5, 0.5, 0.0]
    """
    result = np.zeros(MAX_COUNT + 1)
    convolve_counts(np.ascontiguousarray(probabilities, dtype=np.float64), result)
    return result


@njit(nogil=True, cache=True)
def convolve_counts(probabilities, result):  # type: ignore[no-untyped-def]
    """Write the distribution of the sum of independent counts into ``result``."""
    last = len(result) - 1
    result[:] = 0.0
    result[0] = 1.0
    for p in probabilities:
        overflow = 0.0
        for c in range(1, 4):
            for k in range(max(last - c + 1, 0), last + 1):
                overflow += result[k] * p[c]
        for k in range(last, -1, -1):
            total = result[k] * p[0]
            for c in range(1, min(3, k) + 1):
                total += result[k - c] * p[c]
            result[k] = total
        result[last] += overflow


def place_map(count_map: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the expected count per pixel, shape (t, y, x), blurred by half a pixel."""
    from scipy.ndimage import gaussian_filter

    blurred: NDArray[np.float32] = gaussian_filter(
        expected_count(count_map), (0, _BLUR_PX, _BLUR_PX), mode="nearest", truncate=4
    )
    return blurred


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def region_prior(probabilities, expected, footprint, n_detected, ranges):  # type: ignore[no-untyped-def]
    """Return the :class:`CountPrior` of a region.

    Parameters
    ----------
    probabilities : array, shape (4, ny, nx)
        The count map there; no pixels where there is none, and then the count is thought Poisson
        around ``n_detected``, larger counts less probable by MISSED_ODDS, and the place anywhere
        in the footprint.
    expected : array, shape (ny, nx)
        Of :func:`place_map`.
    footprint : array of bool, shape (ny, nx)
        Pixels that belong to this group; where it has none, as where there is no map.
    n_detected : int
        Emitters found there by the detection.
    ranges : tuple of float
        Least photons, largest photons, range of z (0 where z is not fitted).
    """
    ny, nx = footprint.shape
    area = max(footprint.sum(), 1)
    log_count = np.empty(MAX_COUNT + 1)
    log_place = np.full(ny * nx, -math.log(area))
    mean = float(n_detected)
    if probabilities.shape[1] > 0 and footprint.any():  # none is left to a group amid others
        cells = np.empty((area, 4))
        n = 0
        mean = total = 0.0
        for y in range(ny):
            for x in range(nx):
                if footprint[y, x]:
                    total += expected[y, x] + _PLACE_FLOOR
                    for c in range(4):
                        cells[n, c] = probabilities[c, y, x]
                        mean += c * cells[n, c]
                    n += 1
        convolve_counts(cells[:n], log_count)
        for y in range(ny):
            for x in range(nx):
                log_place[y * nx + x] = math.log((expected[y, x] + _PLACE_FLOOR) / total)
        weight = DOUBT
    else:
        log_count[:] = 0.0
        weight = 1.0
    mean = max(mean, 0.05)
    poisson, factorial = math.exp(-mean), 0.0
    for k in range(MAX_COUNT + 1):
        if k > 0:
            poisson *= mean / k
            factorial += math.log(k)
        value = (1.0 - weight) * log_count[k] + weight * poisson
        if weight == 1.0 and k > n_detected:
            value *= MISSED_ODDS
        log_count[k] = math.log(max(value, 1e-300)) + factorial
    low, high, depth = ranges
    log_range = -math.log(math.log(high / low))
    if depth > 0:
        log_range -= math.log(depth)
    return CountPrior(log_count, log_place, log_range, math.log(low))


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def log_emitter_prior(prior, region, place):  # type: ignore[no-untyped-def]
    """Return log p(x, y) + log p(N) [+ log p(z)] of one emitter (photons, x, y, shape)."""
    column = min(max(math.floor(place[X]) - region.x0, 0), region.nx - 1)
    row = min(max(math.floor(place[Y]) - region.y0, 0), region.ny - 1)
    log_photons = math.log(max(place[PHOTONS], 1e-3))
    value = prior.log_place[row * region.nx + column] + prior.log_range - log_photons
    if log_photons < prior.log_least_photons:
        value -= 3.0 * (prior.log_least_photons - log_photons)
    return value
