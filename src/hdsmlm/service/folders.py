"""Where the service keeps what: every path is made here, from identifiers that are checked."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hdsmlm.errors import MovieError, OutputError
from hdsmlm.io.writing import writing

if TYPE_CHECKING:
    from hdsmlm.service.store import Movie

_IDENTIFIER = re.compile(r"[0-9a-f]{32}")


def is_identifier(text: str) -> bool:
    """Tell whether ``text`` is an identifier that this service made (uuid4 in hex)."""
    return _IDENTIFIER.fullmatch(text) is not None


@dataclass(frozen=True)
class Folders:
    """The data folder.

    Parameters
    ----------
    root : Path
        Holds ``service.db``, ``queue.db``, ``uploads``, ``movies``, ``tables`` and ``jobs``.
    """

    root: Path

    def create(self) -> None:
        """Make the folders, for this user alone.

        Raises
        ------
        OutputError
            When they cannot be made.
        """
        with writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("uploads", "movies", "tables", "jobs"):
                (self.root / name).mkdir(exist_ok=True, mode=0o700)

    @property
    def store(self) -> Path:
        """Return the file of the records."""
        return self.root / "service.db"

    @property
    def queue(self) -> Path:
        """Return the file of the queue."""
        return self.root / "queue.db"

    def upload(self, upload_id: str) -> Path:
        """Return the file of an upload that is not complete."""
        return self._child("uploads", upload_id)

    def movie(self, movie_id: str) -> Path:
        """Return the folder of an uploaded movie; the file in it is alone."""
        return self._child("movies", movie_id)

    def table(self, table_id: str) -> Path:
        """Return the folder of an uploaded table."""
        return self._child("tables", table_id)

    def job(self, job_id: str) -> Path:
        """Return the folder of a job."""
        return self._child("jobs", job_id)

    def _child(self, kind: str, identifier: str) -> Path:
        if not is_identifier(identifier):
            raise ValueError(f"{identifier!r} is no identifier of this service")
        return self.root / kind / identifier


class FolderLock:
    """Held by one process at a time, and given back by the system when that process dies.

    Parameters
    ----------
    path : Path
        A file that exists for this alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it."""
        with writing(self._path):
            database = sqlite3.connect(
                self._path, timeout=0, isolation_level=None, check_same_thread=False
            )
        try:
            database.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            database.close()
            return False
        self._database = database
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._database is not None:
            self._database.close()
            self._database = None


def path_within(text: str, allowed: Sequence[Path]) -> Path | None:
    """Return a path if it lies in an allowed folder, without any link on the way; else None.

    A folder counts only with all that lies in it: a link inside a folder of frames is refused too.
    """
    real = inside_folder(text, allowed)
    try:
        return None if real is None or (real.is_dir() and _holds_links(real)) else real
    except OSError:
        return None


def inside_folder(text: str, allowed: Sequence[Path]) -> Path | None:
    """Return a path if it lies in an allowed folder, reached without any link; else None."""
    if "\0" in text or not text:
        return None
    try:
        given = Path(text).expanduser()
        if not given.is_absolute() or ".." in given.parts:
            return None
        real = given.resolve(strict=True)
        for folder in allowed:
            inside = folder.expanduser().resolve()
            if real.is_relative_to(inside) and _reached_without_links(given, real, folder, inside):
                return real
    except (OSError, RuntimeError, ValueError):
        return None
    return None


def _reached_without_links(given: Path, real: Path, folder: Path, inside: Path) -> bool:
    """Tell whether the part of the path below the allowed folder is free of links."""
    if given == real:
        return True
    named = folder.expanduser()
    return given.is_relative_to(named) and inside / given.relative_to(named) == real


def _holds_links(folder: Path) -> bool:
    return any(entry.is_symlink() for entry in folder.iterdir())


def require_data_folder(path: Path) -> Folders:
    """Return the data folder, made where it is missing.

    Raises
    ------
    OutputError
        When it is no folder or cannot be written.
    """
    root = path.expanduser().absolute()
    if root.exists() and not root.is_dir():
        raise OutputError(f"{root} is a file; give a folder for the data of the server with --data")
    folders = Folders(root.resolve())
    folders.create()
    return folders


def require_allowed(movie: Movie, allow: Sequence[Path]) -> None:
    """Refuse a movie of the server's disks that was replaced by a link, or moved, since it came.

    Raises
    ------
    MovieError
        When it does not lie inside an allowed folder.
    """
    if not movie.owned and path_within(movie.path, allow) is None:
        raise MovieError(
            f"{movie.name}: the file is no longer inside the allowed folders; add the movie again"
        )


def named_as(message: str, path: Path, name: str) -> str:
    """Return a message that speaks of a file as its owner knows it, without the server's folders.

    Readers name a movie by its path, its file name, or the file name without its suffix.
    """
    mark = "\0"
    message = message.replace(str(path), mark).replace(str(path.parent) + os.sep, "")
    if path.suffix:  # else it is a word like any other
        message = re.sub(rf"(?<![\w./\\-]){re.escape(path.name)}(?![\w-])", mark, message)
    message = re.sub(rf"^{re.escape(path.stem)}(?=:)", mark, message)
    return message.replace(mark, name)
