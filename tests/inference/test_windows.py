"""Tiled = untiled, chunked = unchunked; every pixel has one tile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdsmlm.bundle import Bundle
from hdsmlm.config.prediction import CalibrationConfig
from hdsmlm.inference.engines import build_engine
from hdsmlm.inference.predictor import Predictor, calibrate
from hdsmlm.inference.windows import pad_frames, padded_size, plan_spans, plan_windows


@given(
    units=st.integers(1, 40),
    multiple=st.integers(1, 16),
    size=st.integers(1, 300),
    margin=st.integers(0, 60),
)
def test_spans_cover_once_stay_inside_and_start_on_the_grid(
    units: int, multiple: int, size: int, margin: int
) -> None:
    length = units * multiple
    spans = plan_spans(0, length, length, size=size, margin=margin, multiple=multiple)
    covered = [i for span in spans for i in range(span.keep_start, span.keep_stop)]
    assert covered == list(range(length))
    for span in spans:
        assert span.keep_stop - span.keep_start <= max(size, multiple)
        assert span.read_start % multiple == span.read_stop % multiple == 0
        assert span.read_start == 0 or span.keep_start - span.read_start >= margin
        assert span.read_stop == length or span.read_stop - span.keep_stop >= margin


@given(
    n=st.integers(1, 200), first=st.integers(0, 50), size=st.integers(1, 64), m=st.integers(0, 5)
)
def test_windows_cover_the_asked_frames_once(n: int, first: int, size: int, m: int) -> None:
    windows = plan_windows(first, first + n, first + n + 7, size=size, margin=m)
    covered = [i for window in windows for i in range(window.keep_start, window.keep_stop)]
    assert covered == list(range(first, first + n))
    for window in windows:
        assert window.read_start == max(0, window.keep_start - m)
        assert window.read_stop == min(first + n + 7, window.keep_stop + m)


@given(size=st.integers(1, 500), multiple=st.integers(1, 32), smallest=st.integers(1, 64))
def test_padded_size_is_the_least_that_fits(size: int, multiple: int, smallest: int) -> None:
    padded = padded_size(size, multiple=multiple, smallest=smallest)
    assert padded % multiple == 0
    assert padded >= max(size, smallest)
    assert padded - multiple < max(size, smallest)


def test_padding_mirrors_even_the_smallest_frame() -> None:
    frames = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    padded = pad_frames(frames, 5, 8)
    np.testing.assert_array_equal(padded[0, 0], [0, 1, 2, 2, 1, 0, 0, 1])
    np.testing.assert_array_equal(padded[0, :, 0], [0, 3, 3, 0, 0])
    assert pad_frames(frames, 2, 3) is frames


@settings(max_examples=25, deadline=None)
@given(
    t=st.integers(1, 7),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    tile=st.integers(4, 40),
)
def test_tiled_equals_untiled(
    tiny_bundle: Bundle, t: int, height: int, width: int, tile: int
) -> None:
    rng = np.random.default_rng(height * 100 + width)
    frames = rng.uniform(-1, 1, (t, height, width)).astype(np.float32)
    engine = build_engine("onnxruntime", tiny_bundle, threads=1)
    whole = Predictor(engine, tiny_bundle.manifest, tile_px=1000).predict(frames)
    tiled = Predictor(engine, tiny_bundle.manifest, tile_px=tile).predict(frames)
    assert whole.shape == (t, 4, height, width)
    np.testing.assert_allclose(tiled, whole, atol=2e-6)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 30), chunk=st.integers(1, 12))
def test_chunked_equals_unchunked(tiny_bundle: Bundle, n: int, chunk: int) -> None:
    frames = np.random.default_rng(n).uniform(-1, 1, (n, 12, 16)).astype(np.float32)
    manifest = tiny_bundle.manifest
    predictor = Predictor(build_engine("onnxruntime", tiny_bundle, threads=1), manifest)
    whole = predictor.predict(frames)
    parts = [
        predictor.predict(frames[window.read_start : window.read_stop], window.inner)
        for window in plan_windows(0, n, n, size=chunk, margin=manifest.receptive_frames)
    ]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=2e-6)


def test_too_small_a_margin_would_be_noticed(tiny_bundle: Bundle) -> None:
    """The tests above can fail: one pixel or frame less of margin gives another answer."""
    frames = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32)).astype(np.float32)
    engine = build_engine("onnxruntime", tiny_bundle, threads=1)
    whole = Predictor(engine, tiny_bundle.manifest).predict(frames)
    short = tiny_bundle.manifest.model_copy(update={"receptive_px": 4})
    tiled = Predictor(engine, short, tile_px=8).predict(frames)
    assert np.abs(tiled - whole).max() > 1e-3
    cut = Predictor(engine, tiny_bundle.manifest).predict(frames[:6], slice(0, 5))
    assert np.abs(cut[4] - whole[4]).max() > 1e-3


def test_a_real_shift_by_the_stride_shifts_the_answer(tiny_bundle: Bundle) -> None:
    frames = np.random.default_rng(3).uniform(-1, 1, (3, 64, 64)).astype(np.float32)
    predictor = Predictor(build_engine("onnxruntime", tiny_bundle), tiny_bundle.manifest)
    whole = predictor.predict(frames)
    shifted = predictor.predict(frames[:, 4:, 8:])
    np.testing.assert_allclose(shifted[..., 12:40, 12:40], whole[..., 16:44, 20:48], atol=2e-6)


def test_calibration_is_the_stated_formula_and_normalized(tiny_bundle: Bundle) -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 3, (2, 4, 5, 6))
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    config = CalibrationConfig(temperature=1.7, class_bias=(0.0, 0.3, -0.2, 1.0))
    biased = logits / 1.7 + np.array([0.0, 0.3, -0.2, 1.0])[:, None, None]
    wanted = np.exp(biased) / np.exp(biased).sum(1, keepdims=True)
    got = softmax.astype(np.float32)
    calibrate(got, config)
    np.testing.assert_allclose(got, wanted, rtol=2e-5)


@pytest.mark.parametrize("folded", [True, False])
def test_only_a_pending_calibration_is_applied(tiny_bundle: Bundle, folded: bool) -> None:
    frames = np.random.default_rng(5).uniform(-1, 1, (3, 8, 8)).astype(np.float32)
    engine = build_engine("onnxruntime", tiny_bundle)
    plain = Predictor(engine, tiny_bundle.manifest).predict(frames)
    config = CalibrationConfig(temperature=2.0, folded=folded)
    manifest = tiny_bundle.manifest.model_copy(update={"calibration": config})
    answer = Predictor(engine, manifest).predict(frames)
    assert np.array_equal(answer, plain) == folded
