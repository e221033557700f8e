"""The rows of one blink share a position, so they must not correlate the halves of an FRC."""

from __future__ import annotations

import numpy as np
import pytest

from hdsmlm.postprocessing.frc import _halves
from hdsmlm.records.emitters import Emitters


@pytest.mark.parametrize("block_frames", [0, 5])
def test_the_rows_of_a_blink_are_of_one_half(block_frames: int) -> None:
    rng = np.random.default_rng(3)
    start, length = rng.integers(0, 95, 400), rng.integers(1, 6, 400)
    blink = np.repeat(np.arange(400), length)
    frame = np.repeat(start, length) + np.concatenate([np.arange(n) for n in length])
    rows = {"frame": frame, "x_nm": np.zeros(len(frame)), "y_nm": np.zeros(len(frame))}
    second = _halves(Emitters({**rows, "blink_id": blink}), block_frames, rng)
    share = np.bincount(blink, second) / np.bincount(blink)
    assert set(share.tolist()) == {0.0, 1.0}
    assert 0.3 < second.mean() < 0.7
    apart = _halves(Emitters(rows), block_frames, rng)
    assert not np.isin(np.bincount(blink, apart) / np.bincount(blink), (0.0, 1.0)).all()
