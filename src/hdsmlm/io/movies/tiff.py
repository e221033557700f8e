"""TIFF movies: single and multi-page, BigTIFF, OME, ImageJ, MetaMorph STK, compressed.

The pages count the frames, never the series that a library groups them into. The exception are
files that list one page and keep the other frames right behind it (ImageJ beyond 4 GB, STK).
"""

from __future__ import annotations

import logging
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from hdsmlm.errors import MovieError, TruncatedMovieError
from hdsmlm.io.movies.flat import FlatLayout, open_flat
from hdsmlm.io.movies.frames import (
    FrameSource,
    require_frames,
    require_pixel_type,
    settle_truncation,
)
from hdsmlm.io.movies.sequence import open_sequence
from hdsmlm.io.movies.tiff_metadata import TiffMetadata, describe
from hdsmlm.records.movie import MovieInfo

# The library logs what this module reports as errors; without a handler that would reach stderr.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

BOUNDED = frozenset({1, 5, 8, 32773, 32946, 34925, 50000})
"""Compressions that unpack to no more than a strip or tile holds: none, LZW, Deflate (both codes),
PackBits, LZMA, zstd. Others (JPEG 2000, PNG) say themselves how large they are."""
_MOST_TILE_PIXELS = 2**20
"""Tiles up to this size are read however small the frame is: writers choose it once for all."""
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MIN_IS_WHITE, _RGB, _PALETTE, _YCBCR = 0, 2, 3, 6


@dataclass(frozen=True)
class _Pages:
    """The pages that are frames, and where plain ones lie."""

    index: NDArray[np.int64]
    offset_bytes: NDArray[np.int64]  # -1 where the page is not plain, contiguous pixels
    readable: int
    complete: bool


def open_tiff(path: Path, *, allow_truncated: bool = False) -> FrameSource:
    """Open a TIFF movie.

    Raises
    ------
    MovieError
        For colour images, channels, pages that differ, or a file that is no usable TIFF.
    TruncatedMovieError
        When pages or their data are missing at the end.
    """
    metadata = _metadata(path)
    if len(metadata.files) > 1:
        return open_sequence(
            metadata.files,
            lambda part, allowed: _open_one(part, _metadata(part), allowed),
            path.name.removesuffix(path.suffix).removesuffix(".ome"),
            allow_truncated=allow_truncated,
        )
    return _open_one(path, metadata, allow_truncated)


def _metadata(path: Path) -> TiffMetadata:
    with _opened(path) as tif:
        _require_grey(tif.pages.first, path)
        return describe(tif, path)


def _opened(path: Path) -> Any:
    """Open with the library; a file that is cut before its first page is a truncated movie."""
    try:
        tif = tifffile.TiffFile(path)
    except (tifffile.TiffFileError, struct.error, ValueError, IndexError, KeyError) as error:
        raise TruncatedMovieError(
            f"{path}: begins like a TIFF, but its first image cannot be found ({error}); "
            "copy or save the file again",
            0,
        ) from error
    try:
        tif.pages.first.shape  # noqa: B018 - parses the first page
    except (tifffile.TiffFileError, struct.error, ValueError, IndexError, KeyError) as error:
        tif.close()
        raise TruncatedMovieError(
            f"{path}: begins like a TIFF, but holds no whole image ({error}); it is empty or cut "
            "off. Copy or save the file again",
            0,
        ) from error
    return tif


