"""Count maps in files: probabilities of 0, 1, 2 and 3+ emitters per pixel as (t, class, y, x).

TIFF: 32-bit float pages, zlib-compressed (readable without further libraries), labelled for Fiji
as a hyperstack of 4 channels over time; BigTIFF when 4 GB may be exceeded. Zarr (extra ``io``): one
chunk per frame, dimension names t, c, y, x. Both are written frame by frame with bounded memory and
take their name only when they are complete.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import tifffile
from numpy.typing import NDArray

from hdsmlm.errors import MissingExtraError, MovieError, OutputError
from hdsmlm.io.writing import atomic_path, writing
from hdsmlm.records.count_map import N_CLASSES

BIGTIFF_BYTES = 2**32 - 2**25
ZLIB_LEVEL = 1  # level 6 takes 1.4 times as long for the same size
TIFF_EXTENSIONS = (".tif", ".tiff", ".btf")
_FIRST_FRAME = "first_frame"


class CountMapWriter(Protocol):
    """Takes a count map piece by piece, in the order of time."""

    def append(self, probabilities: NDArray[np.floating]) -> None:
        """Add frames, shape (t, 4, y, x)."""

    def close(self) -> None:
        """Finish the file; it gets its name now."""

    def __enter__(self) -> CountMapWriter: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_count_map_writer(
    path: Path | str, n_frames: int, height: int, width: int, *, first_frame: int = 0
) -> CountMapWriter:
    """Begin a count map; the extension (.tif or .zarr) chooses the format.

    Parameters
    ----------
    path : path
        Is replaced when it is a count map of before.
    n_frames, height, width : int
        Its whole size; exactly so many frames must be appended.
    first_frame : int
        The movie's frame that the first one belongs to, from 0; is written into the file.

    Raises
    ------
    OutputError
        When the extension is unknown or the file cannot be written.
    MissingExtraError
        For .zarr without the library ``zarr``.
    """
    path = Path(path)
    shape = (n_frames, N_CLASSES, height, width)
    if path.suffix.lower() in TIFF_EXTENSIONS:
        return TiffCountMapWriter(path, shape, first_frame=first_frame)
    if path.suffix.lower() == ".zarr":
        return ZarrCountMapWriter(path, shape, first_frame=first_frame)
    raise OutputError(
        f"{path}: a count map is written as .tif or .zarr, not as '{path.suffix}'; change the name"
    )


def remove_count_map(path: Path) -> None:
    """Remove the count map ``path`` if there is one; a folder only where it is a zarr array.

    Raises
    ------
    OutputError
        When the disk refuses.
    """
    with writing(path):
        if _is_zarr(path):
            shutil.rmtree(path)
        elif path.suffix.lower() in TIFF_EXTENSIONS:
            path.unlink(missing_ok=True)


class _Writer:
    """Counting, atomic renaming and closing, shared by both formats."""

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self._path = path
        self._shape = shape
        self._done = 0
        self._stack = ExitStack()
        self._part = self._stack.enter_context(atomic_path(path))

    def append(self, probabilities: NDArray[np.floating]) -> None:
        """Add frames, shape (t, 4, y, x), in the order of time.

        Raises
        ------
        ValueError
            When the shape does not fit, or there are more frames than announced.
        OutputError
            When the disk refuses.
        """
        block = np.ascontiguousarray(probabilities, dtype="<f4")
        end = self._done + len(block)
        if block.shape[1:] != self._shape[1:] or end > self._shape[0]:
            raise ValueError(
                f"frames {self._done} to {end} of shape {block.shape[1:]} do not fit into a count "
                f"map of shape {self._shape}"
            )
        with writing(self._path):
            self._write(block)
        self._done = end

    def _write(self, block: NDArray[np.float32]) -> None:
        raise NotImplementedError

    def _finish(self) -> None:
        """Complete the file under its temporary name."""

    def close(self) -> None:
        """Finish the file; it gets its name now.

        Raises
        ------
        OutputError
            When frames are missing, or the disk refuses.
        """
        self.__exit__(None, None, None)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._abandon(error)
            return
        if self._stack is _CLOSED:
            return
        try:
            if self._done < self._shape[0]:
                raise OutputError(
                    f"{self._path}: {self._done} of {self._shape[0]} frames were written; the "
                    "count map is incomplete and was not kept"
                )
            with writing(self._path):
                self._finish()
        except BaseException as problem:
            self._abandon(problem)
            raise
        stack, self._stack = self._stack, _CLOSED
        stack.close()

    def _abandon(self, error: BaseException) -> None:
        """Remove what was written so far."""
        stack, self._stack = self._stack, _CLOSED
        if stack is _CLOSED:
            return
        try:
            self._release()
            stack.__exit__(type(error), error, error.__traceback__)
        except BaseException as again:
            if again is not error and not isinstance(again, OutputError):
                raise

    def _release(self) -> None:
        """Close handles without finishing."""


_CLOSED = ExitStack()


class TiffCountMapWriter(_Writer):
    """One compressed page per frame and class."""

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int, int],
        *,
        first_frame: int = 0,
        bigtiff: bool | None = None,
    ) -> None:
        super().__init__(path, shape)
        self._first_frame = first_frame
        if bigtiff is None:
            bigtiff = 4 * int(np.prod(shape, dtype=np.int64)) > BIGTIFF_BYTES
        with writing(path):
            self._tif = tifffile.TiffWriter(self._part, bigtiff=bigtiff, byteorder="<")

    def _write(self, block: NDArray[np.float32]) -> None:
        frames, classes = self._shape[:2]
        for number, page in enumerate(block.reshape(-1, *self._shape[2:])):
            # ImageJ's own words on the first page make every program see (t, c, y, x).
            first = self._done == 0 and number == 0
            description = (
                f"ImageJ=1.54f\nimages={frames * classes}\nchannels={classes}\nframes={frames}\n"
                "hyperstack=true\nmode=grayscale\nloop=false\nmin=0.0\nmax=1.0\n"
                f"{_FIRST_FRAME}={self._first_frame}\n"  # programs pass over what they do not know
            )
            self._tif.write(
                page,
                photometric="minisblack",
                compression="zlib",
                compressionargs={"level": ZLIB_LEVEL},
                rowsperstrip=page.shape[0],
                contiguous=False,
                metadata=None,
                software="hdsmlm",
                description=description if first else None,
            )

    def _finish(self) -> None:
        self._tif.close()

    def _release(self) -> None:
        self._tif.close()


class ZarrCountMapWriter(_Writer):
    """One chunk per frame."""

    def __init__(
        self, path: Path, shape: tuple[int, int, int, int], *, first_frame: int = 0
    ) -> None:
        zarr = require_zarr()
        if path.exists() and not _is_zarr(path):
            raise OutputError(
                f"{path}: something that is no zarr array is in the way; choose another name"
            )
        super().__init__(path, shape)
        with writing(path):
            self._array = zarr.create_array(
                store=str(self._part),
                shape=shape,
                chunks=(1, *shape[1:]),
                dtype="float32",
                dimension_names=("t", "c", "y", "x"),
                attributes={_FIRST_FRAME: first_frame},
            )

    def _write(self, block: NDArray[np.float32]) -> None:
        self._array[self._done : self._done + len(block)] = block

    def _finish(self) -> None:
        if self._path.exists():
            shutil.rmtree(self._path)


class CountMapFile:
    """A count map that is read piece by piece.

    Parameters
    ----------
    path : path
        A .tif or .zarr count map.

    Attributes
    ----------
    shape : tuple of int
        (t, 4, y, x).
    first_frame : int
        The movie's frame that the first one belongs to, from 0.

    Raises
    ------
    MovieError
        When it is missing, damaged or no count map.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise MovieError(f"{self.path}: no such count map; check the path")
        self._tif: Any = None
        self.first_frame = 0
        shape, dtype = self._open_zarr() if _is_zarr(self.path) else self._open_tiff()
        if len(shape) != 4 or shape[1] != N_CLASSES or dtype.kind != "f":
            self.close()
            raise MovieError(
                f"{self.path}: a count map of shape (t, {N_CLASSES}, y, x) in floats was wanted, "
                f"but this holds {shape} of {dtype}"
            )
        self.shape: tuple[int, int, int, int] = shape

    def _open_zarr(self) -> tuple[tuple[int, ...], np.dtype]:
        zarr = require_zarr()
        with self._damage_explained():
            self._array = zarr.open_array(str(self.path), mode="r")
            self.first_frame = int(self._array.attrs.get(_FIRST_FRAME, 0))
            return tuple(self._array.shape), np.dtype(self._array.dtype)

    def _open_tiff(self) -> tuple[tuple[int, ...], np.dtype]:
        with self._damage_explained():
            self._tif = tifffile.TiffFile(self.path)
            pages, first = len(self._tif.pages), self._tif.pages.first
            words = self._tif.imagej_metadata or {}
            self.first_frame = int(words.get(_FIRST_FRAME, 0))
            if words.get("channels") != N_CLASSES:
                return (pages, *first.shape), np.dtype(first.dtype)
            promised = int(words.get("images", pages))
            if pages != promised:
                raise ValueError(f"it holds {pages} of {promised} pages")
            return (pages // N_CLASSES, N_CLASSES, *first.shape), np.dtype(first.dtype)

    @contextmanager
    def _damage_explained(self) -> Iterator[None]:
        """Turn what decoders raise, who share no base for it, into one message."""
        try:
            yield
        except Exception as error:
            self.close()
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise MovieError(
                f"{self.path}: not readable as a count map ({reason}); the file is damaged or of "
                "another kind; predict the movie again"
            ) from error

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return frames ``start`` to ``stop - 1``, shape (t, 4, y, x); 0 is the map's first.

        Raises
        ------
        MovieError
            When there are no such frames or the file is damaged.
        """
        if not 0 <= start <= stop <= self.shape[0]:
            raise MovieError(
                f"{self.path}: frames {start} to {stop} were asked for, but the count map has "
                f"{self.shape[0]}"
            )
        with self._damage_explained():
            return self._read_zarr(start, stop) if self._tif is None else self._read(start, stop)

    def _read(self, start: int, stop: int) -> NDArray[np.float32]:
        block = np.empty((stop - start, *self.shape[1:]), np.float32)
        flat = block.reshape(-1, *self.shape[2:])
        for place, page in enumerate(range(start * N_CLASSES, stop * N_CLASSES)):
            flat[place] = self._tif.pages[page].asarray(maxworkers=1)
        return block

    def _read_zarr(self, start: int, stop: int) -> NDArray[np.float32]:
        block = np.asarray(self._array[start:stop], dtype=np.float32)
        lost = np.flatnonzero(~block.any(axis=(1, 2, 3)))
        if len(lost):  # zarr reads a file that is missing as zeros
            raise ValueError(f"frame {start + lost[0]} is missing")
        return block

    def close(self) -> None:
        """Close the file."""
        if self._tif is not None:
            self._tif.close()

    def __del__(self) -> None:
        # A file that nobody holds any more has no one left to close it.
        with suppress(AttributeError, OSError):
            self.close()

    def __enter__(self) -> CountMapFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_count_map(
    path: Path | str, start: int = 0, stop: int | None = None
) -> NDArray[np.float32]:
    """Read frames ``start`` to ``stop - 1`` (default: all) of a count map, shape (t, 4, y, x).

    Raises
    ------
    MovieError
        When it is missing, no count map, or has no such frames.
    """
    with CountMapFile(path) as file:
        return file.read(start, file.shape[0] if stop is None else stop)


def require_zarr() -> Any:
    """Return the library ``zarr``.

    Raises
    ------
    MissingExtraError
        Where it is not installed.
    """
    try:
        return importlib.import_module("zarr")
    except ImportError as error:
        raise MissingExtraError("zarr", "io", "for count maps in zarr") from error


def _is_zarr(path: Path) -> bool:
    return (path / "zarr.json").is_file() or (path / ".zarray").is_file()
