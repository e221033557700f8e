"""How long blinks last, and that summands keep that far apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdsmlm.binning.correlation import blink_correlation, blink_drift
from hdsmlm.binning.plan import PlanRules, draw_sum
from hdsmlm.errors import ConfigError, MovieError
from hdsmlm.records.emitters import Emitters


def blinks(mean_frames: float, n: int, n_frames: int, seed: int = 1, step_nm: float = 0.0):
    """Return localizations of blinks whose on-times are geometric."""
    rng = np.random.default_rng(seed)
    frame, blink, x = [], [], []
    for k in range(n):
        length = int(rng.geometric(1 / mean_frames))
        first = int(rng.integers(n_frames))
        for j in range(length):
            if first + j < n_frames:
                frame.append(first + j)
                blink.append(k)
                x.append(1000.0 * k + step_nm * j + rng.normal(0, 10.0))
    values = np.array(x)
    return Emitters(
        {"frame": np.array(frame), "x_nm": values, "y_nm": 0 * values, "blink_id": np.array(blink)}
    )


def test_geometric_blinks_have_an_exponential_autocorrelation():
    mean = 4.0
    found = blink_correlation(blinks(mean, 4000, 5000), 5000)
    lag = np.arange(1, 9)
    # A frame of a geometric blink has another one τ frames later with probability (1 - 1/m)^τ.
    expected = (1 - 1 / mean) ** lag
    assert np.all(np.abs(found.value[1:9] - expected) < 4 * found.error[1:9])
    assert found.lag_frames(0.05) == pytest.approx(np.log(0.05) / np.log(1 - 1 / mean), abs=1.5)


def test_blinks_that_outlast_the_movie_are_refused_with_the_figure():
    table = blinks(500.0, 60, 30)
    with pytest.raises(MovieError, match=r"still on with a probability of 0\.\d+.*--augment"):
        blink_correlation(table, 30).lag_frames(0.05)
    with pytest.raises(MovieError, match="sound localizations"):
        blink_correlation(blinks(2.0, 2, 30), 30)


def test_drift_within_blinks_is_measured():
    still = blink_drift(blinks(6.0, 300, 2000))
    moving = blink_drift(blinks(6.0, 300, 2000, step_nm=8.0))
    assert still.least_nm == 0.0
    assert moving.x_nm == pytest.approx(8.0, abs=4 * moving.error_nm)
    assert blink_drift(blinks(1.0, 50, 2000)) is None


@given(
    factor=st.integers(1, 12),
    length=st.integers(1, 9),
    lag=st.integers(1, 20),
    spare=st.integers(0, 60),
    seed=st.integers(0, 1000),
)
def test_summands_keep_the_lag(factor, length, lag, spare, seed):
    rules = PlanRules(10**6, 32, 32, factor, length, lag)
    rules = PlanRules(rules.frames_needed + spare, 32, 32, factor, length, lag)
    starts = np.sort([part.start for part in draw_sum(rules, seed, 3)])
    assert starts[0] >= 0
    assert starts[-1] + length <= rules.n_frames
    # Last frame of one to first frame of the next.
    assert np.all(np.diff(starts) - (length - 1) >= lag)
    assert draw_sum(rules, seed, 3) == draw_sum(rules, seed, 3)


def test_starts_are_uniform_over_the_movie():
    rules = PlanRules(200, 32, 32, 2, 5, 10)
    starts = np.array([[p.start for p in draw_sum(rules, 1, k)] for k in range(4000)])
    assert starts.min() == 0
    assert starts.max() == 195
    first = starts[:, 0]  # in random order: each summand by itself covers both ends
    assert abs(first.mean() - 97.5) < 4 * first.std() / np.sqrt(len(first))


@given(seed=st.integers(0, 300), factor=st.integers(2, 10))
def test_augmented_summands_show_no_blink_twice_at_one_place(seed, factor):
    rules = PlanRules(10, 64, 64, factor, 5, 10**6, crop_px=48)
    parts = draw_sum(rules, seed, 0)
    assert len(parts) == factor
    for k, one in enumerate(parts):
        assert 0 <= one.top <= 16
        assert 0 <= one.left <= 16
        for other in parts[:k]:
            moved = max(abs(one.top - other.top), abs(one.left - other.left)) >= 4
            assert one.orientation != other.orientation or moved


def test_too_short_a_movie_names_what_it_needs():
    rules = PlanRules(40, 32, 32, 5, 5, 10)
    assert rules.frames_needed == 61
    with pytest.raises(MovieError, match=r"40 frames.*need 61.*--factor to 3"):
        rules.check()
    with pytest.raises(ConfigError, match="crop_px 40 is larger"):
        PlanRules(40, 32, 32, 5, 5, 10, crop_px=40).check()
