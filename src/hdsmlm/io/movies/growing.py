"""A movie that a microscope is still writing: a TIFF that grows, or a folder that fills."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import MovieError
from hdsmlm.io.movies.frames import FrameSource
from hdsmlm.io.movies.registry import TIFF_EXTENSIONS, open_file
from hdsmlm.io.movies.sequence import natural_key
from hdsmlm.records.movie import MovieInfo


class GrowingMovie:
    """Frames so far of a file or folder of TIFF files, which may not exist yet.

    Frames are only ever added: those that were there keep their numbers. A file that cannot be read
    ends the movie until it can, so that the files after it wait for it.

    Parameters
    ----------
    path : Path
        The TIFF file or the folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[Path, int] = {}
        self._sizes: dict[Path, int] = {}
        self._shape: tuple[int, int] | None = None
        self._open: tuple[Path, FrameSource] | None = None
        self.pixel_size_nm: float | None = None
        self.name = path.name

    @property
    def n_frames(self) -> int:
        """Return the frames that :meth:`look` has seen."""
        return sum(self._files.values())

    def look(self) -> int:
        """Look for new frames; return how many there are in all.

        Raises
        ------
        MovieError
            When new frames differ in size from those before.
        """
        names = self._names()
        for number, path in enumerate(names):
            known = self._files.get(path, 0)
            try:
                size = path.stat().st_size
                if size == self._sizes.get(path) and known:
                    continue
                info = self._info(path)
            except (MovieError, OSError):
                if known == 0:
                    break  # not readable yet
                continue
            self._require_same(info)
            self._sizes[path], found = size, info.n_frames
            if found < known or (found > known and self._later_has_frames(names[number + 1 :])):
                raise MovieError(
                    f"{path.name}: it changed after frames behind it were read; a movie that "
                    "grows at its end was wanted"
                )
            self._files[path] = found
        return self.n_frames

    def _later_has_frames(self, paths: list[Path]) -> bool:
        return any(self._files.get(path) for path in paths)

    def _names(self) -> list[Path]:
        if not self._path.is_dir():
            return [self._path] if self._path.exists() else []
        files = (
            entry
            for entry in self._path.iterdir()
            if entry.suffix.lower() in TIFF_EXTENSIONS
            and entry.name[0] != "."
            and not entry.is_symlink()
        )
        return sorted(files, key=natural_key)

    def _info(self, path: Path) -> MovieInfo:
        """Return what a file holds now."""
        if self._open is not None and self._open[0] == path:
            self.close()
        with open_file(path, allow_truncated=True) as movie:
            return movie.info

    def _require_same(self, info: MovieInfo) -> None:
        shape = (info.height, info.width)
        if len(info.paths) > 1:
            raise MovieError(
                f"{info.name}: it names further files; only TIFF files that stand alone can be "
                "followed"
            )
        if self._shape not in (None, shape):
            raise MovieError(
                f"{info.name}: its frames have {shape} pixels, those before {self._shape}; all "
                "frames of a movie must be alike"
            )
        self._shape = shape
        self.pixel_size_nm = self.pixel_size_nm or info.pixel_size_nm

    def read(self, start: int, stop: int) -> NDArray[np.generic]:
        """Return frames ``start`` to ``stop - 1``, shape (t, y, x).

        Raises
        ------
        MovieError
            When they are not there or cannot be read.
        """
        if not 0 <= start < stop <= self.n_frames:
            raise MovieError(f"{self.name}: frames {start} to {stop} are not there yet")
        pieces = []
        first = 0
        for path, count in self._files.items():
            low, high = max(start, first), min(stop, first + count)
            if low < high:
                pieces.append(self._reader(path).read(low - first, high - first))
            first += count
        return np.concatenate(pieces)

    def _reader(self, path: Path) -> FrameSource:
        if self._open is None or self._open[0] != path:
            self.close()
            self._open = (path, open_file(path, allow_truncated=True))
        return self._open[1]

    def close(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None
