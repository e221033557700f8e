"""Movies and count maps as napari's layers take them: array-like, read when a frame is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hdsmlm.io.count_maps import CountMapFile
from hdsmlm.records.count_map import expected_count
from hdsmlm.records.movie import MovieReader


class LazyStack:
    """Frames (t, y, x) behind a function that reads a range of them.

    Parameters
    ----------
    read : callable
        ``read(start, stop)`` returns frames ``start`` to ``stop - 1``.
    shape : tuple of int
        (t, y, x).
    dtype : dtype_like
        Of the pixels.

    Examples
    --------
    >>> frames = np.arange(24).reshape(4, 2, 3)
    >>> stack = LazyStack(lambda start, stop: frames[start:stop], frames.shape, frames.dtype)
    >>> stack[-1, 0].tolist(), stack[1:3, :, 2].shape, stack.ndim
    ([18, 19, 20], (2, 2), 3)
    """

    ndim = 3

    def __init__(
        self,
        read: Callable[[int, int], NDArray[Any]],
        shape: tuple[int, int, int],
        dtype: DTypeLike,
    ) -> None:
        self._read = read
        self.shape = shape
        self.dtype = np.dtype(dtype)

    @property
    def size(self) -> int:
        """Number of pixels of all frames."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read what an index asks for: integers, slices and lists along time, anything beyond."""
        parts = key if isinstance(key, tuple) else (key,)
        if Ellipsis in [part for part in parts if not isinstance(part, np.ndarray)]:
            return np.asarray(self)[key]
        time, rest = (parts[0], parts[1:]) if parts else (slice(None), ())
        wanted = np.arange(self.shape[0])[time]
        if wanted.ndim == 0:
            return self._read(int(wanted), int(wanted) + 1)[0][rest]
        if not len(wanted):
            return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *rest)]
        low, high = int(wanted.min()), int(wanted.max()) + 1
        return self._read(low, high)[(wanted - low,)][(slice(None), *rest)]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read everything."""
        frames = self._read(0, self.shape[0])
        return np.array(frames, dtype=dtype, copy=bool(copy) or None)


class LazyMovie(LazyStack):
    """A movie of any format that the program reads.

    Parameters
    ----------
    reader : MovieReader
        Stays open as long as the layer lives.
    """

    def __init__(self, reader: MovieReader) -> None:
        info = reader.info
        super().__init__(reader.read, (info.n_frames, info.height, info.width), info.dtype)
        self.reader = reader


class LazyCountMap(LazyStack):
    """One class of a count map, or its expected count.

    Parameters
    ----------
    file : CountMapFile
        Stays open as long as the layer lives.
    count_class : int or None
        0, 1, 2 or 3 (3 and more); None for the expected count E = P1 + 2·P2 + 3·P3.
    """

    def __init__(self, file: CountMapFile, count_class: int | None) -> None:
        def read(start: int, stop: int) -> NDArray[np.float32]:
            probabilities = file.read(start, stop)
            if count_class is None:
                return expected_count(probabilities)
            return probabilities[:, count_class]

        t, _, y, x = file.shape
        super().__init__(read, (t, y, x), np.float32)
        self.file = file
