"""The server process: uvicorn with the application, and a watch over the worker."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from hdsmlm.config.service import ServiceConfig
from hdsmlm.errors import ConfigError, OutputError
from hdsmlm.service.app import create_app
from hdsmlm.service.folders import FolderLock, Folders, require_data_folder
from hdsmlm.service.isolated import warm_up
from hdsmlm.service.security import is_loopback, patient_protocol
from hdsmlm.service.store import Store
from hdsmlm.service.uploads import drop_stale_uploads
from hdsmlm.service.worker import CONFIG_VARIABLE

_LOOK_EVERY_S = 0.5
_SILENT_LOOKS = 5
_SILENT_S = 60.0
"""A worker that lives but has not beaten for so long hangs, and is started again."""
log = logging.getLogger("hdsmlm.service")


class WorkerWatch:
    """Starts the worker, and starts it again when it dies or hangs.

    Parameters
    ----------
    config : ServiceConfig
        Goes to the worker, without the token.
    folders : Folders
        The data folder.
    """

    def __init__(self, config: ServiceConfig, folders: Folders) -> None:
        self._config, self._folders = config, folders
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self) -> None:
        """Start the worker and the watch."""
        self._launch()
        self._thread.start()

    def stop(self) -> None:
        """Ask the worker to put back its jobs and end."""
        self._stop.set()
        self._thread.join(5)
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def _launch(self) -> None:
        self.starts += 1
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "hdsmlm.service.worker",
                "--data",
                str(self._folders.root),
                "--server",
                str(os.getpid()),
            ],
            # not among the arguments, which all users see: a Redis address may hold a password
            env={**os.environ, CONFIG_VARIABLE: self._config.model_dump_json(exclude={"token"})},
            start_new_session=os.name == "posix",  # Ctrl-C goes to the server, which tells it
        )

    def _watch(self) -> None:
        store = Store(self._folders.store)
        quick_deaths = silent_looks = 0
        while not self._stop.wait(_LOOK_EVERY_S * (1 + quick_deaths)):
            assert self.process is not None
            try:
                beat = store.heartbeat()
                silent = beat is not None and beat[0] == self.process.pid and beat[1] > _SILENT_S
                # several looks: after a laptop's sleep the first one finds an old beat
                silent_looks = silent_looks + 1 if silent else 0
                if self.process.poll() is None and silent_looks < _SILENT_LOOKS:
                    quick_deaths = 0
                    continue
                if silent:
                    self.process.kill()
                code = self.process.wait()
                log.warning("the worker ended with code %s; it is started again", code)
                quick_deaths, silent_looks = min(quick_deaths + 1, 20), 0
                self._launch()
            except Exception:  # records that are locked, a machine without room: look again
                log.exception("the worker could not be looked after")


def settle_token(config: ServiceConfig) -> ServiceConfig:
    """Give a server that other machines can reach a token, if it has none."""
    if config.token is None and not is_loopback(config.host):
        return config.model_copy(update={"token": secrets.token_urlsafe(24)})
    return config


def http_options(config: ServiceConfig) -> dict[str, Any]:
    """Return how HTTP is spoken, as keywords of ``uvicorn.Config``."""
    return {
        "http": patient_protocol(config.limits.header_s),
        "ws": "none",
        "proxy_headers": False,  # an address that a client may claim would escape the limits
        "limit_concurrency": config.limits.connections,
        "timeout_keep_alive": 5,
        "timeout_graceful_shutdown": 3,
        "h11_max_incomplete_event_size": 2**14,
        "server_header": False,
        "access_log": False,
        "log_level": "warning",
        "lifespan": "off",
    }


def serve(config: ServiceConfig, say: Callable[[str], None]) -> None:
    """Serve until the process is told to stop; a token that is made here is said, no other one.

    Parameters
    ----------
    config : ServiceConfig
        The server.
    say : callable
        Takes lines for the person who starts it.

    Raises
    ------
    OutputError
        When the data folder cannot be used, or another server uses it.
    ConfigError
        When the address cannot be listened at.
    """
    given, config = config.token, settle_token(config)
    folders = require_data_folder(config.data)
    lock = FolderLock(folders.root / "server.lock")
    if not lock.try_acquire():
        raise OutputError(
            f"another server uses {folders.root}; stop it, or give another folder with --data"
        )
    drop_stale_uploads(Store(folders.store), folders)
    warm_up()
    listener = _listen(config)
    address = listener.getsockname()
    app = create_app(config, folders)
    watch = WorkerWatch(config, folders)
    watch.start()
    host = f"[{config.host}]" if ":" in config.host else config.host
    say(f"hdsmlm serves at http://{host}:{address[1]}/")
    if config.token is not None:
        say("token: the one that was given" if given else f"token: {config.token}")
    server = uvicorn.Server(uvicorn.Config(app, **http_options(config)))
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn stops at these and then raises them again, which would end us before the worker
        signal.signal(number, _nothing_more)
    try:
        server.run(sockets=[listener])
    finally:
        watch.stop()
        lock.release()


def _nothing_more(_number: int, _frame: FrameType | None) -> None:
    """Leave a signal at that: uvicorn has heard it."""


def _listen(config: ServiceConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
        listener.listen(1024)
    except OSError as error:
        raise ConfigError(
            f"cannot listen at {config.host}:{config.port} ({error.strerror or error}); choose "
            "another --port or --host"
        ) from None
    return listener
