"""A server in this process for requests, and the real program for jobs, kills and restarts."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra service is not installed")
pytest.importorskip("huey", reason="the extra service is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="the extra service is not installed")

from hdsmlm.config.service import ServiceConfig  # noqa: E402
from hdsmlm.service.client import Client  # noqa: E402

CAMERA: dict[str, Any] = {
    "camera": {"kind": "ideal"},
    "psf": {"kind": "gaussian", "sigma_px": 1.3},
    "pixel_size_nm": 100.0,
}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Site:
    """A server's address; requests as any client could make them."""

    port: int
    token: str | None = None
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(f"http://127.0.0.1:{self.port}", self.token, timeout_s=30)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = dict(headers or {})
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            given.setdefault("Content-Type", "application/json")
        if self.token is not None:
            given.setdefault("Authorization", f"Bearer {self.token}")
        try:
            connection.putrequest(method, path, skip_host="Host" in given)
            if body is not None and "Content-Length" not in given:
                given["Content-Length"] = str(len(body))
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()

    def send_file(self, data: bytes, name: str = "movie.tif", role: str = "movie") -> Answer:
        """Upload a whole file in one piece; return the last answer."""
        new = {"name": name, "size": len(data), "role": role}
        begun = self.ask("POST", "/api/v1/uploads", new)
        assert begun.status == 201, begun.body
        address = f"/api/v1/uploads/{begun.json['upload_id']}"
        return self.ask("PATCH", address, data, {"Upload-Offset": "0"})


@pytest.fixture(scope="session")
def movie_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated movie of 48 frames of 32 × 32 pixels, and its truth beside it."""
    import tifffile

    from hdsmlm.config.simulation import SimulationConfig
    from hdsmlm.io.tables import write_table
    from hdsmlm.simulation.scene import SceneSampler

    ranges = SimulationConfig(density_per_um2=(0.5, 0.5), pixel_size_nm=(100.0, 100.0))
    scene = SceneSampler(ranges, (48, 32, 32)).draw(5, 0)
    folder = tmp_path_factory.mktemp("movie")
    tifffile.imwrite(folder / "cell.tif", scene.frames, photometric="minisblack")
    write_table(scene.emitters, folder / "truth.csv")
    return folder / "cell.tif"


@pytest.fixture
def tiny_tiff(tmp_path: Path) -> bytes:
    import tifffile

    path = tmp_path / "tiny.tif"
    frames = np.arange(8 * 9 * 3, dtype=np.uint16).reshape(3, 8, 9)
    tifffile.imwrite(path, frames, photometric="minisblack")
    return path.read_bytes()


@pytest.fixture(scope="module")
def make_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """Start the application in this process, without a worker."""
    from hdsmlm.service.app import create_app
    from hdsmlm.service.folders import require_data_folder
    from hdsmlm.service.isolated import warm_up
    from hdsmlm.service.server import http_options

    warm_up()
    running: list[tuple[Any, threading.Thread]] = []

    def make(**values: Any) -> Site:
        config = ServiceConfig(data=tmp_path_factory.mktemp("data"), **values)
        app = create_app(config, require_data_folder(config.data))
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                **http_options(config) | {"log_level": "error", "timeout_graceful_shutdown": 1},
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        running.append((server, thread))
        return Site(listener.getsockname()[1], config.token)

    yield make
    for server, thread in running:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def site(make_site: Callable[..., Site], tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(allow=(tmp_path_factory.mktemp("allowed"),))


class Program:
    """``hdsmlm serve`` as a process of its own."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data, self.options = data, options
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "hdsmlm", "serve", "--port", "0", "--data", str(self.data),
                *self.options,
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert self.process.stdout is not None
        found = re.search(r":(\d+)/", self.process.stdout.readline())
        assert found is not None
        self.site = Site(int(found[1]))
        self.wait_for(lambda: self.site.client.health()["worker"]["alive"])

    @staticmethod
    def wait_for(condition: Callable[[], Any], limit_s: float = 60.0) -> None:
        end_s = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end_s, "it did not happen in time"
            time.sleep(0.05)

    def worker(self) -> int:
        from hdsmlm.service.store import Store

        store = Store(self.data / "service.db")
        beat = store.heartbeat()
        store.close()
        assert beat is not None
        return beat[0]

    def kill(self) -> None:
        self.process.kill()
        self._reap()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self._reap()

    def _reap(self) -> None:
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def program_options() -> tuple[str, ...]:
    """Further options of the program; a module of tests may have its own."""
    return ()


@pytest.fixture(scope="module")
def program(
    tmp_path_factory: pytest.TempPathFactory, program_options: tuple[str, ...]
) -> Iterator[Program]:
    allowed = tmp_path_factory.mktemp("microscope")
    data = tmp_path_factory.mktemp("served")
    running = Program(data, "--allow", str(allowed), *program_options)
    running.allowed = allowed  # type: ignore[attr-defined]
    yield running
    if running.process.poll() is None:
        running.stop()
