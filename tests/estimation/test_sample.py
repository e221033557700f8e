"""The frames that estimates are made from."""

from __future__ import annotations

import numpy as np

from hdsmlm.estimation.sample import sample_frames
from hdsmlm.io.movies import ArrayMovie


def noise(frames: int) -> np.ndarray:
    return np.random.default_rng(3).poisson(100.0, (frames, 32, 32)).astype(np.uint16)


def test_blank_frames_are_left_out() -> None:
    frames = noise(30)
    frames[[4, 17]] = 0
    sample = sample_frames(ArrayMovie(frames))
    assert sample.n_frames == 28
    assert min(run.min() for run in sample.runs) > 0


def test_a_movie_of_blank_frames_alone_is_kept_for_whoever_judges_it() -> None:
    assert sample_frames(ArrayMovie(np.zeros((10, 32, 32), np.uint16))).n_frames == 10
