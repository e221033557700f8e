"""Jobs of the real program: the whole path, restarts, kills, cancelling, live."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tifffile

from hdsmlm.io.tables import read_table
from hdsmlm.service.client import ServerError
from hdsmlm.service.rows import COLUMNS, to_rows

CAMERA: dict[str, Any] = {
    "camera": {"kind": "ideal"},
    "psf": {"kind": "gaussian", "sigma_px": 1.3},
    "pixel_size_nm": 100.0,
}
SMALL_WINDOWS = {"set": {"spacetime.core_frames": 4, "spacetime.margin_frames": 2}}


@pytest.fixture(scope="module")
def movie_id(program: Any, movie_file: Path) -> str:
    return str(program.site.client.upload(movie_file)["movie_id"])


@pytest.fixture(scope="module")
def reference(program: Any, movie_id: str) -> dict[str, Any]:
    """A job that nobody disturbed; also warms the caches of compiled code."""
    client = program.site.client
    job = client.start("localize", movie_id, camera=CAMERA, options=SMALL_WINDOWS)
    found: dict[str, Any] = client.follow(job["job_id"])
    return found


@pytest.fixture(scope="module")
def long_id(program: Any, movie_file: Path) -> str:
    """A movie that takes seconds, so that its job is not done before it can be killed."""
    import tifffile

    path = movie_file.with_name("long.tif")
    frames = np.tile(tifffile.imread(movie_file), (8, 1, 1))
    tifffile.imwrite(path, frames, photometric="minisblack")
    return str(program.site.client.upload(path)["movie_id"])


@pytest.fixture(scope="module")
def long_reference(program: Any, long_id: str) -> dict[str, Any]:
    """The long movie, undisturbed."""
    client = program.site.client
    job = client.start("localize", long_id, camera=CAMERA, options=SMALL_WINDOWS)
    found: dict[str, Any] = client.follow(job["job_id"])
    return found


def _started(program: Any, movie_id: str) -> str:
    """Start a job; return when some of its windows are finished, but not all."""
    client = program.site.client
    job_id = str(client.start("localize", movie_id, camera=CAMERA, options=SMALL_WINDOWS)["job_id"])
    while True:
        job = client.job(job_id)
        progress = job["progress"] or {"stage": "", "done": 0, "total": 1}
        assert job["state"] in ("waiting", "running")
        if progress["stage"] == "localize" and progress["done"] > 0:
            return job_id
        time.sleep(0.01)


def _processes(data: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if str(data) in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_from_upload_to_download(
    program: Any, movie_id: str, reference: dict[str, Any], movie_file: Path, tmp_path: Path
) -> None:
    client, job_id = program.site.client, reference["job_id"]
    assert reference["summary"]["frames"] == 48
    table = read_table(client.download_table(job_id, tmp_path / "cell.csv"))
    assert len(table) == reference["summary"]["localizations"] == reference["rows"] > 20
    native = read_table(client.download(job_id, "localizations.hdf5", tmp_path / "cell.hdf5"))
    rows = client.rows(job_id)
    np.testing.assert_array_equal(rows, to_rows(native))
    assert len(client.rows(job_id, start=5)) == len(rows) - 5
    names = {result["name"] for result in client.results(job_id)}
    assert {"localizations.hdf5", "blinks.hdf5"} <= names
    for frame in (0, 47):
        assert len(client.occupancy(job_id, frame)) == 32 * 32
    gauge = client.gauge(job_id)
    assert gauge["density_per_um2"] == pytest.approx(len(table) / 48 / 3.2**2)
    picture = program.site.ask("GET", f"/api/v1/jobs/{job_id}/image?filter=photons%3E1")
    assert picture.status == 200
    assert picture.body.startswith(b"\x89PNG")
    truth = client.upload(movie_file.with_name("truth.csv"), role="table")["table_id"]
    scored = client.start("evaluate", movie_id, truth_id=truth, options={"job_id": job_id})
    scores = client.follow(scored["job_id"])["summary"]["scores"][0]
    assert scores["f1"] > 2 * scores["chance_f1"]


def test_a_killed_worker_loses_no_job_and_no_window(
    program: Any, long_id: str, long_reference: dict[str, Any]
) -> None:
    client = program.site.client
    job_id = _started(program, long_id)
    quick = {"fit": "frame", "last_frame": 16}
    waiting = [
        client.start("localize", long_id, camera=CAMERA, options=quick)["job_id"] for _ in range(2)
    ]
    worker = program.worker()
    os.kill(worker, signal.SIGKILL)
    job = client.follow(job_id)
    assert program.worker() != worker
    assert job["summary"]["resumed_frames"] > 0
    assert job["summary"]["localizations"] == long_reference["summary"]["localizations"]
    np.testing.assert_array_equal(client.rows(job_id), client.rows(long_reference["job_id"]))
    assert [client.follow(one)["state"] for one in waiting] == ["done", "done"]


def test_a_killed_job_process_is_started_again(
    program: Any, long_id: str, long_reference: dict[str, Any]
) -> None:
    from hdsmlm.service.store import Store

    job_id = _started(program, long_id)
    store = Store(program.data / "service.db")
    record = store.job(job_id)
    store.close()
    assert record is not None
    assert record.process is not None
    os.kill(record.process, signal.SIGKILL)
    job = program.site.client.follow(job_id)
    assert job["summary"]["localizations"] == long_reference["summary"]["localizations"]


def test_a_killed_server_goes_on_after_its_restart(
    program: Any, long_id: str, long_reference: dict[str, Any]
) -> None:
    job_id = _started(program, long_id)
    waiting = program.site.client.start("localize", long_id, camera=CAMERA)["job_id"]
    program.kill()
    program.wait_for(lambda: not _processes(program.data))  # worker and job end by themselves
    program.start()
    client = program.site.client
    job = client.follow(job_id)
    assert job["summary"]["resumed_frames"] > 0
    np.testing.assert_array_equal(client.rows(job_id), client.rows(long_reference["job_id"]))
    assert client.follow(waiting)["state"] == "done"
    assert client.job(long_reference["job_id"])["state"] == "done"


def test_a_stopped_server_puts_its_job_back(
    program: Any, long_id: str, long_reference: dict[str, Any]
) -> None:
    job_id = _started(program, long_id)
    program.stop()
    assert not _processes(program.data)
    program.start()
    job = program.site.client.follow(job_id)
    assert job["summary"]["resumed_frames"] > 0
    assert job["summary"]["localizations"] == long_reference["summary"]["localizations"]


def test_cancel_ends_the_process_group(program: Any, long_id: str) -> None:
    from hdsmlm.service.store import Store

    client = program.site.client
    job_id = _started(program, long_id)
    waiting = client.start("localize", long_id, camera=CAMERA)["job_id"]
    store = Store(program.data / "service.db")
    process = store.job(job_id).process  # type: ignore[union-attr]
    store.close()
    assert client.cancel(waiting)["state"] == "cancelled"
    client.cancel(job_id)
    with pytest.raises(ServerError, match="cancelled"):
        client.follow(job_id)
    program.wait_for(lambda: not psutil.pid_exists(process))
    assert client.job(waiting)["started"] is None
    client.delete("jobs", job_id)
    assert not (program.data / "jobs" / job_id).exists()


def test_what_a_user_can_mend_is_told(program: Any, movie_id: str) -> None:
    client = program.site.client
    job = client.start("localize", movie_id, camera=CAMERA, options={"first_frame": 900})
    with pytest.raises(ServerError, match="has the frames 0:48"):
        client.follow(job["job_id"])
    error = client.job(job["job_id"])["error"]
    assert str(program.data) not in error


def test_a_growing_movie_is_followed(program: Any, movie_file: Path) -> None:
    client = program.site.client
    frames = tifffile.imread(movie_file)
    target = program.allowed / "grow.tif"

    def write() -> None:
        with tifffile.TiffWriter(target) as writer:
            for frame in frames:
                writer.write(frame, photometric="minisblack", contiguous=False)
                time.sleep(0.03)

    writing = threading.Thread(target=write)
    writing.start()
    while not target.exists():
        time.sleep(0.01)
    asked = {"block_frames": 16, "idle_s": 3}
    job = client.start("live", path=str(target), camera=CAMERA, options=asked)
    done = client.follow(job["job_id"])
    writing.join()
    assert done["summary"]["frames"] == 48
    gauge = client.gauge(job["job_id"])
    assert gauge["frame"] == 48
    assert gauge["localizations"] == done["rows"] == len(client.rows(job["job_id"]))
    seen = client.rows(job["job_id"])[:, COLUMNS.index("frame")]
    assert (np.diff(seen) >= 0).all()
    assert {0.0, 47.0} <= set(seen.tolist())
    assert len(client.occupancy(job["job_id"], 47)) == 32 * 32


def test_two_servers_do_not_share_a_folder(program: Any) -> None:
    import subprocess
    import sys

    second = subprocess.run(
        [
            sys.executable, "-m", "hdsmlm", "serve", "--port", "0", "--data", str(program.data),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert "another server uses" in second.stderr
