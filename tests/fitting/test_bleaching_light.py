"""Light that bleaches within a window is background, not a grid of blinks."""

from __future__ import annotations

import numpy as np
import pytest
from blink_scenes import CONFIG, movie_of

from hdsmlm.fitting.first_background import first_background, frame_levels
from hdsmlm.fitting.psf_kernels import fittable_psf
from hdsmlm.fitting.spacetime import fit_window
from hdsmlm.imaging.psf import GaussianPsf

SHAPE = (60, 40, 40)
DECAY = np.exp(-np.arange(SHAPE[0]) / 25.0)
UNEVEN = 1 + 0.3 * np.linspace(-1, 1, SHAPE[2])
BACKGROUND = 600 * DECAY[:, None, None] * UNEVEN + np.zeros(SHAPE)


def scene(background: np.ndarray, blinks: int = 12, seed: int = 4):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, SHAPE[0] - 3, blinks)
    places = np.column_stack([rng.uniform(4, 36, (blinks, 2)), np.zeros(blinks)])
    spans = np.stack([first, first + 2], 1)
    return movie_of(GaussianPsf(1.2), places, spans, 4000.0, SHAPE, background=background)


def test_bleaching_background_is_followed_and_grows_no_blinks() -> None:
    movie = scene(BACKGROUND)
    levels = frame_levels((movie.data.counts - movie.data.offset) / movie.data.scale)
    assert levels is not None
    fit = fit_window(movie.data, fittable_psf(movie.psf), movie.found, CONFIG, levels=levels)
    assert len(fit.blinks.first) <= 12 + 4
    error = fit.background / BACKGROUND - 1
    assert np.sqrt(np.mean(error**2)) < 0.02
    # each frame as a whole: 1600 pixels of variance 2·b
    tolerance = 0.003 + 4 * np.sqrt(2 / (0.9 * BACKGROUND.mean(axis=(1, 2)) * 1600))
    assert (np.abs(fit.background.mean(axis=(1, 2)) / BACKGROUND.mean(axis=(1, 2)) - 1)
            < tolerance).all()  # fmt: skip


def test_levels_follow_the_light() -> None:
    photons = np.random.default_rng(1).poisson(BACKGROUND).astype(float)
    levels = frame_levels(photons)
    assert levels is not None
    # the percentile stays a part of the scatter below the mean: more where there is little light
    np.testing.assert_allclose(levels, DECAY / DECAY.mean(), rtol=0.05)
    start = first_background(photons, levels)
    assert np.abs(start / BACKGROUND - 1).mean() < 0.12


@pytest.mark.parametrize("blinks", [0, 300])
def test_steady_light_needs_no_levels(blinks: int) -> None:
    movie = scene(np.full(SHAPE, 20.0), blinks)
    photons = (movie.data.counts - movie.data.offset) / movie.data.scale
    assert frame_levels(np.asarray(photons, dtype=float)) is None
