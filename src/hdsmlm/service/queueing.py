"""The queue between server and worker: huey, on a SQLite file or on Redis.

The queue only says that there is something to do. What is to be done, and what has been done, is in
the store: a job that was taken from the queue by a worker that died is put back from there, and so
is what a Redis server forgot or did not take.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from huey import RedisHuey, SqliteHuey
from huey.api import Task
from huey.registry import Message
from huey.serializer import Serializer

from hdsmlm.config.service import SQLITE_QUEUE, ServiceConfig
from hdsmlm.errors import ConfigError, require_extra
from hdsmlm.service.folders import Folders
from hdsmlm.service.store import WAITING, Store

LIVE = "live"
"""Kind of job that runs as long as a microscope writes, in a lane of its own."""
log = logging.getLogger("hdsmlm.service")


class JsonSerializer(Serializer):
    """Messages as JSON: who can write to the queue cannot make the worker execute code."""

    def _serialize(self, data: Any) -> bytes:
        return json.dumps(list(data)).encode()

    def _deserialize(self, data: bytes) -> Message:
        return Message(*json.loads(data))


@dataclass(frozen=True)
class Lane:
    """A queue of job identifiers.

    Parameters
    ----------
    huey : huey.Huey
        The queue.
    put : callable
        Adds a job.
    """

    huey: Any
    put: Callable[[str], object]


class _RedisQueue(RedisHuey):
    """A queue on a Redis server that may be away for a time, and come back without its memory."""

    waiting: Callable[[], list[str]]
    """Gives the jobs that the store has for this queue."""
    put: Callable[[str], object]

    def enqueue(self, task: Task) -> Any:
        """Add a message; without a Redis server the worker finds the job in the store later."""
        from redis import RedisError

        try:
            return super().enqueue(task)
        except RedisError as error:
            log.warning("the Redis server of the queue does not take a job now (%s)", error)
            return None

    def dequeue(self) -> Task | None:
        """Take a message; from the store where the queue has had none for a second."""
        task = super().dequeue()
        if task is None:
            # A job that another thread has just taken comes twice: only the first claims it.
            for job_id in self.waiting():
                self.put(job_id)
        return task


def _no_work(job_id: str) -> None:
    raise RuntimeError(f"the server only fills the queue; it does not run job {job_id}")


def open_lane(
    config: ServiceConfig, folders: Folders, name: str, run: Callable[[str], None] = _no_work
) -> Lane:
    """Open a queue.

    Parameters
    ----------
    config : ServiceConfig
        Its ``queue`` chooses SQLite or Redis.
    folders : Folders
        The data folder; its path is in the queue's name, so that servers may share a Redis.
    name : str
        Which queue.
    run : callable
        What the worker does with a job.

    Raises
    ------
    MissingExtraError
        For Redis without its library.
    ConfigError
        When the Redis server does not answer.
    """
    place = hashlib.sha256(str(folders.root).encode()).hexdigest()[:12]
    options: dict[str, Any] = {"results": False, "serializer": JsonSerializer()}
    title = f"hdsmlm-{place}-{name}"
    if config.queue == SQLITE_QUEUE:
        huey = SqliteHuey(title, filename=str(folders.queue), fsync=True, timeout=30, **options)
    else:
        require_extra("redis", "service-redis", "for a queue on Redis")
        huey = _RedisQueue(title, url=config.queue, **options)
        _require_answer(huey, config.queue)

    def run_job(job_id: str) -> None:
        run(job_id)

    run_job.__module__ = __name__
    lane = Lane(huey, huey.task(name="run_job")(run_job))
    if isinstance(huey, _RedisQueue):
        store = Store(folders.store)
        huey.put = lane.put
        huey.waiting = lambda: [
            job.job_id for job in store.jobs_in(WAITING) if (job.kind == LIVE) == (name == LIVE)
        ]
    return lane


def _require_answer(huey: Any, address: str) -> None:
    import redis

    try:
        huey.storage.conn.ping()
    except redis.RedisError as error:
        raise ConfigError(
            f"--queue {_without_password(address)}: the Redis server does not answer ({error}); "
            "start it, or leave --queue out to keep the queue in the data folder"
        ) from None


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
