"""simulate --like: known conditions come back, real and bad movies are met with an answer."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from hdsmlm.cli.main import app
from hdsmlm.config.base import load_section, parse_section
from hdsmlm.config.simulation import MovieConfig
from hdsmlm.errors import ConfigError, MovieError
from hdsmlm.estimation.flicker import flicker
from hdsmlm.estimation.sample import sample_frames
from hdsmlm.io.movies import ArrayMovie
from hdsmlm.pipelines.like import LikeJob, gap_to_configuration, movie_like
from hdsmlm.pipelines.simulate import simulate_movie
from hdsmlm.simulation.scene import SceneSampler

KNOWN = {
    "density_per_um2": 2.0,
    "pixel_size_nm": 100.0,
    "sigma_px": 1.2,
    "photons": 1000.0,
    "cameras": {"emccd": 0, "scmos": 1, "ideal": 0},
    "psfs": {"gaussian": 1, "astigmatic": 0, "diffraction": 0},
    "structures": {"uniform": 1, "curves": 0, "rings": 0, "clusters": 0, "mesh": 0},
    "scmos": {"quantum_efficiency": 0.8, "gain_adu_per_e": 2.0, "hot_pixel_fraction": 0.0},
    "background": {"photons": 30.0, "structure": 0.2, "bleached_share": 0.0},
    "photophysics": {"mean_on_frames": 2.5},
}


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    size = {"frames": 200, "height": 64, "width": 64, "seed": 3}
    config = parse_section(MovieConfig, {**size, "simulation": KNOWN}, "test")
    return simulate_movie(config, tmp_path_factory.mktemp("known"))


def test_known_conditions_come_back(known, tmp_path):
    """Density and light within 25 %, background 30 %, sigma 5 %, gain 10 %, on-time 30 %."""
    like = movie_like(LikeJob(known.movie, kind="scmos"))
    found = parse_section(MovieConfig, like.values, "like").simulation
    assert found.density_per_um2[0] == pytest.approx(known.density_per_um2, rel=0.25)
    assert found.photons[0] == pytest.approx(1000, rel=0.25)
    assert found.background.photons[0] == pytest.approx(30, rel=0.3)
    assert found.sigma_px[0] == pytest.approx(1.2, rel=0.05)
    assert found.scmos.gain_adu_per_e[0] == pytest.approx(2.0, rel=0.1)
    assert found.photophysics.mean_on_frames[0] == pytest.approx(2.5, rel=0.3)
    movie = parse_section(MovieConfig, like.values, "like")
    assert (movie.frames, movie.height, movie.width) == (200, 64, 64)
    near = gap_to_configuration(known.movie, movie)
    wide = found.model_copy(update={"sigma_px": (2.4, 2.4)})
    far = gap_to_configuration(known.movie, movie.model_copy(update={"simulation": wide}))
    assert near.score < 0.7
    assert far.score > near.score
    assert "assumed" in like.to_yaml()


def test_a_background_that_fades_is_followed(tmp_path):
    """60 photons that fall to 33 within 300 frames: start and end come back within 25 %."""
    scene = {**KNOWN, "density_per_um2": 0.7}
    scene["background"] = {
        **KNOWN["background"],
        **{"photons": 60.0, "bleached_share": 0.6, "bleaching_frames": 220.0},
    }
    size = {"frames": 300, "height": 48, "width": 48, "seed": 5}
    config = parse_section(MovieConfig, {**size, "simulation": scene}, "test")
    like = movie_like(LikeJob(simulate_movie(config, tmp_path).movie, kind="scmos"))
    found = parse_section(MovieConfig, like.values, "like").simulation.background
    assert found.photons[0] == pytest.approx(60, rel=0.25)
    left = 1 + found.bleached_share[0] * np.expm1(-300 / found.bleaching_frames[0])
    assert left == pytest.approx(1 + 0.6 * np.expm1(-300 / 220), rel=0.25)


def test_the_command_writes_a_configuration_that_options_override(known, tmp_path):
    result = CliRunner().invoke(
        app,
        [
            *("simulate", "--like", str(known.movie), "--out", str(tmp_path / "out")),
            *("--frames", "6", "--photons", "3000", "--camera", "scmos", "--model", "none"),
        ],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    written = load_section(MovieConfig, tmp_path / "out" / "like.yaml")
    assert (written.frames, written.simulation.photons) == (6, (3000, 3000))
    assert len(tifffile.imread(tmp_path / "out" / "movie.tif")) == 6
    for word in ("density_per_um2", "assumed", "domain gap between the movie"):
        assert word in result.stdout


@pytest.mark.parametrize("on_frames", [1.0, 4.0])
def test_the_on_time_is_measured_from_the_flicker(on_frames):
    config = parse_section(
        MovieConfig,
        {"simulation": {**KNOWN, "photophysics": {"mean_on_frames": on_frames}}},
        "test",
    ).simulation
    frames = SceneSampler(config, (200, 64, 64)).draw(8, 0).frames
    found = flicker(sample_frames(ArrayMovie(frames)), 1.2)
    assert found.on_frames == pytest.approx(on_frames, rel=0.3)
    assert found.covariance_adu2 > 0


def test_movies_that_do_not_tell_are_refused(tmp_path):
    rng = np.random.default_rng(2)
    dark = tmp_path / "dark.tif"
    tifffile.imwrite(dark, np.full((20, 64, 64), 100, np.uint16))
    noise = tmp_path / "noise.tif"
    tifffile.imwrite(noise, rng.poisson(100, (20, 64, 64)).astype(np.uint16))
    short = tmp_path / "short.tif"
    tifffile.imwrite(short, rng.poisson(100, (2, 64, 64)).astype(np.uint16))
    with pytest.raises(ConfigError, match="--pixel-size-nm"):
        movie_like(LikeJob(dark, model=None))
    with pytest.raises(MovieError, match="all its pixels have the value 100"):
        movie_like(LikeJob(dark, pixel_size_nm=100, model=None))
    with pytest.raises(ConfigError, match="does not show its PSF"):
        movie_like(LikeJob(noise, pixel_size_nm=100, model=None))
    with pytest.raises(MovieError, match="at least 4 frames"):
        movie_like(LikeJob(short, pixel_size_nm=100, model=None))


def test_options_that_do_not_go_together_are_refused(known, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("frames: 5\n")
    for arguments, message in (
        ([str(config), "--like", str(known.movie)], "give one of them"),
        (["--like", str(known.movie), "--pixel-size-nm", "90:110"], "one --pixel-size-nm"),
        (["--calibration", str(config)], "belongs to --like"),
    ):
        with pytest.raises(ConfigError, match=message):
            CliRunner().invoke(
                app,
                ["simulate", *arguments, "--out", str(tmp_path / "no")],
                catch_exceptions=False,
            )
