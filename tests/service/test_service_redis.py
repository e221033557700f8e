"""The queue on a Redis server: the real programs, and deaths of each of them."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

redis = pytest.importorskip("redis", reason="the extra service-redis is not installed")
REDIS_SERVER = shutil.which("redis-server")
if REDIS_SERVER is None:
    pytest.skip("no redis-server on this machine", allow_module_level=True)

from hdsmlm.service.store import Store  # noqa: E402

PASSWORD = "a-word-of-this-test-alone"
CAMERA: dict[str, Any] = {
    "camera": {"kind": "ideal"},
    "psf": {"kind": "gaussian", "sigma_px": 1.3},
    "pixel_size_nm": 100.0,
}
SMALL_WINDOWS = {"set": {"spacetime.core_frames": 4, "spacetime.margin_frames": 2}}
QUICK = {"fit": "frame", "last_frame": 16}


class RedisServer:
    """A Redis server that keeps nothing on disk: what it held is lost with its process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self.client = redis.Redis.from_url(self.address)
        self.start()

    def start(self) -> None:
        assert REDIS_SERVER is not None
        self.process = subprocess.Popen(
            [
                REDIS_SERVER, "--port", str(self.port), "--bind", "127.0.0.1",
                "--requirepass", PASSWORD, "--save", "", "--appendonly", "no",
                "--dir", str(self.folder),
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(200):
            try:
                self.client.ping()
            except redis.ConnectionError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("redis-server did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def queue(self) -> str:
        """Return the name of the list of jobs."""
        (name,) = self.client.keys("huey.redis.hdsmlm*jobs") or [b""]
        return str(name.decode())


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.client.close()
    server.kill()


@pytest.fixture(scope="module")
def program_options(redis_server: RedisServer) -> tuple[str, ...]:
    """Let the program of these tests keep its queue in Redis."""
    return ("--queue", redis_server.address)


@pytest.fixture(scope="module")
def long_id(program: Any, movie_file: Path) -> str:
    """A movie that takes seconds, so that its job is not done before something is killed."""
    path = movie_file.with_name("long.tif")
    frames = np.tile(tifffile.imread(movie_file), (4, 1, 1))
    tifffile.imwrite(path, frames, photometric="minisblack")
    return str(program.site.client.upload(path)["movie_id"])


@pytest.fixture(scope="module")
def reference(program: Any, long_id: str) -> Any:
    """The rows of the long movie's job when nobody disturbs it."""
    job_id = _start(program, long_id)
    program.site.client.follow(job_id)
    return program.site.client.rows(job_id)


def _start(program: Any, movie_id: str, options: dict[str, Any] | None = None) -> str:
    client = program.site.client
    new = client.start("localize", movie_id, camera=CAMERA, options=options or SMALL_WINDOWS)
    return str(new["job_id"])


def _started(program: Any, movie_id: str) -> str:
    """Start a job; return when some of its windows are finished, but not all."""
    job_id = _start(program, movie_id)

    def has_windows() -> bool:
        job = program.site.client.job(job_id)
        assert job["state"] in ("waiting", "running")
        progress = job["progress"] or {"stage": "", "done": 0}
        return bool(progress["stage"] == "localize" and progress["done"] > 0)

    program.wait_for(has_windows)
    return job_id


def test_a_killed_worker_loses_no_job(
    program: Any, redis_server: RedisServer, long_id: str, reference: Any
) -> None:
    client = program.site.client
    job_id = _started(program, long_id)
    waiting = [_start(program, long_id, QUICK) for _ in range(2)]
    assert redis_server.client.llen(redis_server.queue()) == 2
    worker = program.worker()
    os.kill(worker, signal.SIGKILL)
    job = client.follow(job_id)
    assert program.worker() != worker
    assert job["state"] == "done"
    assert job["summary"]["resumed_frames"] > 0
    np.testing.assert_array_equal(client.rows(job_id), reference)
    assert [client.follow(one)["state"] for one in waiting] == ["done", "done"]
    assert redis_server.queue() == ""


def test_a_redis_that_forgot_loses_no_job(
    program: Any, redis_server: RedisServer, long_id: str, reference: Any
) -> None:
    client = program.site.client
    job_id = _started(program, long_id)
    waiting = [_start(program, long_id, QUICK) for _ in range(2)]
    redis_server.kill()
    waiting.append(_start(program, long_id, QUICK))  # taken though the queue is away
    redis_server.start()
    assert redis_server.queue() == ""
    assert [client.follow(one)["state"] for one in waiting] == ["done", "done", "done"]
    assert client.follow(job_id)["state"] == "done"
    np.testing.assert_array_equal(client.rows(job_id), reference)
    store = Store(program.data / "service.db")
    assert [store.job(one).attempts for one in waiting] == [1, 1, 1]  # type: ignore[union-attr]
    store.close()


def test_a_killed_server_goes_on_after_its_restart(
    program: Any, long_id: str, reference: Any
) -> None:
    job_id = _started(program, long_id)
    waiting = _start(program, long_id, QUICK)
    program.kill()
    program.start()
    client = program.site.client
    assert client.follow(job_id)["summary"]["resumed_frames"] > 0
    np.testing.assert_array_equal(client.rows(job_id), reference)
    assert client.follow(waiting)["state"] == "done"


class _Opens:
    """What a pickle would do when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_what_others_write_into_redis_is_not_executed(
    program: Any, redis_server: RedisServer, long_id: str, tmp_path: Path
) -> None:
    client = program.site.client
    running = _started(program, long_id)
    waiting = _start(program, long_id, QUICK)
    key = redis_server.queue()
    (message,) = redis_server.client.lrange(key, 0, -1)
    assert waiting in message.decode()
    foreign = json.loads(message)
    foreign[1] = "os.system"
    for bad in (pickle.dumps(_Opens(tmp_path / "opened")), b"", b"[1]", json.dumps(foreign)):
        redis_server.client.rpush(key, bad)  # is taken before the others
    client.cancel(running)
    assert client.follow(waiting)["state"] == "done"
    assert not (tmp_path / "opened").exists()


def test_a_redis_that_does_not_answer_is_said_without_its_password(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"redis://:{PASSWORD}@127.0.0.1:{closed.getsockname()[1]}/0"
        ended = subprocess.run(
            [
                sys.executable, "-m", "hdsmlm", "serve", "--port", "0", "--data", str(tmp_path),
                "--queue", address,
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip
    said = ended.stdout + ended.stderr
    assert ended.returncode == 2
    assert "does not answer" in said
    assert "127.0.0.1" in said
    assert PASSWORD not in said
