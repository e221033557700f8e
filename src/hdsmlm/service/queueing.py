"""The queue between server and worker: huey, on a SQLite file or on Redis.

The queue only says that there is something to do. What is to be done, and what has been done, is in
the store: a job that was taken from the queue by a worker that died is put back from there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from huey import RedisHuey, SqliteHuey
from huey.registry import Message
from huey.serializer import Serializer

from hdsmlm.config.service import SQLITE_QUEUE, ServiceConfig
from hdsmlm.errors import ConfigError, require_extra
from hdsmlm.service.folders import Folders

LIVE = "live"
"""Kind of job that runs as long as a microscope writes, in a lane of its own."""


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
        huey = RedisHuey(title, url=config.queue, **options)
        _require_answer(huey, config.queue)

    def run_job(job_id: str) -> None:
        run(job_id)

    run_job.__module__ = __name__
    return Lane(huey, huey.task(name="run_job")(run_job))


def _require_answer(huey: Any, address: str) -> None:
    import redis

    try:
        huey.storage.conn.ping()
    except redis.RedisError as error:
        raise ConfigError(
            f"--queue {address}: the Redis server does not answer ({error}); start it, or leave "
            "--queue out to keep the queue in the data folder"
        ) from None
