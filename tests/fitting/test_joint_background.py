"""The background of a window follows what the blinks leave, and says how well it is known."""

from __future__ import annotations

import numpy as np
import pytest

from hdsmlm.config.spacetime import SpaceTimeConfig
from hdsmlm.fitting.blink_kernels import CELL_PX, Window
from hdsmlm.fitting.joint_background import JointBackground
from hdsmlm.fitting.psf_kernels import fittable_psf
from hdsmlm.imaging.psf import GaussianPsf

SHAPE = (40, 48, 64)


def window_of(counts: np.ndarray, model: np.ndarray) -> Window:
    frames, height, width = counts.shape
    return Window(
        counts=counts,
        model=model.copy(),
        stamps=np.zeros((frames, height // CELL_PX + 1, width // CELL_PX + 1), np.int32),
        kernel=fittable_psf(GaussianPsf(1.3)).kernel,
        bounds=np.zeros((4, 2)),
        damping=np.zeros(3),
        scale=1.0,
        half=4,
        dims=2,
    )


def test_errors_are_as_large_as_the_standard_error_says() -> None:
    truth = np.broadcast_to(20.0 + np.linspace(0.0, 2.0, SHAPE[2]), SHAPE)
    scores = []
    for seed in range(12):
        counts = np.random.default_rng(seed).poisson(truth).astype(float)
        background = JointBackground(counts, None, SpaceTimeConfig())
        window = window_of(counts, background.image)
        for now in range(1, 9):
            background.renew(window, now)
        assert np.allclose(window.model, background.image)
        score = (background.image - truth) / background.standard_error(window)
        scores.append(score[20, 12:-12:12, 12:-12:12])
    assert np.sqrt(np.mean(np.square(scores))) == pytest.approx(1.0, abs=0.2)


def test_only_cells_with_a_changed_background_are_stamped() -> None:
    counts = np.full(SHAPE, 20.0)
    counts[:, :, :16] = 30.0
    background = JointBackground(np.full(SHAPE, 20.0), None, SpaceTimeConfig())
    window = window_of(counts, background.image)
    background.renew(window, 7)
    assert (window.stamps[:, :, 0] == 7).all()
    assert (window.stamps[:, :, -1] == 0).all()


def test_small_changes_add_up_until_they_are_noted() -> None:
    data, background = (
        np.full(SHAPE, 20.0),
        JointBackground(np.full(SHAPE, 20.0), None, SpaceTimeConfig()),
    )
    window = window_of(data, background.image)
    stamped = []
    for now in range(1, 6):
        data += 0.04  # 0.2 % a time
        background.renew(window, now)
        stamped.append(bool((window.stamps == now).all()))
    assert stamped == [False, False, True, False, False]


def test_light_that_bleaches_keeps_a_level_for_each_frame() -> None:
    levels = np.exp(-np.arange(SHAPE[0]) / 20.0)
    levels /= levels.mean()
    counts = 20.0 * levels[:, None, None] * np.ones(SHAPE)
    start = np.ones_like(levels)
    background = JointBackground(np.full(SHAPE, 20.0), start, SpaceTimeConfig())
    window = window_of(counts, background.image)
    for now in range(1, 9):
        background.renew(window, now)
    assert np.allclose(background.image, counts, rtol=0.01)
