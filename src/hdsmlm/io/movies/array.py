"""A movie in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hdsmlm.errors import MovieError
from hdsmlm.io.movies.frames import (
    FrameSource,
    require_finite,
    require_frames,
    require_pixel_type,
)
from hdsmlm.records.movie import MovieInfo


class ArrayMovie(FrameSource):
    """Frames that are already an array.

    Parameters
    ----------
    frames : array_like, shape (t, y, x)
        Pixel values; a single image (y, x) counts as one frame. It is not copied.
    pixel_size_nm : float, optional
        Side of a pixel in the sample plane.
    name : str
        Name for messages.

    Raises
    ------
    MovieError
        When it has another number of axes, no frames, or pixels that are no grey values.

    Examples
    --------
    >>> movie = ArrayMovie(np.zeros((5, 8, 8), np.uint16))
    >>> movie.info.n_frames, movie.read(1, 3).shape
    (5, (2, 8, 8))
    """

    def __init__(
        self, frames: ArrayLike, *, pixel_size_nm: float | None = None, name: str = "array"
    ) -> None:
        array = np.asarray(frames)
        if array.ndim == 2:
            array = array[None]
        if array.ndim != 3:
            raise MovieError(
                f"{name}: an array with the axes (t, y, x) was wanted, but its shape is "
                f"{array.shape}"
            )
        require_pixel_type(array.dtype, name)
        require_frames(array.shape, name)
        require_finite(array, 0, name)
        self._frames = array.astype(array.dtype.newbyteorder("="), copy=False)
        n_frames, height, width = self._frames.shape
        self.info = MovieInfo(
            name, (), n_frames, height, width, self._frames.dtype.name, pixel_size_nm
        )

    def _read(self, start: int, stop: int) -> NDArray[np.generic]:
        return self._frames[start:stop]
