"""Uploads, movies, refusals: what a client may and may not do, without a worker."""

from __future__ import annotations

import io
import json
import logging
import socket
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from hdsmlm.errors import MovieError
from hdsmlm.service.client import Client, ServerError
from hdsmlm.service.store import Store

TOKEN = "a-token-of-some-length"
API = "/api/v1"


def _refused(answer: Any, status: int, code: str | None = None) -> str:
    assert answer.status == status, (answer.status, answer.body)
    error = answer.json["error"]
    assert code is None or error["code"] == code
    assert len(error["message"]) > 10
    return str(error["message"])


def test_an_upload_becomes_a_movie_and_its_frames_come_back(
    site: Any, tiny_tiff: bytes, tmp_path: Path
) -> None:
    (tmp_path / "ce ll.tif").write_bytes(tiny_tiff)
    done = site.client.upload(tmp_path / "ce ll.tif")
    movie = site.ask("GET", f"{API}/movies/{done['movie_id']}").json
    assert (movie["frames"], movie["height"], movie["width"]) == (3, 8, 9)
    assert (movie["name"], movie["size_bytes"]) == ("ce ll.tif", len(tiny_tiff))
    expected = np.arange(216, dtype=np.uint16).reshape(3, 8, 9)
    for number in range(3):
        assert np.array_equal(site.client.frame(done["movie_id"], number), expected[number])
    _refused(site.ask("GET", f"{API}/movies/{done['movie_id']}/frames/3"), 404)
    assert site.ask("DELETE", f"{API}/movies/{done['movie_id']}").status == 204
    _refused(site.ask("GET", f"{API}/movies/{done['movie_id']}/frames/0"), 404)


def test_a_broken_upload_goes_on_where_it_broke_off(site: Any, tiny_tiff: bytes) -> None:
    new = {"name": "tiny.tif", "size": len(tiny_tiff)}
    upload = site.ask("POST", f"{API}/uploads", new).json
    address = f"{API}/uploads/{upload['upload_id']}"
    raw = socket.create_connection(("127.0.0.1", site.port))
    raw.sendall(
        f"PATCH {address} HTTP/1.1\r\nHost: localhost\r\nUpload-Offset: 0\r\n"
        f"Content-Length: {len(tiny_tiff)}\r\n\r\n".encode()
        + tiny_tiff[:100]
    )
    time.sleep(0.3)
    raw.close()
    time.sleep(0.3)
    state = site.ask("GET", address).json
    assert state["offset"] == 100
    assert state["movie_id"] is None
    message = _refused(
        site.ask("PATCH", address, tiny_tiff[50:], {"Upload-Offset": "50"}), 409, "wrong_offset"
    )
    assert "100" in message
    done = site.ask("PATCH", address, tiny_tiff[100:], {"Upload-Offset": "100"})
    assert done.json["movie_id"] == upload["upload_id"]
    assert site.ask("PATCH", address, b"more", {"Upload-Offset": "0"}).json == done.json


def test_more_than_announced_is_refused_and_not_kept(site: Any, tiny_tiff: bytes) -> None:
    upload = site.ask("POST", f"{API}/uploads", {"name": "a.tif", "size": 100}).json
    address = f"{API}/uploads/{upload['upload_id']}"
    _refused(site.ask("PATCH", address, tiny_tiff, {"Upload-Offset": "0"}), 413)
    assert site.ask("GET", address).json["offset"] == 0
    assert site.ask("DELETE", address).status == 204
    _refused(site.ask("GET", address), 404)


