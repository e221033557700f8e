"""hdsmlm localize as a whole: threads, resume, empty movies, bad input."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from hdsmlm.cli.main import app
from hdsmlm.config.base import parse_section
from hdsmlm.config.fitting import FitConfig
from hdsmlm.config.localize import LocalizeConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.errors import ConfigError, HdsmlmError, Interrupted, OutputError, TableError
from hdsmlm.imaging.psf import GaussianPsf
from hdsmlm.io.tables import read_table
from hdsmlm.pipelines.localize import LocalizeJob, localize_movie
from hdsmlm.records.flags import Flag

CAMERA = parse_section(
    MicroscopeConfig,
    {
        "camera": {"kind": "ideal"},
        "psf": {"kind": "gaussian", "sigma_px": 1.3},
        "pixel_size_nm": 100,
    },
    "test",
)


def config(fit: str = "joint", threads: int = 1) -> LocalizeConfig:
    values = {"fit": fit, "threads": threads, "spacetime": {"core_frames": 8, "margin_frames": 3}}
    return LocalizeConfig.model_validate(values)


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    rng = np.random.default_rng(3)
    light = np.full((20, 48, 48), 10.0)
    first = rng.integers(0, 18, 60)
    for place, start in zip(rng.uniform(4, 44, (60, 2)), first, strict=True):
        frames = np.arange(start, start + 3 if start < 17 else 20)
        where = np.tile([*place, 0.0], (len(frames), 1))
        GaussianPsf(1.3).add_to(light, frames, where, np.full(len(frames), 2000.0))
    path = tmp_path_factory.mktemp("localize") / "movie.tif"
    tifffile.imwrite(path, (100 + rng.poisson(light)).astype(np.uint16))
    return path


def test_threads_and_a_stop_do_not_change_a_byte(movie, tmp_path) -> None:
    paths = [tmp_path / name / "t.csv" for name in ("one", "two")]
    summary = localize_movie(LocalizeJob(movie, paths[0], microscope=CAMERA), config())
    assert summary.frames == 20
    assert summary.localizations > 100

    def stop(event) -> None:
        if event.stage == "localize" and event.done > 0:
            raise KeyboardInterrupt

    job = LocalizeJob(movie, paths[1], microscope=CAMERA)
    with pytest.raises(Interrupted, match="run the same command again"):
        localize_movie(job, config(threads=2), stop)
    assert not paths[1].exists()
    assert localize_movie(job, config(threads=2)).resumed_frames > 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        localize_movie(job, config())


@pytest.mark.parametrize("fit", ["joint", "frame"])
def test_rows_at_a_pixel_that_the_camera_file_calls_saturated_are_flagged(
    movie, fit: str, tmp_path
) -> None:
    frames = tifffile.imread(movie)
    level = int(np.percentile(frames, 99.9))
    found = {}
    for name, saturation in (("never", None), ("clipped", float(level))):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, np.minimum(frames, level))
        microscope = CAMERA.model_copy(update={"saturation_adu": saturation})
        job = LocalizeJob(path, tmp_path / f"{name}.csv", microscope=microscope)
        localize_movie(job, config(fit))
        table = read_table(tmp_path / f"{name}.csv")
        found[name] = (table["flags"] & Flag.SATURATED) != 0
        assert len(table) > 100
    assert not found["never"].any()
    assert 0 < found["clipped"].mean() < 0.5


@pytest.mark.parametrize("fit", ["joint", "frame"])
def test_a_movie_without_emitters_gives_an_empty_table(fit: str, tmp_path) -> None:
    path = tmp_path / "dark.tif"
    tifffile.imwrite(path, np.full((12, 32, 32), 110, np.uint16))
    more = {"alternatives": tmp_path / "a.csv"}
    if fit == "joint":
        more["blinks"] = tmp_path / "b.csv"
    job = LocalizeJob(path, tmp_path / "t.csv", microscope=CAMERA, **more)
    summary = localize_movie(job, config(fit))
    assert summary.localizations == 0
    table = read_table(tmp_path / "t.csv")
    assert len(table) == 0
    assert {"photons", "uncertainty_x_nm", "flags"} <= set(table.names)
    assert all(file.exists() for file in more.values())


def test_what_cannot_be_written_is_said_before_the_work(movie, tmp_path) -> None:
    job = LocalizeJob(movie, tmp_path / "t.xlsx", microscope=CAMERA)
    with pytest.raises(TableError, match="parquet"):
        localize_movie(job, config())
    same = LocalizeJob(movie, tmp_path / "t.csv", blinks=tmp_path / "t.csv", microscope=CAMERA)
    with pytest.raises(OutputError, match="same name"):
        localize_movie(same, config())
    no_choice = config("frame").model_copy(update={"frames": FitConfig(choose_count=False)})
    job = dataclasses.replace(same, blinks=None, alternatives=tmp_path / "a.csv")
    with pytest.raises(ConfigError, match="choose_count"):
        localize_movie(job, no_choice)


def test_alternatives_do_not_depend_on_threads_or_a_stop(movie, tmp_path) -> None:
    def tables(name: str) -> tuple[Path, Path]:
        (tmp_path / name).mkdir()
        return tmp_path / name / "t.csv", tmp_path / name / "a.csv"

    one, two = tables("one"), tables("two")
    localize_movie(LocalizeJob(movie, one[0], microscope=CAMERA, alternatives=one[1]), config())
    others = read_table(one[1])
    assert len(others) > 10
    assert set(np.unique(others["frame"])) <= set(range(20))
    assert 0.01 <= others["probability"].min() < others["probability"].max() <= 1

    def stop(event) -> None:
        if event.stage == "localize" and event.done > 0:
            raise KeyboardInterrupt

    plain = LocalizeJob(movie, two[0], microscope=CAMERA)
    with pytest.raises(Interrupted):  # its windows hold no alternatives and are fitted again
        localize_movie(plain, config(threads=2), stop)
    job = dataclasses.replace(plain, alternatives=two[1])
    localize_movie(job, config(threads=2))
    for a, b in zip(one, two, strict=True):
        assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--camera", "no-such-camera"], "preset"),
        (["--camera", "ideal", "--set", "spacetime.core_frame=3"], "core_frames"),
        (["--camera", "bad.yaml"], "quantum_efficiency"),
        (["--camera", "maps.yaml"], "shape"),
    ],
)
def test_bad_input_is_one_clear_message(movie, tmp_path, monkeypatch, arguments, word) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("camera: {kind: ideal, quantum_efficiency: -2}\n")
    np.save(tmp_path / "gain.npy", np.full((20, 20), 2.0))
    (tmp_path / "maps.yaml").write_text(
        "camera: {kind: scmos, gain_map: gain.npy}\npsf: {kind: gaussian}\npixel_size_nm: 100\n"
    )
    with pytest.raises(HdsmlmError, match=word):
        CliRunner().invoke(
            app, ["localize", str(movie), "--out", "t.csv", *arguments], catch_exceptions=False
        )
