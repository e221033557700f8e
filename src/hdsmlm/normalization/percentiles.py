"""Exact percentiles of a 16-bit movie from a streamed histogram.

The percentiles come from the whole movie (or a sliding window of it), never from a patch, so that
the brightness of a patch keeps its meaning for the network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import MovieError

_BINS = 65536
_COUNT_PIXELS = 2**20
"""Pixels counted at once: counting needs 8 bytes for each, whatever their dtype."""


class IntensityHistogram:
    """Counts of every 16-bit grey value, added frame by frame.

    Integers of 8 and 16 bits are counted exactly. Other dtypes are mapped linearly to 65536 bins
    between ``low`` and ``high`` (the movie's extremes, found in a pass of their own), so that a
    percentile is exact to ``(high - low) / 65536``.

    Parameters
    ----------
    low, high : float
        Value of the first bin and of the last bin.

    Examples
    --------
    >>> histogram = IntensityHistogram()
    >>> histogram.add(np.arange(101, dtype=np.uint16))
    >>> histogram.percentile(20.0), histogram.percentile(99.0)
    (20.0, 99.0)
    """

    def __init__(self, low: float = 0.0, high: float = _BINS - 1.0) -> None:
        self._low = low
        self._scale = (high - low) / (_BINS - 1) if high > low else 1.0
        self._counts = np.zeros(_BINS, dtype=np.int64)

    def add(self, frames: NDArray[np.generic]) -> None:
        """Count the pixels of ``frames`` (any shape)."""
        self._counts += self._count(frames)

    def remove(self, frames: NDArray[np.generic]) -> None:
        """Take pixels out again, for a sliding window."""
        self._counts -= self._count(frames)

    def merge(self, other: IntensityHistogram) -> None:
        """Add the pixels that another histogram of the same range has counted."""
        self._counts += other._counts

    def percentile(self, percent: float) -> float:
        """Return the smallest value that at least ``percent`` % of the pixels do not exceed.

        Linear interpolation between the two ranks, as :func:`numpy.percentile` does.

        Raises
        ------
        MovieError
            When no pixel was counted.
        """
        cumulative = np.cumsum(self._counts)
        total = int(cumulative[-1])
        if total == 0:
            raise MovieError("no pixels to normalize; the movie has no frames")
        rank = percent / 100.0 * (total - 1)
        below = int(np.searchsorted(cumulative, int(np.floor(rank)) + 1))
        above = int(np.searchsorted(cumulative, int(np.ceil(rank)) + 1))
        fraction = rank - np.floor(rank)
        return float(self._low + self._scale * (below + (above - below) * fraction))

    def _count(self, frames: NDArray[np.generic]) -> NDArray[np.int64]:
        counts = np.zeros(_BINS, dtype=np.int64)
        values = frames.reshape(-1)
        for start in range(0, values.size, _COUNT_PIXELS):
            counts += self._count_piece(values[start : start + _COUNT_PIXELS])
        return counts

    def _count_piece(self, values: NDArray[np.generic]) -> NDArray[np.int64]:
        if values.dtype in (np.uint8, np.uint16) and self._scale == 1.0 and self._low == 0.0:
            return np.bincount(values, minlength=_BINS)
        scaled = (values.astype(np.float64) - self._low) / self._scale
        return np.bincount(np.clip(np.rint(scaled), 0, _BINS - 1).astype(np.int64), minlength=_BINS)