def _open_one(path: Path, metadata: TiffMetadata, allow_truncated: bool) -> FrameSource:
    with _opened(path) as tif:
        first = tif.pages.first
        require_pixel_type(np.dtype(first.dtype or "V1"), path.name)
        require_frames((1, *first.shape), path.name)
        hidden = _hidden_frames(tif, metadata)
        if hidden is None:
            pages = _scan(tif, path)
    if hidden is not None:
        return open_flat(
            path,
            hidden,
            promised_frames=metadata.promised_frames,
            allow_truncated=allow_truncated,
            data_bytes=min(
                path.stat().st_size,
                hidden.offset_bytes + metadata.promised_frames * hidden.frame_bytes,
            ),
            pixel_size_nm=metadata.pixel_size_nm,
            notes=metadata.notes,
        )
    notes = metadata.notes + _page_notes(first)
    if not pages.complete or pages.readable < len(pages.index):
        promised = max(metadata.promised_frames, len(pages.index))
        what = f"at least {promised} frames" if not pages.complete else f"{promised} frames"
        notes += settle_truncation(path, pages.readable, what, allow_truncated=allow_truncated)
    info = MovieInfo(
        name=path.stem.removesuffix(".ome"),
        paths=(path,),
        n_frames=pages.readable,
        height=first.shape[0],
        width=first.shape[1],
        dtype=np.dtype(first.dtype).name,
        pixel_size_nm=metadata.pixel_size_nm,
        notes=notes,
    )
    return TiffMovie(path, info, pages.index[: pages.readable], pages.offset_bytes, tif.byteorder)


