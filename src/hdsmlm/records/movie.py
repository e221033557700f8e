"""What a movie is to the program: a lazy stack of frames behind one port."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

BLOCK_PIXELS = 2**22
"""Pixels that are read at once where a whole movie is gone through: 64 frames of 256 × 256."""
BLOCK_FRAMES = 64
"""And frames at most."""


@dataclass(frozen=True)
class MovieInfo:
    """What is known of a movie before its pixels are read.

    Parameters
    ----------
    name : str
        Short name for messages and pictures.
    paths : tuple of Path
        Files it consists of; empty for a movie in memory.
    n_frames, height, width : int
        Shape (t, y, x).
    dtype : str
        NumPy dtype name of the stored pixels.
    pixel_size_nm : float or None
        From the file's metadata where it has one.
    notes : tuple of str
        Remarks for the user, e.g. that the header promises fewer frames than the file holds.
    """

    name: str
    paths: tuple[Path, ...]
    n_frames: int
    height: int
    width: int
    dtype: str
    pixel_size_nm: float | None = None
    notes: tuple[str, ...] = field(default=())


def frame_blocks(
    info: MovieInfo, start: int, stop: int, pixels: int = BLOCK_PIXELS
) -> Iterator[tuple[int, int]]:
    """Cut frames ``start`` to ``stop - 1`` into blocks of up to ``pixels``, one frame at least.

    Yields
    ------
    tuple of int
        First frame of a block, and one past its last.

    Examples
    --------
    >>> list(frame_blocks(MovieInfo("m", (), 9, 10, 10, "uint16"), 2, 9, pixels=350))
    [(2, 5), (5, 8), (8, 9)]
    """
    size = min(BLOCK_FRAMES, max(1, pixels // max(1, info.height * info.width)))
    for low in range(start, stop, size):
        yield low, min(low + size, stop)


@runtime_checkable
class MovieReader(Protocol):
    """A movie that is read in pieces; memory does not grow with its length."""

    @property
    def info(self) -> MovieInfo:
        """Shape, dtype, metadata."""

    def read(self, start: int, stop: int) -> NDArray[np.generic]:
        """Return frames ``start`` to ``stop - 1`` as (t, y, x), stored dtype, native byte order.

        Raises
        ------
        MovieError
            When the frames cannot be read or hold NaN or infinity.
        """

    def close(self) -> None:
        """Release the file."""
