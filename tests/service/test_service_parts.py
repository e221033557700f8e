"""Records, locks, paths, pace, rows: the parts without a server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("huey", reason="the extra service is not installed")
pytest.importorskip("uvicorn", reason="the extra service is not installed")

from hdsmlm.config.service import ServiceConfig
from hdsmlm.errors import OutputError
from hdsmlm.records.emitters import Emitters
from hdsmlm.service.folders import (
    FolderLock,
    Folders,
    is_identifier,
    path_within,
    require_data_folder,
)
from hdsmlm.service.occupancy import OccupancyFile
from hdsmlm.service.queueing import JsonSerializer, open_lane
from hdsmlm.service.rows import COLUMNS, RowFile
from hdsmlm.service.security import Pace, host_name, is_loopback
from hdsmlm.service.server import settle_token
from hdsmlm.service.store import (
    CANCELLED,
    DONE,
    RUNNING,
    WAITING,
    Job,
    Store,
    Upload,
    new_identifier,
    now_text,
)
from hdsmlm.service.uploads import drop_stale_uploads, wanted_bytes


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "service.db")


def _job(store: Store) -> str:
    job = Job(new_identifier(), "localize", options={"fit": "joint"})
    store.add(job)
    return job.job_id


def test_a_job_is_claimed_once(store: Store) -> None:
    job_id = _job(store)
    assert store.claim(job_id)
    assert not store.claim(job_id)
    job = store.job(job_id)
    assert job is not None
    assert (job.state, job.attempts, job.revision, job.options) == (
        RUNNING, 1, 1, {"fit": "joint"},
    )  # fmt: skip


def test_a_job_that_was_put_back_can_be_claimed_again(store: Store) -> None:
    job_id = _job(store)
    store.claim(job_id)
    assert store.put_back(job_id)
    assert [job.job_id for job in store.jobs_in(WAITING)] == [job_id]
    assert store.claim(job_id)
    assert not store.put_back(_job(store))  # it waits already


def test_cancel_ends_what_waits_and_asks_what_runs(store: Store) -> None:
    waiting, running, done = _job(store), _job(store), _job(store)
    store.claim(running)
    store.end(done, DONE)
    for job_id in (waiting, running, done):
        store.request_cancel(job_id)
    states = {job_id: store.job(job_id) for job_id in (waiting, running, done)}
    assert states[waiting].state == CANCELLED  # type: ignore[union-attr]
    assert (states[running].state, states[running].cancel) == (RUNNING, 1)  # type: ignore[union-attr]
    assert states[done].state == DONE  # type: ignore[union-attr]
    assert not store.claim(waiting)


def test_what_has_ended_stays_as_it_is(store: Store) -> None:
    job_id = _job(store)
    assert store.end(job_id, DONE, summary={"localizations": 3})
    assert not store.end(job_id, "failed", error="too late")
    job = store.job(job_id)
    assert job is not None
    assert (job.state, job.error, job.summary) == (DONE, None, {"localizations": 3})


def test_records_survive_another_connection(store: Store, tmp_path: Path) -> None:
    ids = [_job(store) for _ in range(5)]
    again = Store(tmp_path / "service.db")
    assert [job.job_id for job in again.all(Job)] == ids[::-1]
    assert [job.job_id for job in again.jobs_in(WAITING)] == ids


def test_a_folder_is_locked_once(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path / "lock"), FolderLock(tmp_path / "lock")
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()
    second.release()


@given(st.text(max_size=40))
def test_only_own_identifiers_make_paths(text: str) -> None:
    folders = Folders(Path("/data"))
    if is_identifier(text):
        assert folders.job(text).parent == Path("/data/jobs")
    else:
        with pytest.raises(ValueError, match="no identifier"):
            folders.job(text)


@given(st.lists(st.sampled_from(["..", ".", "a", "deep", "out", "\0", "/", "~"]), max_size=6))
def test_no_path_leads_out_of_the_allowed_folder(parts: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        root = Path(place).resolve()
        (root / "in" / "a" / "deep").mkdir(parents=True)
        (root / "secret").mkdir()
        (root / "in" / "out").symlink_to(root / "secret")
        found = path_within(str(root / "in") + "/" + "/".join(parts), (root / "in",))
        assert found is None or found.is_relative_to(root / "in")
        assert found is None or "out" not in found.parts


def test_links_are_refused_wherever_they_lead(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    (inside / "real").mkdir(parents=True)
    (inside / "real" / "movie.tif").touch()
    (inside / "link.tif").symlink_to(inside / "real" / "movie.tif")
    (inside / "linked").mkdir()
    (inside / "linked" / "frame.tif").symlink_to(inside / "real" / "movie.tif")
    allowed = (inside,)
    assert path_within(str(inside / "real" / "movie.tif"), allowed) is not None
    assert path_within(str(inside / "real"), allowed) is not None
    assert path_within(str(inside / "link.tif"), allowed) is None
    assert path_within(str(inside / "linked"), allowed) is None
    assert path_within("real/movie.tif", allowed) is None
    assert path_within(str(tmp_path), allowed) is None
    assert path_within(str(inside / "real"), ()) is None


def test_an_allowed_folder_may_itself_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "movie.tif").touch()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    found = path_within(str(tmp_path / "data" / "movie.tif"), (tmp_path / "data",))
    assert found == (tmp_path / "disk" / "movie.tif").resolve()


def test_pace_refills_and_bounds_its_memory() -> None:
    now = [0.0]
    pace = Pace(2.0, 3.0, lambda: now[0])
    assert [pace.wait_s("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert pace.wait_s("a") == pytest.approx(0.5)
    assert pace.wait_s("b") == 0.0
    now[0] = 0.5
    assert pace.wait_s("a") == 0.0
    for number in range(10_050):
        pace.wait_s(str(number))
    assert len(pace._buckets) == 10_000


def test_names_and_loopback() -> None:
    assert host_name("LOCALHOST:1") == "localhost"
    assert host_name("[::1]:99") == "::1"
    assert is_loopback("127.0.0.5")
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.org")


def test_other_addresses_get_a_token() -> None:
    assert settle_token(ServiceConfig()).token is None
    made = settle_token(ServiceConfig(host="0.0.0.0")).token
    assert made is not None
    assert len(made) >= 32
    given_token = "x" * 20
    assert settle_token(ServiceConfig(host="0.0.0.0", token=given_token)).token == given_token


def test_rows_are_appended_and_read_in_pieces(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows.bin")
    table = Emitters(
        {
            "frame": [0, 1, 2],
            "x_nm": [1.0, 2.0, 3.0],
            "y_nm": [4.0, 5.0, 6.0],
            "uncertainty_x_nm": [3.0, 3.0, 3.0],
            "uncertainty_y_nm": [4.0, 4.0, 4.0],
        }
    )
    assert file.read(0) == b""
    assert file.append(table) == 3
    assert file.append(table) == 6
    rows = np.frombuffer(file.read(2, most=2), "<f4").reshape(-1, len(COLUMNS))
    assert rows[:, 0].tolist() == [2.0, 0.0]
    np.testing.assert_allclose(rows[:, COLUMNS.index("uncertainty_xy_nm")], np.sqrt(12.5))
    assert np.isnan(rows[:, COLUMNS.index("z_nm")]).all()
    assert file.read(6) == file.read(10**15) == b""
    file.clear()
    assert len(file) == 0


def test_occupancy_comes_back(tmp_path: Path) -> None:
    file = OccupancyFile(tmp_path)
    assert file.get(0) is None
    empty = np.random.default_rng(1).random((2, 4, 5, 6)).astype(np.float32)
    file.put(7, empty)
    expected = np.rint(255 * (1 - empty[1, 0])).astype(np.uint8)
    assert file.get(8) == expected.tobytes()
    assert file.get(6) is None
    assert file.get(9) is None


def test_queue_messages_are_json_and_end_in_the_task(tmp_path: Path) -> None:
    folders = require_data_folder(tmp_path / "data")
    seen: list[str] = []
    config = ServiceConfig()
    server, worker = (
        open_lane(config, folders, "jobs"),
        open_lane(config, folders, "jobs", seen.append),
    )
    server.put("a" * 32)
    server.put("b" * 32)
    raw = worker.huey.storage.enqueued_items()
    assert all(json.loads(item)[6] for item in raw)
    for _ in range(2):
        worker.huey.execute(worker.huey.dequeue())
    assert seen == ["a" * 32, "b" * 32]
    assert worker.huey.dequeue() is None
    with pytest.raises(ValueError, match="decode"):
        JsonSerializer().deserialize(b"\x80\x04cos\nsystem\n")


def test_uploads_that_were_given_up_are_dropped(tmp_path: Path) -> None:
    folders = require_data_folder(tmp_path)
    store = Store(folders.store)
    old, fresh, complete = (
        Upload(new_identifier(), "a.tif", "movie", 9, movie, None, created)
        for movie, created in (
            (None, "2020-01-01T00:00:00.000+00:00"),
            (None, now_text()),
            ("0" * 32, "2020-01-01T00:00:00.000+00:00"),
        )
    )
    for upload in (old, fresh, complete):
        store.add(upload)
        folders.upload(upload.upload_id).write_bytes(b"1234")
    assert wanted_bytes(store, folders) == 2 * (9 - 4)
    assert drop_stale_uploads(store, folders) == 1
    assert not folders.upload(old.upload_id).exists()
    assert {upload.upload_id for upload in store.all(Upload)} == {
        fresh.upload_id, complete.upload_id,
    }  # fmt: skip


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        require_data_folder(tmp_path / "file")
