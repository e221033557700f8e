"""One conformance test for all cameras, and what is particular to each."""

import dataclasses
import math

import numpy as np
import pytest
from pydantic import ValidationError

from hdsmlm.config.base import parse_section
from hdsmlm.config.camera import EmccdConfig, IdealConfig, ScmosConfig
from hdsmlm.errors import ConfigError
from hdsmlm.imaging.build import build_camera
from hdsmlm.imaging.camera import Camera, EmccdCamera, IdealCamera, ScmosCamera
from hdsmlm.imaging.scmos_maps import MeasuredMaps

SHAPE = (20, 30)
MAPPED = ScmosConfig(
    gain_spread=0.05, read_noise_spread=0.3, baseline_spread_adu=2.0, hot_pixel_fraction=0.02
)
CONFIGS = {
    "emccd": EmccdConfig(em_gain=120, read_noise_e=40, e_per_adu=12, spurious_charge_e=0.02),
    "emccd loud": EmccdConfig(em_gain=30, read_noise_e=90, e_per_adu=4, baseline_adu=900),
    "scmos": ScmosConfig(gain_adu_per_e=2.2, read_noise_e=1.4, dark_e=0.3),
    "scmos mapped": MAPPED,
    "ideal": IdealConfig(quantum_efficiency=0.8, gain_adu_per_e=3.0),
}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def camera(request: pytest.FixtureRequest) -> Camera:
    return build_camera(request.param, SHAPE)


@pytest.mark.parametrize("photons", [0.0, 0.7, 12.0, 400.0])
def test_drawn_grey_values_have_the_mean_and_variance_in_closed_form(camera, photons):
    n = 1500
    expected = np.full(SHAPE, photons)
    adu = camera.sample(np.broadcast_to(expected, (n, *SHAPE)), np.random.default_rng(3))
    assert adu.dtype == np.uint16
    assert adu.shape == (n, *SHAPE)
    variance = camera.variance_adu(expected)
    if np.max(variance) == 0:
        assert np.unique(adu).tolist() == [100]
        return
    residual = (adu - camera.mean_adu(expected)) / np.sqrt(variance)
    standard_error = residual.std() / math.sqrt(residual.size)
    assert abs(residual.mean()) < 4 * standard_error
    squares = np.square(residual)
    standard_error = squares.std() / math.sqrt(residual.size)
    rounding = np.mean(1 / 12 / variance)  # a camera whose grey values are whole has none
    assert -4 * standard_error < squares.mean() - 1 < 4 * standard_error + rounding


