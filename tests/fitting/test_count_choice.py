"""How many emitters: the prior's convolution, the evidence, and what is chosen."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import EMCCD, GAUSSIAN, PIXEL_NM, Scene, make_scene

from hdsmlm.config.fitting import FitConfig
from hdsmlm.fitting.evidence import MAX_COUNT, count_distribution
from hdsmlm.fitting.frame_fit import fit_frames
from hdsmlm.fitting.result import FitResult
from hdsmlm.records.flags import Flag

SHAPE = (40, 17, 19)


def scene(n: int, half_px: float, photons: float = 3000.0, found: int = 1) -> Scene:
    """n emitters in a row per frame, of which the first ``found`` are detected."""
    frames = np.arange(SHAPE[0])
    x = 9.5 + half_px * (2 * np.arange(n) - (n - 1))
    truth = np.column_stack([np.tile(x, len(frames)), np.full((n * len(frames), 2), [8.4, 0])])
    drawn = make_scene(
        GAUSSIAN, EMCCD, np.repeat(frames, n), truth, photons=photons, shape=SHAPE, seed=4
    )
    rows = drawn.found.select(drawn.found["emitter_id"] % n < found)
    return Scene(drawn.frame, drawn.truth, drawn.data, rows)


def counts(result: FitResult) -> np.ndarray:
    return np.bincount(result.localizations["frame"], minlength=SHAPE[0])


def fit(drawn: Scene, count_map: np.ndarray | None = None, **options) -> FitResult:
    config = FitConfig(**options)
    return fit_frames(drawn.found, drawn.data, GAUSSIAN, PIXEL_NM, config, count_map)


def map_of(drawn: Scene, sure: float) -> np.ndarray:
    """A count map that gives each true emitter's pixel one emitter with probability ``sure``."""
    result = np.zeros((SHAPE[0], 4, *SHAPE[1:]), np.float32)
    result[:, 0], result[:, 1] = 0.999, 0.001
    for frame, (x, y, _) in zip(drawn.frame, drawn.truth, strict=True):
        result[frame, :, int(y), int(x)] = [1 - sure, sure, 0, 0]
    return result


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), pixels=st.integers(0, 8))
def test_the_count_of_several_pixels_is_their_convolution(seed: int, pixels: int) -> None:
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(4), pixels)
    wanted = reduce(np.convolve, probabilities, np.ones(1))
    result = count_distribution(probabilities)
    np.testing.assert_allclose(result[: len(wanted)], wanted[: MAX_COUNT + 1], atol=1e-12)
    assert result.sum() == pytest.approx(1)


def test_large_counts_are_taken_together() -> None:
    certain = np.tile([0.0, 0.0, 0.0, 1.0], (20, 1))
    assert count_distribution(certain)[-1] == pytest.approx(1)


def test_what_is_there_is_left_alone() -> None:
    assert (counts(fit(scene(1, 0.0))) == 1).mean() >= 0.95
    assert (counts(fit(scene(2, 1.3, found=2))) == 2).mean() >= 0.95


def test_an_emitter_that_was_missed_is_added() -> None:
    result = fit(scene(2, 1.3, found=1))
    assert (counts(result) == 2).mean() >= 0.9
    drawn = scene(2, 1.3, found=1)
    x = np.sort(result.localizations["x_nm"])
    assert np.median(np.abs(x[: len(x) // 2] / PIXEL_NM - 8.2)) < 0.2
    assert len(drawn.found) == SHAPE[0]


def test_a_detection_too_many_is_dropped() -> None:
    drawn = scene(1, 0.0)
    other = drawn.found.with_columns(x_nm=drawn.found["x_nm"] + 180)
    both = type(drawn.found).concatenate([drawn.found, other])
    result = fit(Scene(drawn.frame, drawn.truth, drawn.data, both))
    assert (counts(result) == 1).mean() >= 0.95


def test_the_map_decides_where_the_data_leave_a_doubt() -> None:
    """Two weak emitters a sigma apart may be one; a sure map says two."""
    drawn = scene(2, 0.6, photons=600.0, found=1)
    alone = counts(fit(drawn)).mean()
    sure = counts(fit(drawn, map_of(drawn, 0.97))).mean()
    unsure = counts(fit(drawn, map_of(drawn, 0.5))).mean()
    assert alone < 1.6
    assert sure > alone + 0.2
    assert alone - 0.2 <= unsure <= sure


def test_alternatives_carry_weights_and_doubt_is_flagged() -> None:
    drawn = scene(2, 0.8, photons=1200.0, found=1)
    result = fit(drawn, keep_alternatives=True)
    other, rows = result.alternatives, result.localizations
    assert other is not None
    assert len(other) > 0
    assert ((other["probability"] > 0) & (other["probability"] <= 0.5)).all()
    for group in np.unique(other["group_id"]):
        chosen = rows.select(rows["group_id"] == group)
        alternatives = other.select(other["group_id"] == group)
        sizes, first = np.unique(alternatives["count_class"], return_index=True)
        assert len(chosen) not in sizes
        assert alternatives["probability"][first].sum() < 1
        if alternatives["probability"].max() > 0.3:
            assert (chosen["flags"] & Flag.AMBIGUOUS).all()
    assert fit(drawn).alternatives is None


def test_the_probability_of_existence_separates_light_from_noise() -> None:
    drawn = scene(1, 0.0, photons=400.0)
    off = drawn.found.with_columns(x_nm=drawn.found["x_nm"] + 500)
    both = type(drawn.found).concatenate([drawn.found, off])
    noisy = Scene(drawn.frame, drawn.truth, drawn.data, both)
    rows = fit(noisy, choose_count=False).localizations
    real = np.abs(rows["x_nm"] - 950) < 200
    assert np.median(rows["probability"][real]) > 0.95
    assert np.median(rows["probability"][~real]) < 0.2
