"""Molecules that move leave a pair of images in the difference of two frames."""

from __future__ import annotations

import numpy as np
import pytest

from hdsmlm.estimation.psf_width import psf_width
from hdsmlm.estimation.sample import FrameSample
from hdsmlm.imaging.psf import GaussianPsf

SIGMA_PX = 1.3
SHAPE = (40, 96, 96)


def walkers(step_px: float, seed: int = 2) -> FrameSample:
    """Return frames of molecules that walk at random, each for a quarter of the movie."""
    rng = np.random.default_rng(seed)
    n, length = 120, SHAPE[0] // 4
    first = rng.integers(-length + 1, SHAPE[0], n)
    steps = rng.normal(0, step_px, (n, length, 2))
    paths = rng.uniform(0, SHAPE[1], (n, 1, 2)) + steps.cumsum(axis=1)
    frame = (first[:, None] + np.arange(length)).ravel()
    places = np.column_stack([paths.reshape(-1, 2), np.zeros(n * length)])
    inside = (frame >= 0) & (frame < SHAPE[0])
    stack = np.full(SHAPE, 20.0)
    GaussianPsf(SIGMA_PX).add_to(stack, frame[inside], places[inside], np.full(inside.sum(), 800.0))
    return FrameSample((rng.poisson(stack).astype(np.float32),), (0,))


def test_width_of_moving_molecules_comes_from_frames_far_apart() -> None:
    width = psf_width(walkers(step_px=0.8))
    assert width.neighbours_sigma_px < 0.95 * SIGMA_PX
    assert width.moves
    assert width.sigma_px == pytest.approx(SIGMA_PX, rel=0.08)


def test_molecules_that_stay_are_not_said_to_move() -> None:
    width = psf_width(walkers(step_px=0.0))
    assert not width.moves
    assert width.sigma_px == pytest.approx(SIGMA_PX, rel=0.04)
