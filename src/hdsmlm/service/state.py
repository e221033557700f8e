"""What the handlers of requests share."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdsmlm.config.service import ServiceConfig
from hdsmlm.io.movies import FrameSource, open_movie
from hdsmlm.service.folders import Folders, is_identifier, require_allowed
from hdsmlm.service.problems import Refusal
from hdsmlm.service.queueing import LIVE, Lane
from hdsmlm.service.store import Job, Movie, Store, Table, Upload

_OPEN_MOVIES = 8
WORKER_SILENT_S = 10.0
"""A worker that has not beaten for so long counts as dead."""


class OpenMovies:
    """The readers of the movies that were looked at last.

    Parameters
    ----------
    allow : sequence of Path
        Folders from which movies may be taken by their path.
    """

    def __init__(self, allow: Sequence[Path] = ()) -> None:
        self._allow = tuple(allow)
        self._lock = threading.Lock()
        self._open: OrderedDict[str, FrameSource] = OrderedDict()

    def frame(self, movie: Movie, number: int) -> Any:
        """Return a frame (y, x).

        Raises
        ------
        MovieError
            When the movie no longer lies inside an allowed folder, or cannot be read.
        """
        with self._lock:  # one decoder at a time: a page shows one frame after another
            reader = self._open.pop(movie.movie_id, None)
            if reader is None:
                require_allowed(movie, self._allow)
                reader = open_movie(Path(movie.path), allow_truncated=True)
            self._open[movie.movie_id] = reader
            while len(self._open) > _OPEN_MOVIES:
                self._open.popitem(last=False)[1].close()
            return reader.read(number, number + 1)[0]

    def forget(self, movie_id: str) -> None:
        """Close a reader."""
        with self._lock:
            reader = self._open.pop(movie_id, None)
            if reader is not None:
                reader.close()


@dataclass
class Service:
    """Configuration, records, queues and open files of a server."""

    config: ServiceConfig
    folders: Folders
    store: Store
    lanes: dict[str, Lane]
    movies: OpenMovies = field(init=False)
    receiving: set[str] = field(default_factory=set)
    streams: int = 0
    checks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    pictures: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))

    def __post_init__(self) -> None:
        self.movies = OpenMovies(self.config.allow)

    def enqueue(self, job: Job) -> None:
        """Tell the worker of a job."""
        self.lanes[LIVE if job.kind == LIVE else "jobs"].put(job.job_id)

    def upload(self, identifier: str) -> Upload:
        """Return an upload."""
        return self._found(self.store.upload(identifier) if is_identifier(identifier) else None)

    def movie(self, identifier: str) -> Movie:
        """Return a movie."""
        return self._found(self.store.movie(identifier) if is_identifier(identifier) else None)

    def table(self, identifier: str) -> Table:
        """Return a table."""
        return self._found(self.store.table(identifier) if is_identifier(identifier) else None)

    def job(self, identifier: str) -> Job:
        """Return a job."""
        return self._found(self.store.job(identifier) if is_identifier(identifier) else None)

    @staticmethod
    def _found(record: Any) -> Any:
        if record is None:
            raise Refusal(
                404, "there is nothing of that number here; it may have been deleted. Reload"
            )
        return record
