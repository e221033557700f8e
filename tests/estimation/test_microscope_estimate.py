"""What is estimated from a movie against what it was simulated with."""

from __future__ import annotations

import numpy as np
import pytest

from hdsmlm.config.camera import CameraConfig, EmccdConfig, IdealConfig, ScmosConfig
from hdsmlm.config.simulation import (
    BackgroundRanges,
    CameraWeights,
    PhotophysicsRanges,
    PsfWeights,
    SimulationConfig,
)
from hdsmlm.errors import ConfigError, MovieError
from hdsmlm.estimation.camera import estimate_camera, guess_kind
from hdsmlm.estimation.drift import drift
from hdsmlm.estimation.integrity import check_frames
from hdsmlm.estimation.microscope import estimate_microscope
from hdsmlm.estimation.photon_transfer import PhotonTransfer, photon_transfer
from hdsmlm.estimation.psf_width import psf_width
from hdsmlm.estimation.sample import sample_frames
from hdsmlm.fitting.likelihood import poisson_data
from hdsmlm.imaging.build import build_camera
from hdsmlm.io.calibration import CameraMaps
from hdsmlm.io.movies import ArrayMovie
from hdsmlm.simulation.conditions import draw_conditions
from hdsmlm.simulation.recording import Recording

SIGMA_PX = 1.3
CAMERAS: dict[str, tuple[CameraConfig, float]] = {
    "emccd": (EmccdConfig(), 200 / 45),
    "scmos": (
        ScmosConfig(gain_spread=0.02, baseline_spread_adu=2.0, hot_pixel_fraction=0.005),
        2.0,
    ),
    "ideal": (IdealConfig(), 1.0),
}


def simulated(kind: str, density: float, frames: int = 200, seed: int = 1):
    """Return frames and the true mean background in photons."""
    config = SimulationConfig(
        density_per_um2=density,
        pixel_size_nm=100.0,
        sigma_px=SIGMA_PX,
        photons=2000.0,
        min_median_snr=0.0,
        cameras=CameraWeights(**{name: float(name == kind) for name in CAMERAS}),
        psfs=PsfWeights(gaussian=1.0, astigmatic=0.0, diffraction=0.0),
        photophysics=PhotophysicsRanges(mean_on_frames=2.0),
        background=BackgroundRanges(photons=20.0, structure=0.2),
    )
    conditions = draw_conditions(config, np.random.default_rng(seed))
    conditions = conditions.model_copy(update={"camera": CAMERAS[kind][0]})
    recording = Recording(conditions, (64, 64), (seed,))
    stack, _ = recording.read(frames)
    return stack, float(recording.background.photons(frames // 2).mean())


@pytest.mark.parametrize("density", [0.2, 2.0])
@pytest.mark.parametrize("kind", list(CAMERAS))
def test_camera_psf_and_background_of_blinking_emitters(kind, density):
    frames, background = simulated(kind, density)
    found = estimate_microscope(ArrayMovie(frames, pixel_size_nm=100.0), kind=kind)
    config, gain = CAMERAS[kind]
    assert found.unknown == ()
    assert found.camera.gain_adu_per_e.value == pytest.approx(gain, rel=0.1)
    assert found.camera.offset_adu.value == pytest.approx(100.0, abs=4.0)
    assert found.sigma_px.value == pytest.approx(SIGMA_PX, rel=0.05)
    assumed = found.camera.quantum_efficiency.value / config.quantum_efficiency
    assert found.background_photons.value * assumed == pytest.approx(background, rel=0.15)
    built = build_camera(found.config.camera, (64, 64))
    assert poisson_data(frames[:2], built).shape == (2, 64, 64)
    # The likelihood's data are (adu - zero) / slope whatever the split of the zero.
    line = found.line
    expected = (frames[:2] - line.zero_adu) / line.slope_adu
    np.testing.assert_allclose(
        poisson_data(frames[:2], built).counts, expected, rtol=2e-3, atol=0.02
    )


def test_flat_light_without_molecules_gives_noise_but_no_psf():
    rng = np.random.default_rng(0)
    light = np.linspace(5, 80, 64)[:, None] * np.ones(64)
    frames = np.rint(100 + 3 * rng.poisson(light, (60, 64, 64)) + rng.normal(0, 4, (60, 64, 64)))
    found = estimate_microscope(ArrayMovie(frames.astype(np.uint16)), kind="scmos")
    assert found.camera.gain_adu_per_e.value == pytest.approx(3.0, rel=0.05)
    assert found.sigma_px is None
    assert found.config is None
    with pytest.raises(ConfigError, match=r"point-spread function is not visible.*--camera"):
        found.require_config()


def test_noise_line_is_unbiased_under_constant_light():
    rng = np.random.default_rng(1)
    light = np.linspace(10, 200, 64)[:, None] * np.ones(64)
    frames = (100 + 2 * rng.poisson(light, (80, 64, 64))).astype(np.uint16)
    line = photon_transfer(sample_frames(ArrayMovie(frames)))
    assert abs(line.slope_adu - 2.0) < 4 * line.slope_error_adu
    assert abs(line.zero_adu - 100.0) < 4 * line.zero_error_adu


def test_blinks_of_a_single_frame_tell_the_gain():
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:48, :48] + 0.5
    light = np.full((80, 48, 48), 12.0)
    for frame in light:
        for cx, cy in rng.uniform(0, 48, (6, 2)):
            frame += 150 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * SIGMA_PX**2))
    frames = (100 + 2 * rng.poisson(light)).astype(np.uint16)
    found = photon_transfer(sample_frames(ArrayMovie(frames)))
    assert found.is_significant
    assert abs(found.slope_adu - 2.0) < 4 * found.slope_error_adu


