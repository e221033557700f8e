"""What all movie readers share: the order (t, y, x), the pixel types, the checks of a request."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import MovieError, TruncatedMovieError
from hdsmlm.records.movie import MovieInfo

SMALLEST_PIXEL_NM, LARGEST_PIXEL_NM = 5.0, 5000.0


class FrameSource:
    """Base of the readers: checks the request and the pixels; a subclass reads them.

    A subclass sets ``info`` and implements :meth:`_read` and :meth:`close`. Readers may be shared
    by threads (a subclass locks its file); every process opens its own.
    """

    info: MovieInfo

    def read(self, start: int, stop: int) -> NDArray[np.generic]:
        """Return frames ``start`` to ``stop - 1`` as (t, y, x), stored dtype, native byte order.

        Raises
        ------
        MovieError
            When the range lies outside the movie, or a frame cannot be read or holds NaN or
            infinity.
        """
        if not 0 <= start <= stop <= self.info.n_frames:
            raise MovieError(
                f"{self.info.name}: frames {start} to {stop} were asked for, but the movie has "
                f"frames 0 to {self.info.n_frames} (the last not included)"
            )
        frames = self._read(start, stop)
        require_finite(frames, start, self.info.name)
        return frames

    def _read(self, start: int, stop: int) -> NDArray[np.generic]:
        raise NotImplementedError

    def close(self) -> None:
        """Release the file; the reader cannot be used afterwards."""

    def __len__(self) -> int:
        return self.info.n_frames

    def __enter__(self) -> FrameSource:
        return self

    def __del__(self) -> None:
        # A reader that nobody holds any more has no one left to close it.
        with suppress(AttributeError, OSError):
            self.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def require_finite(frames: NDArray[np.generic], first_frame: int, name: str) -> None:
    """Raise a :class:`MovieError` that names the first frame with NaN or infinity."""
    if frames.dtype.kind != "f":
        return
    values = frames.astype(np.float64, copy=False)
    # A sum is finite unless a value is not (float64 sums of float32 cannot overflow).
    with np.errstate(over="ignore", invalid="ignore"):
        suspects = np.flatnonzero(~np.isfinite(values.sum(axis=(1, 2))))
    for index in suspects:
        bad = ~np.isfinite(values[index])
        if bad.any():
            row, column = (int(place[0]) for place in np.nonzero(bad))
            raise MovieError(
                f"{name}: frame {first_frame + int(index)} (counted from 0) holds "
                f"{int(bad.sum())} pixels that are NaN or infinite, the first at row {row}, "
                f"column {column}. Repair or remove that frame, or store the movie as 16-bit "
                "integers"
            )


def require_pixel_type(dtype: np.dtype, name: str) -> None:
    """Accept integers and floats of 8 to 64 bits; refuse complex, 1-bit and other types."""
    if dtype.kind in "ui" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return
    kind = {"c": "complex numbers", "b": "1-bit pixels"}.get(dtype.kind, f"pixels of type {dtype}")
    raise MovieError(
        f"{name}: a movie of integers or floats was wanted, but this one holds {kind}. "
        "Convert it to 16-bit grey values (in Fiji: Image > Type > 16-bit)"
    )


def require_frames(shape: tuple[int, ...], name: str) -> None:
    """Refuse a movie of shape (t, y, x) without frames or without pixels."""
    n_frames, height, width = shape
    if n_frames <= 0 or height <= 0 or width <= 0:
        raise MovieError(
            f"{name}: the movie is empty ({n_frames} frames of {height} x {width} pixels); "
            "check that the acquisition was saved completely"
        )


def settle_truncation(
    path: Path, readable: int, promised: str, *, allow_truncated: bool
) -> tuple[str, ...]:
    """Decide about a file that ends early.

    Parameters
    ----------
    path : Path
        The file.
    readable : int
        Whole frames that can be read.
    promised : str
        What the file's header says, e.g. ``"100 frames"``.
    allow_truncated : bool
        Serve the readable frames instead of refusing.

    Returns
    -------
    tuple of str
        The note for :class:`~hdsmlm.records.movie.MovieInfo`.

    Raises
    ------
    TruncatedMovieError
        When it is not allowed, or not a single frame can be read.
    """
    what = f"{path.name} ends early: {promised} expected, {readable} whole frames can be read"
    if readable <= 0:
        raise TruncatedMovieError(f"{what}; copy or save the file again", 0)
    if not allow_truncated:
        raise TruncatedMovieError(
            f"{what}. Copy or save the file again, or ask for the readable frames to be used "
            "(--allow-truncated)",
            readable,
        )
    return (f"{what}; only these are used",)


def plausible_pixel_size_nm(x_nm: float | None, y_nm: float | None = None) -> float | None:
    """Return ``x_nm`` when it can be a camera pixel in the sample plane, else None.

    A resolution of 72 dots per inch would be a pixel of 353 µm: such defaults of image programs
    say nothing about the microscope. Pixels that are not square (beyond 1 %) are refused too,
    since one number cannot describe them.
    """
    if x_nm is None or not SMALLEST_PIXEL_NM <= x_nm <= LARGEST_PIXEL_NM:
        return None
    if y_nm is not None and abs(y_nm - x_nm) > 0.01 * x_nm:
        return None
    return float(x_nm)
