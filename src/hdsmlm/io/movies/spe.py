"""SPE movies (Princeton Instruments WinView/WinSpec 2.x and LightField 3.x).

Header fields from the manufacturer's "SPE 2.5" and "SPE 3.0 File Format Specification": a binary
header of 4100 bytes, the frames, and in version 3 an XML footer that states the true frame stride.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np

from hdsmlm.errors import MovieError, TruncatedMovieError
from hdsmlm.io.movies.flat import FlatLayout, open_flat
from hdsmlm.io.movies.frames import FrameSource

HEADER_BYTES = 4100
WINVIEW_ID = 0x01234567
_DTYPES = {0: "<f4", 1: "<i4", 2: "<i2", 3: "<u2", 5: "<f8", 6: "<u1", 8: "<u4"}


def is_spe(head: bytes) -> bool:
    """Tell by the header whether these first bytes (at least 4100) belong to an SPE file."""
    if len(head) < HEADER_BYTES:
        return False
    (winview_id,) = struct.unpack_from("<I", head, 2996)
    (last_value,) = struct.unpack_from("<H", head, 4098)
    (version,) = struct.unpack_from("<f", head, 1992)
    return winview_id == WINVIEW_ID or (last_value == 0x5555 and 1.0 <= version < 4.0)


def open_spe(path: Path, *, allow_truncated: bool = False) -> FrameSource:
    """Open an SPE movie, version 2 or 3.

    Raises
    ------
    MovieError
        When the header is unreadable or the movie has several regions of interest.
    TruncatedMovieError
        When frames are missing at the end.
    """
    with path.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        raise TruncatedMovieError(
            f"{path}: an SPE header of {HEADER_BYTES} bytes was wanted, but the file has only "
            f"{len(head)} bytes; copy or save it again",
            0,
        )
    width, height = (struct.unpack_from("<H", head, place)[0] for place in (42, 656))
    (code,) = struct.unpack_from("<h", head, 108)
    (promised,) = struct.unpack_from("<i", head, 1446)
    (regions,) = struct.unpack_from("<h", head, 1510)
    (version,) = struct.unpack_from("<f", head, 1992)
    (footer,) = struct.unpack_from("<Q", head, 678)
    if code not in _DTYPES:
        raise MovieError(
            f"{path}: SPE data type {code} is unknown (known: {sorted(_DTYPES)}); is this an SPE?"
        )
    if regions > 1:
        _refuse_regions(path, regions)
    size = path.stat().st_size
    stride, data_end = 0, None
    if version >= 3 and HEADER_BYTES < footer < size:
        stride = _frame_stride(path, footer)
        data_end = footer
    layout = FlatLayout(height, width, np.dtype(_DTYPES[code]), HEADER_BYTES, stride)
    if stride and stride < layout.frame_bytes:
        raise MovieError(f"{path}: the footer's frame stride of {stride} bytes is too small")
    return open_flat(
        path,
        layout,
        promised_frames=promised if promised >= 0 else None,
        allow_truncated=allow_truncated,
        data_bytes=data_end,
    )


def _refuse_regions(path: Path, regions: int) -> None:
    raise MovieError(
        f"{path}: one region of interest was wanted, but the movie has {regions}; export one of "
        "them as TIFF from the camera's program"
    )


def _frame_stride(path: Path, footer: int) -> int:
    """Return the bytes from frame to frame as the XML footer states them; 0 when it is silent."""
    with path.open("rb") as stream:
        stream.seek(footer)
        text = stream.read().decode("utf-8", errors="replace")
    frame = re.search(r'<DataBlock\b[^>]*\btype="Frame"[^>]*>', text)
    regions = len(re.findall(r'<DataBlock\b[^>]*\btype="Region"', text))
    if regions > 1:
        _refuse_regions(path, regions)
    stride = re.search(r'\bstride="(\d+)"', frame[0]) if frame else None
    return int(stride[1]) if stride else 0
