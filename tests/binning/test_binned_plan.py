"""Which sequences are added, how long blinks are remembered, and which spots are sound."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdsmlm.binning.correlation import BlinkCorrelation, blink_correlation, blink_drift
from hdsmlm.binning.plan import PlanRules, draw_sum
from hdsmlm.binning.sound import require_sparse, split_sound
from hdsmlm.config.binning import SoundConfig
from hdsmlm.errors import ConfigError, MovieError, TableError
from hdsmlm.pipelines.titrate import reliable_density
from hdsmlm.records.emitters import Emitters
from hdsmlm.records.flags import Flag


@settings(max_examples=60, deadline=None)
@given(
    factor=st.integers(1, 12),
    length=st.integers(1, 8),
    lag=st.integers(1, 30),
    spare=st.integers(0, 200),
    seed=st.integers(0, 2**31),
)
def test_no_two_summands_lie_nearer_than_the_lag(factor, length, lag, spare, seed) -> None:
    needed = PlanRules(1, 32, 32, factor, length, lag).frames_needed
    rules = PlanRules(needed + spare, 32, 32, factor, length, lag)
    summands = draw_sum(rules, seed, 3)
    assert summands == draw_sum(rules, seed, 3)
    starts = sorted(one.start for one in summands)
    assert len(starts) == factor
    assert starts[0] >= 0
    assert starts[-1] + length <= rules.n_frames
    for before, after in pairwise(starts):
        assert after - (before + length - 1) >= lag  # from its last frame to the next one's first


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), rotate=st.booleans(), factor=st.integers(2, 10))
def test_augmented_summands_never_show_a_blink_at_one_place(seed, rotate, factor) -> None:
    rules = PlanRules(12, 64, 80, factor, 5, 12, crop_px=48, rotate=rotate)
    summands = draw_sum(rules, seed, 0)
    assert len(summands) == factor
    for one in summands:
        assert 0 <= one.start <= 7
        assert 0 <= one.top <= 16
        assert 0 <= one.left <= 32
        assert 0 <= one.orientation < (8 if rotate else 4)
    for one, other in combinations(summands, 2):
        apart = max(abs(one.top - other.top), abs(one.left - other.left))
        assert one.orientation != other.orientation or apart >= 4


def test_starts_reach_every_place() -> None:
    rules = PlanRules(40, 32, 32, 2, 5, 10)
    seen = {one.start for k in range(2000) for one in draw_sum(rules, 1, k)}
    assert {0, 35} <= seen


def test_impossible_rules_say_what_is_possible() -> None:
    with pytest.raises(MovieError, match=r"movie has 50 frames.*need 61.*Add up at most 4"):
        PlanRules(50, 32, 32, 5, 5, 10).check()
    with pytest.raises(ConfigError, match="crop_px 64 is larger"):
        PlanRules(50, 32, 40, 5, 5, 10, crop_px=64).check()
    with pytest.raises(MovieError, match="lower --sequence-frames"):
        PlanRules(4, 64, 64, 5, 5, 10, crop_px=32).check()
    with pytest.raises(MovieError, match="show no blink at the same place"):
        draw_sum(PlanRules(10, 32, 32, 20, 5, 10, crop_px=32), 1, 0)


def blinks(mean_on: float, n: int, n_frames: int, seed: int) -> Emitters:
    """Blinks that survive each frame with exp(-1/mean): no memory, so C(τ) = exp(-τ/mean)."""
    rng = np.random.default_rng(seed)
    length = rng.geometric(1 - np.exp(-1 / mean_on), n)
    start = rng.integers(0, n_frames, n)
    blink = np.repeat(np.arange(n), length)
    frame = np.concatenate([np.arange(a, a + b) for a, b in zip(start, length, strict=True)])
    seen = frame < n_frames
    nothing = np.zeros(int(seen.sum()))
    columns = {"frame": frame[seen], "x_nm": nothing, "y_nm": nothing, "blink_id": blink[seen]}
    return Emitters(columns)


@pytest.mark.parametrize("mean_on", [2.0, 5.0])
def test_exponential_blinks_give_the_exponential_law_and_its_lag(mean_on) -> None:
    found = blink_correlation(blinks(mean_on, 3000, 2000, 4), 2000)
    lag = np.arange(1, int(2.5 * mean_on))
    error = (found.upper[lag] - found.value[lag]) / 1.645
    assert np.all(np.abs(found.value[lag] - np.exp(-lag / mean_on)) < 4 * error)
    least = mean_on * np.log(1 / 0.05)
    assert least - 1 < found.lag_frames(0.05) < 1.4 * least + 1


def test_blinks_that_outlast_the_movie_and_too_few_are_refused() -> None:
    lasting = BlinkCorrelation(np.array([1.0, 0.9, 0.8]), np.array([1.0, 0.92, 0.84]), 30, 3)
    with pytest.raises(MovieError, match=r"correlation time.*longer than the movie's 3.*0\.80"):
        lasting.lag_frames(0.05)
    with pytest.raises(MovieError, match="at least 20"):
        blink_correlation(blinks(2.0, 3, 10, 1), 10)


def test_few_blinks_do_not_prove_that_they_end() -> None:
    """None seen again among 40 blinks leaves up to 3 / 40; of 200 blinks 3 / 200."""
    few, many = (blinks(2.0, n, 400, 7) for n in (40, 200))
    with pytest.raises(MovieError, match="upper limit"):
        blink_correlation(few, 400).lag_frames(0.05)
    assert blink_correlation(many, 400).lag_frames(0.05) >= 6


def test_a_blink_in_doubt_is_still_on() -> None:
    table = blinks(6.0, 2000, 3000, 3)
    sound = np.random.default_rng(2).random(len(table)) < 0.5
    whole = blink_correlation(table, 3000)
    thinned = blink_correlation(table.select(sound), 3000, seen=table)
    assert abs(thinned.value[4] - whole.value[4]) < 0.04
    assert blink_correlation(table.select(sound), 3000).value[4] < 0.7 * whole.value[4]


def test_a_drift_of_blinks_is_measured() -> None:
    still = blinks(5.0, 200, 300, 2)
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 10, (2, len(still)))
    moving = still.with_columns(x_nm=12.0 * still["frame"] + noise[0], y_nm=noise[1])
    drift = blink_drift(moving, 150.0)
    assert drift is not None
    assert abs(drift.x_nm - 12.0) < 4 * drift.error_nm
    assert 0 < drift.least_nm < 12.0
    rest = blink_drift(still.with_columns(x_nm=noise[0], y_nm=noise[1]), 150.0)
    assert rest is not None
    assert rest.least_nm == 0.0


def spots(**changes) -> Emitters:
    """Two good lone spots; ``changes`` apply to the first."""
    columns = {
        "frame": np.array([0, 1]),
        "x_nm": np.array([1000.0, 3000.0]),
        "y_nm": np.array([1000.0, 3000.0]),
        "photons": np.array([800.0, 800.0]),
        "uncertainty_x_nm": np.array([10.0, 10.0]),
        "uncertainty_y_nm": np.array([10.0, 10.0]),
        "log_likelihood_ratio": np.array([50.0, 50.0]),
        "probability": np.array([1.0, 1.0]),
        "flags": np.array([0, 0]),
    }
    for name, value in changes.items():
        columns[name] = np.array([value, columns[name][1]])
    return Emitters(columns)


@pytest.mark.parametrize(
    "changes",
    [
        {"log_likelihood_ratio": 11.0},
        {"probability": 0.7},
        {"uncertainty_x_nm": 60.0},
        {"uncertainty_y_nm": np.nan},
        {"flags": int(Flag.NEAR_BORDER)},
        {"flags": int(Flag.NOT_CONVERGED | Flag.SATURATED)},
    ],
)
def test_each_limit_makes_a_spot_doubtful(changes) -> None:
    assert list(split_sound(spots(), 1.3, 100.0, SoundConfig()).sound) == [True, True]
    assert list(split_sound(spots(**changes), 1.3, 100.0, SoundConfig()).sound) == [False, True]


@pytest.mark.parametrize(
    ("frame", "away_nm", "photons", "crowded"),
    [(1, 300.0, 800.0, True), (0, 300.0, 800.0, False), (1, 400.0, 800.0, False)],
)
def test_neighbours_of_the_same_frame_crowd(frame, away_nm, photons, crowded) -> None:
    table = spots(frame=frame, x_nm=3000.0 + away_nm, y_nm=3000.0, photons=photons)
    found = split_sound(table, 1.3, 100.0, SoundConfig())
    assert list(found.crowded) == [crowded, crowded]
    assert list(found.sound) == [not crowded] * 2


def test_a_faint_satellite_spares_the_bright_spot() -> None:
    table = spots(frame=1, x_nm=3200.0, y_nm=3000.0, photons=50.0)
    assert list(split_sound(table, 1.3, 100.0, SoundConfig()).sound) == [False, True]


def test_a_dense_movie_and_a_missing_column_are_refused() -> None:
    crowded = split_sound(spots(frame=1, x_nm=3100.0, y_nm=3000.0), 1.3, 100.0, SoundConfig())
    with pytest.raises(MovieError, match=r"too dense to bin: 100 %.*at most 50 %"):
        require_sparse(crowded, 0.5, 3.0)
    lacking = Emitters({name: spots()[name] for name in ("frame", "x_nm", "y_nm", "photons")})
    with pytest.raises(TableError, match="uncertainty_x_nm"):
        split_sound(lacking, 1.3, 100.0, SoundConfig())


@pytest.mark.parametrize(
    ("f1", "expected"),
    [
        ([0.95, 0.90, 0.80], (3.0, True)),
        ([0.95, 0.90, 0.86], (4.0, False)),
        ([0.80, 0.95, 0.95], (4.0, False)),
        ([0.95, float("nan"), 0.8], (1.0, True)),
        ([0.85, 0.85, 0.85], (4.0, False)),
        ([0.84, 0.80, 0.70], (0.0, True)),
        ([0.95, 0.80, 0.90], (4.0, False)),
    ],
)
def test_reliable_density(f1, expected) -> None:
    density, bounded = reliable_density([1.0, 2.0, 4.0], f1, 0.85)
    assert density == pytest.approx(expected[0])
    assert bounded is expected[1]
