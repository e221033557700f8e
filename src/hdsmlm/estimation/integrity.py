"""Is the movie whole? Saturated pixels, frames that repeat or are blank, grey values that are not.

A frame that was dropped without a trace cannot be seen in a movie without time stamps; what can be
seen is a repeated frame, a blank one, and a jump of the mean.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.movie import MovieReader, frame_blocks

STAGE = "check frames"
_JUMP = 10.0
_MIN_JUMP = 0.1
_CONSISTENT = 1.4826
_NEIGHBOURHOOD = 101
_MIN_EXPECTED = 30.0
_HISTOGRAM = 65536


@dataclass(frozen=True)
class Integrity:
    """What a pass over every frame found; frames count from 0.

    Parameters
    ----------
    saturated_share : float
        Share of pixels at the largest value of the movie, where many share it.
    saturation_adu : float or None
        That value; None where no value is piled up at the top.
    duplicates, blanks, jumps : tuple of int
        Frames equal to the one before; of one grey value; whose mean lies far from its neighbours'.
    filled_levels : float
        Grey levels between the 1st and the 99th percentile that occur, over the number that should
        by chance.
    fills_range : bool
        Whether the values reach from 0 to 65535 exactly, as after a stretch of contrast.
    is_integer : bool
        Whether all values are whole numbers.
    mean_adu : array, shape (frames,)
        Mean of every frame.
    """

    saturated_share: float
    saturation_adu: float | None
    duplicates: tuple[int, ...]
    blanks: tuple[int, ...]
    jumps: tuple[int, ...]
    filled_levels: float
    fills_range: bool
    is_integer: bool
    mean_adu: NDArray[np.float64]

    @property
    def looks_raw(self) -> bool:
        """Whether the values can be what a camera's converter gave."""
        return self.is_integer and not self.fills_range and self.filled_levels > 0.5


def check_frames(reader: MovieReader, listener: Listener = silent) -> Integrity:
    """Go through the whole movie once; memory does not grow with it."""
    info = reader.info
    histogram = np.zeros(_HISTOGRAM, dtype=np.int64)
    means = np.empty(info.n_frames)
    duplicates: list[int] = []
    blanks: list[int] = []
    is_integer, last = True, None
    for start, stop in frame_blocks(info, 0, info.n_frames):
        frames = reader.read(start, stop)
        for index, frame in enumerate(frames, start=start):
            means[index] = frame.mean(dtype=np.float64)
            code = zlib.crc32(np.ascontiguousarray(frame).tobytes())
            if frame.min() == frame.max():
                blanks.append(index)
            elif code == last:
                duplicates.append(index)
            last = code
        if frames.dtype.kind == "f":
            is_integer = is_integer and bool((frames == np.rint(frames)).all())
        values = np.clip(np.rint(frames.ravel()), 0, _HISTOGRAM - 1).astype(np.int64)
        histogram += np.bincount(values, minlength=_HISTOGRAM)
        listener(Event(STAGE, stop, info.n_frames, f"{len(duplicates)} repeated frames"))
    level, share = _saturation(histogram)
    return Integrity(
        saturated_share=share,
        saturation_adu=level,
        duplicates=tuple(duplicates),
        blanks=tuple(blanks),
        jumps=_jumps(means, set(blanks)),
        filled_levels=_filled_levels(histogram),
        fills_range=bool(histogram[0] and histogram[-1]),
        is_integer=is_integer,
        mean_adu=means,
    )


def _saturation(histogram: NDArray[np.int64]) -> tuple[float | None, float]:
    """Return the value at which pixels pile up, and their share."""
    used = np.flatnonzero(histogram)
    top = int(used[-1])
    pile = int(histogram[top])
    below = histogram[max(0, top - 50) : top].mean() if top else 0.0
    if len(used) > 2 and (pile > 10 * (below + 1) or top == _HISTOGRAM - 1):
        return float(top), pile / float(histogram.sum())
    return None, 0.0


def _filled_levels(histogram: NDArray[np.int64]) -> float:
    """Return how many levels of the bulk are used over how many should be by chance.

    A level with an expected number of pixels n, from the levels around it, is used with the
    probability ``1 - exp(-n)``; values that were multiplied after recording leave gaps.
    """
    share = np.cumsum(histogram) / histogram.sum()
    low, high = np.searchsorted(share, [0.01, 0.99])
    expected_count = uniform_filter1d(histogram.astype(np.float64), _NEIGHBOURHOOD)
    expected = float((1 - np.exp(-expected_count[low : high + 1])).sum())
    used = float((histogram[low : high + 1] > 0).sum())
    return used / expected if expected > _MIN_EXPECTED else 1.0


def _jumps(means: NDArray[np.float64], blanks: set[int]) -> tuple[int, ...]:
    """Return frames whose mean lies far from the median of the five around them."""
    if len(means) < 10:
        return ()
    padded = np.pad(means, 2, mode="reflect")
    local = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    off = means - local
    scatter = _CONSISTENT * np.median(np.abs(off))
    range_ = np.maximum(_JUMP * scatter, _MIN_JUMP * np.abs(local))
    return tuple(int(i) for i in np.flatnonzero(np.abs(off) > range_) if int(i) not in blanks)