def test_too_large_is_refused_before_it_is_sent(make_site: Callable[..., Any]) -> None:
    site = make_site(limits={"upload_bytes": 1000, "open_uploads": 2, "json_bytes": 2000})
    _refused(site.ask("POST", f"{API}/uploads", {"name": "a.tif", "size": 1001}), 413)
    for _ in range(2):
        assert site.ask("POST", f"{API}/uploads", {"name": "a.tif", "size": 10}).status == 201
    _refused(site.ask("POST", f"{API}/uploads", {"name": "a.tif", "size": 10}), 409)
    _refused(site.ask("POST", f"{API}/jobs", b"x", {"Content-Length": "2001"}), 413)
    request = f"POST {API}/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    with socket.create_connection(("127.0.0.1", site.port)) as raw:  # no length beforehand
        raw.sendall(f"{request}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk)
        raw.settimeout(5)
        answer = b"".join(iter(lambda: raw.recv(4096), b""))  # until the server closes
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"too_large"' in answer


def test_a_fault_of_the_server_is_said_and_logged(
    site: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(Store, "all", fail)
    log = logging.getLogger("uvicorn.error")
    log.addHandler(caplog.handler)
    answer = site.ask("GET", f"{API}/jobs")
    _refused(answer, 500, "internal")
    assert "no such luck" not in answer.body.decode()
    assert answer.headers["x-content-type-options"] == "nosniff"
    until = time.monotonic() + 10
    while "no such luck" not in caplog.text and time.monotonic() < until:
        time.sleep(0.02)  # it is written after the answer
    log.removeHandler(caplog.handler)
    assert "no such luck" in caplog.text


def _bomb_page(side: int) -> bytes:
    """A TIFF of one page that claims side × side pixels, compressed from zeros."""
    data = zlib.compress(bytes(10_000_000), 9)
    tags = [
        (256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 16), (259, 3, 1, 8), (262, 3, 1, 1),
        (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, side), (279, 4, 1, len(data)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    offset = 8 + len(data)
    return struct.pack("<2sHI", b"II", 42, offset) + data + directory + struct.pack("<I", 0)


def _looping_tiff() -> bytes:
    """A TIFF whose second page says that the first comes after it."""
    stream = io.BytesIO()
    tifffile.imwrite(
        stream, np.zeros((2, 8, 8), np.uint16), photometric="minisblack", metadata=None
    )
    raw = bytearray(stream.getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(raw))) as tif:
        first, last = tif.pages[0].offset, tif.pages[1].offset
    (count,) = struct.unpack_from("<H", raw, last)
    struct.pack_into("<I", raw, last + 2 + 12 * count, first)
    return bytes(raw)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"GIF89a" + bytes(200), "as no TIFF file does"),
        (b"II*\0" + b"\xff" * 60, "image"),
        (b"II*\0\x08\0\0\0" + b"\0" * 40, "image"),
        (b"PK\x03\x04" + bytes(100), "as no TIFF file does"),
        (b"<html><script>alert(1)</script></html>", "as no TIFF file does"),
        (_bomb_page(200_000), "pixels per frame"),
        (_bomb_page(5_700), "decoded"),  # within the limit, but the data are 3 % of what it says
        (_looping_tiff(), ""),
    ],
)
def test_what_is_no_movie_is_not_let_in(site: Any, data: bytes, says: str, tmp_path: Path) -> None:
    before = site.ask("GET", f"{API}/movies").json
    answer = site.send_file(data, "cell.tif")
    if answer.status == 200:  # the loop: two whole frames, each counted once or refused
        movie = site.ask("GET", f"{API}/movies/{answer.json['movie_id']}").json
        assert movie["frames"] <= 2
        return
    message = _refused(answer, 422, "not_a_movie")
    assert says in message
    assert "movies/" not in message  # the server's folders are its own business
    assert site.ask("GET", f"{API}/movies").json == before


def test_an_ome_tiff_cannot_name_the_files_of_others(site: Any, tmp_path: Path) -> None:
    ome = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="8" '
        'SizeY="8" SizeC="1" SizeZ="1" SizeT="2">'
        '<TiffData FirstT="0" IFD="0" PlaneCount="1"><UUID FileName="movie.tif">a</UUID></TiffData>'
        '<TiffData FirstT="1" IFD="0" PlaneCount="1"><UUID FileName="../../../../etc/hosts">b'
        "</UUID></TiffData></Pixels></Image></OME>"
    )
    path = tmp_path / "x.ome.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint16), description=ome, metadata=None)
    message = _refused(site.send_file(path.read_bytes(), "movie.tif"), 422, "not_a_movie")
    assert "other folders" in message


def test_names_are_only_shown(site: Any, tiny_tiff: bytes) -> None:
    answer = site.send_file(tiny_tiff, "../../etc/passwd\n.tif")
    movie = site.ask("GET", f"{API}/movies/{answer.json['movie_id']}").json
    assert movie["name"] == "passwd.tif"


