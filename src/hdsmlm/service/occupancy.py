"""The count map as a page shows it: 255 · P(pixel holds at least one emitter), frame by frame.

One file of compressed frames and one of their places, so that any frame of a long movie is found at
once while others are still being added.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdsmlm.io.writing import writing

_PLACE = np.dtype([("offset", "<i8"), ("size", "<i8")])


class OccupancyFile:
    """Occupancy of a movie's frames.

    Parameters
    ----------
    folder : Path
        Holds ``occupancy.bin`` and ``occupancy.idx``.
    """

    def __init__(self, folder: Path) -> None:
        self._blob = folder / "occupancy.bin"
        self._index = folder / "occupancy.idx"

    def put(self, first_frame: int, probabilities: NDArray[np.float32]) -> None:
        """Add frames, shape (t, 4, y, x), of which class 0 is an empty pixel."""
        occupied = np.clip(np.rint(255 * (1 - probabilities[:, 0])), 0, 255).astype(np.uint8)
        with writing(self._blob), self._blob.open("ab") as blob:
            if not self._index.exists():
                self._index.touch()
            with self._index.open("r+b") as index:
                for number, frame in enumerate(occupied, start=first_frame):
                    data = zlib.compress(frame.tobytes(), 1)
                    offset = blob.seek(0, 2)
                    blob.write(data)
                    blob.flush()  # the place is only valid when the data are there
                    index.seek(number * _PLACE.itemsize)
                    index.write(np.array((offset, len(data)), _PLACE).tobytes())

    def get(self, frame: int) -> bytes | None:
        """Return a frame's pixels, row by row, or None when it is not there."""
        try:
            with self._index.open("rb") as index:
                index.seek(frame * _PLACE.itemsize)
                raw = index.read(_PLACE.itemsize)
            if len(raw) < _PLACE.itemsize:
                return None
            place = np.frombuffer(raw, _PLACE)[0]
            if place["size"] == 0:
                return None
            with self._blob.open("rb") as blob:
                blob.seek(int(place["offset"]))
                return zlib.decompress(blob.read(int(place["size"])))
        except FileNotFoundError:
            return None