def test_rescaled_movies_are_refused():
    frames, _ = simulated("emccd", 2.0, frames=60)
    with pytest.raises(ConfigError, match="not whole numbers"):
        estimate_microscope(ArrayMovie(frames * 0.37)).require_config()
    low, high = int(frames.min()), int(frames.max())
    stretched = ((frames.astype(np.int64) - low) * 65535 // (high - low)).astype(np.uint16)
    with pytest.raises(ConfigError, match="contrast was stretched"):
        estimate_microscope(ArrayMovie(stretched)).require_config()
    gaps = (frames // 8 * 40).astype(np.uint16)
    with pytest.raises(ConfigError, match="rescaled after recording"):
        estimate_microscope(ArrayMovie(gaps)).require_config()


def test_filtered_movie_is_refused():
    frames, _ = simulated("emccd", 0.2, frames=60)
    smooth = frames.astype(np.float64)
    smooth = np.rint((smooth[:, :, 1:] + smooth[:, :, :-1]) / 2).astype(np.uint16)
    found = estimate_microscope(ArrayMovie(smooth))
    assert found.config is None
    assert found.unknown


def test_too_small_a_movie_is_an_error():
    with pytest.raises(MovieError, match="at least 4 frames of 16 x 16"):
        estimate_microscope(ArrayMovie(np.zeros((3, 64, 64), np.uint16)))


def test_a_movie_of_one_grey_value_is_an_error():
    with pytest.raises(MovieError, match="have the grey value 100"):
        estimate_microscope(ArrayMovie(np.full((12, 40, 57), 100, np.uint16)))


def test_a_movie_without_noise_is_not_estimated():
    frames = np.zeros((12, 40, 57), np.uint16)
    frames[:, 20:] = 100
    found = estimate_microscope(ArrayMovie(frames))
    assert found.config is None
    assert any("noise does not grow" in text for text in found.unknown)


def test_repeated_blank_and_saturated_frames_are_found():
    rng = np.random.default_rng(2)
    frames = rng.poisson(200.0, (40, 32, 32)).astype(np.uint16)
    frames[11] = frames[10]
    frames[30] += 150
    frames[:, :2, :2] = 4095
    frames[20] = 7
    found = check_frames(ArrayMovie(frames))
    assert found.duplicates == (11,)
    assert found.blanks == (20,)
    assert 30 in found.jumps
    assert found.saturation_adu == 4095
    assert found.saturated_share == pytest.approx(39 * 4 / frames.size)


def test_the_camera_file_says_where_pixels_are_saturated():
    frames, _ = simulated("emccd", 0.5, frames=60)
    clipped = np.minimum(frames, np.percentile(frames, 99.95)).astype(np.uint16)
    for movie, level in ((frames, None), (clipped, clipped.max())):
        config = estimate_microscope(ArrayMovie(movie, pixel_size_nm=100.0)).require_config()
        assert config.saturation_adu == level


def test_drift_of_a_structure_is_found():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:64, :64]
    centres = rng.uniform(8, 56, (30, 2))
    frames = np.zeros((80, 64, 64))
    for t in range(80):
        for cy, cx in centres + np.array([0.0, 1.6]) * t / 79:
            frames[t] += 40 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * SIGMA_PX**2))
    noisy = rng.poisson(frames + 20).astype(np.uint16)
    found = drift(ArrayMovie(noisy), SIGMA_PX)
    assert found.is_known
    # First and last stretch are 7/8 of the movie apart.
    assert found.x_px[-1] == pytest.approx(1.6 * 7 / 8, abs=0.15)
    assert abs(found.y_px[-1]) < 0.1