def test_inverse_undoes_the_mean(camera):
    photons = np.linspace(0, 900, SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    np.testing.assert_allclose(camera.to_photons(camera.mean_adu(photons)), photons, atol=1e-9)


def test_variance_is_that_of_the_shared_noise_formula(camera):
    """V = gain²·(F²·(QE·mu + c) + r²/g²): what SNR and Fisher information use."""
    gain = camera.mean_adu(1.0) - camera.mean_adu(0.0)
    gain = gain / camera.quantum_efficiency
    electrons = camera.quantum_efficiency * 50.0 + camera.dark_e
    noise_e2 = camera.excess_noise_factor2 * electrons + camera.input_read_variance_e2
    np.testing.assert_allclose(camera.variance_adu(50.0), gain**2 * noise_e2, rtol=1e-9)


def test_same_generator_state_gives_the_same_frame(camera):
    photons = np.full((2, *SHAPE), 8.0)
    first = camera.sample(photons, np.random.default_rng(1))
    again = camera.sample(photons, np.random.default_rng(1))
    other = camera.sample(photons, np.random.default_rng(2))
    assert (first == again).all()
    assert (first != other).any()


def test_bright_light_saturates_at_16_bit(camera):
    adu = camera.sample(np.full(SHAPE, 1e7), np.random.default_rng(0))
    assert adu.min() == 65535


def test_is_a_camera(camera):
    assert isinstance(camera, Camera)


def test_drawn_maps_have_the_spreads_asked_for():
    config = MAPPED.model_copy(update={"hot_pixel_fraction": 0.01})
    camera = build_camera(config, (200, 200))
    gain, noise = camera.gain_adu_per_e, np.sqrt(camera.input_read_variance_e2)
    assert np.std(gain) / np.mean(gain) == pytest.approx(0.05, rel=0.05)
    assert np.std(camera.offset_adu) == pytest.approx(2.0, rel=0.05)
    assert np.median(noise) == pytest.approx(config.read_noise_e, rel=0.03)
    assert np.mean(noise > 4 * config.read_noise_e) == pytest.approx(0.01, rel=0.25)


def test_measured_maps_replace_numbers():
    gain, offset, variance = np.full(SHAPE, 2.0), np.full(SHAPE, 101.0), np.full(SHAPE, 9.0)
    maps = MeasuredMaps(gain, offset, variance)
    camera = build_camera(ScmosConfig(quantum_efficiency=1), SHAPE, measured=maps)
    np.testing.assert_allclose(camera.mean_adu(10.0), 121.0)
    np.testing.assert_allclose(camera.variance_adu(10.0), 10 * 4 + 9)


@pytest.mark.parametrize("name", ["gain_adu_per_e", "offset_adu", "variance_adu2"])
@pytest.mark.parametrize(
    ("values", "message"),
    [(np.ones((5, 5)), r"map has shape \(5, 5\)"), (np.full(SHAPE, np.nan), "600 pixels with NaN")],
)
def test_measured_maps_that_do_not_fit_are_refused(name, values, message):
    with pytest.raises(ConfigError, match=message):
        build_camera(ScmosConfig(), SHAPE, measured=MeasuredMaps(**{name: values}))


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (EmccdConfig, {"quantum_efficiency": 1.2}, "quantum_efficiency.*less than or equal to 1"),
        (EmccdConfig, {"em_gain": 0}, "em_gain.*greater than 1"),
        (EmccdConfig, {"em_gian": 100}, "did you mean 'em_gain'"),
        (EmccdConfig, {"read_noise_e": -1}, "read_noise_e"),
        (EmccdConfig, {"e_per_adu": 0}, "e_per_adu.*greater than 0"),
        (ScmosConfig, {"gain_adu_per_e": 0}, "gain_adu_per_e.*greater than 0"),
        (IdealConfig, {"quantum_efficiency": 0}, "quantum_efficiency"),
    ],
)
def test_impossible_values_are_refused(section, values, message):
    with pytest.raises(ConfigError, match=message):
        parse_section(section, values, "camera.yaml")


@pytest.mark.parametrize(
    ("camera", "change"),
    [
        (EmccdCamera(0.9, 200, 60, 0, 20, 100), {"em_gain": 0}),
        (EmccdCamera(0.9, 200, 60, 0, 20, 100), {"quantum_efficiency": 1.5}),
        (ScmosCamera(0.8, 2.0, 100.0, 4.0), {"gain_adu_per_e": np.zeros((2, 2))}),
        (ScmosCamera(0.8, 2.0, 100.0, 4.0), {"variance_adu2": -1.0}),
        (IdealCamera(1, 1, 0), {"gain_adu_per_e": 0}),
    ],
)
def test_impossible_cameras_cannot_be_made(camera, change):
    with pytest.raises(ConfigError, match="camera: "):
        dataclasses.replace(camera, **change)


def test_camera_sections_are_frozen():
    with pytest.raises(ValidationError):
        EmccdConfig().em_gain = 3


def test_an_ideal_camera_of_whole_numbers_draws_grey_values():
    frames = IdealCamera(1, 2, 100).sample(np.full((50, 40, 40), 9.0), np.random.default_rng(1))
    assert frames.dtype == np.uint16
    assert ((frames - 100) % 2 == 0).all()
    # four standard errors: gain 2, variance 9 · 2²
    assert frames.mean() == pytest.approx(118, abs=4 * 6 / np.sqrt(frames.size))
