"""Drift over a movie: where the picture of each stretch of time lies against the first one's.

Stretches are averaged, smoothed and compared by phase correlation (Kuglin & Hines, 1975) in which
frequencies above the point-spread function are left out, since they hold noise and the fixed
pattern of the chip alone. Molecules that lie at random give every stretch another picture: then the
correlation has no clear peak, or peaks by chance. So all pairs of stretches are compared, and a
shift counts only where the pairs agree (the way from a to b and on to c is that from a to c), as a
real drift must; and only where the way is one of many small steps: a few bright molecules that
switch at random agree with each other too, but jump. Else the drift is not known. Localizations
tell it far more precisely.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft2, ifft2

from hdsmlm.records.movie import MovieReader, frame_blocks

SEGMENTS = 8
MIN_SEGMENT_FRAMES = 10
_MIN_CONTRAST = 8.0
_FRAMES_PER_SEGMENT = 200
_LARGEST_STEP = 0.6
"""Step between neighbouring stretches, as a share of the whole way, above which it is a jump."""
_SMALL_PX = 2.0
"""Ways up to this length may jump: a pixel of error is no molecule for another."""
_CLOSURE_PX = 1.0
"""Largest difference between a shift and the sum of shifts around it, of pictures that match."""


@dataclass(frozen=True)
class Drift:
    """Positions of stretches of time against the first.

    Parameters
    ----------
    frame : array, shape (segments,)
        Middle frame of each.
    x_px, y_px : array, shape (segments,)
        Shift of the picture, pixels; NaN where it has no clear peak.
    """

    frame: NDArray[np.float64]
    x_px: NDArray[np.float64]
    y_px: NDArray[np.float64]

    @property
    def is_known(self) -> bool:
        """Whether every stretch could be placed."""
        return len(self.frame) > 1 and bool(np.isfinite(self.x_px).all())

    @property
    def largest_px(self) -> float:
        """Largest distance between two stretches."""
        x, y = self.x_px, self.y_px
        return float(np.hypot(x[:, None] - x, y[:, None] - y).max())


def drift(reader: MovieReader, sigma_px: float) -> Drift:
    """Estimate the drift of a movie whose point-spread function has the width ``sigma_px``."""
    info = reader.info
    n_segments = min(SEGMENTS, info.n_frames // MIN_SEGMENT_FRAMES)
    if n_segments < 2:
        nothing = np.zeros(1)
        return Drift(nothing, nothing, nothing)
    edges = np.linspace(0, info.n_frames, n_segments + 1).astype(int)
    pictures = [_mean_picture(reader, a, b) for a, b in pairwise(edges)]
    shape = pictures[0].shape
    band = _band(shape, sigma_px)
    spectra = [fft2(_framed(picture)) for picture in pictures]
    shifts = _consistent(spectra, band)
    middle = 0.5 * (edges[:-1] + edges[1:] - 1)
    return Drift(middle, shifts[:, 0], shifts[:, 1])


def _consistent(
    spectra: list[NDArray[np.complex128]], band: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the shift (x, y) of each picture against the first; NaN where the pairs disagree.

    With two pictures there is one pair, and its own peak is all that there is to judge by: a shift
    of more than an eighth of the field is then one by chance.
    """
    n = len(spectra)
    pairs = np.zeros((n, n, 2))
    for a in range(n):
        for b in range(a + 1, n):
            pairs[a, b] = _shift(spectra[a], spectra[b], band)
            pairs[b, a] = -pairs[a, b]
    found = pairs[0].copy()
    if n == 2:
        sides = np.array(spectra[0].shape[::-1])
        found[np.abs(found).max(axis=1) > sides.min() / 8] = np.nan
        return found
    residual = np.linalg.norm(pairs - (found[None, :] - found[:, None]), axis=2)
    agrees = np.nan_to_num(residual, nan=np.inf) <= _CLOSURE_PX
    np.fill_diagonal(agrees, val=False)
    found[agrees.sum(axis=1) * 2 < n - 1] = np.nan  # fewer than half of the others
    way = np.linalg.norm(found[:, None] - found[None, :], axis=2).max()
    step = np.linalg.norm(np.diff(found, axis=0), axis=1).max()
    if way > _SMALL_PX and step > _LARGEST_STEP * way:
        found[1:] = np.nan
    return found


def _mean_picture(reader: MovieReader, start: int, stop: int) -> NDArray[np.float64]:
    """Return the mean of up to ``_FRAMES_PER_SEGMENT`` frames around the middle of a stretch."""
    spare = max(0, stop - start - _FRAMES_PER_SEGMENT) // 2
    start, stop = start + spare, stop - spare
    total = np.zeros((reader.info.height, reader.info.width))
    for low, high in frame_blocks(reader.info, start, stop):
        total += reader.read(low, high).sum(axis=0, dtype=np.float64)
    return total / (stop - start)


def _framed(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the picture without its mean and faded out at the edges, which would correlate."""
    window = np.outer(np.hanning(picture.shape[0]), np.hanning(picture.shape[1]))
    return (picture - picture.mean()) * window


def _band(shape: tuple[int, int], sigma_px: float) -> NDArray[np.float64]:
    """Return weights of frequencies: the transfer function, without the largest structures."""
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])
    f2 = fx**2 + fy**2
    weights = np.exp(-4 * np.pi**2 * sigma_px**2 * f2)
    weights *= 1 - np.exp(-2 * np.pi**2 * (8 * sigma_px) ** 2 * f2)
    return weights


def _shift(
    first: NDArray[np.complex128], other: NDArray[np.complex128], band: NDArray[np.float64]
) -> tuple[float, float]:
    """Return x and y by which ``other`` is shifted; NaN without a clear peak."""
    product = np.conj(first) * other
    product /= np.maximum(np.abs(product), 1e-12)
    peak_map = ifft2(product * band).real
    height, width = peak_map.shape
    row, column = np.unravel_index(int(np.argmax(peak_map)), peak_map.shape)
    scatter = _spread(peak_map)
    if peak_map[row, column] < _MIN_CONTRAST * scatter:
        return np.nan, np.nan
    y = row + _vertex(peak_map[(row + np.array([-1, 0, 1])) % height, column])
    x = column + _vertex(peak_map[row, (column + np.array([-1, 0, 1])) % width])
    return (
        float((x + width / 2) % width - width / 2),
        float((y + height / 2) % height - height / 2),
    )


def _spread(values: NDArray[np.float64]) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) or 1e-30


def _vertex(three: NDArray[np.float64]) -> float:
    """Return the vertex of the Gaussian through three values, as an offset from the middle one."""
    low, middle, high = np.log(np.maximum(three, 1e-12 * three[1]))
    bend = low - 2 * middle + high
    return float(np.clip(0.5 * (low - high) / bend, -0.5, 0.5)) if bend < 0 else 0.0