@pytest.mark.parametrize("frames_each", [10, 25])
def test_molecules_that_switch_at_random_are_no_drift(frames_each):
    """One bright molecule at a time: each stretch is the first one, shifted, and pairs agree."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:64, :64]
    for stretches in (8, 2):
        frames = np.full((stretches * frames_each, 64, 64), 20.0)
        for k in range(stretches):
            cy, cx = rng.uniform(12, 52, 2)
            spot = 400 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * SIGMA_PX**2))
            frames[k * frames_each : (k + 1) * frames_each] += spot
        found = drift(ArrayMovie(rng.poisson(frames).astype(np.uint16)), SIGMA_PX)
        assert not found.is_known or found.largest_px < 0.5


def test_measured_maps_replace_the_estimate():
    frames, _ = simulated("scmos", 0.2, frames=60)
    plane = np.ones((64, 64))
    maps = CameraMaps(0.5 * plane, 10.0 * plane, 0.5 * plane)
    found = estimate_microscope(ArrayMovie(frames), maps=maps)
    assert found.camera.gain_adu_per_e.value == pytest.approx(2.0)
    assert any("relative to the camera's baseline" in text for text in found.warnings)
    assert found.camera.offset_adu.value == pytest.approx(100.0, abs=8.0)
    with pytest.raises(ConfigError, match="the movie has"):
        estimate_microscope(ArrayMovie(frames[:, :32]), maps=maps)


def line(slope: float, pattern: float = 0.0) -> PhotonTransfer:
    mean = np.array([110.0, 200.0])
    return PhotonTransfer(slope, 0.01, 100.0, 0.1, mean, slope * (mean - 100), 0.0, pattern, 1.0)


def test_kind_is_a_guess_that_is_stated():
    assert guess_kind(line(9.0)) == "emccd"
    assert guess_kind(line(2.0)) == "scmos"
    assert guess_kind(line(9.0, pattern=5.0)) == "scmos"
    guessed, stated = estimate_camera(line(9.0)), estimate_camera(line(9.0), "emccd")
    assert guessed.kind_is_guess
    assert "GUESS" in guessed.assumptions[0]
    assert not stated.kind_is_guess
    assert guessed.gain_adu_per_e.value == pytest.approx(4.5)


def test_real_scmos_movie_has_the_gain_of_its_calibration(shared_data):
    from hdsmlm.io.movies import open_movie

    with open_movie(shared_data / "movies" / "scmos_storm" / "sCMOS_sample.dax") as reader:
        sample = sample_frames(reader)
    found = photon_transfer(sample)
    assert found.slope_adu == pytest.approx(1 / 0.474, rel=0.1)
    assert estimate_camera(found, "scmos").offset_adu.value == pytest.approx(100.0, abs=4.0)
    assert psf_width(sample).is_significant