def test_a_table_is_checked_too(site: Any) -> None:
    table = b'"frame","x [nm]","y [nm]"\n1,5.0,6.0\n2,7.0,8.0\n'
    done = site.send_file(table, "truth.csv", "table")
    assert [t["rows"] for t in site.ask("GET", f"{API}/tables").json] == [2]
    assert site.ask("DELETE", f"{API}/tables/{done.json['table_id']}").status == 204
    _refused(site.send_file(b"\0\1\2 nothing", "truth.csv", "table"), 422, "not_a_table")


def test_the_tables_of_a_waiting_job_stay(site: Any) -> None:
    table = b'"frame","x [nm]","y [nm]"\n1,5.0,6.0\n2,7.0,8.0\n'
    truth, found = (site.send_file(table, "t.csv", "table").json["table_id"] for _ in range(2))
    asked = {"kind": "evaluate", "truth_id": truth, "pixel_size_nm": 100.0}
    job = site.ask("POST", f"{API}/jobs", asked | {"options": {"table_id": found}})
    assert job.status in (200, 201, 202), job.body
    for identifier in (truth, found):
        message = _refused(site.ask("DELETE", f"{API}/tables/{identifier}"), 409)
        assert "cancel" in message
    assert site.ask("POST", f"{API}/jobs/{job.json['job_id']}/cancel").status == 200
    for identifier in (truth, found):
        assert site.ask("DELETE", f"{API}/tables/{identifier}").status == 204


@pytest.mark.parametrize("kind", ["external data", "external link", "soft link", "virtual"])
def test_a_table_shows_no_other_file(site: Any, tmp_path: Path, kind: str) -> None:
    import h5py

    secret = tmp_path / "secret.hdf5"
    names = [("frame", "u4"), ("x", "f4"), ("y", "f4")]
    rows = np.zeros(4, names)
    with h5py.File(secret, "w") as file:
        file["locs"] = rows
    path = tmp_path / "locs.hdf5"
    with h5py.File(path, "w") as file:
        if kind == "external data":
            file.create_dataset(
                "locs", (3,), dtype=names, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
            )
        elif kind == "external link":
            file["locs"] = h5py.ExternalLink(str(secret), "/locs")
        elif kind == "soft link":
            file["here"] = rows
            file["locs"] = h5py.SoftLink("/here")
        else:
            layout = h5py.VirtualLayout((4,), dtype=rows.dtype)
            layout[:] = h5py.VirtualSource(str(secret), "locs", shape=(4,))
            file.create_virtual_dataset("locs", layout)
    message = _refused(site.send_file(path.read_bytes(), "locs.hdf5", "table"), 422, "not_a_table")
    assert "plain file" in message


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/jobs/../../../etc/passwd",
        "/api/v1/jobs/%2e%2e%2f%2e%2e%2fservice.db",
        "/api/v1/movies/..%2f..%2fservice.db",
        "/api/v1/uploads/service.db",
        "/web/../app.py",
        "/web/%2e%2e/app.py",
        "/web/..%2fstore.py",
        "/web//etc/passwd",
        "/..%2f..%2fetc/passwd",
    ],
)
def test_no_path_escapes(site: Any, path: str) -> None:
    answer = site.ask("GET", path)
    assert answer.status in (404, 405), answer.body[:200]
    assert b"root:" not in answer.body


def test_results_have_fixed_names(site: Any) -> None:
    from hdsmlm.service.results import result_files

    del site
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "results").mkdir()
        for name in ("localizations.hdf5", "secret.txt"):
            (folder / "results" / name).write_bytes(b"x")
        (folder / "results" / "blinks.hdf5").symlink_to("/etc/hosts")
        (folder / "rows.bin").write_bytes(b"x")
        assert list(result_files("localize", folder)) == ["localizations.hdf5"]
        assert result_files("doctor", folder) == {}


def test_paths_of_the_server_only_from_allowed_folders(
    make_site: Callable[..., Any], tiny_tiff: bytes, tmp_path: Path
) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.tif").write_bytes(tiny_tiff)
    (inside / "link.tif").symlink_to(outside / "a.tif")
    site = make_site(allow=(inside,))
    movie = site.client.add_movie(str(inside / "a.tif"))
    assert movie["frames"] == 3
    assert site.client.add_movie(str(inside / "a.tif"))["movie_id"] != movie["movie_id"]
    for text in (
        str(outside / "a.tif"),
        str(inside / "link.tif"),
        str(inside / ".." / "out" / "a.tif"),
        "a.tif",
        "/etc/passwd",
        "\0",
    ):
        _refused(site.ask("POST", f"{API}/movies", {"path": text}), 403)
    site.client.delete("movies", movie["movie_id"])
    assert (inside / "a.tif").exists()  # what was not uploaded is not deleted


