"""Several files that are one movie: a folder, a pattern, a list, or a multi-file OME-TIFF."""

from __future__ import annotations

import bisect
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import MovieError, TruncatedMovieError
from hdsmlm.io.movies.frames import FrameSource, settle_truncation
from hdsmlm.records.movie import MovieInfo

Opener = Callable[[Path, bool], FrameSource]
OPEN_FILES = 8


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts ``frame2`` before ``frame10``."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


class SequenceMovie(FrameSource):
    """Movies one after another, of which only a few files are open at a time.

    Parameters
    ----------
    parts : sequence of MovieInfo
        One per file, equal in frame size and pixel type.
    opener : callable
        Opens one file: ``opener(path, allow_truncated)``.
    info : MovieInfo
        The movie as a whole.
    """

    def __init__(self, parts: Sequence[MovieInfo], opener: Opener, info: MovieInfo) -> None:
        self._parts = list(parts)
        self._opener = opener
        self._starts = [0, *np.cumsum([part.n_frames for part in parts]).tolist()]
        self._open: OrderedDict[int, FrameSource] = OrderedDict()
        self._lock = threading.Lock()
        self.info = info

    def _read(self, start: int, stop: int) -> NDArray[np.generic]:
        shape = (stop - start, self.info.height, self.info.width)
        frames = np.empty(shape, self.info.dtype)
        with self._lock:
            at = start
            while at < stop:
                index = bisect.bisect_right(self._starts, at) - 1
                first, end = self._starts[index], min(self._starts[index + 1], stop)
                part = self._part(index)
                frames[at - start : end - start] = part.read(at - first, end - first)
                at = end
        return frames

    def _part(self, index: int) -> FrameSource:
        if index in self._open:
            self._open.move_to_end(index)
            return self._open[index]
        while len(self._open) >= OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        self._open[index] = self._opener(self._parts[index].paths[0], True)
        return self._open[index]

    def close(self) -> None:
        """Close the files that are open."""
        while self._open:
            self._open.popitem()[1].close()


def open_sequence(
    paths: Sequence[Path], opener: Opener, name: str, *, allow_truncated: bool = False
) -> FrameSource:
    """Join files into one movie, in the order given.

    A truncated file ends the movie, so that the frames before it keep their numbers: it is refused,
    or with ``allow_truncated`` the movie stops at its last readable frame.

    Raises
    ------
    MovieError
        When a file cannot be read or differs from the first in frame size or pixel type.
    TruncatedMovieError
        When a file ends early and ``allow_truncated`` is false.
    """
    if len(paths) == 1:
        return opener(paths[0], allow_truncated)
    parts: list[MovieInfo] = []
    siblings: set[Path] = set()  # files that an OME-TIFF before them has brought along
    notes: tuple[str, ...] = ()
    for position, path in enumerate(paths):
        if path in siblings:
            continue
        try:
            info = _info(path, opener, False)
        except TruncatedMovieError as error:
            before = sum(part.n_frames for part in parts)
            notes = settle_truncation(
                path,
                before + error.readable_frames,
                f"all {len(paths)} files of {name} ({len(paths) - position - 1} come after it)",
                allow_truncated=allow_truncated,
            )
            if error.readable_frames:
                parts.append(_info(path, opener, True))
            break
        siblings.update(info.paths if len(info.paths) > 1 else ())
        parts.append(info)
        _require_same(parts[0], info)
    _require_same(parts[0], parts[-1])
    whole = replace(
        parts[0],
        name=name,
        paths=tuple(path for part in parts for path in part.paths),
        n_frames=sum(part.n_frames for part in parts),
        notes=tuple(dict.fromkeys([*(n for part in parts for n in part.notes), *notes])),
    )
    return SequenceMovie(parts, opener, whole)


def _info(path: Path, opener: Opener, allow_truncated: bool) -> MovieInfo:
    with opener(path, allow_truncated) as movie:
        return movie.info


def _require_same(first: MovieInfo, other: MovieInfo) -> None:
    for field, what in (("height", "rows"), ("width", "columns"), ("dtype", "pixel type")):
        wanted, came = getattr(first, field), getattr(other, field)
        if wanted != came:
            raise MovieError(
                f"all files of a movie must be alike, but {first.paths[0].name} has {what} "
                f"{wanted} and {other.paths[0].name} has {came}. Take the odd file out of the "
                "folder or pattern"
            )
