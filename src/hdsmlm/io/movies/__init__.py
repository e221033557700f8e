"""Movies of any supported format behind one function: :func:`open_movie`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hdsmlm.errors import MovieError
from hdsmlm.io.movies.array import ArrayMovie
from hdsmlm.io.movies.frames import FrameSource
from hdsmlm.io.movies.registry import (
    FORMATS,
    TIFF_EXTENSIONS,
    MovieFormat,
    known_formats,
    open_file,
)
from hdsmlm.io.movies.sequence import natural_key, open_sequence

__all__ = ["FORMATS", "ArrayMovie", "FrameSource", "MovieFormat", "known_formats", "open_movie"]

MovieSource = Path | str | Sequence[Path | str]


def open_movie(source: MovieSource, *, allow_truncated: bool = False) -> FrameSource:
    """Open a movie; its frames are read when asked for, so that memory does not grow with it.

    Parameters
    ----------
    source : path, str or list of paths
        A file, a folder of TIFF files, a pattern such as ``"movie_*.tif"``, or the files of one
        movie in their order. Folders and patterns are sorted naturally (2 before 10).
    allow_truncated : bool
        Serve what can be read of a file that ends early; ``info.notes`` says how much.

    Returns
    -------
    FrameSource
        A :class:`~hdsmlm.records.movie.MovieReader` and context manager. It may be shared by
        threads; each process opens its own.

    Raises
    ------
    MovieError
        When there is nothing to read, or it is no movie of grey frames.
    TruncatedMovieError
        When it ends early and ``allow_truncated`` is false.
    MissingExtraError
        When its format needs a library that is not installed.
    """
    if not isinstance(source, Path | str):
        return _open_list([Path(item).expanduser() for item in source], allow_truncated)
    path = Path(source).expanduser()
    if path.is_dir():
        return _open_folder(path, allow_truncated)
    if not path.exists() and any(letter in str(path) for letter in "*?["):
        return _open_pattern(path, allow_truncated)
    return open_file(path, allow_truncated)


def _open_list(paths: list[Path], allow_truncated: bool) -> FrameSource:
    if not paths:
        raise MovieError("a list of files was given as the movie, but the list is empty")
    return open_sequence(paths, open_file, paths[0].stem, allow_truncated=allow_truncated)


def _open_folder(folder: Path, allow_truncated: bool) -> FrameSource:
    files = [file for file in folder.iterdir() if file.is_file() and file.name[0] != "."]
    tiffs = sorted((f for f in files if f.suffix.lower() in TIFF_EXTENSIONS), key=natural_key)
    if tiffs:
        return open_sequence(tiffs, open_file, folder.name, allow_truncated=allow_truncated)
    extensions = {extension for form in FORMATS for extension in form.extensions}
    movies = sorted(file.name for file in files if file.suffix.lower() in extensions)
    hint = f"Give one of its movies itself: {', '.join(movies[:5])}" if movies else "Check the path"
    raise MovieError(
        f"{folder}: TIFF files ({' '.join(TIFF_EXTENSIONS)}) were looked for in this folder, but "
        f"there are none among its {len(files)} files. {hint}"
    )


def _open_pattern(pattern: Path, allow_truncated: bool) -> FrameSource:
    parts = pattern.parts
    magic = next(i for i, part in enumerate(parts) if any(letter in part for letter in "*?["))
    base = Path(*parts[:magic]) if magic else Path()
    found = base.glob(str(Path(*parts[magic:]))) if base.is_dir() else iter(())
    files = sorted((file for file in found if file.is_file()), key=natural_key)
    if not files:
        raise MovieError(f"{pattern}: no file matches this pattern; check the folder and the name")
    return open_sequence(files, open_file, pattern.name, allow_truncated=allow_truncated)
