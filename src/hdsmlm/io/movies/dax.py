"""DAX movies (Zhuang lab): flat 16-bit frames, described by a text file of the same name (.inf)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hdsmlm.errors import MovieError
from hdsmlm.io.movies.flat import FlatLayout, open_flat
from hdsmlm.io.movies.frames import FrameSource


def open_dax(path: Path, *, allow_truncated: bool = False) -> FrameSource:
    """Open a DAX movie.

    The .inf names the frame as width x height and the byte order; the file's size decides how many
    frames there are, since the .inf's count is known to be off by one in some recordings.

    Raises
    ------
    MovieError
        When the .inf is missing or does not describe 16-bit frames.
    TruncatedMovieError
        When the last frame is incomplete or there are fewer frames than the .inf says.
    """
    header = path.with_suffix(".inf")
    if not header.is_file():
        raise MovieError(
            f"{path}: a DAX movie needs the text file {header.name} beside it (frame dimensions, "
            "byte order), but there is none; copy it to the same folder"
        )
    text = header.read_text(encoding="utf-8", errors="replace")
    size = re.search(r"frame dimensions\s*=\s*(\d+)\s*x\s*(\d+)", text)
    kind = re.search(
        r"data type\s*=\s*(\d+)\s*bit[^\n]*?(big|little)?\s*(?:endian)?\)?\s*$", text, re.M
    )
    if not size:
        raise MovieError(
            f"{header}: the line 'frame dimensions = <width> x <height>' was wanted, but is missing"
        )
    if kind and kind[1] != "16":
        raise MovieError(f"{header}: 16-bit frames were wanted, but it says '{kind[0].strip()}'")
    order = "<" if re.search(r"little[ -]endian", text, re.I) else ">"
    promised = re.search(r"number of frames\s*=\s*(\d+)", text)
    layout = FlatLayout(int(size[2]), int(size[1]), np.dtype(f"{order}u2"))
    return open_flat(
        path,
        layout,
        promised_frames=int(promised[1]) if promised else None,
        allow_truncated=allow_truncated,
    )