class TiffMovie(FrameSource):
    """Read pages on demand: plain pixels straight from their place, others through the library."""

    def __init__(
        self,
        path: Path,
        info: MovieInfo,
        pages: NDArray[np.int64],
        offset_bytes: NDArray[np.int64],
        byteorder: str,
    ) -> None:
        self._path = path
        self._pages = pages
        self._offset_bytes = offset_bytes
        self._stored = np.dtype(info.dtype).newbyteorder("<" if byteorder == "<" else ">")
        self._lock = threading.Lock()
        self.info = info
        self._stream = path.open("rb")
        self._tif = None if (offset_bytes >= 0).all() else tifffile.TiffFile(path)
        if self._tif is not None:
            try:
                self._decode(0)  # an unknown compression must be told before hours of work
            except Exception:
                self.close()
                raise

    def _read(self, start: int, stop: int) -> NDArray[np.generic]:
        shape = (stop - start, self.info.height, self.info.width)
        frames = np.empty(shape, self._stored)
        with self._lock:
            for first, end in self._runs(start, stop):
                if self._offset_bytes[first] >= 0:
                    self._stream.seek(int(self._offset_bytes[first]))
                    place = frames[first - start : end - start]
                    got = self._stream.readinto(place.view(np.uint8).data)
                    if got != place.nbytes:
                        raise MovieError(
                            f"{self._path}: frames {first} to {end} ended after {got} of "
                            f"{place.nbytes} bytes; the file changed while it was read"
                        )
                else:
                    frames[first - start] = self._decode(first)
        return frames.astype(self.info.dtype, copy=False)

    def _runs(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield stretches of frames that lie one behind the other in the file."""
        size = self.info.height * self.info.width * self._stored.itemsize
        first = start
        for frame in range(start + 1, stop + 1):
            joined = (
                frame < stop
                and self._offset_bytes[frame - 1] >= 0
                and self._offset_bytes[frame] == self._offset_bytes[frame - 1] + size
            )
            if not joined:
                yield first, frame
                first = frame

    def _decode(self, frame: int) -> NDArray[np.generic]:
        assert self._tif is not None
        page = self._tif.pages[int(self._pages[frame])]
        self._require_own_size(page, frame)
        try:
            return page.asarray(maxworkers=1).reshape(self.info.height, self.info.width)
        except Exception as error:  # decoders raise classes of their own
            raise MovieError(
                f"{self._path}: frame {frame} (counted from 0) cannot be decoded ({error}); the "
                "file is damaged there. Copy or save it again"
            ) from error

    def _require_own_size(self, page: Any, frame: int) -> None:
        """Refuse a page that would unpack to far more than a frame, before it does.

        Raises
        ------
        MovieError
            When it has another size than the first one, or tiles far larger than itself.
        """
        pixels = self.info.height * self.info.width
        tile = page.tilewidth * page.tilelength if page.is_tiled else 0
        first = self._tif.pages[int(self._pages[0])].compression if self._tif else None
        known = page.compression in BOUNDED or page.compression == first
        if known and page.size == pixels and tile <= max(_MOST_TILE_PIXELS, 4 * pixels):
            return
        what = f"tiles of {page.tilelength} x {page.tilewidth} pixels" if tile else "another size"
        if not known:
            what = f"another compression ({page.compression.name})"
        raise MovieError(
            f"{self._path}: frame {frame} (counted from 0) has {what}, the movie's frames have "
            f"{self.info.height} x {self.info.width} pixels; the file is damaged there. Copy or "
            "save it again"
        )

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        if self._tif is not None:
            self._tif.close()


def _require_grey(page: Any, path: Path) -> None:
    if page.samplesperpixel > 1 or page.photometric in (_RGB, _YCBCR):
        raise MovieError(
            f"{path}: grey images were wanted, but these are colour images with "
            f"{page.samplesperpixel} values per pixel (RGB). Convert the movie to 16-bit grey "
            "values (in Fiji: Image > Type > 16-bit), or export the camera's raw data"
        )
    if len(page.shape) != 2:
        raise MovieError(
            f"{path}: images with rows and columns were wanted, but a page has shape {page.shape}"
        )


def _page_notes(page: Any) -> tuple[str, ...]:
    if page.photometric == _PALETTE:
        return ("its pages have a colour table; the stored values are used",)
    if page.photometric == _MIN_IS_WHITE:
        return ("its pages say that 0 is white; the stored values are used",)
    return ()


def _hidden_frames(tif: Any, metadata: TiffMetadata) -> FlatLayout | None:
    """Return the layout when one page is listed and the other frames follow it without pages."""
    first = tif.pages.first
    if metadata.promised_frames < 2 or len(tif.pages) > 1 or not first.is_final:
        return None
    dtype = np.dtype(first.dtype).newbyteorder(tif.byteorder)
    layout = FlatLayout(first.shape[0], first.shape[1], dtype, int(first.dataoffsets[0]))
    end = layout.offset_bytes + metadata.promised_frames * layout.frame_bytes
    following = _next_page_offset(tif, first.offset)
    # Pages listed behind ALL the frames, but cut off: the frames still lie in one piece.
    return layout if following == 0 or following >= end else None


def _next_page_offset(tif: Any, page_offset: int) -> int:
    """Return where the page after the one at ``page_offset`` is said to be; 0 at the end."""
    stream, form = tif.filehandle, tif.tiff
    try:
        stream.seek(page_offset)
        (count,) = struct.unpack(form.tagnoformat, stream.read(form.tagnosize))
        stream.seek(page_offset + form.tagnosize + count * form.tagsize)
        (following,) = struct.unpack(form.offsetformat, stream.read(form.offsetsize))
    except struct.error:
        return -1
    return int(following)


def _scan(tif: Any, path: Path) -> _Pages:
    """Visit all pages: they must be alike; note where plain pixels lie and what is missing."""
    size_bytes = path.stat().st_size
    first = tif.pages.first
    index: list[int] = []
    offsets: list[int] = []
    whole: list[bool] = []
    last_offset, complete = first.offset, True
    for number in range(len(tif.pages)):
        try:
            page = tif.pages[number] if number else first
            thumbnail = page.is_reduced
        except (tifffile.TiffFileError, struct.error, ValueError, IndexError, KeyError):
            complete = False
            break
        last_offset = page.offset
        if thumbnail and number:
            continue
        _require_like_first(page, first, len(index), path)
        ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
        index.append(number)
        offsets.append(int(page.dataoffsets[0]) if page.is_final else -1)
        whole.append(bool(ends) and max(ends) <= size_bytes)
    complete = complete and _next_page_offset(tif, last_offset) == 0
    readable = whole.index(False) if False in whole else len(whole)
    return _Pages(np.array(index), np.array(offsets), readable, complete)


def _require_like_first(page: Any, first: Any, frame: int, path: Path) -> None:
    if page.shape != first.shape or page.dtype != first.dtype:
        raise MovieError(
            f"{path}: all frames must be alike, but frame 0 is {_looks(first)} and frame {frame} "
            f"(counted from 0) is {_looks(page)}. Save them as separate movies"
        )


def _looks(page: Any) -> str:
    return f"{' x '.join(map(str, page.shape))} pixels of {page.dtype}"
