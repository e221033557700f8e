"""Live: a growing movie gives the rows that the finished movie would, block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from hdsmlm.config.live import LiveConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.config.simulation import SimulationConfig
from hdsmlm.errors import MovieError
from hdsmlm.io.tables import read_table
from hdsmlm.pipelines.live import Gauge, LiveJob, follow_movie
from hdsmlm.records.emitters import Emitters
from hdsmlm.simulation.scene import SceneSampler

MICROSCOPE = MicroscopeConfig.model_validate(
    {
        "camera": {"kind": "ideal"},
        "psf": {"kind": "gaussian", "sigma_px": 1.3},
        "pixel_size_nm": 100.0,
    }
)


class Watch:
    def __init__(self) -> None:
        self.tables: list[Emitters] = []
        self.maps: dict[int, int] = {}
        self.gauges: list[Gauge] = []

    def rows(self, emitters: Emitters) -> None:
        self.tables.append(emitters)

    def count_map(self, first_frame: int, probabilities: Any) -> None:
        self.maps[first_frame] = len(probabilities)

    def gauge(self, gauge: Gauge) -> None:
        self.gauges.append(gauge)


class Microscope:
    """Writes some frames at every look; time passes by the clock of the test alone."""

    def __init__(self, folder: Path, frames: np.ndarray, step: int) -> None:
        self.folder, self.frames, self.step = folder, frames, step
        self.written, self.now_s = 0, 0.0

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        if self.written < len(self.frames):
            part = self.frames[self.written : self.written + self.step]
            path = self.folder / f"part{self.written}.tif"
            tifffile.imwrite(path, part, photometric="minisblack")
            self.written += len(part)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    ranges = SimulationConfig(density_per_um2=(0.4, 0.4), pixel_size_nm=(100.0, 100.0))
    return SceneSampler(ranges, (36, 24, 24)).draw(2, 0).frames


def _follow(folder: Path, out: Path, frames: np.ndarray, **values: Any) -> tuple[Any, Watch]:
    folder.mkdir()
    microscope, watch = Microscope(folder, frames, 5), Watch()
    config = LiveConfig(block_frames=8, idle_s=5, flush_s=2, **values)
    job = LiveJob(folder, out, watch, microscope=MICROSCOPE)
    summary = follow_movie(job, config, clock=microscope.clock, sleep=microscope.sleep)
    return summary, watch


def test_every_frame_is_localized_once(frames: np.ndarray, tmp_path: Path) -> None:
    summary, watch = _follow(tmp_path / "in", tmp_path / "out.hdf5", frames)
    assert summary.frames == 36
    assert sum(watch.maps.values()) == 36
    assert list(watch.maps)[:4] == [0, 8, 16, 24]
    rows = Emitters.concatenate(watch.tables)
    table = read_table(tmp_path / "out.hdf5")
    assert len(table) == len(rows) == summary.localizations > 0
    np.testing.assert_allclose(table["x_nm"], rows["x_nm"], rtol=1e-5)
    assert (np.diff(rows["frame"]) >= 0).all()
    assert set(rows["frame"].tolist()) <= set(range(36))
    last = watch.gauges[-1]
    assert (last.frame, last.localizations) == (36, len(rows))
    assert last.density_per_um2 == pytest.approx(len(rows) / 36 / 2.4**2)
    # A block waits for the frames behind it that the network sees, not for the next block.
    assert all(gauge.behind_s <= 2 for gauge in watch.gauges[:-1])
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_stopped_run_keeps_its_table_and_goes_on(frames: np.ndarray, tmp_path: Path) -> None:
    whole, _ = _follow(tmp_path / "whole", tmp_path / "whole.hdf5", frames)
    folder, out = tmp_path / "in", tmp_path / "out.hdf5"
    folder.mkdir()
    microscope, watch = Microscope(folder, frames, 5), Watch()

    def stop(seconds: float) -> None:
        if watch.gauges:
            raise KeyboardInterrupt
        microscope.sleep(seconds)

    config = LiveConfig(block_frames=8, idle_s=5, flush_s=2)
    job = LiveJob(folder, out, watch, microscope=MICROSCOPE)
    with pytest.raises(KeyboardInterrupt):
        follow_movie(job, config, clock=microscope.clock, sleep=stop)
    early = len(read_table(out))
    assert 0 < early < whole.localizations
    again = follow_movie(job, config, clock=microscope.clock, sleep=microscope.sleep)
    assert again.frames == 36
    assert len(read_table(out)) == again.localizations > early


def test_no_frames_are_told(tmp_path: Path) -> None:
    with pytest.raises(MovieError, match="no frames came within 5 s"):
        _follow(tmp_path / "in", tmp_path / "out.hdf5", np.empty((0, 8, 8), np.uint16))
