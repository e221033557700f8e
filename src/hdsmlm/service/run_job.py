"""One job in a process of its own: what it needs, what it reports, how it ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from hdsmlm.config.base import parse_section
from hdsmlm.config.service import ServiceConfig
from hdsmlm.errors import HdsmlmError, Interrupted, MovieError
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.events import Event
from hdsmlm.service.folders import Folders, named_as, require_allowed
from hdsmlm.service.occupancy import OccupancyFile
from hdsmlm.service.rows import RowFile
from hdsmlm.service.store import DONE, FAILED, Job, Movie, Store

ROWS_FILE = "rows.bin"
LOG_FILE = "job.log"
RESULTS = "results"
STOPPED = 130
_EVERY_S = 0.25
_KEPT_STAGES = ("localize", "predict", "live")
"""Stages whose progress outlives the process; what is done anew after each kill is no progress."""
log = logging.getLogger("hdsmlm.service")


@dataclass
class Task:
    """What the code of a kind of job works with.

    Parameters
    ----------
    job : Job
        What was asked for.
    store : Store
        Where progress goes.
    folders : Folders
        The data folder.
    config : ServiceConfig
        Limits and allowed folders.
    """

    job: Job
    store: Store
    folders: Folders
    config: ServiceConfig
    _stage: str = ""
    _first: int = 0
    _began_s: float = 0.0
    _told_s: float = 0.0
    _rows: int = field(default=0)

    @property
    def folder(self) -> Path:
        """Return the job's folder."""
        return self.folders.job(self.job.job_id)

    @property
    def results(self) -> Path:
        """Return the folder of what can be downloaded."""
        return self.folder / RESULTS

    @property
    def row_file(self) -> RowFile:
        """Return the file of the rows that a page reads."""
        return RowFile(self.folder / ROWS_FILE)

    @property
    def occupancy(self) -> OccupancyFile:
        """Return the file of the occupancy that a page reads."""
        return OccupancyFile(self.folder)

    def movie(self) -> Movie:
        """Return the job's movie.

        Raises
        ------
        MovieError
            When it has been deleted, or no longer lies inside an allowed folder.
        """
        movie = None if self.job.movie_id is None else self.store.movie(self.job.movie_id)
        if movie is None:
            raise MovieError("the movie of this job was deleted; upload it again")
        require_allowed(movie, self.config.allow)
        return movie

    def hear(self, event: Event) -> None:
        """Write progress into the job's record, a few times a second at most."""
        now_s = time.monotonic()
        if event.stage != self._stage:
            self._stage, self._first, self._began_s = event.stage, event.done, now_s
        elif event.done < event.total and now_s - self._told_s < _EVERY_S:
            return
        self._told_s = now_s
        moved, elapsed_s = event.done - self._first, now_s - self._began_s
        rate = moved / elapsed_s if moved > 0 and elapsed_s > 0 else None
        values: dict[str, Any] = {
            "progress": {
                "stage": event.stage,
                "done": event.done,
                "total": event.total,
                "unit": event.unit,
                "what": event.what,
                "rate": None if rate is None else float(f"{rate:.4g}"),
                "left_s": None if rate is None else round((event.total - event.done) / rate, 1),
            },
            "rows": self._rows,
        }
        if moved > 0 and event.stage in _KEPT_STAGES:
            values["attempts"] = 1  # it gets on: a kill later is no sign of a job that cannot run
        self.store.update_job(self.job.job_id, **values)

    def rows(self, emitters: Emitters) -> None:
        """Take rows that are final; see :class:`hdsmlm.pipelines.watching.Watcher`."""
        self._rows = self.row_file.append(emitters)

    def count_map(self, first_frame: int, probabilities: NDArray[np.float32]) -> None:
        """Take the count map of some frames."""
        self.occupancy.put(first_frame, probabilities)

    def begin(self) -> None:
        """Make the folders; rows are shown again from the first."""
        self.results.mkdir(parents=True, exist_ok=True)
        self.row_file.clear()
        for owner in self.folder.rglob("running.pid"):
            owner.unlink(missing_ok=True)  # this folder has one worker: whoever it was is gone


def main(root: str, config: str, job_id: str, worker: int) -> None:
    """Run a job; leave with its outcome in the store."""
    _separate(worker)
    folders = Folders(Path(root))
    store = Store(folders.store)
    job = store.job(job_id)
    if job is None:
        return
    settings = parse_section(ServiceConfig, json.loads(config), "worker")
    task = Task(job, store, folders, settings)
    task.folder.mkdir(parents=True, exist_ok=True)
    _log_to(task.folder / LOG_FILE)
    try:
        task.begin()
        summary = _run(task)
    except (KeyboardInterrupt, Interrupted):
        sys.exit(STOPPED)
    except HdsmlmError as error:
        store.end(job_id, FAILED, error=_readable(str(error), task))
    except MemoryError:
        store.end(
            job_id,
            FAILED,
            error="the machine has too little memory for this job; use fewer frames or a part of "
            "the field",
        )
    except Exception as error:
        log.exception("job %s failed", job_id)
        store.end(
            job_id,
            FAILED,
            error=f"the program failed ({type(error).__name__}); this is a fault of the program. "
            f"Please report it with the log of job {job_id}",
        )
    else:
        store.end(job_id, DONE, summary=summary, rows=len(task.row_file))


def _run(task: Task) -> dict[str, Any]:
    from hdsmlm.service.kinds import KINDS

    return KINDS[task.job.kind](task)


def _separate(worker: int) -> None:
    """Become the leader of a process group, and end with the worker."""
    if os.name == "posix":
        os.setsid()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_watch, args=(worker,), daemon=True).start()


def _watch(worker: int) -> None:
    """End this process group as soon as the worker is gone: its successor starts the job anew."""
    try:
        process = psutil.Process(worker)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
    except psutil.Error:
        pass
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)
    os._exit(STOPPED)


def _log_to(path: Path) -> None:
    """Send what libraries write to the screen into the job's log."""
    stream = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(stream, number)
    os.close(stream)
    logging.basicConfig(level=logging.WARNING, force=True)


def _readable(message: str, task: Task) -> str:
    """Return an error without the server's folders: names as the user knows them."""
    for movie in [task.store.movie(task.job.movie_id)] if task.job.movie_id else []:
        if movie is not None:
            message = named_as(message, Path(movie.path), movie.name)
    return message.replace(f"{task.folder}{os.sep}", "").replace(f"{task.folders.root}{os.sep}", "")