def test_foreign_names_and_foreign_pages_are_refused(site: Any) -> None:
    _refused(site.ask("GET", f"{API}/health", headers={"Host": "evil.example:80"}), 403)
    assert site.ask("GET", f"{API}/health", headers={"Host": "localhost"}).status == 200
    _refused(site.ask("GET", f"{API}/jobs", headers={"Origin": "http://evil.example"}), 403)
    _refused(site.ask("POST", f"{API}/jobs", b"{}", {"Sec-Fetch-Site": "cross-site"}), 403)
    own = f"http://127.0.0.1:{site.port}"
    host = f"127.0.0.1:{site.port}"
    assert site.ask("GET", f"{API}/jobs", headers={"Host": host, "Origin": own}).status == 200


def test_every_answer_has_the_headers(site: Any) -> None:
    for path in (f"{API}/health", f"{API}/jobs/none", "/nowhere"):
        headers = site.ask("GET", path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in {name.lower() for name in headers}


def test_the_token_is_asked_for(make_site: Callable[..., Any]) -> None:
    site = make_site(token=TOKEN, limits={"failed_logins_per_minute": 3})
    assert site.client.health()["worker"]["alive"] is False
    wrong = {"Authorization": "Bearer wrong"}
    for _ in range(3):
        _refused(site.ask("GET", f"{API}/jobs", headers=wrong), 401)
    _refused(site.ask("GET", f"{API}/jobs", headers=wrong), 429)
    assert site.ask("GET", f"{API}/jobs").status == 200


def test_the_client_tells_of_a_refusal(make_site: Callable[..., Any]) -> None:
    site = make_site(token=TOKEN)
    with pytest.raises(ServerError, match="asks for its token") as caught:
        Client(f"http://127.0.0.1:{site.port}").jobs()
    assert caught.value.status == 401
    assert Client(f"127.0.0.1:{site.port}", TOKEN).jobs() == []


def test_the_token_guards_everything_but_the_page(make_site: Callable[..., Any]) -> None:
    site = make_site(token=TOKEN)
    schema = site.ask("GET", "/openapi.json").json
    for path, methods in schema["paths"].items():
        for method in methods:
            address = path.replace("{number}", "0").replace("{frame}", "0")
            answer = site.ask(method.upper(), address, b"{}", {"Authorization": "none"})
            assert answer.status in (401, 429), (method, path)


def test_too_many_requests_have_to_wait(make_site: Callable[..., Any]) -> None:
    site = make_site(limits={"requests_per_second": 1, "requests_burst": 5})
    answers = [site.ask("GET", f"{API}/health") for _ in range(8)]
    assert [answer.status for answer in answers].count(200) in (5, 6)
    assert answers[-1].headers["retry-after"].isdecimal()


def test_slow_clients_are_dropped(make_site: Callable[..., Any]) -> None:
    site = make_site(limits={"header_s": 0.4, "idle_s": 0.4})
    header = socket.create_connection(("127.0.0.1", site.port))
    header.sendall(b"GET / HTTP/1.1\r\nHost: local")
    upload = site.ask("POST", f"{API}/uploads", {"name": "a.tif", "size": 1000}).json
    body = socket.create_connection(("127.0.0.1", site.port))
    body.sendall(
        f"PATCH {API}/uploads/{upload['upload_id']} HTTP/1.1\r\nHost: localhost\r\n"
        "Upload-Offset: 0\r\nContent-Length: 1000\r\n\r\nabc".encode()
    )
    for connection in (header, body):
        connection.settimeout(5)
    assert header.recv(100) == b""
    assert body.recv(100).startswith(b"HTTP/1.1 408")
    header.close()
    body.close()
    assert site.ask("GET", f"{API}/uploads/{upload['upload_id']}").json["offset"] == 3


@pytest.fixture(scope="module")
def movie_id(site: Any) -> str:
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((9, 16, 16), np.uint16), photometric="minisblack")
    return str(site.send_file(stream.getvalue()).json["movie_id"])


