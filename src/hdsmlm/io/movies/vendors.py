"""Cameras' own formats, read by their libraries: Nikon nd2, Hamamatsu DCIMG, Andor SIF.

The libraries come with the extra ``io``; each is imported when such a file is opened.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import HdsmlmError, MissingExtraError, MovieError, TruncatedMovieError
from hdsmlm.io.movies.frames import (
    FrameSource,
    plausible_pixel_size_nm,
    require_frames,
    require_pixel_type,
)
from hdsmlm.io.movies.tiff_metadata import require_one_long_axis
from hdsmlm.records.movie import MovieInfo
from hdsmlm.units import NM_PER_UM

ND2_MAGIC = (b"\xda\xce\xbe\x0a", b"\x00\x00\x00\x0cjP  ")
DCIMG_MAGIC = b"DCIMG"
SIF_MAGIC = b"Andor Technology Multi-Channel File"

Fetch = Callable[[int, int], NDArray[np.generic]]


class LibraryMovie(FrameSource):
    """Frames that a library fetches; a lock makes it safe for threads."""

    def __init__(self, info: MovieInfo, fetch: Fetch, close: Callable[[], None]) -> None:
        self._fetch = fetch
        self._close = close
        self._lock = threading.Lock()
        self.info = info

    def _read(self, start: int, stop: int) -> NDArray[np.generic]:
        if start == stop:
            return np.empty((0, self.info.height, self.info.width), self.info.dtype)
        try:
            with self._lock:
                frames = np.array(self._fetch(start, stop), dtype=self.info.dtype)
        except Exception as error:  # each library raises classes of its own
            raise MovieError(
                f"{self.info.paths[0]}: frames {start} to {stop} cannot be read ({error}); the "
                "file may be damaged. Copy or save it again"
            ) from error
        return frames.reshape(stop - start, self.info.height, self.info.width)

    def close(self) -> None:
        """Close the file."""
        self._close()


def open_nd2(path: Path, *, allow_truncated: bool = False) -> FrameSource:  # noqa: ARG001
    """Open a Nikon nd2 movie with the library ``nd2``.

    Raises
    ------
    MovieError
        When it is no movie over time of one channel and one position, or is damaged.
    MissingExtraError
        When the library is not installed.
    """
    library = _library("nd2", "to read Nikon nd2 movies")
    with _opening(path) as stack:
        file = library.ND2File(path)
        stack.callback(file.close)
        sizes = {str(axis): int(size) for axis, size in dict(file.sizes).items()}
        if sizes.get("S", 1) > 1 or sizes.get("P", 1) > 1:
            axis, what = ("P", "positions") if sizes.get("P", 1) > 1 else ("S", "colours")
            raise MovieError(
                f"{path}: one grey movie was wanted, but axis {axis} has {sizes[axis]} {what}. "
                "Export one of them as TIFF"
            )
        notes = require_one_long_axis({axis.lower(): size for axis, size in sizes.items()}, path)
        shape = (sizes.get("T", 1) * sizes.get("Z", 1), sizes["Y"], sizes["X"])
        voxel = file.voxel_size()
        pixel = plausible_pixel_size_nm(voxel.x * NM_PER_UM, voxel.y * NM_PER_UM)
        info = _info(path, shape, np.dtype(file.dtype), pixel, notes)

    def fetch(start: int, stop: int) -> NDArray[np.generic]:
        return np.stack([np.asarray(file.read_frame(frame)) for frame in range(start, stop)])

    return LibraryMovie(info, fetch, file.close)


def open_dcimg(path: Path, *, allow_truncated: bool = False) -> FrameSource:  # noqa: ARG001
    """Open a Hamamatsu DCIMG movie with the library ``dcimg``.

    Raises
    ------
    MovieError
        When the library cannot read it.
    MissingExtraError
        When the library is not installed.
    """
    library = _library("dcimg", "to read Hamamatsu DCIMG movies")
    with _opening(path) as stack:
        file = library.DCIMGFile(str(path))
        stack.callback(file.close)
        info = _info(path, tuple(int(size) for size in file.shape), np.dtype(file.dtype))
    return LibraryMovie(info, lambda start, stop: np.array(file[start:stop]), file.close)


def open_sif(path: Path, *, allow_truncated: bool = False) -> FrameSource:  # noqa: ARG001
    """Open an Andor SIF movie with the library ``sif_parser``; its pixels are 32-bit floats.

    Raises
    ------
    TruncatedMovieError
        When the file is shorter than its header says.
    MovieError
        When the library cannot read it.
    MissingExtraError
        When the library is not installed.
    """
    library = _library("sif_parser", "to read Andor SIF movies")
    with _opening(path), path.open("rb") as stream:
        frames, _ = library.np_open(stream, lazy="memmap")
        info = _info(path, frames.shape, frames.dtype)
    return LibraryMovie(info, lambda start, stop: np.array(frames[start:stop]), lambda: None)


def _library(name: str, purpose: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(name, "io", purpose) from error


@contextmanager
def _opening(path: Path) -> Iterator[ExitStack]:
    """Turn what a library raises over a bad file into our errors, and close what was opened."""
    with ExitStack() as stack:
        try:
            yield stack
        except HdsmlmError:
            raise
        except Exception as error:  # each library raises classes of its own
            if "mmap length is greater" in str(error) or isinstance(error, EOFError):
                raise TruncatedMovieError(
                    f"{path}: the file is shorter than its header says ({error}); copy or save it "
                    "again, or export the readable frames as TIFF with the camera's program",
                    0,
                ) from error
            raise MovieError(
                f"{path}: the file cannot be read ({type(error).__name__}: {error}); it may be cut "
                "off or damaged. Copy or save it again, or export it as TIFF"
            ) from error
        stack.pop_all()


def _info(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype,
    pixel_size_nm: float | None = None,
    notes: tuple[str, ...] = (),
) -> MovieInfo:
    require_pixel_type(dtype, path.name)
    require_frames(shape, path.name)
    return MovieInfo(
        name=path.stem,
        paths=(path,),
        n_frames=shape[0],
        height=shape[1],
        width=shape[2],
        dtype=dtype.name,
        pixel_size_nm=pixel_size_nm,
        notes=notes,
    )
