"""Is an uploaded file what it is said to be? Asked in a process with little memory and time.

The header is judged before a pixel is decoded: a small file may claim frames of any size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hdsmlm.config.service import LimitsConfig
from hdsmlm.errors import MovieError, TableError, TruncatedMovieError
from hdsmlm.service.isolated import isolated


def check_movie(path: Path, limits: LimitsConfig) -> dict[str, Any]:
    """Return what a movie says of itself.

    Returns
    -------
    dict
        ``frames``, ``height``, ``width``, ``dtype``, ``pixel_size_nm``, ``paths``, ``remark``
        (that it ends early, or None).

    Raises
    ------
    HdsmlmError
        When it does not open as a movie, is larger than the limits, or takes too long.
    """
    return dict(isolated(_open_movie, path, limits, limits=limits, what=path.name))


def check_table(path: Path, limits: LimitsConfig) -> dict[str, Any]:
    """Return ``rows`` of a table.

    Raises
    ------
    HdsmlmError
        When it does not open as a table of emitters.
    """
    return dict(isolated(_open_table, path, limits, limits=limits, what=path.name))


def _open_movie(path: Path, limits: LimitsConfig) -> dict[str, Any]:
    from hdsmlm.io.movies import open_movie

    if path.is_file():
        _judge_header(path, limits)
    remark = None
    try:
        movie = open_movie(path)
    except TruncatedMovieError:
        movie = open_movie(path, allow_truncated=True)
        remark = _ends_early(movie.info.n_frames)
    with movie:
        info = movie.info
        judge_size(info.n_frames, info.height, info.width, limits)
        if info.n_frames == 0:
            raise MovieError(f"{path.name}: no whole frame is in it; copy or save it again")
        movie.read(0, 1)
        return {
            "frames": info.n_frames,
            "height": info.height,
            "width": info.width,
            "dtype": info.dtype,
            "pixel_size_nm": info.pixel_size_nm,
            "paths": [str(part) for part in info.paths],
            "remark": remark,
        }


def _ends_early(readable: int) -> str:
    return (
        f"the file ends early: {readable} whole frames can be read. Copy or save it again, or "
        "analyse the frames that are there"
    )


def _judge_header(path: Path, limits: LimitsConfig) -> None:
    """Look at the first page of a TIFF before the reader decodes one to see whether it can."""
    from hdsmlm.io.movies.tiff import BOUNDED, MAGIC

    with path.open("rb") as stream:
        if not stream.read(4).startswith(MAGIC):
            return
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            shape, packing = tif.pages.first.shape, tif.pages.first.compression
    except Exception:  # the reader says what is wrong with it
        return
    if packing not in BOUNDED:
        raise MovieError(
            f"{path.name}: its frames are compressed as {packing.name}, of which a few bytes may "
            "unpack to gigabytes; save the movie uncompressed, or with LZW, Deflate or zstd"
        )
    if len(shape) == 2:
        judge_size(1, shape[0], shape[1], limits)


def judge_size(frames: int, height: int, width: int, limits: LimitsConfig) -> None:
    """Refuse sizes beyond the limits.

    Raises
    ------
    MovieError
        When a number is beyond its limit.
    """
    if height * width > limits.frame_pixels:
        raise MovieError(
            f"its frames have {height} x {width} pixels; this server takes up to "
            f"{limits.frame_pixels} pixels per frame. Cut the movie to the part of interest"
        )
    if frames > limits.movie_frames or frames * height * width > limits.movie_pixels:
        raise MovieError(
            f"it has {frames} frames of {height} x {width} pixels, more than this server takes; "
            "cut it into parts"
        )


def _open_table(path: Path, limits: LimitsConfig) -> dict[str, Any]:
    from hdsmlm.io.tables import read_table

    _require_self_contained(path)
    rows = len(read_table(path, pixel_size_nm=100.0))
    if rows > limits.table_rows:
        raise TableError(f"{path.name}: it has {rows} rows; up to {limits.table_rows} are taken")
    return {"rows": rows}


def _require_self_contained(path: Path) -> None:
    """Refuse an HDF5 file whose data lie in other files: it would show those of the server."""
    import h5py

    if not h5py.is_hdf5(path):
        return
    with h5py.File(path, "r") as file:
        groups: list[tuple[h5py.Group, int]] = [(file, 0)]
        while groups:
            group, depth = groups.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink) or depth > 16:
                    raise TableError(f"{path.name}: it holds links; save it as one plain file")
                item = group[name]
                if isinstance(item, h5py.Group):
                    groups.append((item, depth + 1))
                elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                    raise TableError(
                        f"{path.name}: its data lie in other files; save it as one plain file"
                    )
