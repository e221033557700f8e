"""Cross-correlation of rendered point sets in bounded memory: tiles, summed in Fourier space.

The correlation of two images at the lag d is ``C(d) = sum_r A(r) B(r + d)``. With the field cut
into tiles that are padded by the largest lag, the spectra ``conj(A) B`` of all tiles add up, so one
inverse transform per pair is enough and no image of the whole field is ever held.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

TILE_PX = 512
"""Side of a tile with its padding."""
_REFINE_STEPS = 5


@dataclass(frozen=True)
class Points:
    """Points of several time segments in image coordinates.

    Parameters
    ----------
    u_px, v_px : array, shape (n,)
        Coordinates in pixels, any origin.
    segment : array of int, shape (n,)
        Time segment of each point.
    n_segments : int
        Number of segments.
    """

    u_px: NDArray[np.float64]
    v_px: NDArray[np.float64]
    segment: NDArray[np.int64]
    n_segments: int


def cross_correlations(points: Points, max_lag_px: int) -> NDArray[np.float64]:
    """Return the cross-correlation of every pair of segments for lags up to ``max_lag_px``.

    Parameters
    ----------
    points : Points
        At most one count per point and pixel; no smoothing.
    max_lag_px : int
        Largest lag on both axes.

    Returns
    -------
    array, shape (n_segments·(n_segments - 1)/2, 2·max_lag_px + 1, 2·max_lag_px + 1)
        Pairs (0, 1), (0, 2), ..., (1, 2), ...; axes are the lags of v and of u from
        ``-max_lag_px``, positive where the later segment lies at larger coordinates.
    """
    import scipy.fft

    # The image needs the lag as padding on one side only: wrapped lags then meet empty pixels.
    side = scipy.fft.next_fast_len(max(TILE_PX, 3 * max_lag_px), real=True)
    inner = side - max_lag_px
    pairs = list(combinations(range(points.n_segments), 2))
    spectra = np.zeros((len(pairs), side, side // 2 + 1), np.complex64)
    place, keys = _tiles(points, inner)
    order = np.argsort(keys, kind="stable")
    bounds = np.flatnonzero(np.diff(keys[order], prepend=-1, append=-1))
    for start, end in pairwise(bounds):
        rows = order[start:end]
        present = np.unique(points.segment[rows])
        if len(present) < 2:
            continue
        images = np.zeros((points.n_segments, side, side), np.float32)
        np.add.at(images, (points.segment[rows], place[rows, 0], place[rows, 1]), 1.0)
        transforms = {s: scipy.fft.rfft2(images[s]).astype(np.complex64) for s in present.tolist()}
        for index, (first, second) in enumerate(pairs):
            if first in transforms and second in transforms:
                spectra[index] += np.conj(transforms[first]) * transforms[second]
    lags = np.arange(-max_lag_px, max_lag_px + 1)
    maps = np.empty((len(pairs), len(lags), len(lags)))
    for index in range(len(pairs)):
        whole = scipy.fft.irfft2(spectra[index], s=(side, side))
        maps[index] = whole[np.ix_(lags, lags)]
    return maps


def _tiles(points: Points, inner: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixel (v, u) within its tile, and the number of the tile, of each point."""
    u = np.floor(points.u_px - points.u_px.min()).astype(np.int64)
    v = np.floor(points.v_px - points.v_px.min()).astype(np.int64)
    columns = int(u.max()) // inner + 1
    keys = (v // inner) * columns + u // inner
    return np.column_stack([v % inner, u % inner]), keys


def peak_lag(correlation: NDArray[np.float64], smooth_px: float) -> tuple[float, float] | None:
    """Return the lag (v, u) of the peak of a correlation map, with sub-pixel precision.

    The map is smoothed by a Gaussian, and a paraboloid is fitted to its logarithm (over the
    median of the map) in a disc that is centred anew on each estimate: the correlation of a
    structure with itself is symmetric about the true lag, so a symmetric disc has no bias.

    Parameters
    ----------
    correlation : array, shape (2m + 1, 2m + 1)
        Lags from -m to m on both axes.
    smooth_px : float
        Standard deviation of the smoothing, in pixels.

    Returns
    -------
    tuple of float or None
        None when the highest value lies at the rim: no peak within the allowed lags.
    """
    from scipy.ndimage import gaussian_filter

    half = correlation.shape[0] // 2
    smooth = gaussian_filter(correlation, smooth_px, mode="nearest")
    top = np.unravel_index(int(np.argmax(smooth)), smooth.shape)
    if any(abs(int(place) - half) >= half - 1 for place in top):
        return None
    floor = float(np.median(smooth))
    level = smooth - floor
    if not level[top] > 0:
        return None
    axis = np.arange(-half, half + 1, dtype=float)
    centre = np.array([top[0] - half, top[1] - half], float)
    radius = max(2.5, 1.5 * smooth_px)
    for _ in range(_REFINE_STEPS):
        dv, du = axis[:, None] - centre[0], axis[None, :] - centre[1]
        inside = (dv**2 + du**2 <= radius**2) & (level > 0.2 * level[top])
        if inside.sum() < 9:
            break
        v, u = (np.broadcast_to(d, inside.shape)[inside] for d in (dv, du))
        weights = level[inside]
        design = np.column_stack([np.ones(len(v)), v, u, v * v, u * u, u * v])
        fit = np.linalg.lstsq(
            design * weights[:, None], np.log(level[inside]) * weights, rcond=None
        )[0]
        hessian = np.array([[2 * fit[3], fit[5]], [fit[5], 2 * fit[4]]])
        if not (np.linalg.eigvalsh(hessian) < 0).all():
            break
        step = -np.linalg.solve(hessian, fit[1:3])
        if not (np.abs(step) <= radius).all():
            break
        centre = centre + step
        if (np.abs(step) < 1e-3).all():
            break
    return float(centre[0]), float(centre[1])
