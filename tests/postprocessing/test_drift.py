"""An imposed drift is found again; what cannot be measured is said."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from hdsmlm.config.postprocessing import DriftConfig
from hdsmlm.errors import TableError
from hdsmlm.postprocessing.drift import Drift, estimate_drift, solve_pairs
from hdsmlm.records.emitters import Emitters

N_FRAMES = 1000


def drifting_curves(seed: int, n: int = 12_000) -> tuple[Emitters, np.ndarray]:
    """Return localizations on curves (precision 12 nm, axially 30 nm) and the drift per frame."""
    rng = np.random.default_rng(seed)
    curve, along = rng.integers(0, 8, n), rng.uniform(-3000, 3000, n)
    centre, angle = rng.uniform(3000, 7000, (8, 2)), rng.uniform(0, np.pi, 8)
    bend = rng.normal(0, 600, 8)[curve] * np.sin(along / 2000)
    direction = np.stack([np.cos(angle), np.sin(angle)], 1)[curve]
    normal = np.stack([-direction[:, 1], direction[:, 0]], 1)
    xy = centre[curve] + along[:, None] * direction + bend[:, None] * normal
    xyz = np.column_stack([xy, 200 * np.sin(along / 900 + curve)])
    frame = rng.integers(0, N_FRAMES, n)
    time = np.arange(N_FRAMES) / N_FRAMES
    drift = np.stack([150 * time + 25 * np.sin(6 * time), -120 * time**2, 90 * time], 1)
    xyz += rng.normal(0, (17, 17, 32), (n, 3)) + drift[frame]
    columns = {"frame": frame, "x_nm": xyz[:, 0], "y_nm": xyz[:, 1], "z_nm": xyz[:, 2]}
    return Emitters(columns), drift


def test_a_known_drift_is_found_in_three_dimensions() -> None:
    table, truth = drifting_curves(1)
    found = estimate_drift(table, DriftConfig())
    assert found.z_nm is not None
    error = np.stack([found.x_nm, found.y_nm, found.z_nm], 1) - truth
    error -= error.mean(0)  # where the first frame lies is a convention
    assert np.sqrt((error**2).mean(0)).max() < 3.0
    assert np.abs(error).max() < 10.0
    assert 0 < found.residual_nm < 5.0
    assert found.x_nm[0] == found.y_nm[0] == found.z_nm[0] == 0.0
    corrected = found.apply(table)
    again = estimate_drift(corrected, DriftConfig(passes=1))
    assert max(np.ptp(again.x_nm), np.ptp(again.y_nm)) < 8.0


def test_a_table_that_begins_late_keeps_its_place() -> None:
    """The drift counts from the first frame that has rows, and is 0 before it."""
    table, truth = drifting_curves(1)
    late = estimate_drift(table.with_columns(frame=table["frame"] + 5000), DriftConfig())
    for found, true in zip((late.x_nm, late.y_nm, late.z_nm), truth.T, strict=True):
        assert found is not None
        assert not found[:5001].any()
        np.testing.assert_allclose(found[5000:], true - true[0], atol=15.0)


def test_the_drift_does_not_depend_on_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    table, _ = drifting_curves(2, n=6000)
    table = Emitters({name: table[name] for name in ("frame", "x_nm", "y_nm")})
    config = DriftConfig(segments=3, max_drift_nm=200)
    whole = estimate_drift(table, config)
    monkeypatch.setattr("hdsmlm.postprocessing.correlation.TILE_PX", 128)
    tiled = estimate_drift(table, config)
    assert np.abs(whole.x_nm - tiled.x_nm).max() < 1.5
    assert np.abs(whole.y_nm - tiled.y_nm).max() < 1.5


def test_contradicting_pairs_are_dropped() -> None:
    rng = np.random.default_rng(5)
    truth = np.vstack([np.zeros(2), rng.normal(0, 80, (9, 2))])
    shifts = np.array([truth[j] - truth[i] for i, j in combinations(range(10), 2)])
    shifts += rng.normal(0, 0.5, shifts.shape)
    shifts[[3, 17, 30]] += 150.0
    shifts[8] = np.nan
    solution = solve_pairs(shifts, 10, max_residual_nm=15.0)
    assert solution.n_dropped == 4
    assert np.abs(solution.shift_nm - truth).max() < 2.0


def test_too_few_localizations_are_explained() -> None:
    table, _ = drifting_curves(3, n=200)
    with pytest.raises(TableError, match="too few"):
        estimate_drift(table, DriftConfig())
    table, _ = drifting_curves(3, n=5000)
    one_frame = table.with_columns(frame=np.zeros(len(table)))
    with pytest.raises(TableError, match="in 1 frames are too few"):
        estimate_drift(one_frame, DriftConfig())


def test_segments_that_share_nothing_are_an_error() -> None:
    rng = np.random.default_rng(8)
    n = 600
    frame = np.arange(n) // 200  # three patches far apart, one in each third of the time
    table = Emitters(
        {
            "frame": frame,
            "x_nm": frame * 5000.0 + rng.normal(0, 20, n),
            "y_nm": rng.normal(0, 20, n),
        }
    )
    with pytest.raises(TableError, match="same displaced structure"):
        estimate_drift(table, DriftConfig(segments=3))


def test_frames_after_the_last_measured_one_take_its_drift() -> None:
    drift = Drift(np.array([0.0, 2.0]), np.array([0.0, -1.0]), None)
    table = Emitters({"frame": [0, 1, 7], "x_nm": [5, 5, 5], "y_nm": [5, 5, 5], "z_nm": [1, 1, 1]})
    assert drift.apply(table)["x_nm"].tolist() == [5, 3, 3]
    assert drift.apply(table)["z_nm"].tolist() == [1, 1, 1]


def test_joint_blinks_keep_sharing_their_place() -> None:
    ramp = np.linspace(0.0, 30.0, 10)
    drift = Drift(x_nm=ramp, y_nm=-ramp, z_nm=None, residual_nm=0.0)
    table = Emitters(
        {
            "frame": [2, 3, 4, 2, 3],
            "x_nm": [100.0, 100.0, 100.0, 50.0, 51.0],
            "y_nm": [200.0, 200.0, 200.0, 60.0, 61.0],
            "blink_id": [7, 7, 7, 8, 8],
        }
    )
    corrected = drift.apply(table)
    assert np.ptp(corrected["x_nm"][:3]) == 0
    assert corrected["x_nm"][0] == pytest.approx(100.0 - ramp[3])
    np.testing.assert_allclose(corrected["x_nm"][3:], [50.0 - ramp[2], 51.0 - ramp[3]])


def test_pairs_that_contradict_each_other_are_no_drift() -> None:
    rng = np.random.default_rng(2)
    with pytest.raises(TableError, match="the rest proves nothing"):
        solve_pairs(rng.uniform(-500, 500, (45, 2)), 10, max_residual_nm=30.0)
    with pytest.raises(TableError, match="1 of 3 pairs"):  # two displacements determine two always
        solve_pairs(np.array([[100.0, 0.0], [0.0, 200.0], [300.0, 0.0]]), 3, max_residual_nm=30.0)
