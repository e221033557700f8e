"""Is an uploaded file what it is said to be? Asked in a process with little memory and time.

The header is judged before a pixel is decoded: a small file may claim frames of any size.
"""

from __future__ import annotations

import os
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hdsmlm.config.service import LimitsConfig
from hdsmlm.errors import HdsmlmError, MovieError, TableError

_context: Any = get_context("forkserver" if os.name == "posix" else "spawn")


def warm_up() -> None:
    """Have the process that checks are forked from import what they need."""
    if os.name == "posix":
        _context.set_forkserver_preload(["hdsmlm.service.checking", "hdsmlm.io.movies"])


def check_movie(path: Path, limits: LimitsConfig) -> dict[str, Any]:
    """Return what a movie says of itself.

    Returns
    -------
    dict
        ``frames``, ``height``, ``width``, ``dtype``, ``pixel_size_nm``, ``paths``.

    Raises
    ------
    MovieError
        When it does not open as a movie, or is larger than the limits.
    """
    return _ask(_open_movie, path, limits, MovieError)


def check_table(path: Path, limits: LimitsConfig) -> dict[str, Any]:
    """Return ``rows`` of a table.

    Raises
    ------
    TableError
        When it does not open as a table of emitters.
    """
    return _ask(_open_table, path, limits, TableError)


def _ask(work: Any, path: Path, limits: LimitsConfig, error: type[HdsmlmError]) -> dict[str, Any]:
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=_child, args=(theirs, work, str(path), limits), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(limits.check_s):
            raise error(f"{path.name}: it was not read within {limits.check_s:g} s; it is damaged")
        found, message = ours.recv()
    except EOFError:
        raise error(
            f"{path.name}: reading it took too much memory or failed; it is damaged, or its header "
            "promises more than there is"
        ) from None
    finally:
        ours.close()
        if process.is_alive():
            process.kill()
        process.join(5)
    if message is not None:
        raise error(message)
    return dict(found)


def _child(channel: Connection, work: Any, path: str, limits: LimitsConfig) -> None:
    _bound_memory(limits.check_memory_bytes)
    try:
        channel.send((work(Path(path), limits), None))
    except HdsmlmError as error:
        channel.send((None, str(error)))
    except MemoryError:
        channel.send((None, f"{Path(path).name}: reading it takes too much memory; is it damaged?"))
    except Exception as error:
        channel.send((None, f"{Path(path).name}: cannot be read ({type(error).__name__})"))


def _bound_memory(more_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    import psutil

    most = psutil.Process().memory_info().vms + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _open_movie(path: Path, limits: LimitsConfig) -> dict[str, Any]:
    from hdsmlm.io.movies import open_movie

    if path.is_file():
        _judge_header(path, limits)
    with open_movie(path, allow_truncated=True) as movie:
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
        }


def _judge_header(path: Path, limits: LimitsConfig) -> None:
    """Look at the first page of a TIFF before the reader decodes one to see whether it can."""
    from hdsmlm.io.movies.tiff import MAGIC

    with path.open("rb") as stream:
        if not stream.read(4).startswith(MAGIC):
            return
    import tifffile

    try:
        with tifffile.TiffFile(path) as tif:
            shape = tif.pages.first.shape
    except Exception:  # the reader says what is wrong with it
        return
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

    rows = len(read_table(path, pixel_size_nm=100.0))
    if rows > limits.table_rows:
        raise TableError(f"{path.name}: it has {rows} rows; up to {limits.table_rows} are taken")
    return {"rows": rows}
