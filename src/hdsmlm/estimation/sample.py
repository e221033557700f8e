"""The frames that the estimates are made from: runs of frames, spread over the movie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import MovieError, counted
from hdsmlm.records.movie import MovieReader

PIXELS = 2_000_000
"""Pixels in all runs together."""
MAX_SIDE_PX = 1024
"""Larger frames are cropped to this side around their centre."""
MIN_SIDE_PX = 16
"""Smallest frame that holds a noise stencil, a spot and its surroundings."""
MIN_FRAMES = 4
"""A pair of frames whose noise is measured, and one on either side that sorts it."""
_RUNS = 8


@dataclass(frozen=True)
class FrameSample:
    """Runs of consecutive frames, but for blank ones.

    Parameters
    ----------
    runs : tuple of array, shape (t, y, x)
        Grey values, float32.
    first_frames : tuple of int
        Number of the first frame of each run.
    """

    runs: tuple[NDArray[np.float32], ...]
    first_frames: tuple[int, ...]

    @property
    def n_frames(self) -> int:
        """Frames in all runs."""
        return sum(len(run) for run in self.runs)

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x) of a frame, cropped."""
        return self.runs[0].shape[1], self.runs[0].shape[2]


def sample_frames(reader: MovieReader, pixels: int = PIXELS) -> FrameSample:
    """Read about ``pixels`` pixels in runs that are spread evenly over the movie.

    Blank frames (one grey value everywhere), which some recordings hold for frames that were lost,
    are left out: they tell nothing of light or noise.

    Raises
    ------
    MovieError
        When the movie is too small or too short to measure noise and spots.
    """
    info = reader.info
    if info.n_frames < MIN_FRAMES or min(info.height, info.width) < MIN_SIDE_PX:
        raise MovieError(
            f"{info.name} has {counted(info.n_frames, 'frame')} of {info.height} x {info.width} "
            f"pixels; to estimate the camera at least {MIN_FRAMES} frames of {MIN_SIDE_PX} x "
            f"{MIN_SIDE_PX} pixels are needed; give a camera file or preset instead"
        )
    rows, columns = _middle(info.height), _middle(info.width)
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    wanted = max(MIN_FRAMES, min(info.n_frames, pixels // area))
    n_runs = max(1, min(_RUNS, wanted // (2 * MIN_FRAMES)))
    if wanted >= info.n_frames:
        n_runs = 1
    length = wanted // n_runs
    starts = np.linspace(0, info.n_frames - length, n_runs).astype(int) if n_runs > 1 else [0]
    runs = tuple(
        _without_blanks(
            np.ascontiguousarray(
                reader.read(int(start), int(start) + length)[:, rows, columns], dtype=np.float32
            )
        )
        for start in starts
    )
    return FrameSample(runs, tuple(int(start) for start in starts))


def _without_blanks(run: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a run without its blank frames, as long as enough others are left."""
    filled = run.min(axis=(1, 2)) != run.max(axis=(1, 2))
    return run[filled] if MIN_FRAMES <= filled.sum() < len(run) else run


def _middle(size: int) -> slice:
    side = min(size, MAX_SIDE_PX)
    start = (size - side) // 2
    return slice(start, start + side)
