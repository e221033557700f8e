"""The domain gap: low for movies of the training ranges, high and rightly named outside."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hdsmlm.config.normalization import NormalizationConfig
from hdsmlm.config.simulation import PsfWeights, SimulationConfig
from hdsmlm.errors import MovieError
from hdsmlm.estimation.domain import (
    EDGE,
    OUTSIDE,
    TrainingScenes,
    domain_gap,
    patches_of_sample,
    patches_of_scenes,
)
from hdsmlm.estimation.domain_classifier import accuracy, fit_logistic
from hdsmlm.estimation.domain_features import FEATURES, patch_features
from hdsmlm.estimation.sample import sample_frames
from hdsmlm.io.movies import ArrayMovie
from hdsmlm.simulation.scene import SceneSampler

PERCENTILES = NormalizationConfig()
RANGES = SimulationConfig(
    density_per_um2=(0.3, 5),
    pixel_size_nm=(90, 130),
    sigma_px=(1.0, 1.6),
    photons=(500, 5000),
    psfs=PsfWeights(gaussian=1, astigmatic=0, diffraction=0),
)


@pytest.fixture(scope="module")
def training():
    return TrainingScenes(RANGES, PERCENTILES, n_scenes=40)


def frames_of(index=0, **changes):
    """Return a movie of the ranges, with some quantities fixed."""
    values = {"density_per_um2": (1.5, 1.5), "pixel_size_nm": (110, 110), "sigma_px": (1.3, 1.3)}
    values |= {"photons": (2000, 2000)} | changes
    config = RANGES.model_copy(update=values)
    return SceneSampler(config, (16, 96, 96)).draw(91, index).frames


def gap_of(frames, training):
    patches = patches_of_sample(sample_frames(ArrayMovie(frames)), training.normalization)
    return domain_gap(patches, training)


def names(gap, n=3):
    return [item.feature.name for item in gap.features[:n]]


def test_movies_of_the_ranges_score_low(training):
    sampler = SceneSampler(RANGES, (16, 96, 96))
    gaps = [gap_of(sampler.draw(5, k).frames, training) for k in range(8)]
    scores = np.array([gap.score for gap in gaps])
    assert np.median(scores) < 0.2
    assert (scores < OUTSIDE).all()
    assert all(gap.low <= gap.score <= gap.high for gap in gaps)


def test_a_wide_psf_is_named_and_the_score_grows_until_it_is_outside(training):
    gaps = [gap_of(frames_of(sigma_px=(s, s)), training) for s in (1.3, 2.0, 3.2)]
    scores = [gap.score for gap in gaps]
    assert scores[0] < EDGE
    assert scores[2] > OUTSIDE
    assert scores[0] <= scores[1] + 0.1
    assert min(scores[1], OUTSIDE) <= scores[2]
    assert "spot_width" in names(gaps[2])
    assert any("PSF is wider" in row for row in gaps[2].rows())
    assert gaps[2].verdict == "outside what it was trained on"


def test_a_narrow_psf_is_named(training):
    gap = gap_of(frames_of(sigma_px=(0.6, 0.6)), training)
    assert gap.score > OUTSIDE
    assert "spot_width" in names(gap)
    assert any("PSF is narrower" in row for row in gap.rows())


def test_a_wrong_pixel_size_shows_as_spots_of_another_width(training):
    """The same objective on pixels of 250 nm: sigma 143 nm is 0.57 px, 5 times as many per px."""
    frames = frames_of(pixel_size_nm=(250, 250), sigma_px=(0.57, 0.57))
    gap = gap_of(frames, training)
    assert gap.score > OUTSIDE
    assert {"spot_width", "fine_structure", "noise_texture"} & set(names(gap))


def test_ten_times_the_density_is_named(training):
    gap = gap_of(frames_of(density_per_um2=(50, 50), max_local_density_per_um2=100), training)
    assert gap.score > EDGE
    assert {"crowding", "spots"} & set(names(gap, 4))


def test_an_odd_background_is_named(training):
    """Structures of 15 px as strong as the spots, which do not change."""
    frames = frames_of().astype(float)
    rng = np.random.default_rng(1)
    field = gaussian_filter(rng.normal(size=frames.shape[1:]), 6)
    field *= 2.5 * frames.std() / field.std()
    odd = np.clip(frames + field - field.min(), 0, 65535).astype(np.uint16)
    gap = gap_of(odd, training)
    assert gap.score > OUTSIDE
    assert {"static_structure", "large_structure"} & set(names(gap))


def test_filtered_noise_is_named(training):
    smooth = np.array([gaussian_filter(frame.astype(float), 0.7) for frame in frames_of()])
    gap = gap_of(smooth.astype(np.uint16), training)
    assert gap.score > OUTSIDE
    assert {"noise_texture", "fine_structure", "noise"} & set(names(gap))


def test_the_same_movie_gives_the_same_numbers(training):
    frames = frames_of()
    again = TrainingScenes(RANGES, PERCENTILES, n_scenes=40)
    assert gap_of(frames, training) == gap_of(frames, again)


def test_gain_and_offset_of_the_camera_have_no_part(training):
    frames = frames_of()
    gap, scaled = gap_of(frames, training), gap_of(frames * np.uint16(2) + np.uint16(500), training)
    assert scaled.score == pytest.approx(gap.score, abs=0.02)


def test_recordings_of_a_source_can_be_compared(training):
    sampler = SceneSampler(RANGES, (4, 64, 64))
    scenes = [sampler.draw(6, k).frames for k in range(9)]
    gap = domain_gap(patches_of_scenes(scenes, PERCENTILES), training)
    assert gap.score < OUTSIDE  # nine microscopes at once: wider than any single one
    with pytest.raises(MovieError, match="no recording"):
        patches_of_scenes([], PERCENTILES)
    with pytest.raises(MovieError, match="at least 4 frames"):
        patches_of_scenes([scenes[0][:2]], PERCENTILES)


def test_dark_and_small_movies_are_refused():
    dark = ArrayMovie(np.full((10, 64, 64), 100, np.uint16))
    with pytest.raises(MovieError, match=r"no contrast.*both 100"):
        patches_of_sample(sample_frames(dark), PERCENTILES)
    small = ArrayMovie(np.arange(10 * 20 * 20, dtype=np.uint16).reshape(10, 20, 20))
    with pytest.raises(MovieError, match="32 x 32"):
        patches_of_sample(sample_frames(small), PERCENTILES)


def test_the_classifier_is_at_chance_on_one_law_and_follows_the_theory_on_two():
    """Two normal laws at distance d are told apart with accuracy Φ(d/2)."""
    rng = np.random.default_rng(3)
    groups = np.arange(600) // 3
    first, second = rng.normal(size=(2, 600, 6))
    error = 0.5 / np.sqrt(1200)
    assert accuracy(first, groups, second, groups) == pytest.approx(0.5, abs=4 * error)
    second[:, 2] += 2.0
    assert accuracy(first, groups, second, groups) == pytest.approx(0.8413, abs=4 * error)


def test_the_logistic_regression_has_zero_gradient():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(80, 4))
    y = x[:, 0] + rng.normal(size=80) > 0.3
    beta = fit_logistic(x, y, ridge=2.0)

    def loss(b):
        share = np.where(y, 100 / y.sum(), 100 / (~y).sum())
        margin = np.where(y, 1, -1) * (x @ b[:-1] + b[-1])
        return (share * np.logaddexp(0, -margin)).sum() + b[:-1] @ b[:-1]

    for k in range(5):
        step = 1e-4 * np.eye(5)[k]
        assert (loss(beta + step) - loss(beta - step)) / 2e-4 == pytest.approx(0, abs=1e-3)


def test_features_measure_what_they_say():
    """White noise has texture 0; a flickering Gaussian has its own width and no kurtosis left."""
    rng = np.random.default_rng(5)
    column = {feature.name: k for k, feature in enumerate(FEATURES)}
    noise = patch_features(0.2 * rng.normal(size=(40, 4, 32, 32)))
    texture = noise[:, column["noise_texture"]]
    assert texture.mean() == pytest.approx(0, abs=4 * texture.std() / np.sqrt(40) + 0.005)
    field = gaussian_filter(rng.normal(size=(60, 4, 40, 40)), (0, 0, 1.5, 1.5))[..., 4:-4, 4:-4]
    width = 10 ** patch_features(field / field.std())[:, column["spot_width"]]
    assert np.median(width**2 + 1 / 12) == pytest.approx(1.5**2, rel=0.15)
