"""A microscope that does not fit the movie is refused, or said, before the work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hdsmlm.bundle import load_bundle
from hdsmlm.errors import ConfigError
from hdsmlm.imaging.camera import EmccdCamera, IdealCamera, ScmosCamera
from hdsmlm.imaging.psf import GaussianPsf
from hdsmlm.pipelines.localize import LocalizeJob, localize_movie
from hdsmlm.pipelines.localize_microscope import (
    noise_notes,
    noise_ratio,
    range_notes,
    require_baseline,
    settle_pixel_size,
)
from hdsmlm.pipelines.localize_output import Tally
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.movie import MovieInfo


class _Movie:
    def __init__(self, level: float, pixel_size_nm: float | None = None) -> None:
        self.frames = np.random.default_rng(0).poisson(level, (12, 16, 16)).astype(np.uint16)
        self.info = MovieInfo("m", (), 12, 16, 16, "uint16", pixel_size_nm)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.frames[start:stop]

    def close(self) -> None:
        pass


def test_a_movie_below_the_baseline_is_refused_with_both_numbers() -> None:
    movie = _Movie(300.0)
    require_baseline(movie, IdealCamera(1.0, 1.0, 290.0), 0, 12)
    with pytest.raises(ConfigError, match=r"100 % of the pixels .* \(900; .* median is 300"):
        require_baseline(movie, IdealCamera(1.0, 1.0, 900.0), 0, 12)


def test_contradicting_pixel_sizes_are_refused_until_somebody_decides() -> None:
    movie = _Movie(300.0, pixel_size_nm=100.0)
    assert settle_pixel_size(None, None, movie) == 100.0
    assert settle_pixel_size(None, 101.0, movie) == 101.0
    assert settle_pixel_size(160.0, 100.0, movie) == 160.0
    with pytest.raises(ConfigError, match=r"160 nm wide, m says 100 nm; .*--pixel-size-nm"):
        settle_pixel_size(None, 160.0, movie)


def test_a_psf_outside_the_trained_range_is_said() -> None:
    manifest = load_bundle("wolf").manifest
    assert range_notes(GaussianPsf(1.3), manifest) == ()
    assert "5.00 px" in range_notes(GaussianPsf(5.0), manifest)[0]


@pytest.mark.parametrize("kind", ["emccd", "scmos", "ideal"])
@pytest.mark.parametrize("background", [2.0, 50.0])
def test_the_noise_of_a_movie_is_that_of_its_camera_and_of_no_other(kind, background) -> None:
    """The median of 8 x 64² pixels is precise to 2 %; the law of the noise moves it more."""
    cameras = {
        "emccd": EmccdCamera(0.9, 300.0, 74.4, 0.002, 45.0, 100.0),
        "scmos": ScmosCamera(0.8, gain_adu_per_e=2.0, offset_adu=100.0, variance_adu2=10.0),
        "ideal": IdealCamera(1.0, 1.0, 0.0),
    }
    movie = _Movie(300.0)
    rng = np.random.default_rng(7)
    movie.frames = cameras[kind].sample(np.full((10, 64, 64), background), rng)
    ratio = noise_ratio(movie, cameras[kind], 0, 10)
    assert 0.6 < ratio < 1.1
    assert noise_notes(movie, cameras[kind], 0, 10, sparse=True) == ()
    if kind == "scmos":
        other = ScmosCamera(0.8, gain_adu_per_e=0.5, offset_adu=100.0, variance_adu2=0.6)
        assert "variance" in noise_notes(movie, other, 0, 10, sparse=True)[0]
        quiet = noise_notes(movie, cameras["emccd"], 0, 10)
        assert "what this camera would give" in quiet[0]


@pytest.mark.parametrize("sigma_px", [-1.0, 0.0, 50.0])
def test_an_impossible_sigma_is_one_message(tmp_path: Path, sigma_px: float) -> None:
    job = LocalizeJob(
        _Movie(300.0, 100.0), tmp_path / "t.csv", microscope="ideal", sigma_px=sigma_px
    )
    with pytest.raises(ConfigError, match="--sigma-px"):
        localize_movie(job)


def test_a_wrong_gain_is_said_however_much_the_molecules_blink() -> None:
    rng = np.random.default_rng(5)
    camera = ScmosCamera(0.8, gain_adu_per_e=2.0, offset_adu=100.0, variance_adu2=10.0)
    light = np.full((40, 64, 64), 20.0)
    on = rng.random(light.shape) < 0.02  # for one frame each
    light[on] += rng.uniform(300.0, 30_000.0, on.sum())
    movie = _Movie(300.0)
    movie.frames = camera.sample(gaussian_filter(light, (0, 1.3, 1.3)), rng)
    movie.info = MovieInfo("m", (), 40, 64, 64, "uint16", None)
    assert noise_ratio(movie, camera, 0, 40) > 2.5
    assert noise_notes(movie, camera, 0, 40) == ()
    for gain in (0.02, 0.5, 30.0):
        wrong = ScmosCamera(0.8, gain_adu_per_e=gain, offset_adu=100.0, variance_adu2=10.0)
        assert "the gain or the whole camera" in noise_notes(movie, wrong, 0, 40)[0]


def test_a_crowd_beyond_the_trained_density_is_said() -> None:
    trained = load_bundle("wolf").manifest.trained_range
    x, y = np.meshgrid(np.arange(0.0, 3200.0, 350.0), np.arange(0.0, 3200.0, 350.0))
    for pitch, warned in ((1.0, False), (0.5, True)):
        tally = Tally(100.0)
        places = {"x_nm": pitch * x.ravel(), "y_nm": pitch * y.ravel()}
        constant = np.ones(x.size)
        for frame in range(3):
            tally.add(
                Emitters(
                    {
                        "frame": np.full(x.size, frame),
                        **places,
                        "photons": 1000 * constant,
                        "uncertainty_x_nm": 10 * constant,
                        "flags": np.zeros(x.size, np.int32),
                    }
                )
            )
        assert bool(tally.density_warnings(trained)) == warned
