"""Frames that lie uncompressed in a file, one after another: DAX, Picasso RAW, SPE, plain TIFF."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import MovieError
from hdsmlm.io.movies.frames import (
    FrameSource,
    require_frames,
    require_pixel_type,
    settle_truncation,
)
from hdsmlm.records.movie import MovieInfo


@dataclass(frozen=True)
class FlatLayout:
    """Where the frames lie.

    Parameters
    ----------
    height, width : int
        Size of a frame in pixels.
    dtype : numpy.dtype
        Stored type with its byte order.
    offset_bytes : int
        Where frame 0 begins.
    stride_bytes : int
        From the beginning of one frame to that of the next.
    """

    height: int
    width: int
    dtype: np.dtype
    offset_bytes: int = 0
    stride_bytes: int = 0

    @property
    def frame_bytes(self) -> int:
        """Bytes of the pixels of one frame."""
        return self.height * self.width * self.dtype.itemsize

    @property
    def step_bytes(self) -> int:
        """Bytes from frame to frame, without a stride the frame itself."""
        return self.stride_bytes or self.frame_bytes

    def whole_frames(self, size_bytes: int) -> tuple[int, int]:
        """Return how many whole frames a file of this size holds, and the bytes left over."""
        room = max(0, size_bytes - self.offset_bytes)
        count, rest = divmod(room, self.step_bytes)
        if rest >= self.frame_bytes:  # the last frame may come without its padding
            return count + 1, 0
        return count, rest


class FlatMovie(FrameSource):
    """Read frames by their place in the file; a lock makes it safe for threads."""

    def __init__(self, path: Path, layout: FlatLayout, info: MovieInfo) -> None:
        self._layout = layout
        self._path = path
        self._lock = threading.Lock()
        self._stream = path.open("rb")
        self.info = info

    def _read(self, start: int, stop: int) -> NDArray[np.generic]:
        layout = self._layout
        count = stop - start
        buffer = np.empty(count * layout.step_bytes, np.uint8)
        wanted = max(0, (count - 1) * layout.step_bytes + layout.frame_bytes) if count else 0
        with self._lock:
            self._stream.seek(layout.offset_bytes + start * layout.step_bytes)
            got = self._stream.readinto(buffer[:wanted].data)
        if got != wanted:
            raise MovieError(
                f"{self._path}: {wanted} bytes of frames {start} to {stop} were wanted, {got} "
                "came; the file changed while it was read, or its disk fails"
            )
        rows = buffer.reshape(count, layout.step_bytes)[:, : layout.frame_bytes]
        frames = np.ascontiguousarray(rows).view(layout.dtype)
        frames = frames.reshape(count, layout.height, layout.width)
        return frames.astype(layout.dtype.newbyteorder("="), copy=False)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def open_flat(
    path: Path,
    layout: FlatLayout,
    *,
    promised_frames: int | None,
    allow_truncated: bool,
    data_bytes: int | None = None,
    pixel_size_nm: float | None = None,
    notes: tuple[str, ...] = (),
) -> FlatMovie:
    """Open a flat file; its size decides how many frames it has.

    Parameters
    ----------
    promised_frames : int or None
        What the header says. Fewer on disk is a truncated file, more is a note.
    data_bytes : int, optional
        Where the pixel data end, when something follows them; default the end of the file.

    Raises
    ------
    TruncatedMovieError
        When the file ends early and ``allow_truncated`` is false.
    MovieError
        When it holds no frame.
    """
    require_pixel_type(layout.dtype, path.name)
    if layout.height <= 0 or layout.width <= 0 or promised_frames == 0:
        require_frames((promised_frames or 0, layout.height, layout.width), path.name)
    size_bytes = path.stat().st_size
    whole, rest = layout.whole_frames(size_bytes if data_bytes is None else data_bytes)
    promised = f"{promised_frames} frames" if promised_frames is not None else "whole frames"
    if rest or (promised_frames is not None and whole < promised_frames):
        if promised_frames is not None and promised_frames <= whole:
            promised = f"frames of {layout.step_bytes} bytes"
        notes += settle_truncation(path, whole, promised, allow_truncated=allow_truncated)
    elif promised_frames is not None and whole > promised_frames:
        notes += (
            f"the header says {promised_frames} frames, but the file holds {whole}; all are used",
        )
    require_frames((whole, layout.height, layout.width), path.name)
    info = MovieInfo(
        name=path.stem,
        paths=(path,),
        n_frames=whole,
        height=layout.height,
        width=layout.width,
        dtype=layout.dtype.name,
        pixel_size_nm=pixel_size_nm,
        notes=notes,
    )
    return FlatMovie(path, layout, info)
