"""Talk to a server from Python; the standard library is enough.

>>> client = Client("http://127.0.0.1:8765")  # doctest: +SKIP
>>> movie = client.upload("cell.tif")  # doctest: +SKIP
>>> job = client.start("localize", movie["movie_id"], pixel_size_nm=100)  # doctest: +SKIP
>>> client.follow(job["job_id"])  # doctest: +SKIP
>>> client.download_table(job["job_id"], "cell.csv")  # doctest: +SKIP
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
from numpy.typing import NDArray

from hdsmlm.errors import ConfigError, HdsmlmError, MovieError, OutputError
from hdsmlm.io.writing import atomic_path
from hdsmlm.records.events import Event, Listener, silent

PREFIX = "/api/v1"
_TRIES = 6
_BLOCK_BYTES = 2**20
_BREAKS = (http.client.HTTPException, OSError)
_PASSING = (429, 502, 503, 504)
"""Answers of a busy server, or of a proxy before one that starts again."""
_PAUSE_S = 0.5


class ServerError(HdsmlmError):
    """The server refused a request; ``status`` and ``code`` say why in its words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Client:
    """A server.

    Parameters
    ----------
    address : str
        E.g. ``http://127.0.0.1:8765``.
    token : str, optional
        Of a server that asks for one.
    timeout_s : float
        For each step of a request.

    Raises
    ------
    ConfigError
        When the address is none.
    """

    def __init__(self, address: str, token: str | None = None, timeout_s: float = 120.0) -> None:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"'{address}': the address of a server, http://NAME:PORT, was wanted")
        self._https = parts.scheme == "https"
        self._place = (parts.hostname, parts.port or (443 if self._https else 80))
        self._base = parts.path.rstrip("/") + PREFIX
        self._timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def health(self) -> dict[str, Any]:
        """Return the state of the server."""
        return self._json("GET", "/health")

    def models(self) -> list[dict[str, Any]]:
        """Return its models."""
        return self._json("GET", "/models")

    def upload(
        self, path: Path | str, listener: Listener = silent, role: str = "movie"
    ) -> dict[str, Any]:
        """Upload a file in pieces; a broken transfer goes on where it broke off.

        Returns
        -------
        dict
            The upload, with ``movie_id`` or ``table_id``.

        Raises
        ------
        MovieError
            When the file is missing or empty.
        ServerError
            When the server does not take it.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise MovieError(f"{path}: no such file; a server takes one file per movie")
        size = path.stat().st_size
        if size == 0:
            raise MovieError(f"{path}: the file is empty (0 bytes)")
        new = {"name": path.name, "size": size, "role": role}
        state = self._json("POST", "/uploads", new)
        address = f"/uploads/{state['upload_id']}"
        with path.open("rb") as stream:
            while not (state.get("movie_id") or state.get("table_id")):
                done = int(state["offset"])
                listener(Event("upload", done // 1000, size // 1000, path.name, "kB"))
                stream.seek(done)
                piece = stream.read(int(state["chunk_bytes"]))
                if not piece and done < size:
                    raise MovieError(f"{path}: the file became shorter while it was uploaded")
                state = self._send(address, piece, done)
        listener(Event("upload", size // 1000, size // 1000, path.name, "kB"))
        return state

    def _send(self, address: str, piece: bytes, offset: int) -> dict[str, Any]:
        """Send a piece; ask where to go on when the transfer breaks."""
        for attempt in range(_TRIES):
            try:
                headers = {
                    "Upload-Offset": str(offset),
                    "Content-Type": "application/octet-stream",
                }
                with self._request("PATCH", address, piece, headers) as answer:
                    state: dict[str, Any] = json.loads(answer.read())
                    return state
            except ServerError as error:
                if error.code == "wrong_offset":
                    return self._json("GET", address)
                if error.code == "conflict":  # all bytes are there; the server still checks them
                    time.sleep(_PAUSE_S)
                    return self._json("GET", address)
                raise
            except _BREAKS as error:
                if attempt + 1 == _TRIES:
                    raise self._unreachable(error) from None
                time.sleep(0.2 * 2**attempt)
                state = self._json("GET", address)
                if int(state["offset"]) != offset or state.get("movie_id"):
                    return state
        raise AssertionError("every attempt returns or raises")

    def add_movie(self, path: str) -> dict[str, Any]:
        """Take a movie from an allowed folder of the server."""
        return self._json("POST", "/movies", {"path": path})

    def movies(self) -> list[dict[str, Any]]:
        """Return the server's movies."""
        return self._json("GET", "/movies")

    def frame(self, movie_id: str, number: int) -> NDArray[np.uint16]:
        """Return a frame as the page sees it, uint16 (y, x)."""
        with self._request("GET", f"/movies/{movie_id}/frames/{number}") as answer:
            shape = (int(answer.headers["X-Height"]), int(answer.headers["X-Width"]))
            return np.frombuffer(answer.read(), "<u2").reshape(shape)

    def start(self, kind: str, movie_id: str | None = None, **values: Any) -> dict[str, Any]:
        """Start a job; ``values`` are the other fields of the request."""
        given = {name: value for name, value in values.items() if value is not None}
        return self._json("POST", "/jobs", {"kind": kind, "movie_id": movie_id, **given})

    def jobs(self) -> list[dict[str, Any]]:
        """Return all jobs, the newest first."""
        return self._json("GET", "/jobs")

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job."""
        return self._json("GET", f"/jobs/{job_id}")

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job."""
        return self._json("POST", f"/jobs/{job_id}/cancel")

    def delete(self, what: str, identifier: str) -> None:
        """Delete a job, movie, table or upload (``what`` is ``jobs``, ``movies``, ...)."""
        with self._request("DELETE", f"/{what}/{identifier}") as answer:
            answer.read()

    def events(self, job_id: str, last_id: int | None = None) -> Iterator[tuple[str, Any, int]]:
        """Yield the events of one connection: name, data, number."""
        headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
        with self._request("GET", f"/jobs/{job_id}/events", headers=headers) as answer:
            name, data, number = "message", "", last_id or 0
            for line in answer:
                text = line.decode().rstrip("\r\n")
                key, _, value = text.partition(": ")
                if key == "event":
                    name = value
                elif key == "data":
                    data = value
                elif key == "id":
                    number = int(value)
                elif not text and data:
                    yield name, json.loads(data), number
                    name, data = "message", ""

    def follow(self, job_id: str, listener: Listener = silent) -> dict[str, Any]:
        """Wait for the end of a job, with its progress; return the job.

        Raises
        ------
        ServerError
            When the job failed or was cancelled.
        """
        number: int | None = None
        ended, breaks = False, 0
        while not ended:
            try:
                for name, data, seen in self.events(job_id, number):
                    breaks, number = 0, seen
                    if name == "progress":
                        parts = ("stage", "done", "total", "what", "unit")
                        listener(Event(*(data[part] for part in parts)))
                    ended = ended or name == "end"
                if not ended:  # the stream was closed early: by a proxy, or with the server
                    time.sleep(_PAUSE_S)
                    ended = self.job(job_id)["state"] not in ("waiting", "running")
            except (ServerError, *_BREAKS) as error:
                if isinstance(error, ServerError) and error.status not in _PASSING:
                    raise
                breaks += 1
                if breaks == _TRIES:
                    raise self._unreachable(error) from None
                time.sleep(_PAUSE_S * 2**breaks)  # it may be starting again: no job is lost
        job = self.job(job_id)
        if job["state"] != "done":
            raise ServerError(409, job["state"], job["error"] or f"the job was {job['state']}")
        return job

    def rows(self, job_id: str, start: int = 0) -> NDArray[np.float32]:
        """Return localizations from row ``start`` on, (n, 8); see ``hdsmlm.service.rows``."""
        with self._request("GET", f"/jobs/{job_id}/rows?{urlencode({'start': start})}") as answer:
            columns = answer.headers["X-Columns"].count(",") + 1
            return np.frombuffer(answer.read(), "<f4").reshape(-1, columns)

    def occupancy(self, job_id: str, frame: int) -> bytes:
        """Return 255 · P(pixel holds at least one emitter) of a frame."""
        with self._request("GET", f"/jobs/{job_id}/occupancy/{frame}") as answer:
            return answer.read()

    def results(self, job_id: str) -> list[dict[str, Any]]:
        """Return the files of a job."""
        return self._json("GET", f"/jobs/{job_id}/results")

    def download(self, job_id: str, name: str, out: Path | str) -> Path:
        """Download a result."""
        return self._save(f"/jobs/{job_id}/results/{quote(name)}", Path(out))

    def download_table(self, job_id: str, out: Path | str, format: str | None = None) -> Path:
        """Download the table of a job; its kind by ``format`` or by the suffix of ``out``."""
        out = Path(out)
        kind = format or {".h5": "hdf5"}.get(out.suffix.lower(), out.suffix.lower().lstrip("."))
        return self._save(f"/jobs/{job_id}/table?{urlencode({'format': kind})}", out)

    def gauge(self, job_id: str) -> dict[str, Any]:
        """Return the density that a live or localize job sees now."""
        return self._json("GET", f"/jobs/{job_id}/gauge")

    def _save(self, address: str, out: Path) -> Path:
        with self._request("GET", address) as answer, atomic_path(out) as part:
            length = int(answer.headers.get("Content-Length") or -1)
            with part.open("wb") as stream:
                while block := answer.read(_BLOCK_BYTES):
                    stream.write(block)
            if length >= 0 and part.stat().st_size != length:
                raise OutputError(f"{out}: the download broke off; try again")
        return out

    def _json(self, method: str, address: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        tries = _TRIES if method == "GET" else 1
        for attempt in range(tries):
            try:
                with self._request(method, address, data, headers) as answer:
                    return json.loads(answer.read())
            except _BREAKS as error:
                if attempt + 1 == tries:
                    raise self._unreachable(error) from None
                time.sleep(0.2 * 2**attempt)
        return None

    def _unreachable(self, error: Exception) -> ConfigError:
        return ConfigError(
            f"the server at {self._place[0]}:{self._place[1]} does not answer "
            f"({error or type(error).__name__}); is `hdsmlm serve` running there?"
        )

    def _request(
        self,
        method: str,
        address: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> _Answer:
        """Make a request; wait where the server asks for it."""
        for _ in range(_TRIES):
            kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
            connection = kind(*self._place, timeout=self._timeout_s)
            try:
                connection.request(
                    method, self._base + address, body, {**self._headers, **(headers or {})}
                )
                answer = connection.getresponse()
            except BaseException:
                connection.close()
                raise
            if answer.status < 400:
                return _Answer(connection, answer)
            with _Answer(connection, answer) as refused:
                error = _refusal(answer.status, refused.read())
                pause = answer.headers.get("Retry-After", "")
            if error.status != 429 or error.code != "too_many_requests" or not pause.isdecimal():
                raise error
            time.sleep(min(60, int(pause)))
        raise error


class _Answer:
    """An answer that closes its connection when it has been read."""

    def __init__(
        self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse
    ) -> None:
        self._connection, self._answer = connection, answer
        self.headers = answer.headers

    def read(self, size: int | None = None) -> bytes:
        """Return the body, or the next part of it."""
        return self._answer.read(size)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def __enter__(self) -> _Answer:
        return self

    def __exit__(self, *error: object) -> None:
        self._answer.close()
        self._connection.close()


def _refusal(status: int, body: bytes) -> ServerError:
    try:
        error = json.loads(body)["error"]
        return ServerError(status, str(error["code"]), str(error["message"]))
    except (ValueError, KeyError, TypeError):
        text = body.decode("utf-8", "replace").strip()[:200]
        return ServerError(status, "error", text or f"the server answered with status {status}")
