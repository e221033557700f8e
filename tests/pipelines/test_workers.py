"""Several workers on one movie: the bytes of one, and nothing lost when one dies."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from hdsmlm.config.base import parse_section
from hdsmlm.config.localize import LocalizeConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.config.prediction import PredictionConfig
from hdsmlm.errors import ConfigError, WorkerError
from hdsmlm.io.movies import ArrayMovie
from hdsmlm.pipelines.localize import LocalizeJob, localize_movie
from hdsmlm.pipelines.predict import PredictionJob, predict_movie
from hdsmlm.pipelines.spread import Progress, Work, Workers, spread
from hdsmlm.records.events import Event

PREDICTION = PredictionConfig(pixel_size_nm=100.0, chunk_frames=8, overlay_frames=2, threads=2)
RUNNERS = [
    "local",
    pytest.param(
        "ray",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("ray") is None, reason="ray is not installed"
        ),
    ),
]


@pytest.fixture(scope="module")
def movie(tmp_path_factory) -> Path:
    """Forty frames of 32 x 32 pixels with blinks."""
    rng = np.random.default_rng(3)
    light = np.full((40, 32, 32), 20.0)
    for _ in range(60):
        x, y = rng.uniform(400, 2800, 2)
        start, on = rng.integers(0, 38), rng.integers(1, 5)
        image = np.zeros((32, 32))
        _add(image, x, y, 1500.0)
        light[start : start + on] += image
    path = tmp_path_factory.mktemp("movie") / "movie.tif"
    tifffile.imwrite(path, rng.poisson(light).astype(np.uint16) + 100)
    return path


def _add(image: np.ndarray, x_nm: float, y_nm: float, photons: float) -> None:
    grid = np.arange(32) + 0.5
    row = np.exp(-((grid - y_nm / 100) ** 2) / (2 * 1.3**2))
    column = np.exp(-((grid - x_nm / 100) ** 2) / (2 * 1.3**2))
    image += photons * np.outer(row, column) / (2 * np.pi * 1.3**2)


MICROSCOPE = parse_section(
    MicroscopeConfig,
    {
        "camera": {"kind": "ideal", "quantum_efficiency": 1.0, "baseline_adu": 100.0},
        "psf": {"kind": "gaussian", "sigma_px": 1.3},
        "pixel_size_nm": 100.0,
    },
    "test",
)


_CREATED = re.compile(rb"created\W+[-0-9T:+]+")


def _files(folder: Path) -> dict[str, bytes]:
    """All that a run wrote, but for the time when it did."""
    return {
        str(path.relative_to(folder)): _CREATED.sub(b"", path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("summary")
    }


@pytest.mark.parametrize("runner", RUNNERS)
def test_predict_with_workers_gives_the_same_bytes(movie, tmp_path, runner) -> None:
    predict_movie(PredictionJob(movie, tmp_path / "one"), PREDICTION)
    job = PredictionJob(movie, tmp_path / "two", workers=Workers(2, runner))
    events = []
    summary = predict_movie(job, PREDICTION, events.append)
    one, two = _files(tmp_path / "one"), _files(tmp_path / "two")
    assert one.keys() == two.keys()
    assert {"emitters.csv", "count_map.tif", "provenance.json"} <= one.keys()
    assert [name for name in one if one[name] != two[name]] == []
    assert summary.found.frames == 40
    assert [event.done for event in events if event.stage == "predict"][-1] == 40


def test_localize_with_workers_gives_the_same_bytes(movie, tmp_path) -> None:
    space = {"core_frames": 8, "margin_frames": 4}
    config = parse_section(LocalizeConfig, {"spacetime": space, "threads": 2}, "test")
    for name, count in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        job = LocalizeJob(
            movie,
            tmp_path / name / "table.csv",
            microscope=MICROSCOPE,
            blinks=tmp_path / name / "blinks.csv",
            workers=Workers(count),
        )
        assert localize_movie(job, config).localizations > 20
    one, two = _files(tmp_path / "one"), _files(tmp_path / "two")
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_a_killed_worker_is_replaced_once(movie, tmp_path) -> None:
    predict_movie(PredictionJob(movie, tmp_path / "one"), PREDICTION)
    killed = threading.Event()

    def kill_one() -> None:
        deadline = time.monotonic() + 60
        while not killed.is_set() and time.monotonic() < deadline:
            for child in psutil.Process().children():
                if "worker-1" in " ".join(child.cmdline()):
                    child.kill()
                    killed.set()
            time.sleep(0.01)

    thread = threading.Thread(target=kill_one)
    thread.start()
    predict_movie(PredictionJob(movie, tmp_path / "two", workers=Workers(2)), PREDICTION)
    thread.join()
    assert killed.is_set()
    one, two = _files(tmp_path / "one"), _files(tmp_path / "two")
    assert [name for name in one if one[name] != two[name]] == []


def test_what_workers_finished_survives_the_death_of_their_owner(movie, tmp_path) -> None:
    predict_movie(PredictionJob(movie, tmp_path / "one"), PREDICTION)
    call = [
        *(sys.executable, "-m", "hdsmlm", "predict", str(movie), "--out", str(tmp_path / "two")),
        *("--pixel-size-nm", "100", "--chunk", "8", "--overlays", "2", "--threads", "2"),
    ]
    process = subprocess.Popen(
        [*call, "--workers", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    work = tmp_path / "two" / "unfinished"
    deadline = time.monotonic() + 120
    while not list(work.glob("chunk_*.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(call, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    one, two = _files(tmp_path / "one"), _files(tmp_path / "two")
    assert one.keys() == two.keys()
    assert all(one[name] == two[name] for name in one if name != "provenance.json")


def test_what_cannot_be_shared_is_told(movie, tmp_path) -> None:
    frames = tifffile.imread(movie)
    job = PredictionJob(ArrayMovie(frames), tmp_path / "a", workers=Workers(2))
    with pytest.raises(ConfigError, match="given by its path"):
        predict_movie(job, PREDICTION)
    with pytest.raises(ConfigError, match="--runner ray"):
        Workers(2, "local", "auto")
    with pytest.raises(ConfigError, match="at least one"):
        Workers(0)


def test_the_error_of_a_worker_is_told(tmp_path) -> None:
    arguments = {
        **{"movie": str(tmp_path / "gone.tif"), "out": str(tmp_path / "out"), "model": "wolf"},
        **{"allow_truncated": False, "config": {}, "parents": {}},
    }
    work = Work(
        "hdsmlm.pipelines.predict:predict_share", arguments, [0, 1, 2], lambda index: index == 0
    )
    events: list[Event] = []
    progress = Progress(events.append, "predict", 0, 3, lambda index: 1)
    with pytest.raises(WorkerError, match=r"worker-\d: .*gone.tif.*finished is kept"):
        spread(work, Workers(2), tmp_path / "work", progress)
    assert [event.done for event in events] == [1]
