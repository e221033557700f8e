"""Ranges, and the conditions drawn from them."""

import numpy as np
import pytest

from hdsmlm.config.base import parse_section
from hdsmlm.config.simulation import MovieConfig, SimulationConfig
from hdsmlm.errors import ConfigError
from hdsmlm.imaging.build import build_camera
from hdsmlm.simulation.conditions import draw_conditions


def _draw(n: int, **values):
    config = SimulationConfig(**values)
    return [draw_conditions(config, np.random.default_rng([9, i])) for i in range(n)]


def test_one_number_fixes_a_quantity():
    for conditions in _draw(5, density_per_um2=2, photons=300, sigma_px=1.3, pixel_size_nm=100):
        assert conditions.density_per_um2 == 2
        assert conditions.photons == 300
        assert conditions.pixel_size_nm == 100


def test_density_is_drawn_log_uniformly():
    values = np.log([c.density_per_um2 for c in _draw(600, density_per_um2=[0.1, 10])])
    share = (values - np.log(0.1)) / np.log(100)
    assert share.min() >= 0
    assert share.max() <= 1
    assert abs(share.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 600)


def test_kinds_are_drawn_by_weight():
    drawn = [c.camera.kind for c in _draw(400, cameras={"emccd": 3, "scmos": 1, "ideal": 0})]
    assert abs(drawn.count("emccd") / 400 - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 400)
    assert "ideal" not in drawn


def test_defaults_cover_the_reference_regimes():
    config = SimulationConfig()
    assert config.sigma_px[0] <= 1.3 <= config.sigma_px[1]
    assert config.photons[0] <= 300
    assert config.photons[1] >= 5000
    assert config.photophysics.mean_on_frames[0] <= 2 <= config.photophysics.mean_on_frames[1]
    assert config.cameras.emccd > 0


def test_most_molecules_of_every_recording_can_be_seen():
    """The light is drawn again until a median molecule has the SNR that the section asks for."""
    from hdsmlm.simulation.recording import Recording

    for index, conditions in enumerate(_draw(25, min_median_snr=3.0, psfs={"gaussian": 1})):
        if conditions.psf.kind != "gaussian":
            continue
        _, emitters = Recording(conditions, (48, 48), (4, index), horizon=4).read(4)
        full = emitters["photons"] > 0.9 * conditions.photons
        if full.sum() >= 10:
            assert np.median(emitters["snr"][full]) > 2.0


def test_bright_molecules_do_not_saturate_the_camera():
    for conditions in _draw(200):
        camera = build_camera(conditions.camera, (4, 4))
        sigma = getattr(conditions.psf, "sigma_px", 0.9)
        peak = conditions.photons / (2 * np.pi * sigma**2) + conditions.background_photons
        assert np.median(camera.mean_adu(peak)) < 65535


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"photons": -5}, "photons.*must be above 0, got -5"),
        ({"photons": [1000, 100]}, "lower end must not exceed"),
        ({"sigma_px": 0}, "sigma_px.*must be above 0.3, got 0"),
        ({"emccd": {"em_gain": 0}}, "emccd.em_gain.*must be above 1, got 0"),
        ({"emccd": {"quantum_efficiency": [0.5, 1.2]}}, "must be at most 1, got 1.2"),
        ({"scmos": {"read_noise_e": -1}}, "must be at least 0, got -1"),
        ({"density_per_um2": "much"}, "density_per_um2"),
        ({"density_per_um2": [1, float("nan")]}, "finite"),
        ({"density_per_um": 2}, "did you mean 'density_per_um2'"),
        ({"cameras": {"emccd": 0, "scmos": 0, "ideal": 0}}, "at least one weight"),
        ({"photophysics": {"mean_on_frames": 0}}, "must be above 0"),
        ({"background": {"photons": 0}}, "must be above 0"),
    ],
)
def test_impossible_ranges_are_refused_with_a_reason(values, message):
    with pytest.raises(ConfigError, match=message):
        parse_section(SimulationConfig, values, "run.yaml")


def test_a_movie_needs_frames_and_pixels():
    with pytest.raises(ConfigError, match=r"frames.*greater than or equal to 1"):
        parse_section(MovieConfig, {"frames": 0}, "movie.yaml")


def test_yaml_round_trip_keeps_ranges():
    config = SimulationConfig(density_per_um2=2, photons=[100, 200])
    assert SimulationConfig.model_validate(config.model_dump(mode="json")) == config
