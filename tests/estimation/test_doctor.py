"""The doctor command and the files that it writes and that the fit reads."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from hdsmlm.cli.main import app
from hdsmlm.config.microscope import load_microscope, preset_names
from hdsmlm.errors import ConfigError, OutputError
from hdsmlm.imaging.build import build_camera
from hdsmlm.io.calibration import read_camera_map


def blinking(n_frames: int = 150, size: int = 48) -> np.ndarray:
    """Return frames of a camera of 2 ADU per electron with molecules that blink at random."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:size, :size] + 0.5
    light = np.full((n_frames, size, size), 12.0)
    for frame in light:
        for cx, cy in rng.uniform(0, size, (8, 2)):
            frame += 150 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 1.2**2))
    return (100 + 2 * rng.poisson(light) + rng.normal(0, 3, light.shape)).round().astype(np.uint16)


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    path = tmp_path_factory.mktemp("movie") / "movie.tif"
    tifffile.imwrite(path, blinking())
    return path


def test_doctor_writes_a_camera_that_loads(movie, tmp_path):
    result = CliRunner().invoke(
        app,
        ["doctor", str(movie), "--pixel-size", "100", "--out", str(tmp_path), "--model", "none"],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    for word in ("gain", "offset", "PSF sigma", "background", "drift", "assumed", "a guess"):
        assert word in result.stdout
    found = load_microscope(tmp_path / "camera.yaml")
    assert found.camera.kind == "scmos"
    assert found.camera.gain_adu_per_e == pytest.approx(2.0, rel=0.1)
    assert found.psf.sigma_px == pytest.approx(1.2, rel=0.05)
    assert found.pixel_size_nm == 100
    assert any("estimated by hdsmlm doctor" in note for note in found.notes)


def test_doctor_reports_the_model_and_its_range(movie):
    result = CliRunner().invoke(
        app, ["doctor", str(movie), "--pixel-size", "400"], catch_exceptions=False
    )
    assert "run time" in result.stdout
    assert "outside the range of model wolf: the pixel size is 400" in result.stdout


def test_doctor_writes_measured_maps_beside_the_camera(movie, tmp_path):
    maps = np.stack([np.full((48, 48), value) for value in (100.0, 9.0, 0.5)])
    np.save(tmp_path / "maps.npy", maps)
    result = CliRunner().invoke(
        app,
        [
            *("doctor", str(movie), "--out", str(tmp_path), "--model", "none"),
            *("--calibration", str(tmp_path / "maps.npy")),
        ],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    camera = load_microscope(tmp_path / "camera.yaml").camera
    np.testing.assert_allclose(read_camera_map(camera.gain_map), 2.0)
    np.testing.assert_allclose(read_camera_map(camera.variance_map), 9.0)


def test_doctor_refuses_an_impossible_pixel(movie):
    with pytest.raises(ConfigError, match="above 5 and at most 1000 nm"):
        CliRunner().invoke(
            app, ["doctor", str(movie), "--pixel-size", "-3"], catch_exceptions=False
        )


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_camera(name):
    preset = load_microscope(name)
    assert preset.notes
    assert build_camera(preset.camera, (8, 8)).mean_adu(np.zeros((8, 8))).shape == (8, 8)


def test_unknown_cameras_and_missing_maps_are_explained(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'orca-fusion'"):
        load_microscope("orca-fussion")
    path = tmp_path / "camera.yaml"
    path.write_text("camera: {kind: scmos, gain_map: no.npy}\n")
    with pytest.raises(ConfigError, match=r"there is no file .*no\.npy"):
        load_microscope(path)
    path.write_text("camera: {kind: scmos, gain_adu_per_e: -1}\n")
    with pytest.raises(ConfigError, match="gain_adu_per_e"):
        load_microscope(path)


def test_a_file_in_the_place_of_the_folder_is_explained(movie, tmp_path):
    with pytest.raises(ConfigError, match="a folder was wanted"):
        CliRunner().invoke(
            app,
            ["doctor", str(movie), "--pixel-size", "100", "--out", str(tmp_path / "camera.yaml")],
            catch_exceptions=False,
        )
    assert not (tmp_path / "camera.yaml").exists()


def test_a_camera_that_was_corrected_by_hand_is_kept(movie, tmp_path):
    mine = tmp_path / "camera.yaml"
    mine.write_text("camera: {kind: ideal}\n")
    command = ["doctor", str(movie), "--pixel-size", "100", "--out", str(tmp_path), "-m", "none"]
    with pytest.raises(OutputError, match="--overwrite"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert mine.read_text() == "camera: {kind: ideal}\n"
    result = CliRunner().invoke(app, [*command, "--overwrite"], catch_exceptions=False)
    assert result.exit_code == 0
    assert load_microscope(mine).camera.kind == "scmos"
