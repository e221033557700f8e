"""The client before a server that is busy, starts again or still checks what it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hdsmlm.service import client as client_module
from hdsmlm.service.client import Client, ServerError

BUSY = (503, {"error": {"code": "busy", "message": "try again"}})


class Script:
    """A server that gives prepared answers, one list for each kind of request."""

    def __init__(self, answers: dict[str, list[tuple[int, object]]]) -> None:
        self.asked: list[str] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                what = f"{self.command} {self.path.removeprefix('/api/v1')}"
                script.asked.append(what)
                status, body = answers[what].pop(0)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - names of the library

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.client = Client(f"http://127.0.0.1:{self.server.server_port}", timeout_s=10)


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(client_module, "_PAUSE_S", 0.01)
    return


def test_a_job_is_followed_through_a_busy_proxy_and_streams_that_end_early() -> None:
    event = {"stage": "predict", "done": 3, "total": 9, "what": "", "unit": "frames"}
    stream = f"id: 1\nevent: progress\ndata: {json.dumps(event)}\n\n".encode()
    script = Script(
        {
            "GET /jobs/j/events": [BUSY, (200, stream), (502, b"<html>"), (200, b"")],
            "GET /jobs/j": [
                (200, {"state": "running"}),
                (200, {"state": "done"}),
                (200, {"state": "done", "error": None}),
            ],
        }
    )
    seen: list[int] = []
    assert script.client.follow("j", lambda event: seen.append(event.done))["state"] == "done"
    assert seen == [3]
    assert script.asked.count("GET /jobs/j/events") == 4


def test_a_server_that_stays_busy_and_one_that_refuses_end_the_wait() -> None:
    script = Script({"GET /jobs/j/events": [BUSY] * 20})
    with pytest.raises(Exception, match="does not answer"):
        script.client.follow("j")
    script = Script({"GET /jobs/j/events": [(404, {"error": {"code": "gone", "message": "no"}})]})
    with pytest.raises(ServerError):
        script.client.follow("j")


def test_an_upload_waits_while_the_server_checks_the_movie(tmp_path: Path) -> None:
    path = tmp_path / "movie.tif"
    path.write_bytes(b"x" * 10)
    checking = {"upload_id": "u", "offset": 10, "chunk_bytes": 10, "movie_id": None}
    conflict = (409, {"error": {"code": "conflict", "message": "still being received"}})
    script = Script(
        {
            "POST /uploads": [(200, {**checking, "offset": 0})],
            "PATCH /uploads/u": [conflict, conflict],
            "GET /uploads/u": [(200, checking), (200, {**checking, "movie_id": "m"})],
        }
    )
    assert script.client.upload(path)["movie_id"] == "m"
