"""Percentiles from the streamed histogram, scaling, sliding windows."""

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hdsmlm.config.normalization import NormalizationConfig
from hdsmlm.errors import MovieError
from hdsmlm.normalization import Normalizer, fit_normalizer, normalizer_of_array
from hdsmlm.normalization.percentiles import IntensityHistogram
from hdsmlm.records.movie import BLOCK_PIXELS, MovieInfo


@dataclass
class Reader:
    frames: np.ndarray
    largest_read_px: int = 0

    @property
    def info(self):
        t, y, x = self.frames.shape
        return MovieInfo("memory", (), t, y, x, str(self.frames.dtype))

    def read(self, start, stop):
        block = self.frames[start:stop]
        self.largest_read_px = max(self.largest_read_px, block.size)
        return block

    def close(self):
        pass


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(np.uint16, st.integers(1, 500)),
    st.floats(0, 100),
)
def test_histogram_percentile_is_numpys(values, percent):
    histogram = IntensityHistogram()
    for part in np.array_split(values, 3):
        histogram.add(part)
    assert histogram.percentile(percent) == pytest.approx(np.percentile(values, percent), abs=1e-6)


def test_added_and_removed_frames_leave_no_trace():
    rng = np.random.default_rng(1)
    kept, gone = rng.integers(0, 4000, (2, 10, 8, 8), dtype=np.uint16)
    both, only = IntensityHistogram(), IntensityHistogram()
    both.add(kept)
    both.add(gone)
    both.remove(gone)
    only.add(kept)
    assert both.percentile(37.0) == only.percentile(37.0)


def test_movie_is_clipped_at_its_own_percentiles():
    rng = np.random.default_rng(2)
    frames = rng.gamma(2.0, 300.0, (200, 16, 16)).astype(np.uint16)
    normalize = fit_normalizer(Reader(frames), NormalizationConfig())
    low, high = np.percentile(frames, [20, 99])
    scaled = normalize(frames, 0)
    assert scaled.dtype == np.float32
    assert scaled.min() == -1.0
    assert scaled.max() == 1.0
    expected = 2 * (np.clip(frames, low, high) - low) / (high - low) - 1
    np.testing.assert_allclose(scaled, expected, atol=1e-5)


def test_float_movie_percentiles_are_exact_to_a_bin():
    rng = np.random.default_rng(3)
    frames = rng.normal(0.5, 0.1, (50, 16, 16)).astype(np.float32)
    normalize = fit_normalizer(Reader(frames), NormalizationConfig())
    low, high = np.percentile(frames, [20, 99])
    width = float(frames.max() - frames.min()) / 65535
    assert normalize.low[0] == pytest.approx(low, abs=2 * width)
    assert normalize.high[0] == pytest.approx(high, abs=2 * width)


def test_sliding_window_follows_a_drifting_background():
    rng = np.random.default_rng(4)
    drift = np.linspace(0, 2000, 400)[:, None, None]
    frames = (500 + drift + rng.normal(0, 20, (400, 12, 12))).astype(np.uint16)
    normalize = fit_normalizer(Reader(frames), NormalizationConfig(window_frames=40))
    for centre in (60, 200, 340):
        low, _ = normalize.levels(centre, 1)
        window = frames[centre - 20 : centre + 20]
        assert low[0] == pytest.approx(np.percentile(window, 20), abs=60)


@pytest.mark.parametrize("window", [None, 50])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_memory_is_bounded_whatever_the_size_of_a_frame(window, dtype):
    one = np.random.default_rng(8).integers(0, 999, (512, 512)).astype(dtype)
    reader = Reader(np.broadcast_to(one, (60, 512, 512)))
    config = NormalizationConfig(window_frames=window)
    fit_normalizer(Reader(reader.frames[:11]), config)
    tracemalloc.start()
    normalize = fit_normalizer(reader, config)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reader.largest_read_px <= BLOCK_PIXELS
    assert peak < 64e6  # counting a window at once would take 105 MB for its bins alone
    np.testing.assert_allclose(normalize.low, np.percentile(one, 20), atol=0.02)


def test_sliding_window_as_long_as_the_movie_is_the_whole_movie():
    frames = np.random.default_rng(5).integers(0, 999, (30, 8, 8), dtype=np.uint16)
    whole = fit_normalizer(Reader(frames), NormalizationConfig())
    window = fit_normalizer(Reader(frames), NormalizationConfig(window_frames=30))
    assert whole.low == window.low
    assert whole.high == window.high


def test_training_and_prediction_use_the_same_levels():
    frames = np.random.default_rng(6).integers(90, 9000, (20, 8, 8), dtype=np.uint16)
    trained = normalizer_of_array(frames, NormalizationConfig())
    predicted = fit_normalizer(Reader(frames), NormalizationConfig())
    np.testing.assert_array_equal(trained(frames, 0), predicted(frames, 0))


def test_flat_movie_does_not_divide_by_zero():
    frames = np.full((5, 8, 8), 100, np.uint16)
    scaled = fit_normalizer(Reader(frames), NormalizationConfig())(frames, 0)
    assert np.isfinite(scaled).all()


def test_chunks_are_scaled_like_the_whole():
    frames = np.random.default_rng(7).integers(0, 999, (90, 6, 6), dtype=np.uint16)
    normalize = fit_normalizer(Reader(frames), NormalizationConfig(window_frames=20))
    parts = [normalize(frames[s : s + 7], s) for s in range(0, 90, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), normalize(frames, 0))


def test_levels_survive_being_written():
    normalize = Normalizer(np.array([1.5, 2.0]), np.array([9.0, 8.0]), 5)
    again = Normalizer.from_dict(normalize.to_dict())
    frames = np.arange(36, dtype=np.uint16).reshape(9, 2, 2)
    np.testing.assert_array_equal(normalize(frames, 0), again(frames, 0))


def test_empty_movie_is_refused():
    with pytest.raises(MovieError, match="no frames"):
        fit_normalizer(Reader(np.zeros((0, 4, 4), np.uint16)), NormalizationConfig())


@pytest.mark.parametrize(("fall", "follows"), [(0, False), (40, False), (2000, True)])
def test_auto_takes_a_window_only_where_the_levels_drift(fall, follows):
    rng = np.random.default_rng(8)
    bleaching = np.linspace(fall, 0, 300)[:, None, None]
    frames = (200 + bleaching + rng.gamma(2.0, 100.0, (300, 12, 12))).astype(np.uint16)
    normalize = fit_normalizer(Reader(frames), NormalizationConfig(window_frames="auto"))
    assert (len(normalize.low) > 1) == follows
    expected = fit_normalizer(
        Reader(frames), NormalizationConfig(window_frames=100 if follows else None)
    )
    np.testing.assert_array_equal(normalize.low, expected.low)


def test_auto_leaves_short_movies_whole():
    frames = np.linspace(0, 6000, 90).astype(np.uint16)[:, None, None] * np.ones(
        (1, 4, 4), np.uint16
    )
    normalize = fit_normalizer(Reader(frames), NormalizationConfig(window_frames="auto"))
    assert len(normalize.low) == 1