JOB = {"kind": "localize", "movie_id": "MOVIE", "camera": "ideal", "pixel_size_nm": 100}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 202),
        ({"movie_id": "0" * 32}, 404),
        ({"movie_id": "../x"}, 422),
        ({"movie_id": None}, 422),
        ({"kind": "train"}, 422),
        ({"model": "wolv"}, 422),
        ({"model": "/etc"}, 403),
        ({"model": "../wolf"}, 403),
        ({"camera": "orca"}, 422),
        ({"camera": "/etc/passwd"}, 422),
        ({"camera": f"doctor:{'0' * 32}"}, 404),
        ({"camera": {"camera": {"kind": "ideal", "gain": 3}}}, 422),
        (
            {
                "camera": {
                    "camera": {
                        "kind": "scmos", "gain_map": "/etc/passwd", "offset_map": "/etc/passwd",
                        "variance_map": "/etc/passwd",
                    }
                }
            },
            403,
        ),
        ({"pixel_size_nm": -1}, 422),
        ({"pixel_size_nm": None}, 422),
        ({"camera": {"yaml": "[" * 5000}}, 422),
        ({"options": {"fit": "both"}}, 422),
        ({"options": {"sett": {}}}, 422),
        ({"options": {"set": {"spacetime.core_frame": 8}}}, 422),
        ({"options": {"set": {"threads": 8}}}, 422),
        ({"options": {"set": {"prediction.threads": 8}}}, 422),
        ({"path": "/etc"}, 422),
        ({"kind": "live", "movie_id": None}, 422),
        ({"kind": "live", "movie_id": None, "path": "/etc"}, 403),
        ({"kind": "evaluate"}, 422),
        ({"kind": "evaluate", "truth_id": "0" * 32}, 404),
        ({"extra": 1}, 422),
    ],
)  # fmt: skip
def test_jobs_are_checked_before_they_wait(
    site: Any, movie_id: str, change: dict[str, Any], status: int
) -> None:
    asked = {**JOB, "movie_id": movie_id, **change}
    answer = site.ask("POST", f"{API}/jobs", asked)
    if status == 202:
        job = answer.json
        assert job["state"] == "waiting"
        address = f"{API}/jobs/{job['job_id']}"
        _refused(site.ask("DELETE", f"{API}/movies/{movie_id}"), 409)
        _refused(site.ask("DELETE", address), 409)
        assert site.ask("POST", f"{address}/cancel").json["state"] == "cancelled"
        events = list(site.client.events(job["job_id"]))
        assert [name for name, _, _ in events] == ["state", "end"]
        assert [name for name, _, _ in site.client.events(job["job_id"], events[-1][2])] == ["end"]
        assert site.ask("DELETE", address).status == 204
    else:
        _refused(answer, status)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"NaN", b""])
def test_bodies_that_are_no_objects(site: Any, body: bytes) -> None:
    answer = site.ask("POST", f"{API}/jobs", body, {"Content-Type": "application/json"})
    assert answer.status in (400, 422), answer.body
    assert answer.json["error"]["message"]


def test_an_address_says_which_methods_it_has(site: Any) -> None:
    answer = site.ask("OPTIONS", f"{API}/jobs")
    _refused(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) >= {"GET", "POST"}


def test_lists_and_schema(site: Any) -> None:
    names = {model["name"] for model in site.client.models()}
    assert "wolf" in names
    cameras = site.ask("GET", f"{API}/cameras").json
    assert {"auto", "ideal"} <= {camera["name"] for camera in cameras}
    assert site.ask("GET", f"{API}/device").json["cpu"]["cores"] >= 1
    schema = site.ask("GET", "/openapi.json").json
    assert schema == site.ask("GET", f"{API}/openapi.json").json
    assert "examples" in json.dumps(schema)


def test_the_client_explains_itself(tmp_path: Path) -> None:
    with pytest.raises(MovieError, match="no such file"):
        Client("http://127.0.0.1:1").upload(tmp_path / "none.tif")
    from hdsmlm.errors import ConfigError

    with pytest.raises(ConfigError, match="http://NAME:PORT"):
        Client("ftp://somewhere")
