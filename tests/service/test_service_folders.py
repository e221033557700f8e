"""Movies on the server's own disks: what is listed, what is not, and files that end early."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import tifffile

from hdsmlm.service.folders import named_as
from hdsmlm.service.store import Job, Movie, Store, new_identifier

Site = Any


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    allowed = tmp_path / "allowed"
    (allowed / "day 1").mkdir(parents=True)
    (allowed / ".hidden").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "other.tif").write_bytes(b"II*\0")
    frames = np.full((3, 16, 16), 100, np.uint16)
    tifffile.imwrite(allowed / "day 1" / "b.tif", frames, photometric="minisblack")
    tifffile.imwrite(allowed / "day 1" / "A.tif", frames, photometric="minisblack")
    (allowed / "day 1" / "notes.txt").write_text("no movie")
    (allowed / "link").symlink_to(tmp_path / "secret")
    return allowed


def test_allowed_folders_and_what_lies_in_them(make_site: Callable[..., Site], disk: Path) -> None:
    site = make_site(allow=(disk,))
    roots = site.ask("GET", "/api/v1/folders").json
    assert [entry["path"] for entry in roots["entries"]] == [str(disk)]
    top = site.ask("GET", f"/api/v1/folders?path={quote(str(disk))}").json
    assert [(entry["name"], entry["kind"]) for entry in top["entries"]] == [("day 1", "folder")]
    assert top["parent"] is None  # what lies above is nobody's business
    day = site.ask("GET", f"/api/v1/folders?path={quote(str(disk / 'day 1'))}").json
    assert [entry["name"] for entry in day["entries"]] == ["A.tif", "b.tif"]
    assert day["parent"] == str(disk)
    movie = site.ask("POST", "/api/v1/movies", {"path": day["entries"][0]["path"]})
    assert (movie.status, movie.json["frames"], movie.json["remark"]) == (201, 3, None)


@pytest.mark.parametrize(
    "path",
    ["{0}/../secret", "{0}/link", "{0}/link/..", "/", "/etc", "relative", "{0}/day 1/b.tif", "~"],
)
def test_nothing_else_is_listed(make_site: Callable[..., Site], disk: Path, path: str) -> None:
    site = make_site(allow=(disk,))
    asked = quote(path.format(disk))
    answer = site.ask("GET", f"/api/v1/folders?path={asked}")
    assert answer.status == 403
    assert b"secret" not in answer.body.replace(asked.encode(), b"")


def test_without_allowed_folders_nothing_is_listed(make_site: Callable[..., Site]) -> None:
    site = make_site()
    assert site.ask("GET", "/api/v1/folders").json["entries"] == []
    assert site.ask("GET", "/api/v1/folders?path=/tmp").status == 403


def test_a_movie_that_ends_early_says_so_at_once(site: Site) -> None:
    buffer = io.BytesIO()
    frames = np.arange(40 * 32 * 32, dtype=np.uint16).reshape(40, 32, 32)
    tifffile.imwrite(buffer, frames, photometric="minisblack")
    half = buffer.getvalue()[: len(buffer.getvalue()) // 2]
    answer = site.send_file(half, "cell.tif")
    assert answer.status == 200, answer.body
    movie = site.ask("GET", f"/api/v1/movies/{answer.json['movie_id']}").json
    assert 15 <= movie["frames"] < 40
    assert movie["remark"].startswith(f"the file ends early: {movie['frames']} whole frames")


def test_a_file_is_refused_in_words_under_its_own_name(site: Site) -> None:
    answer = site.send_file(b"PK\x03\x04junk" * 40, "report.docx")
    message = answer.json["error"]["message"]
    assert message.startswith("report.docx: this is no movie")
    assert "the bytes 50 4b 03 04" in message
    message = site.send_file(b"hello, I am text" * 40, "notes.tif").json["error"]["message"]
    assert message.startswith('notes.tif: the name says TIFF, but the file begins with "hello, I"')


def test_messages_name_a_file_as_its_owner_does() -> None:
    path = Path("/data/movies/abc/movie.tif")
    for message, expected in (
        ("/data/movies/abc/movie.tif: empty", "movie of cell.tif: empty"),
        ("movie: frame 0 is not a number", "movie of cell.tif: frame 0 is not a number"),
        ("movie.tif ends early, see movie.tiff", "movie of cell.tif ends early, see movie.tiff"),
        ("the movie has 3 frames", "the movie has 3 frames"),
    ):
        assert named_as(message, path, "movie of cell.tif") == expected


def test_records_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    path = tmp_path / "service.db"
    Store(path).close()
    with sqlite3.connect(path) as old:
        old.execute("ALTER TABLE movies DROP COLUMN remark")
    old.close()
    store = Store(path)
    store.add(Movie("a" * 32, "cell.tif", "/x", 0, 3, 4, 5, "uint16", 100.0, 9, remark="short"))
    assert store.get(Movie, "a" * 32).remark == "short"
    store.close()


@pytest.mark.parametrize(
    "text",
    [
        "a: 2001-99-99",
        "a: !!float x",
        "a: " + "9" * 5000,
        "a: &a [x]\nb: *a",
        "a: &a {k: 1}\nb: {<<: [*a, *a, *a]}",
    ],
)
def test_a_camera_that_is_no_plain_yaml_is_refused(site: Site, tiny_tiff: bytes, text: str) -> None:
    movie = site.send_file(tiny_tiff).json["movie_id"]
    asked = {"kind": "localize", "movie_id": movie, "pixel_size_nm": 100, "camera": {"yaml": text}}
    answer = site.ask("POST", "/api/v1/jobs", asked)
    assert answer.status == 422, answer.body
    assert "camera" in answer.json["error"]["message"]


def test_a_page_that_would_unpack_to_far_more_is_not_decoded(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "cell.tif"
    with tifffile.TiffWriter(path) as tif:
        for _ in range(3):
            tif.write(np.full((16, 16), 9, np.uint16), photometric="minisblack", metadata=None)
        tif.write(
            np.zeros((16, 16), np.uint16), photometric="minisblack", metadata=None,
            tile=(16384, 16384), compression="zlib",
        )  # fmt: skip
    assert path.stat().st_size < 2**21
    movie = site.send_file(path.read_bytes(), "cell.tif").json["movie_id"]
    assert site.ask("GET", f"/api/v1/movies/{movie}/frames/2").status == 200
    answer = site.ask("GET", f"/api/v1/movies/{movie}/frames/3")
    assert answer.status == 422
    message = answer.json["error"]["message"]
    assert message.startswith("cell.tif: frame 3 (counted from 0) has tiles of 16384 x 16384")


def test_compressions_that_say_themselves_how_large_they_are_are_not_taken(
    site: Site, tmp_path: Path
) -> None:
    frames = np.full((2, 16, 16), 9, np.uint16)
    path = tmp_path / "cell.tif"
    tifffile.imwrite(path, frames, photometric="minisblack", compression="jpeg2000")
    answer = site.send_file(path.read_bytes(), "cell.tif")
    assert answer.status == 422
    assert "compressed as JPEG2000" in answer.json["error"]["message"]
    with tifffile.TiffWriter(path) as tif:
        for compression in ("zlib", "lzw", None, "png"):
            tif.write(frames[0], photometric="minisblack", metadata=None, compression=compression)
    movie = site.send_file(path.read_bytes(), "cell.tif").json["movie_id"]
    assert site.ask("GET", f"/api/v1/movies/{movie}/frames/2").status == 200
    answer = site.ask("GET", f"/api/v1/movies/{movie}/frames/3")
    assert answer.status == 422
    assert (
        "frame 3 (counted from 0) has another compression (PNG)" in answer.json["error"]["message"]
    )


@pytest.fixture
def worker(tmp_path: Path) -> Any:
    from hdsmlm.config.service import ServiceConfig
    from hdsmlm.service.folders import Folders
    from hdsmlm.service.worker import Worker

    folders = Folders(tmp_path / "data")
    folders.create()
    return Worker(ServiceConfig(data=tmp_path / "data"), folders)


def _claimed(worker: Any) -> str:
    job = Job(
        job_id=new_identifier(), kind="doctor", movie_id=None, truth_id=None, path=None,
        model="wolf", camera="auto", pixel_size_nm=None, options={},
    )  # fmt: skip
    worker.store.add(job)
    assert worker.store.claim(job.job_id)
    return job.job_id


def test_a_job_that_the_worker_could_not_start_is_taken_back(worker: Any) -> None:
    job_id = _claimed(worker)
    worker.held.add(job_id)
    worker.take_back()
    assert worker.store.job(job_id).state == "running"  # it is in good hands
    worker.held.clear()
    worker.take_back()
    assert worker.store.job(job_id).state == "waiting"

    def fail(_job_id: str) -> None:
        raise OSError(28, "No space left on device")

    worker._run_claimed = fail
    worker.run(job_id)
    assert worker.held == set()
    worker.take_back()
    assert worker.store.job(job_id).state == "waiting"


def test_a_job_that_the_queue_names_twice_is_run_once(worker: Any) -> None:
    import threading

    job_id = _claimed(worker)
    worker.store.put_back(job_id)
    inside, leave, runs = threading.Event(), threading.Event(), []

    def hold(job: str) -> None:
        runs.append(job)
        inside.set()
        leave.wait(20)

    worker._run_claimed = hold
    first = threading.Thread(target=worker.run, args=(job_id,))
    first.start()
    assert inside.wait(20)
    worker.run(job_id)
    worker.take_back()
    assert worker.store.job(job_id).state == "running"
    assert worker.held == {job_id}
    leave.set()
    first.join()
    assert (runs, worker.held) == ([job_id], set())


def test_a_job_that_is_put_back_while_it_is_cancelled_ends(worker: Any) -> None:
    job_id = _claimed(worker)
    worker.store.request_cancel(job_id)
    assert not worker.store.put_back(job_id)
    assert worker.store.job(job_id).state == "cancelled"


def test_only_progress_that_is_kept_counts_against_kills(worker: Any) -> None:
    from hdsmlm.records.events import Event
    from hdsmlm.service.run_job import Task

    job_id = _claimed(worker)
    for _ in range(3):
        worker.store.put_back(job_id)
        worker.store.claim(job_id)
    task = Task(worker.store.job(job_id), worker.store, worker.folders, worker.config)
    for stage, attempts in (("normalize", 4), ("localize", 1)):
        for done in (0, 40):
            task.hear(Event(stage, done, 40, ""))
        assert worker.store.job(job_id).attempts == attempts


def test_what_can_be_made_again_does_not_pile_up(tmp_path: Path) -> None:
    import os

    from hdsmlm.service.exports import keep_newest

    for k in range(6):
        path = tmp_path / f"{k}.tif"
        path.touch()
        os.utime(path, (k, k))
    (tmp_path / "other.png").touch()
    keep_newest(tmp_path, "*.tif", 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["4.tif", "5.tif", "other.png"]


def test_rows_of_a_table_are_kept_for_a_few_pixel_sizes(site: Site) -> None:
    table = b"frame,x_nm,y_nm,photons\n0,100,200,500\n"
    table_id = site.send_file(table, "truth.csv", "table").json["table_id"]
    for k in range(9):
        answer = site.ask("GET", f"/api/v1/tables/{table_id}/rows?pixel_size_nm={100 + k}")
        assert answer.status == 200, answer.body
    again = site.ask("GET", f"/api/v1/tables/{table_id}/rows?pixel_size_nm=100")
    assert again.headers["x-rows"] == "1"


def test_an_address_that_a_client_claims_escapes_no_limit(make_site: Callable[..., Site]) -> None:
    site = make_site(token="a-secret-of-this-test")
    seen = set()
    for k in range(60):
        wrong = {"Authorization": "Bearer wrong", "X-Forwarded-For": f"10.0.0.{k}"}
        seen.add(site.ask("GET", "/api/v1/jobs", headers=wrong).status)
    assert seen == {401, 429}


def test_a_movie_that_became_a_link_is_read_no_more(
    make_site: Callable[..., Site], disk: Path, tmp_path: Path
) -> None:
    site = make_site(allow=(disk,))
    path = disk / "day 1" / "b.tif"
    movie = site.ask("POST", "/api/v1/movies", {"path": str(path)}).json["movie_id"]
    outside = tmp_path / "secret" / "b.tif"
    tifffile.imwrite(outside, np.full((3, 16, 16), 777, np.uint16), photometric="minisblack")
    path.unlink()
    path.symlink_to(outside)
    answer = site.ask("GET", f"/api/v1/movies/{movie}/frames/0")
    assert answer.status == 422
    assert "no longer inside the allowed folders" in answer.json["error"]["message"]
